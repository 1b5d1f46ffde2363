package dev.podium;

import java.nio.charset.StandardCharsets;
import java.text.Normalizer;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** Which paths the files of a version may have. A push refuses others early; a pull refuses a server that sends others. */
final class Paths {
  static final int MAX_FILES = 10_000;
  static final int MAX_PATH_BYTES = 1_024;
  static final int MAX_PATHS_BYTES = 2 << 20;

  private static final Set<String> NOT_A_NAME = Set.of("", ".", "..");

  private Paths() {}

  /** What is wrong with a path, as the end of a sentence; empty if nothing is. */
  static String fault(String path) {
    int size = path.getBytes(StandardCharsets.UTF_8).length;
    if (path.codePoints().anyMatch(point -> Character.getType(point) == Character.SURROGATE)) {
      return "is not valid UTF-8";
    }
    if (size > MAX_PATH_BYTES) {
      return "has " + size + " bytes, more than " + MAX_PATH_BYTES;
    }
    if (path.chars().anyMatch(one -> Character.isISOControl(one) || one == 0x2028 || one == 0x2029)) {
      return "has a control character or a line separator";
    }
    if (path.indexOf('\\') >= 0) {
      return "has a backslash";
    }
    for (String segment : path.split("/", -1)) {
      if (NOT_A_NAME.contains(segment)) {
        return "is absolute or has an empty, '.' or '..' segment";
      }
    }
    if (!Normalizer.isNormalized(path, Normalizer.Form.NFC)) {
      return "is not in Unicode NFC";
    }
    return path.equals("-") ? "is what sha256sum takes for its standard input" : "";
  }

  /** Two paths that no folder can hold together where case is ignored: the same, or one a folder of the other; null if there are none. */
  static List<String> clash(Collection<String> paths) {
    record Folded(String key, String path) {}
    List<Folded> folded = paths.stream()
        .map(path -> new Folded(fold(path) + "/", path))
        .sorted((one, other) -> one.key.equals(other.key) ? one.path.compareTo(other.path) : one.key.compareTo(other.key))
        .toList();
    for (int index = 1; index < folded.size(); index++) {
      if (folded.get(index).key.startsWith(folded.get(index - 1).key)) {
        return List.of(folded.get(index - 1).path, folded.get(index).path);
      }
    }
    return null;
  }

  /** The path without case: Unicode's full folding, which Java does not have, made of the cases that it has. */
  static String fold(String path) {
    StringBuilder folded = new StringBuilder();
    path.codePoints().forEach(point -> folded.append(fold(point)));
    return Normalizer.normalize(folded, Normalizer.Form.NFC);
  }

  /** One character at a time: Java's lower case of a sigma depends on its place. */
  private static String fold(int point) {
    String one = Character.toString(point);
    if (point < 0x80) {
      return one.toLowerCase(Locale.ROOT);
    }
    if (point == 0x130 || point == 0x131) { // the Turkish letters are not those without or with a dot
      return point == 0x130 ? "i\u0307" : one;
    }
    String upper = one.toLowerCase(Locale.ROOT).toUpperCase(Locale.ROOT);
    StringBuilder lower = new StringBuilder();
    upper.codePoints().forEach(each -> lower.append(Character.toString(each).toLowerCase(Locale.ROOT)));
    return lower.toString();
  }
}
