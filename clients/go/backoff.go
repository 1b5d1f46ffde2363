package podium

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

// growing makes growing pauses with full jitter, for loops that begin anew whenever something has come.
type growing struct{ first, longest, limit time.Duration }

// next says how long to wait now: any time up to a limit that doubles.
func (g *growing) next() time.Duration {
	limit := max(g.limit, g.first)
	g.limit = min(2*limit, g.longest)
	return rand.N(limit)
}

func (g *growing) reset() { g.limit = g.first }

// pause sleeps, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// patience gives a transfer up once no byte has moved for so long.
type patience struct {
	lasts time.Duration
	since time.Time
}

func newPatience(lasts time.Duration) *patience { return &patience{lasts, time.Now()} }

// moved starts the clock again: bytes have moved.
func (p *patience) moved() { p.since = time.Now() }

func (p *patience) isOver() bool { return time.Since(p.since) > p.lasts }

// persist attempts one transfer, with growing pauses, for as long as patience lasts.
func persist(ctx context.Context, patience *patience, attempt func() error) error {
	pauses := growing{first: 100 * time.Millisecond, longest: 2 * time.Second}
	for {
		err := attempt()
		if err == nil || ctx.Err() != nil || !mayResume(err) || patience.isOver() {
			return err
		}
		if stopped := pause(ctx, pauses.next()); stopped != nil {
			return stopped
		}
	}
}

var (
	cutOff  = []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled}
	mayPass = []string{"UPLOAD_BUSY", "OVERLOADED", "OFFSET_MISMATCH", "CONTENT_MISMATCH"}
)

// mayResume says whether the same transfer may well go on in a moment: it was cut, or somebody else is in the way.
func mayResume(err error) bool {
	var ours *Error
	return errors.As(err, &ours) && (slices.Contains(cutOff, ours.Code) || slices.Contains(mayPass, ours.Reason))
}

// isPassing says whether another watch may well work where one ended so.
func isPassing(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
