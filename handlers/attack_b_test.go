package handlers_test

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

func https(c *handlers.Config) { c.Issuer = strings.Replace(c.Issuer, "http:", "https:", 1) }

// stock is what most of these tests look at: every page a browser meets, and
// every cookie that was set on the way.
type stock struct {
	pages   map[string]response
	cookies []*http.Cookie
}

// takeStock walks a browser past every page.
func takeStock(w *world) stock {
	w.t.Helper()
	s := stock{pages: map[string]response{}}
	b := w.browser()
	seen := func(res response) response {
		s.cookies = append(s.cookies, res.Cookies()...)
		return res
	}
	page := func(name string, res response) response {
		s.pages[name] = seen(res)
		return res
	}
	login := seen(b.begin(request("web", "login_hint", "alice")))
	u, _ := login.location()
	p := page("login", b.get(u.String()).want(200))
	page("login again", b.post(u.String(), url.Values{"csrf": {csrf(p)}, "do": {"login"}, "username": {"alice"}, "password": {"wrong"}}).want(200))
	page("other browser", w.browser().get(u.String()).wantPage())
	page("stale form", b.post(u.String(), url.Values{"csrf": {"x"}}).wantPage())
	consent := seen(b.signIn(login, "alice"))
	u, _ = consent.location()
	page("consent", b.get(u.String()).want(200))
	page("unknown button", b.post(u.String(), url.Values{"csrf": {csrf(s.pages["consent"])}}).wantPage())
	seen(b.allow(consent, "remember", "1"))
	page("completed", b.get(u.String()).wantPage())
	page("form post", b.begin(request("web", "response_mode", "form_post")).want(200))
	page("unknown client", b.begin(request("web", "client_id", "nobody")).wantPage())
	page("no interaction", b.get("/login").wantPage())
	out := page("logout", b.get("/logout?client_id=web").want(200))
	page("no logout", b.get("/logout?id_token_hint=x").wantPage())
	page("logged out", b.post(html.UnescapeString(formAction.FindStringSubmatch(out.body)[1]), url.Values{"csrf": {csrf(out)}, "do": {"logout"}}).want(200))
	return s
}

// TestAttackB_Pages: RFC 9700 §4.16 and §4.2.4, ASVS V3.4.
func TestAttackB_Pages(t *testing.T) {
	t.Parallel()
	for scheme, opt := range map[string]func(*handlers.Config){"http": func(*handlers.Config) {}, "https": https} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opt)
			s := takeStock(w)
			if len(s.pages) != 13 {
				t.Fatalf("%d pages", len(s.pages))
			}
			nonces := map[string]bool{}
			for name, page := range s.pages {
				csp := policy(t, page)
				t.Run("B01 no framing, "+name, func(t *testing.T) {
					if csp["frame-ancestors"] != "'none'" || page.Header.Get("X-Frame-Options") != "DENY" {
						t.Errorf("frame-ancestors %s, X-Frame-Options %q", csp["frame-ancestors"], page.Header.Get("X-Frame-Options"))
					}
				})
				t.Run("B02 policy, "+name, func(t *testing.T) {
					if csp["default-src"] != "'none'" || csp["base-uri"] != "'none'" || !strings.HasPrefix(csp["form-action"], "'self'") {
						t.Errorf("policy %v", csp)
					}
					for d, v := range csp {
						if strings.Contains(v, "unsafe") || strings.Contains(v, "*") || d == "report-uri" {
							t.Errorf("%s %s", d, v)
						}
					}
					scripts := strings.Count(page.body, "<script")
					if _, has := csp["script-src"]; has != (name == "form post") || scripts > 1 || scripts == 1 && name != "form post" {
						t.Errorf("script-src %q, %d scripts", csp["script-src"], scripts)
					}
					if m := regexp.MustCompile(`(?i)\son\w+=|style="|javascript:|<(iframe|object|embed|base|link[^>]+stylesheet)`).FindString(page.body); m != "" {
						t.Errorf("the page holds %q", m)
					}
					nonce := strings.TrimSuffix(strings.TrimPrefix(csp["style-src"], "'nonce-"), "'")
					if len(nonce) < 22 || nonces[nonce] || !strings.Contains(page.body, `<style nonce="`+nonce+`"`) {
						t.Errorf("nonce %q is short, used twice or not the page's", nonce)
					}
					nonces[nonce] = true
				})
				t.Run("B03 no referrer, "+name, func(t *testing.T) {
					if got := page.Header.Get("Referrer-Policy"); got != "no-referrer" || strings.Contains(page.body, `name="referrer"`) {
						t.Errorf("Referrer-Policy %q", got)
					}
					for _, a := range regexp.MustCompile(`<a [^>]*>`).FindAllString(page.body, -1) {
						if !strings.Contains(a, `rel="noopener noreferrer"`) && !strings.Contains(a, `href="/`) {
							t.Errorf("link %s", a)
						}
					}
				})
				t.Run("B04 no cache, "+name, func(t *testing.T) {
					if got := page.Header["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) || page.Header.Get("ETag") != "" || page.Header.Get("Expires") != "" {
						t.Errorf("Cache-Control %q", got)
					}
				})
				t.Run("H06 HSTS, "+name, func(t *testing.T) {
					if got := page.Header.Get("Strict-Transport-Security"); (scheme == "https") != (got == "max-age=31536000") {
						t.Errorf("Strict-Transport-Security %q", got)
					}
				})
			}
			t.Run("B05 cookies", func(t *testing.T) {
				names := map[string]bool{}
				for _, c := range s.cookies {
					names[c.Name] = true
					if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" {
						t.Errorf("cookie %s", c.Raw)
					}
					if c.Secure != (scheme == "https") || strings.HasPrefix(c.Name, "__Host-") != (scheme == "https") {
						t.Errorf("cookie %s on %s", c.Raw, scheme)
					}
					if strings.Contains(c.Value, "alice") || len(c.Value) > 0 && len(c.Value) < 43 {
						t.Errorf("cookie value %q", c.Value)
					}
					if c.MaxAge > 0 || !c.Expires.IsZero() && c.MaxAge >= 0 {
						t.Errorf("cookie outlives the browser: %s", c.Raw)
					}
				}
				if len(names) != 2 {
					t.Errorf("cookies %v, want a session and a browser binding", names)
				}
			})
		})
	}
}

