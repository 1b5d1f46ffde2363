package dev.podium;

/**
 * How what a follower has stands to what the registry says; the first that holds of STALE, GONE, UNSERVABLE, RESTORED.
 *
 * <p>{@link Follower#current()} stays the last good version in all of them. A process that serves must not fall over because
 * somebody deleted an alias or because the registry is away; whether it stops serving is its own decision, for which this is the
 * ground.
 */
public enum State {
  /** Changes arrive as they happen. */
  CONNECTED,
  /** The registry does not answer, so there may be changes that are not known. */
  STALE,
  /** The reference means nothing any more. */
  GONE,
  /** It means a version that may not serve. */
  UNSERVABLE,
  /**
   * History was cut (a backup was restored), so that what the reference means may be older than what it meant before; until it
   * changes next.
   */
  RESTORED
}
