package handlers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

const markup = `"><script>alert(1)</script>`

// TestAttackA_Refusals: a request that fails a check is told so at the client's
// URI, by every way in and in every response mode.
func TestAttackA_Refusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("m2m", func(c *clientreg.Client) { c.RedirectURIs = []string{webRedirect} })
	b := w.victim("web", "native", "spa", "nopkce")
	const (
		bad    = "invalid_request"
		badRT  = "unsupported_response_type"
		badSc  = "invalid_scope"
		unauth = "unauthorized_client"
	)
	short := strings.Repeat("a", 42)
	for _, tc := range []struct {
		name, client string
		edit         []string // as for request
		raw, code    string
	}{
		{"A51 response_type missing", "web", []string{"response_type", ""}, "", bad},
		{"A51 response_type empty", "web", []string{"response_type", ""}, "response_type=", bad},
		{"A52 unknown", "web", []string{"response_type", "bogus"}, "", badRT},
		{"A52 other case", "web", []string{"response_type", "Code"}, "", badRT},
		{"A52 a blank after", "web", []string{"response_type", "code "}, "", badRT},
		{"A52 a blank before", "web", []string{"response_type", " code"}, "", badRT},
		{"A52 twice in one", "web", []string{"response_type", "code code"}, "", badRT},
		{"A52 none", "web", []string{"response_type", "none"}, "", badRT},
		{"A52 a tab", "web", []string{"response_type", "code\t"}, "", badRT},
		{"A52 a comma", "web", []string{"response_type", "code,token"}, "", badRT},
		{"A53 token", "web", []string{"response_type", "token"}, "", badRT},
		{"A53 token by a public client", "native", []string{"response_type", "token"}, "", badRT},
		{"A53 id_token", "web", []string{"response_type", "id_token"}, "", badRT},
		{"A53 id_token token", "web", []string{"response_type", "id_token token"}, "", badRT},
		{"A54 code token", "web", []string{"response_type", "code token"}, "", badRT},
		{"A54 code id_token", "web", []string{"response_type", "code id_token"}, "", badRT},
		{"A54 id_token code", "web", []string{"response_type", "id_token code"}, "", badRT},
		{"A54 code id_token token", "web", []string{"response_type", "code id_token token"}, "", badRT},
		{"A55 public client without a challenge", "native", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A55 public client with a method alone", "native", []string{"code_challenge", ""}, "", bad},
		{"A55 public client with an empty challenge", "native", []string{"code_challenge", ""}, "code_challenge=", bad},
		{"A55 public client, pushed", "spa", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A56 confidential client without a challenge", "web", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A56 confidential client without a nonce", "web", []string{"code_challenge", "", "code_challenge_method", "", "nonce", ""}, "", bad},
		{"A56 excused client without openid", "nopkce", []string{"code_challenge", "", "code_challenge_method", "", "scope", "profile"}, "", bad},
		{"A56 excused client with a method alone", "nopkce", []string{"code_challenge", ""}, "", bad},
		{"A57 plain", "web", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 plain by a public client", "native", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 plain by an excused client", "nopkce", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 s256", "web", []string{"code_challenge_method", "s256"}, "", bad},
		{"A57 S256 and a blank", "web", []string{"code_challenge_method", "S256 "}, "", bad},
		{"A57 S512", "web", []string{"code_challenge_method", "S512"}, "", bad},
		{"A57 none", "web", []string{"code_challenge_method", "none"}, "", bad},
		{"A58 no method", "web", []string{"code_challenge_method", ""}, "", bad},
		{"A58 an empty method", "web", []string{"code_challenge_method", ""}, "code_challenge_method=", bad},
		{"A58 no method, excused client", "nopkce", []string{"code_challenge_method", ""}, "", bad},
		{"A58 no method, public client", "native", []string{"code_challenge_method", ""}, "", bad},
		{"A59 too short", "web", []string{"code_challenge", "abc"}, "", bad},
		{"A59 42 characters", "web", []string{"code_challenge", short}, "", bad},
		{"A59 44 characters", "web", []string{"code_challenge", short + "aa"}, "", bad},
		{"A59 128 characters", "web", []string{"code_challenge", strings.Repeat("a", 128)}, "", bad},
		{"A59 padded", "web", []string{"code_challenge", short + "A="}, "", bad},
		{"A59 standard base64", "web", []string{"code_challenge", "+/" + short[:40] + "A"}, "", bad},
		{"A59 stray bits", "web", []string{"code_challenge", short + "B"}, "", bad},
		{"A59 a line feed", "web", []string{"code_challenge", short + "A\n"}, "", bad},
		{"A59 dots as in a verifier", "web", []string{"code_challenge", short[:41] + ".A"}, "", bad},
		{"A67 none and login", "web", []string{"prompt", "none login"}, "", bad},
		{"A67 none and consent", "web", []string{"prompt", "consent none"}, "", bad},
		{"A67 none and select_account", "web", []string{"prompt", "none select_account"}, "", bad},
		{"A67 none in other case", "web", []string{"prompt", "NONE"}, "", bad},
		{"A67 none and an unknown one", "web", []string{"prompt", "none create"}, "", bad},
		{"A67 with a comma", "web", []string{"prompt", "none,login"}, "", bad},
		{"A71 unknown", "web", []string{"response_mode", "bogus"}, "", bad},
		{"A71 other case", "web", []string{"response_mode", "Query"}, "", bad},
		{"A71 web_message", "web", []string{"response_mode", "web_message"}, "", bad},
		{"A71 jwt, not switched on", "web", []string{"response_mode", "query.jwt"}, "", bad},
		{"A71 two", "web", []string{"response_mode", "query fragment"}, "", bad},
		{"A71 form_post and a blank", "web", []string{"response_mode", "form_post "}, "", bad},
		{"A71 form_post to a private scheme", "native", []string{"response_mode", "form_post", "redirect_uri", "com.example.app:/cb"}, "", bad},
		{"A73 no JSON", "web", []string{"claims", "{"}, "", bad},
		{"A73 an array", "web", []string{"claims", "[]"}, "", bad},
		{"A73 null", "web", []string{"claims", "null"}, "", bad},
		{"A73 a string", "web", []string{"claims", `"x"`}, "", bad},
		{"A73 id_token is an array", "web", []string{"claims", `{"id_token":[]}`}, "", bad},
		{"A73 a claim is a number", "web", []string{"claims", `{"userinfo":{"email":5}}`}, "", bad},
		{"A73 duplicate members", "web", []string{"claims", `{"id_token":{"sub":{"value":"a"},"sub":{"value":"b"}}}`}, "", bad},
		{"A73 duplicate members by escape", "web", []string{"claims", `{"id_token":{"sub":null,"su\u0062":{"value":"b"}}}`}, "", bad},
		{"A73 too deep", "web", []string{"claims", `{"id_token":` + strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 31)}, "", bad},
		{"A73 two documents", "web", []string{"claims", `{}{}`}, "", bad},
		{"A73 sub is no string", "web", []string{"claims", `{"id_token":{"sub":{"value":5}}}`}, "", bad},
		{"A73 many claims", "web", []string{"claims", `{"id_token":{` + manyClaims(70) + `}}`}, "", bad},
		{"A75 beyond the registration", "web", []string{"scope", "openid admin root urn:evil"}, "", badSc},
		{"A75 known, not registered", "web", []string{"scope", "openid phone"}, "", badSc},
		{"A75 configured, not registered", "native", []string{"scope", "openid api"}, "", badSc},
		{"A75 other case", "web", []string{"scope", "openid PROFILE"}, "", badSc},
		{"A75 a wildcard", "web", []string{"scope", "openid *"}, "", badSc},
		{"A75 a tab", "web", []string{"scope", "openid\tprofile"}, "", badSc},
		{"A75 a line feed", "web", []string{"scope", "openid\nprofile"}, "", badSc},
		{"A75 a comma", "web", []string{"scope", "openid,profile"}, "", badSc},
		{"A75 a no-break space", "web", []string{"scope", "openid\u00a0profile"}, "", badSc},
		{"A75 a quote", "web", []string{"scope", `openid "`}, "", badSc},
		{"A75 two blanks", "web", []string{"scope", "openid  profile"}, "", badSc},
		{"A75 none at all", "web", []string{"scope", ""}, "", badSc},
		{"A75 too long a value", "web", []string{"scope", "openid " + strings.Repeat("a", 300)}, "", badSc},
		{"A76 client without the code grant", "m2m", []string{"scope", "api"}, "", unauth},
		{"A76 client without the code grant, prompt none", "m2m", []string{"scope", "api", "prompt", "none"}, "", unauth},
		{"A91 hint is no token", "web", []string{"id_token_hint", "x"}, "", bad},
		{"A96 max_age is no number", "web", []string{"max_age", "-1"}, "", bad},
		{"A96 max_age has a sign", "web", []string{"max_age", "+1"}, "", bad},
		{"A96 max_age is a fraction", "web", []string{"max_age", "1.5"}, "", bad},
		{"A96 max_age overflows", "web", []string{"max_age", "99999999999999999999"}, "", bad},
		{"A96 max_age in other digits", "web", []string{"max_age", "１"}, "", bad},
		{"A96 nonce with a control", "web", []string{"nonce", "a\nb"}, "", bad},
		{"A96 nonce too long", "web", []string{"nonce", strings.Repeat("n", 1025)}, "", bad},
		{"A96 login_hint with a control", "web", []string{"login_hint", "a\r\nb"}, "", bad},
		{"A96 login_hint too long", "web", []string{"login_hint", strings.Repeat("n", 3000)}, "", bad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := b.in(t)
			q := request(tc.client, tc.edit...)
			uri := q.Get("redirect_uri")
			if tc.client != "spa" {
				b.get("/authorize?"+with(q, tc.raw)).refusedAt(uri, tc.code)
				b.send("POST", "/authorize", with(q, tc.raw)).refusedAt(uri, tc.code)
				if !q.Has("response_mode") {
					for _, mode := range []string{"query", "fragment", "form_post"} {
						res := b.get("/authorize?" + with(q, tc.raw+"&response_mode="+mode))
						res.refusedAt(uri, tc.code)
						if u, _ := url.Parse(res.Header.Get("Location")); (u.Fragment != "") != (mode == "fragment") || (res.StatusCode == 200) != (mode == "form_post") {
							t.Errorf("mode %s: answered by status %d at %s", mode, res.StatusCode, u)
						}
					}
				}
			}
			w.in(t).pushAs(q).wantError(400, tc.code)
		})
	}
}

