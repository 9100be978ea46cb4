package clientreg

import (
	"slices"
	"strings"

	"github.com/idpkit/idpkit/internal/check"
)

// MatchRedirectURI tells whether uri is one of the client's redirect URIs: byte
// for byte, with nothing decoded, lowered or normalised. RFC 9700 §2.1,
// OpenID Connect Core §3.1.2.1.
//
// One exception, RFC 8252 §7.3: for a native client the port of an http URI
// with the host 127.0.0.1 or [::1] may be any, and with AllowLocalhostRedirect
// that of localhost. What breaks the rules of registration never matches, even
// when a registry that does not validate holds it.
func (c *Client) MatchRedirectURI(uri string) bool { return c.match(c.RedirectURIs, uri) }

// MatchPostLogoutRedirectURI does the same with PostLogoutRedirectURIs.
// OpenID Connect RP-Initiated Logout §3.
func (c *Client) MatchPostLogoutRedirectURI(uri string) bool {
	return c.match(c.PostLogoutRedirectURIs, uri)
}

func (c *Client) match(registered []string, uri string) bool {
	if c.redirectProblem(uri) != "" {
		return false
	}
	return slices.Contains(registered, uri) || c.matchLoopback(registered, uri)
}

func (c *Client) matchLoopback(registered []string, uri string) bool {
	if !c.Native() {
		return false
	}
	host, rest, ok := c.cutLoopback(uri)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(r string) bool {
		h, re, ok := c.cutLoopback(r)
		return ok && h == host && re == rest
	})
}

// cutLoopback splits http://127.0.0.1:51004/cb into the host and what follows
// the port. It looks for the literal hosts at the one place where they may
// stand, and lets nothing but digits stand between host and path.
func (c *Client) cutLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		if host == "localhost" && !c.AllowLocalhostRedirect {
			continue
		}
		rest, ok := strings.CutPrefix(after, host)
		if !ok {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			rest = strings.TrimLeft(port, "0123456789")
			if n := len(port) - len(rest); n == 0 || n > 5 {
				return "", "", false
			}
		}
		if rest == "" || rest[0] == '/' || rest[0] == '?' {
			return host, rest, true
		}
	}
	return "", "", false
}

// redirectProblem says why uri can be no redirect URI of this client, or "".
func (c *Client) redirectProblem(uri string) string {
	if p := check.RedirectURI(uri); p != "" {
		return p
	}
	u, _ := check.ParseURI(uri)
	switch u.Scheme {
	case "https":
		return ""
	case "http":
		return c.httpProblem(u.Host)
	}
	if !c.Native() {
		return "has a private-use scheme and the client is not native"
	}
	return ""
}

// httpProblem: plain http never leaves the machine. RFC 8252 §7.3, §8.3,
// RFC 9700 §2.6, OpenID Connect Registration §2.
func (c *Client) httpProblem(host string) string {
	switch {
	case host == "127.0.0.1" || host == "[::1]":
		if !c.Native() && !c.AllowLocalhostRedirect {
			return "is http on a loopback address and the client is not native"
		}
	case host == "localhost":
		if !c.AllowLocalhostRedirect {
			return "is http on localhost"
		}
	default:
		return "is http"
	}
	return ""
}
