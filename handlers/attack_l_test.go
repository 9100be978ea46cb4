package handlers_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

const webBye = "https://web.example/bye"

// lives fails unless the browser's session still gives codes in silence.
func (b *browser) lives() {
	b.t.Helper()
	if _, q := b.begin(request("web", "prompt", "none")).location(); q.Get("code") == "" {
		b.t.Errorf("the session did not survive: %v", q)
	}
}

// signedOut fails unless the session is gone.
func (b *browser) signedOut() {
	b.t.Helper()
	b.begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
}

// hinted is a browser with a session, remembered consent and an ID token of it.
func (w *world) hinted() (b *browser, hint string) {
	w.t.Helper()
	b = w.victim("web")
	return b, w.redeem("web", b.code(request("web"), "alice")).want(200).str("id_token")
}

// logoutURL is a logout request: pairs of name and value.
func logoutURL(kv ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		q.Add(kv[i], kv[i+1])
	}
	return "/logout?" + q.Encode()
}

// TestAttackL01_PostLogoutRedirectURI: compared like a redirect URI; a request
// with a wrong one ends nothing and leads nowhere.
func TestAttackL01_PostLogoutRedirectURI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, hint := w.hinted()
	for _, uri := range []string{
		"https://evil.example", "https://evil.example/bye", "https://app.example/bye", webRedirect, webBye + "/", webBye + "/../x", webBye + "?x=1", webBye + "?",
		webBye + "#x", webBye + "#", webBye + " ", " " + webBye, "https://web.example/BYE", "https://WEB.example/bye", "http://web.example/bye",
		"https://web.example:443/bye", "https://web.example.evil.example/bye", "https://web.example@evil.example/bye", "https://u@web.example/bye",
		`https://web.example\@evil.example/bye`, "https://web.example/%62ye", "//web.example/bye", "/bye", "bye", "javascript:alert(1)",
		"JavaScript://web.example/bye%0aalert(1)", "data:text/html,x", webBye + "\r\nInjected: 1", webBye + "%0d%0aInjected: 1", webBye + "\t",
		"https://wеb.example/bye", "https://web.example./bye", w.issuer + "/login", "com.example.app:/cb", "*", webBye + "," + webBye,
	} {
		t.Run("L01 "+uri, func(t *testing.T) {
			b := b.in(t)
			for _, extra := range [][]string{
				{"id_token_hint", hint}, {"id_token_hint", hint, "client_id", "web"}, {"client_id", "web"}, {"client_id", "web", "state", "x"}, {},
			} {
				kv := append([]string{"post_logout_redirect_uri", uri}, extra...)
				b.get(logoutURL(kv...)).refusedPage()
				b.send("POST", "/logout", strings.TrimPrefix(logoutURL(kv...), "/logout?")).refusedPage()
				w.in(t).browser().get(logoutURL(kv...)).refusedPage()
			}
			// Nor beside a right answer to our own page.
			out := b.get(logoutURL("client_id", "web")).want(200)
			b.post(logoutURL("client_id", "web", "post_logout_redirect_uri", uri), url.Values{"csrf": {csrf(out)}, "do": {"logout"}}).refusedPage()
			b.post(logoutURL("client_id", "web"), url.Values{"csrf": {csrf(out)}, "do": {"stay"}, "post_logout_redirect_uri": {uri}}).harmless()
			b.lives()
		})
	}
	for name, raw := range map[string]string{
		"good then evil": "post_logout_redirect_uri=" + url.QueryEscape(webBye) + "&post_logout_redirect_uri=https://evil.example",
		"evil then good": "post_logout_redirect_uri=https://evil.example&post_logout_redirect_uri=" + url.QueryEscape(webBye),
		"two equal":      "post_logout_redirect_uri=" + url.QueryEscape(webBye) + "&post_logout_redirect_uri=" + url.QueryEscape(webBye),
		"two hints":      "id_token_hint=" + hint,
		"two states":     "state=a&state=b&post_logout_redirect_uri=" + url.QueryEscape(webBye),
	} {
		t.Run("L01 twice, "+name, func(t *testing.T) {
			b.in(t).get("/logout?id_token_hint=" + hint + "&" + raw).refusedPage()
			b.in(t).send("POST", "/logout", "id_token_hint="+hint+"&"+raw).refusedPage()
			b.in(t).lives()
		})
	}
	t.Run("L01 no longer registered", func(t *testing.T) {
		w := newWorld(t)
		b, hint := w.hinted()
		page := b.get(logoutURL("client_id", "web", "post_logout_redirect_uri", webBye)).want(200)
		w.clients.change("web", func(c *clientreg.Client) { c.PostLogoutRedirectURIs = nil })
		b.get(logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye)).refusedPage()
		b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}).refusedPage()
		b.lives()
	})
	t.Run("L01 control", func(t *testing.T) {
		u, _ := b.in(t).get(logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye, "state", "a b&c=d\"<>")).location()
		if u.String() != webBye+"?state=a+b%26c%3Dd%22%3C%3E" {
			t.Errorf("to %s", u)
		}
		b.in(t).signedOut()
	})
}

