package dev.podium;

import java.time.Duration;
import java.util.Iterator;

/**
 * An iterator over what is yet to come, for one thread. {@link #hasNext()} waits for the next one, and is false at the end; {@link
 * #next()} waits too, and throws {@link java.util.NoSuchElementException} at the end. A thread that is interrupted gets a {@link
 * PodiumException} with the code CANCELLED, and may go on later.
 *
 * @param <T> what comes
 */
public interface BlockingIterator<T> extends Iterator<T> {

  /**
   * Waits for the next one, but not for ever.
   *
   * @param timeout how long
   * @return the next one, null if none came in time or the end has
   */
  T poll(Duration timeout);
}
