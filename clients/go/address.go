package podium

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultAddress = "127.0.0.1:7070"
	maxActorBytes  = 256
)

var (
	addressForm = regexp.MustCompile(`^(?:grpc://)?((?:[^\s/:@\[\]]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5}))/?$`)
	unprintable = regexp.MustCompile(`[^ -~]`)
)

// addresses are those of the servers of one registry, each `host:port`. ADDRESSES.md is the contract.
type addresses []string

// parseAddresses takes a list with commas, of which what is there twice counts once.
func parseAddresses(list string) (addresses, error) {
	var parsed addresses
	for url := range strings.SplitSeq(list, ",") {
		address, err := parseAddress(url)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(parsed, address) {
			parsed = append(parsed, address)
		}
	}
	return parsed, nil
}

func (a addresses) String() string { return strings.Join(a, ",") }

// isOneServer says whether this is one server for sure: a name may lead to several.
func (a addresses) isOneServer() bool {
	_, notNumeric := netip.ParseAddrPort(a[0])
	return len(a) == 1 && notNumeric == nil
}

// isProxied says whether a proxy that the environment names leads to this one server, and looks its name up.
func (a addresses) isProxied() bool {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: a[0]}})
	return len(a) == 1 && (proxy != nil || err != nil)
}

// parseAddress returns the `host:port` of `host:port` or `grpc://host:port`.
func parseAddress(url string) (string, error) {
	found := addressForm.FindStringSubmatch(url)
	if found != nil {
		if port, _ := strconv.Atoi(found[2]); port <= 65_535 {
			return found[1], nil
		}
	}
	return "", errorf(InvalidArgument, "%q is not the address of a Podium server: use HOST:PORT or grpc://HOST:PORT", url)
}

// userName says who runs this process: the number of the user if it has no name, as in many containers.
func userName() string {
	if known, err := user.Current(); err == nil && known.Username != "" {
		return known.Username
	}
	return strconv.Itoa(os.Getuid())
}

// defaultActor is `user@host`, in the characters that metadata can carry.
func defaultActor() string {
	host, _ := os.Hostname()
	actor := unprintable.ReplaceAllString(fmt.Sprintf("%s@%s", userName(), host), "?")
	return actor[:min(len(actor), maxActorBytes)]
}

func checkActor(actor string) error {
	if len(actor) == 0 || len(actor) > maxActorBytes || unprintable.MatchString(actor) {
		return errorf(InvalidArgument, "%q cannot be an actor: 1 to %d printable ASCII characters", actor, maxActorBytes)
	}
	return nil
}
