package podium

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestPausesGrowUpToALimit(t *testing.T) {
	pauses := growing{first: time.Second, longest: 5 * time.Second}
	for _, limit := range []time.Duration{1, 2, 4, 5, 5, 5} {
		if next := pauses.next(); next < 0 || next > limit*time.Second {
			t.Fatal(next, limit)
		}
	}
	pauses.reset()
	if pauses.limit != time.Second {
		t.Fatal(pauses.limit)
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&Error{Code: codes.Unavailable}, true},
		{&Error{Code: codes.DeadlineExceeded}, true},
		{&Error{Code: codes.Canceled}, true},
		{&Error{Code: codes.ResourceExhausted, Reason: "OVERLOADED"}, true},
		{&Error{Code: codes.ResourceExhausted, Reason: "STORAGE_FULL"}, false},
		{&Error{Code: codes.Aborted, Reason: "UPLOAD_BUSY"}, true},
		{&Error{Code: codes.Aborted, Reason: "CONFLICT"}, false},
		{&Error{Code: codes.NotFound}, false},
		{errors.New("a disk"), false},
		{nil, false},
	} {
		attempts := 0
		err := persist(context.Background(), newPatience(time.Minute), func() error {
			attempts++
			if attempts == 1 {
				return test.err
			}
			return nil
		})
		if tried := attempts == 2; tried != test.want || !tried && err != test.err {
			t.Error(test.err, attempts, err)
		}
	}
}

func TestPatienceEnds(t *testing.T) {
	away := &Error{Code: codes.Unavailable}
	begin := time.Now()
	err := persist(context.Background(), newPatience(50*time.Millisecond), func() error { return away })
	if err != away || time.Since(begin) < 50*time.Millisecond {
		t.Fatal(err, time.Since(begin))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := persist(ctx, newPatience(time.Minute), func() error { return away }); err == nil {
		t.Fatal("the context has ended")
	}
}
