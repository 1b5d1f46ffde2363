package dev.podium;

import java.time.Duration;

/** Points in time by the monotonic clock, in nanoseconds, that may lie very far ahead. */
final class Clock {
  /** About 73 years: sums of it with a time do not overflow. */
  static final long FOREVER = Long.MAX_VALUE / 4;

  private Clock() {}

  static long nanos(Duration duration) {
    return duration.compareTo(Duration.ofNanos(FOREVER)) >= 0 ? FOREVER : Math.max(0, duration.toNanos());
  }

  static long after(long nanos) {
    return System.nanoTime() + Math.min(nanos, FOREVER);
  }

  static long left(long deadline) {
    return deadline - System.nanoTime();
  }

  /** Waits for a notification of {@code monitor}, which the caller holds, until the deadline; false if that has passed. */
  static boolean await(Object monitor, long deadline) throws InterruptedException {
    long left = left(deadline);
    if (left <= 0) {
      return false;
    }
    monitor.wait(left / 1_000_000, (int) (left % 1_000_000));
    return true;
  }
}
