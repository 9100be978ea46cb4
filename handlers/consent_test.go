package handlers_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// TestConsentIsRemembered per subject and client, until something new is asked.
func TestConsentIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	if _, v := b.allow(b.signIn(b.begin(request("web")), "alice"), "remember", "1").location(); v.Get("code") == "" {
		t.Fatal("no code")
	}
	atClient := func(res response) bool {
		u, _ := res.location()
		return strings.HasPrefix(u.String(), "https://")
	}
	if !atClient(b.begin(request("web"))) {
		t.Error("asked again for the same")
	}
	if atClient(b.begin(request("web", "scope", "openid profile email"))) {
		t.Error("not asked for a new scope")
	}
	if atClient(b.begin(request("web", "prompt", "consent"))) {
		t.Error("not asked although prompt=consent")
	}
	if atClient(b.begin(request("web", "claims", `{"userinfo":{"email":null}}`))) {
		t.Error("not asked for a new claim")
	}
	if atClient(b.begin(request("post", "scope", "openid"))) {
		t.Error("not asked by another client")
	}
	other := w.browser()
	if atClient(other.signIn(other.begin(request("web")), "bob")) {
		t.Error("another user was not asked")
	}
	w.clock.add(366 * 24 * time.Hour)
	if atClient(b.signIn(b.begin(request("web")), "alice")) {
		t.Error("not asked after the consent has expired")
	}
}

func TestConsentNotRememberedIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	b.code(request("web"), "alice")
	if u, _ := b.begin(request("web")).location(); u.Path != "/consent" {
		t.Errorf("went to %s", u)
	}
}

// TestConsentNarrows: the tokens carry what was allowed, no more.
func TestConsentNarrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	_, v := b.allow(b.signIn(b.begin(request("web", "scope", "openid profile email offline_access")), "alice"), "scope", "email").location()
	tok := w.redeem("web", v.Get("code")).want(200)
	if got := tok.str("scope"); got != "openid email" {
		t.Errorf("scope %q", got)
	}
	if tok.str("refresh_token") != "" {
		t.Error("a refresh token without offline_access")
	}
	info := w.userinfo(tok.str("access_token")).want(200).json()
	if info["email"] != "alice@example.org" || info["name"] != nil {
		t.Errorf("UserInfo %v", info)
	}
}

// TestConsentCannotWiden: what was not asked cannot be approved.
func TestConsentCannotWiden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, edit := range map[string][]string{
		"scope":  {"scope", "openid profile email"},
		"detail": {"detail", "0"},
		"junk":   {"detail", "-1"},
	} {
		b := w.browser()
		res := b.allow(b.signIn(b.begin(request("web")), "alice"), edit...)
		if u := res.Header.Get("Location"); strings.Contains(u, "code=") {
			t.Errorf("%s: got a code: %s", name, u)
		}
	}
}

// TestDetails: RFC 9396 from PAR to the token response.
func TestDetails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const asked = `[{"type":"payment","amount":100},{"type":"payment","amount":5}]`
	b := w.browser()
	res := b.signIn(b.begin(request("spa", "authorization_details", asked)), "alice")
	u, _ := res.location()
	page := b.get(u.String()).want(200)
	for _, want := range []string{"Pay up to 100 euros", "Pay up to 5 euros"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	_, v := b.allow(res, "detail", "1").location()
	tok := w.redeem("spa", v.Get("code")).want(200)
	w.redeem("spa", b.code(request("spa", "authorization_details", asked), "alice"), "authorization_details", `[{"type":"payment","amount":101}]`).wantError(400, "invalid_authorization_details")
	got, _ := json.Marshal(tok.json()["authorization_details"])
	if string(got) != `[{"amount":5,"type":"payment"}]` {
		t.Errorf("details %s", got)
	}
	for name, bad := range map[string]string{
		"not JSON": "x", "no array": `{"type":"payment","amount":1}`, "empty": `[]`, "unknown type": `[{"type":"root"}]`,
		"no type": `[{"amount":1}]`, "refused by the type": `[{"type":"payment","amount":-1}]`, "number": `[1]`, "null": `[null]`,
		"duplicate member": `[{"type":"payment","amount":1,"amount":100}]`, "too many": "[" + strings.Repeat(`{"type":"payment","amount":1},`, 16) + `{"type":"payment","amount":1}]`,
	} {
		w.call("/par", request("spa", "authorization_details", bad)).wantError(400, "invalid_authorization_details")
		_ = name
	}
	form, header := auth("web")
	for k, v := range request("web", "authorization_details", asked) {
		form[k] = v
	}
	w.call("/par", form, header...).wantError(400, "invalid_authorization_details") // not registered for the type
}

