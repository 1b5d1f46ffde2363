// Package cache is the content cache that all processes of a user share: files by digest, versions as folders. CACHE.md is its
// contract, beside the clients of all languages.
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

const layout = "v1"

var nameForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Cache is one cache. Goroutines may share it.
type Cache struct {
	// Root is the folder that holds the layout's folder: absolute, without links.
	Root   string
	layout string
}

// At returns the cache at root, else at $PODIUM_CACHE, else at ~/.cache/podium.
func At(root string) (*Cache, error) {
	root = cmp.Or(root, os.Getenv("PODIUM_CACHE"), "~/.cache/podium")
	if inside, found := strings.CutPrefix(root, "~/"); found || root == "~" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		root = filepath.Join(home, strings.TrimPrefix(inside, "~"))
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	absolute = WithoutLinks(absolute)
	return &Cache{absolute, filepath.Join(absolute, layout)}, nil
}

// WithoutLinks resolves the links in as much of a path as there is.
func WithoutLinks(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(WithoutLinks(parent), filepath.Base(path))
	}
	return path
}

// WithFile calls use with the path of the whole file with this digest, safe from pruning meanwhile.
//
// Where it is not there, or not as it was left, fetch completes the partial file and verifies it: in one process of all, while
// the others wait.
func (c *Cache) WithFile(ctx context.Context, digest string, size int64, fetch, use func(path string) error) error {
	path := c.FilePath(digest)
	locks, err := lockFileAt(c.locksPath("blobs"))
	if err != nil {
		return err
	}
	place := placeOf(digest)
	for {
		there, err := useSealed(ctx, locks, place, path, size, use)
		if there || err != nil {
			return err
		}
		if err := wait(ctx, locks.tryExclusive, place); err != nil {
			return err
		}
		err = c.complete(digest, size, fetch)
		locks.release(place)
		if err != nil {
			return err
		}
	}
}

// useSealed uses a file under its shared lock; false if it is not there as it must be.
func useSealed(ctx context.Context, locks *lockFile, place int64, path string, size int64, use func(string) error) (bool, error) {
	if err := wait(ctx, locks.tryShared, place); err != nil {
		return false, err
	}
	defer locks.release(place)
	if !isSealed(path, size) {
		return false, nil
	}
	return true, use(path)
}

// complete brings a file to its place, under its lock, unless it is there.
func (c *Cache) complete(digest string, size int64, fetch func(path string) error) error {
	partial, path := c.PartialPath(digest), c.FilePath(digest)
	if isSealed(path, size) {
		return nil
	}
	err := errors.Join(os.MkdirAll(filepath.Dir(partial), 0o777), os.MkdirAll(filepath.Dir(path), 0o777))
	if err != nil {
		return err
	}
	if err := fetch(partial); err != nil {
		return err
	}
	if err := seal(partial); err != nil {
		return err
	}
	if status, err := os.Lstat(path); err == nil && status.IsDir() {
		if err := remove(path); err != nil {
			return err
		}
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	if !isSealed(path, size) { // it would be fetched again for ever
		return fmt.Errorf("podium: the cache %q is on a file system that does not keep the modes and times of files: "+
			"set PODIUM_CACHE to a folder on another one", c.Root)
	}
	return nil
}

// Version returns the folder of a version with these files (path → size in bytes), of which the caller has a hold.
//
// Where it is not there, or not as it was left, fill puts all files into a new folder, which takes its place.
func (c *Cache) Version(
	ctx context.Context, digest string, files map[string]int64, fill func(folder string) error,
) (string, error) {
	folder := c.VersionPath(digest)
	if hasExactly(folder, files) {
		return folder, c.Touch(digest)
	}
	locks, err := lockFileAt(c.locksPath("trees"))
	if err != nil {
		return "", err
	}
	if err := wait(ctx, locks.tryExclusive, placeOf(digest)); err != nil {
		return "", err
	}
	defer locks.release(placeOf(digest))
	if !hasExactly(folder, files) {
		if err := build(folder, fill); err != nil {
			return "", err
		}
	}
	return folder, c.Touch(digest)
}

// Touch says that a version, if it is there, was used until now.
func (c *Cache) Touch(digest string) error {
	now := time.Now()
	err := os.Chtimes(c.VersionPath(digest), now, now)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) { // the cache of another user
		return nil
	}
	return err
}

// Keep keeps a version, which need not be there yet, from pruning until the process ends.
func (c *Cache) Keep(ctx context.Context, digest string) error {
	locks, err := lockFileAt(c.locksPath("holds"))
	if err != nil {
		return err
	}
	return locks.keep(ctx, placeOf(digest))
}

// Hold keeps a version, which need not be there yet, from pruning until release is called. Calling it again does nothing.
func (c *Cache) Hold(ctx context.Context, digest string) (release func(), err error) {
	locks, err := lockFileAt(c.locksPath("holds"))
	if err != nil {
		return nil, err
	}
	place := placeOf(digest)
	if err := wait(ctx, locks.tryShared, place); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { locks.release(place) }), nil
}

// HasFile says whether the whole file with this digest is there, as far as a quick look tells.
func (c *Cache) HasFile(digest string, size int64) bool { return isSealed(c.FilePath(digest), size) }

// VersionPath is where the folder of a version is, if it is there.
func (c *Cache) VersionPath(digest string) string {
	return filepath.Join(c.layout, "trees", nameOf(digest))
}

// FilePath is where a whole file is, if it is there.
func (c *Cache) FilePath(digest string) string {
	return filepath.Join(c.layout, "blobs", nameOf(digest)[:2], nameOf(digest))
}

// PartialPath is where a file grows.
func (c *Cache) PartialPath(digest string) string {
	return filepath.Join(c.layout, "partial", nameOf(digest))
}

// FollowedPath is where followers write what they had last.
func (c *Cache) FollowedPath() string { return filepath.Join(c.layout, "followed") }

func (c *Cache) locksPath(what string) string { return filepath.Join(c.layout, "locks", what) }

// nameOf is the file name of a digest. It panics for what is none: nothing else that a server says becomes a name here, and
// whoever calls has checked.
func nameOf(digest string) string {
	name := strings.TrimPrefix(digest, "sha256:")
	if !nameForm.MatchString(name) {
		panic(fmt.Sprintf("podium: %q is no digest", digest))
	}
	return name
}