// TestAttackL02_ForcedLogout: who has no ID token of the session at the browser
// can only bring up the question.
func TestAttackL02_ForcedLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, hint := w.hinted()
	elsewhere := w.browser() // alice, at another browser
	elseHint := w.redeem("web", elsewhere.code(request("web"), "alice")).want(200).str("id_token")
	bob := w.browser()
	bobHint := w.redeem("web", bob.code(request("web"), "bob")).want(200).str("id_token")
	for name, target := range map[string]string{
		"bare":                              "/logout",
		"with a client":                     logoutURL("client_id", "web"),
		"with a client and its URI":         logoutURL("client_id", "web", "post_logout_redirect_uri", webBye, "state", "s"),
		"with a state":                      logoutURL("state", "s"),
		"with a logout_hint":                logoutURL("logout_hint", "alice"),
		"with the answer in the query":      logoutURL("do", "logout", "csrf", "x"),
		"with an empty hint":                logoutURL("id_token_hint", ""),
		"with a hint of another session":    logoutURL("id_token_hint", elseHint),
		"with a hint of another user":       logoutURL("id_token_hint", bobHint),
		"with both":                         logoutURL("id_token_hint", bobHint, "post_logout_redirect_uri", webBye),
		"with the user's name for a client": logoutURL("client_id", "web", "logout_hint", "sub-alice"),
	} {
		t.Run("L02 "+name, func(t *testing.T) {
			b := b.in(t)
			for range 2 {
				page := b.get(target).want(200)
				page.harmless()
				if csrf(page) == "" || !strings.Contains(page.body, `value="logout"`) || len(page.Cookies()) > 0 {
					t.Errorf("no question: %.300s", page.body)
				}
				b.lives()
			}
			// From another site, by POST, it comes without cookies and goes on by GET.
			res := b.send("POST", "/logout", strings.TrimPrefix(strings.TrimPrefix(target, "/logout"), "?")+"&x=1", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
			if strings.Contains(target, "do=logout") { // the answer to our page, from elsewhere
				res.refusedPage()
				b.lives()
				return
			}
			u, _ := res.location()
			if u.Path != "/logout" || u.Host != "" {
				t.Errorf("to %s", u)
			}
			b.lives()
			b.get(u.String()).want(200)
			b.lives()
		})
	}
	t.Run("L02 stay", func(t *testing.T) {
		b := b.in(t)
		page := b.get(logoutURL("client_id", "web", "post_logout_redirect_uri", webBye, "state", "s")).want(200)
		u, _ := b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"stay"}}).location()
		if u.String() != webBye+"?state=s" {
			t.Errorf("to %s", u)
		}
		b.lives()
		page = b.get("/logout").want(200)
		b.post("/logout", url.Values{"csrf": {csrf(page)}, "do": {"stay"}}).harmless()
		b.post("/logout", url.Values{"csrf": {csrf(page)}, "do": {"bogus"}}).harmless()
		b.lives()
	})
	t.Run("L02 control", func(t *testing.T) {
		b.in(t).get(logoutURL("id_token_hint", hint)).want(200)
		b.in(t).signedOut()
		for name, other := range map[string]string{"elsewhere": elseHint, "bob": bobHint} {
			if other == hint {
				t.Errorf("%s: one ID token for two sessions", name)
			}
		}
		if _, q := elsewhere.in(t).begin(request("web", "prompt", "none")).location(); q.Get("code") == "" {
			t.Error("the other browser was signed out as well")
		}
	})
}

