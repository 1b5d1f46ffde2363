package podium

import (
	"net/url"
	"slices"
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"
)

// lookups has each address of a list looked up by gRPC's own resolver, and gives what they lead to as the servers of one
// registry. One that cannot be looked up is left out.
type lookups struct {
	addresses addresses
	cc        resolver.ClientConn
	resolvers []resolver.Resolver

	mu      sync.Mutex
	servers [][]resolver.Endpoint // by address
}

// Scheme and Build make a list of addresses a resolver.Builder, for one channel.

func (addresses) Scheme() string { return "podium" }

func (a addresses) Build(_ resolver.Target, cc resolver.ClientConn, options resolver.BuildOptions) (resolver.Resolver, error) {
	all := &lookups{addresses: a, cc: cc, servers: make([][]resolver.Endpoint, len(a))}
	for index, address := range a {
		target := resolver.Target{URL: url.URL{Scheme: "dns", Path: "/" + address}}
		one, err := resolver.Get("dns").Build(target, lookup{cc, all, index}, options)
		if err != nil {
			all.Close()
			return nil, err
		}
		all.resolvers = append(all.resolvers, one)
	}
	return all, nil
}

// found, under the lock, is what was found so far; what two addresses lead to, once.
func (l *lookups) found() []resolver.Endpoint {
	var found []resolver.Endpoint
	known := resolver.NewEndpointMap[bool]()
	for _, server := range slices.Concat(l.servers...) {
		if _, is := known.Get(server); !is {
			known.Set(server, true)
			found = append(found, server)
		}
	}
	return found
}

func (l *lookups) ResolveNow(options resolver.ResolveNowOptions) {
	for _, one := range l.resolvers {
		one.ResolveNow(options)
	}
}

func (l *lookups) Close() {
	for _, one := range l.resolvers {
		one.Close()
	}
}

// lookup is what the resolver of one address takes for the channel.
type lookup struct {
	resolver.ClientConn
	all   *lookups
	index int
}

func (l lookup) UpdateState(state resolver.State) error {
	for _, server := range state.Endpoints {
		for index := range server.Addresses {
			server.Addresses[index].ServerName = l.all.addresses[l.index] // in its calls, whatever else is in the list
		}
	}
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.all.servers[l.index] = state.Endpoints
	err := l.all.cc.UpdateState(resolver.State{Endpoints: l.all.found()})
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
		l.all.cc.ReportError(err)
	}
}
