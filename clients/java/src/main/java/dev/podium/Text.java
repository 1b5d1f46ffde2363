package dev.podium;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** Strings as they are shown, and as they are hashed. */
final class Text {
  private Text() {}

  /** In quotes, without what could control a terminal: what a server or a user says may be anything. */
  static String quoted(String text) {
    StringBuilder shown = new StringBuilder("'");
    text.codePoints().forEach(point -> {
      boolean plain = point >= ' ' && !Character.isISOControl(point) && Character.getType(point) != Character.FORMAT
          && Character.getType(point) != Character.SURROGATE && point != 0x2028 && point != 0x2029;
      if (point == '\'' || point == '\\') {
        shown.append('\\').appendCodePoint(point);
      } else if (plain) {
        shown.appendCodePoint(point);
      } else {
        shown.append(String.format("\\u%04x", point));
      }
    });
    return shown.append('\'').toString();
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) { // every Java platform has it
      throw new IllegalStateException(impossible);
    }
  }

  static String hexSha256(String text) {
    return HexFormat.of().formatHex(sha256().digest(text.getBytes(StandardCharsets.UTF_8)));
  }
}
