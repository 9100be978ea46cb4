package handlers_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// TestAssertion: private_key_jwt at every endpoint where clients authenticate,
// with and without client_id beside it. RFC 7523 §2.2, OpenID Connect Core §9.
func TestAssertion(t *testing.T) {
	t.Parallel()
	ec := keyOf(t, "ec")
	for name, path := range map[string]string{"root": "", "path": "/tenant/a"} {
		for _, id := range []string{"", "signer"} {
			t.Run(name+" client_id="+id, func(t *testing.T) {
				t.Parallel()
				l := signers(t, func(c *handlers.Config) { c.Issuer += path })
				a := func() string { return l.assertion("signer", ec, nil) }
				q := request("signer", "redirect_uri", signerRedirect, "scope", "openid offline_access", "prompt", "consent", "client_id", id)
				q.Set("client_assertion_type", jwtBearer)
				q.Set("client_assertion", a())
				uri := l.call(l.path("/par"), q).want(201).str("request_uri")
				b := l.browser()
				res := b.get(l.path("/authorize") + "?" + url.Values{"client_id": {"signer"}, "request_uri": {uri}}.Encode())
				_, params := b.allow(b.signIn(res, "alice")).location()
				tok := l.redeemSigned(params.Get("code"), a(), "client_id", id).want(200)
				next := l.present("/token", a(), "client_id", id, "grant_type", "refresh_token", "refresh_token", tok.str("refresh_token")).want(200)
				if m := l.present("/introspect", a(), "client_id", id, "token", next.str("access_token")).want(200).json(); m["active"] != true {
					t.Errorf("%v", m)
				}
				l.present("/revoke", a(), "client_id", id, "token", next.str("refresh_token")).want(200)
				if m := l.present("/introspect", a(), "client_id", id, "token", next.str("access_token")).want(200).json(); m["active"] != false {
					t.Errorf("%v", m)
				}
				l.byAssertion(a(), "client_id", id).want(200)
				if n := l.marks(); n != 7 {
					t.Errorf("%d marks of 7 assertions", n)
				}
			})
		}
	}
}

// TestAssertionAlgorithms: each algorithm with a real key, and what registration
// says of it.
func TestAssertionAlgorithms(t *testing.T) {
	t.Parallel()
	l := signers(t)
	all := []string{"ec", "rs", "ps", "ed"}
	l.clients.change("signer", func(c *clientreg.Client) {
		c.JWKS = keySet(t, keyOf(t, "ec"), keyOf(t, "rs"), keyOf(t, "ed"), keyOf(t, "p384"))
	})
	for _, name := range all {
		k := keyOf(t, name)
		l.byAssertion(l.assertion("signer", k, nil)).want(200)
		k.kid = "" // RFC 7515 §4.1.4: optional
		a := signJWT(t, map[string]any{"alg": k.alg}, l.assertionClaims("signer", nil), k.key)
		l.byAssertion(a).want(200)
	}
	l.refusedAs(l.byAssertion(l.assertion("signer", keyOf(t, "p384"), nil)), "assertion.algorithm")
	for _, registered := range append(all, "p384") {
		alg := keyOf(t, registered).alg
		l.clients.change("signer", func(c *clientreg.Client) { c.TokenEndpointAuthSigningAlg = alg })
		for _, name := range append(all, "p384") {
			res := l.byAssertion(l.assertion("signer", keyOf(t, name), nil))
			if name == registered {
				res.want(200)
			} else {
				l.refusedAs(res, "assertion.algorithm")
			}
		}
	}
}

