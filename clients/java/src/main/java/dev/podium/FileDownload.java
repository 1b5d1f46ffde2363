package dev.podium;

import dev.podium.v1.DownloadArtifactHeader;
import dev.podium.v1.DownloadArtifactRequest;
import dev.podium.v1.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** One file from the server, or the bucket, into a partial file: it goes on after a cut, and is verified as a whole. */
final class FileDownload {
  private static final int AHEAD = 4; // chunks that may be on their way or wait for the disk

  private final Transport transport;
  private final Crew crew;
  private final String reference;
  private final File file;
  private final Direct direct;

  /** Of the version that the pinned reference means, what {@code direct} can have from there; it may be null. */
  FileDownload(Transport transport, Crew crew, String reference, File file, Direct direct) {
    this.transport = transport;
    this.crew = crew;
    this.reference = reference;
    this.file = file;
    this.direct = direct;
  }

  /** Completes the partial file; removes it if its bytes are not those of the digest. */
  void fetch(Path partial) throws Exception {
    try (Sink sink = new Sink(partial, file.getSizeBytes())) {
      fetchInto(sink);
    } catch (DamagedFileException | HostileServerException wrong) {
      Files.deleteIfExists(partial);
      throw wrong;
    }
  }

  private void fetchInto(Sink sink) throws Exception {
    if (direct != null) {
      direct.receive(file, sink);
    }
    long unchecked = sink.size();
    receive(sink);
    if (unchecked > 0 && !sink.digest().equals(file.getDigest())) {
      // What an earlier process left need not be what it received, after a power cut for example; and nobody but this client has
      // looked at what came from the bucket. The server looks at what it sends.
      if (direct != null) {
        direct.leave("what is there of " + Text.quoted(file.getPath()) + " are not the bytes of " + file.getDigest());
      }
      sink.restart();
      receive(sink);
    }
    String actual = sink.digest();
    if (!actual.equals(file.getDigest())) {
      throw new DamagedFileException(file.getPath() + " of " + reference + " arrived as " + actual + ", not as " + file.getDigest());
    }
  }

  /** Fetches what is missing, in as many streams as it takes. */
  private void receive(Sink sink) throws Exception {
    Patience patience = new Patience(transport.timeout);
    crew.attempts(patience, () -> {
      if (sink.size() < file.getSizeBytes()) {
        stream(sink, patience);
      }
      return null;
    });
  }

  /** One stream from where the sink is to the end of the file, never more. */
  private void stream(Sink sink, Patience patience) throws IOException {
    DownloadArtifactRequest request = DownloadArtifactRequest.newBuilder()
        .setReference(reference).setPath(file.getPath()).setOffset(sink.size()).build();
    Incoming<Frames.Download> messages = transport.open(Frames.DOWNLOAD, request);
    try (var mine = crew.stoppable(messages::close); var resumed = messages.connection.resumed.stoppable(messages::close)) {
      messages.request(AHEAD);
      checkHeader(next(messages));
      for (Frames.Download message = next(messages); message != null; message = next(messages)) {
        check(message, sink.size());
        sink.write(message);
        messages.request(1);
        patience.moved();
      }
    } finally {
      messages.close();
    }
    if (sink.size() < file.getSizeBytes()) {
      throw hostile("ended after " + sink.size() + " of " + file.getSizeBytes() + " bytes");
    }
  }

  /** The next message, null at the end. */
  private Frames.Download next(Incoming<Frames.Download> messages) {
    Frames.Download message = messages.next(transport.stallNanos());
    if (message == null && !messages.ended()) {
      throw transport.stalled(messages.connection);
    }
    return message;
  }

  /** Closes what it refuses: a chunk holds memory of the connection. */
  void checkHeader(Frames.Download message) {
    DownloadArtifactHeader header = message == null ? null : message.header;
    if (header == null) {
      if (message != null) {
        Frames.close(message);
      }
      throw hostile("does not begin with a header");
    }
    if (!header.getDigest().equals(file.getDigest()) || header.getSizeBytes() != file.getSizeBytes()) {
      throw hostile("is " + header.getSizeBytes() + " bytes of " + Text.quoted(header.getDigest()));
    }
  }

  /** Closes what it refuses. */
  private void check(Frames.Download chunk, long size) {
    if (chunk.size <= 0 || size + chunk.size > file.getSizeBytes()) {
      Frames.close(chunk);
    }
    if (chunk.size == Frames.Download.MALFORMED) {
      throw new HostileServerException("the server sent a malformed message in a download");
    }
    if (chunk.header != null || chunk.size == 0) {
      throw hostile("has a message without bytes");
    }
    if (size + chunk.size > file.getSizeBytes()) {
      throw hostile("has more bytes than it said");
    }
  }

  private HostileServerException hostile(String what) {
    return new HostileServerException("the server's download of " + file.getPath() + " of " + reference + " " + what);
  }
}
