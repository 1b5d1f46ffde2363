// Load calls one unary gRPC method again and again with requests that were built before, and prints as JSON how long each took.
//
// Caller w of n sends the bodies w, w+n, w+2n … of the file, one at a time, so that what one caller does follows an order. The
// run ends when the time is up or the first caller has no body left; with -seconds 0 when every body is sent. One call that is
// not OK ends it without a figure.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

type options struct {
	address, method, bodies, actor string
	callers, connections           int
	seconds, warmup                float64
	repeat                         bool
}

type result struct {
	Calls      int     `json:"calls"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_us"`
	P95        float64 `json:"p95_us"`
	P99        float64 `json:"p99_us"`
	Max        float64 `json:"max_us"`
	CPU        float64 `json:"generator_cpu_seconds"`
	ReplyBytes int     `json:"reply_bytes"`
	Reply      []byte  `json:"reply"` // the first one, for the caller to look into
}

// raw hands bytes through: building messages is not what is measured.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }

func main() {
	var o options
	flag.StringVar(&o.address, "address", "", "host:port of the server")
	flag.StringVar(&o.method, "method", "", "/package.Service/Method")
	flag.StringVar(&o.bodies, "bodies", "", "file of requests, each with its length before it (4 bytes, big endian)")
	flag.StringVar(&o.actor, "actor", "bench@bench", "value of the metadata key podium-actor")
	flag.IntVar(&o.callers, "callers", 1, "calls in flight")
	flag.IntVar(&o.connections, "connections", 1, "connections that the callers share")
	flag.Float64Var(&o.seconds, "seconds", 1, "how long to measure at most; 0: until every body is sent")
	flag.Float64Var(&o.warmup, "warmup", 0, "seconds to call before measuring; only with -repeat")
	flag.BoolVar(&o.repeat, "repeat", false, "start again when the bodies are used up")
	flag.Parse()
	measured, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(measured)
}

func run(o options) (*result, error) {
	bodies, err := read(o.bodies)
	if err != nil {
		return nil, err
	}
	if len(bodies) < o.callers && !o.repeat {
		return nil, fmt.Errorf("%d bodies for %d callers", len(bodies), o.callers)
	}
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	if o.warmup > 0 {
		if _, err := measure(o, connections, bodies, o.warmup); err != nil {
			return nil, err
		}
	}
	return measure(o, connections, bodies, o.seconds)
}

func read(path string) ([][]byte, error) {
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	for len(all) >= 4 {
		size := int(binary.BigEndian.Uint32(all))
		if len(all) < 4+size {
			return nil, io.ErrUnexpectedEOF
		}
		bodies, all = append(bodies, all[4:4+size]), all[4+size:]
	}
	return bodies, nil
}

// connect waits until every connection is ready, so that no call pays for its making.
func connect(o options) ([]*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var connections []*grpc.ClientConn
	for i := 0; i < o.connections; i++ {
		connection, err := grpc.NewClient("passthrough:///"+o.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(16<<20)))
		if err != nil {
			return nil, err
		}
		connection.Connect()
		for state := connection.GetState(); state.String() != "READY"; state = connection.GetState() {
			if !connection.WaitForStateChange(ctx, state) {
				return nil, fmt.Errorf("no connection to %s", o.address)
			}
		}
		connections = append(connections, connection)
	}
	return connections, nil
}

type caller struct {
	latencies []time.Duration
	reply     []byte
	err       error
}

func measure(o options, connections []*grpc.ClientConn, bodies [][]byte, seconds float64) (*result, error) {
	var ended atomic.Bool
	var once sync.Once
	var end time.Time
	stop := func() { once.Do(func() { end = time.Now(); ended.Store(true) }) }
	callers := make([]caller, o.callers)
	var group sync.WaitGroup
	cpu, start := processCPU(), time.Now()
	if seconds > 0 {
		defer time.AfterFunc(time.Duration(seconds*float64(time.Second)), stop).Stop()
	}
	for w := range callers {
		group.Add(1)
		go func(w int) {
			defer group.Done()
			callers[w].call(o, connections[w%len(connections)], bodies, w, &ended)
			if seconds > 0 || callers[w].err != nil {
				stop()
			}
		}(w)
	}
	group.Wait()
	stop()
	return summarize(callers, end.Sub(start), processCPU()-cpu)
}

func (c *caller) call(o options, connection *grpc.ClientConn, bodies [][]byte, first int, ended *atomic.Bool) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "podium-actor", o.actor)
	for next := first; o.repeat || next < len(bodies); next += o.callers {
		var reply []byte
		started := time.Now()
		if c.err = connection.Invoke(ctx, o.method, bodies[next%len(bodies)], &reply); c.err != nil {
			return
		}
		took := time.Since(started)
		if ended.Load() { // it came back after the end: it belongs to no figure
			return
		}
		c.latencies = append(c.latencies, took)
		if c.reply == nil {
			c.reply = append([]byte{}, reply...)
		}
	}
}

func summarize(callers []caller, took time.Duration, cpu float64) (*result, error) {
	var all []time.Duration
	for _, c := range callers {
		if c.err != nil {
			return nil, c.err
		}
		all = append(all, c.latencies...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no call came back in time")
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1)+0.5)]) / float64(time.Microsecond)
	}
	return &result{Calls: len(all), Seconds: took.Seconds(), P50: at(.5), P95: at(.95), P99: at(.99), Max: at(1),
		CPU: cpu, ReplyBytes: len(callers[0].reply), Reply: callers[0].reply}, nil
}
