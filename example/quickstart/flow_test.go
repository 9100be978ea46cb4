package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

const detail = `[{"type":"account_access","actions":["list_accounts","read_balances"],"locations":["https://bank.example/"]}]`

// The whole way of the reference scenario: pushed request, sign-in, consent,
// code, tokens, API, refresh, disconnection by the user, logout.
func TestGoldenFlow(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b, a := newBrowser(r), newApp(r)

	login := a.Begin(b, "authorization_details", detail, "prompt", "consent").Want(200, "Ledger")
	if login.URL.Path != "/login" {
		t.Errorf("login page is at %s", login.URL)
	}
	b.SignIn(login, "alice", "looking-glass").Want(200, "not right")
	b.SignIn(login, "carroll", "wonderland").Want(200, "not right")
	consent := b.SignIn(login, "alice", "wonderland").Want(200, "Alice Liddell", "Use the demo API for you", "Access to your bank accounts",
		"It may: list your accounts, see balances", "At: https://bank.example/")
	form := a.CodeRequest(b.Submit(consent, do("allow")))
	first := a.Tokens(form)

	me := a.Call(http.MethodGet, "/api/me", first.Access).Want(200)
	var who struct {
		Sub      string           `json:"sub"`
		ClientID string           `json:"client_id"`
		Scope    string           `json:"scope"`
		Details  []map[string]any `json:"authorization_details"`
		Time     string           `json:"time"`
	}
	me.Decode(&who)
	if who.Sub != "alice" || who.ClientID != spaClient || who.Scope != "openid offline_access profile email api" || who.Time == "" ||
		len(who.Details) != 1 || who.Details[0]["type"] != "account_access" {
		t.Errorf("api: %s", me.Body)
	}
	if claims := a.UserInfo(first); claims["name"] != "Alice Liddell" || claims["email"] != "alice@example.com" || claims["birthdate"] != "1852-05-04" {
		t.Errorf("userinfo: %v", claims)
	}

	second := a.Refresh(first)
	if second.Refresh == first.Refresh {
		t.Error("the refresh token was not rotated")
	}

	account := b.Get("/account").Want(200, "Ledger", "Alice Liddell", "Use the demo API for you", "Disconnect")
	b.Submit(account, do("revoke")).Want(200, "Ledger</bdi> no longer has access", "No application is connected")
	if again := b.Get("/account"); strings.Contains(again.Body, "no longer") {
		t.Error("the account page says it twice")
	}
	refresh(a, second).WantError(400, "invalid_grant")
	a.Call(http.MethodGet, "/api/me", second.Access).Want(401, "invalid_token")

	if bye := a.LogOut(b, second); bye.Leaves == nil {
		t.Errorf("logout stays: %s", bye)
	}
	b.Get("/account").Want(200, "Sign in")

	for _, secret := range []string{"wonderland", first.Access, first.Refresh, second.Access, second.Refresh, second.ID, form.Get("code_verifier")} {
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
			login := b.Get("/account").Want(200, "Sign in", "Quickstart")
			list := b.SignIn(login, "bob", "wonderland").Want(200, "Bob Builder", "No application is connected")
			if list.URL.String() != r.issuer+"/account" {
				t.Errorf("ended at %s", list.URL)
			}

			b = newBrowser(r)
			home := b.Submit(b.Get("/account"), do("deny")).Want(200, "An OpenID provider")
			if home.URL.String() != r.issuer+"/" {
				t.Errorf("after Cancel at %s", home.URL)
			}
		})
	}
}

func TestAccountRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b, a := newBrowser(r), newApp(r)
	alices := connect(a, b, "alice")
	list := b.Get("/account")

	mallory, theirs := newBrowser(r), newApp(r)
	bobs := connect(theirs, mallory, "bob")
	other := mallory.Get("/account")

	for _, c := range []struct {
		name   string
		b      *handlerstest.Browser
		from   handlerstest.Page
		fields url.Values
		header []string
	}{
		{name: "no csrf", b: b, from: list, fields: url.Values{"csrf": {""}}},
		{name: "wrong csrf", b: b, from: list, fields: url.Values{"csrf": {"AAAA"}}},
		{name: "another browser's form", b: b, from: other},
		{name: "another site", b: b, from: list, header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{name: "no client", b: b, from: list, fields: url.Values{"grant": {""}}},
		{name: "another button", b: b, from: list, fields: do("delete")},
		{name: "signed out", b: newBrowser(r), from: list},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := c.b.In(t).Forge(c.from, c.fields, c.header...).Want(400); strings.Contains(p.Body, "no longer") {
				t.Errorf("disconnected: %s", p)
			}
		})
	}
	t.Run("in the query", func(t *testing.T) {
		f, err := list.Form(do("revoke"))
		if err != nil {
			t.Fatal(err)
		}
		b := b.In(t)
		b.Do(b.Request(http.MethodPost, "/account?grant=x", f.Values.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")).Want(400)
	})
	alices, bobs = a.Refresh(alices), theirs.Refresh(bobs)

	mallory.Submit(mallory.Get("/account"), do("revoke")).Want(200, "no longer")
	a.Refresh(alices)
	refresh(theirs, bobs).WantError(400, "invalid_grant")
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
		if p := newBrowser(r).Get("/account/callback" + query); p.Status != 400 {
			t.Errorf("%s: %s", name, p)
		}
	}
}

// A rotated refresh token stays dead across a restart, and what lives goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir)
	b, a := newBrowser(r), newApp(r)
	first := connect(a, b, "alice")
	live := a.Refresh(a.Refresh(first))
	keys := b.Get("/jwks").Body

	r = r.again(dir)
	if got := b.Get("/jwks").Body; got != keys {
		t.Errorf("keys changed from %s to %s", keys, got)
	}
	a.Call(http.MethodGet, "/api/me", live.Access).Want(200)
	b.Get("/account").Want(200, "Alice Liddell")
	live = a.Refresh(live)

	r.again(dir)
	refresh(a, first).WantError(400, "invalid_grant")
	refresh(a, live).WantError(400, "invalid_grant") // the family after a replay
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
		p, err := ask(newClient(t, r.issuer, nil, false, nil), req)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.Body, "evil.example") {
			t.Errorf("%s: the body names the host of the request", path)
		}
		for name, values := range p.Header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: header %s: %q", path, name, values)
			}
		}
		if to := location(p); to != "" && !strings.HasPrefix(to, "/") {
			t.Errorf("%s: leaves to %s", path, to)
		}
	}
}

// An issuer with a path keeps everything below that path.
func TestIssuerPath(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.Issuer += "/tenant" })
	b := newBrowser(r)
	b.Get("/tenant/").Want(200, `href="/tenant/account"`, `href="/tenant/jwks"`)
	login := b.Get("/tenant/account").Want(200, "Sign in")
	if list := b.SignIn(login, "alice", "wonderland").Want(200, "Alice Liddell"); list.URL.Path != "/tenant/account" {
		t.Errorf("ended at %s", list.URL)
	}
	b.Get("/account").Want(404)
}

// A sign-in by password has the first of acr_values.
func TestACR(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.ACRValues = []string{"urn:example:password", "urn:example:two"} })
	claims := newApp(r).SignIn(newBrowser(r), "alice", "wonderland", "acr_values", "urn:example:two urn:example:password").Claims
	if amr, ok := claims["amr"].([]any); claims["acr"] != "urn:example:password" || !ok || len(amr) != 1 || amr[0] != "pwd" {
		t.Errorf("ID token: %v", claims)
	}
}
