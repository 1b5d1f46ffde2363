package dev.podium;

/** A version that somebody uses: its files stay on this disk until this is closed. {@link Follower#use()} makes it. */
public final class Use implements AutoCloseable {
  private final Current current;
  private final LockFile.Hold hold;
  private final Cache cache;

  Use(Current current, LockFile.Hold hold, Cache cache) {
    this.current = current;
    this.hold = hold;
    this.cache = cache;
  }

  /**
   * What is used.
   *
   * @return the version
   */
  public Current current() {
    return current;
  }

  /** Done: the files may be pruned one day. */
  @Override
  public void close() {
    cache.touch(current.target().digest());
    hold.close();
  }
}
