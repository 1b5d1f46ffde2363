package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.grpc.Status;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Reads from a bucket that sends elsewhere, or begins to answer and says nothing more. */
@Timeout(60)
class BucketTest {
  private static final int SIZE = 1000;
  private static final Duration LONG = Duration.ofHours(1);

  @TempDir Path folder;

  private final Crew crew = new Crew();
  private final CountDownLatch begun = new CountDownLatch(1);
  private final CountDownLatch end = new CountDownLatch(1);
  private final ExecutorService threads = Executors.newCachedThreadPool();
  private HttpServer server;
  private String url;
  private volatile boolean wasSentElsewhere;

  @BeforeEach
  void serve() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(threads);
    server.createContext("/silent", this::fallSilent);
    server.createContext("/redirect", this::redirect);
    server.createContext("/elsewhere", exchange -> wasSentElsewhere = true);
    server.start();
    url = "http://127.0.0.1:" + server.getAddress().getPort();
  }

  @AfterEach
  void stop() {
    end.countDown();
    server.stop(0);
    threads.shutdownNow();
  }

  @Test
  void itSendsNobodyAnywhere() {
    BucketException refused = assertThrows(BucketException.class, () -> read(url + "/redirect", LONG));
    assertTrue(refused.isRefusal);
    assertFalse(wasSentElsewhere);
  }

  @Test
  void aReadThatWaitsEndsWhenPatienceDoes() {
    BucketException cut = assertThrows(BucketException.class, () -> read(url + "/silent?secret", Duration.ofMillis(100)));
    assertFalse(cut.isRefusal);
    assertFalse(cut.getMessage().contains("secret"));
  }

  @Test
  void aReadThatWaitsEndsWhenItsCrewIsStopped() {
    Threads.start("stopper", () -> after(begun, crew::stop));
    assertThrows(StoppedException.class, () -> read(url + "/silent", LONG));
  }

  @Test
  void aReadThatWaitsEndsWhenItsThreadIsInterrupted() {
    Thread reader = Thread.currentThread();
    Threads.start("interrupter", () -> interruptWithin(Body.class, reader));
    PodiumException interrupted = assertThrows(PodiumException.class, () -> read(url + "/silent", LONG));
    assertEquals(Status.Code.CANCELLED, interrupted.code());
    assertTrue(Thread.interrupted());
  }

  @Test
  void noErrorShowsAUrl() {
    for (String one : List.of("http://127.0.0.1:1/secret", "http://[/secret", "file:///secret", "a\nsecret", "http://127.0.0.1:x/secret")) {
      BucketException failed = assertThrows(BucketException.class, () -> read(one, LONG));
      assertFalse(failed.getMessage().contains("secret"), failed.getMessage());
    }
  }

  private void read(String from, Duration silence) throws Exception {
    try (Sink sink = new Sink(folder.resolve("partial"), SIZE)) {
      new Bucket(silence, crew).read(from, SIZE, sink);
    }
  }

  private static void interruptWithin(Class<?> one, Thread reader) {
    while (Stream.of(reader.getStackTrace()).noneMatch(at -> at.getClassName().equals(one.getName()))) {
      Thread.onSpinWait();
    }
    reader.interrupt();
  }

  private void fallSilent(HttpExchange exchange) throws IOException {
    exchange.getResponseHeaders().add("Content-Range", "bytes 0-999/1000");
    exchange.sendResponseHeaders(206, SIZE);
    exchange.getResponseBody().flush();
    begun.countDown();
    after(end, exchange::close);
  }

  private static void after(CountDownLatch latch, Runnable then) {
    try {
      latch.await();
      then.run();
    } catch (InterruptedException stopped) {
      Thread.currentThread().interrupt();
    }
  }

  private void redirect(HttpExchange exchange) throws IOException {
    exchange.getResponseHeaders().add("Location", "/elsewhere");
    exchange.sendResponseHeaders(307, -1);
    exchange.close();
  }
}
