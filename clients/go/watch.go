package podium

import (
	"context"
	"iter"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// Step is what a watch says at once: a *Snapshot or a *Changes.
type Step interface{ isStep() }

// Snapshot is all that the watched references mean: it replaces whatever was known, also what it does not mention.
type Snapshot struct {
	References []*podiumv1.Reference
	Position   string
	// Restored says that history was cut since the position before it: a backup was restored, or the address leads to another
	// registry. Then this may be older than what was known.
	Restored bool
}

// Changes is what happened next, in order; all of it holds at the position.
type Changes struct {
	Events   []*podiumv1.Event
	Position string
}

func (*Snapshot) isStep() {}
func (*Changes) isStep()  {}

// WatchOptions says more about a watch.
type WatchOptions struct {
	// Kinds are for references that are a model's name or a glob; none means aliases and stages.
	Kinds []podiumv1.EventKind
	// Since is a position that an earlier watch of the same gave: changes after it come, and no Snapshot.
	Since string
	// AtLeast is a position that the snapshot must show. Empty means what the client has seen.
	AtLeast string
	// ForServing withholds versions that may not serve.
	ForServing bool
}

// Watch is what happens to some references. See Client.Watch.
type Watch struct {
	watching *watching
	ended    context.Context // the client's
}

// Watch tells what happens to fraud@champion, team/*#production, fraud@latest, or to all aliases and stages of fraud or team/**.
// No references mean everything. `*` is any run of characters but `/`, `**` any run. Nothing is sent before Steps is read. The
// options may be nil.
func (c *Client) Watch(references []string, options *WatchOptions) (*Watch, error) {
	chosen := orDefault(options)
	filters, err := filtersOf(references, chosen.Kinds)
	if err != nil {
		return nil, err
	}
	watching := newWatching(c.transport, filters, chosen.Since, chosen.AtLeast)
	watching.forServing = chosen.ForServing
	return &Watch{watching, c.ended}, nil
}

// Steps says what happens, without an end: a Snapshot first (unless the watch began at a position), then Changes.
//
// Cuts, restarts and heartbeats are none of its reader's business: nothing is left out, doubled or out of order. After history
// was cut comes another Snapshot. It ends with an error: the context's, ErrClosed, or what comes back however often one tries, such
// as InvalidArgument for a Since that is no position. A loop that breaks ends the stream; another one goes on after it. One
// goroutine at a time reads it.
func (w *Watch) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		open, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(w.ended, stop)()
		err := w.watching.run(open, func(step Step) bool { return yield(step, nil) })
		if err != nil {
			if w.ended.Err() != nil && ctx.Err() == nil {
				err = ErrClosed
			}
			yield(nil, err)
		}
	}
}

// Position is up to where everything has been said, which also moves while nothing happens. Another watch can begin there.
// Empty before the first snapshot. Keep that of a step once you are done with it.
func (w *Watch) Position() string { return w.watching.at() }
