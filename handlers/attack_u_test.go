package handlers_test

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// TestAttackU: UserInfo. OpenID Connect Core §5.3, RFC 6750.
func TestAttackU(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	w.quick()
	b, tok := w.family("spa")
	at := tok.str("access_token")
	post := func(w *world, body string, header ...string) response {
		return w.send("POST", "/userinfo", body, header...)
	}
	challenge := func(t *testing.T, r response, code string) {
		t.Helper()
		h := r.Header.Get("WWW-Authenticate")
		if !strings.HasPrefix(h, "Bearer") || (code == "") == strings.Contains(h, "error=") || code != "" && !strings.Contains(h, `error="`+code+`"`) {
			t.Errorf("WWW-Authenticate %q, want %q", h, code)
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
		}
	}
	t.Run("U01 without a token", func(t *testing.T) {
		w := w.in(t)
		for _, res := range []response{w.getWith("/userinfo"), post(w, ""), post(w, "", "Content-Type", formType), post(w, "access_token=", "Content-Type", formType),
			w.getWith("/userinfo", "Authorization", basic("web", webSecret)), w.getWith("/userinfo", "Authorization", "DPoP "+at)} {
			challenge(t, res.clean().want(401), "")
			if res.body != "" {
				t.Errorf("body %q", res.body)
			}
		}
	})
	t.Run("U02 bogus tokens", func(t *testing.T) {
		w := w.in(t)
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+w.issuer+`","sub":"sub-alice","aud":"`+w.issuer+`","exp":9999999999,"scope":"openid"}`)) + "."
		for _, x := range append(mutations(at), "x", "at_", none, none+"x", strings.Repeat("a", 5000), strings.Repeat("a", 20000), "at_"+strings.Repeat("A", 200), strings.Replace(at, "at_", "AT_", 1), "at_at_"+at[3:]) {
			if strings.ContainsAny(x, "\n") || strings.Trim(x, " ") == at { // no header can hold the one; blanks around are no part of a token
				continue
			}
			challenge(t, w.userinfo(x).clean().want(401), "invalid_token")
		}
		raw, err := base64.RawURLEncoding.DecodeString(at[3:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			x := append([]byte(nil), raw...)
			x[i] ^= 0x80
			w.userinfo("at_" + base64.RawURLEncoding.EncodeToString(x)).clean().want(401)
		}
		challenge(t, w.getWith("/userinfo", "Authorization", "Bearer ").clean().want(400), "invalid_request")
		challenge(t, w.getWith("/userinfo", "Authorization", "Bearer a b").clean().want(401), "invalid_token")
	})
	t.Run("U02 a token of another provider", func(t *testing.T) {
		other := newWorld(t)
		_, foreign := other.family("spa")
		w.in(t).userinfo(foreign.str("access_token")).clean().want(401)
	})
	t.Run("U03 in the query", func(t *testing.T) {
		w := w.in(t)
		challenge(t, w.getWith("/userinfo?access_token="+at).clean().want(400), "invalid_request")
		challenge(t, w.getWith("/userinfo?x=1&access%5ftoken="+at).clean().want(400), "invalid_request")
		challenge(t, w.getWith("/userinfo?access_token="+at, "Authorization", "Bearer "+at).clean().want(400), "invalid_request")
		post(w, "access_token="+at, "Content-Type", formType).want(200) // the positive control, RFC 6750 §2.2
	})
	t.Run("U04 two transports", func(t *testing.T) {
		w := w.in(t)
		challenge(t, post(w, "access_token="+at, "Content-Type", formType, "Authorization", "Bearer "+at).clean().want(400), "invalid_request")
		challenge(t, post(w, "access_token="+at+"&access_token="+at, "Content-Type", formType).clean().want(400), "invalid_request")
		challenge(t, w.getWith("/userinfo", "Authorization", "Bearer "+at, "Authorization", "Bearer "+at).clean().want(400), "invalid_request")
		post(w, `{"access_token":"`+at+`"}`, "Content-Type", "application/json").clean().want(415)
		if got := w.huge("/userinfo", 2<<20); got != 413 {
			t.Errorf("2 MiB: status %d", got)
		}
	})
	t.Run("U05 ID token", func(t *testing.T) {
		challenge(t, w.in(t).userinfo(tok.str("id_token")).clean().want(401), "invalid_token")
	})
	t.Run("U07 claims follow the scopes", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		for scope, want := range map[string][]string{
			"openid": {"sub"}, "openid email": {"sub", "email", "email_verified"}, "openid profile": {"sub", "name", "preferred_username"},
		} {
			tok := w.redeem("spa", b.code(request("spa", "scope", scope, "prompt", "consent"), "alice")).want(200)
			j := w.userinfo(tok.str("access_token")).want(200).json()
			for _, n := range want {
				if j[n] == nil {
					t.Errorf("%s: no %s", scope, n)
				}
			}
			if len(j) != len(want) || j["sub"] != "sub-alice" {
				t.Errorf("%s: %v", scope, j)
			}
			for _, n := range []string{"name", "email", "preferred_username", "phone_number"} {
				if claims(t, tok.str("id_token"))[n] != nil {
					t.Errorf("%s: the ID token has %s", scope, n)
				}
			}
		}
	})
	t.Run("U07 claims asked for by name", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		q := request("spa", "scope", "openid", "prompt", "consent", "claims", `{"userinfo":{"email":null,"iss":null,"sub":null,"aud":null,"scope":null},"id_token":{"name":null,"iss":{"value":"x"}}}`)
		tok := w.redeem("spa", b.code(q, "alice")).want(200)
		if j := w.userinfo(tok.str("access_token")).want(200).json(); len(j) != 2 || j["email"] != "alice@example.org" || j["sub"] != "sub-alice" {
			t.Errorf("%v", j)
		}
		if c := claims(t, tok.str("id_token")); c["name"] != "Alice" || c["iss"] != w.issuer || c["email"] != nil {
			t.Errorf("%v", c)
		}
	})
	t.Run("U08 revoked", func(t *testing.T) {
		w := w.in(t)
		_, tok := w.family("spa")
		w.revokeToken("spa", tok.str("access_token")).want(200)
		challenge(t, w.userinfo(tok.str("access_token")).clean().want(401), "invalid_token")
	})
	t.Run("U10 not cacheable", func(t *testing.T) {
		w := w.in(t)
		if cc := w.userinfo(at).want(200).Header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("Cache-Control %q", cc)
		}
		for _, m := range []string{"PUT", "DELETE", "PATCH", "HEAD"} {
			w.send(m, "/userinfo", "", "Authorization", "Bearer "+at).clean().want(405)
		}
	})
	t.Run("U11 without openid", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		tok := w.redeem("spa", b.code(request("spa", "scope", "email", "nonce", "", "prompt", "consent"), "alice")).want(200)
		if tok.str("id_token") != "" {
			t.Error("an ID token without openid")
		}
		res := w.userinfo(tok.str("access_token")).clean().want(403)
		challenge(t, res, "insufficient_scope")
		if !strings.Contains(res.Header.Get("WWW-Authenticate"), `scope="openid"`) {
			t.Errorf("WWW-Authenticate %q", res.Header.Get("WWW-Authenticate"))
		}
	})
	w.userinfo(at).want(200)
}

