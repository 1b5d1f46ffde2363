package dev.podium;

import dev.podium.v1.Source;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** The state of the Git work tree that a path is in. Files that git does not track make no tree dirty. */
final class GitSource {
  private static final long GIT_SECONDS = 10;
  private static final int MAX_STRING_BYTES = 1_024;
  private static final int MAX_URI_BYTES = 2_048;
  private static final List<String> OF_A_HOOK = List.of("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX");

  private GitSource() {}

  /** Nothing if it is in none, or git is not there or fails: a push does not fail over its provenance. */
  static Optional<Source> of(Path path) {
    try {
      Path real = path.toRealPath();
      Path folder = Files.isDirectory(real) ? real : real.getParent();
      return read(folder);
    } catch (IOException failed) {
      return Optional.empty();
    } catch (InterruptedException interrupted) {
      throw PodiumException.interrupted();
    }
  }

  private static Optional<Source> read(Path folder) throws IOException, InterruptedException {
    List<String> status = git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no");
    if (status == null) {
      return Optional.empty();
    }
    String commit = told(status, "branch.oid");
    String branch = told(status, "branch.head");
    return Optional.of(Source.newBuilder()
        .setRepository(oneLine(withoutCredentials(remote(folder, told(status, "branch.upstream"))), MAX_URI_BYTES))
        .setCommit(commit.startsWith("(") ? "" : commit)
        .setBranch(branch.startsWith("(") ? "" : oneLine(branch, MAX_STRING_BYTES))
        .setDirty(status.stream().anyMatch(line -> !line.startsWith("#")))
        .build());
  }

  /** The URL of the remote that the branch follows, else of origin, else of the first. */
  private static String remote(Path folder, String upstream) throws IOException, InterruptedException {
    List<String> listed = git(folder, "config", "--get-regexp", "^remote\\..*\\.url$");
    String chosen = "";
    int best = 0;
    for (String line : listed == null ? List.<String>of() : listed) {
      int space = line.indexOf(' ');
      String name = space < 0 ? "" : line.substring("remote.".length(), Math.max("remote.".length(), space - ".url".length()));
      int rank = upstream.startsWith(name + "/") ? 3 : name.equals("origin") ? 2 : 1;
      if (space >= 0 && rank > best) {
        best = rank;
        chosen = line.substring(space + 1);
      }
    }
    return chosen;
  }

  /** Without what could log in: a user's name over HTTP, passwords, queries. */
  static String withoutCredentials(String url) {
    if (!url.contains("://")) {
      return url.replaceFirst("^[^/@]*:[^/@]*@", "");
    }
    try {
      URI parts = new URI(url);
      String authority = parts.getRawAuthority() == null ? "" : parts.getRawAuthority();
      String host = authority.substring(authority.lastIndexOf('@') + 1);
      String user = authority.length() == host.length() ? "" : authority.substring(0, authority.lastIndexOf('@')).split(":", 2)[0];
      String shown = parts.getScheme().startsWith("http") || user.isEmpty() ? host : user + "@" + host;
      return parts.getScheme() + "://" + shown + (parts.getRawPath() == null ? "" : parts.getRawPath());
    } catch (URISyntaxException malformed) {
      return "";
    }
  }

  /** The lines that git prints; null if it fails, is not there or takes too long. */
  private static List<String> git(Path folder, String... arguments) throws IOException, InterruptedException {
    // A monitor that the repository's configuration names is a program.
    List<String> command = new ArrayList<>(List.of("git", "-c", "core.fsmonitor=false", "-C", folder.toString()));
    command.addAll(List.of(arguments));
    File printed = File.createTempFile("podium", ".git");
    try {
      ProcessBuilder builder = new ProcessBuilder(command)
          .redirectInput(new File("/dev/null")).redirectError(ProcessBuilder.Redirect.DISCARD).redirectOutput(printed);
      OF_A_HOOK.forEach(builder.environment()::remove);
      builder.environment().put("GIT_OPTIONAL_LOCKS", "0");
      builder.environment().put("LC_ALL", "C");
      Process process = builder.start();
      try {
        if (!process.waitFor(GIT_SECONDS, TimeUnit.SECONDS) || process.exitValue() != 0) {
          return null;
        }
      } finally {
        process.destroyForcibly();
      }
      return new String(Files.readAllBytes(printed.toPath()), StandardCharsets.UTF_8).lines().toList();
    } finally {
      Files.delete(printed.toPath());
    }
  }

  private static String told(List<String> status, String key) {
    String prefix = "# " + key + " ";
    return status.stream().filter(line -> line.startsWith(prefix)).map(line -> line.substring(prefix.length())).findFirst().orElse("");
  }

  /** The text, or nothing if a record cannot hold it. */
  private static String oneLine(String text, int maxBytes) {
    boolean printable = text.codePoints().noneMatch(point -> Character.isISOControl(point) || point == 0xFFFD);
    return printable && text.getBytes(StandardCharsets.UTF_8).length <= maxBytes ? text : "";
  }
}
