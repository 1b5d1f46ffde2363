package main

import (
	"maps"
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