func manyClaims(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf(`"c%d":null`, i))
	}
	return strings.Join(s, ",")
}

// TestAttackA75_WhatIsRegistered: a registry that does not validate cannot make
// a scope out of what is none, and the number of values is bounded.
func TestAttackA75_WhatIsRegistered(t *testing.T) {
	t.Parallel()
	var names []string
	w := newWorld(t, func(c *handlers.Config) {
		for i := range 70 {
			names = append(names, fmt.Sprintf("s%d", i))
			c.Scopes = append(c.Scopes, handlers.Scope{Name: names[i]})
		}
	})
	w.clients.change("web", func(c *clientreg.Client) {
		c.FirstParty, c.Scope = true, `openid q"uote back\slash tab	bed ünï `+strings.Repeat("l", 300)+" "+strings.Join(names, " ")
	})
	b := w.browser()
	b.signIn(b.begin(request("web", "scope", "openid")), "alice")
	for name, scope := range map[string]string{
		"a quote": `openid q"uote`, "a backslash": `openid back\slash`, "a tab": "openid tab\tbed", "letters beyond ASCII": "openid ünï",
		"a long value": "openid " + strings.Repeat("l", 300), "65 values": "openid " + strings.Join(names[:64], " "),
	} {
		t.Run("A75 "+name, func(t *testing.T) {
			b.in(t).get("/authorize?"+request("web", "scope", scope).Encode()).refusedAt(webRedirect, "invalid_scope")
		})
	}
	t.Run("A75 64 values, control", func(t *testing.T) {
		if _, q := b.in(t).begin(request("web", "scope", "openid "+strings.Join(names[:63], " "))).location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
	})
	t.Run("A75 known to the client, not to the provider", func(t *testing.T) {
		w.clients.change("web", func(c *clientreg.Client) { c.Scope = "openid admin root urn:evil" })
		tok := w.in(t).redeem("web", b.in(t).code(request("web", "scope", "openid admin root urn:evil"), "alice")).want(200)
		if tok.str("scope") != "openid" {
			t.Errorf("granted %q", tok.str("scope"))
		}
	})
}

