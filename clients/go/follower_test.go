package podium

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// cacheFolder is a folder for a cache, whose read-only folders are removed with it.
func cacheFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	t.Cleanup(func() {
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, _ error) error {
			if entry != nil && entry.IsDir() {
				return os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return folder
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("never: " + what)
		}
	}
}

func followed(t *testing.T, client *Client) *Follower {
	t.Helper()
	follower, err := client.Follow(context.Background(), "m@champion", nil)
	must(t, err)
	return follower
}

func TestASlowReaderOfChangesGetsTheNewest(t *testing.T) {
	r := serve(t)
	follower := followed(t, dial(t, r))
	var got []int64
	for current := range follower.Changes(context.Background()) {
		got = append(got, current.Number)
		if current.Number == 1 {
			for next := int64(2); next <= 5; next++ {
				r.set(func() { r.number = next })
				eventually(t, "the next is current", func() bool { return follower.Current().Number == next })
			}
		}
		if current.Number == 5 {
			break
		}
	}
	if !slices.Equal(got, []int64{1, 5}) {
		t.Fatal(got)
	}
	text, err := os.ReadFile(filepath.Join(follower.Current().Path, "n"))
	if string(text) != "5" || err != nil {
		t.Fatal(string(text), err)
	}
}

func TestEveryReaderOfChangesGetsTheLast(t *testing.T) {
	r := serve(t)
	follower := followed(t, dial(t, r))
	var readers sync.WaitGroup
	for range 8 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			last := int64(0)
			for current := range follower.Changes(context.Background()) {
				if current.Number <= last {
					t.Errorf("%d after %d", current.Number, last)
				}
				last = current.Number
				if last == 9 {
					return
				}
			}
			t.Error("it ended before the last")
		}()
	}
	for next := int64(2); next <= 9; next++ {
		r.set(func() { r.number = next })
		time.Sleep(5 * time.Millisecond)
	}
	readers.Wait()
}

func TestChangesEndWithTheContextAndWithClose(t *testing.T) {
	follower := followed(t, dial(t, serve(t)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 2)
	read := func(ctx context.Context) {
		count := 0
		for range follower.Changes(ctx) {
			count++
		}
		ended <- count
	}
	go read(ctx)
	go read(context.Background())
	time.Sleep(10 * time.Millisecond)
	cancel()
	first := <-ended
	follower.Close()
	if second := <-ended; first != 1 || second != 1 {
		t.Fatal(first, second)
	}
	if follower.State() != StateStale || follower.Current().Number != 1 {
		t.Fatal("what was current cannot be read any more")
	}
}

func TestASilentStreamIsGivenUpWithItsConnection(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	follower := followed(t, client)
	eventually(t, "connected", func() bool { return follower.State() == StateConnected })
	first := connectionOf(client)
	r.set(func() { r.silent = true })
	eventually(t, "stale", func() bool { return follower.State() == StateStale })
	r.set(func() { r.silent, r.number = false, 2 })
	eventually(t, "the next version", func() bool { return follower.Current().Number == 2 })
	if first == connectionOf(client) {
		t.Fatal("the same connection is used")
	}
	eventually(t, "one connection", func() bool { return r.connections.Load() == 1 })
}

func TestReconnectsLeaveNothing(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	follower := followed(t, client)
	eventually(t, "connected", func() bool { return follower.State() == StateConnected })
	goroutines, descriptors := runtime.NumGoroutine(), openFilesOf(t)
	for range 200 {
		r.set(func() { r.ended = 1 })
		eventually(t, "a stream ends", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.ended == 0 })
		if current := connectionOf(client); current != nil {
			client.transport.abandon(current)
		}
	}
	r.set(func() { r.number = 2 })
	eventually(t, "the next version", func() bool { return follower.Current().Number == 2 })
	eventually(t, "no more goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	eventually(t, "no more descriptors", func() bool { return openFilesOf(t) <= descriptors+2 })
	client.Close()
	eventually(t, "no connection", func() bool { return r.connections.Load() == 0 })
}

func connectionOf(client *Client) *connection {
	client.transport.mu.Lock()
	defer client.transport.mu.Unlock()
	return client.transport.current
}

func openFilesOf(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/dev/fd")
	must(t, err)
	return len(names)
}

func TestWhatCannotBePulledIsSaidAndTriedAgain(t *testing.T) {
	r := serve(t)
	follower := followed(t, dial(t, r))
	r.set(func() { r.number, r.full = 2, true })
	eventually(t, "a problem", func() bool { return errors.Is(follower.Problem(), DataLoss) })
	if follower.Current().Number != 1 || follower.State() != StateConnected {
		t.Fatal(follower.Current(), follower.State())
	}
	r.set(func() { r.full = false })
	eventually(t, "the next version", func() bool { return follower.Current().Number == 2 && follower.Problem() == nil })
}

func TestEachVersionIsToldOnceAndWrittenDown(t *testing.T) {
	r := serve(t)
	follower := followed(t, dial(t, r))
	var got []int64
	for current := range follower.Changes(context.Background()) {
		got = append(got, current.Number)
		eventually(t, "the record says it", func() bool {
			known := follower.record.read()
			return known != nil && known.target.GetNumber() == current.Number
		})
		if current.Number == 10 {
			break
		}
		r.set(func() { r.number = current.Number + 1 })
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) {
		t.Fatal(got)
	}
}

func TestUseKeepsAVersion(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	follower := followed(t, client)
	used, done, err := follower.Use()
	must(t, err)
	r.set(func() { r.number = 2 })
	eventually(t, "the next version", func() bool { return follower.Current().Number == 2 })
	if used.Number != 1 {
		t.Fatal(used)
	}
	done()
	done()
	follower.Close()
	if _, _, err := follower.Use(); err == nil {
		t.Fatal("a closed follower holds nothing")
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	before := runtime.NumGoroutine()
	client, err := Dial("127.0.0.1:1", &Options{Cache: cacheFolder(t)})
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Follow(ctx, "m@champion", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	client.Close()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAClosedClientSaysSo(t *testing.T) {
	client := dial(t, serve(t))
	client.Close()
	client.Close()
	if _, err := client.Resolve(context.Background(), "m:1", nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := client.Follow(context.Background(), "m@champion", nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func BenchmarkCurrent(b *testing.B) {
	follower := &Follower{}
	follower.current.Store(&Current{Number: 1})
	b.SetParallelism(8)
	b.RunParallel(func(each *testing.PB) {
		for each.Next() {
			if follower.Current().Number != 1 {
				b.Error("torn")
			}
		}
	})
}
