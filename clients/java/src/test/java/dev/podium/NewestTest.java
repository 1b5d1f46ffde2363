package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class NewestTest {
  private static final Duration MOMENT = Duration.ofMillis(20);

  private final Newest<Integer> newest = new Newest<>();

  @Test
  void aSlowReaderGetsTheNewest() {
    BlockingIterator<Integer> values = newest.values();
    newest.put(1, true);
    assertTrue(values.hasNext());
    newest.put(2, true);
    newest.put(3, true);
    assertEquals(3, values.next());
    assertNull(values.poll(MOMENT));
    newest.put(4, false); // the same version, about which something else is said
    assertNull(values.poll(MOMENT));
    newest.put(5, true);
    assertEquals(5, values.poll(MOMENT));
    assertEquals(5, newest.values().next());
  }

  @Test
  void whoWaitsIsWoken() throws Exception {
    BlockingIterator<Integer> values = newest.values();
    CompletableFuture<Integer> first = CompletableFuture.supplyAsync(values::next);
    Thread.sleep(20);
    newest.put(1, true);
    assertEquals(1, first.get(5, TimeUnit.SECONDS));
    CompletableFuture<Boolean> more = CompletableFuture.supplyAsync(values::hasNext);
    newest.close();
    assertFalse(more.get(5, TimeUnit.SECONDS));
    assertThrows(NoSuchElementException.class, values::next);
  }

  @Test
  void anInterruptIsNoEnd() {
    BlockingIterator<Integer> values = newest.values();
    Thread.currentThread().interrupt();
    assertThrows(PodiumException.class, values::next);
    assertTrue(Thread.interrupted());
    newest.put(1, true);
    assertEquals(1, values.next());
  }
}