// TestAttackB05_TossedCookies: who can set a cookie for a neighbouring host
// cannot choose between his and ours; a name that comes twice counts as absent.
func TestAttackB05_TossedCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim, attacker := w.victim("web"), w.browser()
	attacker.signIn(attacker.begin(request("web")), "bob")
	pair := func(cs []*http.Cookie, part string) string {
		for _, c := range cs {
			if strings.HasSuffix(c.Name, part) {
				return c.Name + "=" + c.Value
			}
		}
		t.Fatalf("no cookie %s", part)
		return ""
	}
	login, _ := victim.begin(request("web", "prompt", "login")).location()
	victim.get(login.String()).want(200)
	for _, part := range []string{"session", "browser"} {
		ours, theirs := pair(victim.cookies(), part), pair(attacker.cookies(), part)
		name, value, _ := strings.Cut(ours, "=")
		for what, header := range map[string]string{
			"before": theirs + "; " + ours, "after": ours + "; " + theirs, "equal": ours + "; " + ours, "empty before": name + "=; " + ours,
		} {
			t.Run("B05 "+part+", "+what, func(t *testing.T) {
				rest := pair(victim.cookies(), map[string]string{"session": "browser", "browser": "session"}[part])
				res := w.in(t).getWith("/authorize?"+request("web", "prompt", "none").Encode(), "Cookie", header+"; "+rest)
				if part == "session" {
					res.refusedAt(webRedirect, "login_required")
					return
				}
				// The session alone may answer in silence; no page opens without the
				// binding.
				if _, q := res.location(); q.Get("code") == "" {
					t.Errorf("no code: %v", q)
				}
				w.in(t).getWith(login.String(), "Cookie", header+"; "+rest).refusedPage()
			})
		}
		t.Run("B05 "+part+", other names", func(t *testing.T) {
			for _, n := range []string{strings.ToUpper(name), strings.TrimPrefix(name, "idp-"), "__Host-" + name, name + "%20", "__Secure-" + name} {
				w.in(t).getWith("/authorize?"+request("web", "prompt", "none").Encode(), "Cookie", n+"="+value).refusedAt(webRedirect, "login_required")
			}
		})
	}
}

