package podium

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	awayTime      = 2 * time.Second // a registry that is away is waited for where a last known version is there
	firstReopen   = time.Second     // of a watch that ended with what is likely to come back
	longestReopen = time.Minute
)

// FollowOptions says more about what is followed.
type FollowOptions struct {
	// AllowUnservable takes also versions that may not serve.
	AllowUnservable bool
	// Timeout is how long a registry that is away is waited for. 0 means 2 s where this machine has a version that a follower
	// of the same reference had last, else the client's.
	Timeout time.Duration
}

// Follow keeps what a reference that moves (an alias, a stage, latest) means in memory, and its verified files in the cache.
//
// It returns once there is a version: the server's, or where that is away, the last one that a follower on this machine had,
// after reading all its bytes. Without one, it returns Unavailable; NotFound if the reference means nothing, FailedPrecondition
// if that may not serve, or why it cannot be pulled. The context is only about this: what is followed goes on until Close. The
// options may be nil.
func (c *Client) Follow(ctx context.Context, reference string, options *FollowOptions) (*Follower, error) {
	chosen := orDefault(options)
	filter, err := followedFilter(reference)
	if err != nil {
		return nil, err
	}
	f := &Follower{client: c, reference: reference, forServing: !chosen.AllowUnservable, filter: filter}
	f.changed = make(chan struct{})
	f.record = record{c.cache.FollowedPath(), c.transport.address, reference, f.forServing}
	f.position = c.transport.session.position()
	known := f.record.read()
	if known != nil {
		f.position = max(f.position, known.position)
	}
	f.puller = newPuller(f.bring, f.fail)
	f.openWatching()
	f.condition.Store(&condition{state: StateStale})
	f.begin()
	if !c.track(f) {
		f.Close()
		return nil, ErrClosed
	}
	if err := f.start(ctx, known, chosen.Timeout); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Follower) begin() {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Add(2)
	go f.read(ctx)
	go func() {
		defer f.running.Done()
		f.puller.run(ctx)
	}()
}

// start returns once there is a current version.
func (f *Follower) start(ctx context.Context, known *lastKnown, timeout time.Duration) error {
	if timeout == 0 && known != nil {
		timeout = awayTime
	}
	timeout = cmp.Or(timeout, f.client.transport.timeout)
	for {
		if arrived, err := f.arrived(ctx, timeout); arrived || err != nil {
			return err
		}
		if known != nil {
			if adopted, err := f.adopt(ctx, known); adopted || err != nil {
				return err
			}
		}
		if err := f.whyNot(ctx, timeout); err != nil {
			return err
		}
	}
}

// arrived says whether there is a current version, after as much patience as makes sense: a pull may take long.
func (f *Follower) arrived(ctx context.Context, timeout time.Duration) (bool, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	heard := func() bool { return f.standing.meaning != nil || f.failure != nil || f.closed }
	if err := f.wait(ctx, timer.C, heard); err != nil {
		return false, err
	}
	f.mu.Lock()
	silent := !heard()
	f.mu.Unlock()
	if !silent {
		err := f.wait(ctx, nil, func() bool {
			return f.told > 0 || f.failure != nil || f.closed || f.standing.target() == nil
		})
		if err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told > 0 && !f.closed, nil
}

// adopt begins with the last known version, if all its bytes are there and nobody has closed the follower meanwhile.
func (f *Follower) adopt(ctx context.Context, known *lastKnown) (bool, error) {
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return false, nil
	}
	held, err := f.client.verifyAndHold(ctx, known)
	if held == nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		held.release()
		return false, nil
	case f.held != nil: // the server's was here first
		held.release()
	default:
		f.set(held, known.target)
	}
	return true, nil
}

// whyNot says why there is no version; nil if there may be one by now.
func (f *Follower) whyNot(ctx context.Context, timeout time.Duration) error {
	f.mu.Lock()
	failure, closed, silent, away := f.failure, f.closed, f.standing.meaning == nil, f.watching.why()
	position := f.position
	f.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case failure != nil:
		return failure
	case silent && away != nil:
		return away
	case silent:
		return errorf(Unavailable, "the server at %s did not answer within %g s", f.client.transport.address, timeout.Seconds())
	}
	// The reference means nothing, and why is best said by the server itself; unless it means something by now.
	_, err := f.client.Resolve(ctx, f.reference, &ResolveOptions{ForServing: f.forServing, AtLeast: position})
	return err
}

// remember writes what is current, for the next start, unless that is written already.
func (f *Follower) remember() {
	f.mu.Lock()
	held, target, position, closed := f.held, f.target, f.positionLocked(), f.closed
	f.mu.Unlock()
	if held == nil {
		return
	}
	if err := f.record.keep(&lastKnown{target, held.files, position}, closed); err != nil {
		slog.Warn("podium: what is current cannot be written down for the next start", "reference", f.reference, "error", err)
	}
}

func hasField(err error, field string) bool {
	var told *Error
	if !errors.As(err, &told) || told.Kind != InvalidArgument {
		return false
	}
	_, has := told.Fields[field]
	return has
}
