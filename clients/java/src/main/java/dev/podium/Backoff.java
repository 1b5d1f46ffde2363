package dev.podium;

import java.util.concurrent.ThreadLocalRandom;

/** Pauses of any length up to a limit that doubles from {@code first} to {@code longest}; for one thread. */
final class Backoff {
  private final long first;
  private final long longest;
  private long limit;

  /** In milliseconds. */
  Backoff(long first, long longest) {
    this.first = first;
    this.longest = longest;
    reset();
  }

  void reset() {
    limit = first;
  }

  /** How many nanoseconds to wait now. */
  long next() {
    long now = limit * 1_000_000;
    limit = Math.min(2 * limit, longest);
    return ThreadLocalRandom.current().nextLong(now + 1);
  }
}
