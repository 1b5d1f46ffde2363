package podium

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"
)

// lookups has each of several addresses looked up by gRPC's own resolver, and gives what they lead to as the servers of one
// registry. One that cannot be looked up is left out. It builds the resolver of one channel.
type lookups struct {
	addresses addresses
	resolvers atomic.Pointer[resolvers]

	mu      sync.Mutex
	servers [][]resolver.Endpoint // by address
}

// resolvers are one for each address.
type resolvers []resolver.Resolver

func newLookups(of addresses) *lookups {
	return &lookups{addresses: of, servers: make([][]resolver.Endpoint, len(of))}
}

func (*lookups) Scheme() string { return "podium" }

func (l *lookups) Build(_ resolver.Target, cc resolver.ClientConn, options resolver.BuildOptions) (resolver.Resolver, error) {
	var built resolvers
	for index, address := range l.addresses {
		target := resolver.Target{URL: url.URL{Scheme: "dns", Path: "/" + address}}
		one, err := resolver.Get("dns").Build(target, lookup{cc, l, index}, options)
		if err != nil {
			built.Close()
			return nil, err
		}
		built = append(built, one)
	}
	l.resolvers.Store(&built)
	return built, nil
}

func (r resolvers) ResolveNow(options resolver.ResolveNowOptions) {
	for _, one := range r {
		one.ResolveNow(options)
	}
}

func (r resolvers) Close() {
	for _, one := range r {
		one.Close()
	}
}

// again looks up the names for which that was not done for 30 s, while calls go on with what is known.
func (l *lookups) again() {
	if built := l.resolvers.Load(); built != nil {
		built.ResolveNow(resolver.ResolveNowOptions{})
	}
}

// found, under the lock, is what was found so far; what two addresses lead to, once.
func (l *lookups) found() []resolver.Endpoint {
	var found []resolver.Endpoint
	for _, server := range slices.Concat(l.servers...) {
		if !leadsTo(found, server.Addresses[0].Addr) {
			found = append(found, server)
		}
	}
	return found
}

func leadsTo(servers []resolver.Endpoint, place string) bool {
	return slices.ContainsFunc(servers, func(server resolver.Endpoint) bool { return server.Addresses[0].Addr == place })
}

// leadElsewhere says whether an address leads to a server now that was not found when it was looked up.
func (l *lookups) leadElsewhere(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	l.mu.Lock()
	known := l.found()
	l.mu.Unlock()
	for _, address := range l.addresses {
		host, port, _ := net.SplitHostPort(address)
		places, _ := net.DefaultResolver.LookupHost(ctx, host)
		if slices.ContainsFunc(places, func(place string) bool { return !leadsTo(known, net.JoinHostPort(place, port)) }) {
			return true
		}
	}
	return false
}

// lookup is what the resolver of one address takes for the channel.
type lookup struct {
	resolver.ClientConn
	all   *lookups
	index int
}

func (l lookup) UpdateState(state resolver.State) error {
	for _, server := range state.Endpoints {
		server.Addresses[0].ServerName = l.all.addresses[l.index] // in its calls, whatever else is in the list
	}
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.all.servers[l.index] = state.Endpoints
	err := l.ClientConn.UpdateState(resolver.State{Endpoints: l.all.found()})
	if len(state.Endpoints) == 0 { // no such name, yet: it is looked up again
		return balancer.ErrBadResolverState
	}
	return err
}

// ReportError keeps what the address led to before.
func (l lookup) ReportError(err error) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if len(l.all.found()) == 0 {
		l.ClientConn.ReportError(err)
	}
}
