package dev.podium;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;

/** The content cache that all processes of a user share: files by digest, versions as folders. CACHE.md is its contract. */
final class Cache {
  private static final String LAYOUT = "v1";

  final Path root;
  private final Path layout;

  /** Completes a partial file, and verifies it. */
  interface Fetch {
    void into(Path partial) throws Exception;
  }

  /** Uses a file that is there. */
  interface Use {
    void of(Path file) throws Exception;
  }

  /** The cache at this folder, or, for null, at $PODIUM_CACHE, else at ~/.cache/podium. */
  Cache(Path chosen) {
    root = real((chosen == null ? standard() : chosen).toAbsolutePath().normalize());
    layout = root.resolve(LAYOUT);
  }

  /**
   * Lets the whole file with this digest be used, safe from pruning meanwhile. Where it is not there, or not as it was left, {@code
   * fetch} completes the partial file: in one process of all, while the others wait.
   */
  void file(String digest, long size, Fetch fetch, LockFile.Pause pause, Use use) throws Exception {
    Path path = filePath(digest);
    LockFile locks = locks("blobs");
    while (true) {
      try (var shared = locks.shared(digest, pause)) {
        if (Sealed.isSealed(path, size)) {
          use.of(path);
          return;
        }
      }
      try (var alone = locks.exclusive(digest, pause)) {
        if (!Sealed.isSealed(path, size)) {
          complete(digest, fetch);
          checkKept(path, size);
        }
      }
    }
  }

  /** Keeps the version with this digest, which need not be there yet, from pruning until the process ends. */
  void keep(String digest, LockFile.Pause pause) {
    locks("holds").keep(digest, pause);
  }

  /** Keeps it until the hold is closed. */
  LockFile.Hold hold(String digest, LockFile.Pause pause) {
    return locks("holds").shared(digest, pause);
  }

  /**
   * The folder of a version with these files (path → size in bytes), of which the caller has a hold. Where it is not there, or not as
   * it was left, {@code fill} puts all files into a new folder, which takes its place.
   */
  Path version(String digest, Map<String, Long> files, Sealed.Fill fill, LockFile.Pause pause) throws Exception {
    Path folder = versionPath(digest);
    if (!Sealed.hasExactly(folder, files)) {
      try (var alone = locks("trees").exclusive(digest, pause)) {
        if (!Sealed.hasExactly(folder, files)) {
          Sealed.build(folder, fill);
        }
      }
    }
    touch(digest);
    return folder;
  }

  /** The version with this digest, if it is there, was used until now. */
  void touch(String digest) {
    try {
      Sealed.touch(versionPath(digest));
    } catch (IOException notThere) {
      // or it is the cache of another user
    }
  }

  Path versionPath(String digest) {
    return layout.resolve("trees").resolve(Digests.hex(digest));
  }

  Path filePath(String digest) {
    String hex = Digests.hex(digest);
    return layout.resolve("blobs").resolve(hex.substring(0, 2)).resolve(hex);
  }

  Path partialPath(String digest) {
    return layout.resolve("partial").resolve(Digests.hex(digest));
  }

  /** Where followers write what they had last. */
  Path followedPath() {
    return layout.resolve("followed");
  }

  /** Brings a file to its place, under its lock. */
  private void complete(String digest, Fetch fetch) throws Exception {
    Path partial = partialPath(digest);
    Path path = filePath(digest);
    Files.createDirectories(partial.getParent());
    Files.createDirectories(path.getParent());
    fetch.into(partial);
    Sealed.seal(partial);
    if (Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
      Sealed.remove(path);
    }
    Files.move(partial, path, StandardCopyOption.ATOMIC_MOVE);
  }

  /** It would be fetched again for ever if a file that was just sealed were not. */
  private void checkKept(Path path, long size) {
    if (!Sealed.isSealed(path, size)) {
      throw new PodiumException(Details.of("the cache " + Text.quoted(root.toString())
          + " is on a file system that does not keep the modes and times of files: set PODIUM_CACHE to a folder on another one"));
    }
  }

  private LockFile locks(String what) {
    return LockFile.at(layout.resolve("locks").resolve(what));
  }

  private static Path standard() {
    String chosen = System.getenv("PODIUM_CACHE");
    if (chosen == null || chosen.isEmpty()) {
      return home().resolve(".cache").resolve("podium");
    }
    return chosen.equals("~") || chosen.startsWith("~/") ? home().resolve(chosen.substring(Math.min(2, chosen.length()))) : Path.of(chosen);
  }

  /** As a shell has it: Java's own asks only who the user is. */
  private static Path home() {
    String home = System.getenv("HOME");
    return Path.of(home == null || home.isEmpty() ? System.getProperty("user.home") : home);
  }

  /** Without links, as far as it is there: one lock file has one path. */
  private static Path real(Path path) {
    try {
      return path.toRealPath();
    } catch (IOException notThere) {
      Path parent = path.getParent();
      return parent == null ? path : real(parent).resolve(path.getFileName());
    }
  }
}
