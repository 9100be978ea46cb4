package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

// TestGoldenTrace is the reference scenario, row by row, as an Angular app with
// angular-auth-oidc-client goes through it.
func TestGoldenTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.SigningAlgs = nil })
	b := w.browser()
	spa := []string{"Origin", spaOrigin}

	// 1: the preflight of the pushed request needs no client.
	r, _ := http.NewRequest("OPTIONS", w.abs("/par"), nil)
	r.Header.Set("Origin", spaOrigin)
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "content-type")
	pre := w.bare().do(r).want(204)
	for k, v := range map[string]string{
		"Access-Control-Allow-Origin": spaOrigin, "Access-Control-Max-Age": "3600", "Access-Control-Allow-Credentials": "",
	} {
		if got := pre.Header.Get(k); got != v {
			t.Errorf("row 1: %s is %q, want %q", k, got, v)
		}
	}
	if !strings.Contains(pre.Header.Get("Access-Control-Allow-Methods"), "POST") || !strings.Contains(strings.ToLower(pre.Header.Get("Access-Control-Allow-Headers")), "content-type") ||
		!strings.Contains(pre.Header.Get("Vary"), "Origin") {
		t.Errorf("row 1: %v", pre.Header)
	}

	// 2: the push.
	q := request("spa", "scope", "openid profile offline_access", "prompt", "consent")
	par := w.call("/par", q, spa...).want(201)
	uri := par.str("request_uri")
	if par.json()["expires_in"] != 60.0 || !regexp.MustCompile(`^urn:ietf:params:oauth:request_uri:[\w-]{43,}$`).MatchString(uri) ||
		par.Header.Get("Cache-Control") != "no-store" || par.Header.Get("Access-Control-Allow-Origin") != spaOrigin {
		t.Errorf("row 2: %s %v", par.body, par.Header)
	}

	// 3: parameters beside the request_uri are ignored.
	authorizeURL := "/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}, "state": {"EVIL"}, "scope": {"email"}}.Encode()
	res := b.get(authorizeURL)
	login, _ := res.location()
	if login.Path != "/login" {
		t.Fatalf("row 3: to %s", login)
	}
	for _, c := range res.Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
			t.Errorf("row 3: cookie %v", c)
		}
	}

	// 4: the application's page would read the same as the built-in one shows.
	if page := b.get(login.String()).want(200); !strings.Contains(page.body, "The App") {
		t.Errorf("row 4: the page does not name the client")
	}

	// 5: after the login a new interaction asks for consent.
	res = b.signIn(res, "alice")
	consent, _ := res.location()
	if consent.Path != "/consent" || consent.Query().Get("interaction") == login.Query().Get("interaction") {
		t.Fatalf("row 5: to %s", consent)
	}
	page := b.get(consent.String()).want(200)
	for _, want := range []string{"The App", "offline_access", `value="profile"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("row 5: the page lacks %q", want)
		}
	}
	if strings.Contains(page.body, `value="email"`) {
		t.Error("row 5: the stray scope reached the page")
	}

	// 6: consent leads to the code; the session has a new cookie.
	answer, v := b.allow(res).location()
	if answer.Scheme+"://"+answer.Host+answer.Path != spaRedirect || v.Get("state") != "state-1" || v.Get("iss") != w.issuer || v.Get("code") == "" {
		t.Fatalf("row 6: %s", answer)
	}

	// 7: the request_uri is spent; the row still proves where to answer.
	again := b.get(authorizeURL).wantRedirectError(spaRedirect, "invalid_request_uri")
	if again.Get("iss") != w.issuer || again.Has("state") {
		t.Errorf("row 7: %v", again)
	}

	// 8: browser Back.
	back := b.get(consent.String())
	if back.StatusCode != 400 || back.Header.Get("Location") != "" || !strings.Contains(back.body, "cannot continue") {
		t.Errorf("row 8: status %d", back.StatusCode)
	}
	if back = b.post(consent.String(), url.Values{"do": {"allow"}, "scope": {"openid"}, "csrf": {csrf(page)}}); back.StatusCode != 400 || back.Header.Get("Location") != "" {
		t.Errorf("row 8: the form again: status %d", back.StatusCode)
	}

	// 9: the exchange.
	verifier, _ := pkcePair("spa")
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {v.Get("code")}, "code_verifier": {verifier}, "redirect_uri": {spaRedirect}}
	tok := w.call("/token", form, spa...).want(200)
	if j := tok.json(); j["token_type"] != "Bearer" || j["expires_in"] != 600.0 || j["scope"] != "openid profile offline_access" || tok.str("refresh_token") == "" ||
		tok.Header.Get("Cache-Control") != "no-store" || tok.Header.Get("Access-Control-Allow-Origin") != spaOrigin {
		t.Errorf("row 9: %s %v", tok.body, tok.Header)
	}

	// 10: the ID token.
	c := claims(t, tok.str("id_token"))
	if c["iss"] != w.issuer || c["aud"] != "spa" || c["nonce"] != "nonce-1" || c["sub"] != "sub-alice" || c["name"] != nil {
		t.Errorf("row 10: %v", c)
	}
	if head := jwtHeader(t, tok.str("id_token")); head["alg"] != "RS256" || head["kid"] == "" || head["typ"] != nil {
		t.Errorf("row 10: header %v", head)
	}

	// 11: UserInfo.
	info := w.getWith("/userinfo", "Authorization", "Bearer "+tok.str("access_token"), "Origin", spaOrigin).want(200)
	if j := info.json(); j["sub"] != "sub-alice" || j["name"] != "Alice" || j["email"] != nil || j["iss"] != nil || info.Header.Get("Access-Control-Allow-Origin") != spaOrigin {
		t.Errorf("row 11: %s", info.body)
	}

	// 12: the refresh rotates, and its ID token has no nonce.
	w.clock.add(time.Minute)
	tok2 := w.refresh("spa", tok.str("refresh_token")).want(200)
	c2 := claims(t, tok2.str("id_token"))
	if _, has := c2["nonce"]; has || c2["sub"] != c["sub"] || c2["iat"] == c["iat"] || tok2.str("refresh_token") == tok.str("refresh_token") || tok2.str("refresh_token") == "" {
		t.Errorf("row 12: %v", c2)
	}

	// 13: prompt=none with and without a session.
	q = request("spa", "prompt", "none")
	if got := b.begin(q).wantRedirectError(spaRedirect, "consent_required"); got.Get("state") != "state-1" {
		t.Errorf("row 13: %v", got)
	}
	if _, v := b.allow(b.begin(request("spa")), "remember", "1").location(); v.Get("code") == "" {
		t.Fatal("row 13: no code")
	}
	if _, v := b.begin(q).location(); v.Get("code") == "" {
		t.Errorf("row 13: no code with a session and remembered consent: %v", v)
	}
	stranger := w.browser()
	none := stranger.begin(q)
	got := none.wantRedirectError(spaRedirect, "login_required")
	if got.Get("iss") != w.issuer || got.Get("state") != "state-1" || len(none.Cookies()) > 0 {
		t.Errorf("row 13: %v, cookies %v", got, none.Cookies())
	}

	// 14: the user aborts.
	res = stranger.begin(request("spa"))
	u, _ := res.location()
	denied := stranger.post(u.String(), url.Values{"csrf": {csrf(stranger.get(u.String()))}, "do": {"deny"}}).wantRedirectError(spaRedirect, "access_denied")
	if denied.Get("state") != "state-1" || denied.Get("iss") != w.issuer {
		t.Errorf("row 14: %v", denied)
	}

	// 15: logout goes straight on, since the hint names the session.
	out := b.get("/logout?" + url.Values{"id_token_hint": {tok2.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}, "state": {"s 1"}}.Encode())
	if u, v := out.location(); !strings.HasPrefix(u.String(), "https://app.example/bye?") || v.Get("state") != "s 1" {
		t.Errorf("row 15: %s", u)
	}
	b.begin(q).wantRedirectError(spaRedirect, "login_required")
	w.refresh("spa", tok2.str("refresh_token")).wantError(400, "invalid_grant")

	// 16: a client that must push does not get by without.
	direct := b.get("/authorize?"+request("spa").Encode()).wantRedirectError(spaRedirect, "invalid_request")
	if direct.Get("state") != "state-1" || direct.Get("iss") != w.issuer {
		t.Errorf("row 16: %v", direct)
	}
}
