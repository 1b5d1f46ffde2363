package podium

import (
	"cmp"
	"context"
	"os"
	"sync"
	"time"

	"github.com/podium-registry/podium/clients/go/internal/cache"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const defaultTimeout = 30 * time.Second

// Options says how to use a registry.
type Options struct {
	// Actor is who does it, for the events: 1 to 256 printable ASCII characters. Empty means user@host.
	Actor string
	// Cache is the folder of the content cache. Empty means $PODIUM_CACHE, else ~/.cache/podium.
	Cache string
	// Timeout is how long a call may take, and after how much time without a byte a transfer is given up. 0 means 30 s.
	Timeout time.Duration
	// Direct reads files from where the server keeps them, if it signs URLs for that: the same bytes, verified as ever. Where
	// that does not go they come by way of the server, and a warning of log/slog says so.
	Direct bool
}

// Client is a Podium registry. Goroutines may share it. Close it when done. It never sees less than it has seen, whichever
// server answers.
//
// Where a method takes a reference, that is one of name:1.4.0, name:7, name@alias, name#stage, name@latest and name@sha256:….
type Client struct {
	transport *transport
	stub      podiumv1.RegistryServiceClient
	cache     *cache.Cache
	author    string // as the caller said
	isDirect  bool

	mu     sync.Mutex
	closed bool
	open   map[*Follower]struct{}
	ended  context.Context // done once the client is closed
	end    context.CancelFunc
}

// Dial returns a client of the registry at url (`host:port`), else at $PODIUM_URL, else at 127.0.0.1:7070. Nothing is sent yet.
// The options may be nil.
//
// Where several servers are replicas of one registry, url is a list (`host1:7070,host2:7070`), or a name that leads to all of
// them: calls go to those that serve, and what one of them had under way goes on at another one.
func Dial(url string, options *Options) (*Client, error) {
	chosen := orDefault(options)
	servers, err := parseAddresses(cmp.Or(url, os.Getenv("PODIUM_URL"), defaultAddress))
	if err != nil {
		return nil, err
	}
	if chosen.Actor != "" {
		err = checkActor(chosen.Actor)
	}
	if err != nil {
		return nil, err
	}
	store, err := cache.At(chosen.Cache)
	if err != nil {
		return nil, err
	}
	t := &transport{
		servers: servers,
		address: servers.String(),
		actor:   cmp.Or(chosen.Actor, defaultActor()),
		timeout: cmp.Or(chosen.Timeout, defaultTimeout),
		open:    make(map[*connection]struct{}),
	}
	ended, end := context.WithCancel(context.Background())
	return &Client{
		transport: t,
		stub:      podiumv1.NewRegistryServiceClient(t),
		cache:     store,
		author:    chosen.Actor,
		isDirect:  chosen.Direct,
		open:      make(map[*Follower]struct{}),
		ended:     ended,
		end:       end,
	}, nil
}

// Stub is the generated client, for all that Client has no method for. Its unary calls have the client's timeout, its errors
// are *Error, and the calls carry the actor. Mutations want a request id each, best a random UUID.
func (c *Client) Stub() podiumv1.RegistryServiceClient { return c.stub }

// Close ends the connections and all calls on them, what Follow returned, and the Steps of every Watch, with ErrClosed. It
// returns when the followers have ended; a loop over Steps ends once it asks for the next one.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	followers := c.open
	c.open = nil
	c.mu.Unlock()
	c.end()
	for follower := range followers {
		follower.Close()
	}
	c.transport.close()
}

// ResolveOptions says more about a question.
type ResolveOptions struct {
	// ForServing says that the answer is going to serve: a version that may not is then FailedPrecondition.
	ForServing bool
	// AtLeast is a position: the answer shows that position of the history or a later one. Empty means what the client has seen.
	AtLeast string
}

// Resolve says which version a reference means now. The options may be nil.
func (c *Client) Resolve(ctx context.Context, reference string, options *ResolveOptions) (*podiumv1.Target, error) {
	chosen := orDefault(options)
	reply, err := c.stub.ResolveVersion(ctx, &podiumv1.ResolveVersionRequest{
		Reference: reference, ForServing: chosen.ForServing, AtLeast: chosen.AtLeast,
	})
	return reply.GetTarget(), err
}

// track remembers what Close ends; false if it is too late.
func (c *Client) track(follower *Follower) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.open[follower] = struct{}{}
	}
	return !c.closed
}

func (c *Client) forget(follower *Follower) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, follower)
}

func orDefault[T any](options *T) T {
	if options == nil {
		return *new(T)
	}
	return *options
}