// TestAttackB06_Fixation: nothing that a browser holds before a login is worth
// anything after it. CWE-384.
func TestAttackB06_Fixation(t *testing.T) {
	t.Parallel()
	dead := func(t *testing.T, w *world, cookies []*http.Cookie, edit ...string) {
		t.Helper()
		thief := w.in(t).browser()
		thief.plant(cookies...)
		q := request("web", append([]string{"prompt", "none"}, edit...)...)
		thief.get("/authorize?"+q.Encode()).refusedAt(webRedirect, "login_required")
	}
	t.Run("B06 cookies from before", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		res := b.begin(request("web"))
		before := b.cookies()
		b.get("/login")
		b.allow(b.signIn(res, "alice"), "remember", "1")
		dead(t, w, before)
		if len(before) == 0 {
			t.Error("nothing was copied")
		}
	})
	t.Run("B06 planted session of another user", func(t *testing.T) {
		w := newWorld(t)
		attacker := w.browser()
		attacker.allow(attacker.signIn(attacker.begin(request("web")), "bob"), "remember", "1")
		planted := attacker.cookies()
		victim := w.browser()
		victim.plant(planted...)
		res := victim.signIn(victim.begin(request("web", "prompt", "login")), "alice")
		victim.allow(res, "remember", "1")
		dead(t, w, planted)
		dead(t, w, attacker.cookies())
		tok := w.redeem("web", victim.code(request("web"), "alice")).want(200)
		if c := claims(t, tok.str("id_token")); c["sub"] != "sub-alice" {
			t.Errorf("the victim is %v", c["sub"])
		}
	})
	t.Run("B06 the same user signs in again", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		before := b.cookies()
		if _, q := b.signIn(b.begin(request("web", "prompt", "login")), "alice").location(); q.Get("code") == "" {
			t.Fatal("no code")
		}
		dead(t, w, before)
		if _, q := b.begin(request("web", "prompt", "none")).location(); q.Get("code") == "" {
			t.Error("the new cookie does not work")
		}
	})
	t.Run("B06 planted values of our form", func(t *testing.T) {
		w := newWorld(t)
		model := w.victim("web").cookies()
		var planted []*http.Cookie
		for _, c := range model {
			c := *c
			if strings.HasPrefix(c.Value, "se_") {
				c.Value = c.Value[:len(c.Value)-4] + "AAAA"
			}
			planted = append(planted, &c)
		}
		victim := w.browser()
		victim.plant(planted...)
		victim.allow(victim.signIn(victim.begin(request("web", "prompt", "consent")), "alice"))
		dead(t, w, planted)
		for _, c := range victim.cookies() {
			if strings.HasPrefix(c.Value, "se_") && slices.ContainsFunc(planted, func(p *http.Cookie) bool { return p.Value == c.Value || p.Value[:25] == c.Value[:25] }) {
				t.Error("the planted name became a session")
			}
		}
	})
	t.Run("B06 the key without the secret", func(t *testing.T) {
		w := newWorld(t)
		for _, c := range w.victim("web").cookies() {
			if !strings.HasPrefix(c.Value, "se_") {
				continue
			}
			key, secret, _ := strings.Cut(c.Value, ".")
			for _, v := range []string{
				key, key + ".", key + "." + strings.Repeat("A", 43), key + "." + secret[:42], key + "." + secret + "A", "." + secret, secret,
				strings.ToUpper(c.Value), key + ".." + secret, strings.TrimPrefix(c.Value, "se_"), key + "." + strings.ToLower(secret),
			} {
				c := *c
				c.Value = v
				dead(t, w, []*http.Cookie{&c})
			}
		}
	})
	t.Run("B06 the session of another issuer", func(t *testing.T) {
		w, other := newWorld(t), newWorld(t)
		var moved []*http.Cookie
		name := ""
		for _, c := range w.victim("web").cookies() {
			if strings.HasSuffix(c.Name, "session") {
				name = c.Name
			}
		}
		for _, c := range other.victim("web").cookies() {
			if strings.HasSuffix(c.Name, "session") {
				if c.Name == name {
					t.Error("two issuers on one host share a cookie")
				}
				c := *c
				c.Name = name
				moved = append(moved, &c)
			}
		}
		dead(t, w, moved)
	})
}