// TestAttackA_Repeated: no parameter may be sent twice, RFC 6749 §3.1, not even
// with an equal or an empty value.
func TestAttackA_Repeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for id, names := range map[string][]string{
		"A62": {"state"},
		"A63": {"scope"},
		"A05": {"response_type", "response_mode", "nonce", "code_challenge", "code_challenge_method", "prompt", "max_age", "login_hint",
			"claims", "id_token_hint", "authorization_details", "x_unknown"},
	} {
		for _, name := range names {
			q := request("web")
			own := q.Get(name)
			if own == "" {
				own = "query"
			}
			for what, raw := range map[string]string{
				"other value":    name + "=" + url.QueryEscape(own) + "&" + name + "=evil",
				"equal value":    name + "=" + url.QueryEscape(own) + "&" + name + "=" + url.QueryEscape(own),
				"empty value":    name + "=" + url.QueryEscape(own) + "&" + name + "=",
				"two empty ones": name + "=&" + name,
				"encoded name":   name + "=" + url.QueryEscape(own) + "&" + fmt.Sprintf("%%%02x", name[0]) + name[1:] + "=evil",
			} {
				t.Run(id+" duplicate "+name+", "+what, func(t *testing.T) {
					t.Parallel()
					b, w := b.in(t), w.in(t)
					query := with(request("web", name, ""), raw)
					b.get("/authorize?" + query).refusedPage()
					b.send("POST", "/authorize", query).refusedPage()
					query = with(request("web", name, "", "client_id", ""), raw)
					w.browser().send("POST", "/par", query, "Authorization", basic("web", webSecret)).wantError(400, "invalid_request")
				})
			}
		}
	}
}

