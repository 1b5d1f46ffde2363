package podium

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// refusalTime: that another offset is expected, or somebody else is sending, the server says at once; what is sent until then is
// sent in vain.
const refusalTime = 200 * time.Millisecond

const askServer int64 = -1

// sending is one file on its way to the server, in as many streams as it takes.
type sending struct {
	*upload
	file     sourceFile
	digest   string
	lasts    *patience
	next     int64 // where the next stream starts; or askServer
	furthest int64 // how far bytes were ever sent
	reached  int64 // how far the server has been seen to be
	streams  int
}

// send returns when the server has all bytes of a file, whoever sent them.
func (u *upload) send(ctx context.Context, file sourceFile, blob *podiumv1.MissingBlob) error {
	s := &sending{upload: u, file: file, digest: blob.GetDigest(), lasts: newPatience(u.transport.timeout)}
	offset, err := s.checked(blob.GetCommittedBytes())
	if err != nil {
		return err
	}
	s.next = offset
	return persist(ctx, s.lasts, func() error {
		if s.next == askServer {
			if done, err := s.ask(ctx); done || err != nil {
				return err
			}
		}
		offset, s.next = s.next, askServer
		return s.stream(ctx, offset)
	})
}

// ask learns how far the server is, after a stream that failed; true if it has all.
func (s *sending) ask(ctx context.Context) (bool, error) {
	missing, err := s.findMissing(ctx, []*podiumv1.BlobSpec{{Digest: s.digest, SizeBytes: s.file.size()}})
	if err != nil || len(missing) == 0 {
		return err == nil, err
	}
	if committed := missing[0].GetCommittedBytes(); committed > s.reached {
		s.reached = committed
		s.lasts.moved() // by whoever is sending
	}
	s.next, err = s.checked(missing[0].GetCommittedBytes())
	return false, err
}

// stream sends all from an offset on; its error says whether another stream may do better.
func (s *sending) stream(ctx context.Context, offset int64) error {
	s.streams++
	reply, err := s.transfer(ctx, offset)
	var told *Error
	switch errors.As(err, &told); {
	case errors.Is(err, OutOfRange):
		expected, parseErr := strconv.ParseUint(told.Metadata["expected_offset"], 10, 63)
		if parseErr != nil {
			return err
		}
		var hostile error
		if s.next, hostile = s.checked(int64(expected)); hostile != nil {
			return hostile
		}
		return err
	case told != nil && told.Reason == "CONTENT_MISMATCH":
		if changed := s.file.checkUnchanged(); changed != nil {
			return changed
		}
		if offset == 0 {
			return errorf(PushRefused, "%s has other bytes than when it was hashed: push again", s.file.path)
		}
		s.next, s.furthest = 0, 0 // what an earlier upload left was not this file's
		return err
	case err != nil:
		return err
	case !reply.GetComplete():
		if changed := s.file.checkUnchanged(); changed != nil {
			return changed
		}
		early := errorf("", "the upload of %s ended early", s.file.path)
		early.Code = codes.Canceled
		return early
	}
	return nil
}

// transfer makes one stream of a header and chunks.
func (s *sending) transfer(ctx context.Context, offset int64) (*podiumv1.UploadBlobResponse, error) {
	stream, err := s.transport.openTransfer(ctx, uploadDesc, uploadMethod, s.isServerThere, grpc.ForceCodecV2(framing{}))
	if err != nil {
		return nil, err
	}
	defer stream.close()
	header := &podiumv1.UploadBlobHeader{Model: s.model, Digest: s.digest, SizeBytes: s.file.size(), Offset: offset}
	err = stream.SendMsg(&outgoing{header: header})
	if err == nil {
		err = s.sendChunks(stream, offset)
	}
	if err != nil && err != io.EOF { // io.EOF: the server has ended the stream, and says why
		return nil, err
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	reply := &podiumv1.UploadBlobResponse{}
	return reply, stream.RecvMsg(reply)
}

func (s *sending) sendChunks(stream grpc.ClientStream, offset int64) error {
	if offset > 0 || s.streams > 1 { // somebody else, or who was cut off a moment ago, may still have the lease
		if err := pause(stream.Context(), refusalTime); err != nil {
			return err
		}
	}
	file, err := os.Open(s.file.source)
	if err != nil {
		return refused(err, s.file.path, "cannot be read")
	}
	defer file.Close()
	for content := io.NewSectionReader(file, offset, s.file.size()-offset); offset < s.file.size(); {
		chunk, err := readChunk(content)
		if err == io.EOF { // it was cut meanwhile: the server's answer is judged with that
			return nil
		}
		if err != nil {
			return refused(err, s.file.path, "cannot be read")
		}
		count := int64(chunk.Len())
		if err := stream.SendMsg(&outgoing{chunk: chunk}); err != nil {
			return err
		}
		offset += count
		s.moved(offset, count)
	}
	return nil
}

// isServerThere asks something else of a server that takes nothing: it may be reading what it has of a large file.
func (s *sending) isServerThere(ctx context.Context) bool {
	_, err := s.stub.FindMissingBlobs(ctx, &podiumv1.FindMissingBlobsRequest{
		Model: s.model, Blobs: []*podiumv1.BlobSpec{{Digest: s.digest, SizeBytes: s.file.size()}},
	})
	return !errors.Is(err, Unavailable)
}

func (s *sending) moved(offset, count int64) {
	s.sent.Add(count)
	if offset > s.furthest { // what is only sent again is no progress
		s.furthest = offset
		s.lasts.moved()
	}
}

func (s *sending) checked(offset int64) (int64, error) {
	if offset < 0 || offset > s.file.size() {
		return 0, errorf(HostileServer, "the server has %d of the %d bytes of %s", offset, s.file.size(), s.file.path)
	}
	return offset, nil
}
