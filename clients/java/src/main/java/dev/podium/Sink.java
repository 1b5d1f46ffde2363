package dev.podium;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;

/** A partial file that grows: what is there is hashed, what comes is written, and hashed by a thread behind it. */
final class Sink implements AutoCloseable {
  private static final long WORTH_A_THREAD = 4 << 20; // bytes


  private final Path path;
  private final FileChannel file;
  private final MessageDigest hash = Text.sha256();
  private final Hasher hasher; // null: it is not worth one
  private long size;

  /** Appends to the file at {@code path}, which is to have {@code expected} bytes. */
  Sink(Path path, long expected) throws IOException {
    this.path = path;
    try { // an earlier process may have ended just after it made the file read-only
      Sealed.setMode(path, "rw-------");
    } catch (NoSuchFileException notThere) {
      // the file begins here
    }
    file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
    try {
      readBack();
      if (size > expected) {
        restart();
      }
    } catch (Throwable failure) {
      file.close();
      throw failure;
    }
    hasher = expected - size >= WORTH_A_THREAD ? new Hasher(hash) : null;
  }

  /** How many bytes have come so far. */
  long size() {
    return size;
  }

  /** Takes a chunk, which it closes. */
  void write(Frames.Download chunk) throws IOException {
    boolean handedOn = false;
    try {
      chunk.mark();
      chunk.drain(this::append);
      chunk.reset();
      size += chunk.size;
      if (hasher == null) {
        chunk.drain(hash::update);
      } else {
        handedOn = true;
        hasher.add(chunk);
      }
    } catch (IOException error) {
      if (isFull(error)) {
        throw new DiskFullException("no room left for " + path);
      }
      throw error;
    } finally {
      if (!handedOn) {
        chunk.close();
      }
    }
  }

  /** The digest of the whole file. */
  String digest() {
    awaitHash();
    MessageDigest whole;
    try {
      whole = (MessageDigest) hash.clone();
    } catch (CloneNotSupportedException impossible) { // SHA-256 of every JDK can
      throw new IllegalStateException(impossible);
    }
    return Digests.of(whole.digest());
  }

  /** Throws away what is there. */
  void restart() throws IOException {
    awaitHash();
    file.truncate(0);
    file.position(0);
    hash.reset();
    size = 0;
  }

  @Override
  public void close() throws IOException {
    if (hasher != null) {
      hasher.close();
    }
    file.close();
  }

  private void awaitHash() {
    if (hasher != null) {
      hasher.await();
    }
  }

  private void append(ByteBuffer piece) throws IOException {
    while (piece.hasRemaining()) {
      file.write(piece);
    }
  }

  private void readBack() throws IOException {
    if (file.size() == 0) {
      return;
    }
    ByteBuffer piece = ByteBuffer.allocate(Frames.CHUNK_BYTES);
    while (file.read(piece) >= 0) {
      piece.flip();
      size += piece.remaining();
      hash.update(piece);
      piece.clear();
    }
  }

  /** Java has no error numbers: the words, which depend on the language of the system, say it. */
  static boolean isFull(IOException error) {
    String words = error instanceof FileSystemException named ? named.getReason() : error.getMessage();
    return words != null && (words.contains("No space left") || words.contains("quota exceeded"));
  }
}
