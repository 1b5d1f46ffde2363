package dev.podium;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.socket.SocketChannel;
import dev.podium.v1.RegistryServiceGrpc;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** One channel to a server, which has one connection at a time. */
final class Connection {
  static final int MAX_MESSAGE_BYTES = 4 << 20;

  private static final Metadata.Key<String> ACTOR = Metadata.Key.of("podium-actor", Metadata.ASCII_STRING_MARSHALLER);
  /** Of one stream: two chunks of 1 MiB on their way while two others are written. */
  private static final int WINDOW_BYTES = 4 << 20;
  /** A request is kept for its retries: the longest one must fit. */
  private static final long RETRY_BUFFER_BYTES = MAX_MESSAGE_BYTES + (1 << 20);
  private static final long RECONNECT_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

  /** What goes on by itself on another connection: stopped once this one is known to be dead. */
  final Crew resumed = new Crew();

  private final ManagedChannel managed;
  private final Channel channel;
  private volatile boolean left;
  private long reconnected = System.nanoTime() - RECONNECT_NANOS;

  Connection(String address, String actor, Duration timeout, EventLoopGroup loop, Class<? extends SocketChannel> socket) {
    managed = NettyChannelBuilder.forTarget("dns:///" + address.replace("%", "%25").replace("[", "%5B").replace("]", "%5D"))
        .usePlaintext()
        .eventLoopGroup(loop)
        .channelType(socket)
        .userAgent("podium-java")
        .flowControlWindow(WINDOW_BYTES)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        .perRpcBufferLimit(RETRY_BUFFER_BYTES)
        .retryBufferSize(16 * RETRY_BUFFER_BYTES)
        .disableServiceConfigLookUp()
        .defaultServiceConfig(serviceConfig())
        .build();
    channel = ClientInterceptors.intercept(managed, new Identity(actor, timeout));
  }

  /** The channel for the next call. A server that was restarted is found again soon: gRPC itself would wait for up to two minutes. */
  Channel channel() {
    if (isAway()) {
      synchronized (this) {
        if (System.nanoTime() - reconnected >= RECONNECT_NANOS) {
          reconnected = System.nanoTime();
          managed.enterIdle(); // so that the next call connects, and waits for that
        }
      }
    }
    return channel;
  }

  /** No new calls; those that run go on. */
  void leave() {
    left = true;
    managed.shutdown();
    resumed.stop();
  }

  /** Whether nobody is there, as far as is known. */
  boolean isAway() {
    return managed.getState(false) == ConnectivityState.TRANSIENT_FAILURE;
  }

  boolean left() {
    return left;
  }

  /** Ends it with all its calls, and waits for that a moment. */
  void close() {
    managed.shutdownNow();
    try {
      managed.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Every unary call may be repeated: a read changes nothing, a mutation carries a request id. Streams are resumed instead. */
  private static Map<String, Object> serviceConfig() {
    List<Map<String, String>> unary = RegistryServiceGrpc.getServiceDescriptor().getMethods().stream()
        .filter(method -> method.getType() == MethodType.UNARY)
        .map(method -> Map.of("service", RegistryServiceGrpc.SERVICE_NAME, "method", method.getBareMethodName()))
        .toList();
    Map<String, Object> retries = Map.of(
        "maxAttempts", 4.0,
        "initialBackoff", "0.05s",
        "maxBackoff", "1s",
        "backoffMultiplier", 2.0,
        "retryableStatusCodes", List.of("UNAVAILABLE"));
    return Map.of("methodConfig", List.of(Map.of("name", unary, "retryPolicy", retries)));
  }

  /** Says who calls, and gives unary calls a deadline and requests a limit. */
  private record Identity(String actor, Duration timeout) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      CallOptions ours = options.withMaxOutboundMessageSize(MAX_MESSAGE_BYTES);
      if (method.getType() == MethodType.UNARY && options.getDeadline() == null) {
        ours = ours.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
      }
      return new SimpleForwardingClientCall<>(next.newCall(method, ours)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          headers.put(ACTOR, actor);
          super.start(listener, headers);
        }
      };
    }
  }
}