// TestAttackA76_NeverForMachines: a client of client_credentials alone gets no
// code, whatever it has registered.
func TestAttackA76_NeverForMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	t.Run("A76 no redirect URI", func(t *testing.T) {
		b.in(t).get("/authorize?" + request("m2m", "scope", "api").Encode()).refusedPage()
	})
	w.clients.change("m2m", func(c *clientreg.Client) {
		c.RedirectURIs, c.FirstParty = []string{webRedirect}, true
	})
	t.Run("A76 with a redirect URI", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	w.clients.change("m2m", func(c *clientreg.Client) { c.GrantTypes = append(c.GrantTypes, "refresh_token") })
	t.Run("A76 with the refresh grant", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	w.clients.change("m2m", func(c *clientreg.Client) { c.ResponseTypes = []string{"code"} })
	t.Run("A76 with the response type", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
		w.in(t).pushAs(request("m2m", "scope", "api")).wantError(400, "unauthorized_client")
	})
	w.clients.change("web", func(c *clientreg.Client) { c.ResponseTypes = []string{"id_token"} })
	t.Run("A54 code is not registered", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("web").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	t.Run("A54 registered, and not served", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("web", "response_type", "id_token").Encode()).refusedAt(webRedirect, "unsupported_response_type")
	})
}

// TestAttackA_Silent: prompt=none shows nothing and gives nothing to whom the
// user has not given it. OpenID Connect Core §3.1.2.6.
func TestAttackA_Silent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa")
	none := func(t *testing.T, b *browser, q url.Values, code string) {
		t.Helper()
		q.Set("prompt", "none")
		for _, mode := range []string{"query", "fragment", "form_post"} {
			q.Set("response_mode", mode)
			res := b.in(t).begin(q)
			res.refusedAt(q.Get("redirect_uri"), code)
			if len(res.Cookies()) > 0 {
				t.Errorf("cookies were set: %v", res.Cookies())
			}
		}
		// By POST the cookies come with the second request.
		if q.Get("client_id") != "spa" {
			u, _ := b.in(t).post("/authorize", q).location()
			b.in(t).get(u.String()).refusedAt(q.Get("redirect_uri"), code)
		}
	}
	t.Run("A77 no session", func(t *testing.T) { none(t, w.browser(), request("web"), "login_required") })
	t.Run("A77 no session, pushed", func(t *testing.T) { none(t, w.browser(), request("spa"), "login_required") })
	t.Run("A77 a made-up session", func(t *testing.T) {
		stranger := w.browser()
		for _, c := range b.cookies() {
			forged := *c
			forged.Value = "se_" + strings.Repeat("A", len(c.Value)-3)
			stranger.plant(&forged)
		}
		none(t, stranger, request("web"), "login_required")
	})
	t.Run("A82 iss in the error", func(t *testing.T) {
		res := w.in(t).browser().get("/authorize?" + request("web", "prompt", "none", "state", "").Encode())
		_, q := res.location()
		res.issuedBy(q)
		if q.Has("state") {
			t.Errorf("a state that was not sent: %v", q)
		}
	})
	t.Run("A78 never asked", func(t *testing.T) { none(t, b, request("post", "scope", "openid"), "consent_required") })
	t.Run("A78 more than was allowed", func(t *testing.T) {
		none(t, b, request("web", "scope", "openid profile email"), "consent_required")
	})
	t.Run("A78 offline_access on top", func(t *testing.T) {
		none(t, b, request("web", "scope", "openid offline_access"), "consent_required")
	})
	t.Run("A78 a claim on top", func(t *testing.T) {
		none(t, b, request("web", "claims", `{"userinfo":{"email":null}}`), "consent_required")
	})
	t.Run("A78 authorization details", func(t *testing.T) {
		none(t, b, request("spa", "authorization_details", `[{"type":"payment","amount":5}]`), "consent_required")
	})
	t.Run("A78 withdrawn", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		if err := w.p.Grants().Withdraw(t.Context(), "sub-alice", "web"); err != nil {
			t.Fatal(err)
		}
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A78 another user's consent", func(t *testing.T) {
		w := newWorld(t)
		w.victim("web")
		b := w.browser()
		b.signIn(b.begin(request("post", "scope", "openid")), "bob")
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A78 consent is too old", func(t *testing.T) {
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Consent = time.Hour })
		b := w.victim("web")
		w.clock.add(time.Hour)
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A79 max_age", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		none(t, b, request("web", "max_age", "0"), "login_required") // in the very second of the login
		w.clock.add(2 * time.Second)
		none(t, b, request("web", "max_age", "1"), "login_required")
		none(t, b, request("web", "max_age", "0"), "login_required")
		if _, q := b.in(t).begin(request("web", "max_age", "2", "prompt", "none")).location(); q.Get("code") == "" {
			t.Error("a session within max_age got no code")
		}
		// Signing in again makes it young; using it does not.
		if u, _ := b.in(t).begin(request("web", "max_age", "1")).location(); u.Path != "/login" {
			t.Errorf("without prompt it goes to %s", u)
		}
		five := 5
		w.clients.change("web", func(c *clientreg.Client) { c.DefaultMaxAge = &five })
		w.clock.add(4 * time.Second)
		none(t, b, request("web"), "login_required")
	})
	t.Run("A79 the session is too old", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		w.clock.add(24 * time.Hour)
		none(t, b, request("web"), "login_required")
	})
	t.Run("A79 the session is used and too old all the same", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		for range 14*2 - 1 {
			w.clock.add(12 * time.Hour)
			if _, q := b.in(t).begin(request("web", "prompt", "none")).location(); q.Get("code") == "" {
				t.Fatalf("the session ended early: %v", q)
			}
		}
		w.clock.add(12 * time.Hour)
		none(t, b, request("web"), "login_required")
	})
}

