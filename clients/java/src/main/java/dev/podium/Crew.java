package dev.podium;

import io.grpc.Status.Code;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Threads that work off a list side by side. The first failure, an interrupt, and {@code stop} end them all. */
final class Crew {
  static final int WORKERS = 4;

  private static final Set<Code> CUT = EnumSet.of(Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED);
  private static final Set<String> MAY_PASS = Set.of("UPLOAD_BUSY", "OVERLOADED", "OFFSET_MISMATCH", "CONTENT_MISMATCH");

  private final CountDownLatch stop = new CountDownLatch(1);
  private final Set<Runnable> cancels = new HashSet<>();

  /** What is done for each item. */
  interface Work<T> {
    void on(T item) throws Exception;
  }

  /** How to say that this thread does not wait any more. */
  interface Stoppable extends AutoCloseable {
    @Override
    void close();
  }

  boolean stopped() {
    return stop.getCount() == 0;
  }

  /** Ends all that it does. Any thread may call it, and more than once. */
  void stop() {
    List<Runnable> all;
    synchronized (cancels) {
      stop.countDown();
      all = List.copyOf(cancels);
    }
    all.forEach(Runnable::run);
  }

  /** Until it is closed, {@code stop} calls this, which ends what this thread is waiting for; at once if it is stopped already. */
  Stoppable stoppable(Runnable cancel) {
    boolean late;
    synchronized (cancels) {
      cancels.add(cancel);
      late = stopped();
    }
    if (late) {
      cancel.run();
    }
    return () -> {
      synchronized (cancels) {
        cancels.remove(cancel);
      }
    };
  }

  void check() {
    if (stopped()) {
      throw new StoppedException();
    }
  }

  /** Sleeps; StoppedException as soon as the crew is stopped. */
  void pause(long nanos) {
    try {
      if (stop.await(nanos, TimeUnit.NANOSECONDS)) {
        throw new StoppedException();
      }
    } catch (InterruptedException interrupted) {
      throw PodiumException.interrupted();
    }
  }

  /** Does the work for every item, in this thread and up to three more; the first failure once all are back. */
  <T> void run(Collection<T> items, Work<? super T> work) throws Exception {
    Iterator<T> todo = items.iterator();
    List<Throwable> failures = new ArrayList<>();
    Runnable workOff = () -> {
      try {
        for (T item = next(todo); item != null; item = next(todo)) {
          check();
          work.on(item);
        }
      } catch (Throwable failure) {
        synchronized (failures) {
          failures.add(failure);
        }
        stop();
      }
    };
    List<Thread> helpers = new ArrayList<>();
    for (int count = 1; count < Math.min(WORKERS, items.size()); count++) {
      helpers.add(Threads.start("podium-transfer", workOff));
    }
    workOff.run();
    Threads.join(helpers, this::stop);
    if (!failures.isEmpty()) {
      raise(failures.get(0));
    }
    check();
  }

  /** Attempts of one transfer, with growing pauses, for as long as patience lasts. */
  <T> T attempts(Patience patience, Callable<T> attempt) throws Exception {
    Backoff backoff = new Backoff(100, 2_000);
    while (true) {
      try {
        return attempt.call();
      } catch (PodiumException error) {
        if (stopped() || Thread.currentThread().isInterrupted() || !mayResume(error) || patience.isOver()) {
          throw error;
        }
      }
      pause(backoff.next());
    }
  }

  /** Whether the same transfer may well go on in a moment: it was cut, or somebody else is in the way. */
  private static boolean mayResume(PodiumException error) {
    return CUT.contains(error.code()) || MAY_PASS.contains(error.reason());
  }

  private static <T> T next(Iterator<T> todo) {
    synchronized (todo) {
      return todo.hasNext() ? todo.next() : null;
    }
  }

  private static void raise(Throwable failure) throws Exception {
    if (failure instanceof Error error) {
      throw error;
    }
    throw (Exception) failure;
  }
}
