package podium

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// Follower is what one reference means, kept up to date by two goroutines. Client.Follow makes one; Close ends it. All its
// methods may be called anywhere, at any time.
type Follower struct {
	client     *Client
	reference  string
	forServing bool
	filter     *podiumv1.WatchFilter
	record     record
	puller     *puller
	stop       context.CancelFunc
	running    sync.WaitGroup

	current   atomic.Pointer[Current]
	condition atomic.Pointer[condition]

	mu       sync.Mutex
	changed  chan struct{} // closed, and another one made, with each change
	closed   bool
	told     int              // how many versions Changes was told of
	standing standing         // what the registry said last,
	failure  error            // and why that cannot be had
	problem  error            // the same in words, for whoever asks
	target   *podiumv1.Target // what is current,
	held     *held            // and its files
	position string           // that a snapshot must show
	watching *watching
}

// condition is what can be asked about the version that is current.
type condition struct {
	state    State
	problem  error
	warnings []string
}

// Current is the version now: a memory read, replaced only when all files of the next one are verified and on this disk. It is never nil.
func (f *Follower) Current() *Current { return f.current.Load() }

// State says how far Current can be relied on.
func (f *Follower) State() State { return f.condition.Load().state }

// Problem says why what the reference means is not what Current is (a pull that failed, and is tried again); nil if it is.
func (f *Follower) Problem() error { return f.condition.Load().problem }

// Warnings say why what the reference means may not serve.
func (f *Follower) Warnings() []string { return slices.Clone(f.condition.Load().warnings) }

// Position is up to where the follower knows the registry's history, which also moves while nothing happens.
func (f *Follower) Position() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.positionLocked()
}

func (f *Follower) positionLocked() string {
	if at := f.watching.at(); at != "" {
		return at
	}
	return f.position
}