func TestAttackL03_ForgedHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sameKeys(t))
	b := w.victim("web")
	tok := w.redeem("web", b.code(request("web"), "alice")).want(200)
	genuine := tok.str("id_token")
	forged := forgeries(t, w, genuine)
	forged["an access token"] = tok.str("access_token")
	foreign := newWorld(t)
	_, theirs := foreign.tokens("web")
	forged["another issuer's"] = theirs.str("id_token")
	forged["another issuer's with the same keys"] = twin(t, w)
	for name, hint := range forged {
		t.Run("L03 "+name, func(t *testing.T) {
			b := b.in(t)
			for _, target := range []string{
				logoutURL("id_token_hint", hint), logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye),
				logoutURL("id_token_hint", hint, "client_id", "web", "post_logout_redirect_uri", webBye, "state", "s"),
			} {
				b.get(target).refusedPage()
				b.send("POST", "/logout", strings.TrimPrefix(target, "/logout?")).refusedPage()
				page := b.get("/logout").want(200)
				b.post(target, url.Values{"csrf": {csrf(page)}, "do": {"logout"}}).refusedPage()
			}
			b.lives()
		})
	}
	for name, target := range map[string]string{
		"another client's name":  logoutURL("id_token_hint", genuine, "client_id", "spa", "post_logout_redirect_uri", "https://app.example/bye"),
		"another client's URI":   logoutURL("id_token_hint", genuine, "post_logout_redirect_uri", "https://app.example/bye"),
		"an unknown client":      logoutURL("id_token_hint", genuine, "client_id", "nobody"),
		"client in other case":   logoutURL("id_token_hint", genuine, "client_id", "WEB"),
		"hint twice, one forged": logoutURL("id_token_hint", genuine, "id_token_hint", forged["alg none"]),
	} {
		t.Run("L03 genuine with "+name, func(t *testing.T) {
			b.in(t).get(target).refusedPage()
			b.in(t).lives()
		})
	}
	t.Run("L03 genuine of a client that is gone", func(t *testing.T) {
		w := newWorld(t)
		b, hint := w.hinted()
		w.clients.change("web", func(c *clientreg.Client) { c.Disabled = true })
		b.get(logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye)).refusedPage()
		w.clients.change("web", func(c *clientreg.Client) { c.Disabled = false })
		b.lives()
	})
	t.Run("L03 genuine and expired, control", func(t *testing.T) {
		w.clock.add(time.Hour)
		if u, _ := b.in(t).get(logoutURL("id_token_hint", genuine, "post_logout_redirect_uri", webBye)).location(); u.String() != webBye {
			t.Errorf("to %s", u)
		}
		b.in(t).signedOut()
	})
}

