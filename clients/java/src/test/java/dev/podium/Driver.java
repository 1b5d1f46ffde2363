package dev.podium;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.podium.v1.Event;
import dev.podium.v1.EventState;
import dev.podium.v1.Reference;
import dev.podium.v1.VersionBump;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The driver of the conformance suite: a JSON object a line in, one a line out. */
public final class Driver {
  private static final Gson JSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  private static final Map<String, Object> TIMEOUT = Map.of("timeout", true);

  private final Map<String, Watch> watches = new HashMap<>();
  private final Map<String, Follower> followers = new HashMap<>();
  private final Map<String, BlockingIterator<Current>> changes = new HashMap<>();
  private Registry registry;

  private Driver() {}

  /**
   * Reads until the end of the input.
   *
   * @param arguments none
   * @throws IOException if the input cannot be read
   */
  public static void main(String[] arguments) throws IOException {
    Driver driver = new Driver();
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(JSON.toJson(driver.answer(JsonParser.parseString(line).getAsJsonObject())));
      out.flush();
    }
    driver.close();
  }

  private Map<String, Object> answer(JsonObject asked) {
    Map<String, Object> answer = new HashMap<>();
    try {
      answer.put("ok", run(asked));
    } catch (PodiumException error) {
      answer.put("error", error(error));
    } catch (UncheckedIOException error) {
      answer.put("error", Map.of("kind", "Local", "code", "", "reason", "", "fields", Map.of(), "metadata", Map.of(),
          "message", String.valueOf(error.getCause())));
    }
    return answer;
  }

  private static Map<String, Object> error(PodiumException error) {
    String kind = error.getClass().getSimpleName().replaceAll("Exception$", "");
    return Map.of("kind", kind.equals("Podium") ? "PodiumError" : kind, "code", error.code() == null ? "" : error.code().name(),
        "reason", error.reason(), "fields", error.fields(), "metadata", error.metadata(), "message", error.getMessage());
  }

  private Object run(JsonObject asked) {
    String handle = text(asked, "handle", "");
    return switch (asked.get("do").getAsString()) {
      case "connect" -> connect(asked);
      case "push" -> push(asked);
      case "pull" -> Map.of("path", asked.has("to")
          ? registry.pull(text(asked, "reference", ""), Path.of(text(asked, "to", ""))).toString()
          : registry.pull(text(asked, "reference", "")).toString());
      case "resolve" -> target(registry.resolve(text(asked, "reference", ""), new ResolveOptions()
          .forServing(truth(asked, "for_serving", false)).atLeast(text(asked, "at_least", ""))));
      case "watch" -> watch(asked, handle);
      case "next" -> step(watches.get(handle).poll(seconds(asked)));
      case "position" -> Map.of(
          "position", watches.containsKey(handle) ? watches.get(handle).position() : followers.get(handle).position());
      case "follow" -> follow(asked, handle);
      case "current" -> current(followers.get(handle).current());
      case "change" -> change(asked, handle);
      case "wait" -> await(asked, followers.get(handle));
      case "state" -> state(followers.get(handle));
      case "close" -> asked.has("handle") ? close(handle) : close();
      case "usage" -> Map.of("tasks", Thread.activeCount());
      default -> {
        System.err.println("no such verb: " + asked);
        System.exit(2);
        yield null;
      }
    };
  }

  private Object connect(JsonObject asked) {
    close();
    Podium.Builder builder = Podium.builder().url(text(asked, "url", null)).actor(text(asked, "actor", null));
    if (asked.has("cache") && !asked.get("cache").isJsonNull()) {
      builder.cache(Path.of(text(asked, "cache", "")));
    }
    if (asked.has("timeout_seconds") && !asked.get("timeout_seconds").isJsonNull()) {
      builder.timeout(duration(asked.get("timeout_seconds")));
    }
    registry = builder.direct(truth(asked, "direct", false)).connect();
    return Map.of();
  }

  private Object push(JsonObject asked) {
    PushOptions options = new PushOptions().version(text(asked, "version", "")).description(text(asked, "description", ""))
        .create(truth(asked, "create", true));
    if (!text(asked, "bump", "").isEmpty()) {
      options.bump(VersionBump.valueOf("VERSION_BUMP_" + text(asked, "bump", "").toUpperCase(Locale.ROOT)));
    }
    if (text(asked, "stage", null) != null) {
      options.stage(text(asked, "stage", ""));
    }
    if (!text(asked, "request_id", "").isEmpty()) {
      options.requestId(text(asked, "request_id", ""));
    }
    options.aliases(texts(asked, "aliases"));
    if (asked.has("labels") && !asked.get("labels").isJsonNull()) {
      asked.getAsJsonObject("labels").asMap().forEach((key, value) -> options.label(key, value.getAsString()));
    }
    Push push = registry.push(text(asked, "model", ""), Path.of(text(asked, "path", "")), options);
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("model", push.version().getModel());
    told.put("number", push.version().getNumber());
    told.put("version", push.version().getVersion());
    told.put("digest", push.version().getDigest());
    told.put("record_digest", push.version().getRecordDigest());
    told.put("stage", push.version().getStage());
    told.put("created", push.created());
    told.put("files", push.files());
    told.put("size_bytes", push.sizeBytes());
    told.put("uploaded_bytes", push.uploadedBytes());
    told.put("left_out", push.leftOut());
    return told;
  }

  private Object watch(JsonObject asked, String handle) {
    WatchOptions options = new WatchOptions().since(text(asked, "since", "")).atLeast(text(asked, "at_least", ""))
        .forServing(truth(asked, "for_serving", false));
    watches.put(handle, registry.watch(texts(asked, "references"), options));
    return Map.of();
  }

  private Object follow(JsonObject asked, String handle) {
    FollowOptions options = new FollowOptions().forServing(truth(asked, "for_serving", true));
    if (asked.has("seconds") && !asked.get("seconds").isJsonNull()) {
      options.timeout(seconds(asked));
    }
    followers.put(handle, registry.follow(text(asked, "reference", ""), options));
    return current(followers.get(handle).current());
  }

  private Object change(JsonObject asked, String handle) {
    Current next = changes.computeIfAbsent(handle, one -> followers.get(one).changes()).poll(seconds(asked));
    return next == null ? TIMEOUT : current(next);
  }

  private static Object await(JsonObject asked, Follower follower) {
    boolean holds = follower.await(one -> holds(asked, one), seconds(asked));
    Map<String, Object> told = new HashMap<>(state(follower));
    if (!holds) {
      told.putAll(TIMEOUT);
    }
    return told;
  }

  private static boolean holds(JsonObject asked, Follower follower) {
    boolean state = !asked.has("state") || follower.state().name().equalsIgnoreCase(text(asked, "state", ""));
    return state && (!asked.has("number") || number(follower) == asked.get("number").getAsLong());
  }

  private static Map<String, Object> state(Follower follower) {
    return Map.of("state", follower.state().name().toLowerCase(Locale.ROOT), "problem", follower.problem(),
        "warnings", follower.warnings(), "number", number(follower));
  }

  private static long number(Follower follower) {
    return follower.current() == null ? 0 : follower.current().target().number();
  }

  private Object close(String handle) {
    Watch watch = watches.remove(handle);
    if (watch != null) {
      watch.close();
    }
    Follower follower = followers.remove(handle);
    if (follower != null) {
      follower.close();
    }
    changes.remove(handle);
    return Map.of();
  }

  private Object close() {
    List.copyOf(watches.keySet()).forEach(this::close);
    List.copyOf(followers.keySet()).forEach(this::close);
    if (registry != null) {
      registry.close();
    }
    registry = null;
    return Map.of();
  }

  // What is told.

  private static Map<String, Object> target(Target target) {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("model", target.model());
    told.put("model_uid", target.modelUid());
    told.put("number", target.number());
    told.put("version", target.version());
    told.put("digest", target.digest());
    told.put("record_digest", target.recordDigest());
    told.put("stage", target.stage());
    told.put("servable", target.servable());
    told.put("warnings", target.warnings());
    return told;
  }

  private static Map<String, Object> current(Current current) {
    if (current == null) {
      return null;
    }
    Map<String, Object> told = target(current.target());
    told.put("reference", current.reference());
    told.put("path", current.path().toString());
    return told;
  }

  private static Map<String, Object> step(Watch.Step step) {
    if (step instanceof Watch.Snapshot snapshot) {
      return Map.of("snapshot", snapshot.references().stream().map(Driver::reference).toList(),
          "position", snapshot.position(), "restored", snapshot.restored());
    }
    if (step instanceof Watch.Changes changes) {
      return Map.of("changes", changes.events().stream().map(Driver::event).toList(), "position", changes.position());
    }
    return TIMEOUT;
  }

  private static Map<String, Object> reference(Reference reference) {
    return Map.of("model", reference.getModel(), "model_uid", reference.getModelUid(), "kind", reference.getKind().name(),
        "name", reference.getName(), "number", reference.getTarget().getNumber(), "digest", reference.getTarget().getDigest(),
        "absence", reference.getAbsence().name(), "warnings", List.copyOf(reference.getWarningsList()));
  }

  private static Map<String, Object> event(Event event) {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("revision", event.getRevision());
    told.put("ordinal", event.getOrdinal());
    told.put("position", event.getPosition());
    told.put("kind", event.getKind().name());
    told.put("model", event.getModel());
    told.put("name", event.getName());
    told.put("actor", event.getActor());
    told.put("reason", event.getReason());
    told.put("rollback", event.getRollback());
    told.put("before", number(event.getBefore()));
    told.put("after", number(event.getAfter()));
    told.put("absence", event.getAbsence().name());
    return told;
  }

  private static long number(EventState state) {
    return state.hasVersion() ? state.getVersion().getNumber() : state.getTarget().getNumber();
  }

  // What is asked.

  private static String text(JsonObject asked, String name, String otherwise) {
    JsonElement found = asked.get(name);
    return found == null || found.isJsonNull() ? otherwise : found.getAsString();
  }

  private static boolean truth(JsonObject asked, String name, boolean otherwise) {
    JsonElement found = asked.get(name);
    return found == null || found.isJsonNull() ? otherwise : found.getAsBoolean();
  }

  private static List<String> texts(JsonObject asked, String name) {
    List<String> found = new ArrayList<>();
    if (asked.has(name) && !asked.get(name).isJsonNull()) {
      asked.getAsJsonArray(name).forEach(one -> found.add(one.getAsString()));
    }
    return found;
  }

  private static Duration seconds(JsonObject asked) {
    return duration(asked.get("seconds"));
  }

  private static Duration duration(JsonElement seconds) {
    return Duration.ofNanos((long) (seconds.getAsDouble() * 1e9));
  }
}
