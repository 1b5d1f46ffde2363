// Measures the Go client from inside a process that uses it, and prints JSON. Times are milliseconds unless their name says
// otherwise. Java's twin is clients/java/src/test/java/dev/podium/Measure.java.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	podium "github.com/podium-registry/podium/clients/go"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	pause = 10 * time.Millisecond // between two promotions, so that each comes to a server that is at rest
	poll  = 20 * time.Microsecond // between two looks at what is current
)

var commands = map[string]func(client *podium.Client, arguments []string) (any, error){
	"reads":      reads,
	"resolve":    resolve,
	"pull":       pull,
	"promotions": promotions,
}

// main is run as: client_go COMMAND ADDRESS CACHE ARGUMENT…
func main() {
	if len(os.Args) < 4 || commands[os.Args[1]] == nil {
		fail(fmt.Errorf("usage: client_go reads|resolve|pull|promotions ADDRESS CACHE …"))
	}
	client, err := podium.Dial(os.Args[2], &podium.Options{Cache: os.Args[3], Actor: "bench@bench"})
	if err != nil {
		fail(err)
	}
	defer client.Close()
	measured, err := commands[os.Args[1]](client, os.Args[4:])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
		fail(err)
	}
}

// reads REFERENCE THREADS COUNT: what a read of the current version takes each of so many goroutines that read at once.
func reads(client *podium.Client, arguments []string) (any, error) {
	follower, err := client.Follow(context.Background(), arguments[0], nil)
	if err != nil {
		return nil, err
	}
	defer follower.Close()
	threads, count := number(arguments[1]), number(arguments[2])
	means := make([]float64, threads)
	numbers := make([]int64, threads)
	together := make(chan struct{})
	var running sync.WaitGroup
	for thread := range threads {
		running.Add(1)
		go func() {
			defer running.Done()
			<-together
			start, sum := time.Now(), int64(0)
			for range count {
				sum += follower.Current().Number
			}
			means[thread], numbers[thread] = float64(time.Since(start).Nanoseconds())/float64(count), sum
		}()
	}
	close(together)
	running.Wait()
	if slices.Contains(numbers, 0) {
		return nil, fmt.Errorf("nothing is current")
	}
	return map[string]any{"nanoseconds": slices.Max(means)}, nil
}

// resolve REFERENCE CALLERS SECONDS: how fast the server says what a reference means.
func resolve(client *podium.Client, arguments []string) (any, error) {
	callers, seconds := number(arguments[1]), number(arguments[2])
	warm := time.Now().Add(time.Duration(seconds) * time.Second / 4)
	end := warm.Add(time.Duration(seconds) * time.Second)
	times := make([][]float64, callers)
	failures := make(chan error, callers)
	var running sync.WaitGroup
	for caller := range callers {
		running.Add(1)
		go func() {
			defer running.Done()
			for start := time.Now(); start.Before(end); start = time.Now() {
				if _, err := client.Resolve(context.Background(), arguments[0], nil); err != nil {
					failures <- err
					return
				}
				if start.After(warm) {
					times[caller] = append(times[caller], milliseconds(time.Since(start)))
				}
			}
		}()
	}
	running.Wait()
	if len(failures) > 0 {
		return nil, <-failures
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return map[string]any{"rate": float64(len(all)) / float64(seconds), "p50": at(all, 0.5), "p99": at(all, 0.99)}, nil
}

// pull REFERENCE: how many seconds it takes until a version's files are on the disk, verified.
func pull(client *podium.Client, arguments []string) (any, error) {
	start := time.Now()
	_, err := client.Pull(context.Background(), arguments[0], nil)
	return map[string]any{"seconds": time.Since(start).Seconds()}, err
}

// promotions MODEL ALIAS NUMBER,NUMBER… FOLLOWERS: from before each call until the new version is
// current for the last of so many followers, each of a client with a connection of its own. The files of versions that come
// more than once are in the cache before the first of them.
func promotions(client *podium.Client, arguments []string) (any, error) {
	model, alias := arguments[0], arguments[1]
	moves := strings.Split(arguments[2], ",")
	followers := make([]*podium.Follower, number(arguments[3]))
	if err := pullRepeated(client, model, moves); err != nil {
		return nil, err
	}
	before := memory()
	for place := range followers {
		own, err := podium.Dial(os.Args[2], &podium.Options{Cache: os.Args[3]})
		if err != nil {
			return nil, err
		}
		defer own.Close()
		if followers[place], err = own.Follow(context.Background(), model+"@"+alias, nil); err != nil {
			return nil, err
		}
	}
	each := (memory() - before) / float64(len(followers))
	var times []float64
	for _, text := range moves {
		wanted := int64(number(text))
		time.Sleep(pause)
		start := time.Now()
		request := &podiumv1.SetAliasRequest{
			Reference: model + ":" + text, Alias: alias, RequestId: fmt.Sprintf("%d-%s", start.UnixNano(), text),
		}
		if _, err := client.Stub().SetAlias(context.Background(), request); err != nil {
			return nil, err
		}
		if err := allHave(followers, wanted); err != nil {
			return nil, err
		}
		times = append(times, milliseconds(time.Since(start)))
	}
	return map[string]any{"times": times, "heap_and_stacks": each}, nil
}

func pullRepeated(client *podium.Client, model string, moves []string) error {
	count := make(map[string]int)
	for _, text := range moves {
		if count[text]++; count[text] == 2 {
			if _, err := client.Pull(context.Background(), model+":"+text, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// allHave returns once this version is current for all followers.
func allHave(followers []*podium.Follower, wanted int64) error {
	end := time.Now().Add(time.Minute)
	for _, follower := range followers {
		for follower.Current().Number != wanted {
			if time.Now().After(end) {
				return fmt.Errorf("a follower did not swap to version %d: %v", wanted, follower.Problem())
			}
			time.Sleep(poll)
		}
	}
	return nil
}

// memory is how many bytes the program has in use.
func memory() float64 {
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return float64(now.HeapAlloc + now.StackInuse)
}

func at(sorted []float64, part float64) float64 { return sorted[int(part*float64(len(sorted)-1))] }

func milliseconds(took time.Duration) float64 { return took.Seconds() * 1000 }

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fail(err)
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
