package podium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

var (
	uploadDesc   = streamDesc("UploadBlob")
	downloadDesc = streamDesc("DownloadArtifact")
	watchDesc    = streamDesc("Watch")
)

const (
	uploadMethod   = podiumv1.RegistryService_UploadBlob_FullMethodName
	downloadMethod = podiumv1.RegistryService_DownloadArtifact_FullMethodName
)

func streamDesc(name string) *grpc.StreamDesc {
	for index := range podiumv1.RegistryService_ServiceDesc.Streams {
		if desc := &podiumv1.RegistryService_ServiceDesc.Streams[index]; desc.StreamName == name {
			return desc
		}
	}
	panic("podium: no stream " + name)
}

// download fetches files of one version, from the server or the bucket, into partial files: it goes on after a cut, and verifies
// them as a whole.
type download struct {
	transport *transport
	reference string  // that means the version for good
	direct    *direct // nil if all is to come from the server
}

// fetch completes the partial file; removes it if its bytes are not those of the digest.
func (d download) fetch(ctx context.Context, file *podiumv1.File, partial string) error {
	into, err := openSink(partial, file.GetSizeBytes())
	if err != nil {
		return err
	}
	err = d.fetchInto(ctx, file, into)
	err = errors.Join(err, into.close())
	if errors.Is(err, DamagedFile) || errors.Is(err, HostileServer) {
		return errors.Join(err, os.Remove(partial))
	}
	return err
}

func (d download) fetchInto(ctx context.Context, file *podiumv1.File, into *sink) error {
	if d.direct != nil {
		if err := d.direct.receive(ctx, file, into); err != nil {
			return err
		}
	}
	unchecked := into.size
	if err := d.receive(ctx, file, into); err != nil {
		return err
	}
	actual, err := into.digest()
	if err == nil && unchecked > 0 && actual != file.GetDigest() {
		// What an earlier process left need not be what it received, after a power cut for example; and nobody but this client
		// has looked at what came from the bucket. The server looks at what it sends.
		if d.direct != nil {
			d.direct.leave(fmt.Sprintf("what is there of %q are not the bytes of %s", file.GetPath(), file.GetDigest()))
		}
		if err := into.restart(); err != nil {
			return err
		}
		if err := d.receive(ctx, file, into); err != nil {
			return err
		}
		actual, err = into.digest()
	}
	if err == nil && actual != file.GetDigest() {
		return errorf(DamagedFile, "%s of %s arrived as %s, not as %s", file.GetPath(), d.reference, actual, file.GetDigest())
	}
	return err
}

// receive fetches what is missing, in as many streams as it takes.
func (d download) receive(ctx context.Context, file *podiumv1.File, into *sink) error {
	lasts := newPatience(d.transport.timeout)
	return persist(ctx, lasts, func() error {
		if into.size == file.GetSizeBytes() {
			return nil
		}
		return d.stream(ctx, file, into, lasts)
	})
}

// stream takes what one stream brings, never more than the file has.
func (d download) stream(ctx context.Context, file *podiumv1.File, into *sink, lasts *patience) error {
	stream, err := d.transport.openTransfer(ctx, downloadDesc, downloadMethod, nil, grpc.ForceCodecV2(framing{}), resumed{})
	if err != nil {
		return err
	}
	defer stream.close()
	request := &podiumv1.DownloadArtifactRequest{Reference: d.reference, Path: file.GetPath(), Offset: into.size}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := d.checkHeader(file, stream); err != nil {
		return err
	}
	for {
		var chunk incoming
		err := stream.RecvMsg(&chunk)
		switch {
		case err == io.EOF && into.size < file.GetSizeBytes():
			return d.hostile(file, "ended after %d of %d bytes", into.size, file.GetSizeBytes())
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case chunk.header != nil || chunk.size() == 0:
			return d.hostile(file, "has a message without bytes")
		case into.size+int64(chunk.size()) > file.GetSizeBytes():
			chunk.data.Free()
			return d.hostile(file, "has more bytes than it said")
		}
		if err := into.write(chunk); err != nil {
			return err
		}
		lasts.moved()
	}
}

func (d download) checkHeader(file *podiumv1.File, stream grpc.ClientStream) error {
	var first incoming
	if err := stream.RecvMsg(&first); err != nil && err != io.EOF {
		return err
	}
	header := first.header
	if header == nil {
		first.data.Free()
		return d.hostile(file, "does not begin with a header")
	}
	if header.GetDigest() != file.GetDigest() || header.GetSizeBytes() != file.GetSizeBytes() {
		return d.hostile(file, "is %d bytes of %s", header.GetSizeBytes(), header.GetDigest())
	}
	return nil
}

func (d download) hostile(file *podiumv1.File, what string, values ...any) error {
	return errorf(HostileServer, "the server's download of %s of %s "+what,
		append([]any{file.GetPath(), d.reference}, values...)...)
}
