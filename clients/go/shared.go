package podium

import (
	"context"
	"sync"
)

// shared has what several goroutines need at the same time done once, by the first of them, while the others wait. It keeps
// nothing: whoever comes later does it again.
//
// Unlike singleflight, one that waits can leave, and nobody gets the error of another, who may have been told to give up.
type shared[T any] struct {
	mu      sync.Mutex
	flights map[string]*flight[T]
}

type flight[T any] struct {
	landed chan struct{}
	result T
	err    error
}

func (s *shared[T]) do(ctx context.Context, key string, work func() (T, error)) (T, error) {
	for {
		mine, others := s.board(key)
		if mine != nil {
			mine.result, mine.err = work()
			s.land(key, mine)
			return mine.result, mine.err
		}
		select {
		case <-ctx.Done():
			return *new(T), ctx.Err()
		case <-others.landed:
			if others.err == nil {
				return others.result, nil
			}
		}
	}
}

// board returns a new flight that is the caller's to fly, or the one that is under way.
func (s *shared[T]) board(key string) (mine, others *flight[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if others := s.flights[key]; others != nil {
		return nil, others
	}
	if s.flights == nil {
		s.flights = make(map[string]*flight[T])
	}
	mine = &flight[T]{landed: make(chan struct{})}
	s.flights[key] = mine
	return mine, nil
}

func (s *shared[T]) land(key string, mine *flight[T]) {
	s.mu.Lock()
	delete(s.flights, key)
	s.mu.Unlock()
	close(mine.landed)
}
