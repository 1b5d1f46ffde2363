package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import dev.podium.v1.FindMissingBlobsRequest;
import dev.podium.v1.FindMissingBlobsResponse;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.RegistryServiceGrpc.RegistryServiceImplBase;
import dev.podium.v1.ResolveVersionRequest;
import dev.podium.v1.ResolveVersionResponse;
import dev.podium.v1.WatchRequest;
import dev.podium.v1.WatchResponse;
import io.grpc.Attributes;
import io.grpc.Server;
import io.grpc.ServerTransportFilter;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Several servers in a list, and what a client has seen at one of them. */
@Timeout(60)
class ServersTest {
  @TempDir Path folder;

  private final List<Fake> servers = new ArrayList<>();
  private final List<Registry> registries = new ArrayList<>();

  /** A server whose champion is the version of its own number. Its history goes as far as a position. */
  private static final class Fake extends RegistryServiceImplBase {
    final AtomicInteger connections = new AtomicInteger(); // that ever were
    final List<String> asked = Collections.synchronizedList(new ArrayList<>()); // what its answers had to show
    final HealthStatusManager health = new HealthStatusManager();
    final int number;
    final String address;
    final Queue<io.grpc.Status> failing = new ConcurrentLinkedQueue<>(); // how the next resolutions end
    volatile String reached = "9999";
    private final Server server;

    Fake(int number) throws IOException {
      this.number = number;
      serves(ServingStatus.SERVING);
      server = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
          .addService(this).addService(health.getHealthService()).addTransportFilter(new ServerTransportFilter() {
            @Override
            public Attributes transportReady(Attributes attributes) {
              connections.incrementAndGet();
              return attributes;
            }
          }).build().start();
      address = "127.0.0.1:" + server.getPort();
    }

    void serves(ServingStatus status) {
      health.setStatus(RegistryServiceGrpc.SERVICE_NAME, status);
    }

    /** Whether it can show that; else the call is refused. */
    private boolean shows(String atLeast, StreamObserver<?> replies) {
      asked.add(atLeast);
      boolean shows = atLeast.compareTo(reached) <= 0;
      if (!shows) {
        ErrorInfo info = ErrorInfo.newBuilder().setDomain("podium").setReason("POSITION_UNKNOWN").build();
        replies.onError(StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
            .setCode(io.grpc.Status.Code.OUT_OF_RANGE.value()).addDetails(Any.pack(info)).build()));
      }
      return shows;
    }

    private dev.podium.v1.Target target() {
      return dev.podium.v1.Target.newBuilder().setModel("m").setNumber(number).build();
    }

    @Override
    public void resolveVersion(ResolveVersionRequest request, StreamObserver<ResolveVersionResponse> replies) {
      io.grpc.Status failure = failing.poll();
      if (failure != null) {
        replies.onError(failure.asRuntimeException());
      } else if (shows(request.getAtLeast(), replies)) {
        replies.onNext(ResolveVersionResponse.newBuilder().setTarget(target()).setPosition(reached).build());
        replies.onCompleted();
      }
    }

    @Override
    public void watch(WatchRequest request, StreamObserver<WatchResponse> replies) {
      if (shows(request.getAtLeast(), replies)) {
        replies.onNext(WatchResponse.newBuilder().setSnapshot(true).setPosition(reached).build());
      }
    }

