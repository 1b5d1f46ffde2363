package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// raw hands bytes through: building messages is not what is measured.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }

// connect waits until every connection is ready, so that no call pays for its making. A connection is a file: since Go 1.19 the
// soft limit of open files is raised to the hard one at start.
func connect(o options) ([]*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var connections []*grpc.ClientConn
	addresses := strings.Split(o.address, ",")
	count := o.connections
	if count == 0 {
		count = len(addresses)
	}
	for i := 0; i < count; i++ {
		connection, err := grpc.NewClient("passthrough:///"+addresses[i%len(addresses)],
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(16<<20)))
		if err != nil {
			return nil, err
		}
		connection.Connect()
		for state := connection.GetState(); state.String() != "READY"; state = connection.GetState() {
			if !connection.WaitForStateChange(ctx, state) {
				return nil, fmt.Errorf("no connection to %s", addresses[i%len(addresses)])
			}
		}
		connections = append(connections, connection)
	}
	return connections, nil
}

// patience is how long a connection or a message may take that must come.
const patience = 30 * time.Second

func (o options) context() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "podium-actor", o.actor)
}
