package cache

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const aDigest = "sha256:123456789abcdef0000000000000000000000000000000000000000000000000"

// TestMain lets this program be another process, which takes a lock and keeps it until its input ends.
func TestMain(m *testing.M) {
	if what := os.Getenv("LOCK"); what != "" {
		keepLock(what, os.Getenv("LOCK_FILE"))
		return
	}
	os.Exit(m.Run())
}

func keepLock(what, path string) {
	file, err := lockFileAt(path)
	if err != nil {
		panic(err)
	}
	try := file.tryShared
	if what == "exclusive" {
		try = file.tryExclusive
	}
	taken, err := try(placeOf(aDigest))
	fmt.Println(taken, err)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// inOtherProcess starts a process that tries to take a lock; `end` ends it.
func inOtherProcess(t *testing.T, what, path string) (taken bool, end func()) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "LOCK="+what, "LOCK_FILE="+path)
	input, err := command.StdinPipe()
	must(t, err)
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	must(t, err)
	return strings.HasPrefix(line, "true"), func() {
		must(t, input.Close())
		must(t, command.Wait())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lockFileOf(t *testing.T) (*lockFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "locks", "blobs")
	file, err := lockFileAt(path)
	must(t, err)
	return file, path
}

func expect(t *testing.T, what string, wanted bool) func(bool, error) {
	return func(taken bool, err error) {
		t.Helper()
		if taken != wanted || err != nil {
			t.Fatalf("%s: %v, %v", what, taken, err)
		}
	}
}

func TestPlaceIsTheNumberOf15HexDigits(t *testing.T) {
	if place := placeOf(aDigest); place != 0x123456789abcdef {
		t.Fatalf("%x", place)
	}
}

func TestGoroutinesExcludeEachOther(t *testing.T) {
	file, _ := lockFileOf(t)
	expect(t, "the first", true)(file.tryExclusive(7))
	expect(t, "a second", false)(file.tryExclusive(7))
	expect(t, "a shared one beside", false)(file.tryShared(7))
	expect(t, "another byte", true)(file.tryExclusive(8))
	file.release(7)
	expect(t, "shared", true)(file.tryShared(7))
	expect(t, "shared again", true)(file.tryShared(7))
	file.release(7)
	expect(t, "exclusive beside one that is left", false)(file.tryExclusive(7))
	file.release(7)
	expect(t, "exclusive after the last", true)(file.tryExclusive(7))
}

func TestProcessesExcludeEachOther(t *testing.T) {
	file, path := lockFileOf(t)
	place := placeOf(aDigest)
	expect(t, "shared", true)(file.tryShared(place))
	taken, end := inOtherProcess(t, "exclusive", path)
	if end(); taken {
		t.Fatal("another process has it alone, though it is shared here")
	}
	taken, end = inOtherProcess(t, "shared", path)
	if !taken {
		t.Fatal("another process cannot share")
	}
	file.release(place)
	expect(t, "exclusive beside another process", false)(file.tryExclusive(place))
	end()
	expect(t, "exclusive after it has ended", true)(file.tryExclusive(place))
}

// The kernel drops all locks of a process on a file that it closes: there must be one descriptor of each file, whatever its path.
func TestAFileIsOpenedOnce(t *testing.T) {
	file, path := lockFileOf(t)
	expect(t, "exclusive", true)(file.tryExclusive(placeOf(aDigest)))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(filepath.Dir(path), link))
	for _, same := range []string{path, filepath.Join(link, "blobs")} {
		if again, err := lockFileAt(same); again != file || err != nil {
			t.Fatalf("%s is opened anew: %v", same, err)
		}
	}
	taken, end := inOtherProcess(t, "exclusive", path)
	if end(); taken {
		t.Fatal("the lock was dropped")
	}
}

func TestAnotherFileInThePlaceIsOpenedAnew(t *testing.T) {
	file, path := lockFileOf(t)
	expect(t, "exclusive", true)(file.tryExclusive(7))
	must(t, os.RemoveAll(filepath.Dir(path)))
	other, err := lockFileAt(path)
	must(t, err)
	if other == file {
		t.Fatal("nobody else looks at that file any more")
	}
	expect(t, "exclusive in the new file", true)(other.tryExclusive(7))
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	file, _ := lockFileOf(t)
	expect(t, "exclusive", true)(file.tryExclusive(7))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := wait(ctx, file.tryShared, 7); err != context.DeadlineExceeded {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		file.release(7)
	}()
	must(t, wait(context.Background(), file.tryShared, 7))
}

func TestKeepSharesOnce(t *testing.T) {
	file, _ := lockFileOf(t)
	for range 3 {
		must(t, file.keep(context.Background(), 7))
	}
	if file.held[7] != 1 {
		t.Fatal(file.held)
	}
}
