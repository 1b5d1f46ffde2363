package dev.podium;

import com.google.common.util.concurrent.MoreExecutors;
import dev.podium.v1.UploadBlobResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.TimeUnit;

/** One stream of an upload, for one thread. Any may cancel it. */
final class Outgoing extends ClientCall.Listener<UploadBlobResponse> {
  /** It is cut after that, and goes on where it stopped: this bounds only how long a stuck server is waited for. */
  private static final long LONGEST_SECONDS = 600;
  /** Bytes that wait for the connection beside the chunk that is read next. */
  private static final int AHEAD_BYTES = 2 * Frames.CHUNK_BYTES;

  private final Transport transport;
  private final Connection connection;
  private final ClientCall<Frames.Upload, UploadBlobResponse> call;
  private UploadBlobResponse reply;
  private Status status; // null until it has ended
  private Metadata trailers;

  Outgoing(Transport transport) {
    this.transport = transport;
    CallOptions options = CallOptions.DEFAULT.withExecutor(MoreExecutors.directExecutor())
        .withDeadlineAfter(LONGEST_SECONDS, TimeUnit.SECONDS).withOnReadyThreshold(AHEAD_BYTES);
    connection = transport.connect();
    call = connection.channel().newCall(Frames.UPLOAD, options);
    call.start(this, new Metadata());
    call.request(2); // one answer, and to see that there is no other
  }

  void send(Frames.Upload message) {
    call.sendMessage(message);
  }

  /** Waits until the next message can be sent; false if the call has ended. */
  boolean awaitReady() {
    long deadline = Clock.after(transport.stallNanos());
    while (true) {
      if (call.isReady()) {
        return !hasEnded();
      }
      synchronized (this) {
        if (status != null) {
          return false;
        }
        if (!call.isReady() && !await(deadline)) {
          throw transport.stalled(connection);
        }
      }
    }
  }

  synchronized boolean hasEnded() {
    return status != null;
  }

  /** Says that nothing more comes, and waits for the answer. */
  UploadBlobResponse finish() {
    call.halfClose();
    synchronized (this) {
      while (status == null) {
        await(Clock.after(Clock.FOREVER));
      }
      if (!status.isOk()) {
        throw transport.error(status, trailers);
      }
      return reply == null ? UploadBlobResponse.getDefaultInstance() : reply;
    }
  }

  void cancel() {
    call.cancel("not wanted any more", null);
  }

  @Override
  public synchronized void onReady() {
    notifyAll();
  }

  @Override
  public synchronized void onMessage(UploadBlobResponse message) {
    reply = message;
  }

  @Override
  public synchronized void onClose(Status status, Metadata trailers) {
    this.status = status;
    this.trailers = trailers;
    notifyAll();
  }

  private boolean await(long deadline) {
    try {
      return Clock.await(this, deadline);
    } catch (InterruptedException interrupted) {
      cancel();
      throw PodiumException.interrupted();
    }
  }
}
