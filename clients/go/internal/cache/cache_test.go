package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func cacheOf(t *testing.T) *Cache {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() { _ = remove(filepath.Join(root, layout)) }) // folders of versions are read-only
	made, err := At(root)
	must(t, err)
	return made
}

func writes(text string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
}

func nothing(string) error { return nil }

func TestAFileIsFetchedOnce(t *testing.T) {
	c := cacheOf(t)
	var fetched atomic.Int32
	var running sync.WaitGroup
	for range 16 {
		running.Add(1)
		go func() {
			defer running.Done()
			err := c.WithFile(context.Background(), aDigest, 5, func(partial string) error {
				fetched.Add(1)
				time.Sleep(10 * time.Millisecond)
				return writes("12345")(partial)
			}, nothing)
			if err != nil {
				t.Error(err)
			}
		}()
	}
	running.Wait()
	if fetched.Load() != 1 {
		t.Fatal(fetched.Load())
	}
	status, err := os.Stat(c.FilePath(aDigest))
	must(t, err)
	if status.Mode() != 0o444 || status.ModTime().Unix() != 1_000_000_000 {
		t.Fatal(status.Mode(), status.ModTime())
	}
}

func TestDamageIsSeenAndReplaced(t *testing.T) {
	damages := map[string]func(string) error{
		"written": func(path string) error {
			return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("54321"), 0), os.Chmod(path, 0o444))
		},
		"cut":      func(path string) error { return errors.Join(os.Chmod(path, 0o644), os.Truncate(path, 2)) },
		"removed":  os.Remove,
		"writable": func(path string) error { return os.Chmod(path, 0o644) },
		"marked":   BreakSeal,
		"a folder": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := cacheOf(t)
			must(t, c.WithFile(context.Background(), aDigest, 5, writes("12345"), nothing))
			must(t, damage(c.FilePath(aDigest)))
			must(t, c.WithFile(context.Background(), aDigest, 5, writes("12345"), nothing))
			if text, err := os.ReadFile(c.FilePath(aDigest)); string(text) != "12345" || !c.HasFile(aDigest, 5) {
				t.Fatal(string(text), err)
			}
		})
	}
}

func TestAVersionIsWholeOrNotThere(t *testing.T) {
	c := cacheOf(t)
	files := map[string]int64{"a": 5, "b/c": 5}
	fill := func(folder string) error {
		return c.WithFile(context.Background(), aDigest, 5, writes("12345"), func(whole string) error {
			return errors.Join(Link(whole, filepath.Join(folder, "a")), Link(whole, filepath.Join(folder, "b", "c")))
		})
	}
	broken := errors.New("broken")
	_, err := c.Version(context.Background(), aDigest, files, func(folder string) error { return errors.Join(fill(folder), broken) })
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(c.VersionPath(aDigest))); len(left) > 0 {
		t.Fatal(left, err)
	}
	// What a crash left is in the way of nobody.
	must(t, os.MkdirAll(filepath.Join(c.VersionPath(aDigest)+".new", "x"), 0o500))
	must(t, os.MkdirAll(filepath.Join(c.VersionPath(aDigest)+".old", "x"), 0o500))
	folder, err := c.Version(context.Background(), aDigest, files, fill)
	must(t, err)
	one, err := os.Stat(filepath.Join(folder, "a"))
	must(t, err)
	other, err := os.Stat(filepath.Join(folder, "b", "c"))
	must(t, err)
	if inner, err := os.Stat(filepath.Join(folder, "b")); !os.SameFile(one, other) || inner.Mode().Perm() != 0o555 {
		t.Fatal("not as the contract says", inner, err)
	}
	if _, err := c.Version(context.Background(), aDigest, files, func(string) error { return broken }); err != nil {
		t.Fatal("it is made again though it is whole:", err)
	}
	must(t, errors.Join(os.Chmod(folder, 0o755), os.WriteFile(filepath.Join(folder, "extra"), nil, 0o444)))
	folder, err = c.Version(context.Background(), aDigest, files, fill)
	must(t, err)
	if !hasExactly(folder, files) {
		t.Fatal("a file too many is still there")
	}
}

func TestNamesThatAreNoDigestsAreNoPaths(t *testing.T) {
	c := cacheOf(t)
	for _, name := range []string{"", "../x", "sha256:", "sha256:../../x", aDigest + "0", "sha256:" + "A123456789abcdef"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is a path: %s", name, c.VersionPath(name))
				}
			}()
			_ = c.VersionPath(name)
		}()
	}
}