func TestAttackA80_PromptLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa")
	for _, prompt := range []string{"login", "login consent"} {
		for _, client := range []string{"web", "spa"} {
			t.Run("A80 "+prompt+", "+client, func(t *testing.T) {
				b := b.in(t)
				res := b.begin(request(client, "prompt", prompt))
				u, _ := res.location()
				if u.Path != "/login" {
					t.Fatalf("to %s, want the login page", u)
				}
				page := b.get(u.String()).want(200)
				if !strings.Contains(page.body, `type="password"`) {
					t.Error("no login form")
				}
				// Nothing but the password leads on.
				for _, form := range []url.Values{
					{"do": {"login"}}, {"do": {"allow"}}, {"do": {"login"}, "username": {"alice"}, "password": {"wrong"}}, {},
				} {
					form.Set("csrf", csrf(page))
					b.post(u.String(), form).noCode()
				}
				b.get("/consent?" + u.RawQuery).refusedPage()
			})
		}
	}
	t.Run("A80 POST", func(t *testing.T) {
		b := b.in(t)
		self, _ := b.post("/authorize", request("web", "prompt", "login")).location()
		if u, _ := b.get(self.String()).location(); u.Path != "/login" {
			t.Errorf("to %s, want the login page", u)
		}
	})
	t.Run("A80 after the login the flow goes on", func(t *testing.T) {
		b := b.in(t)
		if _, q := b.signIn(b.begin(request("web", "prompt", "login")), "alice").location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
	})
}