// TestAssertionTimes: RFC 7523 §3 (4) to (6), with one minute for clocks that
// differ.
func TestAssertionTimes(t *testing.T) {
	t.Parallel()
	l := signers(t)
	ec := keyOf(t, "ec")
	now := l.clock.Now().Unix()
	for name, tt := range map[string]struct {
		claims map[string]any
		reason string // empty: accepted
	}{
		"exp in a second":                  {map[string]any{"exp": now + 1}, ""},
		"exp in a fraction":                {map[string]any{"exp": float64(now) + 0.5}, ""},
		"exp now":                          {map[string]any{"exp": now}, "assertion.expired"},
		"exp in five minutes":              {map[string]any{"exp": now + 300}, ""},
		"exp in five minutes, clock ahead": {map[string]any{"exp": now + 360, "iat": now + 60, "nbf": now + 60}, ""},
		"exp too far":                      {map[string]any{"exp": now + 361}, "assertion.lifetime"},
		"iat five minutes ago":             {map[string]any{"iat": now - 300}, ""},
		"iat too old":                      {map[string]any{"iat": now - 301}, "assertion.iat"},
		"iat a minute ahead":               {map[string]any{"iat": now + 60}, ""},
		"iat too far ahead":                {map[string]any{"iat": now + 61}, "assertion.iat"},
		"iat zero":                         {map[string]any{"iat": 0}, "assertion.iat"},
		"no iat":                           {map[string]any{"iat": nil}, ""},
		"iat is a string":                  {map[string]any{"iat": "1"}, "assertion.malformed"},
		"nbf 8 s ahead":                    {map[string]any{"nbf": now + 8}, ""},
		"nbf a minute ahead":               {map[string]any{"nbf": now + 60}, ""},
		"nbf too far ahead":                {map[string]any{"nbf": now + 61}, "assertion.nbf"},
		"nbf long ago":                     {map[string]any{"nbf": 1}, ""},
		"jti of 256 bytes":                 {map[string]any{"jti": strings.Repeat("j", 256)}, ""},
		"jti with strange characters":      {map[string]any{"jti": "'; DROP TABLE replay; --\x00\n\u2028"}, ""},
		"unknown claims":                   {map[string]any{"nonce": "x", "cnf": map[string]any{"jkt": "x"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := l.sub(t)
			res := l.byAssertion(l.assertion("signer", ec, tt.claims))
			if tt.reason == "" {
				res.want(200)
			} else {
				l.refusedAs(res, tt.reason)
			}
		})
	}
}

// TestAssertionAudience: the issuer alone and as a string (rfc7523bis §3), and
// what clients with AllowAssertionAudience may send as well.
func TestAssertionAudience(t *testing.T) {
	t.Parallel()
	ec := keyOf(t, "ec")
	for _, base := range []string{"", "/tenant/a"} {
		l := signers(t, func(c *handlers.Config) { c.Issuer += base })
		host := strings.TrimSuffix(l.issuer, base)
		for _, tt := range []struct {
			name            string
			aud             any
			strict, allowed string // at which endpoints: "all", "none", or one
		}{
			{"issuer", l.issuer, "all", "all"},
			{"issuer in an array", []string{l.issuer}, "none", "all"}, // zitadel/oidc
			{"token endpoint", l.issuer + "/token", "none", "all"},    // Nimbus, Authlib
			{"token endpoint in an array", []string{l.issuer + "/token"}, "none", "all"},
			{"introspection endpoint", l.issuer + "/introspect", "none", "/introspect"},
			{"revocation endpoint in an array", []string{l.issuer + "/revoke"}, "none", "/revoke"},
			{"authorization endpoint", l.issuer + "/authorize", "none", "none"},
			{"issuer twice", []string{l.issuer, l.issuer}, "none", "none"},
			{"issuer and token endpoint", []string{l.issuer, l.issuer + "/token"}, "none", "none"},
			{"token endpoint and another server", []string{l.issuer + "/token", "https://evil.example"}, "none", "none"},
			{"another server's token endpoint", "https://evil.example/token", "none", "none"},
			{"token endpoint with a query", l.issuer + "/token?", "none", "none"},
			{"token endpoint by https", "https" + strings.TrimPrefix(l.issuer, "http") + "/token", "none", "none"},
			{"path alone", base + "/token", "none", "none"},
			{"empty", "", "none", "none"},
			{"empty in an array", []string{""}, "none", "none"},
			{"host and a slash", host + "/", "none", "none"},
			{"no audience", nil, "none", "none"},
		} {
			for _, allow := range []bool{false, true} {
				l.clients.change("signer", func(c *clientreg.Client) { c.AllowAssertionAudience = allow })
				want := tt.strict
				if allow {
					want = tt.allowed
				}
				for _, path := range []string{"/token", "/introspect", "/revoke"} {
					a := l.assertion("signer", ec, map[string]any{"aud": tt.aud})
					res := l.present(path, a, "grant_type", "client_credentials", "token", "x")
					if want == "all" || want == path {
						if res.StatusCode != 200 {
							t.Errorf("%s, allow %v, %s: %d %s", tt.name, allow, path, res.StatusCode, l.lastReason())
						}
						continue
					}
					l.refusedAs(res, "assertion.audience")
					if t.Failed() {
						t.Fatalf("%s, allow %v, %s", tt.name, allow, path)
					}
				}
			}
		}
		// The host of a request makes no audience.
		l.clients.change("signer", func(c *clientreg.Client) { c.AllowAssertionAudience = true })
		for _, aud := range []string{"http://evil.example" + base + "/revoke", "https://evil.example" + base + "/revoke"} {
			form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {l.assertion("signer", ec, map[string]any{"aud": aud})}, "token": {"x"}}
			l.refusedAs(l.browser().send("POST", l.path("/revoke"), form.Encode(), "Host", "evil.example", "X-Forwarded-Host", "evil.example"), "assertion.audience")
		}
	}
}