func TestAttackL04_LogoutCSRF(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	attacker := w.browser()
	attacker.signIn(attacker.begin(request("web")), "bob")
	theirs := csrf(attacker.get("/logout").want(200))
	page := b.get("/logout").want(200)
	ours := csrf(page)
	before := w.browser() // the same user at another browser
	before.signIn(before.begin(request("web")), "alice")
	other := csrf(before.get("/logout").want(200))
	u, _ := b.begin(request("web", "prompt", "login")).location()
	interaction := csrf(b.get(u.String()).want(200))
	if ours == theirs || ours == other || ours == interaction {
		t.Fatal("one value for two things")
	}
	for _, tc := range []struct {
		name, target, body string
		header             []string
	}{
		{"no value", "/logout", "do=logout", nil},
		{"an empty value", "/logout", "do=logout&csrf=", nil},
		{"the attacker's value", "/logout", "do=logout&csrf=" + theirs, nil},
		{"a value of the same user elsewhere", "/logout", "do=logout&csrf=" + other, nil},
		{"a value of another page", "/logout", "do=logout&csrf=" + interaction, nil},
		{"the value in the query", "/logout?csrf=" + ours, "do=logout", nil},
		{"the answer in the query", "/logout?do=logout", "csrf=" + ours, nil},
		{"from another site", "/logout", "do=logout&csrf=" + ours, []string{"Sec-Fetch-Site", "cross-site"}},
		{"from a neighbouring host", "/logout", "do=logout&csrf=" + ours, []string{"Sec-Fetch-Site", "same-site"}},
		{"from another origin", "/logout", "do=logout&csrf=" + ours, []string{"Origin", "https://evil.example"}},
		{"from a sandbox", "/logout", "do=logout&csrf=" + ours, []string{"Origin", "null"}},
		{"a wrong header", "/logout", "do=logout&csrf=" + ours, []string{"X-CSRF-Token", theirs}},
		{"as plain text", "/logout", "do=logout&csrf=" + ours, []string{"Content-Type", "text/plain"}},
		{"as JSON", "/logout", `{"do":"logout"}`, []string{"Content-Type", "application/json"}},
		{"with a client and its URI", logoutURL("client_id", "web", "post_logout_redirect_uri", webBye), "do=logout&csrf=" + theirs, nil},
		{"staying", logoutURL("client_id", "web", "post_logout_redirect_uri", webBye), "do=stay&csrf=" + theirs, nil},
	} {
		t.Run("L04 "+tc.name, func(t *testing.T) {
			b := b.in(t)
			b.send("POST", tc.target, tc.body, tc.header...).refusedPage()
			b.lives()
		})
	}
	for name, target := range map[string]string{
		"the answer by GET":           "/logout?do=logout&csrf=" + ours,
		"the answer by GET, again":    "/logout?csrf=" + ours + "&do=logout&state=x",
		"the answer by GET, a client": logoutURL("client_id", "web", "do", "logout", "csrf", ours),
	} {
		t.Run("L04 "+name, func(t *testing.T) {
			b.in(t).get(target).want(200)
			b.in(t).lives()
		})
	}
	t.Run("L04 the session in another browser binding", func(t *testing.T) {
		// Who plants the binding cookie knows a form that fits it, and still not one
		// that fits the session.
		var session, binding, planted string
		for _, c := range b.cookies() {
			if strings.HasSuffix(c.Name, "session") {
				session = c.Name + "=" + c.Value
			}
		}
		for _, c := range attacker.cookies() {
			if strings.HasSuffix(c.Name, "browser") {
				planted = c.Name + "=" + c.Value
			}
		}
		for _, c := range b.cookies() {
			if strings.HasSuffix(c.Name, "browser") {
				binding = c.Name + "=" + c.Value
			}
		}
		stranger := &browser{w: w.in(t), t: t, c: &http.Client{Transport: w.srv.Client().Transport}}
		for _, v := range []string{ours, theirs} {
			stranger.send("POST", "/logout", "do=logout&csrf="+v, "Cookie", session+"; "+planted).refusedPage()
			stranger.send("POST", "/logout", "do=logout&csrf="+v, "Cookie", session).refusedPage()
		}
		stranger.send("POST", "/logout", "do=logout&csrf="+theirs, "Cookie", session+"; "+binding).refusedPage()
		b.in(t).lives()
	})
	t.Run("L04 the attacker's own browser with the victim's value", func(t *testing.T) {
		attacker.in(t).send("POST", "/logout", "do=logout&csrf="+ours).refusedPage()
		b.in(t).lives()
	})
	t.Run("L04 control", func(t *testing.T) {
		b.in(t).send("POST", "/logout", "do=logout&csrf="+ours, "Origin", w.issuer, "Sec-Fetch-Site", "same-origin").want(200)
		b.in(t).signedOut()
	})
}

