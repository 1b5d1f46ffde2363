package dev.podium;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/**
 * Reads files over HTTP by signed URLs, through the proxies that the system properties name. The other end is told what to read and
 * nothing else, and no redirect is followed.
 */
final class Bucket {
  private static final Duration CONNECT = Duration.ofSeconds(5);
  private static final int PARTIAL_CONTENT = 206;
  private static final int OK = 200;
  private static final int PIECE_BYTES = 256 << 10;

  private final Duration silence; // that is allowed
  private final Crew crew;

  /** One of the process, for it has threads and keeps connections; made when the first file is read so. */
  private static final class Shared {
    static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(CONNECT).build();
  }

  Bucket(Duration silence, Crew crew) {
    this.silence = silence;
    this.crew = crew;
  }

  /** Adds the rest of a file of this size to the sink. */
  void read(String url, long size, Sink sink) throws BucketException, IOException {
    HttpRequest request = request(url, sink.size());
    HttpResponse<Body> response = ask(request);
    try (Body body = response.body();
        var mine = crew.stoppable(body::close)) {
      if (!isRange(response, sink.size(), size)) {
        throw BucketException.refused(
            request.uri().getHost() + " answers " + response.statusCode() + ", and not with the bytes of the file");
      }
      while (sink.size() < size) {
        byte[] piece = piece(body, (int) Math.min(PIECE_BYTES, size - sink.size()), request);
        sink.write(Frames.Download.of(piece));
      }
    }
  }

  private HttpRequest request(String url, long offset) throws BucketException {
    try {
      return HttpRequest.newBuilder(URI.create(url)).timeout(silence).header("Range", "bytes=" + offset + "-").build();
    } catch (IllegalArgumentException noUrl) {
      throw BucketException.inVain("the server gives URLs that are none of HTTP");
    }
  }

  /** The answer, once it has begun. */
  private HttpResponse<Body> ask(HttpRequest request) throws BucketException {
    CompletableFuture<HttpResponse<Body>> answer = Shared.HTTP.sendAsync(request, head -> new Body());
    try (var mine = crew.stoppable(() -> answer.cancel(true))) {
      return answer.get();
    } catch (InterruptedException interrupted) {
      answer.cancel(true);
      answer.thenAccept(late -> late.body().close());
      throw PodiumException.interrupted();
    } catch (ExecutionException failed) {
      throw cut(request, failed.getCause());
    } catch (CancellationException stopped) {
      throw cut(request, stopped);
    }
  }

  /** The next so many bytes, which may take as long as silence is allowed. */
  private byte[] piece(Body body, int size, HttpRequest request) throws BucketException {
    try {
      return body.read(size, silence);
    } catch (InterruptedException interrupted) {
      throw PodiumException.interrupted();
    } catch (IOException failed) {
      throw cut(request, failed);
    }
  }

  private BucketException cut(HttpRequest request, Throwable why) {
    crew.check();
    return BucketException.cut(request.uri().getHost() + " cannot be read: " + why);
  }

  /** Whether these are the bytes from an offset on of a file of that size: all of it, if no more was asked for. */
  private static boolean isRange(HttpResponse<?> response, long offset, long size) {
    HttpHeaders headers = response.headers();
    if (headers.firstValue("Content-Encoding").isPresent()) {
      return false;
    }
    if (response.statusCode() == PARTIAL_CONTENT) {
      String range = "bytes " + offset + "-" + (size - 1) + "/" + size;
      return headers.firstValue("Content-Range").orElse("").equals(range);
    }
    return response.statusCode() == OK && offset == 0 && headers.firstValueAsLong("Content-Length").orElse(-1) == size;
  }
}
