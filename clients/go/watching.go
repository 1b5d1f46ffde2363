package podium

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	firstReconnect   = 100 * time.Millisecond
	longestReconnect = 3 * time.Second
	missedHeartbeats = 3 // intervals of silence, after which a stream is dead
)

const watchMethod = podiumv1.RegistryService_Watch_FullMethodName

var errSilent = errors.New("podium: the stream is silent")

// watching is a watch that goes on for ever: it reconnects from its position, and takes a snapshot where it cannot.
type watching struct {
	transport  *transport
	filters    []*podiumv1.WatchFilter
	forServing bool
	// onConnection is called with true once all was read that there was to say, with false when the stream is lost.
	onConnection func(connected bool)

	newest    string // position that a snapshot must show
	restored  bool   // the next snapshot comes after history was cut
	connected *bool  // as was told; nil until the first stream is up, or is not
	pauses    growing

	mu       sync.Mutex
	position string
	failure  error // why there is no connection
}

func newWatching(t *transport, filters []*podiumv1.WatchFilter, since, atLeast string) *watching {
	w := &watching{transport: t, filters: filters, position: since, newest: since}
	w.pauses = growing{first: firstReconnect, longest: longestReconnect}
	if since == "" {
		w.newest = atLeast
	}
	return w
}

// at is the position up to where everything has been said.
func (w *watching) at() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.position
}

// why says why there is no connection, nil if there is one or none was tried.
func (w *watching) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// run gives all steps to yield until that returns false; the error is the context's, or one that would come back.
func (w *watching) run(ctx context.Context, yield func(Step) bool) error {
	for {
		goOn, err := w.read(ctx, yield)
		if !goOn {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if lasting := w.judge(err); lasting != nil {
				return lasting
			}
		}
		w.tell(false)
		if err := pause(ctx, w.pauses.next()); err != nil {
			return err
		}
	}
}

// read gives the steps of one stream to yield, and says whether that wants more.
func (w *watching) read(ctx context.Context, yield func(Step) bool) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	allowed := w.transport.timeout
	guard := time.AfterFunc(allowed, func() { cancel(errSilent) })
	defer guard.Stop()
	stream, err := w.open(ctx)
	if err != nil {
		return true, w.unlessSilent(ctx, nil, allowed, err)
	}
	var collected collected
	for {
		message := &podiumv1.WatchResponse{}
		err := stream.RecvMsg(message)
		guard.Stop() // what a slow reader has not asked for is not missing
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return true, w.unlessSilent(ctx, stream, allowed, err)
		}
		w.pauses.reset()
		if interval := message.GetHeartbeatInterval().AsDuration(); interval > 0 {
			allowed = missedHeartbeats * interval
		}
		collected.add(message)
		if message.GetPosition() != "" {
			if !w.apply(&collected, message.GetPosition(), yield) {
				return false, nil
			}
			w.tell(true)
		}
		guard.Reset(allowed)
	}
}

func (w *watching) open(ctx context.Context) (*stream, error) {
	stream, err := w.transport.openStream(ctx, watchDesc, watchMethod)
	if err != nil {
		return nil, err
	}
	request := &podiumv1.WatchRequest{Filters: w.filters, Position: w.at(), ForServing: w.forServing}
	if request.GetPosition() == "" {
		w.newest = cmp.Or(w.newest, w.transport.session.position())
		request.AtLeast = w.newest
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream, nil
}

// apply gives what was collected, if anything, to yield as one step.
func (w *watching) apply(collected *collected, position string, yield func(Step) bool) bool {
	w.mu.Lock()
	w.position = position
	w.mu.Unlock()
	w.newest = position
	w.transport.session.see(position)
	step := collected.step(position, w.restored)
	if _, is := step.(*Snapshot); is {
		w.restored = false
	}
	return step == nil || yield(step)
}

// unlessSilent is the error with which a stream ended: our own if we ended it, whose connection is then not used again.
func (w *watching) unlessSilent(ctx context.Context, over *stream, allowed time.Duration, err error) error {
	if context.Cause(ctx) != errSilent {
		return err
	}
	return w.transport.silent(over, allowed)
}

// judge returns what would come back, and forgets a position that leads nowhere.
func (w *watching) judge(err error) error {
	var told *Error
	if !errors.As(err, &told) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
	if told.Code == codes.OutOfRange {
		cut := isUnknownPosition(err)
		if cut {
			w.transport.session.forget(w.newest)
		}
		if cut || w.position == "" {
			w.newest = ""
		}
		w.restored = w.restored || cut
		w.position = ""
		return nil
	}
	if isPassing(told.Code) {
		return nil
	}
	return err
}

func (w *watching) tell(connected bool) {
	if w.connected != nil && *w.connected == connected {
		return
	}
	w.connected = &connected
	if connected {
		w.mu.Lock()
		w.failure = nil
		w.mu.Unlock()
	}
	if w.onConnection != nil {
		w.onConnection(connected)
	}
}

// collected is what has arrived since the last position.
type collected struct {
	isSnapshot bool
	references []*podiumv1.Reference
	events     []*podiumv1.Event
}

func (c *collected) add(message *podiumv1.WatchResponse) {
	c.isSnapshot = c.isSnapshot || message.GetSnapshot()
	c.references = append(c.references, message.GetReferences()...)
	c.events = append(c.events, message.GetEvents()...)
}

// step takes all that was collected; nil if that is nothing.
func (c *collected) step(position string, restored bool) Step {
	taken := *c
	*c = collected{}
	switch {
	case taken.isSnapshot:
		return &Snapshot{taken.references, position, restored}
	case len(taken.events) > 0:
		return &Changes{taken.events, position}
	}
	return nil
}
