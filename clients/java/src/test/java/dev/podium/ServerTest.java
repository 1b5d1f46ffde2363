package dev.podium;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.podium.v1.DownloadArtifactHeader;
import dev.podium.v1.DownloadArtifactRequest;
import dev.podium.v1.DownloadArtifactResponse;
import dev.podium.v1.File;
import dev.podium.v1.ListFilesRequest;
import dev.podium.v1.ListFilesResponse;
import dev.podium.v1.Reference;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.WatchRequest;
import dev.podium.v1.WatchResponse;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Followers and downloads, with a server whose versions are empty and whose first download stands still. */
@Timeout(60)
class ServerTest extends RegistryServiceGrpc.RegistryServiceImplBase {
  private static final byte[] BYTES = "threshold 0.5".getBytes();
  private static final File FILE = File.newBuilder()
      .setPath("model.txt").setDigest(Digests.of(Text.sha256().digest(BYTES))).setSizeBytes(BYTES.length).build();

  @TempDir Path folder;

  private final AtomicInteger downloads = new AtomicInteger();
  private volatile StreamObserver<WatchResponse> watcher;
  private Server server;
  private String address;

  @BeforeEach
  void serve() throws IOException {
    server = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0)).addService(this).build().start();
    address = "127.0.0.1:" + server.getPort();
  }

  @AfterEach
  void end() throws InterruptedException {
    server.shutdownNow().awaitTermination();
  }

  @Override
  public void watch(WatchRequest request, StreamObserver<WatchResponse> replies) {
    watcher = replies;
    tell(1);
  }

  private void tell(int number) {
    dev.podium.v1.Target target = dev.podium.v1.Target.newBuilder()
        .setModel("fraud").setModelUid("uid").setNumber(number).setDigest(Digests.ofManifest(List.of())).build();
    Reference reference = Reference.newBuilder().setModel("fraud").setName("champion").setTarget(target).build();
    watcher.onNext(WatchResponse.newBuilder().setSnapshot(true).addReferences(reference).setPosition("p" + number).build());
  }

  @Override
  public void listFiles(ListFilesRequest request, StreamObserver<ListFilesResponse> replies) {
    replies.onNext(ListFilesResponse.getDefaultInstance());
    replies.onCompleted();
  }

  @Override
  public void downloadArtifact(DownloadArtifactRequest request, StreamObserver<DownloadArtifactResponse> replies) {
    replies.onNext(DownloadArtifactResponse.newBuilder().setHeader(
        DownloadArtifactHeader.newBuilder().setDigest(FILE.getDigest()).setSizeBytes(BYTES.length)).build());
    if (downloads.getAndIncrement() > 0) {
      replies.onNext(DownloadArtifactResponse.newBuilder().setChunk(ByteString.copyFrom(BYTES)).build());
      replies.onCompleted();
    }
  }

  private Registry connect() {
    return Podium.builder().url(address).cache(folder).connect();
  }

  @Test
  void aCallbackThatFailsIsNoFailedPull() throws Exception {
    CountDownLatch called = new CountDownLatch(1);
    FollowOptions options = new FollowOptions().onChange(current -> {
      called.countDown();
      throw new NoClassDefFoundError("a test's");
    });
    Logger log = Logger.getLogger("dev.podium");
    log.setLevel(Level.OFF); // what is expected here need not be read
    try (Registry registry = connect(); Follower follower = registry.follow("fraud@champion", options)) {
      tell(2);
      assertTrue(called.await(20, TimeUnit.SECONDS));
      assertFalse(follower.await(one -> !one.problem().isEmpty(), Duration.ofMillis(300)));
      assertEquals(2, follower.current().target().number());
    } finally {
      log.setLevel(null);
    }
  }

  @Test
  void anInterruptedThreadWritesWhatWasCurrent() throws Exception {
    try (Registry registry = connect(); Follower follower = registry.follow("fraud@champion")) {
      Path followed = folder.resolve("v1/followed");
      while (!names(followed).stream().anyMatch(name -> name.endsWith(".json"))) {
        Thread.sleep(20);
      }
      Path record = followed.resolve(names(followed).get(0));
      Files.delete(record);
      Thread.currentThread().interrupt();
      follower.close();
      assertTrue(Thread.interrupted());
      assertTrue(Files.exists(record));
    }
  }

  private static List<String> names(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> all = Files.list(folder)) {
      return all.map(one -> one.getFileName().toString()).toList();
    }
  }

  @Test
  void aDownloadThatStandsStillGoesOn() throws Exception {
    Transport transport = new Transport(address, "ann@build-7", Duration.ofSeconds(3));
    try {
      new FileDownload(transport, new Crew(), "fraud:1", FILE, null).fetch(folder.resolve("partial"));
    } finally {
      transport.close();
    }
    assertArrayEquals(BYTES, Files.readAllBytes(folder.resolve("partial")));
    assertEquals(2, downloads.get());
  }

  @Test
  void aChunkInPlaceOfAHeaderIsLetGo() {
    byte[] chunk = DownloadArtifactResponse.newBuilder().setChunk(ByteString.copyFrom(BYTES)).build().toByteArray();
    FramesTest.Pieces memory = new FramesTest.Pieces(chunk, 16);
    FileDownload download = new FileDownload(null, null, "fraud:1", FILE, null);
    assertThrows(HostileServerException.class, () -> download.checkHeader(Frames.DOWNLOAD.parseResponse(memory)));
    assertTrue(memory.closed);
  }
}
