package clientreg

import (
	"slices"
	"strings"
	"testing"
)

// TestMatchRedirectURI has the redirect URI cases of the attack catalogue by
// their ids, and what is like them.
func TestMatchRedirectURI(t *testing.T) {
	t.Parallel()
	web := Client{ID: "web", RedirectURIs: []string{"https://app.example/cb", "https://other.example/x?tenant=1"}}
	dev := Client{ID: "dev", RedirectURIs: []string{"https://localhost:4207", "https://localhost:4207/cb"}}
	native := Client{ID: "native", ApplicationType: "native", RedirectURIs: []string{
		"http://127.0.0.1/cb", "http://[::1]:8000/six", "http://127.0.0.1/q?x=1", "com.example.app:/cb", "https://claimed.example/cb", "http://127.0.0.1",
	}}
	webLoopback := Client{ID: "webloop", RedirectURIs: []string{"http://127.0.0.1/cb"}}
	localNative := Client{ID: "localnative", ApplicationType: "native", AllowLocalhostRedirect: true, RedirectURIs: []string{"http://localhost/cb"}}
	localWeb := Client{ID: "localweb", AllowLocalhostRedirect: true, RedirectURIs: []string{"http://localhost:3000/cb", "http://127.0.0.1:3000/cb"}}
	strictLocal := Client{ID: "strict", ApplicationType: "native", RedirectURIs: []string{"http://localhost/cb"}}
	hostile := Client{ID: "hostile", ApplicationType: "native", RedirectURIs: []string{
		"javascript:alert(1)", "https://app.example/*", "https://app.example/cb#f", "http://app.example/cb", "", "https://app.example\\@x/", "myapp://cb",
	}}
	for _, tc := range []struct {
		name string
		c    Client
		uri  string
		want bool
	}{
		{"registered", web, "https://app.example/cb", true},
		{"registered with query", web, "https://other.example/x?tenant=1", true},
		{"development host", dev, "https://localhost:4207", true},
		{"development host with path", dev, "https://localhost:4207/cb", true},
		{"A03 another origin", web, "https://evil.example/cb", false},
		{"A04 another client's", web, "https://claimed.example/cb", false},
		{"A08 empty", web, "", false},
		{"A10 path suffix", web, "https://app.example/cb/evil", false},
		{"A10 path suffix without slash", web, "https://app.example/cbx", false},
		{"A11 traversal", web, "https://app.example/cb/../evil", false},
		{"A11 traversal back to the same", web, "https://app.example/x/../cb", false},
		{"A11 encoded traversal", web, "https://app.example/cb/%2e%2e/evil", false},
		{"A12 encoded character", web, "https://app.example/%63b", false},
		{"A12 doubled slash", web, "https://app.example//cb", false},
		{"A14 path in other case", web, "https://app.example/CB", false},
		{"A15 host in other case", web, "https://APP.example/cb", false},
		{"A15 scheme in other case", web, "HTTPS://app.example/cb", false},
		{"A16 extra query", web, "https://app.example/cb?x=1", false},
		{"A16 empty query", web, "https://app.example/cb?", false},
		{"A16 query cut", web, "https://other.example/x", false},
		{"A16 query longer", web, "https://other.example/x?tenant=1&y", false},
		{"A17 planted code", web, "https://app.example/cb?code=evil&state=evil&iss=x", false},
		{"A18 fragment", web, "https://app.example/cb#x", false},
		{"A18 empty fragment", web, "https://app.example/cb#", false},
		{"A19 trailing slash", web, "https://app.example/cb/", false},
		{"A19 slash after the host", dev, "https://localhost:4207/", false},
		{"A21 another port", web, "https://app.example:8443/cb", false},
		{"A21 the default port", web, "https://app.example:443/cb", false},
		{"A21 another port in development", dev, "https://localhost:4208/cb", false},
		{"A22 downgraded", web, "http://app.example/cb", false},
		{"A23 host suffix", web, "https://app.example.evil.example/cb", false},
		{"A23 host prefix", web, "https://evilapp.example/cb", false},
		{"A23 trailing dot", web, "https://app.example./cb", false},
		{"A24 good host as user-info", web, "https://app.example@evil.example/cb", false},
		{"A24 good host as user-info with port", web, "https://app.example:443@evil.example/cb", false},
		{"A24 backslash", web, "https://evil.example\\@app.example/cb", false},
		{"A26 user-info", web, "https://user:pw@app.example/cb", false},
		{"A26 empty user-info", web, "https://@app.example/cb", false},
		{"A28 tab inside", web, "https://app.example\t/cb", false},
		{"A28 blank before", web, " https://app.example/cb", false},
		{"A28 blank after", web, "https://app.example/cb ", false},
		{"A31 CR LF", web, "https://app.example/cb\r\nSet-Cookie:%20a=b", false},
		{"A31 encoded CR LF", web, "https://app.example/cb%0d%0aSet-Cookie:%20a=b", false},
		{"A32 NUL", web, "https://app.example/cb\x00", false},
		{"A33 look-alike", web, "https://\u0430pp.example/cb", false},
		{"A34 javascript", web, "javascript:alert(1)//https://app.example/cb", false},
		{"A35 data", web, "data:text/html,<script>alert(1)</script>", false},
		{"A36 scheme-relative", web, "//app.example/cb", false},
		{"A36 relative", web, "/cb", false},
		{"A37 two URIs", web, "https://app.example/cb https://other.example/x?tenant=1", false},
		{"A38 truncated", web, "https://app.example/c", false},

		{"A41 any port", native, "http://127.0.0.1:51004/cb", true},
		{"A41 port 1", native, "http://127.0.0.1:1/cb", true},
		{"A41 port 65535", native, "http://127.0.0.1:65535/cb", true},
		{"A41 no port", native, "http://127.0.0.1/cb", true},
		{"A41 IPv6, another port", native, "http://[::1]:51004/six", true},
		{"A41 IPv6, no port", native, "http://[::1]/six", true},
		{"A41 query stays", native, "http://127.0.0.1:51004/q?x=1", true},
		{"A41 without a path", native, "http://127.0.0.1:51004", true},
		{"A42 loopback host suffix", native, "http://127.0.0.1.evil.example:51004/cb", false},
		{"A42 without port", native, "http://127.0.0.1.evil.example/cb", false},
		{"A42 digits after the address", native, "http://127.0.0.11/cb", false},
		{"A43 address as user-info", native, "http://127.0.0.1:51004@evil.example/cb", false},
		{"A43 address as user-info without port", native, "http://127.0.0.1@evil.example/cb", false},
		{"A43 with an empty port", native, "http://127.0.0.1:@evil.example/cb", false},
		{"A44 port is no number", native, "http://127.0.0.1:evil/cb", false},
		{"A44 empty port", native, "http://127.0.0.1:/cb", false},
		{"A44 port 0", native, "http://127.0.0.1:0/cb", false},
		{"A44 port 65536", native, "http://127.0.0.1:65536/cb", false},
		{"A44 long port", native, "http://127.0.0.1:000051004/cb", false},
		{"A44 leading zero", native, "http://127.0.0.1:080/cb", false},
		{"A44 sign", native, "http://127.0.0.1:+80/cb", false},
		{"A44 two ports", native, "http://127.0.0.1:80:80/cb", false},
		{"A45 another loopback address", native, "http://127.0.0.2:51004/cb", false},
		{"A45 short address", native, "http://127.1:51004/cb", false},
		{"A45 decimal address", native, "http://2130706433:51004/cb", false},
		{"A45 mapped address", native, "http://[::ffff:127.0.0.1]:51004/cb", false},
		{"A45 long IPv6", native, "http://[0:0:0:0:0:0:0:1]:51004/six", false},
		{"A45 IPv6 for IPv4", native, "http://[::1]:51004/cb", false},
		{"A45 localhost for the address", native, "http://localhost:51004/cb", false},
		{"A45 brackets round IPv4", native, "http://[127.0.0.1]:51004/cb", false},
		{"A46 another path", native, "http://127.0.0.1:51004/other", false},
		{"A46 path suffix", native, "http://127.0.0.1:51004/cb/x", false},
		{"A46 path in other case", native, "http://127.0.0.1:51004/CB", false},
		{"A46 traversal", native, "http://127.0.0.1:51004/x/../cb", false},
		{"A46 trailing slash", native, "http://127.0.0.1:51004/", false},
		{"A47 no path at the host suffix", native, "http://127.0.0.1:51004.evil.example", false},
		{"A48 https", native, "https://127.0.0.1:51004/cb", false},
		{"A48 scheme in other case", native, "HTTP://127.0.0.1:51004/cb", false},
		{"A49 fragment", native, "http://127.0.0.1:51004/cb#x", false},
		{"A49 query for path", native, "http://127.0.0.1:51004?/cb", false},
		{"A50 extra query", native, "http://127.0.0.1:51004/cb?x=1", false},
		{"A50 query missing", native, "http://127.0.0.1:51004/q", false},
		{"A50 another query", native, "http://127.0.0.1:51004/q?x=2", false},

		{"private-use scheme", native, "com.example.app:/cb", true},
		{"private-use scheme in other case", native, "COM.example.app:/cb", false},
		{"private-use scheme with slashes", native, "com.example.app:///cb", false},
		{"claimed https", native, "https://claimed.example/cb", true},
		{"claimed https, another port", native, "https://claimed.example:8443/cb", false},

		{"loopback of a web client", webLoopback, "http://127.0.0.1/cb", false},
		{"loopback of a web client, another port", webLoopback, "http://127.0.0.1:51004/cb", false},
		{"localhost, not allowed", strictLocal, "http://localhost/cb", false},
		{"localhost, not allowed, another port", strictLocal, "http://localhost:51004/cb", false},
		{"localhost", localNative, "http://localhost/cb", true},
		{"localhost, another port", localNative, "http://localhost:51004/cb", true},
		{"localhost, host suffix", localNative, "http://localhost.evil.example/cb", false},
		{"localhost, as user-info", localNative, "http://localhost:51004@evil.example/cb", false},
		{"localhost, trailing dot", localNative, "http://localhost.:51004/cb", false},
		{"localhost, in capitals", localNative, "http://LOCALHOST:51004/cb", false},
		{"localhost for an address", localNative, "http://127.0.0.1:51004/cb", false},
		{"localhost of a web client", localWeb, "http://localhost:3000/cb", true},
		{"localhost of a web client, another port", localWeb, "http://localhost:3001/cb", false},
		{"loopback of a development web client", localWeb, "http://127.0.0.1:3000/cb", true},
		{"loopback of a development web client, another port", localWeb, "http://127.0.0.1:3001/cb", false},

		{"unvalidated javascript", hostile, "javascript:alert(1)", false},
		{"unvalidated wildcard", hostile, "https://app.example/*", false},
		{"unvalidated wildcard, used", hostile, "https://app.example/x", false},
		{"unvalidated fragment", hostile, "https://app.example/cb#f", false},
		{"unvalidated http", hostile, "http://app.example/cb", false},
		{"unvalidated empty", hostile, "", false},
		{"unvalidated backslash", hostile, "https://app.example\\@x/", false},
		{"unvalidated scheme", hostile, "myapp://cb", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.c.MatchRedirectURI(tc.uri); got != tc.want {
				t.Errorf("%s: MatchRedirectURI(%q) = %v", tc.c.ID, tc.uri, got)
			}
			if tc.c.MatchPostLogoutRedirectURI(tc.uri) {
				t.Error("a redirect URI is a post-logout one")
			}
			swapped := tc.c
			swapped.RedirectURIs, swapped.PostLogoutRedirectURIs = nil, tc.c.RedirectURIs
			if got := swapped.MatchPostLogoutRedirectURI(tc.uri); got != tc.want {
				t.Errorf("%s: MatchPostLogoutRedirectURI(%q) = %v", tc.c.ID, tc.uri, got)
			}
			if swapped.MatchRedirectURI(tc.uri) {
				t.Error("a post-logout redirect URI is a redirect URI")
			}
		})
	}
}

