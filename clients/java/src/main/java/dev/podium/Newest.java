package dev.podium;

import java.time.Duration;
import java.util.NoSuchElementException;

/** A value that is replaced now and then, for those who wait for the next one. */
final class Newest<T> {
  private T value;
  private long turn;
  private boolean closed;

  /** Replaces the value; unless {@code tell}, only those who have not had this one yet see that. */
  synchronized void put(T next, boolean tell) {
    value = next;
    if (tell) {
      turn++;
    }
    notifyAll();
  }

  /** There will be no other. */
  synchronized void close() {
    closed = true;
    notifyAll();
  }

  /** The value now, then each that replaces it: a slow reader gets the newest, and none that was replaced meanwhile. */
  BlockingIterator<T> values() {
    return new Values();
  }

  private final class Values implements BlockingIterator<T> {
    private long seen;

    @Override
    public boolean hasNext() {
      synchronized (Newest.this) {
        return await(Clock.FOREVER);
      }
    }

    @Override
    public T next() {
      T next = take(Clock.FOREVER);
      if (next == null) {
        throw new NoSuchElementException("it is closed");
      }
      return next;
    }

    @Override
    public T poll(Duration timeout) {
      return take(Clock.nanos(timeout));
    }

    private T take(long nanos) {
      synchronized (Newest.this) {
        if (!await(nanos)) {
          return null;
        }
        seen = turn;
        return value;
      }
    }

    private boolean await(long nanos) {
      long deadline = Clock.after(nanos);
      try {
        while (!closed && turn <= seen) {
          if (!Clock.await(Newest.this, deadline)) {
            return false;
          }
        }
      } catch (InterruptedException interrupted) {
        throw PodiumException.interrupted();
      }
      return !closed;
    }
  }
}