// TestAssertionOneMethod: an assertion and anything else is more than one
// method, and refusing it spends neither the assertion nor the code.
// RFC 6749 §2.3.
func TestAssertionOneMethod(t *testing.T) {
	t.Parallel()
	l := signers(t)
	ec := keyOf(t, "ec")
	l.clients.change("signer", func(c *clientreg.Client) { c.Secrets = []clientreg.ClientSecret{{Hash: quickHash(quickSecretValue)}} })
	verifier, _ := pkcePair("signer")
	code, a := l.signerCode(), l.assertion("signer", ec, nil)
	form := func(edit ...string) url.Values {
		f := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {signerRedirect},
			"client_assertion_type": {jwtBearer}, "client_assertion": {a}}
		for i := 0; i+1 < len(edit); i += 2 {
			f.Set(edit[i], edit[i+1])
		}
		return f
	}
	for name, res := range map[string]response{
		"Basic with an empty secret": l.call("/token", form(), "Authorization", basic("signer", "")), // what zitadel/oidc tries first
		"Basic":                      l.call("/token", form(), "Authorization", basic("signer", quickSecretValue)),
		"Bearer":                     l.call("/token", form(), "Authorization", "Bearer x"),
		"client_secret":              l.call("/token", form("client_secret", quickSecretValue)),
		"type alone beside Basic":    l.call("/token", form("client_assertion", ""), "Authorization", basic("signer", quickSecretValue)),
		"type alone beside a secret": l.call("/token", form("client_assertion", "", "client_secret", quickSecretValue)),
		"assertion alone":            l.call("/token", form("client_assertion_type", ""), "Authorization", basic("signer", quickSecretValue)),
	} {
		res.clean().wantError(400, "invalid_request")
		if got := l.lastReason(); got != "client.several" {
			t.Errorf("%s: %s", name, got)
		}
	}
	twice := form()
	twice.Add("client_assertion", l.assertion("signer", ec, nil))
	l.call("/token", twice).wantError(400, "invalid_request")
	if n := l.marks(); n != 0 {
		t.Errorf("%d marks", n)
	}
	l.refusedAs(l.redeemSigned(code, l.assertion("signer", keyOf(t, "other"), nil)), "assertion.key")
	l.redeemSigned(code, a).want(200)
	l.refusedAs(l.redeemSigned(code, a), "assertion.replayed") // a thief of the whole request: the grant lives on
	if l.events.count("code.reused") != 0 {
		t.Error("a failed authentication touched the code")
	}
}

