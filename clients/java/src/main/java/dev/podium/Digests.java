package dev.podium;

import dev.podium.v1.File;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collection;
import java.util.HexFormat;
import java.util.regex.Pattern;

/** {@code sha256:} and 64 hex digits. */
final class Digests {
  static final String PREFIX = "sha256:";

  private static final Pattern HEX = Pattern.compile("[0-9a-f]{64}");

  private Digests() {}

  static boolean isOne(String digest) {
    return digest.startsWith(PREFIX) && HEX.matcher(digest.substring(PREFIX.length())).matches();
  }

  /** The file name of a digest; nothing else that a server says becomes one in the cache. */
  static String hex(String digest) {
    if (!isOne(digest)) {
      throw new HostileServerException(Text.quoted(digest) + " is no digest");
    }
    return digest.substring(PREFIX.length());
  }

  static String of(byte[] hash) {
    return PREFIX + HexFormat.of().formatHex(hash);
  }

  /** The digest of the manifest: what {@code sha256sum} prints for these files, sorted by the bytes of the paths. */
  static String ofManifest(Collection<File> stored) {
    record Line(byte[] path, String hex) {}
    StringBuilder text = new StringBuilder();
    stored.stream()
        .map(file -> new Line(file.getPath().getBytes(StandardCharsets.UTF_8), hex(file.getDigest())))
        .sorted((one, other) -> Arrays.compareUnsigned(one.path, other.path))
        .forEach(line -> text.append(line.hex).append("  ").append(new String(line.path, StandardCharsets.UTF_8)).append('\n'));
    return PREFIX + Text.hexSha256(text.toString());
  }
}
