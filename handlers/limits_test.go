package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// TestLoginLimit: wrong passwords run out, right ones do not, and the limit
// passes.
func TestLoginLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 25 {
		b := w.browser()
		if u, _ := b.signIn(b.begin(request("web")), "alice").location(); u.Path != "/consent" {
			t.Fatalf("went to %s", u)
		}
	}
	b := w.browser()
	u, _ := b.begin(request("web")).location()
	try := func(user, pw string) response {
		page := b.get(u.String()).want(200)
		return b.post(u.String(), url.Values{"csrf": {csrf(page)}, "username": {user}, "password": {pw}, "do": {"login"}})
	}
	for range 10 {
		try("alice", "guess").want(200)
	}
	res := try("ALICE", "guess").want(429)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	try("alice", password).want(429) // a right guess tells nothing either
	try("bob", "guess").want(200)    // others are not held back
	w.clock.add(time.Minute)
	if u, _ := try("alice", password).location(); u.Path != "/consent" {
		t.Errorf("went to %s", u)
	}
	if w.events.count("limit.hit") != 2 {
		t.Errorf("%d events", w.events.count("limit.hit"))
	}
}

// TestClientLimit: a client's wrong secrets run out without locking it out.
func TestClientLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
	for range 128 {
		w.call("/token", form, "Authorization", basic("web", "wrong")).want(401)
	}
	w.call("/token", form, "Authorization", basic("web", "wrong")).wantError(429, "temporarily_unavailable")
	w.call("/token", form, "Authorization", basic("web", webSecret)).wantError(400, "invalid_grant")
}

// TestStrangersAreBounded: made-up clients do not buy work without end.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
	for i := range 30 {
		w.call("/token", form, "Authorization", basic("nobody-"+string(rune('a'+i%26))+string(rune('a'+i/26)), "x")).want(401)
	}
	w.call("/token", form, "Authorization", basic("nobody", "x")).wantError(429, "temporarily_unavailable")
	w.call("/token", form, "Authorization", basic("web", webSecret)).wantError(400, "invalid_grant") // others go on
}

// TestPublicClientsAreBounded: so are the rows of clients that prove nothing.
func TestPublicClientsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.Features.Device = true })
	w.clients.change("native", func(c *clientreg.Client) {
		c.GrantTypes = append(c.GrantTypes, "urn:ietf:params:oauth:grant-type:device_code")
	})
	for _, path := range []string{"/par", "/device_authorization"} {
		refused := 0
		for range 1001 {
			if res := w.call(path, request("native")); res.StatusCode == 429 {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("%s: no end", path)
		}
	}
}

// TestUnfinishedSignInsAreLimited: whoever begins sign-ins and ends none fills no
// database; a sign-in that ends does not count, and a pushed request waits.
func TestUnfinishedSignInsAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 20 {
		w.browser().code(request("web"), "alice")
	}
	b := w.browser()
	signedIn := w.browser()
	signedIn.code(request("web"), "alice")
	for n := range 3000 {
		if res := b.begin(request("web")); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("held back at number %d: %d", n, res.StatusCode)
		}
	}
	res := b.begin(request("web")).want(http.StatusTooManyRequests)
	if res.Header.Get("Retry-After") != "1" || !strings.Contains(res.Header.Get("Content-Type"), "text/html") {
		t.Errorf("no page that says when to try again: %v", res.Header)
	}
	signedIn.code(request("web", "prompt", "consent"), "alice") // who is signed in is no stranger
	uri := w.push(request("spa"))
	again := "/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode()
	b.get(again).want(http.StatusTooManyRequests)
	w.clock.add(time.Second)
	if u, _ := b.get(again).location(); u.Path != "/login" {
		t.Errorf("later to %s", u)
	}
	if w.events.count("limit.hit") != 2 {
		t.Errorf("%d events", w.events.count("limit.hit"))
	}
}
