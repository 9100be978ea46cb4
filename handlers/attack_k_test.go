package handlers_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// TestAttackK: revocation. RFC 7009 §2.
func TestAttackK(t *testing.T) {
	t.Parallel()
	t.Run("K01 without authentication", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.quick()
		_, tok := w.family("web")
		for _, token := range []string{tok.str("refresh_token"), tok.str("access_token")} {
			form := url.Values{"token": {token}}
			w.call("/revoke", form).clean().wantError(401, "invalid_client")
			w.call("/revoke", form, "Authorization", basic("web", "wrong-wrong-wrong-wrong")).clean().wantError(401, "invalid_client")
			form.Set("client_id", "web")
			w.call("/revoke", form).clean().wantError(401, "invalid_client")
			form.Set("client_id", "nobody")
			w.call("/revoke", form).clean().wantError(401, "invalid_client")
		}
		w.userinfo(tok.str("access_token")).want(200)
		w.refresh("web", tok.str("refresh_token")).want(200)
	})
	t.Run("K02 another client's token", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.quick()
		_, tok := w.family("web")
		next := w.refresh("web", tok.str("refresh_token")).want(200)
		for _, thief := range []string{"post", "spa", "native"} {
			for _, token := range []string{tok.str("refresh_token"), next.str("refresh_token"), tok.str("access_token")} {
				w.revokeToken(thief, token).clean().want(200) // like an unknown one
			}
		}
		w.userinfo(tok.str("access_token")).want(200)
		w.refresh("web", next.str("refresh_token")).want(200)
		if w.events.count("grant.revoked")+w.events.count("token.revoked") != 0 {
			t.Error("something was revoked")
		}
	})
	t.Run("K03 the refresh token takes the access tokens along", func(t *testing.T) {
		t.Parallel()
		for _, hint := range []string{"", "refresh_token", "access_token", "pigeon"} {
			w := newWorld(t)
			_, tok := w.family("native")
			next := w.refresh("native", tok.str("refresh_token")).want(200)
			form := url.Values{"client_id": {"native"}, "token": {next.str("refresh_token")}}
			if hint != "" {
				form.Set("token_type_hint", hint)
			}
			res := w.call("/revoke", form).want(200)
			if res.body != "" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%q %v", res.body, res.Header)
			}
			w.userinfo(tok.str("access_token")).want(401)
			w.dead("native", next)
			w.revokeToken("native", next.str("refresh_token")).want(200) // RFC 7009 §2.2: again is fine
			w.restart()
			w.dead("native", next)
		}
	})
	t.Run("K03 a spent refresh token revokes, too", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.revokeToken("native", one.str("refresh_token")).want(200)
		w.dead("native", three)
	})
	t.Run("K04 an access token alone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		next := w.refresh("native", tok.str("refresh_token")).want(200)
		w.revokeToken("native", tok.str("access_token")).want(200)
		w.revokeToken("native", tok.str("access_token")).want(200)
		w.userinfo(tok.str("access_token")).want(401)
		w.userinfo(next.str("access_token")).want(200)
		w.restart()
		w.userinfo(tok.str("access_token")).want(401)
		w.refresh("native", next.str("refresh_token")).want(200)
		w.userinfo(tok.str("access_token")).want(401) // a later rotation does not bring it back
	})
	t.Run("K04 more access tokens than a grant can list", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		rt := tok.str("refresh_token")
		var revoked []string
		for range 40 {
			w.clock.add(time.Second)
			next := w.refresh("native", rt).want(200)
			rt = next.str("refresh_token")
			w.revokeToken("native", next.str("access_token")).want(200)
			revoked = append(revoked, next.str("access_token"))
			for _, a := range revoked {
				w.userinfo(a).want(401)
			}
		}
		w.clock.add(time.Second)
		last := w.refresh("native", rt).want(200)
		w.userinfo(last.str("access_token")).want(200)
	})
	t.Run("K04 while the grant is written", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		_, tok := l.family("native")
		rotated := false
		l.flaky.Arm(storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
			if c.Method != "Commit" || rotated {
				return nil
			}
			rotated = true
			return func(ctx context.Context, do func(context.Context) error) error {
				l.refresh("native", tok.str("refresh_token")).want(200)
				return do(ctx) // of a version that is no more
			}
		}})
		l.revokeToken("native", tok.str("access_token")).want(200)
		l.flaky.Arm(storagetest.Plan{})
		l.userinfo(tok.str("access_token")).want(401)
		next := l.refresh("native", tok.str("refresh_token")).want(200) // and the rotation was not lost
		l.userinfo(next.str("access_token")).want(200)
	})
	t.Run("K05 requests", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		at := tok.str("access_token")
		form := []string{"Content-Type", formType}
		for _, m := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			if res := w.send(m, "/revoke?client_id=native&token="+at, "").clean().want(405); res.Header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow %q", m, res.Header.Get("Allow"))
			}
		}
		w.send("POST", "/revoke", "client_id=native", form...).clean().wantError(400, "invalid_request")
		w.send("POST", "/revoke", "client_id=native&token=", form...).clean().wantError(400, "invalid_request")
		w.send("POST", "/revoke", "", form...).clean().wantError(401, "invalid_client")
		w.send("POST", "/revoke?token="+at, "client_id=native", form...).clean().wantError(400, "invalid_request")
		w.send("POST", "/revoke", "client_id=native&token="+at+"&token="+at, form...).clean().wantError(400, "invalid_request")
		w.send("POST", "/revoke", `{"client_id":"native","token":"`+at+`"}`, "Content-Type", "application/json").clean().wantError(415, "invalid_request")
		if got := w.huge("/revoke", 2<<20); got != 413 {
			t.Errorf("2 MiB: status %d", got)
		}
		w.userinfo(at).want(200)
		w.refresh("native", tok.str("refresh_token")).want(200)
	})
	t.Run("K05 what is no token", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b, tok := w.family("native")
		code := b.code(request("native"), "alice")
		uri := w.push(request("native"))
		for _, x := range append(mutations(tok.str("access_token")), "x", "rt_", "at_", code, uri, tok.str("id_token"), strings.Repeat("a", 30000), "at_"+strings.Repeat("A", 300), "rt_"+strings.Repeat("A", 97)) {
			w.revokeToken("native", x).clean().want(200)
		}
		w.redeem("native", code).want(200)
		w.userinfo(tok.str("access_token")).want(200)
		w.refresh("native", tok.str("refresh_token")).want(200)
	})
	t.Run("K05 expired and dead tokens", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		w.clock.add(11 * time.Minute)
		w.revokeToken("native", tok.str("access_token")).clean().want(200)
		w.refresh("native", tok.str("refresh_token")).want(200)
		w.clock.add(100 * 24 * time.Hour)
		w.revokeToken("native", tok.str("refresh_token")).clean().want(200)
	})
	t.Run("K06 storage failure", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		for _, method := range []string{"Get", "Commit"} {
			for _, what := range []string{"refresh_token", "access_token"} {
				_, tok := l.family("native")
				l.flaky.Arm(storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
					if c.Method == method {
						return storagetest.Fail(storage.ErrUnavailable)
					}
					return nil
				}})
				res := l.revokeToken("native", tok.str(what)).wantError(503, "temporarily_unavailable")
				if res.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				l.flaky.Arm(storagetest.Plan{})
				l.userinfo(tok.str("access_token")).want(200) // nothing half done
				l.revokeToken("native", tok.str(what)).want(200)
				l.userinfo(tok.str("access_token")).want(401)
			}
		}
		l.clients.setErr(errAway)
		l.revokeToken("native", "x").wantError(503, "temporarily_unavailable")
	})
}
