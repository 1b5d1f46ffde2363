package podium

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const shortTimeout = 1500 * time.Millisecond

// impatient is a client whose streams are cut after half a second.
func impatient(t *testing.T, r *registry) *Client {
	t.Helper()
	client, err := Dial(r.address, &Options{Cache: cacheFolder(t), Timeout: shortTimeout})
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAStalledDownloadGoesOnOverAnotherConnection(t *testing.T) {
	r := serve(t)
	client := impatient(t, r)
	r.set(func() { r.stalls = 1 })
	held, err := client.pullAndHold(soon(t), targetOf(1))
	must(t, err)
	held.release()
	eventually(t, "the first connection is left", func() bool { return r.connections.Load() == 1 })
	if r.opened.Load() != 2 {
		t.Fatal("the connection that stalled is used")
	}
}

func send(t *testing.T, r *registry, client *Client) int {
	t.Helper()
	source := filepath.Join(t.TempDir(), "n")
	must(t, os.WriteFile(source, []byte("1"), 0o600))
	found, err := os.Stat(source)
	must(t, err)
	u := &upload{transport: client.transport, stub: client.stub, model: "m"}
	s := &sending{
		upload: u, file: sourceFile{"n", source, found}, digest: digestOf([]byte("1")), lasts: newPatience(shortTimeout),
	}
	must(t, persist(soon(t), s.lasts, func() error { return s.stream(soon(t), 0) }))
	return s.streams
}

func TestAStalledUploadGoesOn(t *testing.T) {
	r := serve(t)
	r.set(func() { r.stalls, r.away = 1, true })
	if streams := send(t, r, impatient(t, r)); streams != 2 || r.opened.Load() != 2 {
		t.Fatal(streams, r.opened.Load())
	}
}

func TestAnUploadWaitsForAServerThatIsAtWork(t *testing.T) {
	r := serve(t)
	r.settling = 2 * shortTimeout
	if streams := send(t, r, impatient(t, r)); streams != 1 {
		t.Fatal(streams)
	}
}

func TestAnUploadByTheStubLeavesNothing(t *testing.T) {
	client := dial(t, serve(t))
	stream, err := client.Stub().UploadBlob(context.Background())
	must(t, err)
	must(t, stream.Send(&podiumv1.UploadBlobRequest{}))
	_, err = stream.CloseAndRecv()
	must(t, err)
	client.transport.mu.Lock()
	defer client.transport.mu.Unlock()
	if client.transport.current.calls != 0 {
		t.Fatal("the call still counts")
	}
}
