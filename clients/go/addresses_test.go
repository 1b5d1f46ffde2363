package podium

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

func TestAddressesAreAList(t *testing.T) {
	for _, test := range []struct {
		list, want string
		one        bool
	}{
		{"127.0.0.1:7070", "127.0.0.1:7070", true},
		{"grpc://[::1]:7070/", "[::1]:7070", true},
		{"registry:7070", "registry:7070", false},
		{"10.0.0.2:7070,grpc://10.0.0.1:7070", "10.0.0.2:7070,10.0.0.1:7070", false},
		{"a:1,b:2,grpc://a:1,b:2", "a:1,b:2", false},
	} {
		parsed, err := parseAddresses(test.list)
		if err != nil || parsed.String() != test.want || parsed.isOneServer() != test.one {
			t.Error(test, parsed, err)
		}
	}
	for list, wrong := range map[string]string{
		"a:1,": `""`, ",a:1": `""`, "a:1,,b:2": `""`, "a:1, b:2": `" b:2"`, "a:1,b": `"b"`, "a:1,b:65536": `"b:65536"`, "a:1;b:2": `"a:1;b:2"`,
	} {
		if _, err := parseAddresses(list); !errors.Is(err, InvalidArgument) || !strings.HasPrefix(err.Error(), wrong) {
			t.Error(list, err)
		}
	}
}

