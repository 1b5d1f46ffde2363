package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.podium.v1.GetServerInfoRequest;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Futures, interrupts and threads, with a server that takes connections and says nothing, or none. */
@Timeout(60)
class RegistryTest {
  @TempDir Path cache;

  private ServerSocket silent;
  private Registry registry;

  @BeforeEach
  void connect() throws IOException {
    silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    registry = Podium.builder().url("127.0.0.1:" + silent.getLocalPort()).cache(cache).connect();
  }

  @AfterEach
  void leavesNoThread() throws Exception {
    registry.close();
    silent.close();
    for (int round = 0; round < 100 && ours() > 0; round++) {
      Thread.sleep(50);
    }
    assertEquals(0, ours());
  }

  private static long ours() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().startsWith("podium-") && !thread.getName().equals("podium-end")).count();
  }

  @Test
  void aFutureFailsAsTheCallDoes() throws Exception {
    silent.close();
    ExecutionException error = assertThrows(ExecutionException.class, () -> registry.resolveAsync("fraud@champion").get(20, TimeUnit.SECONDS));
    UnavailableException why = assertInstanceOf(UnavailableException.class, error.getCause());
    assertEquals(Code.UNAVAILABLE, why.code());
    assertEquals("UNAVAILABLE", why.reason());
  }

  @Test
  void whatIsCancelledEnds() throws Exception {
    for (CompletableFuture<?> future : new CompletableFuture<?>[] {
        registry.followAsync("fraud@champion", new FollowOptions()), registry.pullAsync("fraud@champion"),
        registry.resolveAsync("fraud@champion")}) {
      Thread.sleep(100);
      assertTrue(future.cancel(true));
    }
  }

  @Test
  void anInterruptEndsACall() {
    Thread.currentThread().interrupt();
    PodiumException error = assertThrows(PodiumException.class, () -> registry.resolve("fraud@champion"));
    assertEquals(Code.CANCELLED, error.code());
    assertTrue(Thread.interrupted());
    Thread.currentThread().interrupt();
    assertEquals(Code.CANCELLED, assertThrows(PodiumException.class, () -> registry.follow("fraud@champion")).code());
    assertTrue(Thread.interrupted());
  }

  @Test
  void aWatchWaitsForNothingUnlessAsked() {
    Watch watch = registry.watch("fraud");
    assertNull(watch.poll(Duration.ofMillis(20)));
    Thread.currentThread().interrupt();
    assertThrows(PodiumException.class, watch::next);
    assertTrue(Thread.interrupted());
    assertNull(watch.poll(Duration.ofMillis(20))); // it goes on
  }

  @Test
  void closingEndsWhoWaits() throws Exception {
    Watch watch = registry.watch("fraud");
    CompletableFuture<Boolean> next = CompletableFuture.supplyAsync(watch::hasNext);
    Thread.sleep(100);
    registry.close();
    assertFalse(next.get(10, TimeUnit.SECONDS));
  }

  @Test
  void nothingIsOpenedOnceItIsClosed() {
    registry.close();
    assertThrows(PodiumException.class, () -> registry.watch("fraud"));
    assertThrows(PodiumException.class, () -> registry.follow("fraud@champion"));
  }

  @Test
  void whatAStubThrowsIsExplained() throws IOException {
    silent.close();
    StatusRuntimeException error = assertThrows(
        StatusRuntimeException.class, () -> registry.stub().getServerInfo(GetServerInfoRequest.getDefaultInstance()));
    assertInstanceOf(UnavailableException.class, registry.explain(error));
  }
}