// Changes gives the current version, then each that takes its place, until Close or the end of the context. It waits for the
// next one.
//
// A slow reader gets the newest, and none that was replaced meanwhile. Where only a stage or warnings changed, Current says so
// and Changes does not.
func (f *Follower) Changes(ctx context.Context) iter.Seq[*Current] {
	return func(yield func(*Current) bool) {
		for seen := 0; ; {
			f.mu.Lock()
			told, changed, closed, current := f.told, f.changed, f.closed, f.current.Load()
			f.mu.Unlock()
			if closed || ctx.Err() != nil {
				return
			}
			if told > seen {
				seen = told
				if !yield(current) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Use returns the current version, whose files stay on this disk until done is called, whatever becomes current meanwhile.
func (f *Follower) Use() (current *Current, done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		return nil, nil, fmt.Errorf("podium: %s is not followed any more: this follower is closed", f.reference)
	}
	again, err := f.held.again()
	if err != nil {
		return nil, nil, err
	}
	return f.current.Load(), again.release, nil
}

// Close ends the goroutines, the watch and the iterators, and the hold on the files. Current may still be read. Again does
// nothing.
func (f *Follower) Close() {
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	f.standing.connected = false
	f.publish()
	f.mu.Unlock()
	f.stop()
	f.running.Wait()
	if !first {
		return
	}
	f.remember()
	f.client.forget(f)
	f.mu.Lock()
	held := f.held
	f.held = nil
	f.mu.Unlock()
	if held != nil {
		held.release()
	}
}

// What the reader does.

func (f *Follower) read(ctx context.Context) {
	defer f.running.Done()
	pauses := growing{first: firstReopen, longest: longestReopen}
	for {
		err := f.watching.run(ctx, func(step Step) bool {
			pauses.reset()
			f.apply(step)
			return true
		})
		if ctx.Err() != nil {
			return
		}
		slog.Warn("podium: a follower's watch ended", "reference", f.reference, "error", err)
		f.lose(err)
		if pause(ctx, pauses.next()) != nil {
			return
		}
		f.mu.Lock()
		f.openWatching()
		f.mu.Unlock()
	}
}

func (f *Follower) openWatching() {
	f.watching = newWatching(f.client.transport, []*podiumv1.WatchFilter{f.filter}, "", f.position)
	f.watching.forServing = f.forServing
	f.watching.onConnection = f.connect
}

func (f *Follower) connect(connected bool) {
	f.mu.Lock()
	f.standing.connected = connected && !f.closed
	f.publish()
	f.mu.Unlock()
	if connected {
		f.puller.hurry()
	}
}

func (f *Follower) apply(step Step) {
	f.mu.Lock()
	before := f.standing.target()
	f.standing = f.standing.after(step)
	f.standing.connected = !f.closed
	target := f.standing.target()
	f.position = positionOf(step)
	if !sameVersion(before, target) {
		f.problem, f.failure = nil, nil
	}
	if f.held != nil && target != nil && sameVersion(f.target, target) {
		f.set(f.held, target)
	}
	f.publish()
	f.mu.Unlock()
	f.puller.want(target)
}

func positionOf(step Step) string {
	switch step := step.(type) {
	case *Snapshot:
		return step.Position
	case *Changes:
		return step.Position
	}
	return ""
}

func (f *Follower) lose(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hasField(err, "at_least") {
		f.position = "" // the record has none
	} else {
		f.failure = err
	}
	f.standing.connected = false
	f.publish()
}

// What the puller does.

// bring makes this version the current one, if it still is what the reference means.
func (f *Follower) bring(ctx context.Context, target *podiumv1.Target) error {
	f.mu.Lock()
	isHere := f.held != nil && sameVersion(f.target, target)
	f.mu.Unlock()
	if isHere {
		f.remember()
		return nil
	}
	held, err := f.client.pullAndHold(ctx, target)
	if err != nil {
		return err
	}
	f.mu.Lock()
	old, wanted := f.held, f.standing.target()
	if f.closed || wanted == nil || !sameVersion(wanted, target) {
		f.mu.Unlock()
		held.release()
		return nil
	}
	f.set(held, wanted)
	f.mu.Unlock()
	if old != nil {
		old.release()
	}
	f.remember()
	return nil
}

func (f *Follower) fail(target *podiumv1.Target, err error) {
	problem := &pullProblem{pinned(target), err}
	f.mu.Lock()
	if !sameVersion(f.standing.target(), target) {
		f.mu.Unlock()
		return
	}
	isNew := f.problem == nil || f.problem.Error() != problem.Error()
	f.problem, f.failure = problem, err
	f.publish()
	f.mu.Unlock()
	if isNew {
		slog.Warn("podium: a follower cannot have what its reference means", "reference", f.reference, "error", problem)
	}
}

// pullProblem says which version cannot be had, and why.
type pullProblem struct {
	version string
	why     error
}

func (p *pullProblem) Error() string { return p.version + " cannot be had: " + p.why.Error() }
func (p *pullProblem) Unwrap() error { return p.why }

// What is true now.

// set, under the lock, makes this current.
func (f *Follower) set(held *held, target *podiumv1.Target) {
	if !sameVersion(f.target, target) {
		f.told++
	}
	f.current.Store(currentOf(f.reference, held.path, target))
	f.held, f.target = held, target
	f.problem, f.failure = nil, nil
	f.publish()
}

// publish, under the lock, says how things stand, and lets those who wait look again.
func (f *Follower) publish() {
	now := &condition{state: f.standing.state(), problem: f.problem}
	if f.standing.meaning != nil {
		now.warnings = f.standing.meaning.warnings
	}
	f.condition.Store(now)
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns once a condition holds, which is asked under the lock, or at the deadline; or the context's error.
func (f *Follower) wait(ctx context.Context, deadline <-chan time.Time, holds func() bool) error {
	for {
		f.mu.Lock()
		held, changed := holds(), f.changed
		f.mu.Unlock()
		if held {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
