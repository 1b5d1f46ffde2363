package podium

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const testHeartbeat = 50 * time.Millisecond

// registry is a server of one model, `m`, of whose versions each has one file, `n`, that says its number.
type registry struct {
	podiumv1.UnimplementedRegistryServiceServer
	address     string
	stop        func()
	connections atomic.Int32 // that are open
	opened      atomic.Int32 // that ever were

	mu      sync.Mutex
	number  int64 // that m@champion means
	changed chan struct{}
	silent  bool         // new and old watches say nothing more
	ended   int          // how many watches are to be ended
	full    bool         // downloads fail
	stalls  int          // how many streams of transfers say nothing more once they have begun
	away    bool         // the next question is not answered
	failing []codes.Code // how the next resolutions end
	reached string       // the position that its answers have; one that sorts after it is unknown
	asked   []string     // what resolutions, downloads and watches had to show

	health   *health.Server
	settling time.Duration // of an upload
}

func serve(t *testing.T) *registry {
	t.Helper()
	return serveAt(t, "127.0.0.1:0")
}

func serveAt(t *testing.T, address string) *registry {
	t.Helper()
	r := &registry{number: 1, reached: "9999", changed: make(chan struct{})}
	listener, err := net.Listen("tcp", address)
	must(t, err)
	r.address = listener.Addr().String()
	server := grpc.NewServer(grpc.StatsHandler(r))
	podiumv1.RegisterRegistryServiceServer(server, r)
	r.health = health.NewServer()
	r.serves(healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, r.health)
	go func() { _ = server.Serve(listener) }()
	r.stop = server.Stop
	t.Cleanup(server.Stop)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, r *registry) *Client {
	t.Helper()
	client, err := Dial(r.address, &Options{Cache: cacheFolder(t), Timeout: 5 * time.Second})
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

func (r *registry) serves(status healthpb.HealthCheckResponse_ServingStatus) {
	r.health.SetServingStatus("podium.v1.RegistryService", status)
}

// set changes what the registry is, and wakes its watches.
func (r *registry) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// positionAt sorts as positions do.
func positionAt(number int64) string { return fmt.Sprintf("%04d", number) }

func textOf(number int64) []byte { return fmt.Appendf(nil, "%d", number) }

func digestOf(bytes []byte) string {
	sum := sha256.Sum256(bytes)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func fileOf(number int64) *podiumv1.File {
	size := int64(len(textOf(number)))
	return &podiumv1.File{Path: "n", Digest: digestOf(textOf(number)), SizeBytes: &size}
}

func targetOf(number int64) *podiumv1.Target {
	return &podiumv1.Target{
		Model: "m", ModelUid: "uid", Number: number, Version: fmt.Sprintf("1.0.%d", number),
		Digest: manifestDigest([]*podiumv1.File{fileOf(number)}), Servable: true,
	}
}

// show takes note of what an answer has to show, and refuses what is not in this history.
func (r *registry) show(atLeast string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, atLeast)
	if atLeast <= r.reached {
		return nil
	}
	refusal, err := status.New(codes.OutOfRange, "unknown").WithDetails(
		&errdetails.ErrorInfo{Domain: "podium", Reason: "POSITION_UNKNOWN"})
	if err != nil {
		return err
	}
	return refusal.Err()
}

func (r *registry) ResolveVersion(
	_ context.Context, request *podiumv1.ResolveVersionRequest,
) (*podiumv1.ResolveVersionResponse, error) {
	if err := r.show(request.GetAtLeast()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failing) > 0 {
		code := r.failing[0]
		r.failing = r.failing[1:]
		return nil, status.Error(code, "stopping")
	}
	return &podiumv1.ResolveVersionResponse{Target: targetOf(r.number), Position: r.reached}, nil
}

func (r *registry) Watch(request *podiumv1.WatchRequest, stream grpc.ServerStreamingServer[podiumv1.WatchResponse]) error {
	if err := r.show(request.GetAtLeast()); err != nil {
		return err
	}
	beat := time.NewTicker(testHeartbeat)
	defer beat.Stop()
	first := true
	for said := int64(0); ; first = false {
		r.mu.Lock()
		number, changed, silent := r.number, r.changed, r.silent
		if r.ended > 0 && !first {
			r.ended--
			r.mu.Unlock()
			return status.Error(codes.Unavailable, "stopping")
		}
		r.mu.Unlock()
		message := &podiumv1.WatchResponse{Position: positionAt(number)}
		if first {
			message.HeartbeatInterval = durationpb.New(testHeartbeat)
		}
		if number != said {
			message.Snapshot = true
			message.References = []*podiumv1.Reference{{Target: targetOf(number)}}
		}
		if said = number; !silent {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-beat.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (r *registry) ListFiles(_ context.Context, request *podiumv1.ListFilesRequest) (*podiumv1.ListFilesResponse, error) {
	var number int64
	_, err := fmt.Sscanf(request.GetReference(), "m:%d", &number)
	return &podiumv1.ListFilesResponse{Files: []*podiumv1.File{fileOf(number)}}, err
}

func (r *registry) DownloadArtifact(
	request *podiumv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[podiumv1.DownloadArtifactResponse],
) error {
	if err := r.show(request.GetAtLeast()); err != nil {
		return err
	}
	r.mu.Lock()
	full := r.full
	r.mu.Unlock()
	if full {
		return status.Error(codes.DataLoss, "damaged")
	}
	var number int64
	if _, err := fmt.Sscanf(request.GetReference(), "m:%d", &number); err != nil {
		return err
	}
	file := fileOf(number)
	header := &podiumv1.DownloadArtifactHeader{Number: number, SizeBytes: file.GetSizeBytes(), Digest: file.GetDigest()}
	err := stream.Send(&podiumv1.DownloadArtifactResponse{Content: &podiumv1.DownloadArtifactResponse_Header{Header: header}})
	if err != nil {
		return err
	}
	if r.stall(stream.Context()) {
		return stream.Context().Err()
	}
	chunk := textOf(number)[request.GetOffset():]
	return stream.Send(&podiumv1.DownloadArtifactResponse{Content: &podiumv1.DownloadArtifactResponse_Chunk{Chunk: chunk}})
}

// stall waits for the end of a stream, if that is to say nothing more.
func (r *registry) stall(ctx context.Context) bool {
	r.mu.Lock()
	stalls := r.stalls > 0
	r.stalls--
	r.mu.Unlock()
	if stalls {
		<-ctx.Done()
	}
	return stalls
}

func (r *registry) UploadBlob(stream grpc.ClientStreamingServer[podiumv1.UploadBlobRequest, podiumv1.UploadBlobResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if r.stall(stream.Context()) {
		return stream.Context().Err()
	}
	time.Sleep(r.settling)
	return stream.SendAndClose(&podiumv1.UploadBlobResponse{Complete: true})
}

func (r *registry) FindMissingBlobs(
	ctx context.Context, request *podiumv1.FindMissingBlobsRequest,
) (*podiumv1.FindMissingBlobsResponse, error) {
	r.mu.Lock()
	away := r.away
	r.away = false
	r.mu.Unlock()
	if away {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	reply := &podiumv1.FindMissingBlobsResponse{}
	for _, blob := range request.GetBlobs() {
		reply.Missing = append(reply.Missing, &podiumv1.MissingBlob{Digest: blob.GetDigest()})
	}
	return reply, nil
}

// As a stats.Handler it counts the connections.

func (r *registry) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (r *registry) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (r *registry) HandleRPC(context.Context, stats.RPCStats)                         {}
func (r *registry) HandleConn(_ context.Context, what stats.ConnStats) {
	switch what.(type) {
	case *stats.ConnBegin:
		r.connections.Add(1)
		r.opened.Add(1)
	case *stats.ConnEnd:
		r.connections.Add(-1)
	}
}
