package dev.podium;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/**
 * What a push takes of a path: the regular file, or all of the folder that .podiumignore does not name, also behind links.
 * PushRefusedException names what cannot be pushed, and says what to do.
 */
final class Folder {
  private static final String IGNORE_FILE = ".podiumignore";
  private static final int KIND_MASK = 0170000;
  private static final int FOLDER = 0040000;
  private static final Map<Integer, String> KINDS = Map.of(0010000, "a pipe", 0140000, "a socket", 0020000, "a device", 0060000, "a device");

  /** Sorted by path. */
  final List<SourceFile> files = new ArrayList<>();
  /** Empty folders, which no version can hold. */
  final List<String> leftOut = new ArrayList<>();

  private Ignored ignored;

  Folder(Path path) {
    Map<String, Object> attributes = attributes(path, path.toString());
    if (isFolder(attributes)) {
      ignored = readPatterns(path.resolve(IGNORE_FILE));
      walk(path, "", List.of(inode(attributes)));
    } else {
      add(path.toAbsolutePath().getFileName().toString(), path, attributes);
    }
    files.sort((one, other) -> one.path().compareTo(other.path()));
    check(path);
  }

  /** Takes the content of a folder; {@code above} are the folders on the way to it, and itself. */
  private void walk(Path folder, String prefix, List<Object> above) {
    List<Path> entries = list(folder, prefix);
    if (entries.isEmpty()) {
      leftOut.add(prefix);
    }
    for (Path entry : entries) {
      String path = prefix + entry.getFileName();
      if (path.equals(IGNORE_FILE) || ignored.matches(path, false)) {
        continue;
      }
      Map<String, Object> attributes = attributes(entry, path);
      if (!isFolder(attributes)) {
        add(path, entry, attributes);
      } else if (!ignored.matches(path, true)) {
        checkName(path, entry);
        Object inode = inode(attributes);
        if (above.contains(inode)) {
          throw new PushRefusedException(
              Text.quoted(path) + " is a link to a folder that it is in: remove it, or name it in " + IGNORE_FILE);
        }
        List<Object> here = new ArrayList<>(above);
        here.add(inode);
        walk(entry, path + "/", here);
      }
    }
  }

  private void add(String path, Path source, Map<String, Object> attributes) {
    String kind = KINDS.get((Integer) attributes.get("mode") & KIND_MASK);
    if (kind != null) {
      throw new PushRefusedException(Text.quoted(path) + " is " + kind + ", not a file: remove it, or name it in " + IGNORE_FILE);
    }
    checkName(path, source);
    files.add(SourceFile.of(path, source, attributes));
    if (files.size() > Paths.MAX_FILES) {
      throw new PushRefusedException("there are more than " + Paths.MAX_FILES + " files: pack some together");
    }
  }

  /** What the files must be together. */
  private void check(Path path) {
    if (files.isEmpty()) {
      throw new PushRefusedException(Text.quoted(path.toString()) + " has no files to push");
    }
    List<String> names = files.stream().map(SourceFile::path).toList();
    List<String> both = Paths.clash(names);
    if (both != null) {
      throw new PushRefusedException(
          Text.quoted(both.get(0)) + " and " + Text.quoted(both.get(1)) + " are the same where case is ignored: rename one");
    }
    if (names.stream().mapToLong(name -> name.getBytes(StandardCharsets.UTF_8).length).sum() > Paths.MAX_PATHS_BYTES) {
      throw new PushRefusedException("all paths together have more than " + Paths.MAX_PATHS_BYTES + " bytes: shorten them");
    }
  }

  private static void checkName(String path, Path source) {
    String fault = isDecoded(source) ? Paths.fault(path) : "is not valid UTF-8, or this Java was not started in a locale of UTF-8";
    if (!fault.isEmpty()) {
      throw new PushRefusedException("the path " + Text.quoted(path) + " " + fault + ": rename it, or name it in " + IGNORE_FILE);
    }
  }

  /** Java reads what is no text as a sign for that, and then means another file. */
  private static boolean isDecoded(Path source) {
    Path name = source.getFileName();
    return name.toString().indexOf('\uFFFD') < 0 || name.equals(Path.of(name.toString()));
  }

  private static Ignored readPatterns(Path path) {
    try {
      return new Ignored(Files.isRegularFile(path) ? Files.readString(path).lines().toList() : List.of());
    } catch (CharacterCodingException notText) {
      throw new PushRefusedException(Text.quoted(path.toString()) + ": it is not valid UTF-8");
    } catch (IOException error) {
      throw new PushRefusedException(Text.quoted(path.toString()) + ": " + reason(error));
    }
  }

  private static List<Path> list(Path folder, String prefix) {
    List<Path> entries = new ArrayList<>();
    try (DirectoryStream<Path> stream = Files.newDirectoryStream(folder)) {
      stream.forEach(entries::add);
    } catch (IOException | DirectoryIteratorException error) {
      throw new PushRefusedException(
          Text.quoted(prefix.isEmpty() ? folder.toString() : prefix) + " cannot be read: " + reason(error));
    }
    Collections.sort(entries);
    return entries;
  }

  private static Map<String, Object> attributes(Path path, String shown) {
    try {
      return SourceFile.attributes(path);
    } catch (NoSuchFileException nothing) {
      if (Files.isSymbolicLink(path)) {
        throw new PushRefusedException(Text.quoted(shown) + " is a link to nothing: remove it, or name it in " + IGNORE_FILE);
      }
      throw new PushRefusedException(Text.quoted(shown) + ": No such file or directory");
    } catch (IOException error) {
      if (Files.isSymbolicLink(path) && reason(error).contains("symbolic link")) {
        throw new PushRefusedException(Text.quoted(shown) + " is a link that leads back to itself: remove it");
      }
      throw new PushRefusedException(Text.quoted(shown) + ": " + reason(error));
    }
  }

  /** What the system says, without the path. */
  static String reason(Exception error) {
    Throwable cause = error instanceof DirectoryIteratorException ? error.getCause() : error;
    if (cause instanceof java.nio.file.AccessDeniedException) {
      return "Permission denied";
    }
    String words = cause instanceof FileSystemException named ? named.getReason() : cause.getMessage();
    return words == null ? cause.getClass().getSimpleName() : words;
  }

  private static boolean isFolder(Map<String, Object> attributes) {
    return ((Integer) attributes.get("mode") & KIND_MASK) == FOLDER;
  }

  private static Object inode(Map<String, Object> attributes) {
    return List.of(attributes.get("dev"), attributes.get("ino"));
  }
}
