package main

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	podium "github.com/podium-registry/podium/clients/go"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

type object = map[string]any

var verbs = map[string]func(*driver, context.Context, *order) (any, error){
	"connect":  (*driver).connect,
	"push":     (*driver).push,
	"pull":     (*driver).pull,
	"resolve":  (*driver).resolve,
	"watch":    (*driver).watch,
	"next":     (*driver).next,
	"position": (*driver).position,
	"follow":   (*driver).follow,
	"current":  (*driver).current,
	"change":   (*driver).change,
	"wait":     (*driver).wait,
	"state":    (*driver).state,
	"close":    (*driver).close,
	"usage":    (*driver).usage,
}

func (d *driver) connect(_ context.Context, o *order) (any, error) {
	d.closeAll()
	client, err := podium.Dial(o.URL, &podium.Options{
		Actor: o.Actor, Cache: o.Cache, Timeout: seconds(o.TimeoutSeconds), Direct: o.Direct,
	})
	d.client = client
	return object{}, err
}

func (d *driver) push(ctx context.Context, o *order) (any, error) {
	bump, err := bumpOf(o.Bump)
	if err != nil {
		return nil, err
	}
	done, err := d.client.Push(ctx, o.Model, o.Path, &podium.PushOptions{
		Version: o.Version, Bump: bump, Stage: o.Stage, Aliases: o.Aliases, Labels: o.Labels, Description: o.Description,
		NoCreate: o.Create != nil && !*o.Create, RequestID: o.RequestID,
	})
	if err != nil {
		return nil, err
	}
	version := done.Version
	return object{
		"model": version.GetModel(), "number": version.GetNumber(), "version": version.GetVersion(),
		"digest": version.GetDigest(), "record_digest": version.GetRecordDigest(), "stage": version.GetStage(),
		"created": done.Created, "files": done.Files, "size_bytes": done.SizeBytes, "uploaded_bytes": done.UploadedBytes,
		"left_out": list(done.LeftOut),
	}, nil
}

func bumpOf(word string) (podiumv1.VersionBump, error) {
	if word == "" {
		return 0, nil
	}
	number, known := podiumv1.VersionBump_value["VERSION_BUMP_"+strings.ToUpper(word)]
	if !known {
		return 0, fmt.Errorf("%q is no bump", word)
	}
	return podiumv1.VersionBump(number), nil
}

func (d *driver) pull(ctx context.Context, o *order) (any, error) {
	path, err := d.client.Pull(ctx, o.Reference, &podium.PullOptions{To: o.To})
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	return object{"path": absolute}, err
}

func (d *driver) resolve(ctx context.Context, o *order) (any, error) {
	target, err := d.client.Resolve(ctx, o.Reference, &podium.ResolveOptions{
		ForServing: o.ForServing != nil && *o.ForServing, AtLeast: o.AtLeast,
	})
	if err != nil {
		return nil, err
	}
	return object{
		"model": target.GetModel(), "model_uid": target.GetModelUid(), "number": target.GetNumber(),
		"version": target.GetVersion(), "digest": target.GetDigest(), "record_digest": target.GetRecordDigest(),
		"stage": target.GetStage(), "servable": target.GetServable(), "warnings": list(target.GetWarnings()),
	}, nil
}

// watched is a watch and what its iterator gave, or is about to.
type watched struct {
	*podium.Watch
	stop    context.CancelFunc
	pending pending[podium.Step]
}

func (w *watched) close() {
	w.stop()
	w.pending.stop()
}