// TestAssertionKeySet: keys at a URL: read once, again for a key that is new,
// at most once a minute, and kept while the server is down.
func TestAssertionKeySet(t *testing.T) {
	t.Parallel()
	ec, other := keyOf(t, "ec"), keyOf(t, "other")
	t.Run("cached", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		for range 3 {
			l.byAssertion(l.assertion("signer", ec, nil)).want(200)
		}
		if n := s.hits.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		// One server, several clients: the keys of the one that signs count.
		l.byAssertion(l.assertion("second", other, nil)).want(200)
		l.refusedAs(l.byAssertion(l.assertion("second", ec, nil)), "assertion.key")
	})
	t.Run("a new key", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		l.byAssertion(l.assertion("signer", ec, nil)).want(200)
		s.set(func(s *keyServer) { s.body = keySet(t, ec, other) })
		a := l.assertion("signer", other, nil)
		l.refusedAs(l.byAssertion(a), "assertion.key") // the set was read this minute
		l.clock.add(minute)
		l.byAssertion(l.assertion("signer", other, nil)).want(200)
		if n := s.hits.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		s.set(func(s *keyServer) { s.body = keySet(t, other) }) // the old key is taken back
		for range 2 {
			l.clock.add(5*time.Minute + time.Second)
			l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.key")
		}
		l.byAssertion(l.assertion("signer", other, nil)).want(200)
	})
	t.Run("a new key under the old name, or without a name", func(t *testing.T) {
		t.Parallel()
		for _, kid := range []string{"kid-ec", ""} {
			l, s := remoteKeys(t)
			old, young := clientKey{kid, "ES256", ec.key}, clientKey{kid, "ES256", other.key}
			s.set(func(s *keyServer) { s.body = keySet(t, old) })
			sign := func(k clientKey) string {
				h := map[string]any{"alg": k.alg}
				if kid != "" {
					h["kid"] = kid
				}
				return signJWT(t, h, l.assertionClaims("signer", nil), k.key)
			}
			l.byAssertion(sign(old)).want(200)
			s.set(func(s *keyServer) { s.body = keySet(t, young) })
			l.clock.add(minute)
			l.byAssertion(sign(young)).want(200)
			l.refusedAs(l.byAssertion(sign(old)), "assertion.signature")
		}
	})
	t.Run("strangers cannot make it fetch", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		for range 20 {
			l.refusedAs(l.byAssertion(signJWT(t, map[string]any{"alg": "ES256", "kid": newJTI()}, l.assertionClaims("signer", nil), other.key)), "assertion.key")
			l.refusedAs(l.byAssertion(signJWT(t, map[string]any{"alg": "ES256", "jku": s.URL + "/evil"}, l.assertionClaims("signer", nil), other.key)), "assertion.malformed")
		}
		if n := s.hits.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		l.clock.add(minute)
		for range 20 { // what names a key of the set, or none that could be new
			l.refusedAs(l.byAssertion(l.assertion("signer", ec, map[string]any{"aud": "https://other.example"})), "assertion.audience")
			l.refusedAs(l.byAssertion(signJWT(t, map[string]any{"alg": "HS256"}, l.assertionClaims("signer", nil), []byte("x")), "client_id", "signer"), "assertion.algorithm")
		}
		if n := s.hits.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
	t.Run("the client's server is down", func(t *testing.T) {
		t.Parallel()
		for name, f := range map[string]func(*keyServer){
			"503":            func(s *keyServer) { s.status = 503 },
			"404":            func(s *keyServer) { s.status = 404 },
			"a redirect":     func(s *keyServer) { s.status = 302; s.header.Set("Location", s.URL+"/there") },
			"HTML":           func(s *keyServer) { s.header.Set("Content-Type", "text/html") },
			"no JSON":        func(s *keyServer) { s.body = []byte("<html>") },
			"no keys":        func(s *keyServer) { s.body = []byte(`{}`) },
			"too much":       func(s *keyServer) { s.body = []byte(`{"keys":[],"x":"` + strings.Repeat("x", 300<<10) + `"}`) },
			"a private key":  func(s *keyServer) { s.body = withMember(t, keySet(t, ec), "d", "AAAA") },
			"a weak RSA key": func(s *keyServer) { s.body = []byte(`{"keys":[{"kty":"RSA","n":"wQ","e":"AQAB"}]}`) },
		} {
			l, s := remoteKeys(t)
			s.set(f)
			a := l.assertion("signer", ec, nil)
			res := l.byAssertion(a)
			l.refusedAs(res, "assertion.keys")
			l.byAssertion(l.assertion("second", other, nil)).want(200) // nobody else suffers
			if strings.Contains(res.body, "127.0.0.1") || strings.Contains(res.body, "jwks") {
				t.Errorf("%s: %s", name, res.body)
			}
			// It comes back: the same assertion still works.
			s.set(func(s *keyServer) {
				s.status, s.body, s.header = 200, keySet(t, ec), http.Header{"Content-Type": {"application/jwk-set+json"}}
			})
			l.refusedAs(l.byAssertion(a), "assertion.keys") // not asked again within the minute
			l.clock.add(minute)
			l.byAssertion(l.assertion("signer", ec, nil)).want(200)
			if n := s.hits.Load(); n != 2 {
				t.Errorf("%s: %d fetches", name, n)
			}
			if t.Failed() {
				t.Fatal(name)
			}
		}
	})
	t.Run("the last good set serves on", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		l.byAssertion(l.assertion("signer", ec, nil)).want(200)
		s.set(func(s *keyServer) { s.status = 500 })
		l.clock.add(23 * time.Hour)
		l.byAssertion(l.assertion("signer", ec, nil)).want(200)
		l.refusedAs(l.byAssertion(l.assertion("signer", other, nil)), "assertion.key")
		l.clock.add(2 * time.Hour)
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.keys")
	})
	t.Run("the client's server hangs", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t, func(c *handlers.Config) { c.Timeout = 100 * time.Millisecond })
		hang := make(chan struct{})
		defer close(hang)
		s.set(func(s *keyServer) { s.hang = hang })
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.keys")
	})
	t.Run("the client's server hangs when a key is unknown", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t, func(c *handlers.Config) { c.Timeout = 300 * time.Millisecond })
		known := func() {
			for l.byAssertion(l.assertion("signer", ec, nil)).StatusCode != 200 { // a busy machine may need another try
			}
		}
		known()
		hang := make(chan struct{})
		defer close(hang)
		s.set(func(s *keyServer) { s.hang = hang })
		l.clock.add(minute)
		l.refusedAs(l.byAssertion(l.assertion("signer", other, nil)), "assertion.key")
		known()
	})
	t.Run("loopback is off by default", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t, func(c *handlers.Config) { c.InsecureFetchLoopback = false })
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.keys")
		for _, uri := range []string{"http://rp.example/jwks", "file:///etc/passwd", "https://10.0.0.1/jwks", "https://169.254.169.254/", "https://localhost/", ""} {
			l.clients.change("signer", func(c *clientreg.Client) { c.JWKSURI = uri })
			l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.keys")
		}
		if n := s.hits.Load(); n != 0 {
			t.Errorf("%d connections to loopback", n)
		}
	})
	t.Run("an unknown certificate", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		l.restart() // a provider that trusts the system's authorities
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.keys")
		if n := s.hits.Load(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("registered keys go first", func(t *testing.T) {
		t.Parallel()
		l, s := remoteKeys(t)
		l.clients.change("signer", func(c *clientreg.Client) { c.JWKS = keySet(t, other) })
		l.byAssertion(l.assertion("signer", other, nil)).want(200)
		l.refusedAs(l.byAssertion(l.assertion("signer", ec, nil)), "assertion.key")
		if n := s.hits.Load(); n != 0 {
			t.Errorf("%d fetches", n)
		}
		l.clients.change("signer", func(c *clientreg.Client) { c.JWKS = json.RawMessage(`{"keys":`) })
		l.refusedAs(l.byAssertion(l.assertion("signer", other, nil)), "assertion.keys")
	})
}

// withMember adds a member to the first key of a set.
func withMember(t *testing.T, set json.RawMessage, name, value string) []byte {
	t.Helper()
	var s struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(set, &s); err != nil {
		t.Fatal(err)
	}
	s.Keys[0][name] = value
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAssertionFaults: a storage that fails at the mark is a 503 and never
// invalid_client; nothing but the jti is spent, and that at most once.
func TestAssertionFaults(t *testing.T) {
	t.Parallel()
	ec := keyOf(t, "ec")
	l := signers(t, noLimits, patient)
	hasty := l.cfg
	hasty.Timeout = 60 * time.Millisecond
	short, err := handlers.New(hasty)
	if err != nil {
		t.Fatal(err)
	}
	atMark := func(f storagetest.Fault) {
		l.flaky.Arm(storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
			if c.Method == "Commit" && c.Ops[0].Verb == storage.VerbInsert && c.Ops[0].Record.Kind == storage.KindReplay {
				return f
			}
			return nil
		}})
	}
	for _, f := range faults {
		if f.gone || f.name == "nil, nil" {
			continue // no answer that the contract allows to a Commit
		}
		code, a := l.signerCode(), l.assertion("signer", ec, nil)
		if f.hangs {
			l.serve(short.Handler())
		}
		atMark(f.fault)
		res := l.redeemSigned(code, a)
		l.fast()
		l.serve(l.p.Handler())
		if m := leak(res.body); m != "" {
			t.Errorf("%s: the answer says %q", f.name, m)
		}
		if f.name == "commit, then panic" {
			res.want(500)
		} else if res.wantError(503, "temporarily_unavailable").Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", f.name)
		}
		// The same again: the mark may be there or not.
		again := l.redeemSigned(code, a)
		if again.StatusCode != 200 {
			l.refusedAs(again, "assertion.replayed")
			again = l.redeemSigned(code, l.assertion("signer", ec, nil)).want(200) // the code was not touched
		}
		l.refusedAs(l.redeemSigned(code, a), "assertion.replayed")
		l.userinfo(again.str("access_token")).want(200)
	}
	// The registry's outage is one, too.
	l.clients.setErr(errAway)
	l.byAssertion(l.assertion("signer", ec, nil)).wantError(503, "temporarily_unavailable")
}