// TestCutLoopback: the exception is narrow by itself, not only behind the rules
// of registration.
func TestCutLoopback(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		uri, host, rest string
		local           bool
	}{
		{"http://127.0.0.1:51004/cb?x", "127.0.0.1", "/cb?x", false},
		{"http://[::1]?x", "[::1]", "?x", false},
		{"http://127.0.0.1", "127.0.0.1", "", false},
		{"http://localhost:1/", "localhost", "/", true},
		{"http://localhost:1/", "", "", false},
		{"https://127.0.0.1/", "", "", false},
		{"http://127.0.0.1.evil.example/", "", "", false},
		{"http://127.0.0.1:1@evil.example/", "", "", false},
		{"http://127.0.0.1:1.evil.example/", "", "", false},
		{"http://127.0.0.1@evil.example/", "", "", false},
		{"http://127.0.0.1\\evil.example/", "", "", false},
		{"http://127.0.0.1#x", "", "", false},
		{"http://127.0.0.1:/", "", "", false},
		{"http://127.0.0.1:123456/", "", "", false},
		{"http://[::1].evil.example/", "", "", false},
		{"http://localhost.evil.example/", "", "", true},
		{"http://x@127.0.0.1/", "", "", true},
	} {
		c := Client{AllowLocalhostRedirect: tc.local}
		host, rest, ok := c.cutLoopback(tc.uri)
		if host != tc.host || rest != tc.rest || ok != (tc.host != "") {
			t.Errorf("%q: %q, %q, %v", tc.uri, host, rest, ok)
		}
	}
}