// TestAttackB08_ConsentCSRF: a form that was drawn for one browser is worth
// nothing from another one, nor with one value changed.
func TestAttackB08_ConsentCSRF(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := func(user string) (b *browser, page string, form url.Values) {
		b = w.browser()
		u, _ := b.signIn(b.begin(request("web")), user).location()
		return b, u.String(), url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"openid", "profile"}}
	}
	attacker, theirs, theirForm := open("bob")
	victim, ours, ourForm := open("alice")
	second, _ := victim.begin(request("web")).location()
	login := w.browser()
	loginURL, _ := login.begin(request("web")).location()
	edit := func(kv ...string) url.Values {
		f := url.Values{}
		for k, v := range ourForm {
			f[k] = v
		}
		for i := 0; i+1 < len(kv); i += 2 {
			f.Del(kv[i])
			if kv[i+1] != "" {
				f.Set(kv[i], kv[i+1])
			}
		}
		return f
	}
	for _, tc := range []struct {
		name   string
		page   string
		form   url.Values
		header []string
	}{
		{"the attacker's page and values", theirs, theirForm, nil},
		{"the attacker's values on the victim's page", ours, theirForm, nil},
		{"the victim's values on the attacker's page", theirs, ourForm, nil},
		{"no value", ours, edit("csrf", ""), nil},
		{"an empty value", ours, edit("csrf", " "), nil},
		{"a value of another page", ours, edit("csrf", csrf(login.get(loginURL.String()))), nil},
		{"a value of another page of the same browser", ours, edit("csrf", csrf(victim.get(second.String()).want(200))), nil},
		{"a longer value", ours, edit("csrf", ourForm.Get("csrf")+"A"), nil},
		{"a shorter value", ours, edit("csrf", ourForm.Get("csrf")[1:]), nil},
		{"the value in the query", ours + "&csrf=" + url.QueryEscape(ourForm.Get("csrf")), edit("csrf", ""), nil},
		{"a wrong header wins nothing", ours, edit("csrf", ""), []string{"X-CSRF-Token", "x"}},
		{"a wrong header beside the right value", ours, ourForm, []string{"X-CSRF-Token", "x"}},
		{"from another site", ours, ourForm, []string{"Sec-Fetch-Site", "cross-site"}},
		{"from a neighbouring host", ours, ourForm, []string{"Sec-Fetch-Site", "same-site"}},
		{"from another origin", ours, ourForm, []string{"Origin", "https://evil.example"}},
		{"from another port", ours, ourForm, []string{"Origin", "http://127.0.0.1:1"}},
		{"from a sandbox", ours, ourForm, []string{"Origin", "null"}},
		{"as JSON", ours, ourForm, []string{"Content-Type", "application/json"}},
		{"as plain text", ours, ourForm, []string{"Content-Type", "text/plain"}},
	} {
		t.Run("B08 "+tc.name, func(t *testing.T) {
			for _, do := range []string{"allow", "deny", "switch"} {
				f := url.Values{}
				for k, v := range tc.form {
					f[k] = v
				}
				f.Set("do", do)
				res := victim.in(t).send("POST", tc.page, f.Encode(), tc.header...)
				res.refusedPage()
			}
		})
		t.Run("B09 no cookies, "+tc.name, func(t *testing.T) {
			w.in(t).browser().send("POST", tc.page, tc.form.Encode(), tc.header...).refusedPage()
		})
	}
	t.Run("B09 no cookies, right values", func(t *testing.T) {
		w.in(t).browser().post(ours, ourForm).refusedPage()
		// Another browser that has a binding of its own.
		login.in(t).post(ours, ourForm).refusedPage()
	})
	t.Run("B08 wider than asked", func(t *testing.T) {
		b, page, form := open("alice")
		form["scope"] = []string{"openid", "profile", "email", "offline_access"}
		b.in(t).post(page, form).refusedAt(webRedirect, "invalid_request")
	})
	t.Run("B08 a detail that was not asked", func(t *testing.T) {
		b := w.in(t).browser()
		u, _ := b.signIn(b.begin(request("spa", "authorization_details", `[{"type":"payment","amount":5}]`)), "bob").location()
		for _, detail := range []string{"1", "-1", "x", "0x0", "99999999999999999999", `{"type":"payment","amount":6}`} {
			form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"openid", "profile"}, "detail": {detail}}
			b.post(u.String(), form).refusedPage()
		}
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"openid", "profile"}, "detail": {"0", "0"}}
		b.post(u.String(), form).refusedAt(spaRedirect, "invalid_request") // one payment, not two
	})
	t.Run("B08 control", func(t *testing.T) {
		for b, pf := range map[*browser]struct {
			page string
			form url.Values
		}{victim: {ours, ourForm}, attacker: {theirs, theirForm}} {
			if _, q := b.in(t).send("POST", pf.page, pf.form.Encode(), "Origin", w.issuer, "Sec-Fetch-Site", "same-origin").location(); q.Get("code") == "" {
				t.Errorf("no code: %v", q)
			}
			b.in(t).post(pf.page, pf.form).refusedPage() // and only once
		}
	})
}

// TestAttackB08_LoginCSRF: nobody is signed in by a form of another site.
func TestAttackB08_LoginCSRF(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	attacker, victim := w.browser(), w.browser()
	theirs, _ := attacker.begin(request("web")).location()
	ours, _ := victim.begin(request("web")).location()
	good := url.Values{"do": {"login"}, "username": {"bob"}, "password": {password}}
	with := func(csrf string) url.Values {
		f := url.Values{"csrf": {csrf}}
		for k, v := range good {
			f[k] = v
		}
		return f
	}
	theirCSRF, ourCSRF := csrf(attacker.get(theirs.String())), csrf(victim.get(ours.String()))
	for name, send := range map[string]func(b *browser) response{
		"the attacker's page":   func(b *browser) response { return b.post(theirs.String(), with(theirCSRF)) },
		"the attacker's values": func(b *browser) response { return b.post(ours.String(), with(theirCSRF)) },
		"no value":              func(b *browser) response { return b.post(ours.String(), good) },
		"from another site": func(b *browser) response {
			return b.send("POST", ours.String(), with(ourCSRF).Encode(), "Sec-Fetch-Site", "cross-site")
		},
		"from another origin": func(b *browser) response {
			return b.send("POST", ours.String(), with(ourCSRF).Encode(), "Origin", "https://evil.example")
		},
		"by GET":                       func(b *browser) response { return b.get(theirs.String() + "&" + with(theirCSRF).Encode()) },
		"without an interaction":       func(b *browser) response { return b.post("/login", with(ourCSRF)) },
		"cookie-less":                  func(b *browser) response { return b.w.browser().post(ours.String(), with(ourCSRF)) },
		"the attacker's page, drawing": func(b *browser) response { return b.get(theirs.String()) },
	} {
		t.Run("B08 login, "+name, func(t *testing.T) {
			send(victim.in(t)).refusedPage()
			victim.in(t).begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
		})
	}
	t.Run("B08 login by GET draws the page", func(t *testing.T) {
		res := victim.in(t).get(ours.String() + "&" + with(ourCSRF).Encode()).want(200)
		if strings.Contains(res.body, password) {
			t.Error("the page holds the password")
		}
		victim.in(t).begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
	})
	t.Run("B08 login, control", func(t *testing.T) {
		victim.in(t).post(ours.String(), with(ourCSRF)).location()
		victim.in(t).begin(request("web", "prompt", "none")).refusedAt(webRedirect, "consent_required")
	})
}

