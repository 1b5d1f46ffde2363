package podium

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // asks servers for their health, as the service config says
	"google.golang.org/grpc/keepalive"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	maxMessageBytes = 4 << 20
	maxRetryBytes   = maxMessageBytes + 1<<10 // a whole request is kept for its retries
	// Names that lead to servers that are all away are looked up again, but not more often.
	lookupPause = time.Second
	lookupTime  = 5 * time.Second
	// Chunks are 1 MiB: a stream has one on its way while another is written.
	streamWindowBytes     = 4 << 20
	connectionWindowBytes = 16 << 20
	bufferBytes           = 4 << 10 // a connection keeps it; what is larger is read past it
)

// connection is one channel. It is closed when it was left and the last call on it has ended.
type connection struct {
	channel *grpc.ClientConn
	names   *lookups // nil where gRPC needs none: for one number, and where a proxy looks it up
	// left is done once it should not be used any more: calls that go on by themselves do so on another one.
	left  context.Context
	leave context.CancelFunc

	// Under the transport's lock.
	calls    int
	lookedUp time.Time
}

func open(servers addresses) (*connection, error) {
	opened := &connection{lookedUp: time.Now()}
	connecting := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("podium-go"),
		grpc.WithDefaultServiceConfig(serviceConfig(!servers.isOneServer())),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: connecting, MinConnectTimeout: 5 * time.Second}),
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithInitialConnWindowSize(connectionWindowBytes),
		grpc.WithReadBufferSize(bufferBytes),
	}
	target := "dns:///" + servers[0]
	if !servers.isOneServer() && !servers.isProxied() {
		opened.names = newLookups(servers)
		target = opened.names.Scheme() + ":///servers"
		options = append(options, grpc.WithResolvers(opened.names), grpc.WithNoProxy())
	}
	var err error
	if opened.channel, err = grpc.NewClient(target, options...); err != nil {
		return nil, fmt.Errorf("podium: %s: %w", servers, err)
	}
	opened.left, opened.leave = context.WithCancel(context.Background())
	return opened, nil
}

// isAway says whether no server answers.
func (c *connection) isAway() bool { return c.channel.GetState() == connectivity.TransientFailure }

// serviceConfig repeats every unary call: a read changes nothing, a mutation carries a request id. Streams are resumed instead. A
// server that stops cancels calls that it has not begun.
// Where there may be several servers, calls go to each in turn that says that it serves.
func serviceConfig(balanced bool) string {
	retries := map[string]any{
		"maxAttempts":          4,
		"initialBackoff":       "0.05s",
		"maxBackoff":           "1s",
		"backoffMultiplier":    2,
		"retryableStatusCodes": []string{"UNAVAILABLE", "CANCELLED"},
	}
	service := podiumv1.RegistryService_ServiceDesc.ServiceName
	var unary []map[string]string
	for _, method := range podiumv1.RegistryService_ServiceDesc.Methods {
		unary = append(unary, map[string]string{"service": service, "method": method.MethodName})
	}
	config := map[string]any{"methodConfig": []any{map[string]any{"name": unary, "retryPolicy": retries}}}
	if balanced {
		maps.Copy(retries, map[string]any{"maxAttempts": 5, "maxBackoff": "2s", "backoffMultiplier": 4}) // outlasts three seconds
		config["loadBalancingConfig"] = []any{map[string]any{"round_robin": map[string]any{}}}
		config["healthCheckConfig"] = map[string]string{"serviceName": service}
	}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	return string(text)
}
