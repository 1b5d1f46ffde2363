package dev.podium;

import dev.podium.v1.VersionBump;
import dev.podium.v1.VersionRecord;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What a push is told beside the model and the path. */
public final class PushOptions {
  String version = "";
  VersionBump bump = VersionBump.VERSION_BUMP_UNSPECIFIED;
  String stage; // null: the lifecycle's initial one
  final List<String> aliases = new ArrayList<>();
  final Map<String, String> labels = new HashMap<>();
  String description = "";
  VersionRecord record = VersionRecord.getDefaultInstance();
  String reason = "";
  String requestId = ""; // empty: one for each push
  boolean create = true;

  /** The next version, in the initial stage, without aliases; the model is created unless it is there. */
  public PushOptions() {}

  /**
   * The version string; else the model's strategy makes one.
   *
   * @param version for example {@code 1.4.0}
   * @return this
   */
  public PushOptions version(String version) {
    this.version = version;
    return this;
  }

  /**
   * Which part of the highest semantic version is raised; else the patch.
   *
   * @param bump the part
   * @return this
   */
  public PushOptions bump(VersionBump bump) {
    this.bump = bump;
    return this;
  }

  /**
   * The first stage; else the lifecycle's initial one.
   *
   * @param stage the stage, empty for none
   * @return this
   */
  public PushOptions stage(String stage) {
    this.stage = stage;
    return this;
  }

  /**
   * Aliases to set or move to the version, with it or not at all.
   *
   * @param aliases for example {@code champion}
   * @return this
   */
  public PushOptions aliases(Collection<String> aliases) {
    this.aliases.addAll(aliases);
    return this;
  }

  /**
   * One more alias.
   *
   * @param alias for example {@code champion}
   * @return this
   */
  public PushOptions alias(String alias) {
    aliases.add(alias);
    return this;
  }

  /**
   * One more label.
   *
   * @param key one line, at most 250 bytes
   * @param value any text, at most 4,096 bytes
   * @return this
   */
  public PushOptions label(String key, String value) {
    labels.put(key, value);
    return this;
  }

  /**
   * Free text.
   *
   * @param description at most 65,536 bytes
   * @return this
   */
  public PushOptions description(String description) {
    this.description = description;
    return this;
  }

  /**
   * What is said about the version for good: params, metrics, inputs and so on. The author, the version of Java and the state of the
   * Git work tree that the path is in are filled in where the record does not say them.
   *
   * @param record the record
   * @return this
   */
  public PushOptions record(VersionRecord record) {
    this.record = record;
    return this;
  }

  /**
   * Why, kept in the events.
   *
   * @param reason at most 4,096 bytes
   * @return this
   */
  public PushOptions reason(String reason) {
    this.reason = reason;
    return this;
  }

  /**
   * Makes it one push however often it is called within 24 hours; else each is one of its own.
   *
   * @param requestId 1 to 128 printable ASCII characters
   * @return this
   */
  public PushOptions requestId(String requestId) {
    this.requestId = requestId;
    return this;
  }

  /**
   * Whether the model is created unless it is there, which it is unless this is false.
   *
   * @param create whether it is
   * @return this
   */
  public PushOptions create(boolean create) {
    this.create = create;
    return this;
  }
}