// TestCustomConsent is a page of the application's own, with every way to end it.
func TestCustomConsent(t *testing.T) {
	t.Parallel()
	page := handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		switch {
		case r.Method == http.MethodGet:
			w.Write([]byte(string(i.CSRF()) + " " + i.Client.ID + " " + i.Account.Name + " " + i.Asked.Scopes[1].Name))
		case r.FormValue("do") == "all":
			i.ApproveAll(w, r, true)
		case r.FormValue("do") == "narrow":
			i.Approve(w, r, handlers.Approval{Details: []json.RawMessage{json.RawMessage(r.FormValue("detail"))}})
		case r.FormValue("do") == "twice":
			i.ApproveAll(w, r, false)
			i.Deny(w, r, nil)
		case r.FormValue("do") == "panic":
			panic("secret of the page")
		default:
			i.Deny(w, r, handlers.ErrAccessDenied)
		}
	})
	w := newWorld(t, func(c *handlers.Config) { c.Consent = page })
	end := func(q url.Values, form url.Values) (*browser, response) {
		b := w.browser()
		u, _ := b.signIn(b.begin(q), "alice").location()
		form.Set("csrf", csrf(b.get(u.String()).want(200)))
		return b, b.post(u.String(), form)
	}
	if _, res := end(request("web"), url.Values{"do": {"deny"}}); res.wantRedirectError(webRedirect, "access_denied") == nil {
		t.Error("deny")
	}
	if _, res := end(request("web"), url.Values{"do": {"twice"}}); res.StatusCode != 303 {
		t.Errorf("twice: %d", res.StatusCode)
	}
	_, res := end(request("web"), url.Values{"do": {"panic"}})
	if res.want(500); strings.Contains(res.body, "secret of the page") {
		t.Error("the panic's text got out")
	}
	for detail, ok := range map[string]bool{
		`{"type":"payment","amount":7}`: true, `{"type":"payment","amount":11}`: false, `{"type":"root"}`: false, `[]`: false,
	} {
		_, res := end(request("spa", "authorization_details", `[{"type":"payment","amount":10}]`), url.Values{"do": {"narrow"}, "detail": {detail}})
		if got := strings.Contains(res.Header.Get("Location"), "code="); got != ok {
			t.Errorf("%s: code %v", detail, got)
		}
	}
	b, res := end(request("web"), url.Values{"do": {"all"}})
	if _, v := res.location(); v.Get("code") == "" {
		t.Error("no code")
	}
	if _, v := b.begin(request("web")).location(); v.Get("code") == "" {
		t.Error("not remembered")
	}
}

// TestFirstParty: the provider's own clients skip consent unless they ask for it.
func TestFirstParty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("web", func(c *clientreg.Client) { c.FirstParty = true })
	b := w.browser()
	if _, v := b.signIn(b.begin(request("web")), "alice").location(); v.Get("code") == "" {
		t.Error("asked for consent")
	}
	if u, _ := b.begin(request("web", "prompt", "consent")).location(); u.Path != "/consent" {
		t.Errorf("went to %s", u)
	}
	w.clients.change("web", func(c *clientreg.Client) { c.Dynamic = true })
	if u, _ := b.begin(request("web")).location(); u.Path != "/consent" {
		t.Errorf("a client that registered itself skipped consent: %s", u)
	}
}

// TestSwitchAccount: somebody else signs in from the consent page.
func TestSwitchAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	u, _ := b.signIn(b.begin(request("web")), "alice").location()
	res := b.post(u.String(), url.Values{"do": {"switch"}, "csrf": {csrf(b.get(u.String()))}})
	_, v := b.allow(b.signIn(res, "bob")).location()
	if c := claims(t, w.redeem("web", v.Get("code")).want(200).str("id_token")); c["sub"] != "sub-bob" {
		t.Errorf("signed in as %v", c["sub"])
	}
}

// TestClaimsParameter: OpenID Connect Core §5.5.
func TestClaimsParameter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	ask := request("web", "scope", "openid", "claims",
		`{"id_token":{"email":{"essential":true},"auth_time":null,"iss":null},"userinfo":{"phone_number":null,"name":null,"password_hash":null}}`)
	tok := w.redeem("web", b.code(ask, "alice")).want(200)
	if info := w.userinfo(tok.str("access_token")).want(200).json(); info["phone_number"] != nil || info["password_hash"] != nil {
		t.Errorf("claims that no scope of the client releases: %v", info)
	}
	w.clients.change("web", func(c *clientreg.Client) { c.Scope += " phone" })
	tok = w.redeem("web", b.code(ask, "alice")).want(200)
	c := claims(t, tok.str("id_token"))
	if c["email"] != "alice@example.org" || c["auth_time"] == nil || c["iss"] != w.issuer || c["name"] != nil {
		t.Errorf("ID token %v", c)
	}
	info := w.userinfo(tok.str("access_token")).want(200).json()
	if info["password_hash"] != nil || info["phone_number"] != "+49 1" || info["name"] != "Alice" || info["email"] != nil || info["iss"] != nil {
		t.Errorf("UserInfo %v", info)
	}
	b.begin(request("web", "prompt", "none", "claims", `{"id_token":{"sub":{"value":"sub-bob"}}}`)).wantRedirectError(webRedirect, "login_required")
}