// client of these addresses, in a list.
func clientOf(t *testing.T, addresses ...string) *Client {
	t.Helper()
	client, err := Dial(strings.Join(addresses, ","), &Options{Cache: cacheFolder(t)})
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

// answers says by which of these servers the next calls are answered.
func answers(t *testing.T, client *Client, servers ...*registry) map[*registry]int {
	t.Helper()
	counts := make(map[*registry]int)
	for range 10 * len(servers) {
		target, err := client.Resolve(soon(t), "m@champion", nil)
		must(t, err)
		counts[servers[target.GetNumber()-1]]++
	}
	return counts
}

// serveTwo has two servers whose champions are versions 1 and 2.
func serveTwo(t *testing.T) (one, other *registry) {
	t.Helper()
	one, other = serve(t), serve(t)
	other.number = 2
	return one, other
}

func TestCallsGoToAllServersThatServe(t *testing.T) {
	one, other := serveTwo(t)
	client := clientOf(t, one.address, other.address, one.address)
	eventually(t, "both answer", func() bool { return len(answers(t, client, one, other)) == 2 })
	if counts := answers(t, client, one, other); counts[one] != counts[other] {
		t.Error(counts)
	}
	if one.opened.Load() != 1 || other.opened.Load() != 1 {
		t.Error("what is there twice counts twice")
	}
	one.serves(healthpb.HealthCheckResponse_NOT_SERVING)
	eventually(t, "it gets no calls", func() bool { return answers(t, client, one, other)[one] == 0 })
	one.serves(healthpb.HealthCheckResponse_SERVING)
	eventually(t, "it gets calls again", func() bool { return answers(t, client, one, other)[one] > 0 })
}

func TestANameThatCannotBeLookedUpIsLeftOut(t *testing.T) {
	one, other := serveTwo(t)
	client := clientOf(t, "no-such-name.invalid:7070", one.address, named(other))
	eventually(t, "both answer", func() bool { return len(answers(t, client, one, other)) == 2 })
}

func TestAnAddressThatTwoNamesLeadToIsOneServer(t *testing.T) {
	one, other := serveTwo(t)
	client := clientOf(t, one.address, named(one), named(other))
	eventually(t, "names were looked up", func() bool { return len(answers(t, client, one, other)) == 2 })
	if one.opened.Load() != 1 {
		t.Error(one.opened.Load())
	}
}

// named is the server's address by a name.
func named(r *registry) string { return strings.Replace(r.address, "127.0.0.1", "localhost", 1) }

func TestWhereNobodyIsThereIsSaidOfAll(t *testing.T) {
	client := clientOf(t, "127.0.0.1:1", "127.0.0.1:2")
	_, err := client.Resolve(soon(t), "m@champion", nil)
	if !errors.Is(err, Unavailable) || !strings.Contains(err.Error(), "no Podium server at 127.0.0.1:1,127.0.0.1:2:") {
		t.Fatal(err)
	}
	first := connectionOf(client)
	if _, err := client.Resolve(soon(t), "m@champion", nil); !errors.Is(err, Unavailable) || connectionOf(client) != first {
		t.Error("it connects anew, to the same", err)
	}
}

func TestACallThatFindsNobodyLooksNamesUpAgain(t *testing.T) {
	one := serveAt(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(one.address)
	other := serveAt(t, "127.0.0.2:"+port)
	other.number = 2
	names := serveNames(t)
	for _, address := range []string{"registry.test:" + port, "nowhere.test:" + port + ",registry.test:" + port} {
		names.lead("registry.test.", "127.0.0.1")
		client := clientOf(t, address)
		if counts := answers(t, client, one, other); counts[other] > 0 {
			t.Error(counts)
		}
		names.lead("registry.test.", "127.0.0.2")
		one.serves(healthpb.HealthCheckResponse_NOT_SERVING)
		eventually(t, "it does not serve", func() bool { return connectionOf(client).isAway() })
		if counts := answers(t, client, one, other); counts[one] > 0 {
			t.Error(counts)
		}
		one.serves(healthpb.HealthCheckResponse_SERVING)
	}
}

func TestWhatAServerThatStopsDidNotBeginIsRepeated(t *testing.T) {
	one, other := serve(t), serve(t)
	for _, client := range []*Client{clientOf(t, one.address), clientOf(t, one.address, other.address)} {
		one.set(func() { one.failing = []codes.Code{codes.Canceled} })
		other.set(func() { other.failing = []codes.Code{codes.Unavailable} })
		large := strings.Repeat("m", 3<<20) // which gRPC would not repeat by itself
		if _, err := client.Resolve(soon(t), large, nil); err != nil {
			t.Error(client.transport.address, err)
		}
	}
}

func TestACallWithoutAnAnswerIsTheLastOfItsConnection(t *testing.T) {
	r := serve(t)
	client, err := Dial(r.address, &Options{Cache: cacheFolder(t), Timeout: 100 * time.Millisecond})
	must(t, err)
	t.Cleanup(client.Close)
	r.set(func() { r.away = true })
	if _, err := client.Stub().FindMissingBlobs(soon(t), &podiumv1.FindMissingBlobsRequest{}); !errors.Is(err, Unavailable) {
		t.Fatal(err)
	}
	_ = answers(t, client, r)
	if r.opened.Load() != 2 {
		t.Fatal(r.opened.Load())
	}
}

func TestWhatAClientHasSeenEveryServerHasToShow(t *testing.T) {
	r := serve(t)
	r.reached = positionAt(7)
	client := dial(t, r)
	resolve := func(atLeast string) error {
		_, err := client.Resolve(soon(t), "m@champion", &ResolveOptions{AtLeast: atLeast})
		return err
	}
	must(t, resolve(""))
	must(t, resolve(""))
	must(t, resolve("0005"))
	client.transport.session.see("0006") // overtaken
	must(t, resolve(""))
	stream, err := client.Stub().Watch(soon(t), &podiumv1.WatchRequest{})
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	if want := []string{"", "0007", "0005", "0007", ""}; !slices.Equal(r.asked, want) {
		t.Error(r.asked, want)
	}

	r.set(func() { r.asked, r.reached = nil, positionAt(3) }) // an older copy of its history
	if err := resolve("0007"); !errors.Is(err, OutOfRange) {
		t.Error(err)
	}
	must(t, resolve(""))
	must(t, resolve(""))
	if want := []string{"0007", "0007", "", "0003"}; !slices.Equal(r.asked, want) {
		t.Error(r.asked, want)
	}
}

func TestAWatchShowsWhatTheClientHasSeen(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	client.transport.session.see("0004")
	if restored(t, client) {
		t.Error("nothing was cut")
	}
	r.set(func() { r.reached, r.number = "0002", 2 })
	client.transport.session.forget("0001") // which the watch said
	client.transport.session.see("0004")
	if !restored(t, client) {
		t.Error("history was cut")
	}
	if want := []string{"0004", "0004", ""}; !slices.Equal(r.asked, want) {
		t.Error(r.asked, want)
	}
	if seen := client.transport.session.position(); seen != "0002" {
		t.Error(seen)
	}
}

// restored says whether the first snapshot of another watch is.
func restored(t *testing.T, client *Client) bool {
	t.Helper()
	watch, err := client.Watch([]string{"m@champion"}, nil)
	must(t, err)
	for step, err := range watch.Steps(soon(t)) {
		must(t, err)
		return step.(*Snapshot).Restored
	}
	return false
}

func TestAFollowerBeginsWithTheNewestThatIsKnown(t *testing.T) {
	r := serve(t)
	client := dial(t, r)
	follower := followed(t, client)
	follower.Close()
	client.transport.session.see("0008")
	r.set(func() { r.asked = nil })
	followed(t, client).Close()
	if r.asked[0] != "0008" {
		t.Error(r.asked)
	}
	other := dial(t, r)
	other.cache = client.cache
	r.set(func() { r.asked = nil })
	followed(t, other).Close()
	if r.asked[0] == "" || r.asked[0] == "0008" {
		t.Error(r.asked)
	}
}

func TestAStreamOfAServerThatGoesAwayGoesOnAtAnother(t *testing.T) {
	one, other := serveTwo(t)
	client := clientOf(t, one.address, other.address)
	watch, err := client.Watch([]string{"m@champion"}, nil)
	must(t, err)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var seen []int64
	for step, err := range watch.Steps(ctx) {
		must(t, err)
		number := step.(*Snapshot).References[0].GetTarget().GetNumber()
		seen = append(seen, number)
		if len(seen) == 2 {
			break
		}
		[]*registry{one, other}[number-1].stop()
	}
	if seen[0] == seen[1] {
		t.Error(seen)
	}
}
