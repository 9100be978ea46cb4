package handlers_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

func TestAttackA89_Methods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, method := range []string{"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "Post", "QUERY"} {
		for _, path := range []string{"/authorize", "/login", "/consent", "/logout"} {
			t.Run("A89 "+method+" "+path, func(t *testing.T) {
				b := b.in(t)
				for _, res := range []response{
					b.send(method, path+"?"+request("web").Encode(), ""),
					b.send(method, path, request("web").Encode()),
				} {
					res.wantPage().noCode()
					if res.StatusCode != 405 || res.Header.Get("Allow") != "GET, POST" {
						t.Errorf("status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
					}
					if strings.Contains(res.body, "html") || len(res.Cookies()) > 0 {
						t.Errorf("body %q, cookies %v", res.body, res.Cookies())
					}
				}
			})
		}
	}
	// A method in a header or a field is none.
	t.Run("A89 override", func(t *testing.T) {
		b := b.in(t)
		b.send("PUT", "/authorize?"+request("web").Encode(), "", "X-HTTP-Method-Override", "GET").want(405)
		b.send("HEAD", "/authorize?"+with(request("web"), "_method=GET"), "").want(405)
	})
	if n := w.events.count("code.issued"); n != 2 {
		t.Errorf("%d codes were issued, want the victim's own two", n)
	}
}