// TestResource: RFC 8707.
func TestResource(t *testing.T) {
	t.Parallel()
	const a, c = "https://api-a.example", "https://api-c.example/v1"
	w := newWorld(t, func(cfg *handlers.Config) { cfg.APIs = []handlers.API{{Identifier: a}, {Identifier: c, Name: "C"}} })
	b := w.browser()
	q := request("web", "scope", "openid offline_access")
	q["resource"] = []string{a, c}
	tok := w.redeem("web", b.code(q, "alice"), "resource", a).want(200)
	w.userinfo(tok.str("access_token")).wantError(401, "invalid_token") // not meant for the issuer
	if r := w.refresh("web", tok.str("refresh_token")).want(200); r.str("access_token") == "" {
		t.Error("no token")
	} else {
		w.userinfo(r.str("access_token")).want(200) // several were granted, none named: the issuer
	}
	for _, bad := range []string{"https://other.example", "relative", "https://api-a.example#f", "https://api-a.example/"} {
		q := request("web")
		q["resource"] = []string{bad}
		w.browser().begin(q).wantRedirectError(webRedirect, "invalid_target")
	}
	only := request("web", "scope", "openid")
	only["resource"] = []string{a}
	one := w.redeem("web", b.code(only, "alice")).want(200)
	w.userinfo(one.str("access_token")).wantError(401, "invalid_token")
	w.redeem("web", b.code(only, "alice"), "resource", c).wantError(400, "invalid_target")
}

// TestConsentIsForTheAPI: what was remembered for one API is not given for
// another one of the same scopes. RFC 8707 §2.
func TestConsentIsForTheAPI(t *testing.T) {
	t.Parallel()
	const a, c = "https://api-a.example", "https://api-c.example"
	w := newWorld(t, func(cfg *handlers.Config) { cfg.APIs = []handlers.API{{Identifier: a}, {Identifier: c}} })
	b := w.browser()
	ask := func(resources ...string) response {
		q := request("web", "prompt", "none")
		q["resource"] = resources
		return b.begin(q)
	}
	first := request("web")
	first["resource"] = []string{a}
	b.allow(b.signIn(b.begin(first), "alice"), "remember", "1")
	for _, known := range [][]string{nil, {a}} {
		if _, v := ask(known...).location(); v.Get("code") == "" {
			t.Errorf("%v: asked again: %v", known, v)
		}
	}
	ask(c).wantRedirectError(webRedirect, "consent_required")
	ask(a, c).wantRedirectError(webRedirect, "consent_required")
	second := request("web")
	second["resource"] = []string{c}
	b.allow(b.begin(second), "remember", "1")
	if _, v := ask(a, c).location(); v.Get("code") == "" {
		t.Errorf("both were allowed: %v", v)
	}
	// What was allowed at one is not allowed at the other.
	third := request("web", "scope", "openid email")
	third["resource"] = []string{c}
	b.allow(b.begin(third), "remember", "1")
	third.Set("prompt", "none")
	if _, v := b.begin(third).location(); v.Get("code") == "" {
		t.Errorf("email at %s was allowed: %v", c, v)
	}
	third["resource"] = []string{a}
	b.begin(third).wantRedirectError(webRedirect, "consent_required")
	// And what is taken back is taken back everywhere.
	fourth := request("web", "scope", "openid profile", "prompt", "consent")
	b.allow(b.begin(fourth), "scope", "")
	ask(a).wantRedirectError(webRedirect, "consent_required")
}

// TestNarrowedClaims: a claim asked for by name goes with the scope that the
// user refused.
func TestNarrowedClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	q := request("web", "scope", "openid email", "claims", `{"userinfo":{"email":null,"name":null},"id_token":{"email":null}}`)
	_, v := b.allow(b.signIn(b.begin(q), "alice"), "scope", "").location()
	tok := w.redeem("web", v.Get("code")).want(200)
	info := w.userinfo(tok.str("access_token")).want(200).json()
	if info["email"] != nil || info["name"] != "Alice" || claims(t, tok.str("id_token"))["email"] != nil {
		t.Errorf("UserInfo %v", info)
	}
}