// TestAttackU_state: a token dies with what it rests on, at UserInfo as well.
func TestAttackU_state(t *testing.T) {
	t.Parallel()
	t.Run("U09 a token for an API", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) {
			c.APIs = []handlers.API{{Identifier: "https://api.example"}, {Identifier: "https://other.example"}}
		})
		b := w.browser()
		tok := w.redeem("spa", b.code(request("spa", "resource", "https://api.example", "prompt", "consent"), "alice")).want(200)
		res := w.userinfo(tok.str("access_token")).clean().want(401)
		if !strings.Contains(res.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("WWW-Authenticate %q", res.Header.Get("WWW-Authenticate"))
		}
		code := b.code(request("spa", "resource", "https://api.example"), "alice")
		w.redeem("spa", code, "resource", "https://other.example").clean().wantError(400, "invalid_target")
		w.redeem("spa", code, "resource", "https://api.example").want(200)
	})
	for _, c := range []struct {
		name   string
		change func(w *world, b *browser, tok response)
		back   func(w *world) // nil: it stays dead
		status int
	}{
		{"U12 user disabled", func(w *world, _ *browser, _ response) { w.users.disable("sub-alice", true) }, func(w *world) { w.users.disable("sub-alice", false) }, 401},
		{"U12 client disabled", func(w *world, _ *browser, _ response) {
			w.clients.change("spa", func(c *clientreg.Client) { c.Disabled = true })
		}, func(w *world) { w.clients.change("spa", func(c *clientreg.Client) { c.Disabled = false }) }, 401},
		{"U12 client deleted", func(w *world, _ *browser, _ response) { w.clients.delete("spa") }, nil, 401},
		{"U12 client replaced", func(w *world, _ *browser, _ response) {
			w.clock.add(time.Second)
			w.clients.change("spa", func(c *clientreg.Client) { c.NotBefore = w.clock.Now() })
		}, nil, 401},
		{"U12 consent withdrawn", func(w *world, _ *browser, _ response) {
			if err := w.p.Grants().Withdraw(context.Background(), "sub-alice", "spa"); err != nil {
				w.t.Fatal(err)
			}
		}, nil, 401},
		{"U12 logout", func(w *world, b *browser, tok response) {
			b.get("/logout?" + url.Values{"id_token_hint": {tok.str("id_token")}}.Encode()).want(200)
		}, nil, 401},
		{"U12 expired", func(w *world, _ *browser, _ response) { w.clock.add(10 * time.Minute) }, nil, 401},
		{"U12 users away", func(w *world, _ *browser, _ response) { w.users.fail(errAway) }, func(w *world) { w.users.fail(nil) }, 503},
		{"U12 registry away", func(w *world, _ *browser, _ response) { w.clients.setErr(errAway) }, func(w *world) { w.clients.setErr(nil) }, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b, tok := w.family("spa")
			w.userinfo(tok.str("access_token")).want(200)
			c.change(w, b, tok)
			for _, origin := range []string{"", spaOrigin} { // the CORS look-up must not change the answer
				header := []string{"Authorization", "Bearer " + tok.str("access_token")}
				if origin != "" {
					header = append(header, "Origin", origin)
				}
				res := w.getWith("/userinfo", header...).want(c.status)
				if c.status == 401 && !strings.Contains(res.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("WWW-Authenticate %q", res.Header.Get("WWW-Authenticate"))
				}
				if strings.Contains(res.body, "Alice") {
					t.Error("claims in a refusal")
				}
			}
			if c.back != nil {
				c.back(w)
				w.userinfo(tok.str("access_token")).want(200)
			}
		})
	}
}