    @Override
    public void findMissingBlobs(FindMissingBlobsRequest request, StreamObserver<FindMissingBlobsResponse> replies) {
      // says nothing
    }
  }

  @AfterEach
  void end() throws InterruptedException {
    registries.forEach(Registry::close);
    for (Fake one : servers) {
      one.server.shutdownNow().awaitTermination();
    }
  }

  private Fake serve() throws IOException {
    servers.add(new Fake(servers.size() + 1));
    return servers.get(servers.size() - 1);
  }

  private Registry connect(String... addresses) {
    return connect(Duration.ofSeconds(20), addresses);
  }

  private Registry connect(Duration timeout, String... addresses) {
    registries.add(Podium.builder().url(String.join(",", addresses)).cache(folder).timeout(timeout).connect());
    return registries.get(registries.size() - 1);
  }

  /** How many of the next calls each server answers, by its number. */
  private Map<Integer, Integer> answers(Registry registry) {
    Map<Integer, Integer> answers = new HashMap<>();
    for (int call = 0; call < 10 * servers.size(); call++) {
      answers.merge((int) registry.resolve("m@champion").number(), 1, Integer::sum);
    }
    return answers;
  }

  private static void eventually(BooleanSupplier holds) throws InterruptedException {
    while (!holds.getAsBoolean()) {
      Thread.sleep(1);
    }
  }

  private static String named(Fake server) {
    return server.address.replace("127.0.0.1", "localhost");
  }

  @Test
  void addressesAreAList() {
    Map<String, String> lists = Map.of(
        "127.0.0.1:7070", "127.0.0.1:7070",
        "grpc://[::1]:7070/", "[::1]:7070",
        "10.0.0.2:7070,grpc://10.0.0.1:7070", "10.0.0.2:7070,10.0.0.1:7070",
        "a:1,b:2,grpc://a:1,b:2", "a:1,b:2");
    lists.forEach((list, parsed) -> assertEquals(parsed, Address.parse(list)));
    Map<String, String> wrong = Map.of("a:1,", "''", ",a:1", "''", "a:1,,b:2", "''", "a:1, b:2", "' b:2'", "a:1,b", "'b'");
    wrong.forEach((list, named) -> {
      String said = assertThrows(InvalidArgumentException.class, () -> Address.parse(list)).getMessage();
      assertTrue(said.startsWith(named), said);
    });
    assertTrue(Address.isOneServer("127.0.0.1:7070") && Address.isOneServer("[::1]:7070"));
    assertFalse(Address.isOneServer("registry:7070") || Address.isOneServer("10.0.0.1:7070,10.0.0.2:7070"));
  }

  @Test
  void callsGoToAllServersThatServe() throws Exception {
    Fake one = serve();
    Fake other = serve();
    Registry registry = connect(one.address, other.address, one.address);
    eventually(() -> answers(registry).size() == 2);
    assertEquals(Map.of(1, 10, 2, 10), answers(registry));
    assertEquals(1, one.connections.get());
    one.serves(ServingStatus.NOT_SERVING);
    eventually(() -> !answers(registry).containsKey(1));
    one.serves(ServingStatus.SERVING);
    eventually(() -> answers(registry).containsKey(1));
  }

  @Test
  void aNameThatCannotBeLookedUpIsLeftOut() throws Exception {
    Fake one = serve();
    Fake other = serve();
    Registry registry = connect("no-such-name.invalid:7070", one.address, named(other), named(one));
    eventually(() -> answers(registry).size() == 2);
    assertEquals(1, one.connections.get()); // though two names lead there
  }

  @Test
  void whereNobodyIsThereIsSaidOfAll() {
    UnavailableException error =
        assertThrows(UnavailableException.class, () -> connect("127.0.0.1:1", "127.0.0.1:2").resolve("m@champion"));
    assertTrue(error.getMessage().contains("no Podium server at 127.0.0.1:1,127.0.0.1:2:"), error.getMessage());
  }

  @Test
  void whatAServerThatStopsDidNotBeginIsRepeated() throws IOException {
    Fake one = serve();
    one.failing.addAll(List.of(io.grpc.Status.CANCELLED, io.grpc.Status.UNAVAILABLE));
    connect(one.address).resolve("m@champion");
    one.failing.addAll(List.of(io.grpc.Status.CANCELLED, io.grpc.Status.UNAVAILABLE, io.grpc.Status.CANCELLED));
    connect(one.address, "127.0.0.1:1").resolve("m@champion");
    assertEquals(2, one.asked.size());
  }

  @Test
  void aServerThatIsAwayIsTriedAgainWhileAnotherAnswers() throws Exception {
    Fake one = serve();
    try (ServerSocket away = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
      connect(one.address, "127.0.0.1:" + away.getLocalPort()).resolve("m@champion");
      for (int times = 0; times < 12; times++) { // gRPC's own pauses would take minutes
        away.accept().close();
      }
    }
  }

  @Test
  void aCallWithoutAnAnswerIsTheLastOfItsConnection() throws Exception {
    Fake one = serve();
    Registry registry = connect(Duration.ofMillis(300), one.address);
    assertThrows(UnavailableException.class, () -> {
      try {
        registry.stub().findMissingBlobs(FindMissingBlobsRequest.getDefaultInstance());
      } catch (io.grpc.StatusRuntimeException error) {
        throw registry.explain(error);
      }
    });
    eventually(() -> {
      registry.resolve("m@champion");
      return one.connections.get() == 2;
    });
  }

  @Test
  void whatAClientHasSeenEveryServerHasToShow() throws Exception {
    Fake one = serve();
    one.reached = "0007";
    Registry registry = connect(one.address);
    registry.resolve("m@champion");
    registry.resolveAsync("m@champion").get(20, TimeUnit.SECONDS);
    registry.resolve("m@champion", new ResolveOptions().atLeast("0005"));
    registry.stub().resolveVersion(ResolveVersionRequest.getDefaultInstance());
    assertEquals(List.of("", "0007", "0005", "0007"), one.asked);

    one.asked.clear();
    one.reached = "0003"; // an older copy of its history
    assertThrows(OutOfRangeException.class, () -> registry.resolve("m@champion", new ResolveOptions().atLeast("0007")));
    registry.resolve("m@champion");
    registry.resolve("m@champion");
    assertEquals(List.of("0007", "0007", "", "0003"), one.asked);

    one.asked.clear();
    one.reached = "0001";
    registry.resolveAsync("m@champion").get(20, TimeUnit.SECONDS);
    assertEquals(List.of("0003", ""), one.asked);
  }

  @Test
  void aWatchShowsWhatTheClientHasSeen() throws Exception {
    Fake one = serve();
    Transport transport = new Transport(one.address, "ann@build-7", Duration.ofSeconds(20));
    try {
      transport.session.see("0004");
      assertFalse(snapshot(transport).restored());
      transport.session.forget("9999"); // which the watch said
      transport.session.see("0004");
      one.reached = "0002";
      assertTrue(snapshot(transport).restored());
      assertEquals(List.of("0004", "0004", ""), one.asked);
      assertEquals("0002", transport.session.position());
    } finally {
      transport.close();
    }
  }

  private static Watch.Snapshot snapshot(Transport transport) {
    Watch watch = new Watch(transport, WatchFilters.of(List.of("m@champion"), List.of()), new WatchOptions());
    try {
      return (Watch.Snapshot) watch.next();
    } finally {
      watch.close();
    }
  }

  @Test
  void positionsThatOvertakeEachOtherLeaveTheNewest() {
    Session session = new Session();
    session.see("0007");
    session.see("0006");
    session.see("");
    assertEquals("0007", session.position());
    session.forget("0006");
    assertNotEquals("", session.position());
    session.forget("0007");
    assertEquals("", session.position());
  }
}
