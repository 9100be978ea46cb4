package handlers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// family signs alice in and returns the first tokens of a new family.
func (w *world) family(client string) (*browser, response) {
	w.t.Helper()
	scope := []string{"scope", "openid offline_access", "prompt", "consent"}
	b := w.browser()
	return b, w.redeem(client, b.code(request(client, scope...), "alice")).want(200)
}

// TestAttackF_rotation: every client's refresh tokens rotate, and what is spent
// stays spent. RFC 9700 §4.14.2.
func TestAttackF_rotation(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"native", "spa", "web", "post"} {
		t.Run("F01 F02 F03 "+client, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.quick()
			_, one := w.family(client)
			two := w.refresh(client, one.str("refresh_token")).want(200)
			three := w.refresh(client, two.str("refresh_token")).want(200)
			if one.str("refresh_token") == two.str("refresh_token") || two.str("refresh_token") == three.str("refresh_token") {
				t.Error("no rotation")
			}
			w.userinfo(three.str("access_token")).want(200)
			w.refresh(client, one.str("refresh_token")).clean().wantError(400, "invalid_grant")
			for _, r := range []response{one, two, three} {
				w.dead(client, r)
			}
			if w.events.count("refresh.reused") != 1 || w.events.count("grant.revoked") != 1 {
				t.Errorf("%d reuses seen, %d grants revoked", w.events.count("refresh.reused"), w.events.count("grant.revoked"))
			}
		})
	}
	t.Run("F02 other families live on", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		_, other := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.refresh("native", two.str("refresh_token")).want(200)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.userinfo(other.str("access_token")).want(200)
		w.refresh("native", other.str("refresh_token")).want(200)
	})
	t.Run("F04 another client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.quick()
		_, tok := w.family("web")
		for _, thief := range []string{"post", "native", "spa"} {
			w.refresh(thief, tok.str("refresh_token")).clean().wantError(400, "invalid_grant")
		}
		two := w.refresh("web", tok.str("refresh_token")).want(200)
		three := w.refresh("web", two.str("refresh_token")).want(200)
		// A spent one in foreign hands is no reuse by its client.
		w.refresh("native", tok.str("refresh_token")).wantError(400, "invalid_grant")
		w.refresh("web", three.str("refresh_token")).want(200)
	})
	t.Run("F05 without client authentication", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.quick()
		_, tok := w.family("web")
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.str("refresh_token")}}
		w.call("/token", form).clean().wantError(401, "invalid_client")
		form.Set("client_id", "web")
		w.call("/token", form).clean().wantError(401, "invalid_client")
		w.call("/token", form, "Authorization", basic("web", "wrong-wrong-wrong-wrong")).clean().wantError(401, "invalid_client")
		form.Set("client_secret", webSecret)
		w.call("/token", form).clean().wantError(401, "invalid_client")
		w.refresh("web", tok.str("refresh_token")).want(200)
	})
	t.Run("F06 scope", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		tok := w.redeem("spa", b.code(request("spa", append(offline, "prompt", "consent")...), "alice")).want(200)
		rt := tok.str("refresh_token")
		for _, scope := range []string{"openid offline_access email admin", "api", "openid profile offline_access email", "OPENID", "openid,profile", "*"} {
			w.refresh("spa", rt, "scope", scope).clean().wantError(400, "invalid_scope")
		}
		less := w.refresh("spa", rt, "scope", "openid").want(200) // the refusals did not rotate
		if less.str("scope") != "openid" || w.userinfo(less.str("access_token")).want(200).str("name") != "" {
			t.Errorf("%s", less.body)
		}
		// What was narrowed once is not lost: RFC 6749 §6.
		all := w.refresh("spa", less.str("refresh_token"), "scope", "openid profile").want(200)
		if w.userinfo(all.str("access_token")).want(200).str("name") != "Alice" {
			t.Error("the grant was narrowed")
		}
		if again := w.refresh("spa", all.str("refresh_token")).want(200); again.str("scope") != "openid profile offline_access" {
			t.Errorf("scope %q", again.str("scope"))
		}
	})
	t.Run("F06 resource", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("spa")
		w.refresh("spa", tok.str("refresh_token"), "resource", "https://api.example").clean().wantError(400, "invalid_target")
		w.refresh("spa", tok.str("refresh_token")).want(200)
	})
	t.Run("F07 after the code was replayed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		code := b.code(request("native", append(offline, "prompt", "consent")...), "alice")
		tok := w.redeem("native", code).want(200)
		w.redeem("native", code).wantError(400, "invalid_grant")
		w.refresh("native", tok.str("refresh_token")).wantError(400, "invalid_grant")
	})
	t.Run("F08 as a bearer token", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		res := w.userinfo(tok.str("refresh_token")).clean().want(401)
		if !strings.Contains(res.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("WWW-Authenticate %q", res.Header.Get("WWW-Authenticate"))
		}
	})
	t.Run("F09 malformed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		rt := tok.str("refresh_token")
		for _, m := range append(mutations(rt), "x", "rt_", strings.Repeat("a", 5000), "rt_"+strings.Repeat("A", 97)) {
			w.refresh("native", m).clean().wantError(400, "invalid_grant")
		}
		form, _ := auth("native")
		form.Set("grant_type", "refresh_token")
		w.call("/token", form).clean().wantError(400, "invalid_request")
		form["refresh_token"] = []string{rt, rt}
		w.call("/token", form).clean().wantError(400, "invalid_request")
		w.refresh("native", rt).want(200)
	})
	t.Run("F10 the client's and the user's state", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		rt := tok.str("refresh_token")
		w.users.disable("sub-alice", true)
		w.refresh("native", rt).clean().wantError(400, "invalid_grant")
		w.users.disable("sub-alice", false)
		w.clients.change("native", func(c *clientreg.Client) { c.Disabled = true })
		w.refresh("native", rt).clean().wantError(401, "invalid_client")
		w.clients.change("native", func(c *clientreg.Client) { c.Disabled, c.GrantTypes = false, []string{"authorization_code"} })
		w.refresh("native", rt).clean().wantError(400, "unauthorized_client")
		w.clients.change("native", func(c *clientreg.Client) { c.GrantTypes = []string{"authorization_code", "refresh_token"} })
		w.users.fail(errAway)
		w.refresh("native", rt).wantError(503, "temporarily_unavailable")
		w.users.fail(nil)
		w.clients.setErr(errAway)
		w.refresh("native", rt).wantError(503, "temporarily_unavailable")
		w.clients.setErr(nil)
		w.refresh("native", rt).want(200)
	})
	t.Run("F11 the ID token keeps its identity", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		tok := w.redeem("spa", b.code(request("spa", append(offline, "prompt", "consent", "max_age", "3600")...), "alice")).want(200)
		c := claims(t, tok.str("id_token"))
		rt := tok.str("refresh_token")
		for range 2 {
			w.clock.add(time.Hour)
			next := w.refresh("spa", rt).want(200)
			rt = next.str("refresh_token")
			d := claims(t, next.str("id_token"))
			verifyES256(t, w, next.str("id_token"))
			for _, n := range []string{"iss", "sub", "aud", "auth_time", "sid"} {
				if d[n] != c[n] || d[n] == nil {
					t.Errorf("%s: %v, was %v", n, d[n], c[n])
				}
			}
			if d["iat"] != float64(w.clock.Now().Unix()) || d["nonce"] != nil {
				t.Errorf("iat %v, nonce %v", d["iat"], d["nonce"])
			}
		}
	})
	t.Run("F14 across a restart", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.restart()
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.restart()
		for _, r := range []response{one, two, three} {
			w.dead("native", r)
		}
	})
}