// TestAttackA_Answer looks at the redirect that carries the code.
func TestAttackA_Answer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa", "native")
	for _, tc := range []struct {
		name, client, uri string
		edit              []string
	}{
		{"query", "web", webRedirect, nil},
		{"query after a registered query", "web", webRedirect + "?x=1", []string{"redirect_uri", webRedirect + "?x=1"}},
		{"fragment", "web", webRedirect, []string{"response_mode", "fragment"}},
		{"form_post", "web", webRedirect, []string{"response_mode", "form_post"}},
		{"form_post to loopback", "native", "http://127.0.0.1:51004/cb", []string{"response_mode", "form_post"}},
		{"pushed", "spa", spaRedirect, nil},
		{"pushed, fragment", "spa", spaRedirect, []string{"response_mode", "fragment"}},
		{"pushed, form_post", "spa", spaRedirect, []string{"response_mode", "form_post"}},
		{"private scheme", "native", "com.example.app:/cb", []string{"redirect_uri", "com.example.app:/cb"}},
	} {
		for _, state := range []string{
			"s", "state 1+2", `"'<>&%25%zz+`, "ünïcødé 日本語 \U0001f600", "a=b&code=planted&iss=evil#f?g;h", "%0d%0aInjected: 1", "\u2028\u00a0",
			strings.Repeat("s", 1024), `</script><script>alert(1)</script>`, "${jndi:x}{{.}}", "e\u0301", "\ufeffx",
		} {
			t.Run(fmt.Sprintf("A81 A83 A85 A86 %s, state %.12q", tc.name, state), func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				res := b.begin(request(tc.client, append(tc.edit, "state", state)...))
				res.harmless()
				target, q := res.answered()
				if want, _, _ := strings.Cut(tc.uri, "?"); target != want {
					t.Errorf("answered at %s", target)
				}
				res.issuedBy(q)
				for _, k := range []string{"code", "state", "iss"} {
					if len(q[k]) != 1 {
						t.Errorf("%s %d times", k, len(q[k]))
					}
				}
				if q.Get("state") != state {
					t.Errorf("state %q, want %q", q.Get("state"), state)
				}
				if strings.HasSuffix(tc.uri, "?x=1") && !strings.HasPrefix(res.Header.Get("Location"), tc.uri+"&code=") {
					t.Errorf("the registered query changed: %s", res.Header.Get("Location"))
				}
				// A83: an error echoes it as well.
				_, q = w.in(t).browser().begin(request(tc.client, append(tc.edit, "state", state, "prompt", "none")...)).answered()
				if s := q["state"]; len(s) != 1 || s[0] != state || q.Get("error") != "login_required" {
					t.Errorf("in an error: %v", q)
				}
			})
		}
	}
	for name, state := range map[string]string{"too long": strings.Repeat("s", 1025), "a line feed": "a\nb", "CR LF": "a\r\nInjected: 1", "a tab": "a\tb", "DEL": "\x7f"} {
		t.Run("A83 "+name, func(t *testing.T) {
			for _, mode := range []string{"query", "fragment", "form_post"} {
				res := b.in(t).begin(request("web", "state", state, "response_mode", mode))
				res.harmless()
				if target, q := res.answered(); target != webRedirect || q.Get("error") != "invalid_request" || q.Has("state") || q.Has("code") {
					t.Errorf("answered at %s: %v", target, q)
				}
			}
			w.in(t).pushAs(request("web", "state", state)).wantError(400, "invalid_request")
		})
		t.Run("A83 in a request object, "+name, func(t *testing.T) {
			in, err := json.Marshal(map[string]string{"state": state, "response_mode": "fragment"})
			if err != nil {
				t.Fatal(err)
			}
			object := "e30." + base64.RawURLEncoding.EncodeToString(in) + ".e30"
			res := b.in(t).begin(request("web", "state", "", "request", object))
			res.harmless()
			if target, q := res.answered(); target != webRedirect || q.Get("error") != "request_not_supported" || q.Has("state") || q.Has("code") {
				t.Errorf("answered at %s: %v", target, q)
			}
		})
	}
}

