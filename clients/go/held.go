package podium

import (
	"context"
	"strings"

	"github.com/podium-registry/podium/clients/go/internal/cache"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// held is a version whose whole, verified files are at path, kept from pruning until it is released.
type held struct {
	cache  *cache.Cache
	path   string
	digest string
	files  []*podiumv1.File
	unhold func()
}

// again is for somebody else, who releases it too. It does not wait: the lock is shared already.
func (h *held) again() (*held, error) {
	unhold, err := h.cache.Hold(context.Background(), h.digest)
	return &held{h.cache, h.path, h.digest, h.files, unhold}, err
}

// release lets it be pruned, once it was not used for as long as any other; again does nothing.
func (h *held) release() {
	_ = h.cache.Touch(h.digest) // a version that looks older is pruned earlier, no more
	h.unhold()
}

// Followers of one process that need the same version at the same time ask for its files once, and look once whether they are
// there: a promotion that moves many of them costs hardly more than one that moves one.
var (
	sharedListings  shared[*listing]
	sharedCheckouts shared[string]
)

// pullAndHold brings the version from the server, as far as the cache does not have it.
func (c *Client) pullAndHold(ctx context.Context, target *podiumv1.Target) (*held, error) {
	digest := target.GetDigest()
	key := strings.Join([]string{c.transport.address, pinned(target), digest, c.cache.Root}, "\n")
	listing, err := sharedListings.do(ctx, key, func() (*listing, error) { return c.listFiles(ctx, target) })
	if err != nil {
		return nil, err
	}
	unhold, err := c.cache.Hold(ctx, digest)
	if err != nil {
		return nil, err
	}
	path, err := sharedCheckouts.do(ctx, key, func() (string, error) { return c.checkout(ctx, listing) })
	if err != nil {
		unhold()
		return nil, err
	}
	return &held{c.cache, path, digest, listing.stored, unhold}, nil
}

// verifyAndHold takes the version without a server, after all its bytes were read again; nil if they are not what they must be.
func (c *Client) verifyAndHold(ctx context.Context, known *lastKnown) (*held, error) {
	unhold, err := c.cache.Hold(ctx, known.target.GetDigest())
	if err != nil {
		return nil, err
	}
	path := c.cache.VersionPath(known.target.GetDigest())
	if !known.isWhole(ctx, path) {
		unhold()
		return nil, ctx.Err()
	}
	return &held{c.cache, path, known.target.GetDigest(), known.files, unhold}, nil
}