// TestAttackF15_lifetime: a chain ends, however often it is used. ASVS 10.4.8.
func TestAttackF15_lifetime(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	purge := func(w *world) {
		w.t.Helper()
		if _, err := w.store.Purge(context.Background(), w.clock.Now(), 1000); err != nil {
			w.t.Fatal(err)
		}
	}
	t.Run("F15 absolute limit", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		rt := tok.str("refresh_token")
		for range 6 {
			w.clock.add(13 * day)
			purge(w)
			rt = w.refresh("native", rt).want(200).str("refresh_token")
		}
		w.clock.add(12*day - time.Second) // day 90, less a second
		purge(w)
		rt = w.refresh("native", rt).want(200).str("refresh_token")
		w.clock.add(time.Second)
		w.refresh("native", rt).wantError(400, "invalid_grant")
		purge(w)
		w.refresh("native", rt).wantError(400, "invalid_grant")
	})
	t.Run("F15 idle limit", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, tok := w.family("native")
		w.clock.add(14*day - time.Second)
		purge(w)
		rt := w.refresh("native", tok.str("refresh_token")).want(200).str("refresh_token")
		w.clock.add(14 * day)
		w.refresh("native", rt).wantError(400, "invalid_grant")
	})
	t.Run("F15 limits of the configuration", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Refresh, c.TTL.RefreshIdle = time.Hour, 20*time.Minute })
		_, tok := w.family("native")
		rt := tok.str("refresh_token")
		for range 3 {
			w.clock.add(19 * time.Minute)
			rt = w.refresh("native", rt).want(200).str("refresh_token")
		}
		w.clock.add(3 * time.Minute)
		w.refresh("native", rt).wantError(400, "invalid_grant")
	})
	t.Run("F15 grace does not reach beyond the end", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Refresh, c.TTL.RefreshIdle = time.Hour, time.Hour })
		_, tok := w.family("native")
		w.clock.add(time.Hour - 10*time.Second)
		w.refresh("native", tok.str("refresh_token")).want(200)
		w.clock.add(9 * time.Second)
		w.refresh("native", tok.str("refresh_token")).want(200)
		w.clock.add(time.Second)
		w.refresh("native", tok.str("refresh_token")).wantError(400, "invalid_grant")
	})
}

