package podium

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// transport is how the generated stub reaches the servers of one registry: over one connection at a time, with deadlines, retries
// and identity, and errors of our own. Where a call had no answer, or a stream was silent for too long, the connection is left and
// another one opened.
type transport struct {
	servers addresses
	address string // all of them, in words
	actor   string
	timeout time.Duration // of a unary call; of a transfer in which no byte moves
	session session

	mu      sync.Mutex
	current *connection
	open    map[*connection]struct{} // the current one, and those that were left before their last call has ended
	closed  bool
}

// resumed marks calls that are repeated by whoever made them, and end with the connection that is left.
type resumed struct{ grpc.EmptyCallOption }

// ErrClosed is what calls of a client return after Close.
var ErrClosed = errors.New("podium: the client is closed")

// Invoke makes one unary call.
func (t *transport) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	options = append(options, grpc.MaxRetryRPCBufferSize(maxRetryBytes))
	err := t.session.ask(request, func(request any) error { return t.invoke(ctx, method, request, reply, options) })
	if told, has := reply.(interface{ GetPosition() string }); has && err == nil {
		t.session.see(told.GetPosition())
	}
	return err
}

// invoke makes a call, and makes it again if it found no server and names lead to another one by now.
func (t *transport) invoke(ctx context.Context, method string, request, reply any, options []grpc.CallOption) error {
	used, err := t.invokeOnce(ctx, method, request, reply, options)
	if status.Code(err) == codes.Unavailable && t.leaveIfElsewhere(ctx, used) {
		_, err = t.invokeOnce(ctx, method, request, reply, options)
	}
	return fromCall(ctx, err, t.address)
}

func (t *transport) invokeOnce(
	ctx context.Context, method string, request, reply any, options []grpc.CallOption,
) (*connection, error) {
	connection, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer t.release(connection)
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	defer endWith(connection, cancel, options)()
	err = connection.channel.Invoke(t.identified(limited), method, request, reply, options...)
	if status.Code(err) == codes.DeadlineExceeded && ctx.Err() == nil {
		t.abandon(connection)
	}
	return connection, err
}

// NewStream opens one stream.
func (t *transport) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	opened, err := t.openStream(ctx, desc, method, options...)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (t *transport) openStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (*stream, error) {
	connection, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	cancellable, cancel := context.WithCancel(ctx)
	stop := endWith(connection, cancel, options)
	opened, err := connection.channel.NewStream(t.identified(cancellable), desc, method, options...)
	end := sync.OnceFunc(func() {
		stop()
		cancel()
		t.release(connection)
	})
	if err != nil {
		end()
		return nil, fromCall(ctx, err, t.address)
	}
	context.AfterFunc(cancellable, end)
	return &stream{opened, ctx, t.address, connection, !desc.ServerStreams, end}, nil
}

// endWith cancels a resumed call when its connection is left, until the function that it returns is called.
func endWith(connection *connection, cancel func(), options []grpc.CallOption) func() bool {
	if slices.ContainsFunc(options, func(option grpc.CallOption) bool { _, is := option.(resumed); return is }) {
		return context.AfterFunc(connection.left, cancel)
	}
	return func() bool { return true }
}

func (t *transport) identified(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "podium-actor", t.actor)
}

// acquire gives the connection that calls use now, opened if need be.
func (t *transport) acquire(ctx context.Context) (*connection, error) {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	t.leaveIfElsewhere(ctx, current)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if t.current == nil {
		opened, err := open(t.servers)
		if err != nil {
			return nil, err
		}
		t.current = opened
		t.open[opened] = struct{}{}
	}
	t.current.calls++
	return t.current, nil
}

// leaveIfElsewhere leaves a connection without servers if names lead to another one by now, or was left meanwhile, and says so.
func (t *transport) leaveIfElsewhere(ctx context.Context, used *connection) bool {
	if used == nil || used.names == nil {
		return false
	}
	used.names.again()
	if used.isAway() && t.mayLookUp(used) && used.names.leadElsewhere(ctx) {
		t.abandon(used)
	}
	return used.left.Err() != nil
}

func (t *transport) mayLookUp(used *connection) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	may := time.Since(used.lookedUp) > lookupPause
	if may {
		used.lookedUp = time.Now()
	}
	return may
}

func (t *transport) release(used *connection) {
	t.mu.Lock()
	used.calls--
	t.mu.Unlock()
	t.closeUnused(used)
}

// abandon lets the next call open another connection than this one, which may be dead.
func (t *transport) abandon(dead *connection) {
	t.mu.Lock()
	if t.current == dead {
		t.current = nil
	}
	dead.leave()
	t.mu.Unlock()
	t.closeUnused(dead)
}

// closeUnused closes a connection that was left and has no calls.
func (t *transport) closeUnused(connection *connection) {
	t.mu.Lock()
	unused := connection.calls == 0 && connection.left.Err() != nil
	if unused {
		delete(t.open, connection)
	}
	t.mu.Unlock()
	if unused {
		connection.channel.Close()
	}
}

// silent leaves the connection of a stream, if it was opened, on which nothing moved for so long, and says so.
func (t *transport) silent(over *stream, lasted time.Duration) error {
	if over != nil {
		t.abandon(over.connection)
	}
	silent := errorf(Unavailable, "the server at %s said nothing for %g s", t.address, lasted.Seconds())
	silent.Reason, silent.Code = "SILENT", codes.Unavailable
	return silent
}

// close ends all connections, also those that were left, and all calls on them.
func (t *transport) close() {
	t.mu.Lock()
	last := t.open
	t.current, t.open, t.closed = nil, nil, true
	t.mu.Unlock()
	for connection := range last {
		connection.leave()
		connection.channel.Close()
	}
}

// stream tells errors in our words, and lets go of its connection when it has ended.
type stream struct {
	grpc.ClientStream
	caller     context.Context
	address    string
	connection *connection
	oneReply   bool
	end        func()
}

func (s *stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err != nil || s.oneReply {
		s.end()
	}
	return fromCall(s.caller, err, s.address)
}

func (s *stream) SendMsg(message any) error {
	return fromCall(s.caller, s.ClientStream.SendMsg(message), s.address)
}