// TestAttackL05_DeadOnTheServer: after a logout no cookie, code, page or token
// of the session works. ASVS V7.4.1.
func TestAttackL05_DeadOnTheServer(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(b *browser, hint string) response{
		"hint": func(b *browser, hint string) response { return b.get(logoutURL("id_token_hint", hint)).want(200) },
		"hint and URI": func(b *browser, hint string) response {
			return b.get(logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye)).want(303)
		},
		"hint by POST": func(b *browser, hint string) response {
			u, _ := b.post("/logout", url.Values{"id_token_hint": {hint}}).location()
			return b.get(u.String()).want(200)
		},
		"button": func(b *browser, _ string) response {
			return b.post("/logout", url.Values{"csrf": {csrf(b.get("/logout").want(200))}, "do": {"logout"}}).want(200)
		},
		"button with a client": func(b *browser, _ string) response {
			target := logoutURL("client_id", "web", "post_logout_redirect_uri", webBye)
			return b.post(target, url.Values{"csrf": {csrf(b.get(target).want(200))}, "do": {"logout"}}).want(303)
		},
	} {
		for scheme, opt := range map[string]func(*handlers.Config){"http": func(*handlers.Config) {}, "https": https} {
			t.Run("L05 "+how+", "+scheme, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, opt)
				b := w.victim("web")
				tok := w.redeem("web", b.code(request("web"), "alice")).want(200)
				offline := w.redeem("web", b.code(request("web", "scope", "openid profile offline_access", "prompt", "consent"), "alice")).want(200)
				elsewhere := w.redeem("native", b.code(request("native", "scope", "openid offline_access", "prompt", "consent"), "alice")).want(200)
				pending := b.code(request("web"), "alice")
				u, _ := b.begin(request("web", "prompt", "consent")).location()
				allow := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"openid", "profile"}}
				saved := b.cookies()

				res := end(b, tok.str("id_token"))
				res.noCode()
				gone := false
				for _, c := range res.Cookies() {
					gone = gone || strings.HasSuffix(c.Name, "session") && c.MaxAge < 0 && c.HttpOnly && c.Secure == (scheme == "https")
				}
				if !gone {
					t.Errorf("the cookie stays: %v", res.Cookies())
				}
				b.signedOut()
				thief := w.browser()
				thief.plant(saved...)
				thief.signedOut()
				for _, prompt := range []string{"", "consent", "login"} {
					if v, _ := thief.begin(request("web", "prompt", prompt)).location(); v.Path != "/login" {
						t.Errorf("prompt %q: to %s", prompt, v)
					}
				}
				thief.get(u.String()).refusedPage()
				thief.post(u.String(), allow).refusedPage()
				w.redeem("web", pending).wantError(400, "invalid_grant")
				w.userinfo(tok.str("access_token")).want(401)
				// The offline grant goes with the client that asked for the logout by
				// its hint; other ones stay, as the user allowed them to.
				if strings.HasPrefix(how, "hint") {
					w.refresh("web", offline.str("refresh_token")).wantError(400, "invalid_grant")
					w.userinfo(offline.str("access_token")).want(401)
				} else {
					w.refresh("web", offline.str("refresh_token")).want(200)
				}
				w.refresh("native", elsewhere.str("refresh_token")).want(200)
				// A second logout finds nothing and is no error.
				thief.get(logoutURL("id_token_hint", tok.str("id_token"))).want(200)
				// The way back in is the password.
				if v, _ := b.begin(request("web")).location(); v.Path != "/login" {
					t.Errorf("to %s", v)
				}
			})
		}
	}
	t.Run("L05 every offline grant, where so configured", func(t *testing.T) {
		w := newWorld(t, func(c *handlers.Config) { c.LogoutEndsOffline = true })
		b := w.victim("web")
		offline := w.redeem("native", b.code(request("native", "scope", "openid offline_access", "prompt", "consent"), "alice")).want(200)
		b.post("/logout", url.Values{"csrf": {csrf(b.get("/logout").want(200))}, "do": {"logout"}}).want(200)
		w.refresh("native", offline.str("refresh_token")).wantError(400, "invalid_grant")
	})
	t.Run("L05 the session of the other browser lives", func(t *testing.T) {
		w := newWorld(t)
		b, hint := w.hinted()
		other := w.browser()
		tok := w.redeem("web", other.code(request("web"), "alice")).want(200)
		b.get(logoutURL("id_token_hint", hint)).want(200)
		other.lives()
		w.userinfo(tok.str("access_token")).want(200)
	})
	t.Run("L05 a replaced session is dead", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		tok := w.redeem("web", b.code(request("web"), "alice")).want(200)
		saved := b.cookies()
		b.signIn(b.begin(request("web", "prompt", "login")), "bob")
		thief := w.browser()
		thief.plant(saved...)
		thief.signedOut()
		w.userinfo(tok.str("access_token")).want(401)
	})
}

