package dev.podium;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * The patterns of an ignore file, in gitignore's syntax. They are asked on the way down: what is in a folder that matches is never
 * asked about, so that nothing in it can be taken back.
 */
final class Ignored {
  private record Rule(Pattern pattern, boolean takesBack, boolean foldersOnly) {}

  private final List<Rule> rules = new ArrayList<>(); // the last first: it decides

  Ignored(List<String> lines) {
    for (String line : lines) {
      add(line);
    }
    Collections.reverse(rules);
  }

  /** Whether a path stays out. */
  boolean matches(String path, boolean isFolder) {
    for (Rule rule : rules) {
      if ((isFolder || !rule.foldersOnly) && rule.pattern.matcher(path).matches()) {
        return !rule.takesBack;
      }
    }
    return false;
  }

  private void add(String line) {
    String glob = withoutTrailingSpaces(line);
    if (glob.isEmpty() || glob.startsWith("#")) {
      return;
    }
    boolean takesBack = glob.startsWith("!");
    glob = takesBack ? glob.substring(1) : glob;
    boolean foldersOnly = glob.endsWith("/");
    glob = foldersOnly ? glob.substring(0, glob.length() - 1) : glob;
    boolean anchored = glob.contains("/");
    glob = glob.startsWith("/") ? glob.substring(1) : glob;
    if (glob.isEmpty()) {
      return;
    }
    try {
      rules.add(new Rule(Pattern.compile((anchored ? "" : "(?:.*/)?") + regex(glob), Pattern.DOTALL), takesBack, foldersOnly));
    } catch (PatternSyntaxException never) {
      // a range that goes backwards: it matches nothing, as in git
    }
  }

  /** A space at the end counts only after a backslash. */
  private static String withoutTrailingSpaces(String line) {
    int end = line.length();
    while (end > 0 && line.charAt(end - 1) == ' ' && !(end > 1 && isEscaped(line, end - 1))) {
      end--;
    }
    return line.substring(0, end);
  }

  private static boolean isEscaped(String line, int index) {
    int slashes = 0;
    while (index - slashes > 0 && line.charAt(index - slashes - 1) == '\\') {
      slashes++;
    }
    return slashes % 2 == 1;
  }

  private static String regex(String glob) {
    StringBuilder regex = new StringBuilder();
    int index = 0;
    while (index < glob.length()) {
      char one = glob.charAt(index);
      int stars = stars(glob, index);
      if (stars == 2 && isSegment(glob, index) && index + 2 < glob.length()) {
        regex.append("(?:.*/)?"); // any folders, also none, with the slash that follows
        index += 3;
      } else if (stars == 2 && isSegment(glob, index)) {
        regex.append(".+"); // all that is in the folder before
        index += 2;
      } else if (stars > 0) {
        regex.append("[^/]*");
        index += stars;
      } else if (one == '?') {
        regex.append("[^/]");
        index++;
      } else if (one == '[' && end(glob, index) > 0) {
        int end = end(glob, index);
        regex.append(set(glob.substring(index + 1, end)));
        index = end + 1;
      } else {
        index += one == '\\' && index + 1 < glob.length() ? 1 : 0;
        int point = glob.codePointAt(index);
        regex.append(Pattern.quote(Character.toString(point)));
        index += Character.charCount(point);
      }
    }
    return regex.toString();
  }

  private static int stars(String glob, int index) {
    int count = 0;
    while (index + count < glob.length() && glob.charAt(index + count) == '*') {
      count++;
    }
    return count;
  }

  /** Whether the two stars stand alone between slashes. */
  private static boolean isSegment(String glob, int index) {
    boolean begins = index == 0 || glob.charAt(index - 1) == '/';
    return begins && (index + 2 == glob.length() || glob.charAt(index + 2) == '/');
  }

  /** Where a set of characters ends that begins here, -1 if it does not. */
  private static int end(String glob, int start) {
    int index = start + 1;
    if (index < glob.length() && (glob.charAt(index) == '!' || glob.charAt(index) == '^')) {
      index++;
    }
    for (boolean first = true; index < glob.length(); first = false) {
      char one = glob.charAt(index);
      if (one == ']' && !first) {
        return index;
      }
      int named = glob.startsWith("[:", index) ? glob.indexOf(":]", index + 2) : -1;
      index = named > 0 ? named + 2 : index + (one == '\\' ? 2 : 1);
    }
    return -1;
  }

  /** What is between the brackets, as a set that never has the slash. */
  private static String set(String content) {
    boolean not = content.startsWith("!") || content.startsWith("^");
    StringBuilder set = new StringBuilder(not ? "[^/" : "[");
    int index = not ? 1 : 0;
    while (index < content.length()) {
      int named = content.startsWith("[:", index) ? content.indexOf(":]", index + 2) : -1;
      if (named > 0) {
        String name = content.substring(index + 2, named);
        set.append(name.isEmpty() ? "" : "\\p{" + name(name) + "}");
        index = named + 2;
        continue;
      }
      char one = content.charAt(index);
      boolean range = one == '-' && index > (not ? 1 : 0) && index + 1 < content.length();
      if (one == '\\' && index + 1 < content.length()) {
        one = content.charAt(++index);
      }
      set.append(range ? "-" : escaped(one));
      index++;
    }
    return set.append(not ? "]" : "&&[^/]]").toString();
  }

  /** Of a POSIX class, as Java calls it. */
  private static String name(String posix) {
    return posix.equals("xdigit") ? "XDigit" : Character.toUpperCase(posix.charAt(0)) + posix.substring(1);
  }

  private static String escaped(char one) {
    return Character.isLetterOrDigit(one) || one > 0x7f ? String.valueOf(one) : "\\" + one;
  }
}
