package podium

import (
	"context"
	"errors"
	"testing"
)

// waits is a context that tells when somebody waits for its end.
type waits struct {
	context.Context
	told chan<- struct{}
}

func (w waits) Done() <-chan struct{} {
	w.told <- struct{}{}
	return w.Context.Done()
}

func TestWorkThatSeveralNeedIsDoneOnce(t *testing.T) {
	var work shared[int]
	begun, done, waiting := make(chan struct{}), make(chan struct{}), make(chan struct{})
	results := make(chan int)
	take := func(ctx context.Context, once func() (int, error)) {
		result, err := work.do(ctx, "key", once)
		must(t, err)
		results <- result
	}
	go take(context.Background(), func() (int, error) {
		close(begun)
		<-done
		return 7, nil
	})
	<-begun
	for range 5 {
		go take(waits{context.Background(), waiting}, func() (int, error) { return 0, errors.New("done twice") })
		<-waiting
	}
	if other, err := work.do(context.Background(), "other key", func() (int, error) { return 8, nil }); other != 8 || err != nil {
		t.Errorf("another key's work gave %d, %v", other, err)
	}
	left, leave := context.WithCancel(context.Background())
	leave()
	if _, err := work.do(left, "key", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("one that left got %v", err)
	}
	close(done)
	for range 6 {
		if result := <-results; result != 7 {
			t.Errorf("got %d", result)
		}
	}
}

func TestWhoWaitsDoesNotGetTheErrorOfAnother(t *testing.T) {
	var work shared[int]
	begun, fail := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := work.do(context.Background(), "key", func() (int, error) {
			close(begun)
			<-fail
			return 0, context.Canceled
		})
		failed <- err
	}()
	<-begun
	got, waiting := make(chan int, 1), make(chan struct{})
	go func() {
		result, err := work.do(waits{context.Background(), waiting}, "key", func() (int, error) { return 2, nil })
		must(t, err)
		got <- result
	}()
	<-waiting
	close(fail)
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the first got %v", err)
	}
	if result := <-got; result != 2 {
		t.Errorf("the second got %d", result)
	}
}
