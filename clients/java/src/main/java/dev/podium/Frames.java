package dev.podium;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.WireFormat;
import dev.podium.v1.DownloadArtifactHeader;
import dev.podium.v1.DownloadArtifactRequest;
import dev.podium.v1.DownloadArtifactResponse;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.UploadBlobHeader;
import dev.podium.v1.UploadBlobRequest;
import dev.podium.v1.UploadBlobResponse;
import io.grpc.Detachable;
import io.grpc.Drainable;
import io.grpc.HasByteBuffer;
import io.grpc.KnownLength;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.io.ByteArrayInputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;

/**
 * The two streaming messages, without an object around each chunk: its bytes are read from where the connection put them, and
 * written to where it takes them from. A chunk's frame is the field's tag, its length as a varint, and the bytes.
 */
final class Frames {
  static final int CHUNK_BYTES = 1 << 20;

  static final MethodDescriptor<DownloadArtifactRequest, Download> DOWNLOAD = RegistryServiceGrpc.getDownloadArtifactMethod()
      .toBuilder(RegistryServiceGrpc.getDownloadArtifactMethod().getRequestMarshaller(), new DownloadMarshaller())
      .build();
  static final MethodDescriptor<Upload, UploadBlobResponse> UPLOAD = RegistryServiceGrpc.getUploadBlobMethod()
      .toBuilder(new UploadMarshaller(), ProtoUtils.marshaller(UploadBlobResponse.getDefaultInstance()))
      .build();

  private static final int DOWNLOAD_TAG = DownloadArtifactResponse.CHUNK_FIELD_NUMBER << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED;
  private static final int UPLOAD_TAG = UploadBlobRequest.CHUNK_FIELD_NUMBER << 3 | WireFormat.WIRETYPE_LENGTH_DELIMITED;

  private Frames() {}

  /** A message of a download: a header, or a chunk of so many bytes. */
  static final class Download implements Closeable {
    static final int MALFORMED = -1;

    final DownloadArtifactHeader header; // null for a chunk
    final int size; // MALFORMED if it is neither
    private final InputStream bytes;

    private Download(DownloadArtifactHeader header, int size, InputStream bytes) {
      this.header = header;
      this.size = size;
      this.bytes = bytes;
    }

    /** A chunk of bytes that did not come in a message. */
    static Download of(byte[] bytes) {
      return new Download(null, bytes.length, new ByteArrayInputStream(bytes));
    }

    /** What is done with bytes, which are only there until it returns. */
    interface Taker {
      void take(ByteBuffer piece) throws IOException;
    }

    /** The bytes are to be given away once more after {@code reset}. */
    void mark() {
      bytes.mark(size);
    }

    void reset() throws IOException {
      bytes.reset();
    }

    /** Gives all bytes away, in pieces. */
    void drain(Taker taker) throws IOException {
      int left = size;
      while (left > 0) {
        ByteBuffer piece = bytes instanceof HasByteBuffer direct && direct.byteBufferSupported() ? direct.getByteBuffer() : null;
        if (piece == null || !piece.hasRemaining()) {
          taker.take(ByteBuffer.wrap(bytes.readNBytes(left)));
          return;
        }
        int count = Math.min(left, piece.remaining());
        taker.take(piece.slice(piece.position(), count));
        bytes.skipNBytes(count);
        left -= count;
      }
    }

    @Override
    public void close() throws IOException {
      bytes.close();
    }
  }

  /** A message of an upload. The bytes may be used again once it is sent. */
  static final class Upload {
    private final byte[] prefix;
    private final byte[] bytes;
    private final int size;

    private Upload(byte[] prefix, byte[] bytes, int size) {
      this.prefix = prefix;
      this.bytes = bytes;
      this.size = size;
    }

    static Upload header(UploadBlobHeader header) {
      return new Upload(UploadBlobRequest.newBuilder().setHeader(header).build().toByteArray(), new byte[0], 0);
    }