func TestAttackL06_LogoutEscapes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, hint := w.hinted()
	for _, payload := range []string{
		markup, `<img src=x onerror=alert(1)>`, `" onfocus=alert(1) x="`, "javascript:alert(1)", "</form><script>alert(1)</script>", "{{.CSRF}}", "\u202e", `'><svg onload=alert(1)>`,
	} {
		for _, name := range []string{"state", "ui_locales", "logout_hint", "client_id", "id_token_hint", "post_logout_redirect_uri", "x_unknown", payload} {
			t.Run("L06 "+name+" "+payload, func(t *testing.T) {
				for who, b := range map[string]*browser{"signed in": b.in(t), "stranger": w.in(t).browser()} {
					for _, extra := range [][]string{{}, {"client_id", "web"}, {"client_id", "web", "post_logout_redirect_uri", webBye}} {
						if len(extra) > 0 && (name == "client_id" || len(extra) > 2 && name == "post_logout_redirect_uri") {
							continue
						}
						res := b.get(logoutURL(append(extra, name, payload)...))
						if res.StatusCode == 303 { // a stranger goes straight back to the client
							if u, q := res.location(); who == "signed in" || !strings.HasPrefix(u.String(), webBye) || name == "state" && q.Get("state") != payload {
								t.Errorf("to %s", u)
							}
							continue
						}
						noMarkup(t, res, payload)
						res.noCode()
					}
				}
				b.in(t).lives()
			})
		}
	}
	t.Run("L06 state with a line feed is dropped", func(t *testing.T) {
		u, _ := b.in(t).get(logoutURL("id_token_hint", hint, "post_logout_redirect_uri", webBye, "state", "a\r\nInjected: 1")).location()
		if u.String() != webBye {
			t.Errorf("to %s", u)
		}
	})
}

func TestAttackL08_NoClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for name, kv := range map[string][]string{
		"only the URI":             {},
		"and a state":              {"state", "s"},
		"and an empty client_id":   {"client_id", ""},
		"and an empty hint":        {"id_token_hint", ""},
		"and an unknown client":    {"client_id", "nobody"},
		"and another client":       {"client_id", "spa"},
		"and a logout_hint":        {"logout_hint", "alice"},
		"and two clients":          {"client_id", "web", "client_id", "spa"},
		"and one client twice":     {"client_id", "web", "client_id", "web"},
		"and a client in capitals": {"client_id", "WEB"},
	} {
		t.Run("L08 "+name, func(t *testing.T) {
			target := logoutURL(append([]string{"post_logout_redirect_uri", webBye}, kv...)...)
			for _, b := range []*browser{b.in(t), w.in(t).browser()} {
				b.get(target).refusedPage()
				b.send("POST", "/logout", strings.TrimPrefix(target, "/logout?")).refusedPage()
			}
			b.in(t).lives()
		})
	}
	t.Run("L08 control", func(t *testing.T) {
		// With a client it asks who is signed in, and sends back who is not.
		b.in(t).get(logoutURL("client_id", "web", "post_logout_redirect_uri", webBye)).want(200)
		b.in(t).lives()
		if u, _ := w.in(t).browser().get(logoutURL("client_id", "web", "post_logout_redirect_uri", webBye, "state", "s")).location(); u.String() != webBye+"?state=s" {
			t.Errorf("to %s", u)
		}
	})
}
