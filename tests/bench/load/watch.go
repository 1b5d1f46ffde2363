package main

import (
	"bytes"
	"fmt"
	"time"
)

// Changes that warm up: they are made and waited for like the others, and do not count.
const warmups = 5

type arrival struct {
	change int
	at     time.Time
}

// watch makes one change after the other, each with a mark of its own, and waits each time until every stream has got it and the
// call has come back. A stream that misses one, or gets them in another order, ends it without a figure.
func watch(o options) (any, error) {
	bodies, err := read(o.bodies)
	if err != nil {
		return nil, err
	}
	if len(bodies) <= warmups {
		return nil, fmt.Errorf("%d changes, of which %d warm up", len(bodies), warmups)
	}
	arrivals := make(chan arrival, 2*o.streams)
	awaited := make([]int, o.streams)
	there := o
	if o.streamAddress != "" {
		there.address = o.streamAddress
	}
	opened, err := openStreams(there, func(i int, message []byte) {
		at := time.Now()
		for bytes.Contains(message, []byte(fmt.Sprintf(o.mark, awaited[i]))) {
			arrivals <- arrival{awaited[i], at}
			awaited[i]++
		}
	})
	if err != nil {
		return nil, err
	}
	defer opened.end()
	alone := o
	alone.connections = 1
	connections, err := connect(alone)
	if err != nil {
		return nil, err
	}
	ctx := o.context()
	change := func(body []byte) (reply []byte, err error) {
		err = connections[0].Invoke(ctx, o.method, body, &reply)
		return reply, err
	}
	return changes(o, bodies, change, arrivals, opened.failed)
}

func changes(o options, bodies [][]byte, change send, arrivals <-chan arrival, failed chan error) (any, error) {
	var first, last, replies []time.Duration
	cpu, began := 0.0, time.Time{}
	for number, body := range bodies {
		if number == warmups {
			cpu, began = processCPU(), time.Now()
		}
		time.Sleep(o.pause)
		replied := make(chan time.Duration, 1)
		started := time.Now()
		go func(body []byte) {
			if _, err := change(body); err != nil {
				failed <- err
				return
			}
			replied <- time.Since(started)
		}(body)
		earliest, latest, err := await(o, number, started, arrivals, failed)
		if err != nil {
			return nil, err
		}
		select {
		case took := <-replied:
			if number >= warmups {
				first, last, replies = append(first, earliest), append(last, latest), append(replies, took)
			}
		case err := <-failed:
			return nil, err
		}
	}
	seconds := time.Since(began).Seconds()
	return map[string]any{
		"changes": len(first), "first": spread(first), "last": spread(last), "reply": spread(replies),
		"generator_cores": (processCPU() - cpu) / seconds,
	}, nil
}

// await returns how long after its start a change came to the first stream and to the last.
func await(o options, number int, started time.Time, arrivals <-chan arrival, failed <-chan error) (time.Duration, time.Duration, error) {
	var first, last time.Duration
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for come := 0; come < o.streams; come++ {
		select {
		case a := <-arrivals:
			if a.change != number {
				return 0, 0, fmt.Errorf("change %d came while %d was awaited", a.change, number)
			}
			took := a.at.Sub(started)
			if come == 0 || took < first {
				first = took
			}
			if took > last {
				last = took
			}
		case err := <-failed:
			return 0, 0, err
		case <-deadline.C:
			return 0, 0, fmt.Errorf("change %d came to %d of %d streams", number, come, o.streams)
		}
	}
	return first, last, nil
}

func spread(all []time.Duration) map[string]float64 {
	at := microseconds(all)
	return map[string]float64{"p50_us": at(.5), "p95_us": at(.95), "p99_us": at(.99), "max_us": at(1)}
}
