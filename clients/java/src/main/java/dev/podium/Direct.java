package dev.podium;

import dev.podium.v1.File;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Reads files of one version from where the server keeps them, by URLs that it signs. Once that fails, it is left alone for good, and
 * the server sends what is missing.
 */
final class Direct {
  private static final Logger LOG = Logger.getLogger("dev.podium");
  private static final int TRIES = 3; // in a row in which no byte comes

  private final Crew crew;
  private final String reference;
  private final SignedUrls urls;
  private final Bucket bucket;
  private final AtomicBoolean isLeft = new AtomicBoolean();

  /** The files are those that will be read, in this order. */
  Direct(Transport transport, Crew crew, String reference, List<File> files) {
    this.crew = crew;
    this.reference = reference;
    urls = new SignedUrls(transport, crew, reference, files);
    bucket = new Bucket(transport.timeout, crew);
  }

  /** Adds to the sink what can be had of the bytes that it lacks. */
  void receive(File file, Sink sink) throws Exception {
    Backoff backoff = new Backoff(100, 2_000);
    int failures = 0;
    while (sink.size() < file.getSizeBytes() && !isLeft.get()) {
      long before = sink.size();
      try {
        read(file, sink);
      } catch (BucketException failed) {
        failures = sink.size() > before ? 0 : failures + 1;
        if (failed.isFinal || failures == TRIES) {
          leave(failed.getMessage());
          return;
        }
        crew.pause(backoff.next());
      }
    }
  }

  /** From now on the server sends everything. */
  void leave(String why) {
    if (!isLeft.getAndSet(true)) {
      LOG.log(Level.WARNING, "the files of {0} come by way of the server: {1}", new Object[] {reference, why});
    }
  }

  private void read(File file, Sink sink) throws Exception {
    try {
      bucket.read(urls.of(file), file.getSizeBytes(), sink);
    } catch (BucketException failed) {
      if (failed.isRefusal) {
        urls.forget(); // they may be too old: the clock of this machine need not be right, so it is not asked
      }
      throw failed;
    }
  }
}
