package podium

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// workers is how many files of a push or pull are under way at once.
const workers = 4

// each does the work for all items, some at once. The first failure ends all, and is returned once they have ended.
func each[T any](ctx context.Context, items []T, work func(context.Context, T) error) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, item := range items {
		group.Go(func() error {
			if err := inner.Err(); err != nil {
				return err
			}
			return work(inner, item)
		})
	}
	return group.Wait()
}
