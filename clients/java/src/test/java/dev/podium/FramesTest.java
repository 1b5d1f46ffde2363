package dev.podium;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnknownFieldSet;
import dev.podium.v1.DownloadArtifactHeader;
import dev.podium.v1.DownloadArtifactResponse;
import dev.podium.v1.UploadBlobHeader;
import dev.podium.v1.UploadBlobRequest;
import io.grpc.Detachable;
import io.grpc.Drainable;
import io.grpc.HasByteBuffer;
import io.grpc.KnownLength;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FramesTest {

  /** As gRPC hands a message over: in its own memory, in pieces. */
  static final class Pieces extends InputStream implements KnownLength, HasByteBuffer, Detachable {
    private final byte[] bytes;
    private final int piece;
    private int at;
    private int mark;
    boolean closed;

    Pieces(byte[] bytes, int piece) {
      this.bytes = bytes;
      this.piece = piece;
    }

    @Override
    public int read() {
      return at < bytes.length ? bytes[at++] & 0xff : -1;
    }

    @Override
    public int available() {
      return bytes.length - at;
    }

    @Override
    public long skip(long count) {
      at += (int) count;
      return count;
    }

    @Override
    public boolean markSupported() {
      return true;
    }

    @Override
    public void mark(int limit) {
      mark = at;
    }

    @Override
    public void reset() {
      at = mark;
    }

    @Override
    public boolean byteBufferSupported() {
      return true;
    }

    @Override
    public ByteBuffer getByteBuffer() {
      return at == bytes.length ? null : ByteBuffer.wrap(bytes, at, Math.min(piece, bytes.length - at)).asReadOnlyBuffer();
    }

    @Override
    public InputStream detach() {
      return this;
    }

    @Override
    public void close() {
      closed = true;
    }
  }

  private static byte[] random(int size) {
    byte[] bytes = new byte[size];
    new java.util.Random(size).nextBytes(bytes);
    return bytes;
  }

  private static Frames.Download parse(DownloadArtifactResponse response) {
    return Frames.DOWNLOAD.parseResponse(new Pieces(response.toByteArray(), 16_384));
  }

  private static byte[] drain(Frames.Download message) throws IOException {
    ByteArrayOutputStream taken = new ByteArrayOutputStream();
    message.drain(piece -> {
      byte[] copy = new byte[piece.remaining()];
      piece.get(copy);
      taken.writeBytes(copy);
    });
    return taken.toByteArray();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 127, 128, 16_383, 16_384, 1 << 20})
  void aChunkIsReadInPieces(int size) throws IOException {
    byte[] bytes = random(size);
    Frames.Download message = parse(DownloadArtifactResponse.newBuilder().setChunk(ByteString.copyFrom(bytes)).build());
    assertNull(message.header);
    assertEquals(size, message.size);
    assertArrayEquals(bytes, drain(message));
  }

  @Test
  void aHeaderIsRead() {
    DownloadArtifactHeader header = DownloadArtifactHeader.newBuilder().setNumber(7).setSizeBytes(5).build();
    assertEquals(header, parse(DownloadArtifactResponse.newBuilder().setHeader(header).build()).header);
  }

  @Test
  void aChunkBesideFieldsOfALaterServerIsRead() throws IOException {
    UnknownFieldSet.Field later = UnknownFieldSet.Field.newBuilder().addVarint(1).build();
    Frames.Download message = parse(DownloadArtifactResponse.newBuilder().setChunk(ByteString.copyFromUtf8("bytes"))
        .setUnknownFields(UnknownFieldSet.newBuilder().addField(9, later).build()).build());
    assertArrayEquals("bytes".getBytes(), drain(message));
  }

  @Test
  void anEmptyMessageIsAChunkWithoutBytes() {
    assertEquals(0, parse(DownloadArtifactResponse.getDefaultInstance()).size);
    assertEquals(0, parse(DownloadArtifactResponse.newBuilder().setChunk(ByteString.EMPTY).build()).size);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3})
  void whatIsNoMessageIsSaidToBeNone(int size) {
    byte[] cut = {0x12, (byte) 0x85, 0x05}; // a chunk of 645 bytes of which none is there
    byte[] some = java.util.Arrays.copyOf(cut, size);
    assertEquals(Frames.Download.MALFORMED, Frames.DOWNLOAD.parseResponse(new Pieces(some, 16)).size);
    assertEquals(Frames.Download.MALFORMED, Frames.DOWNLOAD.parseResponse(new ByteArrayInputStream(some)).size);
  }

  @Test
  void anUploadIsWhatProtobufMakesOfIt() throws IOException {
    UploadBlobHeader header = UploadBlobHeader.newBuilder().setModel("fraud").setSizeBytes(3).build();
    check(UploadBlobRequest.newBuilder().setHeader(header).build(), Frames.Upload.header(header));
    for (int size : new int[] {0, 1, 127, 128, 300_000}) {
      byte[] bytes = random(size + 5);
      check(UploadBlobRequest.newBuilder().setChunk(ByteString.copyFrom(bytes, 0, size)).build(), Frames.Upload.chunk(bytes, size));
    }
  }

  private static void check(UploadBlobRequest expected, Frames.Upload message) throws IOException {
    InputStream written = Frames.UPLOAD.streamRequest(message);
    assertTrue(written instanceof KnownLength);
    assertEquals(expected.getSerializedSize(), written.available());
    ByteArrayOutputStream target = new ByteArrayOutputStream();
    assertEquals(expected.getSerializedSize(), ((Drainable) written).drainTo(target));
    assertArrayEquals(expected.toByteArray(), target.toByteArray());
    assertEquals(0, written.available());
    assertArrayEquals(expected.toByteArray(), Frames.UPLOAD.streamRequest(message).readAllBytes());
  }
}