// FuzzMatchRedirectURI compares with byte equality: what matches and is not
// equal is http on a loopback literal of a native client, and equal to a
// registered URI once both ports are cut out, found here by another way.
func FuzzMatchRedirectURI(f *testing.F) {
	for _, s := range [][2]string{
		{"https://app.example/cb", "https://app.example/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:51004/cb"},
		{"http://[::1]:8000/cb", "http://[::1]/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:51004@evil.example/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1.evil.example:51004/cb"},
		{"http://localhost/cb", "http://localhost:1/cb"},
		{"com.example.app:/cb", "com.example.app:/cb"},
		{"http://127.0.0.1?x", "http://127.0.0.1:5?x"},
	} {
		f.Add(s[0], s[1], true, false)
		f.Add(s[0], s[1], true, true)
		f.Add(s[0], s[1], false, true)
	}
	f.Fuzz(func(t *testing.T, registered, uri string, native, local bool) {
		c := Client{ID: "c", AllowLocalhostRedirect: local, RedirectURIs: []string{registered}}
		if native {
			c.ApplicationType = "native"
		}
		matched := c.MatchRedirectURI(uri)
		c.PostLogoutRedirectURIs = c.RedirectURIs
		if c.MatchPostLogoutRedirectURI(uri) != matched {
			t.Errorf("%q, %q: the two kinds of redirect URI differ", registered, uri)
		}
		if !matched {
			if registered == uri && c.redirectProblem(uri) == "" {
				t.Errorf("%q does not match itself", uri)
			}
			return
		}
		if strings.ContainsAny(uri, "#\\\r\n\t @*") || uri == "" {
			t.Errorf("%q matched", uri)
		}
		if registered == uri {
			return
		}
		withoutPort := func(s string) (string, bool) {
			for _, origin := range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
				if !strings.HasPrefix(s, origin) || origin == "http://localhost" && !local {
					continue
				}
				rest := s[len(origin):]
				if i := strings.IndexAny(rest, "/?"); i >= 0 {
					return origin + rest[i:], digitsOnly(rest[:i])
				}
				return origin, digitsOnly(rest)
			}
			return "", false
		}
		a, okA := withoutPort(registered)
		b, okB := withoutPort(uri)
		if !native || !okA || !okB || a != b {
			t.Errorf("%q matches %q (native %v, localhost %v)", uri, registered, native, local)
		}
	})
}

// digitsOnly tells whether s is empty, or a colon and digits.
func digitsOnly(s string) bool {
	return s == "" || s[0] == ':' && len(s) > 1 && !slices.ContainsFunc([]byte(s[1:]), func(c byte) bool { return c < '0' || c > '9' })
}
