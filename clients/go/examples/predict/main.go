// Command predict serves a LightGBM model over HTTP, in the version that a reference means: it swaps to the next one while it serves,
// and serves on while the registry is away.
//
//	predict [-listen 127.0.0.1:8080] fraud@champion
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	podium "github.com/podium-registry/podium/clients/go"
)

const leavingTime = 10 * time.Second // for requests in flight when it is told to end

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "the address to serve at")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: predict [-listen HOST:PORT] NAME@ALIAS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

// run serves until the context is done.
func run(ctx context.Context, listen, reference string) error {
	client, err := podium.Dial("", nil) // $PODIUM_URL, else 127.0.0.1:7070
	if err != nil {
		return err
	}
	defer client.Close()
	follower, err := client.Follow(ctx, reference, nil)
	if err != nil {
		return err
	}
	server, err := newServer(ctx, follower)
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("serving %s at %s\n", reference, listener.Addr())
	web := &http.Server{Handler: server.handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		leaving, cancel := context.WithTimeout(context.Background(), leavingTime)
		defer cancel()
		ended <- web.Shutdown(leaving)
	}()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}
