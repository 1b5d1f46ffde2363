package podium

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

const (
	// streamTime bounds one stream, however slowly it moves: a transfer that takes longer goes on in another one.
	streamTime = 10 * time.Minute
	// stallsInPatience: a stalled stream is cut so early that others can be tried before the patience with the transfer ends.
	stallsInPatience = 3
)

// transfer is one stream of a transfer. It is cut, and its connection left, once one message has waited for a third of the
// transport's timeout. What its user does between the messages takes as long as it takes.
type transfer struct {
	*stream
	transport *transport
	ctx       context.Context
	cut       context.CancelCauseFunc
	close     func()
	allowed   time.Duration
	// isServerThere, if any, says whether a stream that does not move is only waiting for a server that is at work.
	isServerThere func(context.Context) bool
}

// openTransfer opens one stream, which its user closes.
func (t *transport) openTransfer(
	ctx context.Context, desc *grpc.StreamDesc, method string, isServerThere func(context.Context) bool, options ...grpc.CallOption,
) (*transfer, error) {
	limited, stop := context.WithTimeout(ctx, streamTime)
	cuttable, cut := context.WithCancelCause(limited)
	opened := &transfer{transport: t, ctx: cuttable, cut: cut, close: stop, allowed: t.timeout / stallsInPatience}
	err := opened.await(func() (err error) {
		opened.stream, err = t.openStream(cuttable, desc, method, options...)
		return err
	})
	if err != nil {
		stop()
		return nil, err
	}
	opened.isServerThere = isServerThere
	return opened, nil
}

func (s *transfer) SendMsg(message any) error {
	return s.await(func() error { return s.stream.SendMsg(message) })
}

func (s *transfer) RecvMsg(message any) error {
	return s.await(func() error { return s.stream.RecvMsg(message) })
}

// await does what waits for the server, and cuts the stream if that takes too long.
func (s *transfer) await(what func() error) error {
	waiting, done := context.WithCancel(s.ctx)
	guard := time.AfterFunc(s.allowed, func() { s.cutStalled(waiting) })
	err := what()
	guard.Stop()
	done()
	if err != nil && context.Cause(s.ctx) == errSilent {
		return s.transport.silent(s.stream, s.allowed)
	}
	return err
}

func (s *transfer) cutStalled(waiting context.Context) {
	for s.isServerThere != nil && s.isBusy(waiting) {
		if pause(waiting, s.allowed) != nil {
			return
		}
	}
	if waiting.Err() == nil {
		s.cut(errSilent)
	}
}

// isBusy says whether the server still answers over this connection, in half the time that a message has.
func (s *transfer) isBusy(waiting context.Context) bool {
	limited, cancel := context.WithTimeout(waiting, s.allowed/2)
	defer cancel()
	return s.connection.left.Err() == nil && s.isServerThere(limited)
}
