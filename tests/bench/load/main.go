// Load puts one kind of load on a server and prints as JSON what came of it. Requests were built before: they are in files, each
// with its length before it (4 bytes, big endian).
//
//	load call    unary gRPC calls of one method, again and again; what it does when no command is named
//	load get     the same with GET over HTTP, where a request is a path
//	load watch   streams that wait for changes which one caller makes: how long until the first and the last of them know
//	load hold    streams that are read, and only that, until stdin ends
//	load until   one stream, until it says what is waited for
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

type options struct {
	address, streamAddress, method, bodies, actor string
	callers, connections                          int
	seconds, warmup                               float64
	repeat                                        bool

	streamMethod, streamBody, mark string
	streams                        int
	open                           bool
	pause                          time.Duration
}

var commands = map[string]func(options) (any, error){"call": call, "get": get, "watch": watch, "hold": hold, "until": until}

func main() {
	command, arguments := "call", os.Args[1:]
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		command, arguments = arguments[0], arguments[1:]
	}
	run := commands[command]
	if run == nil {
		fail(fmt.Errorf("no such command: %s", command))
	}
	measured, err := run(parse(command, arguments))
	if err != nil {
		fail(err)
	}
	json.NewEncoder(os.Stdout).Encode(measured)
}

func parse(command string, arguments []string) (o options) {
	flags := flag.NewFlagSet(command, flag.ExitOnError)
	flags.StringVar(&o.address, "address", "", "host:port of the server, or of several with commas between: connections are shared out evenly")
	flags.StringVar(&o.streamAddress, "stream-address", "", "watch: where the streams are, if not there")
	flags.StringVar(&o.method, "method", "", "/package.Service/Method that is called")
	flags.StringVar(&o.bodies, "bodies", "", "file of requests")
	flags.StringVar(&o.actor, "actor", "bench@bench", "value of the metadata key podium-actor")
	flags.IntVar(&o.callers, "callers", 1, "calls in flight")
	flags.IntVar(&o.connections, "connections", 0, "connections that callers or streams share; 0: one to each address")
	flags.Float64Var(&o.seconds, "seconds", 1, "how long to measure at most; 0: until every body is sent")
	flags.Float64Var(&o.warmup, "warmup", 0, "seconds to call before measuring; only with -repeat")
	flags.BoolVar(&o.repeat, "repeat", false, "start again when the bodies are used up")
	flags.StringVar(&o.streamMethod, "stream-method", "", "/package.Service/Method that is streamed")
	flags.StringVar(&o.streamBody, "stream-body", "", "file of one request, which opens each stream")
	flags.IntVar(&o.streams, "streams", 1, "streams, shared out evenly among the connections")
	flags.BoolVar(&o.open, "open", false, "leave the client's side of a stream open, for methods that end when it ends")
	flags.StringVar(&o.mark, "mark", "", "what a message must contain; watch: with a verb for the number of the change, from 0")
	flags.DurationVar(&o.pause, "pause", 0, "how long nothing happens between two changes")
	flags.Parse(arguments)
	return o
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func read(path string) ([][]byte, error) {
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	for len(all) >= 4 {
		size := int(binary.BigEndian.Uint32(all))
		if len(all) < 4+size {
			return nil, io.ErrUnexpectedEOF
		}
		bodies, all = append(bodies, all[4:4+size]), all[4+size:]
	}
	return bodies, nil
}
