package podium

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/podium-registry/podium/clients/go/internal/cache"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// checkout returns the version's read-only folder in the cache, of which the caller has a hold.
//
// Only bytes that the cache does not have are fetched. If the context ends, they stay as partial files.
func (c *Client) checkout(ctx context.Context, listing *listing) (string, error) {
	folder, err := c.cache.Version(ctx, listing.target.GetDigest(), listing.sizes(), func(folder string) error {
		return c.fill(ctx, listing, folder)
	})
	if err != nil {
		return "", onDisk(err, c.cache.Root)
	}
	warnOfExternal(listing)
	return folder, nil
}

// fill puts links to all files of the version into a new folder, after fetching those that the cache does not have.
func (c *Client) fill(ctx context.Context, listing *listing, folder string) error {
	groups := bySize(listing.stored)
	missing := c.missing(groups)
	if err := c.checkRoom(missing); err != nil {
		return err
	}
	from := download{c.transport, pinned(listing.target), nil}
	if c.isDirect {
		from.direct = c.newDirect(from.reference, missing)
		defer from.direct.bucket.close()
	}
	return each(ctx, groups, func(ctx context.Context, same []*podiumv1.File) error { return c.place(ctx, from, same, folder) })
}

// place brings one file to all its paths in a folder.
func (c *Client) place(ctx context.Context, from download, same []*podiumv1.File, folder string) error {
	file := same[0]
	fetch := func(partial string) error { return from.fetch(ctx, file, partial) }
	return c.cache.WithFile(ctx, file.GetDigest(), file.GetSizeBytes(), fetch, func(whole string) error {
		for _, file := range same {
			if err := cache.Link(whole, filepath.Join(folder, filepath.FromSlash(file.GetPath()))); err != nil {
				return err
			}
		}
		return nil
	})
}

// bySize are the files with equal content together, the largest first, so that none is left alone at the end.
func bySize(files []*podiumv1.File) [][]*podiumv1.File {
	same := make(map[string][]*podiumv1.File)
	for _, file := range files {
		same[file.GetDigest()] = append(same[file.GetDigest()], file)
	}
	groups := make([][]*podiumv1.File, 0, len(same))
	for _, file := range files {
		if group := same[file.GetDigest()]; group[0] == file {
			groups = append(groups, group)
		}
	}
	slices.SortStableFunc(groups, func(a, b []*podiumv1.File) int {
		return cmp.Compare(b[0].GetSizeBytes(), a[0].GetSizeBytes())
	})
	return groups
}

// missing are the files that the cache does not have.
func (c *Client) missing(groups [][]*podiumv1.File) []*podiumv1.File {
	var files []*podiumv1.File
	for _, group := range groups {
		if !c.cache.HasFile(group[0].GetDigest(), group[0].GetSizeBytes()) {
			files = append(files, group[0])
		}
	}
	return files
}

// checkRoom returns DiskFull before a download that cannot end, whatever a server says how large its files are.
func (c *Client) checkRoom(missing []*podiumv1.File) error {
	if err := os.MkdirAll(c.cache.Root, 0o777); err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(c.cache.Root, &disk); err != nil {
		return &os.PathError{Op: "statfs", Path: c.cache.Root, Err: err}
	}
	left := uint64(disk.Bavail) * uint64(disk.Bsize)
	for _, file := range missing {
		needed := uint64(file.GetSizeBytes())
		if partial, err := os.Stat(c.cache.PartialPath(file.GetDigest())); err == nil {
			needed -= min(needed, uint64(partial.Size()))
		}
		if needed > left {
			return errorf(DiskFull, "%q is to be fetched, and %s has no room for it and all before it", file.GetPath(), c.cache.Root)
		}
		left -= needed
	}
	return nil
}

// warnOfExternal names some of the files that are not fetched.
func warnOfExternal(listing *listing) {
	if len(listing.external) == 0 {
		return
	}
	var names []string
	for _, file := range listing.external[:min(5, len(listing.external))] {
		names = append(names, fmt.Sprintf("%s (%q)", file.GetPath(), file.GetUri()))
	}
	slog.Warn("podium: external files are not fetched",
		"version", pinned(listing.target), "count", len(listing.external), "files", names)
}
