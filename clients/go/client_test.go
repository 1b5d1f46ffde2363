package podium

import (
	"context"
	"errors"
	"testing"
)

func TestCloseEndsSteps(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	watch, err := client.Watch([]string{"m@champion"}, nil)
	must(t, err)
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		var last error
		for step, err := range watch.Steps(context.Background()) {
			if last = err; step != nil {
				close(begun)
			}
		}
		ended <- last
	}()
	<-begun
	client.transport.abandon(connectionOf(client)) // Close ends also what goes on over one that was left
	client.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	eventually(t, "no connection", func() bool { return r.connections.Load() == 0 })
}

func TestCloseEndsCallsOnAConnectionThatWasLeft(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	stream, err := client.Stub().UploadBlob(context.Background())
	must(t, err)
	client.transport.abandon(connectionOf(client))
	client.Close()
	eventually(t, "no connection", func() bool { return r.connections.Load() == 0 })
	if _, err := stream.CloseAndRecv(); err == nil {
		t.Fatal("it goes on")
	}
}

func TestCloseEndsFollow(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	follower := followed(t, client) // writes down what it has
	follower.Close()
	r.set(func() { r.silent = true })
	ended := make(chan error, 1)
	go func() {
		_, err := client.Follow(context.Background(), "m@champion", nil)
		ended <- err
	}()
	eventually(t, "it is being followed", func() bool { client.mu.Lock(); defer client.mu.Unlock(); return len(client.open) == 1 })
	client.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestAClosedFollowerAdoptsNothing(t *testing.T) {
	follower := followed(t, dial(t, serve(t)))
	follower.Close()
	known := follower.record.read()
	if known == nil {
		t.Fatal("nothing is written down")
	}
	if adopted, err := follower.adopt(context.Background(), known); adopted || err != nil || follower.held != nil {
		t.Fatal(adopted, err, follower.held)
	}
}
