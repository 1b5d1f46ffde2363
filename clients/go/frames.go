package podium

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// The byte layout of the two streaming messages: no message object is built around a chunk, which costs most of the speed. A
// chunk's frame is the field's tag, its length as a varint, and the bytes. On the wire it is plain protobuf.

const (
	chunkBytes = 1 << 20
	chunkField = 2 // of UploadBlobRequest and of DownloadArtifactResponse
)

var chunkTag = byte(protowire.EncodeTag(chunkField, protowire.BytesType))

// outgoing is a message of an upload: a header, or a chunk that gRPC gives back to its pool.
type outgoing struct {
	header *podiumv1.UploadBlobHeader
	chunk  mem.Buffer
}

// incoming is a message of a download: a header, or bytes, which are to be freed by whoever takes them.
type incoming struct {
	header *podiumv1.DownloadArtifactHeader
	data   mem.BufferSlice
	start  int // of the chunk in data
}

func (m *incoming) size() int { return m.data.Len() - m.start }

// framing is the codec of the two streaming calls.
type framing struct{}

func (framing) Name() string { return "proto" }

func (framing) Marshal(message any) (mem.BufferSlice, error) {
	switch message := message.(type) {
	case *outgoing:
		if message.chunk != nil {
			prefix := binary.AppendUvarint([]byte{chunkTag}, uint64(message.chunk.Len()))
			return mem.BufferSlice{mem.SliceBuffer(prefix), message.chunk}, nil
		}
		content := &podiumv1.UploadBlobRequest_Header{Header: message.header}
		bytes, err := proto.Marshal(&podiumv1.UploadBlobRequest{Content: content})
		return mem.BufferSlice{mem.SliceBuffer(bytes)}, err
	case proto.Message:
		bytes, err := proto.Marshal(message)
		return mem.BufferSlice{mem.SliceBuffer(bytes)}, err
	}
	return nil, fmt.Errorf("podium: %T is no message", message)
}

func (framing) Unmarshal(data mem.BufferSlice, message any) error {
	switch message := message.(type) {
	case *incoming:
		message.read(data)
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), message)
	}
	return fmt.Errorf("podium: %T is no message", message)
}

// read takes the fast path only where a message is exactly one chunk field; all else that is legal goes through the parser.
// A malformed message is neither a header nor bytes.
func (m *incoming) read(data mem.BufferSlice) {
	if start := startOfChunk(data); start > 0 {
		data.Ref()
		*m = incoming{data: data, start: start}
		return
	}
	var response podiumv1.DownloadArtifactResponse
	if err := proto.Unmarshal(data.Materialize(), &response); err != nil {
		*m = incoming{}
		return
	}
	*m = incoming{header: response.GetHeader(), data: mem.BufferSlice{mem.SliceBuffer(response.GetChunk())}}
}

// startOfChunk is where the bytes start if the message is exactly one chunk field, else 0.
func startOfChunk(data mem.BufferSlice) int {
	var prefix [1 + binary.MaxVarintLen64]byte
	count := data.CopyTo(prefix[:])
	if count == 0 || prefix[0] != chunkTag {
		return 0
	}
	length, size := binary.Uvarint(prefix[1:count])
	if start := 1 + size; size > 0 && length == uint64(data.Len()-start) {
		return start
	}
	return 0
}

// readChunk reads the next chunk into a buffer of gRPC's pool; io.EOF at the end.
func readChunk(content io.Reader) (mem.Buffer, error) {
	pool := mem.DefaultBufferPool()
	piece := pool.Get(chunkBytes)
	count, err := io.ReadFull(content, *piece)
	if count == 0 {
		pool.Put(piece)
		return nil, err
	}
	*piece = (*piece)[:count]
	return mem.NewBuffer(piece, pool), nil
}
