package main

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestTheEndIsNoTimeout(t *testing.T) {
	more := make(chan int)
	items := pull(func(yield func(int, error) bool) {
		for item := range more {
			if !yield(item, nil) {
				return
			}
		}
	})
	defer items.stop()
	asked := func(lasts time.Duration) object {
		got, err := answer(&items, lasts, func(item int) any { return object{"item": item} })
		if err != nil {
			t.Fatal(err)
		}
		return got.(object)
	}
	expect := func(got, want object) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Fatal(got)
		}
	}
	expect(asked(time.Millisecond), object{"timeout": true})
	go func() { more <- 5; close(more) }()
	expect(asked(time.Minute), object{"item": 5})
	expect(asked(time.Minute), object{"end": true})
	expect(asked(time.Minute), object{"end": true})
}

// closing is something opened that tells when it is closed.
type closing struct{ closed bool }

func (c *closing) Position() string { return "" }
func (c *closing) close()           { c.closed = true }

func TestWhatIsOpenedAgainClosesTheOneBefore(t *testing.T) {
	d, before, after := &driver{opened: make(map[string]opened)}, &closing{}, &closing{}
	d.keep("w", before)
	d.keep("w", after)
	if !before.closed || after.closed || d.opened["w"] != after {
		t.Error(before, after)
	}
}

func TestAnUnknownHandleEndsTheDriver(t *testing.T) {
	var output strings.Builder
	err := serve(strings.NewReader(`{"do": "position", "handle": "w"}`+"\n"), &output)
	if err == nil || output.Len() > 0 {
		t.Error(err, output.String())
	}
}
