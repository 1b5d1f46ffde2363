package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// send makes one call and returns its reply.
type send func(body []byte) ([]byte, error)

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

func call(o options) (any, error) {
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	ctx := o.context()
	return repeat(o, func(w int) send {
		connection := connections[w%len(connections)]
		return func(body []byte) (reply []byte, err error) {
			err = connection.Invoke(ctx, o.method, body, &reply)
			return reply, err
		}
	})
}

// repeat lets callers call. Caller w of n sends the bodies w, w+n, w+2n … of the file, one at a time, so that what one caller
// does follows an order. The run ends when the time is up or the first caller has no body left; with -seconds 0 when every body
// is sent. One call that is not OK ends it without a figure.
func repeat(o options, sender func(w int) send) (*result, error) {
	bodies, err := read(o.bodies)
	if err != nil {
		return nil, err
	}
	if len(bodies) == 0 || len(bodies) < o.callers && !o.repeat {
		return nil, fmt.Errorf("%d bodies for %d callers", len(bodies), o.callers)
	}
	if o.warmup > 0 {
		if _, err := measure(o, sender, bodies, o.warmup); err != nil {
			return nil, err
		}
	}
	return measure(o, sender, bodies, o.seconds)
}

type caller struct {
	latencies []time.Duration
	reply     []byte
	err       error
}

func measure(o options, sender func(w int) send, bodies [][]byte, seconds float64) (*result, error) {
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
			callers[w].call(o, sender(w), bodies, w, &ended)
			if seconds > 0 || callers[w].err != nil {
				stop()
			}
		}(w)
	}
	group.Wait()
	stop()
	return summarize(callers, end.Sub(start), processCPU()-cpu)
}

func (c *caller) call(o options, send send, bodies [][]byte, first int, ended *atomic.Bool) {
	for next := first; o.repeat || next < len(bodies); next += o.callers {
		var reply []byte
		started := time.Now()
		if reply, c.err = send(bodies[next%len(bodies)]); c.err != nil {
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
	at := microseconds(all)
	return &result{Calls: len(all), Seconds: took.Seconds(), P50: at(.5), P95: at(.95), P99: at(.99), Max: at(1),
		CPU: cpu, ReplyBytes: len(callers[0].reply), Reply: callers[0].reply}, nil
}
