package dev.podium;

import dev.podium.v1.BlobSpec;
import dev.podium.v1.FindMissingBlobsRequest;
import dev.podium.v1.MissingBlob;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.UploadBlobHeader;
import dev.podium.v1.UploadBlobResponse;
import io.grpc.Status.Code;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** One file of which the server does not have all bytes, on its way there in as many streams as it takes. */
final class Sending {
  /** Another offset is expected, somebody else is sending: the server says so at once, and what was sent until then is sent in vain. */
  private static final long REFUSAL_NANOS = TimeUnit.MILLISECONDS.toNanos(200);
  private static final long ASK = -1;
  private static final long DONE = -2;

  private final Lane lane;
  private final SourceFile file;
  private final String digest;
  private final Patience patience;
  private long next; // where the next stream starts, or ASK
  private long furthest; // where the bytes ever were that were sent: what is only sent again is no progress
  private long reached; // how far the server has been seen to be
  private int streams;

  /** What all files of one push share. */
  record Lane(Transport transport, Crew crew, AtomicLong sent, String model) {

    /** Those that the server does not have, and about how much of each it does have. */
    List<MissingBlob> findMissing(List<BlobSpec> blobs) throws Exception {
      FindMissingBlobsRequest request = FindMissingBlobsRequest.newBuilder().setModel(model).addAllBlobs(blobs).build();
      return transport.persist(RegistryServiceGrpc.getFindMissingBlobsMethod(), request, crew).getMissingList();
    }
  }

  Sending(Lane lane, SourceFile file, MissingBlob blob) {
    this.lane = lane;
    this.file = file;
    digest = blob.getDigest();
    patience = new Patience(lane.transport.timeout);
    next = checked(blob.getCommittedBytes());
  }

  /** Returns when the server has all bytes, whoever sent them. */
  void run() throws Exception {
    lane.crew.attempts(patience, () -> {
      long offset = next == ASK ? ask() : next;
      if (offset != DONE) {
        next = ASK;
        stream(offset);
      }
      return null;
    });
  }

  /** How far the server is, after a stream that failed. */
  private long ask() throws Exception {
    BlobSpec blob = BlobSpec.newBuilder().setDigest(digest).setSizeBytes(file.size()).build();
    List<MissingBlob> missing = lane.findMissing(List.of(blob));
    if (missing.isEmpty()) {
      return DONE;
    }
    long committed = checked(missing.get(0).getCommittedBytes());
    if (committed > reached) {
      reached = committed;
      patience.moved(); // by whoever is sending
    }
    return committed;
  }

  /** Sends all from an offset on; throws what may be resumed where another stream can do better. */
  private void stream(long offset) throws IOException {
    streams++;
    try {
      UploadBlobResponse reply = send(offset);
      if (!reply.getComplete()) {
        file.checkUnchanged();
        throw new PodiumException(Details.of("the upload of " + file.path() + " ended early", "", Code.CANCELLED));
      }
    } catch (OutOfRangeException error) {
      String expected = error.metadata().getOrDefault("expected_offset", "");
      next = expected.matches("[0-9]{1,18}") ? checked(Long.parseLong(expected)) : ASK;
      throw error;
    } catch (InvalidArgumentException error) {
      if (error.reason().equals("CONTENT_MISMATCH")) {
        file.checkUnchanged();
        if (offset == 0) {
          throw new PushRefusedException(file.path() + " has other bytes than when it was hashed: push again");
        }
        next = furthest = 0; // what an earlier upload left was not this file's
      }
      throw error;
    }
  }

  private UploadBlobResponse send(long offset) throws IOException {
    Outgoing stream = new Outgoing(lane.transport);
    boolean answered = false;
    try (var stoppable = lane.crew.stoppable(stream::cancel)) {
      stream.send(Frames.Upload.header(UploadBlobHeader.newBuilder()
          .setModel(lane.model).setDigest(digest).setSizeBytes(file.size()).setOffset(offset).build()));
      if (offset > 0 || streams > 1) { // somebody else, or who was cut off a moment ago, may still have the lease
        lane.crew.pause(REFUSAL_NANOS);
      }
      sendChunks(stream, offset);
      UploadBlobResponse reply = stream.finish();
      answered = true;
      return reply;
    } finally {
      if (!answered) {
        stream.cancel();
      }
    }
  }

  /** Ends early if the call does, or the file. */
  private void sendChunks(Outgoing stream, long offset) {
    byte[] piece = new byte[(int) Math.min(Frames.CHUNK_BYTES, file.size() - offset)];
    try (RandomAccessFile source = new RandomAccessFile(file.source().toFile(), "r")) {
      source.seek(offset);
      long at = offset;
      while (at < file.size() && stream.awaitReady()) {
        int count = source.read(piece, 0, (int) Math.min(piece.length, file.size() - at));
        if (count <= 0) {
          return;
        }
        stream.send(Frames.Upload.chunk(piece, count));
        at += count;
        lane.sent.addAndGet(count);
        if (at > furthest) {
          furthest = at;
          patience.moved();
        }
      }
    } catch (IOException error) {
      throw new PushRefusedException(file.path() + " cannot be read: " + Folder.reason(error));
    }
  }

  private long checked(long offset) {
    if (offset < 0 || offset > file.size()) {
      throw new HostileServerException(
          "the server has " + offset + " of the " + file.size() + " bytes of " + file.path());
    }
    return offset;
  }
}