// TestAttackA84_NoRepeatedPOST walks every hop: none repeats a POST elsewhere.
func TestAttackA84_NoRepeatedPOST(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hop := func(t *testing.T, res response) response {
		t.Helper()
		res.want(303)
		if res.Header.Get("Cache-Control") != "no-store" || res.body != "" {
			t.Errorf("%s: Cache-Control %q, body %q", res.Request.URL, res.Header.Get("Cache-Control"), res.body)
		}
		return res
	}
	follow := func(b *browser, res response) response {
		u, _ := res.location()
		return b.get(u.String())
	}
	t.Run("A84 login and consent", func(t *testing.T) {
		b := w.in(t).browser()
		self := hop(t, b.post("/authorize", request("web")))
		login := hop(t, follow(b, self))
		consent := hop(t, b.signIn(login, "alice"))
		if _, q := hop(t, b.allow(consent)).location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
		out := hop(t, b.post("/logout", url.Values{"client_id": {"web"}, "post_logout_redirect_uri": {"https://web.example/bye"}}))
		page := follow(b, out).want(200)
		hop(t, b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}))
	})
	t.Run("A84 denied and switched", func(t *testing.T) {
		b := w.in(t).browser()
		consent := hop(t, b.signIn(hop(t, b.begin(request("web"))), "alice"))
		u, _ := consent.location()
		login := hop(t, b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"switch"}}))
		u, _ = login.location()
		hop(t, b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny"}})).wantRedirectError(webRedirect, "access_denied")
	})
	t.Run("A84 refused", func(t *testing.T) {
		hop(t, w.in(t).browser().post("/authorize", request("web", "response_type", "token")))
	})
	t.Run("A84 the page posts itself", func(t *testing.T) {
		// form_post is an answer by page, after a GET; the POST to the client is
		// the browser's own.
		b := w.in(t).browser()
		res := b.allow(b.signIn(b.begin(request("web", "response_mode", "form_post")), "alice")).want(200)
		if target, q := res.answered(); target != webRedirect || q.Get("code") == "" {
			t.Errorf("answered at %s: %v", target, q)
		}
	})
}

func TestAttackA88_FormPostPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "native")
	for name, res := range map[string]response{
		"code":     b.begin(request("web", "response_mode", "form_post")),
		"error":    b.begin(request("web", "response_mode", "form_post", "scope", "admin")),
		"none":     w.browser().begin(request("web", "response_mode", "form_post", "prompt", "none")),
		"loopback": b.begin(request("native", "response_mode", "form_post")),
	} {
		t.Run("A88 "+name, func(t *testing.T) {
			res.want(200)
			csp := policy(t, res)
			for _, bad := range []string{"unsafe", "*", "data:", "http:", "strict-dynamic"} {
				if strings.Contains(csp["script-src"], bad) {
					t.Errorf("script-src %s", csp["script-src"])
				}
			}
			if csp["default-src"] != "'none'" || csp["base-uri"] != "'none'" || csp["frame-ancestors"] != "'none'" {
				t.Errorf("policy %v", csp)
			}
			_, rest, ok := strings.Cut(res.body, "<script>")
			script, _, _ := strings.Cut(rest, "</script>")
			sum := sha256.Sum256([]byte(script))
			if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !ok || csp["script-src"] != want {
				t.Errorf("script-src %s, want %s", csp["script-src"], want)
			}
			if strings.Count(res.body, "<script") != 1 || strings.Contains(res.body, "onload=") {
				t.Error("more script than the one line")
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers %v", res.Header)
			}
		})
	}
}

// policy reads a Content-Security-Policy.
func policy(t testing.TB, res response) map[string]string {
	t.Helper()
	all := res.Header["Content-Security-Policy"]
	if len(all) != 1 {
		t.Fatalf("%d policies", len(all))
	}
	m := map[string]string{}
	for _, d := range strings.Split(all[0], ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
		if _, twice := m[name]; twice {
			t.Errorf("directive %s twice: a browser reads the first", name)
		}
		m[name] = value
	}
	return m
}
