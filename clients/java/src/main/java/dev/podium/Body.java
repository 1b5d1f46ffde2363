package dev.podium;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.net.http.HttpResponse.BodySubscriber;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The body of an HTTP answer, of which one thread reads; any may close it. It asks for more only when what came is read. The stream
 * of {@code BodyHandlers.ofInputStream} would do, but one that waits goes on waiting when its thread is interrupted (JDK 17).
 */
final class Body implements BodySubscriber<Body>, Closeable {
  private final Deque<ByteBuffer> left = new ArrayDeque<>(); // of what came
  private final BlockingQueue<List<ByteBuffer>> coming = new LinkedBlockingQueue<>(); // an empty list: see why
  private volatile IOException why; // nothing more comes
  private Flow.Subscription subscription;

  /** The next so many bytes, which may take that long altogether. */
  byte[] read(int size, Duration patience) throws IOException, InterruptedException {
    long deadline = System.nanoTime() + patience.toNanos();
    ByteBuffer piece = ByteBuffer.allocate(size);
    while (piece.hasRemaining()) {
      if (left.isEmpty()) {
        await(deadline);
      }
      ByteBuffer next = left.element();
      int count = Math.min(next.remaining(), piece.remaining());
      piece.put(next.slice().limit(count));
      next.position(next.position() + count);
      if (!next.hasRemaining()) {
        left.remove();
      }
    }
    return piece.array();
  }

  private void await(long deadline) throws IOException, InterruptedException {
    List<ByteBuffer> came = coming.poll(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
    if (came == null) {
      throw new HttpTimeoutException("nothing came");
    }
    if (came.isEmpty()) {
      coming.add(came); // for whoever asks again
      throw new IOException(why);
    }
    left.addAll(came);
    more();
  }

  private synchronized void more() {
    subscription.request(1);
  }

  @Override
  public CompletionStage<Body> getBody() {
    return CompletableFuture.completedFuture(this);
  }

  @Override
  public synchronized void onSubscribe(Flow.Subscription one) {
    subscription = one;
    if (why == null) {
      one.request(1);
    } else {
      one.cancel();
    }
  }

  @Override
  public void onNext(List<ByteBuffer> buffers) {
    List<ByteBuffer> came = buffers.stream().filter(ByteBuffer::hasRemaining).toList();
    if (came.isEmpty()) {
      more();
    } else {
      coming.add(came);
    }
  }

  @Override
  public void onError(Throwable failed) {
    end(new IOException(failed));
  }

  @Override
  public void onComplete() {
    end(new EOFException("the connection was cut"));
  }

  /** Ends whoever waits for it. */
  @Override
  public synchronized void close() {
    end(new IOException("it was closed"));
    if (subscription != null) {
      subscription.cancel();
    }
  }

  private synchronized void end(IOException reason) {
    if (why == null) {
      why = reason;
      coming.add(List.of());
    }
  }
}