// forgeries are tokens that look like the one given and are none.
func forgeries(t testing.TB, w *world, genuine string) map[string]string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	head, c := jwtHeader(t, genuine), claims(t, genuine)
	parts := strings.Split(genuine, ".")
	make := func(head, claims map[string]any) string {
		h, err1 := json.Marshal(head)
		p, err2 := json.Marshal(claims)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		return enc(h) + "." + enc(p)
	}
	edit := func(m map[string]any, kv ...any) map[string]any {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i+1 < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(input string) string {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + enc(append(r.FillBytes(make32()), s.FillBytes(make32())...))
	}
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]any{"kty": "EC", "crv": "P-256", "x": enc(pub[1:33]), "y": enc(pub[33:])}
	hs := func(secret []byte) string {
		input := make(map[string]any{"alg": "HS256", "kid": head["kid"]}, c)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + enc(m.Sum(nil))
	}
	jwks := w.getWith("/jwks").want(200)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edInput := make(map[string]any{"alg": "EdDSA", "kid": head["kid"]}, c)
	return map[string]string{
		"alg none":                  make(map[string]any{"alg": "none"}, c) + ".",
		"alg none with a kid":       make(edit(head, "alg", "none"), c) + ".",
		"alg None":                  make(map[string]any{"alg": "None"}, c) + ".",
		"alg none with a signature": make(map[string]any{"alg": "none"}, c) + "." + parts[2],
		"alg empty":                 make(map[string]any{"alg": ""}, c) + "." + parts[2],
		"no alg":                    make(map[string]any{"kid": head["kid"]}, c) + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"two parts":                 parts[0] + "." + parts[1],
		"HS256 under the JWKS":      hs([]byte(jwks.body)),
		"HS256 under the kid":       hs([]byte(fmt.Sprint(head["kid"]))),
		"HS256 under nothing":       hs(nil),
		"tampered subject":          make(head, edit(c, "sub", "sub-bob")) + "." + parts[2],
		"tampered sid":              make(head, edit(c, "sid", "x")) + "." + parts[2],
		"tampered header":           make(edit(head, "typ", "JWT"), c) + "." + parts[2],
		"a foreign key":             sign(make(head, c)),
		"a foreign key, no kid":     sign(make(map[string]any{"alg": "ES256"}, c)),
		"a foreign key, EdDSA":      edInput + "." + enc(ed25519.Sign(ed, []byte(edInput))),
		"a foreign key in jwk":      sign(make(map[string]any{"alg": "ES256", "jwk": own}, c)),
		"a foreign key at jku":      sign(make(map[string]any{"alg": "ES256", "jku": "https://evil.example/jwks"}, c)),
		"a foreign key, issuer":     sign(make(head, edit(c, "iss", "https://evil.example"))),
		"an unknown kid":            make(edit(head, "kid", "../../x"), c) + "." + parts[2],
		"crit":                      make(edit(head, "crit", []string{"x"}, "x", 1), c) + "." + parts[2],
		"a zero signature":          parts[0] + "." + parts[1] + "." + enc(append(make32(), make32()...)),
		"a blank after":             genuine + " ",
		"a fourth part":             genuine + ".x",
		"JSON serialization":        `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"garbage":                   "garbage",
		"too large":                 strings.Repeat("a", 5000) + "." + parts[1] + "." + parts[2],
	}
}

func make32() []byte { return make([]byte, 32) }

// sameKeys is a key that a test gives to two issuers.
func sameKeys(t testing.TB) func(*handlers.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "k", Alg: "ES256", Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *handlers.Config) { c.Keys = keys }
}

// twin returns an ID token for the same client and user, signed by the same key
// for another issuer.
func twin(t testing.TB, w *world) string {
	t.Helper()
	other := newWorld(t, func(c *handlers.Config) { c.Keys = w.cfg.Keys })
	_, tok := other.tokens("web")
	return tok.str("id_token")
}

// TestAttackA91_ForgedHint: an id_token_hint that is not ours opens nothing and
// is no oracle either.
func TestAttackA91_ForgedHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sameKeys(t))
	b, tok := w.tokens("web", "prompt", "")
	b.allow(b.begin(request("web")), "remember", "1")
	genuine := tok.str("id_token")
	forged := forgeries(t, w, genuine)
	forged["an access token"] = tok.str("access_token")
	forged["a refresh token"] = tok.str("refresh_token")
	_, other := w.tokens("post", "scope", "openid")
	forged["another client's"] = other.str("id_token")
	foreign := newWorld(t)
	_, theirs := foreign.tokens("web")
	forged["another issuer's"] = theirs.str("id_token")
	for name, hint := range forged {
		t.Run("A91 "+name, func(t *testing.T) {
			w.in(t).browser().get("/authorize?"+request("web", "prompt", "none", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			b.in(t).get("/authorize?"+request("web", "prompt", "none", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			b.in(t).get("/authorize?"+request("web", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			w.in(t).pushAs(request("web", "id_token_hint", hint)).wantError(400, "invalid_request")
		})
	}
	t.Run("A91 another issuer's with the same keys", func(t *testing.T) {
		// Keys of a KMS may serve several issuers; iss tells their tokens apart.
		b.in(t).get("/authorize?"+request("web", "prompt", "none", "id_token_hint", twin(t, w)).Encode()).refusedAt(webRedirect, "invalid_request")
	})
	t.Run("A91 genuine without a session", func(t *testing.T) {
		w.in(t).browser().get("/authorize?"+request("web", "prompt", "none", "id_token_hint", genuine).Encode()).refusedAt(webRedirect, "login_required")
	})
	t.Run("A91 genuine of another user", func(t *testing.T) {
		bob := w.in(t).browser()
		w.in(t).redeem("web", bob.code(request("web"), "bob")).want(200)
		bob.get("/authorize?"+request("web", "prompt", "none", "id_token_hint", genuine).Encode()).refusedAt(webRedirect, "login_required")
		bob.get("/authorize?"+request("web", "prompt", "none", "claims", `{"id_token":{"sub":{"value":"sub-alice"}}}`).Encode()).refusedAt(webRedirect, "login_required")
	})
	t.Run("A91 genuine, control", func(t *testing.T) {
		for _, age := range []time.Duration{0, 11 * time.Minute} { // a hint may be expired
			w.clock.add(age)
			if _, q := b.in(t).begin(request("web", "prompt", "none", "id_token_hint", genuine)).location(); q.Get("code") == "" {
				t.Errorf("no code: %v", q)
			}
		}
	})
}

func TestAttackA93_Oversized(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	huge := strings.Repeat("x", 256<<10)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("p%d=1", i))
	}
	for _, tc := range []struct {
		name   string
		res    func(b *browser) response
		status int
	}{
		{"state of 256 KiB", func(b *browser) response { return b.get("/authorize?" + request("web", "state", huge).Encode()) }, 413},
		{"query of 300 KiB", func(b *browser) response {
			return b.get("/authorize?" + with(request("web"), "pad="+huge+huge[:44<<10]))
		}, 413},
		{"query of 9 KiB", func(b *browser) response { return b.get("/authorize?" + with(request("web"), "pad="+huge[:9<<10])) }, 413},
		{"state of 256 KiB by POST", func(b *browser) response { return b.post("/authorize", request("web", "state", huge)) }, 413},
		{"state of 256 KiB to PAR", func(b *browser) response { return b.w.pushAs(request("web", "state", huge)) }, 413},
		{"100 parameters", func(b *browser) response { return b.get("/authorize?" + with(request("web"), strings.Join(many, "&"))) }, 400},
		{"100 parameters by POST", func(b *browser) response {
			return b.send("POST", "/authorize", with(request("web"), strings.Join(many, "&")))
		}, 400},
		{"a long name", func(b *browser) response { return b.get("/authorize?" + with(request("web"), huge[:200]+"=1")) }, 400},
		{"interaction of 7 KiB", func(b *browser) response { return b.get("/login?interaction=" + huge[:7<<10]) }, 400},
		{"interaction of 256 KiB", func(b *browser) response { return b.get("/consent?interaction=" + huge) }, 413},
		{"logout state of 256 KiB", func(b *browser) response { return b.get("/logout?state=" + huge) }, 413},
		{"logout POST of 256 KiB", func(b *browser) response { return b.post("/logout", url.Values{"state": {huge}}) }, 413},
		{"compressed", func(b *browser) response {
			return b.send("POST", "/authorize", request("web").Encode(), "Content-Encoding", "gzip")
		}, 415},
		{"multipart", func(b *browser) response {
			return b.send("POST", "/authorize", request("web").Encode(), "Content-Type", "multipart/form-data; boundary=x")
		}, 415},
		{"JSON", func(b *browser) response {
			return b.send("POST", "/authorize", "{}", "Content-Type", "application/json")
		}, 415},
	} {
		t.Run("A93 "+tc.name, func(t *testing.T) {
			res := tc.res(b.in(t)).want(tc.status)
			if res.Header.Get("Location") != "" || len(res.body) > 16<<10 {
				t.Errorf("Location %q, body of %d bytes", res.Header.Get("Location"), len(res.body))
			}
		})
	}
	t.Run("A93 alive", func(t *testing.T) {
		w := w.in(t)
		w.redeem("web", b.in(t).code(request("web"), "alice")).want(200)
	})
	t.Run("A93 a login form of 256 KiB", func(t *testing.T) {
		b := w.in(t).browser()
		u, _ := b.begin(request("web")).location()
		res := b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"login"}, "username": {huge}, "password": {huge}})
		res.refusedPage()
	})
}

func TestAttackA96_BrokenEncodings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "prompt", "claims", "login_hint",
		"ui_locales", "request_uri", "id_token_hint", "authorization_details", "x_unknown",
	} {
		for _, v := range []string{
			"%00", "a%00b", "%ff", "%c0%af", "%ed%a0%80", "%f4%90%80%80", "%zz", "%", "%4", "%u0041", "\xff", "%E2%82", "a%",
		} {
			t.Run("A96 "+name+" "+url.QueryEscape(v), func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				query := with(request("web", name, ""), name+"="+v)
				b.get("/authorize?" + query).refusedPage()
				b.send("POST", "/authorize", query).refusedPage()
				w.in(t).browser().send("POST", "/par", query, "Authorization", basic("web", webSecret)).wantError(400, "invalid_request")
			})
		}
	}
	for _, target := range []string{
		"/login?interaction=%00", "/login?interaction=%ff", "/consent?interaction=%zz", "/login?%zz", "/logout?state=%00", "/logout?id_token_hint=%ff",
		"/logout?client_id=%00", "/login?interaction=ix_%2e%2e%2f", "/login?interaction=ix_" + strings.Repeat("A", 51), "/login?interaction=a&interaction=b",
		"/login", "/consent", "/login?interaction=", "/login?interaction=ac_" + strings.Repeat("A", 51),
	} {
		t.Run("A96 "+target, func(t *testing.T) { b.in(t).get(target).refusedPage() })
	}
	t.Run("A96 cookies", func(t *testing.T) {
		b := b.in(t)
		names := b.cookies()
		for _, v := range []string{"", "x", "se_", "se_" + strings.Repeat("A", 22) + "." + strings.Repeat("A", 43), "se_" + strings.Repeat("=", 66), strings.Repeat("A", 43), strings.Repeat("A", 4000), "%00", `"q"`} {
			for _, c := range names {
				w.in(t).getWith("/authorize?"+request("web", "prompt", "none").Encode(), "Cookie", c.Name+"="+v).refusedAt(webRedirect, "login_required")
			}
		}
	})
}

// TestAttackA96_LineFeedsInHandles: Go's base64 skips line feeds, so a handle of
// the right length may decode to less, and a longer one to the same.
func TestAttackA96_LineFeedsInHandles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, tok := w.tokens("native")
	rt, at := tok.str("refresh_token"), tok.str("access_token")
	code := w.victim("native").code(request("native"), "alice")
	uri := w.push(request("spa"))
	for _, lf := range []string{"\n", "\r", "\r\n"} {
		within := func(s string, at, n int) string { // the same length
			return s[:at] + strings.Repeat(lf, n) + s[at+n*len(lf):]
		}
		beside := func(s string) []string {
			return []string{within(s, len(s)-20, 4), within(s, len(s)-48, 20), s[:len(s)-9] + lf + s[len(s)-9:], s + lf, lf + s}
		}
		for n, s := range beside(rt) {
			t.Run(fmt.Sprintf("A96 refresh token %q %d", lf, n), func(t *testing.T) {
				w.in(t).refresh("native", s).wantError(400, "invalid_grant")
				w.in(t).revokeToken("native", s).want(200)
			})
		}
		for n, s := range beside(at) {
			t.Run(fmt.Sprintf("A96 access token %q %d", lf, n), func(t *testing.T) {
				w.in(t).call("/userinfo", url.Values{"access_token": {s}}).want(401)
				w.in(t).revokeToken("native", s).want(200)
			})
		}
		for n, s := range beside(code) {
			t.Run(fmt.Sprintf("A96 code %q %d", lf, n), func(t *testing.T) {
				w.in(t).redeem("native", s).wantError(400, "invalid_grant")
			})
		}
		for n, s := range beside(uri) {
			t.Run(fmt.Sprintf("A96 request_uri %q %d", lf, n), func(t *testing.T) {
				w.in(t).browser().get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {s}}.Encode()).refusedPage()
			})
		}
	}
	w.userinfo(at).want(200) // what was revoked was another spelling
	w.redeem("native", code).want(200)
	w.refresh("native", rt).want(200)
}

func TestAttackA97_ErrorPagesEscape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, payload := range []string{markup, `<img src=x onerror=alert(1)>`, `'-alert(1)-'`, "{{alert(1)}}", `javascript:alert(1)`, "\u2028<svg/onload=alert(1)>", "＜script＞alert(1)"} {
		for _, name := range []string{
			"client_id", "redirect_uri", "response_type", "response_mode", "scope", "prompt", "nonce", "code_challenge_method", "max_age", "ui_locales",
			"request", "request_uri", "claims", "id_token_hint", "resource", "authorization_details", "registration", payload,
		} {
			t.Run("A97 "+name+" "+payload, func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				for _, res := range []response{
					b.get("/authorize?" + request("web", name, payload).Encode()),
					b.get("/authorize?" + request("web", name, payload, "client_id", "nobody"+payload).Encode()),
					b.get("/authorize?" + request("web", name, payload, "response_mode", "form_post").Encode()),
					b.post("/authorize", request("web", name, payload, "redirect_uri", "https://evil.example")),
					b.get("/login?" + url.Values{name: {payload}, "interaction": {payload}}.Encode()),
				} {
					res.harmless()
					if strings.Contains(res.body, payload) || strings.Contains(res.body, "alert(1)") {
						t.Errorf("%s: the page holds the input: %.200s", res.Request.URL, res.body)
					}
				}
			})
		}
	}
}

func TestAttackA98_LoginHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, payload := range []string{
		markup, `" autofocus onfocus=alert(1) x="`, `'><svg onload=alert(1)>`, "</input><script>alert(1)</script>", "&quot;&gt;&lt;script&gt;", "<!--", "\u202ecod.exe", "{{.CSRF}}",
	} {
		for _, name := range []string{"login_hint", "ui_locales", "acr_values", "display", "claims_locales"} {
			t.Run("A98 "+name+" "+payload, func(t *testing.T) {
				b := w.in(t).browser()
				for _, client := range []string{"web", "spa"} {
					u, _ := b.begin(request(client, name, payload)).location()
					page := b.get(u.String()).want(200)
					noMarkup(t, page, payload)
					if name == "login_hint" && strings.Contains(payload, "script") && !strings.Contains(page.body, "script") {
						t.Error("the hint is not shown at all: nothing was tested")
					}
					// Typed by hand it comes back the same way.
					again := b.post(u.String(), url.Values{"csrf": {csrf(page)}, "do": {"login"}, "username": {payload}, "password": {"x"}}).want(200)
					noMarkup(t, again, payload)
				}
			})
		}
	}
}

// noMarkup fails if a page of the kit holds script or a stranger's markup.
func noMarkup(t testing.TB, page response, payload string) {
	t.Helper()
	if strings.ContainsAny(payload, `<>"'`) && strings.Contains(page.body, payload) {
		t.Errorf("the page holds %q as it is", payload)
	}
	for _, s := range []string{"<script", "<svg onload", "<img", " onfocus=", " onload=", " onerror=", "javascript:", "\u202e", "<!--"} {
		if strings.Contains(strings.ReplaceAll(page.body, html.EscapeString(payload), ""), s) {
			t.Errorf("the page holds %q", s)
		}
	}
	page.harmless()
	if strings.Contains(policy(t, page)["script-src"]+policy(t, page)["default-src"], "unsafe") {
		t.Errorf("policy %v", policy(t, page))
	}
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", page.Header.Get("Content-Type"))
	}
}
