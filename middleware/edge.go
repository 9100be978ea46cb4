package middleware

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Edge reads what the proxies in front of the server say about the client: its
// address and its TLS certificate. Nobody is believed who is not listed, and
// nothing else is read: scheme and host of the request never change, because
// every URL the kit prints comes from its configuration.
//
// The zero value believes nobody and is what a server without a proxy needs.
type Edge struct {
	// TrustedProxies are the addresses that the proxies connect from. List them
	// narrowly: whoever connects from one can claim any address and any
	// certificate.
	TrustedProxies []netip.Prefix

	// Forwarded reads the header Forwarded of RFC 7239 instead of
	// X-Forwarded-For.
	Forwarded bool

	// ClientCertHeader is the header in which the proxies send the client's
	// certificate; they must remove it from what clients send. Empty: none.
	//
	//	Client-Cert              RFC 9440
	//	X-Forwarded-Client-Cert  Envoy, the element's Cert
	//	any other name           URL-encoded PEM (nginx, AWS) or base64 DER
	ClientCertHeader string
}

type edgeKey struct{}

type edge struct {
	addr netip.Addr
	cert *x509.Certificate
}

// Wrap makes RemoteAddr and ClientCert tell what the proxies say to h. The
// certificate header of a peer that is not trusted is removed.
func (e Edge) Wrap(h http.Handler) http.Handler {
	trusted := slices.Clone(e.TrustedProxies)
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	certHeader := http.CanonicalHeaderKey(e.ClientCertHeader)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := peerAddr(r)
		seen := edge{addr: peer}
		inner := r
		switch {
		case isTrusted(peer):
			// The connection's own certificate is the proxy's, never the client's.
			if certHeader != "" {
				seen.cert = headerCert(certHeader, r.Header[certHeader])
			}
			hops := r.Header["X-Forwarded-For"]
			if e.Forwarded {
				hops = r.Header["Forwarded"]
			}
			seen.addr = clientAddr(peer, hops, e.Forwarded, isTrusted)
		default:
			seen.cert = tlsCert(r)
			if _, sent := r.Header[certHeader]; sent {
				inner = r.WithContext(r.Context())
				inner.Header = r.Header.Clone()
				inner.Header.Del(certHeader)
			}
		}
		serve(context.WithValue(r.Context(), edgeKey{}, seen), h, w, inner)
		r.Pattern = inner.Pattern
	})
}

// RemoteAddr returns the client's address: the one that Edge found, else the
// peer's. It is invalid when the peer has none, as on a Unix socket.
func RemoteAddr(r *http.Request) netip.Addr {
	if e, ok := r.Context().Value(edgeKey{}).(edge); ok {
		return e.addr
	}
	return peerAddr(r)
}

func peerAddr(r *http.Request) netip.Addr {
	return parseHop(r.RemoteAddr)
}

// clientAddr walks from the peer towards the client and stops at the first
// address that is not a trusted proxy's: everything left of it was written by
// somebody unknown. It also stops before a hop that cannot be read.
func clientAddr(peer netip.Addr, lines []string, rfc7239 bool, isTrusted func(netip.Addr) bool) netip.Addr {
	joined := strings.Join(lines, ",")
	hops := strings.Split(joined, ",")
	if rfc7239 {
		var ok bool
		if hops, ok = elements(joined, "for"); !ok {
			return peer
		}
	}
	addr := peer
	for _, hop := range slices.Backward(hops) {
		next := parseHop(strings.Trim(hop, " \t"))
		if !next.IsValid() {
			break
		}
		addr = next
		if !isTrusted(next) {
			break
		}
	}
	return addr
}

// parseHop reads an address with or without port or brackets.
func parseHop(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, _ := netip.ParseAddr(s)
	return a.Unmap().WithZone("")
}
