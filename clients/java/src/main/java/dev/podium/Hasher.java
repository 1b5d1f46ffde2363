package dev.podium;

import java.security.MessageDigest;
import java.util.ArrayDeque;
import java.util.Deque;

/** A thread that hashes chunks behind who writes them, and lets them go. */
final class Hasher implements AutoCloseable {
  private static final int AHEAD = 4; // chunks that wait

  private final MessageDigest hash;
  private final Deque<Frames.Download> waiting = new ArrayDeque<>(); // the first one is at work
  private boolean closed;
  private Throwable failure; // none that is known

  /** Nobody else touches the hash from now on, but after {@code await}. */
  Hasher(MessageDigest hash) {
    this.hash = hash;
    Threads.start("podium-hasher", this::run);
  }

  /** Takes a chunk, which it closes. */
  synchronized void add(Frames.Download chunk) {
    try {
      while (waiting.size() >= AHEAD) {
        wait();
      }
    } catch (InterruptedException interrupted) {
      Frames.close(chunk);
      throw PodiumException.interrupted();
    }
    waiting.add(chunk);
    notifyAll();
  }

  /** Waits until all is hashed. */
  synchronized void await() {
    finish();
    if (failure != null) {
      throw new IllegalStateException("a file cannot be hashed", failure);
    }
  }

  private void finish() {
    boolean interrupted = false;
    while (!waiting.isEmpty()) {
      try {
        wait();
      } catch (InterruptedException later) { // it does not take long
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Ends the thread, once all is hashed. */
  @Override
  public synchronized void close() {
    closed = true;
    notifyAll();
    finish();
  }

  private void run() {
    for (Frames.Download chunk = first(); chunk != null; chunk = first()) {
      Throwable why = null;
      try (Frames.Download done = chunk) {
        done.drain(hash::update);
      } catch (Throwable unexpected) { // nobody is to wait for ever
        why = unexpected;
      }
      remove(why);
    }
  }

  private synchronized Frames.Download first() {
    try {
      while (waiting.isEmpty() && !closed) {
        wait();
      }
    } catch (InterruptedException ended) {
      return null;
    }
    return waiting.peek();
  }

  private synchronized void remove(Throwable why) {
    failure = failure == null ? why : failure;
    waiting.remove();
    notifyAll();
  }
}
