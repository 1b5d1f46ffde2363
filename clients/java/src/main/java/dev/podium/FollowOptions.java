package dev.podium;

import java.time.Duration;
import java.util.function.Consumer;

/** What a follower is told beside its reference. */
public final class FollowOptions {
  Duration timeout; // null: see Follower
  Consumer<Current> onChange = current -> {};
  boolean forServing = true;

  /** Versions that may serve only, and the usual patience. */
  public FollowOptions() {}

  /**
   * How long to wait for the registry at the start. Without it, 2 seconds where a last known version is on this machine, else as long
   * as a call of the registry may take.
   *
   * @param timeout how long
   * @return this
   */
  public FollowOptions timeout(Duration timeout) {
    this.timeout = timeout;
    return this;
  }

  /**
   * Is called in a thread of the follower, each time after another version took its place.
   *
   * @param onChange takes what is current
   * @return this
   */
  public FollowOptions onChange(Consumer<Current> onChange) {
    this.onChange = onChange;
    return this;
  }

  /**
   * Whether versions that may not serve are withheld, which they are unless this is false.
   *
   * @param forServing whether they are
   * @return this
   */
  public FollowOptions forServing(boolean forServing) {
    this.forServing = forServing;
    return this;
  }
}
