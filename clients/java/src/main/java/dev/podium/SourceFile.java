package dev.podium;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** A regular file, its path in the version, and what tells whether it changed since it was found. */
record SourceFile(String path, Path source, long size, Object state) {
  private static final String ATTRIBUTES = "unix:mode,dev,ino,size,lastModifiedTime";

  /** What is behind all links. */
  static Map<String, Object> attributes(Path source) throws IOException {
    return Files.readAttributes(source, ATTRIBUTES);
  }

  static SourceFile of(String path, Path source, Map<String, Object> attributes) {
    return new SourceFile(path, source, (Long) attributes.get("size"), attributes);
  }

  /** PushRefusedException if the file is no longer what it was. */
  void checkUnchanged() {
    boolean unchanged;
    try {
      unchanged = attributes(source).equals(state);
    } catch (IOException gone) {
      unchanged = false;
    }
    if (!unchanged) {
      throw new PushRefusedException(path + " changed while it was being pushed: push again when it is finished");
    }
  }
}
