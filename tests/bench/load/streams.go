package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// ahead is how many streams are opened while nothing has come on them: a gRPC server written in C refuses calls at random when more
// than 1,000 wait to be taken up.
const ahead = 200

// settling is how long no stream says anything when all of them have said what they begin with.
const settling = 300 * time.Millisecond

type streams struct {
	messages atomic.Int64
	failed   chan error
	end      context.CancelFunc
}

// openStreams waits until all streams have said what they begin with. Each message but their first is given to `arrived`, in a
// goroutine for each stream.
func openStreams(o options, arrived func(stream int, message []byte)) (*streams, error) {
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	body, err := streamBody(o)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(o.context())
	opened := &streams{failed: make(chan error, o.streams), end: end}
	first := make(chan struct{}, o.streams)
	deadline := time.After(patience)
	for i := 0; i < o.streams+ahead; i++ {
		if i >= ahead {
			select {
			case <-first:
			case err := <-opened.failed:
				return nil, err
			case <-deadline:
				return nil, fmt.Errorf("%d of %d streams said nothing", o.streams+ahead-i, o.streams)
			}
		}
		if i < o.streams {
			stream, err := openStream(ctx, o, connections[i%len(connections)], body)
			if err != nil {
				return nil, err
			}
			go opened.read(stream, i, first, arrived)
		}
	}
	for before := int64(0); before != opened.messages.Load(); time.Sleep(settling) {
		before = opened.messages.Load()
	}
	return opened, nil
}

func streamBody(o options) ([]byte, error) {
	bodies, err := read(o.streamBody)
	if err == nil && len(bodies) != 1 {
		err = fmt.Errorf("%s has %d requests", o.streamBody, len(bodies))
	}
	if err != nil {
		return nil, err
	}
	return bodies[0], nil
}

func openStream(ctx context.Context, o options, connection *grpc.ClientConn, body []byte) (grpc.ClientStream, error) {
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(ctx, both, o.streamMethod)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(body); err == io.EOF { // the stream has ended; what it ended with is for who receives
		return nil, stream.RecvMsg(new([]byte))
	} else if err != nil || o.open {
		return stream, err
	}
	return stream, stream.CloseSend()
}

func (s *streams) read(stream grpc.ClientStream, i int, first chan<- struct{}, arrived func(int, []byte)) {
	for number := 0; ; number++ {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			s.failed <- fmt.Errorf("stream %d: %w", i, err)
			return
		}
		s.messages.Add(1)
		if number == 0 {
			first <- struct{}{}
		} else {
			arrived(i, message)
		}
	}
}

// hold says that the streams are open, and how many messages came until stdin ended.
func hold(o options) (any, error) {
	opened, err := openStreams(o, func(int, []byte) {})
	if err != nil {
		return nil, err
	}
	fmt.Println("open")
	before, cpu := opened.messages.Load(), processCPU()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err = <-ended:
	case err = <-opened.failed:
	}
	return map[string]any{"messages": opened.messages.Load() - before, "generator_cpu_seconds": processCPU() - cpu}, err
}

// until says how long a stream takes, on a connection that is there, until a message of it contains the mark.
func until(o options) (any, error) {
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	body, err := streamBody(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(o.context(), patience)
	defer cancel()
	started, messages, size := time.Now(), 0, 0
	stream, err := openStream(ctx, o, connections[0], body)
	for err == nil {
		var message []byte
		err = stream.RecvMsg(&message)
		messages, size = messages+1, size+len(message)
		if err == nil && bytes.Contains(message, []byte(o.mark)) {
			return map[string]any{"seconds": time.Since(started).Seconds(), "messages": messages, "bytes": size}, nil
		}
	}
	return nil, err
}
