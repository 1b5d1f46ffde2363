package podium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/mem"
)

const connectTime = 5 * time.Second

// bucketError says why the bytes of a file have not come, or not all, without a URL: whoever has one can read.
type bucketError struct {
	why       string
	isRefusal bool // there was an answer, and it was another
	isFinal   bool // trying again is in vain
}

func (e bucketError) Error() string { return e.why }

// bucket reads files over HTTP by signed URLs, through the proxies of the environment. The other end is told what to read and
// nothing else, and no redirect is followed.
type bucket struct {
	http    http.Client
	silence time.Duration // that is allowed
}

func newBucket(silence time.Duration) *bucket {
	dialer := net.Dialer{Timeout: connectTime}
	return &bucket{silence: silence, http: http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: connectTime,
			MaxIdleConnsPerHost: workers,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *bucket) close() { b.http.CloseIdleConnections() }

// read adds the rest of a file of this size to the sink; a bucketError if it does not come.
func (b *bucket) read(ctx context.Context, signed string, size int64, into *sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(b.silence, func() { cancel(errSilent) })
	defer silence.Stop()
	response, err := b.ask(ctx, signed, into.size)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	host := response.Request.URL.Host
	if !isRange(response, into.size, size) {
		why := fmt.Sprintf("%s answers %d, and not with the bytes of the file", host, response.StatusCode)
		return bucketError{why: why, isRefusal: true}
	}
	content := io.LimitReader(guarded{response.Body, silence, b.silence}, size-into.size)
	for into.size < size {
		chunk, err := readChunk(content)
		if err != nil {
			return cutOffBy(ctx, host, err)
		}
		if err := into.write(incoming{data: mem.BufferSlice{chunk}}); err != nil {
			return err
		}
	}
	return nil
}

// ask sends a request for all from an offset on, and returns the answer once it has begun.
func (b *bucket) ask(ctx context.Context, signed string, offset int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, http.NoBody)
	if err != nil || request.URL.Host == "" {
		return nil, bucketError{why: "the server gives URLs that are none of HTTP", isFinal: true}
	}
	request.URL.User = nil
	request.Header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", offset)}, "User-Agent": {""}}
	response, err := b.http.Do(request)
	if err != nil {
		return nil, cutOffBy(ctx, request.URL.Host, err)
	}
	return response, nil
}

// isRange says whether these are the bytes from an offset on of a file of that size: all of it, if no more was asked for.
func isRange(response *http.Response, offset, size int64) bool {
	switch {
	case response.Header.Get("Content-Encoding") != "":
		return false
	case response.StatusCode == http.StatusPartialContent:
		return response.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size)
	}
	return response.StatusCode == http.StatusOK && offset == 0 && response.ContentLength == size
}

func cutOffBy(ctx context.Context, host string, err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	if context.Cause(ctx) == errSilent {
		err = errors.New("it says nothing")
	}
	return bucketError{why: fmt.Sprintf("%s cannot be read: %v", host, err)}
}

// guarded is a body of which each read may take so long, and what is done in between as long as it takes.
type guarded struct {
	body    io.Reader
	silence *time.Timer
	allowed time.Duration
}

func (g guarded) Read(into []byte) (int, error) {
	g.silence.Reset(g.allowed)
	defer g.silence.Stop()
	return g.body.Read(into)
}
