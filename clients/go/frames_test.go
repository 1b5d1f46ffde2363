package podium

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// cut is a message that arrived in pieces of some size.
func cut(message []byte, size int) mem.BufferSlice {
	var pieces mem.BufferSlice
	for len(message) > size {
		pieces, message = append(pieces, mem.SliceBuffer(message[:size])), message[size:]
	}
	return append(pieces, mem.SliceBuffer(message))
}

func taken(t *testing.T, message []byte, size int) incoming {
	t.Helper()
	var got incoming
	must(t, framing{}.Unmarshal(cut(message, size), &got))
	return got
}

func bytesOf(message incoming) []byte { return message.data.Materialize()[message.start:] }

func TestAChunkIsReadHoweverItIsCut(t *testing.T) {
	for _, length := range []int{1, 127, 128, 16_384, 1 << 20} {
		chunk := bytes.Repeat([]byte{7}, length)
		content := &podiumv1.DownloadArtifactResponse_Chunk{Chunk: chunk}
		message, err := proto.Marshal(&podiumv1.DownloadArtifactResponse{Content: content})
		must(t, err)
		for _, size := range []int{1, 2, 3, 16_384, 1 << 21} {
			if length > 1_000 && size < 1_000 {
				continue
			}
			got := taken(t, message, size)
			if got.header != nil || got.start == 0 || !bytes.Equal(bytesOf(got), chunk) {
				t.Fatal(length, size, got.start)
			}
		}
	}
}

func TestAllThatIsLegalIsRead(t *testing.T) {
	chunk := func(text string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), text)
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 5)
	longLength := append([]byte{chunkTag, 0x83, 0x00}, "abc"...) // a varint may have more bytes than it needs
	for name, message := range map[string][]byte{
		"an unknown field after": append(chunk("abc"), unknown...),
		"one before":             append(bytes.Clone(unknown), chunk("abc")...),
		"twice, the last counts": append(chunk("x"), chunk("abc")...),
		"a long length":          longLength,
	} {
		if got := taken(t, message, 2); string(bytesOf(got)) != "abc" {
			t.Errorf("%s: %q", name, bytesOf(got))
		}
	}
	header := &podiumv1.DownloadArtifactResponse_Header{Header: &podiumv1.DownloadArtifactHeader{SizeBytes: 5}}
	message, err := proto.Marshal(&podiumv1.DownloadArtifactResponse{Content: header})
	must(t, err)
	if got := taken(t, message, 3); got.header.GetSizeBytes() != 5 {
		t.Error(got)
	}
}

func TestAllElseIsNothing(t *testing.T) {
	for _, message := range [][]byte{{}, {chunkTag}, {chunkTag, 5, 1}, {chunkTag, 0}, bytes.Repeat([]byte{0xff}, 20)} {
		if got := taken(t, message, 4); got.header != nil || got.size() != 0 {
			t.Errorf("%x: %v", message, got)
		}
	}
}

func TestWhatIsSentIsPlainProtobuf(t *testing.T) {
	piece := bytes.Repeat([]byte{7}, 300)
	frames, err := framing{}.Marshal(&outgoing{chunk: mem.SliceBuffer(piece)})
	must(t, err)
	var got podiumv1.UploadBlobRequest
	must(t, proto.Unmarshal(frames.Materialize(), &got))
	if !bytes.Equal(got.GetChunk(), piece) {
		t.Error(got.GetChunk())
	}
	frames, err = framing{}.Marshal(&outgoing{header: &podiumv1.UploadBlobHeader{Offset: 5}})
	must(t, err)
	must(t, proto.Unmarshal(frames.Materialize(), &got))
	if got.GetHeader().GetOffset() != 5 {
		t.Error(&got)
	}
}
