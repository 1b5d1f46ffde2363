package dev.podium;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.Closeable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The messages of one stream of the server, for one thread; any may close it. gRPC's thread never waits: it only has what was asked for. */
final class Incoming<A> extends ClientCall.Listener<A> {
  final Connection connection;

  private final Transport transport;
  private final ClientCall<?, A> call;
  private final LinkedBlockingQueue<Object> arrived = new LinkedBlockingQueue<>();
  private volatile boolean closed;
  private End end;

  private record End(Status status, Metadata trailers) {}

  <Q> Incoming(Transport transport, Connection connection, ClientCall<Q, A> call, Q request) {
    this.transport = transport;
    this.connection = connection;
    this.call = call;
    call.start(this, new Metadata());
    call.sendMessage(request);
    call.halfClose();
  }

  /** So many more messages may come. */
  void request(int count) {
    call.request(count);
  }

  /** The next message, null if none came in time or the stream has ended with OK, or why it ended. */
  @SuppressWarnings("unchecked")
  A next(long nanos) {
    if (end == null) {
      Object next = take(nanos);
      if (next == null || !(next instanceof End)) {
        return (A) next;
      }
      end = (End) next;
    }
    if (end.status.isOk()) {
      return null;
    }
    throw transport.error(end.status, end.trailers);
  }

  /** Whether there is nothing more to come, as {@code next} has seen. */
  boolean ended() {
    return end != null;
  }

  /** Cancels it. What arrived and was not taken is let go. */
  void close() {
    closed = true;
    call.cancel("not wanted any more", null);
    discard();
  }

  @Override
  public void onMessage(A message) {
    arrived.add(message);
    if (closed) {
      discard();
    }
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    arrived.add(new End(status, trailers));
  }

  private Object take(long nanos) {
    try {
      return arrived.poll(nanos, TimeUnit.NANOSECONDS);
    } catch (InterruptedException interrupted) {
      close();
      throw PodiumException.interrupted();
    }
  }

  /** Messages that hold memory of the connection give it back; the end stays for who waits for it. */
  private void discard() {
    arrived.removeIf(one -> {
      if (one instanceof Closeable held) {
        Frames.close(held);
      }
      return !(one instanceof End);
    });
  }
}
