package dev.podium;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;

/** Threads that no program waits for when it ends. */
final class Threads {
  private Threads() {}

  static Thread start(String name, Runnable run) {
    Thread thread = new Thread(run, name);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  /** Waits for all of them; an interrupt calls {@code hurry} first, and stays. */
  static void join(List<Thread> threads, Runnable hurry) {
    boolean interrupted = false;
    for (Thread thread : threads) {
      while (thread.isAlive()) {
        try {
          thread.join();
        } catch (InterruptedException again) {
          interrupted = true;
          hurry.run();
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Runs a blocking call in a thread of its own, which is interrupted if the future is cancelled. */
  static <T> CompletableFuture<T> async(String name, Supplier<T> call) {
    CompletableFuture<T> future = new CompletableFuture<>();
    Thread thread = start(name, () -> {
      try {
        T done = call.get();
        if (!future.complete(done) && done instanceof AutoCloseable unwanted) {
          unwanted.close(); // it was cancelled a moment too late
        }
      } catch (Throwable failure) {
        future.completeExceptionally(failure);
      }
    });
    future.whenComplete((done, failure) -> {
      if (future.isCancelled()) {
        thread.interrupt();
      }
    });
    return future;
  }
}