// TestRefusedIsForgotten: what is unticked is not given silently afterwards.
func TestRefusedIsForgotten(t *testing.T) {
	t.Parallel()
	for _, remember := range []string{"", "1"} {
		w := newWorld(t)
		b := w.browser()
		q := request("web", "scope", "openid email", "prompt", "consent")
		b.allow(b.signIn(b.begin(q), "alice"), "remember", "1")
		if _, v := b.begin(request("web", "scope", "openid email", "prompt", "none")).location(); v.Get("code") == "" {
			t.Fatal("not remembered")
		}
		b.allow(b.begin(q), "scope", "", "remember", remember)
		b.begin(request("web", "scope", "openid email", "prompt", "none")).wantRedirectError(webRedirect, "consent_required")
		if _, v := b.begin(request("web", "scope", "openid", "prompt", "none")).location(); v.Get("code") == "" {
			t.Error("what was allowed was forgotten too")
		}
	}
}

// TestEssentialACR: OpenID Connect Core §5.5.1.1.
func TestEssentialACR(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	b.code(request("web"), "alice")
	q := request("web", "claims", `{"id_token":{"acr":{"essential":true,"values":["urn:mfa"]}}}`)
	b.begin(request("web", "prompt", "none", "claims", q.Get("claims"))).wantRedirectError(webRedirect, "login_required")
	b.signIn(b.begin(q), "alice").wantRedirectError(webRedirect, "unmet_authentication_requirements")
	if _, v := b.allow(b.begin(request("web", "claims", `{"id_token":{"acr":{"values":["urn:mfa"]}}}`))).location(); v.Get("code") == "" {
		t.Error("a voluntary acr stopped the sign-in")
	}
}

// TestUnservedMetadata: a client that asks for protection which is not there is
// refused, not served without it.
func TestUnservedMetadata(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*clientreg.Client){
		"dpop": func(c *clientreg.Client) { c.DPoPBoundAccessTokens = true },
		"mtls": func(c *clientreg.Client) { c.TLSClientCertificateBoundAccessTokens = true },
		"jar":  func(c *clientreg.Client) { c.RequireSignedRequestObject = true },
		"pair": func(c *clientreg.Client) { c.SubjectType = "pairwise" },
		"jwe":  func(c *clientreg.Client) { c.IDTokenEncryptedResponseAlg = "RSA-OAEP-256" },
		"jarm": func(c *clientreg.Client) { c.AuthorizationSignedResponseAlg = "ES256" },
		"alg":  func(c *clientreg.Client) { c.IDTokenSignedResponseAlg = "PS256" },
		"ui":   func(c *clientreg.Client) { c.UserInfoSignedResponseAlg = "ES256" },
	} {
		w := newWorld(t)
		w.clients.change("web", set)
		w.browser().begin(request("web")).wantPage()
		w.redeem("web", "x").wantError(401, "invalid_client")
		c, _ := w.clients.Client(context.Background(), "web")
		if w.p.Serves(c) == nil {
			t.Errorf("%s: Serves says yes", name)
		}
	}
}

// TestPolicy refuses, in words that fit the endpoint; an outage stays one.
func TestPolicy(t *testing.T) {
	t.Parallel()
	var answer error
	w := newWorld(t, func(c *handlers.Config) {
		c.Policy = func(_ context.Context, d handlers.Decision) error {
			if d.Endpoint == "token" || answer != nil && d.Endpoint == "authorize" {
				return answer
			}
			return nil
		}
	})
	code := w.browser().code(request("web"), "alice")
	for _, tc := range []struct {
		err       error
		authorize string
		status    int
		token     string
	}{
		{errTest, "access_denied", 400, "invalid_grant"},
		{&handlers.Error{Code: "invalid_scope"}, "invalid_scope", 400, "invalid_scope"},
	} {
		answer = tc.err
		w.redeem("web", code).wantError(tc.status, tc.token)
		b := w.browser()
		b.allow(b.signIn(b.begin(request("web")), "alice")).wantRedirectError(webRedirect, tc.authorize)
	}
	answer = context.DeadlineExceeded
	w.redeem("web", code).wantError(503, "temporarily_unavailable")
	answer = nil
	w.redeem("web", code).want(200)
}

// TestLargeRequest: what cannot be stored is the client's fault.
func TestLargeRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	angle := strings.Repeat("<", 1000)
	q := request("spa", "state", angle, "nonce", angle, "login_hint", angle+angle, "acr_values", angle+angle,
		"claims", `{"userinfo":{"`+strings.Repeat("<", 7900)+`":null}}`)
	if _, v := w.browser().signInAndAllow(q).location(); v.Get("state") != angle {
		t.Error("no answer")
	}
	q["resource"] = nil
	for range 20 {
		q.Add("resource", "https://api.example")
	}
	w.call("/par", q).wantError(400, "invalid_target")
}

// signInAndAllow drives a request to its answer.
func (b *browser) signInAndAllow(q url.Values) response {
	return b.allow(b.signIn(b.begin(q), "alice"))
}