// TestAttackF16_grace: a lost response logs nobody out, and reuse is still
// reuse. The successor is one and the same while it was never presented.
func TestAttackF16_grace(t *testing.T) {
	t.Parallel()
	t.Run("lost response", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		access := map[string]bool{one.str("access_token"): true, two.str("access_token"): true}
		for range 4 { // as often as the client must
			w.clock.add(14 * time.Second)
			again := w.refresh("native", one.str("refresh_token")).want(200)
			if again.str("refresh_token") != two.str("refresh_token") {
				t.Fatal("another successor")
			}
			if access[again.str("access_token")] || again.str("id_token") == "" {
				t.Error("the repeated answer has no fresh tokens")
			}
			access[again.str("access_token")] = true
			w.userinfo(again.str("access_token")).want(200)
		}
		if n := w.events.count("token.repeated"); n != 4 {
			t.Errorf("%d repeats seen", n)
		}
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.userinfo(three.str("access_token")).want(200)
		for a := range access { // none of the answers is taken back
			w.userinfo(a).want(200)
		}
	})
	t.Run("the grace is counted from the rotation", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.clock.add(59 * time.Second)
		w.refresh("native", one.str("refresh_token")).want(200)
		w.clock.add(time.Second)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.dead("native", two)
		if w.events.count("refresh.reused") != 1 {
			t.Error("no reuse was seen")
		}
	})
	t.Run("after the successor was used", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		three := w.refresh("native", two.str("refresh_token")).want(200)
		if again := w.refresh("native", two.str("refresh_token")).want(200); again.str("refresh_token") != three.str("refresh_token") {
			t.Error("the second link has two successors")
		}
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.dead("native", three)
	})
	t.Run("another client in the grace", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.refresh("spa", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.refresh("native", one.str("refresh_token")).want(200)
		w.refresh("native", two.str("refresh_token")).want(200)
	})
	t.Run("without grace", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Grace = handlers.NoGrace })
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.dead("native", two)
	})
	t.Run("a grace of one's own", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Grace = 10 * time.Second })
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.clock.add(9 * time.Second)
		w.refresh("native", one.str("refresh_token")).want(200)
		w.clock.add(time.Second)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.dead("native", two)
	})
	t.Run("restart in between", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.restart()
		if again := w.refresh("native", one.str("refresh_token")).want(200); again.str("refresh_token") != two.str("refresh_token") {
			t.Error("another successor")
		}
		w.refresh("native", two.str("refresh_token")).want(200)
	})
	t.Run("revoked in between", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.revokeToken("native", two.str("refresh_token")).want(200)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
	})
	t.Run("user disabled in between", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		w.refresh("native", one.str("refresh_token")).want(200)
		w.users.disable("sub-alice", true)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		w.users.disable("sub-alice", false)
		w.refresh("native", one.str("refresh_token")).want(200)
	})
	t.Run("scope and resource are checked in the grace too", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		w.refresh("native", one.str("refresh_token")).want(200)
		w.refresh("native", one.str("refresh_token"), "scope", "openid profile admin").wantError(400, "invalid_scope")
		w.refresh("native", one.str("refresh_token"), "resource", "https://api.example").wantError(400, "invalid_target")
		w.refresh("native", one.str("refresh_token")).want(200)
	})
	t.Run("the clock was set back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.clock.add(-time.Hour)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant") // no resurrection
		w.clock.add(time.Hour)
		w.dead("native", three)
	})
}

