package cache

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
	exclusive    = -1
)

// lockFile holds locks on digests, between processes and goroutines: record locks on single bytes of one file.
//
// The kernel knows one owner a process, and drops all its locks on a file when the process closes that file once, through any
// descriptor. So a file is opened once a process and is never closed, and a table stands between the goroutines. Waiting is
// polling: the kernel would see a deadlock where two processes wait for each other with different threads.
type lockFile struct {
	descriptor uintptr

	mu   sync.Mutex
	held map[int64]int // byte → how many share it in this process, or exclusive
	kept map[int64]bool
}

type inode struct{ device, number uint64 }

var (
	openFilesMu sync.Mutex
	openFiles   = make(map[inode]*lockFile)
)

// lockFileAt returns the process's one lockFile over the file that is at a path now: another one, if somebody removed the cache.
func lockFileAt(path string) (*lockFile, error) {
	openFilesMu.Lock()
	defer openFilesMu.Unlock()
	var found syscall.Stat_t
	if err := syscall.Stat(path, &found); err == nil {
		if file := openFiles[inodeOf(&found)]; file != nil {
			return file, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	descriptor, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o666)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := syscall.Fstat(descriptor, &found); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	file := openFiles[inodeOf(&found)]
	if file == nil {
		file = &lockFile{descriptor: uintptr(descriptor), held: make(map[int64]int), kept: make(map[int64]bool)}
		openFiles[inodeOf(&found)] = file
	}
	return file, nil
}

func inodeOf(status *syscall.Stat_t) inode { return inode{uint64(status.Dev), uint64(status.Ino)} }

// tryShared takes a lock together with others; false if somebody has it alone.
func (f *lockFile) tryShared(place int64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := f.held[place]
	if count == exclusive {
		return false, nil
	}
	if count == 0 {
		if taken, err := f.set(place, syscall.F_RDLCK); !taken {
			return false, err
		}
	}
	f.held[place] = count + 1
	return true, nil
}

// tryExclusive takes a lock alone; false if anybody has it.
func (f *lockFile) tryExclusive(place int64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[place] != 0 {
		return false, nil
	}
	if taken, err := f.set(place, syscall.F_WRLCK); !taken {
		return false, err
	}
	f.held[place] = exclusive
	return true, nil
}

// release gives up one lock that was taken.
func (f *lockFile) release(place int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[place] > 1 {
		f.held[place]--
		return
	}
	delete(f.held, place)
	_, _ = f.set(place, syscall.F_UNLCK) // fails only for a descriptor that is none
}

// keep shares a lock until the process ends.
func (f *lockFile) keep(ctx context.Context, place int64) error {
	f.mu.Lock()
	kept := f.kept[place]
	f.mu.Unlock()
	if kept {
		return nil
	}
	if err := wait(ctx, f.tryShared, place); err != nil {
		return err
	}
	f.mu.Lock()
	twice := f.kept[place]
	f.kept[place] = true
	f.mu.Unlock()
	if twice {
		f.release(place)
	}
	return nil
}

func (f *lockFile) set(place int64, kind int16) (bool, error) {
	lock := syscall.Flock_t{Type: kind, Whence: io.SeekStart, Start: place, Len: 1}
	for {
		switch err := syscall.FcntlFlock(f.descriptor, syscall.F_SETLK, &lock); err {
		case nil:
			return true, nil
		case syscall.EAGAIN, syscall.EACCES:
			return false, nil
		case syscall.EINTR:
		default:
			return false, fmt.Errorf("podium: a lock of the cache: %w", err)
		}
	}
}

// wait tries to take a lock until that works, or the context ends.
func wait(ctx context.Context, try func(int64) (bool, error), place int64) error {
	for limit := firstPause; ; limit = min(2*limit, longestPause) {
		if taken, err := try(place); taken || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(limit/2 + rand.N(limit/2)): // spreads those who wait
		}
	}
}

// placeOf is the byte that stands for a digest: the number that its first 15 hex digits spell.
func placeOf(digest string) int64 {
	place, err := strconv.ParseInt(strings.TrimPrefix(digest, "sha256:")[:15], 16, 64)
	if err != nil {
		panic(err) // nameOf was asked before
	}
	return place
}