// TestAttackB13_BrowserSwapping: what one browser began, another one does not
// go on with, whatever it has. FAPI 2.0 attacker A3, RFC 9700 §4.17.
func TestAttackB13_BrowserSwapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	attacker := w.browser()
	login, _ := attacker.begin(request("web", "state", "attacker")).location()
	signedIn := w.browser()
	consent, _ := signedIn.signIn(signedIn.begin(request("web", "state", "attacker")), "bob").location()
	for name, victim := range map[string]*browser{"fresh": w.browser(), "with a session": w.victim("web")} {
		for step, page := range map[string]string{"login": login.String(), "consent": consent.String()} {
			t.Run("B13 "+step+" page, victim "+name, func(t *testing.T) {
				b := victim.in(t)
				b.get(page).refusedPage()
				for _, do := range []string{"login", "allow", "deny", "switch", ""} {
					own := csrf(map[string]*browser{"login": attacker, "consent": signedIn}[step].in(t).get(page))
					b.post(page, url.Values{"csrf": {own}, "do": {do}, "username": {"alice"}, "password": {password}, "scope": {"openid", "profile"}}).refusedPage()
				}
			})
		}
	}
	t.Run("B13 the attacker's cookie for the victim", func(t *testing.T) {
		// The binding alone, planted in the victim's browser, is not the session
		// that the consent page was opened in.
		victim := w.in(t).browser()
		victim.allow(victim.signIn(victim.begin(request("web", "prompt", "consent")), "alice"))
		for _, c := range signedIn.cookies() {
			if strings.HasSuffix(c.Name, "browser") {
				victim.plant(c)
			}
		}
		victim.get(consent.String()).refusedPage()
		victim.post(consent.String(), url.Values{"csrf": {csrf(signedIn.get(consent.String()))}, "do": {"allow"}, "scope": {"openid", "profile"}}).refusedPage()
	})
	t.Run("B13 another user signs in beside the page", func(t *testing.T) {
		b := w.in(t).browser()
		page, _ := b.signIn(b.begin(request("web", "prompt", "consent")), "alice").location()
		form := url.Values{"csrf": {csrf(b.get(page.String()))}, "do": {"allow"}, "scope": {"openid", "profile"}}
		b.signIn(b.begin(request("web", "prompt", "login")), "bob")
		b.get(page.String()).refusedPage()
		b.post(page.String(), form).refusedPage()
	})
	t.Run("B13 the session ends beside the page", func(t *testing.T) {
		b := w.in(t).browser()
		page, _ := b.signIn(b.begin(request("web", "prompt", "consent")), "alice").location()
		form := url.Values{"csrf": {csrf(b.get(page.String()))}, "do": {"allow"}, "scope": {"openid", "profile"}}
		out := b.get("/logout").want(200)
		b.post("/logout", url.Values{"csrf": {csrf(out)}, "do": {"logout"}}).want(200)
		b.post(page.String(), form).refusedPage()
	})
	t.Run("B13 one step's page for the other", func(t *testing.T) {
		b := w.in(t).browser()
		login, _ := b.begin(request("web", "prompt", "consent")).location()
		b.get("/consent?" + login.RawQuery).refusedPage()
		b.post("/consent?"+login.RawQuery, url.Values{"csrf": {csrf(b.get(login.String()))}, "do": {"allow"}, "scope": {"openid"}}).refusedPage()
		consent, _ := b.signIn(fake(t, login), "alice").location()
		b.get("/login?" + consent.RawQuery).refusedPage()
		b.post("/login?"+consent.RawQuery, url.Values{"csrf": {csrf(b.get(consent.String()))}, "do": {"login"}, "username": {"bob"}, "password": {password}}).refusedPage()
		b.get(consent.String()).want(200)
	})
	t.Run("B13 the page is too old", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		login, _ := b.begin(request("web")).location()
		form := url.Values{"csrf": {csrf(b.get(login.String()))}, "do": {"login"}, "username": {"alice"}, "password": {password}}
		page, _ := b.signIn(b.begin(request("web")), "alice").location()
		allow := url.Values{"csrf": {csrf(b.get(page.String()))}, "do": {"allow"}, "scope": {"openid", "profile"}}
		w.clock.add(30 * time.Minute)
		b.get(login.String()).refusedPage()
		b.post(login.String(), form).refusedPage()
		b.get(page.String()).refusedPage()
		b.post(page.String(), allow).refusedPage()
	})
	t.Run("B13 a request_uri in two browsers gives one code", func(t *testing.T) {
		w := w.in(t)
		uri := w.push(request("spa"))
		target := "/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode()
		one, two := w.browser(), w.browser()
		a, b := one.signIn(one.get(target), "alice"), two.signIn(two.get(target), "bob")
		if _, q := one.allow(a).location(); q.Get("code") == "" {
			t.Errorf("the first got no code: %v", q)
		}
		two.allow(b).refusedPage()
	})
	t.Run("B13 what a client or URI lost beside the page", func(t *testing.T) {
		for what, change := range map[string]func(*clientreg.Client){
			"disabled": func(c *clientreg.Client) { c.Disabled = true },
			"moved":    func(c *clientreg.Client) { c.RedirectURIs = []string{"https://new.example/cb"} },
		} {
			w := newWorld(t)
			b := w.browser()
			u, _ := b.begin(request("web")).location()
			login := url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"login"}, "username": {"alice"}, "password": {password}}
			v, _ := b.signIn(b.begin(request("web")), "alice").location()
			allow := url.Values{"csrf": {csrf(b.get(v.String()))}, "do": {"allow"}, "scope": {"openid", "profile"}}
			uri := w.push(request("spa"))
			w.clients.change("web", change)
			w.clients.change("spa", change)
			for _, res := range []response{
				b.get(u.String()), b.post(u.String(), login), b.get(v.String()), b.post(v.String(), allow),
				b.get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode()),
			} {
				res.noCode()
				if res.StatusCode < 400 || res.Header.Get("Location") != "" {
					t.Errorf("%s: status %d, Location %q", what, res.StatusCode, res.Header.Get("Location"))
				}
			}
		}
	})
	t.Run("B13 control", func(t *testing.T) {
		if _, q := signedIn.in(t).allow(fake(t, consent)).location(); q.Get("code") == "" {
			t.Error("the attacker's own browser was locked out")
		}
	})
}

