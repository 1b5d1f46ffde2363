package dev.podium;

import java.io.IOException;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The thread that brings what a follower is to have next: the newest, one at a time, again and again until it is there. */
final class Puller {
  private static final Logger LOG = Logger.getLogger("dev.podium");

  private final Bring bring;
  private final Failed failed;
  private final Backoff backoff = new Backoff(500, 30_000);
  private Target wanted; // null: there is nothing to do
  private long due = System.nanoTime();
  private Target running;
  private Crew crew;
  private boolean givenUp; // what runs is not wanted any more
  private boolean closed;
  private Thread thread;

  /** Makes a version the current one. */
  interface Bring {
    void now(Target target, Crew crew) throws Exception;
  }

  /** Is told why it could not. */
  interface Failed {
    void with(Target target, Throwable failure);
  }

  Puller(Bring bring, Failed failed) {
    this.bring = bring;
    this.failed = failed;
  }

  void start() {
    thread = Threads.start("podium-puller", this::run);
  }

  /** From now on this is the newest; null stops what is under way. */
  synchronized void want(Target target) {
    wanted = target;
    hurry();
    if (running != null && !Target.same(running, target)) {
      giveUp();
    }
  }

  /** What failed may well go better now. */
  synchronized void hurry() {
    backoff.reset();
    due = System.nanoTime();
    notifyAll();
  }

  /** Stops what is under way, for good. */
  synchronized void close() {
    closed = true;
    giveUp();
    notifyAll();
  }

  Thread thread() {
    return thread;
  }

  private void giveUp() {
    if (running != null) {
      givenUp = true;
      crew.stop();
    }
  }

  private void run() {
    try {
      while (awaitWork()) {
        Throwable failure = attempt();
        Target target = running;
        if (hasFailed(failure)) {
          failed.with(target, failure);
        }
      }
    } catch (InterruptedException ended) {
      // nobody but a program that ends interrupts it
    }
  }

  /** Waits until something is to be done, and says that it is under way; false at the end. */
  private synchronized boolean awaitWork() throws InterruptedException {
    while (!closed) {
      long left = wanted == null ? Clock.FOREVER : Clock.left(due);
      if (left <= 0) {
        running = wanted;
        crew = new Crew();
        wanted = null;
        givenUp = false;
        return true;
      }
      Clock.await(this, Clock.after(left));
    }
    return false;
  }

  private Throwable attempt() {
    try {
      bring.now(running, crew);
      return null;
    } catch (PodiumException | StoppedException | IOException | java.io.UncheckedIOException expected) {
      return expected;
    } catch (Throwable unexpected) {
      LOG.log(Level.SEVERE, "a follower failed to pull a version", unexpected);
      return unexpected;
    }
  }

  private synchronized boolean hasFailed(Throwable failure) {
    Target target = running;
    running = null;
    if (failure == null || givenUp) {
      return false;
    }
    if (wanted == null) {
      wanted = target;
      due = System.nanoTime() + backoff.next();
    }
    return true;
  }
}
