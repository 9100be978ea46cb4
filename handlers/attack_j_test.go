package handlers_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
)

// TestAttackJ: client assertions. RFC 7523 §3, OpenID Connect Core §9, RFC 8725.
//
// Each bad assertion has the jti of the good one that follows it: what was
// refused has spent nothing.
func TestAttackJ(t *testing.T) {
	t.Parallel()
	ec, other := keyOf(t, "ec"), keyOf(t, "other")
	type attack struct {
		name   string
		reason string
		make   func(l *lab, jti string) string
		edit   []string // of the form
		status int      // 0: 401 invalid_client
	}
	claim := func(edit map[string]any) func(*lab, string) string {
		return func(l *lab, jti string) string {
			e := map[string]any{"jti": jti}
			for k, v := range edit {
				e[k] = v
			}
			return l.assertion("signer", ec, e)
		}
	}
	header := func(h map[string]any, key any) func(*lab, string) string {
		return func(l *lab, jti string) string {
			return signJWT(l.t, h, l.assertionClaims("signer", map[string]any{"jti": jti}), key)
		}
	}
	audience := func(f func(issuer string) any) func(*lab, string) string {
		return func(l *lab, jti string) string {
			return l.assertion("signer", ec, map[string]any{"jti": jti, "aud": f(l.issuer)})
		}
	}
	unsigned := func(h map[string]any, sig string) func(*lab, string) string {
		return func(l *lab, jti string) string {
			s := signJWT(l.t, h, l.assertionClaims("signer", map[string]any{"jti": jti}), nil)
			return s + sig
		}
	}
	const year = 365 * 24 * 3600
	now := func(l *lab) int64 { return l.clock.Now().Unix() }
	attacks := []attack{
		{name: "J01 audience is the token endpoint", reason: "assertion.audience", make: audience(func(iss string) any { return iss + "/token" })},
		{name: "J01 audience is the token endpoint, in an array", reason: "assertion.audience", make: audience(func(iss string) any { return []string{iss + "/token"} })},
		{name: "J01 audience is the issuer and a slash", reason: "assertion.audience", make: audience(func(iss string) any { return iss + "/" })},
		{name: "J02 a second, foreign audience", reason: "assertion.audience", make: audience(func(iss string) any { return []string{iss, "https://evil.example"} })},
		{name: "J02 a foreign audience first", reason: "assertion.audience", make: audience(func(iss string) any { return []string{"https://evil.example", iss} })},
		{name: "J02 the issuer in an array", reason: "assertion.audience", make: audience(func(iss string) any { return []string{iss} })},
		{name: "J03 audience of another server", reason: "assertion.audience", make: audience(func(string) any { return "https://other.example" })},
		{name: "J03 audience in other letters", reason: "assertion.audience", make: audience(func(iss string) any { return strings.ToUpper(iss) })},
		{name: "J03 audience is the client", reason: "assertion.audience", make: audience(func(string) any { return "signer" })},
		{name: "J04 no audience", reason: "assertion.audience", make: claim(map[string]any{"aud": nil})},
		{name: "J04 an empty audience", reason: "assertion.audience", make: claim(map[string]any{"aud": ""})},
		{name: "J04 no audience in an array", reason: "assertion.audience", make: claim(map[string]any{"aud": []string{}})},
		{name: "J04 audience is a number", reason: "assertion.malformed", make: claim(map[string]any{"aud": 1})},
		{name: "J06 expired", reason: "assertion.expired", make: func(l *lab, jti string) string {
			return l.assertion("signer", ec, map[string]any{"jti": jti, "exp": now(l) - 1, "iat": now(l) - 30})
		}},
		{name: "J06 expired this very second", reason: "assertion.expired", make: func(l *lab, jti string) string {
			return l.assertion("signer", ec, map[string]any{"jti": jti, "exp": now(l)})
		}},
		{name: "J07 no exp", reason: "assertion.no_exp", make: claim(map[string]any{"exp": nil})},
		{name: "J07 exp is a string", reason: "assertion.malformed", make: claim(map[string]any{"exp": "9999999999"})},
		{name: "J08 exp in ten years", reason: "assertion.lifetime", make: func(l *lab, jti string) string {
			return l.assertion("signer", ec, map[string]any{"jti": jti, "exp": now(l) + 10*year})
		}},
		{name: "J08 exp in an hour, without iat", reason: "assertion.lifetime", make: func(l *lab, jti string) string {
			return l.assertion("signer", ec, map[string]any{"jti": jti, "exp": now(l) + 3600, "iat": nil})
		}},
		{name: "J08 exp beyond every calendar", reason: "assertion.malformed", make: claim(map[string]any{"exp": 1e300})},
		{name: "J09 no jti", reason: "assertion.jti", make: func(l *lab, _ string) string { return l.assertion("signer", ec, map[string]any{"jti": nil}) }},
		{name: "J09 an empty jti", reason: "assertion.jti", make: func(l *lab, _ string) string { return l.assertion("signer", ec, map[string]any{"jti": ""}) }},
		{name: "J09 a jti of 257 bytes", reason: "assertion.jti", make: func(l *lab, _ string) string {
			return l.assertion("signer", ec, map[string]any{"jti": strings.Repeat("j", 257)})
		}},
		{name: "J09 jti is a number", reason: "assertion.malformed", make: func(l *lab, _ string) string { return l.assertion("signer", ec, map[string]any{"jti": 7}) }},
		{name: "J11 sub is another client", reason: "assertion.subject", make: claim(map[string]any{"sub": "second"}), edit: []string{"client_id", "signer"}},
		{name: "J11 sub is another client, without client_id", reason: "assertion.key", make: claim(map[string]any{"sub": "second"})},
		{name: "J11 iss is another client", reason: "assertion.subject", make: claim(map[string]any{"iss": "second"})},
		{name: "J11 client_id is another client", reason: "assertion.key", make: claim(nil), edit: []string{"client_id", "second"}},
		{name: "J11 sub is missing", reason: "assertion.subject", make: claim(map[string]any{"sub": nil})},
		{name: "J11 sub is missing beside client_id", reason: "assertion.subject", make: claim(map[string]any{"sub": nil}), edit: []string{"client_id", "signer"}},
		{name: "J11 iss is missing", reason: "assertion.subject", make: claim(map[string]any{"iss": nil})},
		{name: "J11 iss and sub in other letters", reason: "assertion.subject", make: claim(map[string]any{"iss": "Signer", "sub": "Signer"}), edit: []string{"client_id", "signer"}},
		{name: "J11 nobody", reason: "client.unknown", make: claim(map[string]any{"iss": "nobody", "sub": "nobody"})},
		{name: "J14 alg none without a signature", reason: "assertion.malformed", make: unsigned(map[string]any{"alg": "none"}, "")},
		{name: "J14 alg none with a signature", reason: "assertion.algorithm", make: unsigned(map[string]any{"alg": "none"}, "AA"), edit: []string{"client_id", "signer"}},
		{name: "J14 alg nOnE", reason: "assertion.algorithm", make: unsigned(map[string]any{"alg": "nOnE"}, "AA")},
		{name: "J14 no alg", reason: "assertion.malformed", make: unsigned(map[string]any{"typ": "JWT"}, "AA")},
		{name: "J14 an unregistered algorithm", reason: "assertion.algorithm", make: header(map[string]any{"alg": "ES384", "kid": ec.kid}, keyOf(t, "p384").key)},
		{name: "J16 embedded key", reason: "assertion.signature", make: header(map[string]any{"alg": "ES256", "jwk": keyJWK(t, other)}, other.key)},
		{name: "J16 embedded key under the victim's kid", reason: "assertion.signature", make: header(map[string]any{"alg": "ES256", "kid": ec.kid, "jwk": keyJWK(t, other)}, other.key)},
		{name: "J16 a URL of keys", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "jku": "https://evil.example/jwks"}, other.key)},
		{name: "J16 a URL of certificates", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "x5u": "https://evil.example/cert"}, other.key)},
		{name: "J18 kid is a path", reason: "assertion.key", make: header(map[string]any{"alg": "ES256", "kid": "../../../../dev/null"}, other.key)},
		{name: "J18 kid is SQL", reason: "assertion.key", make: header(map[string]any{"alg": "ES256", "kid": "' OR '1'='1' --"}, other.key)},
		{name: "J18 kid is a URL", reason: "assertion.key", make: header(map[string]any{"alg": "ES256", "kid": "https://evil.example/key"}, other.key)},
		{name: "J18 kid has NUL and line breaks", reason: "assertion.key", make: header(map[string]any{"alg": "ES256", "kid": "kid-ec\x00\r\nX-Injected: 1"}, other.key)},
		{name: "J18 kid is a number", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": 1}, ec.key)},
		{name: "J18 kid of 8 KiB", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": strings.Repeat("k", 8<<10)}, ec.key)},
		{name: "J18 kid of 20 KiB", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": strings.Repeat("k", 20<<10)}, ec.key)},
		{name: "J18 kid of 64 KiB", reason: "request.too_large", make: header(map[string]any{"alg": "ES256", "kid": strings.Repeat("k", 64<<10)}, ec.key), status: 413},
		{name: "J19 unknown crit", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": ec.kid, "crit": []string{"x"}, "x": 1}, ec.key)},
		{name: "J19 empty crit", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": ec.kid, "crit": []string{}}, ec.key)},
		{name: "J19 b64", reason: "assertion.malformed", make: header(map[string]any{"alg": "ES256", "kid": ec.kid, "crit": []string{"b64"}, "b64": false}, ec.key)},
		{name: "J21 another client's key", reason: "assertion.key", make: header(map[string]any{"alg": "ES256", "kid": other.kid}, other.key)},
		{name: "J21 another client's key under this client's kid", reason: "assertion.signature", make: header(map[string]any{"alg": "ES256", "kid": ec.kid}, other.key)},
		{name: "J21 another client's key without kid", reason: "assertion.signature", make: header(map[string]any{"alg": "ES256"}, other.key)},
		{name: "J21 a signature that was cut", reason: "assertion.signature", make: func(l *lab, jti string) string {
			s := l.assertion("signer", ec, map[string]any{"jti": jti})
			return s[:len(s)-2] // 63 bytes, canonical
		}},
		{name: "J24 no type", reason: "assertion.type", make: claim(nil), edit: []string{"client_assertion_type", ""}},
		{name: "J24 the type of SAML", reason: "assertion.type", make: claim(nil), edit: []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}},
		{name: "J24 the grant type's URN", reason: "assertion.type", make: claim(nil), edit: []string{"client_assertion_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"}},
		{name: "J24 the type in other letters", reason: "assertion.type", make: claim(nil), edit: []string{"client_assertion_type", strings.ToUpper(jwtBearer)}},
		{name: "J24 a type without an assertion", reason: "assertion.type", make: claim(nil), edit: []string{"client_assertion", "", "client_id", "signer"}},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			l := signers(t)
			jti := newJTI()
			bad := a.make(l, jti)
			res := l.byAssertion(bad, a.edit...)
			if a.status != 0 {
				res.clean().wantError(a.status, "invalid_request")
				if got := l.lastReason(); got != a.reason {
					t.Errorf("reason %q, want %q", got, a.reason)
				}
			} else {
				l.refusedAs(res, a.reason)
			}
			if n := l.marks(); n != 0 {
				t.Errorf("a refused assertion left %d marks", n)
			}
			if strings.Contains(l.logged.String(), bad) || strings.Contains(l.logged.String(), "evil.example") {
				t.Error("the log holds what the client sent")
			}
			l.byAssertion(l.assertion("signer", ec, map[string]any{"jti": jti})).want(200)
		})
	}
	t.Run("J25 replay", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		a := l.assertion("signer", ec, nil)
		l.byAssertion(a).want(200)
		l.refusedAs(l.byAssertion(a), "assertion.replayed")
		l.refusedAs(l.byAssertion(a, "client_id", "signer"), "assertion.replayed")
		if n := l.events.count("assertion.replayed"); n != 2 {
			t.Errorf("%d events of 2 replays", n)
		}
		l.restart()
		l.refusedAs(l.byAssertion(a), "assertion.replayed")
		l.clock.add(59 * time.Second)
		l.refusedAs(l.byAssertion(a), "assertion.replayed")
		l.clock.add(time.Second)
		l.refusedAs(l.byAssertion(a), "assertion.expired")
	})
	t.Run("J25 replay at another endpoint", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		calls := map[string]func(a string) response{
			"token":      func(a string) response { return l.byAssertion(a) },
			"introspect": func(a string) response { return l.present("/introspect", a, "token", "x") },
			"revoke":     func(a string) response { return l.present("/revoke", a, "token", "x") },
			"par": func(a string) response {
				q := request("signer", "redirect_uri", signerRedirect)
				q.Set("client_assertion_type", jwtBearer)
				q.Set("client_assertion", a)
				return l.call("/par", q)
			},
		}
		for first, call := range calls {
			a := l.assertion("signer", ec, nil)
			if res := call(a); res.StatusCode != 200 && res.StatusCode != 201 {
				t.Fatalf("%s: %d %s", first, res.StatusCode, res.body)
			}
			for again := range calls {
				l.refusedAs(calls[again](a), "assertion.replayed")
			}
		}
	})
	t.Run("J25 another assertion with the same jti", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		jti := newJTI()
		l.byAssertion(l.assertion("signer", ec, map[string]any{"jti": jti})).want(200)
		l.clock.add(time.Second)
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, map[string]any{"jti": jti})), "assertion.replayed")
		// Each client has jtis of its own: nobody can spend another's.
		l.byAssertion(l.assertion("second", other, map[string]any{"jti": jti})).want(200)
	})
	t.Run("J25 the mark outlives the assertion", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		purge := func() {
			t.Helper()
			if _, err := l.store.Purge(t.Context(), l.clock.Now(), 1000); err != nil {
				t.Fatal(err)
			}
		}
		exp := l.clock.Now().Add(6 * time.Minute) // as long as any is taken
		a := l.assertion("signer", ec, map[string]any{"exp": exp.Unix(), "iat": nil})
		l.byAssertion(a).want(200)
		l.clock.add(6*time.Minute - time.Second)
		purge()
		l.refusedAs(l.byAssertion(a), "assertion.replayed")
		l.clock.add(time.Minute) // a replica whose clock is a minute ahead purges, the others' go on
		purge()
		l.clock.add(-time.Minute)
		l.refusedAs(l.byAssertion(a), "assertion.replayed")
		l.clock.add(2 * time.Minute)
		purge()
		if n := l.marks(); n != 0 {
			t.Errorf("%d marks are kept for ever", n)
		}
		l.refusedAs(l.byAssertion(a), "assertion.expired")
	})
	t.Run("J27 HS256 keyed with the public key", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		rs := keyOf(t, "rs")
		pub := rs.key.Public().(*rsa.PublicKey)
		pkix, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		pkcs1 := x509.MarshalPKCS1PublicKey(pub)
		secrets := map[string][]byte{
			"PKIX": pkix, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}),
			"PKCS 1": pkcs1, "PKCS 1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
			"JWK": keyJWK(t, rs), "JWKS": l.clients.m["rsa"].JWKS, "modulus": pub.N.Bytes(), "modulus in base64url": []byte(base64.RawURLEncoding.EncodeToString(pub.N.Bytes())),
			"empty": {},
		}
		for name, key := range secrets {
			for _, alg := range []string{"HS256", "hs256", "RS256"} {
				a := signJWT(t, map[string]any{"alg": alg, "kid": rs.kid}, l.assertionClaims("rsa", nil), key)
				want := "assertion.algorithm"
				if alg == "RS256" {
					want = "assertion.signature"
				}
				l.refusedAs(l.byAssertion(a), want)
				l.refusedAs(l.byAssertion(a, "client_id", "rsa"), want)
				if t.Failed() {
					t.Fatal(name, alg)
				}
			}
		}
		// Registered all the same, by a registry that checks nothing.
		for _, alg := range []string{"HS256", "none"} {
			l.clients.change("rsa", func(c *clientreg.Client) { c.TokenEndpointAuthSigningAlg = alg })
			a := signJWT(t, map[string]any{"alg": alg, "kid": rs.kid}, l.assertionClaims("rsa", nil), secrets["PEM"])
			l.refusedAs(l.byAssertion(a, "client_id", "rsa"), "assertion.algorithm")
		}
		l.clients.change("rsa", func(c *clientreg.Client) { c.TokenEndpointAuthSigningAlg = "" })
		l.byAssertion(l.assertion("rsa", rs, nil)).want(200)
	})
	t.Run("J29 a client that is registered for secrets", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		hs := signJWT(t, map[string]any{"alg": "HS256"}, l.assertionClaims("secret", nil), []byte(quickSecretValue))
		l.refusedAs(l.byAssertion(hs), "assertion.algorithm")
		l.refusedAs(l.byAssertion(hs, "client_id", "secret"), "client.method")
		l.refusedAs(l.byAssertion(l.assertion("secret", ec, nil)), "client.method") // its own key even
		l.refusedAs(l.byAssertion(l.assertion("spa", ec, nil)), "client.method")    // public
		l.refusedAs(l.call("/token", url.Values{"client_id": {"signer"}, "grant_type": {"client_credentials"}}), "client.missing")
		l.clients.change("signer", func(c *clientreg.Client) {
			c.Secrets = []clientreg.ClientSecret{{Hash: quickHash(quickSecretValue)}}
		})
		cc := url.Values{"grant_type": {"client_credentials"}}
		l.refusedAs(l.call("/token", cc, "Authorization", basic("signer", quickSecretValue)), "client.method")
		cc.Set("client_id", "signer")
		cc.Set("client_secret", quickSecretValue)
		l.refusedAs(l.call("/token", cc), "client.method")
		l.call("/token", url.Values{"grant_type": {"client_credentials"}}, "Authorization", basic("secret", quickSecretValue)).want(200)
		if n := l.marks(); n != 0 {
			t.Errorf("%d marks", n)
		}
	})
	t.Run("J29 a disabled client", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		l.clients.change("signer", func(c *clientreg.Client) { c.Disabled = true })
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "client.disabled")
	})
	t.Run("J21 tokens of other kinds", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		for _, typ := range []string{"at+jwt", "application/at+jwt", "dpop+jwt", "oauth-authz-req+jwt", "logout+jwt", "secevent+jwt", "jwt+x", "x"} {
			a := signJWT(t, map[string]any{"alg": "ES256", "kid": ec.kid, "typ": typ}, l.assertionClaims("signer", nil), ec.key)
			l.refusedAs(l.byAssertion(a), "assertion.typ")
		}
		for _, typ := range []string{"JWT", "jwt", "application/jwt", "client-authentication+jwt", "application/client-authentication+jwt"} {
			a := signJWT(t, map[string]any{"alg": "ES256", "kid": ec.kid, "typ": typ}, l.assertionClaims("signer", nil), ec.key)
			l.byAssertion(a).want(200)
		}
		// The provider's own tokens are no assertions.
		tok := l.redeemSigned(l.signerCode(), l.assertion("signer", ec, nil)).want(200)
		l.refusedAs(l.byAssertion(tok.str("id_token"), "client_id", "signer"), "assertion.key")
		l.refusedAs(l.byAssertion(tok.str("access_token"), "client_id", "signer"), "assertion.malformed")
	})
	t.Run("J21 what is no token", func(t *testing.T) {
		t.Parallel()
		l := signers(t)
		good := l.assertion("signer", ec, nil)
		parts := strings.Split(good, ".")
		flat, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []string{"x", ".", "..", "a.b.c", string(flat), good + ".", good + "." + parts[2], " " + good, good + " ", good + "\n", good + "=",
			parts[0] + "." + parts[1] + ".", parts[0] + ".." + parts[2], strings.Repeat("a.", 4000), parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`[]`)) + "." + parts[2],
			parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"signer","sub":"second"}`)) + "." + parts[2]} {
			l.refusedAs(l.byAssertion(x), "assertion.malformed")
			l.byAssertion(x, "client_id", "signer").clean().wantError(401, "invalid_client")
			if r := l.lastReason(); r != "assertion.malformed" && r != "assertion.signature" {
				t.Errorf("%.40q: %s", x, r)
			}
		}
		l.byAssertion(good).want(200)
	})
}

// TestAttackR04_assertion: 64 uses of one assertion at once, at all endpoints.
// One wins; the others are refused and told of. OpenID Connect Core §9.
func TestAttackR04_assertion(t *testing.T) {
	t.Parallel()
	l := signers(t, noLimits, patient)
	ec := keyOf(t, "ec")
	won := func(r response) bool { return r.StatusCode == 200 }
	lost := func(r response) bool { return r.StatusCode == 401 && r.str("error") == "invalid_client" }
	seen := 0
	for round := range raceRounds() {
		l.slow(round)
		a := l.assertion("signer", ec, nil)
		ws := winners(t, atOnce(crowd, func(i int) response {
			switch {
			case round%2 == 0:
				return l.byAssertion(a)
			case i%3 == 0:
				return l.present("/revoke", a, "token", "x")
			case i%3 == 1:
				return l.present("/introspect", a, "token", "x")
			}
			return l.byAssertion(a)
		}), won, lost)
		l.fast()
		if len(ws) != 1 {
			t.Fatalf("round %d: %d uses won", round, len(ws))
		}
		if n := l.events.count("assertion.replayed") - seen; n != crowd-1 {
			t.Errorf("round %d: %d events", round, n)
		}
		seen = l.events.count("assertion.replayed")
	}
}
