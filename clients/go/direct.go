package podium

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	urlsAtOnce  = 100 // no server signs fewer
	directTries = 3   // in a row in which no byte comes
)

// direct reads files of one version from where the server keeps them, by URLs that it signs. Once that fails, it is left alone
// for good, and the server sends what is missing.
type direct struct {
	reference string // that means the version for good
	urls      *signedURLs
	bucket    *bucket
	isLeft    atomic.Bool
}

func (c *Client) newDirect(reference string, files []*podiumv1.File) *direct {
	urls := &signedURLs{client: c, reference: reference, waiting: files, known: make(map[string]string)}
	return &direct{reference: reference, urls: urls, bucket: newBucket(c.transport.timeout)}
}

// receive adds to the sink what can be had of the bytes that it lacks.
func (d *direct) receive(ctx context.Context, file *podiumv1.File, into *sink) error {
	pauses := growing{first: 100 * time.Millisecond, longest: 2 * time.Second}
	for failed := 0; into.size < file.GetSizeBytes() && !d.isLeft.Load(); {
		before := into.size
		err := d.read(ctx, file, into)
		var told bucketError
		if ctx.Err() != nil || !errors.As(err, &told) {
			return errors.Join(ctx.Err(), err)
		}
		if failed++; into.size > before {
			failed = 0
		}
		if told.isFinal || failed == directTries {
			d.leave(told.why)
			return nil
		}
		if err := pause(ctx, pauses.next()); err != nil {
			return err
		}
	}
	return nil
}

func (d *direct) read(ctx context.Context, file *podiumv1.File, into *sink) error {
	url, err := d.urls.of(ctx, file)
	if err != nil {
		return err
	}
	err = d.bucket.read(ctx, url, file.GetSizeBytes(), into)
	var failed bucketError
	if errors.As(err, &failed) && failed.isRefusal {
		d.urls.forget() // they may be too old: the clock of this machine need not be right, so it is not asked
	}
	return err
}

// leave has the server send everything from now on.
func (d *direct) leave(why string) {
	if !d.isLeft.Swap(true) {
		slog.Warn("podium: files come by way of the server", "version", d.reference, "why", why)
	}
}

// signedURLs are those of a version's files, asked for by the hundred when the first of them is to be read.
type signedURLs struct {
	client    *Client
	reference string

	mu      sync.Mutex
	waiting []*podiumv1.File // in the order in which they will be read
	known   map[string]string
}

func (s *signedURLs) of(ctx context.Context, file *podiumv1.File) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *podiumv1.File) bool { return other == file })
	if url, has := s.known[file.GetPath()]; has {
		return url, nil
	}
	unsigned := []*podiumv1.File{file}
	for _, other := range s.waiting {
		if _, has := s.known[other.GetPath()]; !has && len(unsigned) < urlsAtOnce {
			unsigned = append(unsigned, other)
		}
	}
	err := s.sign(ctx, unsigned)
	return s.known[file.GetPath()], err
}

// forget asks anew for all.
func (s *signedURLs) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

func (s *signedURLs) sign(ctx context.Context, files []*podiumv1.File) error {
	request := &podiumv1.SignDownloadsRequest{Reference: s.reference}
	for _, file := range files {
		request.Paths = append(request.Paths, file.GetPath())
	}
	var reply *podiumv1.SignDownloadsResponse
	err := persist(ctx, newPatience(s.client.transport.timeout), func() (err error) {
		reply, err = s.client.stub.SignDownloads(ctx, request, resumed{})
		return err
	})
	if err != nil {
		return bucketError{why: err.Error(), isFinal: true}
	}
	isSame := func(file *podiumv1.File, signed *podiumv1.SignedDownload) bool {
		return file.GetPath() == signed.GetPath() && file.GetDigest() == signed.GetDigest() &&
			file.GetSizeBytes() == signed.GetSizeBytes()
	}
	if !slices.EqualFunc(files, reply.GetDownloads(), isSame) {
		return errorf(HostileServer, "the server signs other downloads than those of %s that it is asked for", s.reference)
	}
	for _, signed := range reply.GetDownloads() {
		s.known[signed.GetPath()] = signed.GetUrl()
	}
	return nil
}