// TestAttackB13_ForeignReference: a request_uri is its client's alone, also
// where two clients share a redirect URI. RFC 9126 §2.2.
func TestAttackB13_ForeignReference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("native", func(c *clientreg.Client) { c.RedirectURIs = append(c.RedirectURIs, webRedirect) })
	b := w.victim("native")
	uri := w.push(request("web"))
	for _, client := range []string{"native", "spa", "post", "nobody"} {
		t.Run("B13 P03 "+client, func(t *testing.T) {
			b.in(t).get("/authorize?" + url.Values{"client_id": {client}, "request_uri": {uri}}.Encode()).refusedPage()
		})
	}
	t.Run("B13 P03 control", func(t *testing.T) {
		if u, _ := b.in(t).get("/authorize?" + url.Values{"client_id": {"web"}, "request_uri": {uri}}.Encode()).location(); u.Path != "/consent" {
			t.Errorf("to %s", u)
		}
	})
}

// TestAttackB13_PagesOfTheApplication: a page of the application that ends the
// wrong step is a fault, told apart from every answer, and issues nothing.
func TestAttackB13_PagesOfTheApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) {
		c.LoginURL = "/signin"
		c.Consent = handlers.ConsentFunc(func(rw http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
			if r.Method == http.MethodPost {
				i.Login(rw, r, handlers.Login{Subject: "sub-alice"})
				return
			}
			_, _ = rw.Write([]byte(i.CSRF()))
		})
	})
	p := w.p
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.HandleFunc("/signin", func(rw http.ResponseWriter, r *http.Request) {
		i, err := p.Interaction(r)
		switch {
		case err != nil:
			p.Fail(rw, r, err)
		case r.Method == http.MethodGet:
			_, _ = rw.Write([]byte(i.CSRF()))
		case r.PostFormValue("do") == "login":
			i.Login(rw, r, handlers.Login{Subject: "sub-bob"})
		case r.PostFormValue("do") == "all":
			i.ApproveAll(rw, r, true)
		default:
			i.Approve(rw, r, handlers.Approval{Scopes: []string{"profile"}})
		}
	})
	w.serve(mux)
	b := w.browser()
	end := func(res response, do string) response {
		u, _ := res.location()
		return b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {do}})
	}
	consent := end(b.begin(request("web")), "login")
	if u, _ := consent.location(); u.Path != "/consent" {
		t.Fatalf("to %s", u)
	}
	for name, res := range map[string]response{
		"ApproveAll on the login page": end(b.begin(request("web", "prompt", "login")), "all"),
		"Approve on the login page":    end(b.begin(request("web", "prompt", "login")), "some"),
		"Login on the consent page":    end(consent, ""),
	} {
		t.Run("B13 "+name, func(t *testing.T) {
			if res.StatusCode != 500 || res.Header.Get("Location") != "" || len(res.Cookies()) > 0 {
				t.Errorf("status %d, Location %q, cookies %v", res.StatusCode, res.Header.Get("Location"), res.Cookies())
			}
		})
	}
	if n := w.events.count("code.issued"); n != 0 {
		t.Errorf("%d codes", n)
	}
}

// fake is a redirect to a page that is already known.
func fake(t testing.TB, u *url.URL) response {
	return response{t, &http.Response{StatusCode: 303, Header: http.Header{"Location": {u.String()}}, Request: &http.Request{URL: u}}, ""}
}

