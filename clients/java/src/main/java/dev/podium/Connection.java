package dev.podium;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientCall.Listener;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.socket.SocketChannel;
import dev.podium.v1.RegistryServiceGrpc;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** One channel: a connection to the one server, or to each that there may be, among which gRPC chooses for each call. */
final class Connection {
  static final int MAX_MESSAGE_BYTES = 4 << 20;

  private static final Metadata.Key<String> ACTOR = Metadata.Key.of("podium-actor", Metadata.ASCII_STRING_MARSHALLER);
  /** Of one stream: two chunks of 1 MiB on their way while two others are written. */
  private static final int WINDOW_BYTES = 4 << 20;
  /** A request is kept for its retries: the longest one must fit. */
  private static final long RETRY_BUFFER_BYTES = MAX_MESSAGE_BYTES + (1 << 20);
  private static final long RECONNECT_NANOS = TimeUnit.MILLISECONDS.toNanos(100);
  private static final long RETURN_MILLIS = 500;

  /** What goes on by itself on another connection: stopped once this one is known to be dead. */
  final Crew resumed = new Crew();

  private final ManagedChannel managed;
  private final Channel channel;
  private volatile boolean left;
  private final ScheduledFuture<?> returning; // null where there is one server
  private long reconnected = System.nanoTime() - RECONNECT_NANOS;

  /** Who calls, how long a call may take, what was seen, and what leaves a connection that does not answer. */
  record Caller(String actor, Duration timeout, Session session, Consumer<Connection> leave) {}

  Connection(String address, Caller caller, EventLoopGroup loop, Class<? extends SocketChannel> socket) {
    boolean balanced = !Address.isOneServer(address);
    managed = NettyChannelBuilder.forTarget(Servers.target(address))
        .usePlaintext()
        .eventLoopGroup(loop)
        .channelType(socket)
        .userAgent("podium-java")
        .flowControlWindow(WINDOW_BYTES)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .keepAliveTime(10, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        .perRpcBufferLimit(RETRY_BUFFER_BYTES)
        .retryBufferSize(16 * RETRY_BUFFER_BYTES)
        .disableServiceConfigLookUp()
        .defaultServiceConfig(serviceConfig(balanced))
        .build();
    channel = ClientInterceptors.intercept(managed, caller.session, new Identity(this, caller));
    returning = !balanced ? null
        : loop.scheduleWithFixedDelay(this::tryAgain, RETURN_MILLIS, RETURN_MILLIS, TimeUnit.MILLISECONDS);
  }

  /** The channel for the next call. A server that was restarted is found again soon: gRPC itself would wait for up to two minutes. */
  Channel channel() {
    if (returning == null && isAway()) {
      synchronized (this) {
        if (System.nanoTime() - reconnected >= RECONNECT_NANOS) {
          reconnected = System.nanoTime();
          managed.enterIdle(); // so that the next call connects, and waits for that
        }
      }
    }
    return channel;
  }

  /** Tries servers that are away, while others answer; where none does, the next attempt of a call looks names up again. */
  private void tryAgain() {
    if (isAway()) {
      managed.enterIdle();
    } else {
      managed.resetConnectBackoff();
    }
  }

  /** No new calls; those that run go on. */
  void leave() {
    left = true;
    endReturning();
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
    endReturning();
    managed.shutdownNow();
    try {
      managed.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void endReturning() {
    if (returning != null) {
      returning.cancel(false);
    }
  }

  /**
   * Every unary call may be repeated: a read changes nothing, a mutation carries a request id. Streams are resumed instead. A server that
   * stops cancels calls that it has not begun. Where there may be several servers, calls go to each in turn that says that it serves, and
   * outlast three seconds without any.
   */
  private static Map<String, Object> serviceConfig(boolean balanced) {
    List<Map<String, String>> unary = RegistryServiceGrpc.getServiceDescriptor().getMethods().stream()
        .filter(method -> method.getType() == MethodType.UNARY)
        .map(method -> Map.of("service", RegistryServiceGrpc.SERVICE_NAME, "method", method.getBareMethodName()))
        .toList();
    Map<String, Object> retries = Map.of(
        "maxAttempts", balanced ? 5.0 : 4.0,
        "initialBackoff", "0.05s",
        "maxBackoff", balanced ? "2s" : "1s",
        "backoffMultiplier", balanced ? 4.0 : 2.0,
        "retryableStatusCodes", List.of("UNAVAILABLE", "CANCELLED"));
    List<?> methods = List.of(Map.of("name", unary, "retryPolicy", retries));
    return !balanced ? Map.of("methodConfig", methods) : Map.of(
        "methodConfig", methods,
        "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
        "healthCheckConfig", Map.of("serviceName", RegistryServiceGrpc.SERVICE_NAME));
  }

  /** Says who calls, and gives unary calls a deadline and requests a limit. A connection on which one had no answer is left. */
  private record Identity(Connection connection, Caller caller) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      boolean limited = method.getType() == MethodType.UNARY && options.getDeadline() == null;
      CallOptions ours = options.withMaxOutboundMessageSize(MAX_MESSAGE_BYTES);
      if (limited) {
        ours = ours.withDeadlineAfter(caller.timeout.toNanos(), TimeUnit.NANOSECONDS);
      }
      return new SimpleForwardingClientCall<>(next.newCall(method, ours)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          headers.put(ACTOR, caller.actor);
          super.start(limited ? leaving(listener) : listener, headers);
        }
      };
    }

    private <A> Listener<A> leaving(Listener<A> listener) {
      return new SimpleForwardingClientCallListener<>(listener) {
        @Override
        public void onClose(Status status, Metadata trailers) {
          super.onClose(status, trailers);
          if (status.getCode() == Status.Code.DEADLINE_EXCEEDED && !connection.isAway()) {
            caller.leave.accept(connection);
          }
        }
      };
    }
  }
}
