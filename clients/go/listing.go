package podium

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podium-registry/podium/clients/go/internal/paths"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const pageSize = 1000

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// listing is the files of a version as the server tells them, checked: no path leads out of a folder, and the digest fits.
type listing struct {
	target   *podiumv1.Target
	stored   []*podiumv1.File
	external []*podiumv1.File // kept elsewhere
}

// listFiles asks for all files of a version; HostileServer if they cannot be the files that its digest stands for.
func (c *Client) listFiles(ctx context.Context, target *podiumv1.Target) (*listing, error) {
	request := &podiumv1.ListFilesRequest{Reference: pinned(target), PageSize: pageSize}
	var files []*podiumv1.File
	for len(files) <= paths.MaxFiles {
		var page *podiumv1.ListFilesResponse
		err := persist(ctx, newPatience(c.transport.timeout), func() (err error) {
			page, err = c.stub.ListFiles(ctx, request, resumed{})
			return err
		})
		if err != nil {
			return nil, err
		}
		files = append(files, page.GetFiles()...)
		request.PageToken = page.GetNextPageToken()
		if request.PageToken == "" {
			break
		}
		if len(page.GetFiles()) == 0 {
			return nil, errorf(HostileServer, "the server lists the files of %s without an end", pinned(target))
		}
	}
	if err := checkFiles(files, pinned(target)); err != nil {
		return nil, err
	}
	found := &listing{target: target}
	for _, file := range files {
		if file.GetUri() == "" {
			found.stored = append(found.stored, file)
		} else {
			found.external = append(found.external, file)
		}
	}
	if manifestDigest(found.stored) != target.GetDigest() {
		return nil, errorf(HostileServer, "the server lists files of %s that are not those of %q", pinned(target), target.GetDigest())
	}
	return found, nil
}

// sizes are those of the stored files, by path.
func (l *listing) sizes() map[string]int64 {
	sizes := make(map[string]int64, len(l.stored))
	for _, file := range l.stored {
		sizes[file.GetPath()] = file.GetSizeBytes()
	}
	return sizes
}

// pinned is a reference that means this version for good.
func pinned(target *podiumv1.Target) string {
	return fmt.Sprintf("%s:%d", target.GetModel(), target.GetNumber())
}

// manifestDigest is the digest of one line `<hex sha256>  <path>` for each file, sorted by the bytes of the paths.
func manifestDigest(files []*podiumv1.File) string {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *podiumv1.File) int { return strings.Compare(a.GetPath(), b.GetPath()) })
	manifest := sha256.New()
	for _, file := range sorted {
		fmt.Fprintf(manifest, "%s  %s\n", strings.TrimPrefix(file.GetDigest(), "sha256:"), file.GetPath())
	}
	return "sha256:" + hex.EncodeToString(manifest.Sum(nil))
}

// checkFiles returns HostileServer if they cannot be the files of one version.
func checkFiles(files []*podiumv1.File, reference string) error {
	if len(files) > paths.MaxFiles {
		return errorf(HostileServer, "the server lists more than %d files of %s", paths.MaxFiles, reference)
	}
	sizes := make(map[string]int64)
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, file.GetPath())
		if wrong := paths.Fault(file.GetPath()); wrong != "" {
			return errorf(HostileServer, "the server lists the file %q of %s: the path %s", file.GetPath(), reference, wrong)
		}
		if file.GetUri() != "" {
			continue
		}
		if !digestForm.MatchString(file.GetDigest()) || file.GetSizeBytes() < 0 {
			return errorf(HostileServer, "the server lists %q of %s without a digest and a size", file.GetPath(), reference)
		}
		if size, known := sizes[file.GetDigest()]; known && size != file.GetSizeBytes() {
			return errorf(HostileServer,
				"the server lists %q of %s with a size that its digest cannot have", file.GetPath(), reference)
		}
		sizes[file.GetDigest()] = file.GetSizeBytes()
	}
	if one, other, found := paths.Clash(names); found {
		return errorf(HostileServer, "the server lists %q and %q of %s: no folder can hold both", one, other, reference)
	}
	return nil
}
