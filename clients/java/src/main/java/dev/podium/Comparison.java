package dev.podium;

import dev.podium.v1.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Whether a version's folder in the cache holds exactly its files, byte for byte. */
final class Comparison {
  private static final Logger LOG = Logger.getLogger("dev.podium");

  private Comparison() {}

  /** Reads all bytes. Where they differ, the seals are broken, so that the next pull replaces them. */
  static boolean isWhole(LastKnown known, Path folder) {
    AtomicBoolean whole = new AtomicBoolean(true);
    try {
      new Crew().run(known.files(), file -> {
        Path path = folder.resolve(file.getPath());
        String problem = problem(file, path);
        if (!problem.isEmpty()) {
          report(known, file.getPath(), problem);
          whole.set(false);
        }
        if (problem.equals("changed")) { // a pull sees by itself what is missing or extra
          Sealed.breakSeal(path);
        }
      });
      Set<String> expected = new HashSet<>();
      known.files().forEach(file -> expected.add(file.getPath()));
      if (!hasNoOther(known, folder, "", expected)) {
        whole.set(false);
      }
    } catch (PodiumException interrupted) {
      throw interrupted;
    } catch (Exception error) {
      LOG.log(Level.WARNING, "{0} in the cache cannot be read: {1}", new Object[] {known.target().pinned(), error});
      return false;
    }
    return whole.get();
  }

  private static String problem(File file, Path path) throws IOException {
    try {
      if (!Files.isRegularFile(path)) {
        return Files.exists(path) ? "changed" : "missing";
      }
      return Files.size(path) == file.getSizeBytes() && digest(path).equals(file.getDigest()) ? "" : "changed";
    } catch (NoSuchFileException gone) {
      return "missing";
    }
  }

  private static String digest(Path path) throws IOException {
    MessageDigest hash = Text.sha256();
    byte[] piece = new byte[Frames.CHUNK_BYTES];
    try (InputStream content = Files.newInputStream(path)) {
      for (int count = content.read(piece); count >= 0; count = content.read(piece)) {
        hash.update(piece, 0, count);
      }
    }
    return Digests.of(hash.digest());
  }

  private static boolean hasNoOther(LastKnown known, Path folder, String prefix, Set<String> expected) throws IOException {
    boolean none = true;
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder)) {
      for (Path entry : entries) {
        String path = prefix + entry.getFileName();
        if (Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS)) {
          none &= hasNoOther(known, entry, path + "/", expected);
        } else if (!expected.contains(path)) {
          report(known, path, "extra");
          none = false;
        }
      }
    } catch (NotDirectoryException notThere) {
      return false;
    }
    return none;
  }

  private static void report(LastKnown known, String path, String problem) {
    LOG.log(Level.WARNING, "{0} in the cache is damaged: {1} is {2}", new Object[] {known.target().pinned(), path, problem});
  }
}