// TestAssertionEvents: failures are told and counted, and whoever has the key
// is not locked out by others' failures.
func TestAssertionEvents(t *testing.T) {
	t.Parallel()
	l := signers(t)
	ec := keyOf(t, "ec")
	bad := l.assertion("signer", keyOf(t, "other"), nil)
	limited := 0
	for range 140 {
		switch res := l.byAssertion(bad); res.StatusCode {
		case 401:
		case 429:
			limited++
		default:
			t.Fatalf("status %d", res.StatusCode)
		}
	}
	if limited != 12 {
		t.Errorf("%d of 140 failures held back", limited)
	}
	for _, e := range l.events.es {
		if e.Name == "client.auth_failed" && (e.ClientID != "signer" || e.Reason != "assertion.key") {
			t.Errorf("event %+v", e)
		}
	}
	if n := l.events.count("client.auth_failed"); n != 140 {
		t.Errorf("%d events", n)
	}
	l.byAssertion(l.assertion("signer", ec, nil)).want(200)
}

// TestAssertionMetadata: RFC 8414 §2.
func TestAssertionMetadata(t *testing.T) {
	t.Parallel()
	list := func(m map[string]any, name string) []string {
		var out []string
		l, _ := m[name].([]any)
		for _, v := range l {
			out = append(out, v.(string))
		}
		return out
	}
	algs := []string{"ES256", "RS256", "PS256", "EdDSA"}
	on := signers(t).getWith("/.well-known/oauth-authorization-server").want(200).json()
	for _, endpoint := range []string{"token", "revocation", "introspection"} {
		if got := list(on, endpoint+"_endpoint_auth_methods_supported"); !slices.Contains(got, "private_key_jwt") || slices.Contains(got, "client_secret_jwt") {
			t.Errorf("%s: methods %v", endpoint, got)
		}
		if got := list(on, endpoint+"_endpoint_auth_signing_alg_values_supported"); !slices.Equal(got, algs) {
			t.Errorf("%s: algorithms %v", endpoint, got)
		}
	}
	if m := newWorld(t).getWith("/.well-known/openid-configuration").json(); m["introspection_endpoint_auth_signing_alg_values_supported"] != nil {
		t.Error("announced without the endpoint")
	}
}