func TestAttackB15_Denied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, mode := range []string{"query", "fragment", "form_post"} {
		for _, client := range []string{"web", "spa", "native"} {
			t.Run("B15 consent, "+client+" "+mode, func(t *testing.T) {
				t.Parallel()
				b := w.in(t).browser()
				u, _ := b.signIn(b.begin(request(client, "response_mode", mode)), []string{"alice", "bob"}[len(mode)%2]).location()
				form := url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny"}, "scope": {"openid", "profile"}, "remember": {"1"}}
				b.post(u.String(), form).refusedAt(request(client).Get("redirect_uri"), "access_denied")
				form.Set("do", "allow")
				b.post(u.String(), form).refusedPage()
				b.get(u.String()).refusedPage()
				b.begin(request(client, "prompt", "none")).refusedAt(request(client).Get("redirect_uri"), "consent_required")
			})
			t.Run("B15 login, "+client+" "+mode, func(t *testing.T) {
				t.Parallel()
				b := w.in(t).browser()
				u, _ := b.begin(request(client, "response_mode", mode)).location()
				form := url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny"}, "username": {"alice"}, "password": {password}}
				b.post(u.String(), form).refusedAt(request(client).Get("redirect_uri"), "access_denied")
				form.Set("do", "login")
				b.post(u.String(), form).refusedPage()
				b.begin(request(client, "prompt", "none")).refusedAt(request(client).Get("redirect_uri"), "login_required")
			})
		}
	}
	t.Run("B15 nothing ticked", func(t *testing.T) {
		b := w.in(t).browser()
		res := b.signIn(b.begin(request("web", "scope", "profile email")), "bob")
		b.allow(res, "scope", "").refusedAt(webRedirect, "access_denied")
	})
	t.Run("B15 both buttons", func(t *testing.T) {
		b := w.in(t).browser()
		u, _ := b.signIn(b.begin(request("web")), "bob").location()
		form := url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny", "allow"}, "scope": {"openid"}}
		b.post(u.String(), form).noCode()
	})
}

// TestAttackB17_HostileClient: what a client says of itself is text on our
// pages, and its links are links of the web or none.
func TestAttackB17_HostileClient(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{
		markup, `<img src=x onerror=alert(1)>`, `" onfocus=alert(1) autofocus x="`, `javascript:alert(1)`, "</title><script>alert(1)</script>",
		"Bank\u202egnp.exe", "{{.CSRF}}", "<!--", "JaVaScRiPt:alert(1)//https://", "data:text/html,<script>alert(1)</script>", "//evil.example/x", "https://evil.example/\"onclick=alert(1)//",
	} {
		t.Run("B17 "+payload, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, id := range []string{"web", "spa"} {
				w.clients.change(id, func(c *clientreg.Client) {
					c.Name, c.ClientURI, c.LogoURI, c.PolicyURI, c.TosURI, c.InitiateLoginURI = payload, payload, payload, payload, payload, payload
					c.Dynamic = true
				})
			}
			for _, q := range []url.Values{request("web", "login_hint", payload), request("spa", "login_hint", payload, "response_mode", "form_post")} {
				b := w.in(t).browser()
				login := b.begin(q)
				u, _ := login.location()
				pages := []response{b.get(u.String()).want(200)}
				consent := b.signIn(login, "alice")
				v, _ := consent.location()
				page := b.get(v.String()).want(200)
				pages = append(pages, page, b.get(u.String()).wantPage(), b.post(v.String(), url.Values{"csrf": {csrf(page)}}).wantPage())
				b.allow(consent)
				pages = append(pages, b.get(v.String()).wantPage())
				out := b.get("/logout?client_id=" + q.Get("client_id")).want(200)
				pages = append(pages, out)
				pages = append(pages, b.post("/logout?client_id="+q.Get("client_id"), url.Values{"csrf": {csrf(out)}, "do": {"logout"}}).want(200))
				for _, p := range pages {
					noMarkup(t, p, payload)
					for _, a := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(p.body, -1) {
						if l := html.UnescapeString(a[1]); !strings.HasPrefix(l, "/") && !strings.HasPrefix(l, "https://") && l != "data:," || strings.HasPrefix(l, "//") || strings.Contains(l, `"`) {
							t.Errorf("link %s", a[0])
						}
					}
					if strings.Contains(p.body, "<img") {
						t.Error("a logo of an unverified client is embedded")
					}
				}
				for i, p := range pages[:2] {
					if !strings.Contains(p.body, `id="unverified"`) {
						t.Errorf("page %d does not warn of the client", i)
					}
				}
			}
		})
	}
}

