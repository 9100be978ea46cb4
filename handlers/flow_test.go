package handlers_test

import (
	"net/url"
	"strings"
	"testing"
)

// TestWholeFlow walks the scenario once: PAR, login, consent, code, tokens,
// UserInfo, refresh, logout.
func TestWholeFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	uri := w.push(request("spa", "scope", "openid profile offline_access", "prompt", "consent"))
	res := b.get("/authorize?client_id=spa&request_uri=" + url.QueryEscape(uri) + "&state=EVIL&scope=email")
	res = b.signIn(res, "alice")
	res = b.allow(res)
	u, q := res.location()
	if !strings.HasPrefix(u.String(), spaRedirect+"?code=") || q.Get("state") != "state-1" || q.Get("iss") != w.issuer {
		t.Fatalf("answer %s", u)
	}
	tok := w.redeem("spa", q.Get("code")).want(200)
	if c := claims(t, tok.str("id_token")); c["nonce"] != "nonce-1" || c["sub"] != "sub-alice" || c["aud"] != "spa" || c["iss"] != w.issuer {
		t.Errorf("ID token %v", c)
	}
	if got := w.userinfo(tok.str("access_token")).want(200).str("name"); got != "Alice" {
		t.Errorf("name %q", got)
	}
	tok2 := w.refresh("spa", tok.str("refresh_token")).want(200)
	if c := claims(t, tok2.str("id_token")); c["nonce"] != nil || c["sub"] != "sub-alice" {
		t.Errorf("refreshed ID token %v", c)
	}
	out, _ := b.get("/logout?" + url.Values{"id_token_hint": {tok2.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}, "state": {"s"}}.Encode()).location()
	if out.String() != "https://app.example/bye?state=s" {
		t.Errorf("logout went to %s", out)
	}
	w.refresh("spa", tok2.str("refresh_token")).wantError(400, "invalid_grant")
	w.userinfo(tok2.str("access_token")).want(401)
}
