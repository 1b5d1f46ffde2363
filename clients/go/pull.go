package podium

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/podium-registry/podium/clients/go/internal/cache"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// PullOptions says more about a pull.
type PullOptions struct {
	// To is where a copy goes that may be edited: a new or empty folder. Empty means the read-only folder in the cache.
	To string
}

// Pull returns the verified files of a version as a folder that appears whole or not at all. The options may be nil.
//
// Without To it is the read-only folder in the cache, safe from pruning while this process runs. External files are not
// fetched; a warning of log/slog names them.
func (c *Client) Pull(ctx context.Context, reference string, options *PullOptions) (string, error) {
	place, err := freePlace(orDefault(options).To)
	if err != nil {
		return "", err
	}
	target, err := c.Resolve(ctx, reference, nil)
	if err != nil {
		return "", err
	}
	if _, pin, found := strings.Cut(reference, "@sha256:"); found && target.GetDigest() != "sha256:"+pin {
		return "", errorf(HostileServer, "the server resolves %s to %q", reference, target.GetDigest())
	}
	listing, err := c.listFiles(ctx, target)
	if err != nil {
		return "", err
	}
	if err := c.cache.Keep(ctx, target.GetDigest()); err != nil {
		return "", err
	}
	folder, err := c.checkout(ctx, listing)
	if err != nil || place == "" {
		return folder, err
	}
	return place, copyOut(ctx, folder, place, listing)
}

// freePlace is where a copy can appear: a new folder, or an empty one that can be replaced. Empty for none.
func freePlace(to string) (string, error) {
	if to == "" {
		return "", nil
	}
	place, err := filepath.Abs(to)
	if err != nil {
		return "", err
	}
	place = cache.WithoutLinks(place)
	status, err := os.Lstat(place)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return place, nil
	case err != nil:
		return "", err
	case !status.IsDir():
		return "", badField("destination", to, "is not a folder: name a new one")
	}
	entries, err := os.ReadDir(place)
	switch {
	case err != nil:
		return "", err
	case len(entries) > 0:
		return "", badField("destination", to, "is not empty: name a new folder")
	case !isReplaceable(place, status):
		return "", badField("destination", to,
			"cannot be replaced, since it is the current folder or a mount point: name a new folder in it")
	}
	return place, nil
}

func isReplaceable(place string, status os.FileInfo) bool {
	current, err := os.Stat(".")
	above, aboveErr := os.Stat(filepath.Dir(place))
	return err == nil && aboveErr == nil && !os.SameFile(current, status) &&
		above.Sys().(*syscall.Stat_t).Dev == status.Sys().(*syscall.Stat_t).Dev
}

// copyOut makes a copy of the version's folder, at a place that freePlace gave, whose files may be changed.
func copyOut(ctx context.Context, folder, place string, listing *listing) (err error) {
	above := filepath.Dir(place)
	if err := os.MkdirAll(above, 0o777); err != nil {
		return err
	}
	name := strings.ToValidUTF8(filepath.Base(place)[:min(32, len(filepath.Base(place)))], "")
	temporary, err := os.MkdirTemp(above, "."+name+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	made := filepath.Join(temporary, "new")
	if err := os.Mkdir(made, 0o777); err != nil {
		return err
	}
	if err := copyFiles(ctx, folder, made, listing); err != nil {
		return onDisk(err, place)
	}
	// os.Rename does not replace an empty folder.
	switch err := syscall.Rename(made, place); err {
	case nil:
		return nil
	case syscall.ENOTEMPTY, syscall.EEXIST, syscall.ENOTDIR:
		return errorf(InvalidArgument, "%s was made by somebody else meanwhile: name a new folder", place)
	default:
		return &os.LinkError{Op: "rename", Old: made, New: place, Err: err}
	}
}

func copyFiles(ctx context.Context, folder, made string, listing *listing) error {
	return each(ctx, listing.stored, func(_ context.Context, file *podiumv1.File) error {
		inside := filepath.FromSlash(file.GetPath())
		if err := os.MkdirAll(filepath.Dir(filepath.Join(made, inside)), 0o777); err != nil {
			return err
		}
		return cache.Copy(filepath.Join(folder, inside), filepath.Join(made, inside))
	})
}
