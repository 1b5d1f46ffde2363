package podium

import (
	"context"
	"sync"
	"time"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	firstRetry   = 500 * time.Millisecond
	longestRetry = 30 * time.Second
)

// puller brings what a follower is to have next: the newest, one at a time, again and again until it is there.
type puller struct {
	bring  func(context.Context, *podiumv1.Target) error
	failed func(*podiumv1.Target, error)

	wake chan struct{} // has one element where there may be something to do
	mu   sync.Mutex
	// wanted is what is to be brought, nil for nothing, and due when.
	wanted *podiumv1.Target
	due    time.Time
	pauses growing
	// running is what is being brought, and giveUp ends that: then it is not wanted any more.
	running *podiumv1.Target
	giveUp  context.CancelFunc
}

func newPuller(bring func(context.Context, *podiumv1.Target) error, failed func(*podiumv1.Target, error)) *puller {
	pauses := growing{first: firstRetry, longest: longestRetry}
	return &puller{bring: bring, failed: failed, wake: make(chan struct{}, 1), pauses: pauses}
}

// want says what is the newest from now on. Another version that is under way is given up.
func (p *puller) want(target *podiumv1.Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = target
	p.hurryLocked()
	if p.running != nil && !sameVersion(p.running, target) {
		p.giveUp()
	}
}

// hurry says that what failed may well go better now.
func (p *puller) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurryLocked()
}

func (p *puller) hurryLocked() {
	p.pauses.reset()
	p.due = time.Time{}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run works until the context ends.
func (p *puller) run(ctx context.Context) {
	for ctx.Err() == nil {
		inner, target, wait := p.next(ctx)
		if target != nil {
			p.end(inner, target, p.bring(inner, target))
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next is what is to be done now, or for how long there is nothing to do.
func (p *puller) next(ctx context.Context) (context.Context, *podiumv1.Target, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == nil {
		return nil, nil, time.Hour
	}
	if wait := time.Until(p.due); wait > 0 {
		return nil, nil, wait
	}
	inner, cancel := context.WithCancel(ctx)
	p.running, p.giveUp, p.wanted = p.wanted, cancel, nil
	return inner, p.running, 0
}

// end puts what failed back, unless that was given up.
func (p *puller) end(ctx context.Context, target *podiumv1.Target, err error) {
	p.mu.Lock()
	givenUp := ctx.Err() != nil
	p.giveUp()
	p.running = nil
	failed := err != nil && !givenUp
	if failed && p.wanted == nil {
		p.wanted, p.due = target, time.Now().Add(p.pauses.next())
	}
	p.mu.Unlock()
	if failed {
		p.failed(target, err)
	}
}
