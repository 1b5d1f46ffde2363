package dev.podium;

import com.google.common.net.InetAddresses;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Where the servers of a registry are, and who calls them. */
final class Address {
  private static final int MAX_ACTOR_BYTES = 256;
  private static final Pattern URL = Pattern.compile("(?:grpc://)?((?:[^\\s/:@\\[\\]]+|\\[[0-9A-Fa-f:.%]+\\]):([0-9]{1,5}))/?");
  private static final Pattern ACTOR = Pattern.compile("[ -~]{1," + MAX_ACTOR_BYTES + "}");

  private Address() {}

  /** For who names none. */
  static String standard() {
    String named = System.getenv("PODIUM_URL");
    return named == null || named.isEmpty() ? "127.0.0.1:7070" : named;
  }

  /** {@code host:port,host:port} of such a list, or of URLs {@code grpc://host:port}; what is there twice counts once. */
  static String parse(String list) {
    return Arrays.stream(list.split(",", -1)).map(Address::parseOne).distinct().collect(Collectors.joining(","));
  }

  /** The servers of a list that was parsed. */
  static List<String> servers(String address) {
    return List.of(address.split(","));
  }

  /** Whether that is one server for sure: a name may lead to several. */
  static boolean isOneServer(String address) {
    String host = address.substring(0, address.lastIndexOf(':'));
    return !address.contains(",") && InetAddresses.isUriInetAddress(host);
  }

  /** As gRPC takes it for a name to be looked up. */
  static String target(String server) {
    return "dns:///" + server.replace("%", "%25").replace("[", "%5B").replace("]", "%5D");
  }

  private static String parseOne(String url) {
    Matcher match = URL.matcher(url);
    if (!match.matches() || Integer.parseInt(match.group(2)) > 65_535) {
      throw new InvalidArgumentException(
          Text.quoted(url) + " is not the address of a Podium server: use HOST:PORT or grpc://HOST:PORT");
    }
    return match.group(1);
  }

  static String checkActor(String actor) {
    if (!ACTOR.matcher(actor).matches()) {
      throw new InvalidArgumentException(
          Text.quoted(actor) + " cannot be an actor: 1 to " + MAX_ACTOR_BYTES + " printable ASCII characters");
    }
    return actor;
  }

  /** Who runs this process. */
  static String userName() {
    for (String variable : new String[] {"LOGNAME", "USER", "LNAME", "USERNAME"}) {
      String named = System.getenv(variable);
      if (named != null && !named.isEmpty()) {
        return named;
      }
    }
    String name = System.getProperty("user.name");
    return name == null || name.isEmpty() || name.equals("?") ? "unknown" : name;
  }

  /** {@code user@host}, in the characters that metadata can carry. */
  static String defaultActor() {
    String actor = (userName() + "@" + hostName()).replaceAll("[^ -~]", "?");
    return actor.substring(0, Math.min(actor.length(), MAX_ACTOR_BYTES));
  }

  /** The machine's name, without asking the network for it where that can be. */
  private static String hostName() {
    try {
      return java.nio.file.Files.readString(java.nio.file.Path.of("/proc/sys/kernel/hostname")).strip();
    } catch (java.io.IOException notLinux) {
      try {
        return java.net.InetAddress.getLocalHost().getHostName();
      } catch (java.net.UnknownHostException unknown) {
        return "unknown";
      }
    }
  }
}
