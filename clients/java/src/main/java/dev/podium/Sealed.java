package dev.podium;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Files and folders of the cache that are whole: how they are made, and how it is noticed that somebody changed them. */
final class Sealed {
  /** Of every whole file, 2001-09-09T01:46:40Z: whoever writes to one changes its time. */
  private static final FileTime TIME = FileTime.from(1_000_000_000, TimeUnit.SECONDS);
  private static final int REGULAR_READ_ONLY = 0100444;
  private static final int KIND_MASK = 0170000;
  private static final int FOLDER = 0040000;

  private Sealed() {}

  /** What fills a new folder. */
  interface Fill {
    void into(Path folder) throws Exception;
  }

  /** Makes a complete file read-only and durable, with the time that says so. */
  static void seal(Path path) throws IOException {
    setMode(path, "r--r--r--");
    Files.setLastModifiedTime(path, TIME);
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      file.force(true);
    }
  }

  /** Marks a file that was found damaged, and all hard links to it, so that the next pull replaces it. */
  static void breakSeal(Path path) throws IOException {
    if (!Files.isSymbolicLink(path)) {
      touch(path);
    }
  }

  static void touch(Path path) throws IOException {
    Files.setLastModifiedTime(path, FileTime.fromMillis(System.currentTimeMillis()));
  }

  /** Whether a file is still as it was sealed, as far as its size, mode and time tell. */
  static boolean isSealed(Path path, long size) {
    try {
      return isSealed(attributes(path), size);
    } catch (IOException notThere) {
      return false;
    }
  }

  /** Whether a folder holds these sealed files (path → size in bytes) and no others. */
  static boolean hasExactly(Path folder, Map<String, Long> files) {
    int seen = 0;
    Deque<String> waiting = new ArrayDeque<>();
    waiting.push("");
    try {
      while (!waiting.isEmpty()) {
        String prefix = waiting.pop();
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder.resolve(prefix))) {
          for (Path entry : entries) {
            String path = prefix + entry.getFileName();
            Map<String, Object> attributes = attributes(entry);
            if (((Integer) attributes.get("mode") & KIND_MASK) == FOLDER) {
              waiting.push(path + "/");
            } else if (files.containsKey(path) && isSealed(attributes, files.get(path))) {
              seen++;
            } else {
              return false;
            }
          }
        }
      }
    } catch (IOException | java.nio.file.DirectoryIteratorException notThere) {
      return false;
    }
    return seen == files.size();
  }

  /** Lets {@code fill} make the content of a new folder, which then takes this one's place, whole or not at all. */
  static void build(Path folder, Fill fill) throws Exception {
    Path made = folder.resolveSibling(folder.getFileName() + ".new");
    Path old = folder.resolveSibling(folder.getFileName() + ".old");
    remove(made);
    remove(old);
    Files.createDirectories(made);
    try {
      fill.into(made);
    } catch (Throwable failure) {
      remove(made);
      throw failure;
    }
    makeReadOnly(made);
    if (Files.exists(folder, LinkOption.NOFOLLOW_LINKS)) {
      Files.move(folder, old, StandardCopyOption.ATOMIC_MOVE);
    }
    Files.move(made, folder, StandardCopyOption.ATOMIC_MOVE);
    remove(old);
  }

  /** Gives a sealed file another name, or copies it where that cannot be: on another file system, to a file with too many names. */
  static void link(Path source, Path target) throws IOException {
    Files.createDirectories(target.getParent());
    try {
      Files.createLink(target, source);
    } catch (NoSuchFileException | FileAlreadyExistsException error) {
      throw error;
    } catch (FileSystemException | UnsupportedOperationException noLink) {
      copy(source, target);
      seal(target);
    }
  }

  /** A copy with ordinary modes, by reference where Java and the file system can. */
  static void copy(Path source, Path target) throws IOException {
    try (FileChannel from = FileChannel.open(source, StandardOpenOption.READ);
        FileChannel to = FileChannel.open(target, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW)) {
      long size = from.size();
      for (long done = 0; done < size;) {
        long count = from.transferTo(done, size - done, to);
        if (count <= 0) {
          throw new IOException(source + " has become shorter");
        }
        done += count;
      }
    }
  }

  /** Removes a file or a folder, read-only or not, if it is there. Links are removed, not followed. */
  static void remove(Path path) throws IOException {
    if (!Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
      Files.deleteIfExists(path);
      return;
    }
    setMode(path, "rwx------");
    try (DirectoryStream<Path> inner = Files.newDirectoryStream(path)) {
      for (Path one : inner) {
        remove(one);
      }
    } catch (NotDirectoryException replaced) {
      // by a file, which is deleted below
    }
    Files.delete(path);
  }

  static void setMode(Path path, String permissions) throws IOException {
    Files.setPosixFilePermissions(path, PosixFilePermissions.fromString(permissions));
  }

  private static void makeReadOnly(Path folder) throws IOException {
    try (DirectoryStream<Path> inner = Files.newDirectoryStream(folder)) {
      for (Path one : inner) {
        if (Files.isDirectory(one, LinkOption.NOFOLLOW_LINKS)) {
          makeReadOnly(one);
        }
      }
    }
    setMode(folder, "r-xr-xr-x");
  }

  private static Map<String, Object> attributes(Path path) throws IOException {
    return Files.readAttributes(path, "unix:mode,size,lastModifiedTime", LinkOption.NOFOLLOW_LINKS);
  }

  private static boolean isSealed(Map<String, Object> attributes, long size) {
    return (Integer) attributes.get("mode") == REGULAR_READ_ONLY
        && (Long) attributes.get("size") == size
        && attributes.get("lastModifiedTime").equals(TIME);
  }
}