func (d *driver) watch(ctx context.Context, o *order) (any, error) {
	watch, err := d.client.Watch(o.References, &podium.WatchOptions{
		Since: o.Since, AtLeast: o.AtLeast, ForServing: o.ForServing != nil && *o.ForServing,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	d.keep(o.Handle, &watched{watch, stop, pull(watch.Steps(ctx))})
	return object{}, nil
}

func (d *driver) next(_ context.Context, o *order) (any, error) {
	watch, err := handle[*watched](d, o.Handle)
	if err != nil {
		return nil, err
	}
	return answer(&watch.pending, seconds(o.Seconds), func(step podium.Step) any { return stepObject(step) })
}

func (d *driver) position(_ context.Context, o *order) (any, error) {
	one, err := handle[opened](d, o.Handle)
	if err != nil {
		return nil, err
	}
	return object{"position": one.Position()}, nil
}

// followed is a follower and what its one iterator of changes gave, or is about to.
type followed struct {
	*podium.Follower
	pending *pending[*podium.Current]
}

func (f *followed) close() {
	f.Close()
	if f.pending != nil {
		f.pending.stop()
	}
}

func (d *driver) follow(ctx context.Context, o *order) (any, error) {
	follower, err := d.client.Follow(ctx, o.Reference, &podium.FollowOptions{
		AllowUnservable: o.ForServing != nil && !*o.ForServing, Timeout: seconds(o.Seconds),
	})
	if err != nil {
		return nil, err
	}
	d.keep(o.Handle, &followed{Follower: follower})
	return currentObject(follower.Current()), nil
}

func (d *driver) current(_ context.Context, o *order) (any, error) {
	follower, err := handle[*followed](d, o.Handle)
	if err != nil {
		return nil, err
	}
	return currentObject(follower.Current()), nil
}

func (d *driver) change(ctx context.Context, o *order) (any, error) {
	follower, err := handle[*followed](d, o.Handle)
	if err != nil {
		return nil, err
	}
	if follower.pending == nil {
		changes := follower.Changes(ctx)
		begun := pull(func(yield func(*podium.Current, error) bool) {
			changes(func(current *podium.Current) bool { return yield(current, nil) })
		})
		follower.pending = &begun
	}
	return answer(follower.pending, seconds(o.Seconds), currentObject)
}

func (d *driver) wait(_ context.Context, o *order) (any, error) {
	follower, err := handle[*followed](d, o.Handle)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(seconds(o.Seconds)); ; time.Sleep(2 * time.Millisecond) {
		now := stateObject(follower)
		holds := (o.State == "" || now["state"] == o.State) && (o.Number == 0 || now["number"] == o.Number)
		if holds {
			return now, nil
		}
		if time.Now().After(until) {
			now["timeout"] = true
			return now, nil
		}
	}
}

func (d *driver) state(_ context.Context, o *order) (any, error) {
	follower, err := handle[*followed](d, o.Handle)
	if err != nil {
		return nil, err
	}
	return stateObject(follower), nil
}

func (d *driver) close(_ context.Context, o *order) (any, error) {
	if o.Handle == "" {
		d.closeAll()
		return object{}, nil
	}
	one, err := handle[opened](d, o.Handle)
	if err != nil {
		return nil, err
	}
	one.close()
	delete(d.opened, o.Handle)
	return object{}, nil
}

func (d *driver) usage(context.Context, *order) (any, error) {
	return object{"tasks": runtime.NumGoroutine()}, nil
}

// pending reads an iterator with a deadline: what does not come in time is there for whoever asks next.
type pending[T any] struct {
	pull  func() (T, error, bool)
	end   func()
	ready chan result[T]
	asked bool
}

type result[T any] struct {
	value T
	err   error
	ok    bool // false after the last
}

func pull[T any](items iter.Seq2[T, error]) pending[T] {
	next, stop := iter.Pull2(items)
	return pending[T]{next, stop, make(chan result[T], 1), false}
}

// answer is the next item, or that none came in time, or that the last has been.
func answer[T any](items *pending[T], lasts time.Duration, described func(T) any) (any, error) {
	got, arrived := items.next(lasts)
	switch {
	case !arrived:
		return object{"timeout": true}, nil
	case !got.ok:
		return object{"end": true}, nil
	case got.err != nil:
		return nil, got.err
	}
	return described(got.value), nil
}

// next is false if nothing came in time.
func (p *pending[T]) next(lasts time.Duration) (result[T], bool) {
	if !p.asked {
		p.asked = true
		go func() {
			value, err, ok := p.pull()
			p.ready <- result[T]{value, err, ok}
		}()
	}
	select {
	case got := <-p.ready:
		p.asked = false
		return got, true
	case <-time.After(lasts):
		return result[T]{}, false
	}
}

// stop ends it, after the one who waits for it has been ended.
func (p *pending[T]) stop() {
	if p.asked {
		<-p.ready
	}
	p.end()
}

func seconds(count float64) time.Duration { return time.Duration(count * float64(time.Second)) }

func codeName(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for index, letter := range code.String() {
		if index > 0 && letter >= 'A' && letter <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}