    static Upload chunk(byte[] bytes, int size) {
      byte[] prefix = new byte[1 + CodedOutputStream.computeUInt32SizeNoTag(size)];
      try {
        CodedOutputStream out = CodedOutputStream.newInstance(prefix);
        out.writeUInt32NoTag(UPLOAD_TAG);
        out.writeUInt32NoTag(size);
      } catch (IOException impossible) { // it has the room
        throw new UncheckedIOException(impossible);
      }
      return new Upload(prefix, bytes, size);
    }
  }

  static void close(Closeable held) {
    try {
      held.close();
    } catch (IOException impossible) { // it is memory
      throw new UncheckedIOException(impossible);
    }
  }

  private static final class DownloadMarshaller implements MethodDescriptor.Marshaller<Download> {
    @Override
    public InputStream stream(Download value) {
      throw new UnsupportedOperationException("only a server sends it");
    }

    @Override
    public Download parse(InputStream stream) {
      try {
        int length = stream instanceof KnownLength ? stream.available() : -1;
        // Without a mark there is no way back: then the whole message is read at once.
        if (length > 0 && stream.markSupported() && stream instanceof Detachable detachable) {
          stream.mark(16);
          int size = chunkSize(stream, length);
          if (size >= 0) {
            return new Download(null, size, detachable.detach());
          }
          stream.reset();
        }
        return whole(stream.readAllBytes());
      } catch (InvalidProtocolBufferException malformed) {
        return new Download(null, Download.MALFORMED, InputStream.nullInputStream());
      } catch (IOException failed) {
        throw Status.INTERNAL.withCause(failed).asRuntimeException();
      }
    }

    /** The size of the chunk that follows if the message is exactly one chunk field, else -1. */
    private static int chunkSize(InputStream stream, int length) throws IOException {
      if (stream.read() != DOWNLOAD_TAG) {
        return -1;
      }
      int first = stream.read();
      if (first < 0) {
        return -1;
      }
      int size = CodedInputStream.readRawVarint32(first, stream);
      return size == stream.available() ? size : -1;
    }

    private static Download whole(byte[] message) throws IOException {
      DownloadArtifactResponse response = DownloadArtifactResponse.parseFrom(message);
      if (response.hasHeader()) {
        return new Download(response.getHeader(), 0, InputStream.nullInputStream());
      }
      return new Download(null, response.getChunk().size(), response.getChunk().newInput());
    }
  }

  private static final class UploadMarshaller implements MethodDescriptor.Marshaller<Upload> {
    @Override
    public InputStream stream(Upload value) {
      return new UploadStream(value);
    }

    @Override
    public Upload parse(InputStream stream) {
      throw new UnsupportedOperationException("only a client sends it");
    }
  }

  /** What gRPC frames: it asks how long it is, and has it written to its own memory. */
  private static final class UploadStream extends InputStream implements KnownLength, Drainable {
    private final Upload message;
    private boolean drained;
    private InputStream read; // only where somebody reads instead

    UploadStream(Upload message) {
      this.message = message;
    }

    @Override
    public int drainTo(OutputStream target) throws IOException {
      drained = true;
      target.write(message.prefix);
      target.write(message.bytes, 0, message.size);
      return message.prefix.length + message.size;
    }

    @Override
    public int available() throws IOException {
      if (read != null) {
        return read.available();
      }
      return drained ? 0 : message.prefix.length + message.size;
    }

    @Override
    public int read() throws IOException {
      return stream().read();
    }

    @Override
    public int read(byte[] target, int offset, int length) throws IOException {
      return stream().read(target, offset, length);
    }

    private InputStream stream() {
      if (read == null) {
        read = new java.io.SequenceInputStream(
            new ByteArrayInputStream(message.prefix), new ByteArrayInputStream(message.bytes, 0, message.size));
      }
      return read;
    }
  }
}
