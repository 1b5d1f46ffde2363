package podium

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// Files go in groups: the next one is hashed while the first is sent, and one question is asked for many small files.
const (
	groupFiles = 64
	groupBytes = 64 << 20
)

// upload brings the files of one push to a model: hashes them, asks which are missing, sends only those.
type upload struct {
	transport *transport
	stub      podiumv1.RegistryServiceClient
	model     string
	sent      atomic.Int64 // bytes

	mu       sync.Mutex
	claimed  map[string]bool // digests that some goroutine takes care of
	manifest []*podiumv1.ManifestFile
}

// run returns the manifest of the files, all of whose bytes the server has then; PushRefused if one changed meanwhile.
func (u *upload) run(ctx context.Context, files []sourceFile) ([]*podiumv1.ManifestFile, error) {
	if err := each(ctx, groupsOf(files), u.bring); err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := file.checkUnchanged(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(u.manifest, func(a, b *podiumv1.ManifestFile) int { return strings.Compare(a.GetPath(), b.GetPath()) })
	return u.manifest, nil
}

func (u *upload) bring(ctx context.Context, files []sourceFile) error {
	mine := make(map[string]sourceFile)
	var blobs []*podiumv1.BlobSpec
	for _, file := range files {
		digest, err := hashOf(ctx, file)
		if err != nil {
			return err
		}
		if u.claim(file, digest) {
			mine[digest] = file
			blobs = append(blobs, &podiumv1.BlobSpec{Digest: digest, SizeBytes: file.size()})
		}
	}
	if len(blobs) == 0 {
		return nil
	}
	missing, err := u.findMissing(ctx, blobs)
	if err != nil {
		return err
	}
	for _, blob := range missing {
		if file, asked := mine[blob.GetDigest()]; asked {
			if err := u.send(ctx, file, blob); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim adds a file to the manifest, and says whether nobody else takes care of its bytes.
func (u *upload) claim(file sourceFile, digest string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.manifest = append(u.manifest, &podiumv1.ManifestFile{Path: file.path, Digest: digest, SizeBytes: file.size()})
	claimed := u.claimed[digest]
	u.claimed[digest] = true
	return !claimed
}

// findMissing returns the blobs that the server does not have, and about how much of each it does have.
func (u *upload) findMissing(ctx context.Context, blobs []*podiumv1.BlobSpec) ([]*podiumv1.MissingBlob, error) {
	var reply *podiumv1.FindMissingBlobsResponse
	err := persist(ctx, newPatience(u.transport.timeout), func() (err error) {
		reply, err = u.stub.FindMissingBlobs(ctx, &podiumv1.FindMissingBlobsRequest{Model: u.model, Blobs: blobs}, resumed{})
		return err
	})
	return reply.GetMissing(), err
}

// hashOf reads a file; PushRefused if it is not what it was when it was found.
func hashOf(ctx context.Context, file sourceFile) (string, error) {
	source, err := os.Open(file.source)
	if err != nil {
		return "", refused(err, file.path, "cannot be read")
	}
	defer source.Close()
	hash := sha256.New()
	piece := make([]byte, min(chunkBytes, file.size()+1))
	// One byte more than there should be, to see a file that has more.
	count, err := io.CopyBuffer(onlyWriter{hash}, &cancellable{ctx, io.LimitReader(source, file.size()+1)}, piece)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", refused(err, file.path, "cannot be read")
	}
	if err := file.checkUnchanged(); err != nil {
		return "", err
	}
	if count != file.size() {
		return "", errorf(PushRefused, "%s has more or fewer bytes than its size says: push a copy of it", file.path)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// cancellable ends the reading of a long file with its context.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c *cancellable) Read(piece []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(piece)
}

// groupsOf puts the largest files first, so that none is left alone at the end.
func groupsOf(files []sourceFile) [][]sourceFile {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b sourceFile) int { return cmp.Compare(b.size(), a.size()) })
	var groups [][]sourceFile
	var bytes int64
	for _, file := range sorted {
		last := len(groups) - 1
		if last < 0 || len(groups[last]) == groupFiles || bytes+file.size() > groupBytes {
			groups = append(groups, nil)
			last, bytes = last+1, 0
		}
		groups[last] = append(groups[last], file)
		bytes += file.size()
	}
	return groups
}
