package podium

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serveHTTP serves what a handler says, and closes it after the test.
func serveHTTP(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func emptySink(t *testing.T, size int64) *sink {
	t.Helper()
	into, err := openSink(filepath.Join(t.TempDir(), "partial"), size)
	must(t, err)
	t.Cleanup(func() { must(t, into.close()) })
	return into
}

func readAll(t *testing.T, ctx context.Context, url string, silence time.Duration) error {
	t.Helper()
	from := newBucket(silence)
	defer from.close()
	return from.read(ctx, url, 1000, emptySink(t, 1000))
}

func TestABucketIsToldNothingButWhatToRead(t *testing.T) {
	var told http.Header
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		told = r.Header
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 1000)))
	})
	must(t, readAll(t, context.Background(), strings.Replace(url, "://", "://me:secret@", 1)+"/a?b=c", time.Minute))
	if len(told) != 1 || told.Get("Range") != "bytes=0-" {
		t.Errorf("it was told %v", told)
	}
}

func TestABucketSendsNobodyAnywhere(t *testing.T) {
	elsewhere := serveHTTP(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	var told bucketError
	if err := readAll(t, context.Background(), url, time.Minute); !errors.As(err, &told) || !told.isRefusal {
		t.Errorf("not refused: %v", err)
	}
}

func TestAReadThatWaitsEndsWithItsContextOrWithPatience(t *testing.T) {
	begun, end := make(chan struct{}, 2), make(chan struct{})
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-999/1000")
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusPartialContent)
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-end
	})
	t.Cleanup(func() { close(end) })
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-begun
		cancel()
	}()
	if err := readAll(t, ctx, url, time.Hour); err == nil || ctx.Err() == nil {
		t.Errorf("it did not end with its context: %v", err)
	}
	err := readAll(t, context.Background(), url+"/secret", 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "says nothing") || strings.Contains(err.Error(), "secret") {
		t.Errorf("it ended with %v", err)
	}
}

func TestNoErrorShowsAURL(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:1/secret", "http://127.0.0.1:x/secret", "http://[/secret", "file:///secret", "a\nsecret"} {
		var told bucketError
		err := readAll(t, context.Background(), url, time.Minute)
		if !errors.As(err, &told) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q ended with %v", url, err)
		}
	}
}
