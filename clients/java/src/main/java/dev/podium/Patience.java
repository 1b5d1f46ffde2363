package dev.podium;

import java.time.Duration;

/** Gives a transfer up once no byte has moved for so long. */
final class Patience {
  private final long nanos;
  private volatile long since;

  Patience(Duration longest) {
    nanos = longest.toNanos();
    moved();
  }

  /** Bytes have moved: the clock starts again. */
  void moved() {
    since = System.nanoTime();
  }

  boolean isOver() {
    return System.nanoTime() - since > nanos;
  }
}
