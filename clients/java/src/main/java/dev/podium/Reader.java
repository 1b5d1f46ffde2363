package dev.podium;

import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * The thread that reads a watch for as long as it is not closed, whatever the watch ends with: a process that serves goes on with what
 * it has, and a proxy that led to another server may lead back one day.
 */
final class Reader {
  private static final Logger LOG = Logger.getLogger("dev.podium");

  private final Supplier<Watch> open;
  private final Consumer<Watch.Step> apply;
  private final Consumer<RuntimeException> lost;
  private final Crew crew = new Crew(); // stopped: closed
  private volatile Watch watch;
  private Thread thread;

  /** Calls {@code apply} for all that watches say, and {@code lost} when one ends with an error. */
  Reader(Supplier<Watch> open, Consumer<Watch.Step> apply, Consumer<RuntimeException> lost) {
    this.open = open;
    this.apply = apply;
    this.lost = lost;
    watch = open.get();
  }

  void start() {
    thread = Threads.start("podium-reader", this::run);
  }

  /** The watch that is read. */
  Watch watch() {
    return watch;
  }

  /** Ends the watch, for good. */
  void close() {
    crew.stop();
    watch.close();
  }

  Thread thread() {
    return thread;
  }

  private void run() {
    Backoff backoff = new Backoff(1_000, 60_000); // what a watch ends with is likely to come back
    while (!crew.stopped()) {
      try {
        while (watch.hasNext()) {
          Watch.Step step = watch.next();
          backoff.reset();
          apply.accept(step);
        }
      } catch (RuntimeException error) {
        LOG.log(Level.WARNING, "a follower's watch ended: {0}", error instanceof PodiumException ? error.getMessage() : error);
        lost.accept(error);
        watch.close();
        beginAgain(backoff.next());
      }
    }
  }

  private void beginAgain(long nanos) {
    try {
      crew.pause(nanos);
    } catch (StoppedException closed) {
      return;
    }
    watch = open.get();
    if (crew.stopped()) {
      watch.close();
    }
  }
}
