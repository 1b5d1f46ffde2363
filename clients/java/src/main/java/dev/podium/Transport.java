package dev.podium;

import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.SocketChannel;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioSocketChannel;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** The calls of one registry to its servers: the connection, deadlines, identity, and errors as our own. Threads share it. */
final class Transport extends Channel {
  final String address;
  final Duration timeout;
  final Session session = new Session();

  private final Connection.Caller caller;
  private EventLoopGroup loop; // one thread for all connections, while there are any
  private volatile Connection connection;
  private boolean closed;

  Transport(String address, String actor, Duration timeout) {
    this.address = address;
    this.timeout = timeout;
    caller = new Connection.Caller(actor, timeout, session, this::leave);
    connect(); // sends nothing, but takes its time in a new process: that is not to be the first call's
  }

  /** One unary call. */
  <Q, A> A call(MethodDescriptor<Q, A> method, Q request) {
    while (true) {
      Connection used = connect();
      try {
        return ClientCalls.blockingUnaryCall(used.channel(), method, CallOptions.DEFAULT, request);
      } catch (StatusRuntimeException error) {
        if (!wasLeft(used, error.getStatus())) {
          throw error(error);
        }
      }
    }
  }

  /** One unary call, of which no thread waits. */
  <Q, A, T> CompletableFuture<T> callAsync(MethodDescriptor<Q, A> method, Q request, Function<A, T> read) {
    Connection used = connect();
    ClientCall<Q, A> call = used.channel().newCall(method, CallOptions.DEFAULT);
    CompletableFuture<T> future = new CompletableFuture<>();
    future.whenComplete((answer, failure) -> {
      if (future.isCancelled()) {
        call.cancel("nobody waits for it", null);
      }
    });
    Futures.addCallback(ClientCalls.futureUnaryCall(call, request), new FutureCallback<A>() {
      @Override
      public void onSuccess(A answer) {
        future.complete(read.apply(answer));
      }

      @Override
      public void onFailure(Throwable failure) {
        future.completeExceptionally(failure instanceof StatusRuntimeException error ? error(error) : failure);
      }
    }, MoreExecutors.directExecutor());
    return future;
  }

  /** A call amid a push or pull: it waits for a server that is away as long as the streams beside it do. */
  <Q, A> A persist(MethodDescriptor<Q, A> method, Q request, Crew crew) throws Exception {
    return crew.attempts(new Patience(timeout), () -> stoppable(method, request, crew));
  }

  private <Q, A> A stoppable(MethodDescriptor<Q, A> method, Q request, Crew crew) {
    Connection used = connect();
    CallOptions options = CallOptions.DEFAULT.withExecutor(MoreExecutors.directExecutor());
    ListenableFuture<A> future = ClientCalls.futureUnaryCall(used.channel().newCall(method, options), request);
    Runnable cancel = () -> future.cancel(true);
    try (var mine = crew.stoppable(cancel); var connections = used.resumed.stoppable(cancel)) {
      return future.get();
    } catch (InterruptedException interrupted) {
      cancel.run();
      throw PodiumException.interrupted();
    } catch (ExecutionException failure) {
      throw failure.getCause() instanceof StatusRuntimeException error ? error(error) : failed(failure);
    } catch (java.util.concurrent.CancellationException cancelled) {
      throw PodiumException.cancelled("the call was interrupted");
    }
  }

  /** A stream of the server, for one thread that reads it. Close it when done. */
  <Q, A> Incoming<A> open(MethodDescriptor<Q, A> method, Q request) {
    Connection used = connect();
    CallOptions options = CallOptions.DEFAULT.withExecutor(MoreExecutors.directExecutor());
    return new Incoming<>(this, used, used.channel().newCall(method, options), request);
  }

  /**
   * Why a stream of a transfer that stands still is cut: after a part of the timeout only, so that another one, on another connection,
   * can go on before the transfer is given up.
   */
  PodiumException stalled(Connection dead) {
    leave(dead);
    return new UnavailableException(
        Details.of("the server at " + address + " did not answer in time", "DEADLINE_EXCEEDED", Status.Code.DEADLINE_EXCEEDED));
  }

  /** How long a stream of a transfer may stand still. */
  long stallNanos() {
    return timeout.toNanos() * 2 / 3; // chunks of 1 MiB must come over slow links too
  }

  PodiumException error(StatusRuntimeException error) {
    return error(error.getStatus(), error.getTrailers());
  }

  PodiumException error(Status status, io.grpc.Metadata trailers) {
    if (status.getCode() == Status.Code.CANCELLED && Thread.currentThread().isInterrupted()) {
      return PodiumException.interrupted();
    }
    if (status.getCode() == Status.Code.CANCELLED && status.getCause() instanceof StatusRuntimeException malformed) {
      return Errors.of(malformed.getStatus(), trailers, address); // an answer that is no message
    }
    Connection open = connection;
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED && open != null && open.isAway()) {
      return Errors.of(Status.UNAVAILABLE.withDescription(status.getDescription()), trailers, address); // amid the retries
    }
    return Errors.of(status, trailers, address);
  }

  /** Lets the next call open another connection: this one may be dead. It ends with the last call that waits for it. */
  void leave(Connection dead) {
    synchronized (this) {
      if (connection == dead) {
        connection = null;
      }
    }
    dead.leave();
  }

  /** Ends the connection, for good: who was about to call finds it closed. */
  void close() {
    Connection open;
    EventLoopGroup running;
    synchronized (this) {
      open = connection;
      running = loop;
      closed = true;
      connection = null;
      loop = null;
    }
    if (open != null) {
      open.close();
    }
    if (running != null) {
      running.shutdownGracefully(0, 5, TimeUnit.SECONDS).awaitUninterruptibly(5, TimeUnit.SECONDS);
    }
  }

  @Override
  public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
    return connect().channel().newCall(method, options);
  }

  @Override
  public String authority() {
    return address;
  }

  static PodiumException isClosed() {
    return new PodiumException(Details.of("this registry is closed"));
  }

  /** The connection for the next call. */
  Connection connect() {
    Connection open = connection;
    return open != null ? open : connectAnew();
  }

  private synchronized Connection connectAnew() {
    if (closed) {
      throw isClosed();
    }
    if (connection == null) {
      if (loop == null) {
        loop = newLoop();
      }
      connection = new Connection(address, caller, loop, socketType());
    }
    return connection;
  }

  /** Whether a call failed only because its connection was given up between choosing and using it. */
  private boolean wasLeft(Connection used, Status status) {
    return status.getCode() == Status.Code.UNAVAILABLE && used.left();
  }

  private static EventLoopGroup newLoop() {
    DefaultThreadFactory daemons = new DefaultThreadFactory("podium-io", true);
    return new MultiThreadIoEventLoopGroup(1, daemons, Epoll.isAvailable() ? EpollIoHandler.newFactory() : NioIoHandler.newFactory());
  }

  private static Class<? extends SocketChannel> socketType() {
    return Epoll.isAvailable() ? EpollSocketChannel.class : NioSocketChannel.class;
  }

  private static RuntimeException failed(ExecutionException failure) {
    return failure.getCause() instanceof RuntimeException error ? error : new IllegalStateException(failure.getCause());
  }
}
