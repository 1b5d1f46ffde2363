package podium

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a server of the domain name system that everything in this process asks. Each name leads to one address or none.
type names struct {
	mu    sync.Mutex
	leads map[string]netip.Addr
}

func serveNames(t *testing.T) *names {
	t.Helper()
	n := &names{leads: make(map[string]netip.Addr)}
	listener, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	go n.serve(listener)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", listener.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		listener.Close()
	})
	return n
}

func (n *names) lead(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leads[name] = netip.MustParseAddr(address)
}

func (n *names) serve(listener net.PacketConn) {
	packet := make([]byte, 1500)
	for {
		count, from, err := listener.ReadFrom(packet)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(packet[:count]) != nil {
			continue
		}
		n.answer(&message)
		if packed, err := message.Pack(); err == nil {
			_, _ = listener.WriteTo(packed, from)
		}
	}
}

func (n *names) answer(message *dnsmessage.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := message.Questions[0]
	address, known := n.leads[asked.Name.String()]
	message.Response, message.Additionals = true, nil
	switch {
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	case asked.Type == dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: asked.Class}, Body: &dnsmessage.AResource{A: address.As4()},
		}}
	}
}
