package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxURL       = 2048
	maxAddresses = 8 // of one name that are tried
)

// parse admits a URL that all parsers read alike: https, a plain host, no
// user-info and no fragment.
func (f *Fetcher) parse(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrURL, maxURL)
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`#", c) >= 0 {
			return nil, fmt.Errorf("%w: a character that does not belong in it", ErrURL)
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: does not parse", ErrURL)
	}
	switch {
	case u.Scheme != "https":
		return nil, fmt.Errorf("%w: not https", ErrURL)
	case u.User != nil || strings.Contains(u.Host, "@"):
		return nil, fmt.Errorf("%w: user-info", ErrURL)
	case u.Opaque != "" || u.Host == "":
		return nil, fmt.Errorf("%w: no host", ErrURL)
	}
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") != strings.Contains(host, ":") {
		return nil, fmt.Errorf("%w: brackets", ErrURL)
	}
	if rest := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(u.Host, "["), host), "]"); rest != "" {
		port, err := strconv.ParseUint(strings.TrimPrefix(rest, ":"), 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("%w: port", ErrURL)
		}
	}
	return u, f.checkHost(host)
}

// checkHost admits public addresses in their plain form and full domain names.
func (f *Fetcher) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is4In6() || !f.allowed(addr) {
			return ErrBlocked
		}
		return nil
	}
	if f.loopback && host == "localhost" {
		return nil
	}
	labels := strings.Split(host, ".")
	if len(host) > 253 || len(labels) < 2 {
		// A name of one label is looked up in the search domains of this host.
		return fmt.Errorf("%w: not a full domain name", ErrURL)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%w: not a domain name", ErrURL)
		}
		for i := range len(label) {
			c := label[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("%w: not a domain name", ErrURL)
			}
		}
	}
	// 127.1, 0x7f.1 and 0177.0.0.1 are addresses to some resolvers.
	if c := labels[len(labels)-1][0]; '0' <= c && c <= '9' {
		return fmt.Errorf("%w: neither address nor name", ErrURL)
	}
	return nil
}

// dialContext resolves the host of addr and connects to its first public
// address that answers. http.Transport dials without the deadline of the
// request, and shakes hands without one, so both get it here.
func (f *Fetcher) dialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	deadline := time.Now().Add(f.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := f.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		var conn net.Conn
		conn, err = f.dialOne(ctx, netip.AddrPortFrom(a, uint16(port)), deadline, len(addrs)-i)
		if err == nil {
			return conn, conn.SetDeadline(deadline)
		}
	}
	return nil, err
}

// resolve returns at least one address, all allowed.
func (f *Fetcher) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs := make([]netip.Addr, 1)
	var err error
	if addrs[0], err = netip.ParseAddr(host); err != nil {
		if strings.Contains(host, ".") {
			host += "." // never in the search domains of this host
		}
		if addrs, err = f.lookup(ctx, host); err != nil {
			return nil, err
		}
	}
	var out []netip.Addr
	for _, a := range addrs {
		// Resolvers give A records in the mapped form too.
		if a = a.Unmap(); f.allowed(a) && len(out) < maxAddresses {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, ErrBlocked
	}
	return out, nil
}

// dialOne leaves a fair share of the time to the addresses after this one.
func (f *Fetcher) dialOne(ctx context.Context, addr netip.AddrPort, deadline time.Time, left int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	return f.dial(ctx, addr)
}

// control is asked by the operating system's side of the dialer, with the
// address that the socket is about to connect to.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !f.allowed(addr.Addr()) {
		return ErrBlocked
	}
	return nil
}

func (f *Fetcher) allowed(a netip.Addr) bool {
	return public(a) || f.loopback && a.Zone() == "" && a.Unmap().IsLoopback()
}

// public tells whether an address is globally reachable unicast, after the IANA
// special-purpose address registries (RFC 6890). IPv4 addresses inside IPv6 ones
// (mapped, compatible, NAT64 of RFC 6052 and RFC 8215, 6to4, Teredo) are never
// public: a translator on the way may lead them anywhere.
func public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return false
	}
	prefixes := notPublic6[:]
	if a.Is4() {
		prefixes = notPublic4[:]
	} else if !unicast6.Contains(a) {
		return false
	}
	for _, p := range prefixes {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var notPublic4 = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this network; 0.0.0.0 is this host
	netip.MustParsePrefix("10.0.0.0/8"),       // private
	netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT; metadata of a cloud
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback
	netip.MustParsePrefix("168.63.129.16/32"), // the host of a cloud's machines, in spite of its public look
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local; metadata of most clouds
	netip.MustParsePrefix("172.16.0.0/12"),    // private
	netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments; metadata of a cloud
	netip.MustParsePrefix("192.0.2.0/24"),     // documentation
	netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),   // private
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarking
	netip.MustParsePrefix("198.51.100.0/24"),  // documentation
	netip.MustParsePrefix("203.0.113.0/24"),   // documentation
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, broadcast
}

// unicast6 is all of IPv6 that is given out: not ::/3 with loopback, mapped
// addresses and NAT64, and not the upper half with private, link-local and
// multicast ones.
var unicast6 = netip.MustParsePrefix("2000::/3")

var notPublic6 = [...]netip.Prefix{
	netip.MustParsePrefix("2001::/23"),     // protocol assignments: Teredo, benchmarking, ORCHID
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("2002::/16"),     // 6to4
	netip.MustParsePrefix("3fff::/20"),     // documentation
}