// TestAttackB23_DisabledUser: a disabled or deleted account gets nothing, by
// whatever it still holds.
func TestAttackB23_DisabledUser(t *testing.T) {
	t.Parallel()
	for what, off := range map[string]func(w *world){
		"disabled": func(w *world) { w.users.disable("sub-alice", true) },
		"deleted": func(w *world) {
			gone := &turncoat{users: w.users, ask: func(handlers.ClaimsQuery) {}, gone: "sub-alice"}
			w.restart(func(c *handlers.Config) { c.Users = gone })
		},
	} {
		t.Run("B23 "+what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.victim("web", "spa", "native")
			_, tok := w.tokens("native")
			access, refresh, hint := tok.str("access_token"), tok.str("refresh_token"), tok.str("id_token")
			code := b.code(request("native"), "alice")
			pushed := w.push(request("spa"))
			waiting := w.browser()
			consent := waiting.signIn(waiting.begin(request("post", "scope", "openid")), "alice")
			consentURL, _ := consent.location()
			allow := url.Values{"csrf": {csrf(waiting.get(consentURL.String()))}, "do": {"allow"}, "scope": {"openid"}}

			off(w)
			for _, client := range []string{"web", "spa", "native"} {
				t.Run("B23 prompt=none, "+client, func(t *testing.T) {
					b.in(t).begin(request(client, "prompt", "none")).refusedAt(request(client).Get("redirect_uri"), "login_required")
				})
				t.Run("B23 authorize, "+client, func(t *testing.T) {
					b := b.in(t)
					for _, prompt := range []string{"", "login", "consent", "select_account"} {
						if u, _ := b.begin(request(client, "prompt", prompt)).location(); u.Path != "/login" {
							t.Errorf("prompt %q: to %s", prompt, u)
						}
					}
				})
			}
			t.Run("B23 first-party client", func(t *testing.T) {
				w.clients.change("web", func(c *clientreg.Client) { c.FirstParty = true })
				b.in(t).begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
			})
			t.Run("B23 hint", func(t *testing.T) {
				b.in(t).begin(request("native", "prompt", "none", "id_token_hint", hint)).refusedAt("http://127.0.0.1:51004/cb", "login_required")
			})
			t.Run("B23 pushed before", func(t *testing.T) {
				if u, _ := b.in(t).get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {pushed}}.Encode()).location(); u.Path != "/login" {
					t.Errorf("to %s", u)
				}
			})
			t.Run("B23 login", func(t *testing.T) {
				b := w.in(t).browser()
				res := b.signIn(b.begin(request("web")), "alice")
				res.noCode()
				if res.StatusCode == 303 {
					res.wantRedirectError(webRedirect, "access_denied")
				}
				if len(res.Cookies()) > 0 {
					t.Errorf("cookies %v", res.Cookies())
				}
				b.begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
			})
			t.Run("B23 open consent page", func(t *testing.T) {
				b := waiting.in(t)
				res := b.post(consentURL.String(), allow)
				res.noCode()
				if res.StatusCode == 303 {
					_, q := res.location()
					res.issuedBy(q)
					if e := q.Get("error"); e != "login_required" && e != "access_denied" {
						t.Errorf("error %q", e)
					}
				}
				b.post(consentURL.String(), allow).refusedPage()
			})
			t.Run("B23 code", func(t *testing.T) { w.in(t).redeem("native", code).wantError(400, "invalid_grant") })
			t.Run("B23 refresh", func(t *testing.T) { w.in(t).refresh("native", refresh).wantError(400, "invalid_grant") })
			t.Run("B23 userinfo", func(t *testing.T) { w.in(t).userinfo(access).want(401) })
			t.Run("B23 another user", func(t *testing.T) {
				b := w.in(t).browser()
				w.in(t).redeem("native", b.code(request("native"), "bob")).want(200)
			})
		})
	}
	t.Run("B23 disabled while the code is issued", func(t *testing.T) {
		// The check after the Commit sees what the one before could not.
		w := newWorld(t)
		asked := 0
		u := &turncoat{users: w.users, ask: func(q handlers.ClaimsQuery) {
			if q.For == handlers.ForCheck {
				if asked++; asked == 2 {
					w.users.disable("sub-alice", true)
				}
			}
		}}
		b := w.victim("web")
		w.restart(func(c *handlers.Config) { c.Users = u })
		b.begin(request("web", "prompt", "none")).refusedAt(webRedirect, "login_required")
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		if page, _, err := w.p.Grants().List(t.Context(), handlers.Filter{Subject: "sub-alice"}, "", 0); err != nil || len(page) != 2 {
			t.Errorf("%d living grants, want those from before: %v", len(page), err)
		}
	})
	t.Run("B23 an outage is no refusal", func(t *testing.T) {
		w := newWorld(t)
		b, tok := w.tokens("native")
		w.users.fail(http.ErrServerClosed)
		w.refresh("native", tok.str("refresh_token")).wantError(503, "temporarily_unavailable")
		w.userinfo(tok.str("access_token")).want(503)
		if res := b.begin(request("native", "prompt", "none")); res.StatusCode != 503 || res.Header.Get("Location") != "" {
			t.Errorf("status %d, Location %q", res.StatusCode, res.Header.Get("Location"))
		}
		w.users.fail(nil)
		w.refresh("native", tok.str("refresh_token")).want(200)
	})
}

// turncoat is told of every question before it is answered.
type turncoat struct {
	*users
	ask  func(handlers.ClaimsQuery)
	gone string // a subject that was deleted
}

func (u *turncoat) Claims(ctx context.Context, subject string, q handlers.ClaimsQuery) (map[string]any, error) {
	if u.ask(q); subject == u.gone {
		return nil, handlers.ErrNoUser
	}
	return u.users.Claims(ctx, subject, q)
}

func (u *turncoat) VerifyPassword(ctx context.Context, username, pw string) (handlers.Login, error) {
	l, err := u.users.VerifyPassword(ctx, username, pw)
	if err == nil && l.Subject == u.gone {
		return handlers.Login{}, handlers.ErrNoUser
	}
	return l, err
}