// TestAttackF17_MAC: only a genuine spent token revokes; who can forge nothing
// can revoke nothing.
func TestAttackF17_MAC(t *testing.T) {
	t.Parallel()
	t.Run("forged tokens do not revoke", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		two := w.refresh("native", one.str("refresh_token")).want(200)
		three := w.refresh("native", two.str("refresh_token")).want(200)
		old := one.str("refresh_token")
		raw, err := base64.RawURLEncoding.DecodeString(old[3:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw { // every byte counts
			b := append([]byte(nil), raw...)
			b[i] ^= 1
			w.refresh("native", "rt_"+base64.RawURLEncoding.EncodeToString(b)).clean().wantError(400, "invalid_grant")
			w.revokeToken("native", "rt_"+base64.RawURLEncoding.EncodeToString(b)).clean().want(200)
		}
		for _, seq := range []uint32{0, 1, 2, 3, 4, 1<<32 - 1} { // the sequence number is part of it
			w.refresh("native", forgeRefresh(t, three.str("refresh_token"), seq^8)).clean().wantError(400, "invalid_grant")
		}
		random := make([]byte, len(raw)-18)
		if _, err := rand.Read(random); err != nil {
			t.Fatal(err)
		}
		w.refresh("native", "rt_"+base64.RawURLEncoding.EncodeToString(append(raw[:18:18], random...))).clean().wantError(400, "invalid_grant")
		if w.events.count("grant.revoked") != 0 {
			t.Fatal("a forged token revoked a grant")
		}
		w.userinfo(three.str("access_token")).want(200)
		w.refresh("native", three.str("refresh_token")).want(200)
	})
	t.Run("a removed secret", func(t *testing.T) {
		t.Parallel()
		// Keys of one's own: those in the storage are sealed under the secret.
		priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "k", Alg: "ES256", Signer: priv})
		if err != nil {
			t.Fatal(err)
		}
		secret := make([]byte, 32)
		rand.Read(secret)
		w := newWorld(t, func(c *handlers.Config) { c.Keys, c.SigningAlgs = keys, nil })
		_, one := w.family("native")
		w.restart(func(c *handlers.Config) { c.Secrets = append([][]byte{secret}, c.Secrets...) })
		w.userinfo(one.str("access_token")).want(200)
		two := w.refresh("native", one.str("refresh_token")).want(200)
		if again := w.refresh("native", one.str("refresh_token")).want(200); again.str("refresh_token") != two.str("refresh_token") {
			t.Error("another successor across the change of secrets")
		}
		_, other := w.family("native") // under the new secret
		w.restart(func(c *handlers.Config) { c.Secrets = c.Secrets[:1] })
		w.userinfo(one.str("access_token")).want(401) // sealed under what is gone
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant")
		if w.events.count("grant.revoked") != 0 {
			t.Error("a token that proves nothing revoked a grant")
		}
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.userinfo(three.str("access_token")).want(200)
		w.refresh("native", other.str("refresh_token")).want(200)
	})
	t.Run("the current token goes on by its digest", func(t *testing.T) {
		t.Parallel()
		priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "k", Alg: "ES256", Signer: priv})
		if err != nil {
			t.Fatal(err)
		}
		secret := make([]byte, 32)
		rand.Read(secret)
		w := newWorld(t, func(c *handlers.Config) { c.Keys, c.SigningAlgs = keys, nil })
		_, one := w.family("native")
		w.restart(func(c *handlers.Config) { c.Secrets = [][]byte{secret} })
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.userinfo(two.str("access_token")).want(200)
		w.refresh("native", one.str("refresh_token")).wantError(400, "invalid_grant") // cannot prove itself: no grace, no revocation
		w.refresh("native", two.str("refresh_token")).want(200)
		// Revocation of the current one works by its digest, too.
		three := w.refresh("native", two.str("refresh_token")).want(200)
		w.revokeToken("native", three.str("refresh_token")).want(200)
		w.dead("native", three)
	})
	t.Run("a secret removed before the keys under it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, one := w.family("native")
		secret := make([]byte, 32)
		rand.Read(secret)
		stolen := w.kids()
		w.restart(func(c *handlers.Config) { c.Secrets = [][]byte{secret} })
		two := w.refresh("native", one.str("refresh_token")).want(200)
		w.userinfo(one.str("access_token")).want(401)
		w.userinfo(two.str("access_token")).want(200)
		for kid := range w.kids() {
			if stolen[kid] != "" {
				t.Errorf("key %s is published although its secret is gone", kid)
			}
		}
	})
	t.Run("a secret that becomes the first seals the keys again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		before, old, secret := w.kids(), w.cfg.Secrets, make([]byte, 32)
		rand.Read(secret)
		w.restart(func(c *handlers.Config) { c.Secrets = append([][]byte{secret}, old...) })
		w.kids()
		w.restart(func(c *handlers.Config) { c.Secrets = [][]byte{secret} })
		for kid := range w.kids() {
			if before[kid] == "" {
				t.Errorf("key %s is new", kid)
			}
		}
	})
	t.Run("a successor of a lost commit", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		_, one := l.family("native")
		was := l.vault.rows(t, storage.KindGrant)[0]
		lost := l.refresh("native", one.str("refresh_token")).want(200)
		// The database forgets its last transaction, as after a failover.
		now := l.vault.rows(t, storage.KindGrant)[0]
		now.Data = was.Data
		if err := l.vault.Commit(context.Background(), storage.Update(*now)); err != nil {
			t.Fatal(err)
		}
		l.refresh("native", lost.str("refresh_token")).wantError(400, "invalid_grant") // never issued, as far as anybody knows
		two := l.refresh("native", one.str("refresh_token")).want(200)
		l.refresh("native", lost.str("refresh_token")).wantError(400, "invalid_grant")
		three := l.refresh("native", two.str("refresh_token")).want(200)
		l.refresh("native", lost.str("refresh_token")).wantError(400, "invalid_grant") // it opens no successor
		l.userinfo(three.str("access_token")).want(200)
		l.refresh("native", three.str("refresh_token")).want(200)
	})
	t.Run("a commit whose answer is lost", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		_, one := l.family("native")
		l.flaky.Arm(storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
			if c.Method == "Commit" {
				return storagetest.CommitThenError
			}
			return nil
		}})
		l.refresh("native", one.str("refresh_token")).wantError(503, "temporarily_unavailable")
		l.flaky.Arm(storagetest.Plan{})
		two := l.refresh("native", one.str("refresh_token")).want(200)
		l.refresh("native", two.str("refresh_token")).want(200)
	})
}
