package main

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const detail = `[{"type":"account_access","actions":["list_accounts","read_balances"],"locations":["https://bank.example/"]}]`

// The whole way of the reference scenario: pushed request, sign-in, consent,
// code, tokens, API, refresh, disconnection by the user, logout.
func TestGoldenFlow(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b, a := newBrowser(r), newApp(r)

	login := b.get(a.push(url.Values{"authorization_details": {detail}}))
	has(t, "login page", login, 200, "Ledger")
	if !strings.HasPrefix(login.url, r.issuer+"/login?") {
		t.Errorf("login page is at %s", login.url)
	}
	has(t, "wrong password", b.signIn(login, "alice", "looking-glass"), 200, "not right")
	has(t, "unknown user", b.signIn(login, "carroll", "wonderland"), 200, "not right")
	consent := b.signIn(login, "alice", "wonderland")
	has(t, "consent page", consent, 200, "Alice Liddell", "Use the demo API for you", "Access to your bank accounts",
		"It may: list your accounts, see balances", "At: https://bank.example/")
	done := b.press(consent, "allow", nil)
	has(t, "answer", done, 303)
	a.redeem(done.location)

	me := a.ask(http.MethodGet, "/api/me", nil, a.Access)
	has(t, "api", me, 200)
	if got := me.header.Get("Access-Control-Allow-Origin"); got != spaOrigin {
		t.Errorf("api: Access-Control-Allow-Origin %q", got)
	}
	var who struct {
		Sub      string           `json:"sub"`
		ClientID string           `json:"client_id"`
		Scope    string           `json:"scope"`
		Details  []map[string]any `json:"authorization_details"`
		Time     string           `json:"time"`
	}
	decode(t, me.body, &who)
	if who.Sub != "alice" || who.ClientID != spaClient || who.Scope != "openid offline_access profile email api" || who.Time == "" ||
		len(who.Details) != 1 || who.Details[0]["type"] != "account_access" {
		t.Errorf("api: %s", me.body)
	}
	has(t, "userinfo", a.ask(http.MethodGet, "/userinfo", nil, a.Access), 200, `"name":"Alice Liddell"`, `"email":"alice@example.com"`, `"birthdate":"1852-05-04"`)

	old := a.Refresh
	has(t, "refresh", a.refresh(a.Refresh), 200)
	if a.Refresh == old {
		t.Error("the refresh token was not rotated")
	}

	account := b.get("/account")
	has(t, "account page", account, 200, "Ledger", "Alice Liddell", "Use the demo API for you", "Disconnect")
	after := b.press(account, "revoke", nil)
	has(t, "account page after", after, 200, "Ledger</bdi> no longer has access", "No application is connected")
	if again := b.get("/account"); strings.Contains(again.body, "no longer") {
		t.Error("the account page says it twice")
	}
	has(t, "refresh after disconnection", a.refresh(a.Refresh), 400, "invalid_grant")
	has(t, "api after disconnection", a.ask(http.MethodGet, "/api/me", nil, a.Access), 401, "invalid_token")

	bye := b.get("/logout?" + url.Values{"id_token_hint": {a.ID}, "post_logout_redirect_uri": {spaRedirect}, "state": {"s"}}.Encode())
	has(t, "logout", bye, 303)
	if bye.location != spaRedirect+"?state=s" {
		t.Errorf("logout goes to %s", bye.location)
	}
	has(t, "after logout", b.get("/account"), 200, "Sign in")

	for _, secret := range []string{"wonderland", a.Access, a.Refresh, old, a.ID, a.verifier} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds %.12s…", secret)
		}
	}
}

// Whoever is not signed in at /account signs in and comes back.
func TestAccountSignIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*config)
	}{
		{"direct requests allowed", func(*config) {}},
		{"pushed requests required", func(c *config) { c.RequirePAR = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, t.TempDir(), c.change)
			b := newBrowser(r)
			login := b.get("/account")
			has(t, "login page", login, 200, "Sign in", "Quickstart")
			list := b.signIn(login, "bob", "wonderland")
			has(t, "account page", list, 200, "Bob Builder", "No application is connected")
			if list.url != r.issuer+"/account" {
				t.Errorf("ended at %s", list.url)
			}

			b = newBrowser(r)
			home := b.press(b.get("/account"), "deny", nil)
			if has(t, "home", home, 200, "An OpenID provider"); home.url != r.issuer+"/" {
				t.Errorf("after Cancel at %s", home.url)
			}
		})
	}
}

func TestAccountRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b, a := newBrowser(r), newApp(r)
	a.redeem(b.press(b.signIn(b.get(a.push(nil)), "alice", "wonderland"), "allow", nil).location)
	list := b.get("/account")

	mallory, theirs := newBrowser(r), newApp(r)
	theirs.redeem(mallory.press(mallory.signIn(mallory.get(theirs.push(nil)), "bob", "wonderland"), "allow", nil).location)
	other := mallory.get("/account")

	for _, c := range []struct {
		name   string
		b      *browser
		from   page
		fields url.Values
		change func(*http.Request)
		status int
	}{
		{"no csrf", b, list, url.Values{"csrf": {""}}, nil, 400},
		{"wrong csrf", b, list, url.Values{"csrf": {"AAAA"}}, nil, 400},
		{"another browser's form", b, other, nil, nil, 400},
		{"another site", b, list, nil, func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://evil.example")
		}, 400},
		{"no client", b, list, url.Values{"grant": {""}}, nil, 400},
		{"another button", b, list, url.Values{"do": {"delete"}}, nil, 400},
		{"in the query", b, list, nil, func(r *http.Request) { r.URL.RawQuery = "grant=x" }, 400},
		{"signed out", newBrowser(r), list, nil, nil, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*http.Request)
			if c.change != nil {
				change = append(change, c.change)
			}
			if p := c.b.press(c.from, "revoke", c.fields, change...); p.status != c.status || strings.Contains(p.body, "no longer") {
				t.Errorf("status %d, want %d: %s", p.status, c.status, p.body)
			}
		})
	}
	has(t, "refresh of alice", a.refresh(a.Refresh), 200)
	has(t, "refresh of bob", theirs.refresh(theirs.Refresh), 200)

	has(t, "disconnect", mallory.press(mallory.get("/account"), "revoke", nil), 200, "no longer")
	has(t, "refresh of alice after bob's disconnection", a.refresh(a.Refresh), 200)
	has(t, "refresh of bob after it", theirs.refresh(theirs.Refresh), 400, "invalid_grant")
}

func TestAccountCallbackRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	iss := url.QueryEscape(r.issuer)
	for name, query := range map[string]string{
		"nothing":                         "",
		"state without a sign-in":         "?code=x&state=y&iss=" + iss,
		"empty state":                     "?code=x&state=&iss=" + iss,
		"denied for nobody":               "?error=access_denied&iss=" + iss,
		"an answer of another provider's": "?code=x&state=y&iss=https%3A%2F%2Fevil.example",
	} {
		if p := newBrowser(r).get("/account/callback" + query); p.status != 400 {
			t.Errorf("%s: status %d", name, p.status)
		}
	}
}

// A rotated refresh token stays dead across a restart, and what lives goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir)
	b, a := newBrowser(r), newApp(r)
	a.redeem(b.press(b.signIn(b.get(a.push(nil)), "alice", "wonderland"), "allow", nil).location)
	first := a.Refresh
	has(t, "refresh", a.refresh(first), 200)
	second := a.Refresh
	has(t, "second refresh", a.refresh(second), 200)
	keys := b.get("/jwks").body

	r = r.again(dir)
	if got := b.get("/jwks").body; got != keys {
		t.Errorf("keys changed from %s to %s", keys, got)
	}
	has(t, "api", a.ask(http.MethodGet, "/api/me", nil, a.Access), 200)
	has(t, "session", b.get("/account"), 200, "Alice Liddell")
	live := a.Refresh
	has(t, "refresh after restart", a.refresh(live), 200)

	r.again(dir)
	has(t, "replay of the first", a.refresh(first), 400, "invalid_grant")
	has(t, "the family after a replay", a.refresh(a.Refresh), 400, "invalid_grant")
}

// What a page or document says comes from the configuration, never from the
// request.
func TestHostHeader(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	for _, path := range []string{"/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/account", "/authorize", "/login", "/logout", "/api/me"} {
		req, err := http.NewRequest(http.MethodGet, r.issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.example"
		for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "Forwarded", "X-Forwarded-Prefix"} {
			req.Header.Set(h, "host=evil.example;for=evil.example")
		}
		b := newBrowser(r)
		b.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		p := b.do(req)
		if strings.Contains(p.body, "evil.example") {
			t.Errorf("%s: the body names the host of the request", path)
		}
		for name, values := range p.header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: header %s: %q", path, name, values)
			}
		}
		if p.location != "" && !strings.HasPrefix(p.location, "/") {
			t.Errorf("%s: leaves to %s", path, p.location)
		}
	}
}

// An issuer with a path keeps everything below that path.
func TestIssuerPath(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.Issuer += "/tenant" })
	b := newBrowser(r)
	has(t, "landing page", b.get("/tenant/"), 200, `href="/tenant/account"`, `href="/tenant/jwks"`)
	login := b.get("/tenant/account")
	has(t, "login page", login, 200, "Sign in")
	if list := b.signIn(login, "alice", "wonderland"); list.url != r.issuer+"/tenant/account" || !strings.Contains(list.body, "Alice Liddell") {
		t.Errorf("ended at %s:\n%s", list.url, list.body)
	}
	has(t, "outside", b.get("/account"), 404)
}

// A sign-in by password has the first of acr_values.
func TestACR(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.ACRValues = []string{"urn:example:password", "urn:example:two"} })
	b, a := newBrowser(r), newApp(r)
	consent := b.signIn(b.get(a.push(url.Values{"acr_values": {"urn:example:two urn:example:password"}})), "alice", "wonderland")
	a.redeem(b.press(consent, "allow", nil).location)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(a.ID, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		ACR string   `json:"acr"`
		AMR []string `json:"amr"`
	}
	decode(t, string(payload), &claims)
	if claims.ACR != "urn:example:password" || len(claims.AMR) != 1 || claims.AMR[0] != "pwd" {
		t.Errorf("ID token: %s", payload)
	}
}
