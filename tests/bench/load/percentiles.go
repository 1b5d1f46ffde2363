package main

import (
	"sort"
	"time"
)

// microseconds sorts times, of which there is at least one, and returns what says how many microseconds a share of them took at most.
func microseconds(all []time.Duration) func(share float64) float64 {
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1)+0.5)]) / float64(time.Microsecond)
	}
}
