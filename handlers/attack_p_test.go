package handlers_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// TestAttackP_refusals: pushed requests that must be refused, with nothing
// stored. RFC 9126 §2.
func TestAttackP_refusals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.quick()
	l.signedIn("spa")
	webAuth := []string{"Authorization", basic("web", webSecret)}
	web := func(edit ...string) url.Values {
		q := request("web", edit...)
		q.Del("client_id")
		return q
	}
	twice := func(name, value string) string { return web().Encode() + "&" + url.Values{name: {value}}.Encode() }
	uri := l.push(request("web"))
	form := []string{"Content-Type", formType}
	for _, c := range []struct {
		name   string
		body   string
		header []string
		status int
		code   string
	}{
		{"P01 confidential client without credentials", request("web").Encode(), form, 401, "invalid_client"},
		{"P01 wrong secret", web().Encode(), append([]string{"Authorization", basic("web", "wrong-secret-wrong-secret")}, form...), 401, "invalid_client"},
		{"P01 empty secret", request("web", "client_secret", " ").Encode(), form, 401, "invalid_client"},
		{"P01 unknown client", request("spa", "client_id", "nobody").Encode(), form, 401, "invalid_client"},
		{"P01 no client", web().Encode(), form, 401, "invalid_client"},
		{"P01 public client with a secret", request("spa", "client_secret", "guess").Encode(), form, 401, "invalid_client"},
		{"P01 client_id of another client beside the credentials", request("post").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P01 credentials and a secret in the body", web("client_secret", webSecret).Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P02 request_uri inside, ours", web("request_uri", uri).Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P02 request_uri inside, https", web("request_uri", "https://app.example/r.jwt").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P02 request_uri inside, public client", request("spa", "request_uri", uri).Encode(), form, 400, "invalid_request"},
		{"P02 request object inside", web("request", "e30.e30.").Encode(), append(slices.Clone(webAuth), form...), 400, "request_not_supported"},
		{"P06 foreign redirect_uri", web("redirect_uri", "https://evil.example/cb").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P06 redirect_uri missing", web("redirect_uri", "").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P06 another client's redirect_uri", web("redirect_uri", spaRedirect).Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P06 redirect_uri with a suffix", web("redirect_uri", webRedirect+"/..").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P06 client without redirect URIs", request("m2m", "client_id", "").Encode(), append([]string{"Authorization", basic("m2m", webSecret)}, form...), 400, "invalid_request"},
		{"P10 redirect_uri twice", twice("redirect_uri", "https://evil.example/cb"), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 redirect_uri twice, the same", twice("redirect_uri", webRedirect), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 code_challenge twice", twice("code_challenge", "x"), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 scope twice", twice("scope", "openid"), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 scope twice, once empty", twice("scope", ""), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 client_id twice", request("spa").Encode() + "&client_id=web", form, 400, "invalid_request"},
		{"P10 state twice", twice("state", "b"), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P10 an unknown parameter twice", twice("x", "1") + "&x=2", append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"P13 JSON", `{"client_id":"spa"}`, []string{"Content-Type", "application/json"}, 415, "invalid_request"},
		{"P13 text", request("spa").Encode(), []string{"Content-Type", "text/plain"}, 415, "invalid_request"},
		{"P13 multipart", request("spa").Encode(), []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "invalid_request"},
		{"P13 no media type", request("spa").Encode(), nil, 415, "invalid_request"},
		{"P13 two media types", request("spa").Encode(), append([]string{"Content-Type", "application/json"}, form...), 415, "invalid_request"},
		{"P16 public client without a challenge", request("native", "code_challenge", "", "code_challenge_method", "").Encode(), form, 400, "invalid_request"},
		{"P16 public client with the method alone", request("native", "code_challenge", "").Encode(), form, 400, "invalid_request"},
		{"P16 plain", request("native", "code_challenge_method", "plain").Encode(), form, 400, "invalid_request"},
		{"P16 no method", request("native", "code_challenge_method", "").Encode(), form, 400, "invalid_request"},
		{"P16 short challenge", request("native", "code_challenge", "short").Encode(), form, 400, "invalid_request"},
		{"P16 confidential client without a challenge", web("code_challenge", "", "code_challenge_method", "").Encode(), append(slices.Clone(webAuth), form...), 400, "invalid_request"},
		{"response_type token", request("native", "response_type", "token").Encode(), form, 400, "unsupported_response_type"},
		{"scope beyond the registration", request("native", "scope", "openid api").Encode(), form, 400, "invalid_scope"},
		{"prompt none and login", request("native", "prompt", "none login").Encode(), form, 400, "invalid_request"},
		{"broken escapes", "client_id=spa&state=%zz", form, 400, "invalid_request"},
		{"NUL", "client_id=spa&state=%00", form, 400, "invalid_request"},
		{"invalid UTF-8", "client_id=spa&state=%ff", form, 400, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.sub(t)
			before := len(l.vault.rows(t, storage.KindPAR))
			res := l.send("POST", "/par", c.body, c.header...).clean().wantError(c.status, c.code)
			if strings.Contains(res.body, "request_uri\":") {
				t.Errorf("the refusal has a request_uri: %s", res.body)
			}
			if c.status == 401 && len(c.header) > 2 && res.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			if after := len(l.vault.rows(t, storage.KindPAR)); after != before {
				t.Errorf("%d rows were stored", after-before)
			}
		})
	}
	t.Run("P07 other methods", func(t *testing.T) {
		l := l.sub(t)
		before := len(l.vault.rows(t, storage.KindPAR))
		for _, m := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH"} {
			res := l.send(m, "/par?"+request("spa").Encode(), "").clean().want(405)
			if res.Header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow %q", m, res.Header.Get("Allow"))
			}
		}
		if len(l.vault.rows(t, storage.KindPAR)) != before {
			t.Error("a row was stored")
		}
	})
	t.Run("P07 parameters in the URL", func(t *testing.T) {
		l := l.sub(t)
		l.send("POST", "/par?"+request("spa").Encode(), "", form...).wantError(400, "invalid_request")
		l.send("POST", "/par?x=1", request("spa").Encode(), form...).wantError(400, "invalid_request")
	})
	t.Run("P11 oversized", func(t *testing.T) {
		l := l.sub(t)
		if got := l.huge("/par", 2<<20); got != 413 {
			t.Errorf("status %d", got)
		}
		l.push(request("spa"))
	})
	t.Run("P05 lifetime", func(t *testing.T) {
		l := l.sub(t)
		res := l.call("/par", request("spa")).want(201)
		if n := res.json()["expires_in"].(float64); n < 5 || n > 600 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("expires_in %v, Cache-Control %q", n, res.Header.Get("Cache-Control"))
		}
	})
	t.Run("P08 entropy", func(t *testing.T) {
		l := l.sub(t)
		seen := map[string]bool{}
		for range 16 {
			ref := strings.TrimPrefix(l.push(request("spa")), "urn:ietf:params:oauth:request_uri:")
			if seen[ref] || len(ref) < 22 {
				t.Errorf("reference %q", ref)
			}
			seen[ref] = true
		}
	})
	l.alive()
}

// TestAttackP_reference: a request_uri works for its client, once, for a while,
// and nothing beside it counts. RFC 9126 §4, §7.3.
func TestAttackP_reference(t *testing.T) {
	t.Parallel()
	front := func(client, uri string) string {
		return "/authorize?" + url.Values{"client_id": {client}, "request_uri": {uri}}.Encode()
	}
	t.Run("P03 another client's request_uri", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		w.signedInAlso(b, "web")
		for _, pair := range [][2]string{{"spa", "web"}, {"web", "spa"}, {"native", "web"}} {
			uri := w.push(request(pair[0]))
			b.get(front(pair[1], uri)).clean().wantPage()
			if pair[0] != "native" { // its own client is not disturbed
				if _, q := b.get(front(pair[0], uri)).location(); q.Get("code") == "" {
					t.Errorf("%s lost its request", pair[0])
				}
			}
		}
	})
	t.Run("P03 another client with the same redirect_uri", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		w.clients.change("native", func(c *clientreg.Client) { c.RedirectURIs = []string{spaRedirect} })
		uri := w.push(request("spa"))
		b.get(front("native", uri)).clean().wantPage()
		b.get(front("native", uri) + "&prompt=none").clean().wantPage()
		if _, q := b.get(front("spa", uri)).location(); q.Get("code") == "" {
			t.Error("the request was spent")
		}
	})
	t.Run("P04 replay", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		// After the code.
		uri := w.push(request("spa"))
		if _, q := b.get(front("spa", uri)).location(); q.Get("code") == "" {
			t.Fatal("no code")
		}
		for _, who := range []*browser{b, w.browser()} {
			if q := who.get(front("spa", uri)).wantRedirectError(spaRedirect, "invalid_request_uri"); q.Get("iss") != w.issuer || q.Has("state") {
				t.Errorf("replay: %v", q)
			}
		}
		// After an error.
		uri = w.push(request("spa", "prompt", "none"))
		stranger := w.browser()
		stranger.get(front("spa", uri)).wantRedirectError(spaRedirect, "login_required")
		b.get(front("spa", uri)).wantRedirectError(spaRedirect, "invalid_request_uri")
		// After a denial.
		uri = w.push(request("spa", "prompt", "consent"))
		u, _ := b.get(front("spa", uri)).location()
		b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny"}}).wantRedirectError(spaRedirect, "access_denied")
		b.get(front("spa", uri)).wantRedirectError(spaRedirect, "invalid_request_uri")
		// A reload before the answer is allowed; the second page is then dead.
		uri = w.push(request("spa", "prompt", "consent"))
		one, two := b.get(front("spa", uri)), b.get(front("spa", uri))
		u2, _ := two.location()
		page2 := b.get(u2.String()).want(200)
		if _, q := b.allow(one).location(); q.Get("code") == "" {
			t.Fatal("no code from the first page")
		}
		b.post(u2.String(), url.Values{"csrf": {csrf(page2)}, "do": {"allow"}, "scope": {"profile"}}).clean().wantPage()
		b.post(u2.String(), url.Values{"csrf": {csrf(page2)}, "do": {"deny"}}).clean().wantPage()
	})
	t.Run("P05 expired", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri, uri2, uri3 := w.push(request("spa")), w.push(request("spa")), w.push(request("spa", "prompt", "consent"))
		page := b.get(front("spa", uri3))
		w.clock.add(59 * time.Second)
		if _, q := b.get(front("spa", uri)).location(); q.Get("code") == "" {
			t.Error("refused within its life")
		}
		w.clock.add(time.Second)
		if q := b.get(front("spa", uri2)).wantRedirectError(spaRedirect, "invalid_request_uri"); q.Has("state") {
			t.Error("an expired reference tells its state")
		}
		w.clock.add(10 * time.Minute) // who has begun in time may be slow
		if _, q := b.allow(page).location(); q.Get("code") == "" {
			t.Error("a slow consent was refused")
		}
	})
	t.Run("P08 forged references", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri := w.push(request("spa"))
		for _, m := range mutations(uri) {
			if m == strings.ToLower(uri) && m == uri {
				continue
			}
			b.get(front("spa", m)).clean().wantPage()
		}
		b.get(front("spa", "urn:ietf:params:oauth:request_uri:")).clean().wantPage()
		b.get(front("spa", strings.Replace(uri, "urn:", "URN:", 1))).clean().wantPage()
		code := b.code(request("spa"), "alice")
		b.get(front("spa", "urn:ietf:params:oauth:request_uri:"+code)).clean().wantPage()
		b.get(front("spa", "urn:ietf:params:oauth:request_uri:"+strings.TrimPrefix(code, "ac_"))).clean().wantPage()
		if _, q := b.get(front("spa", uri)).location(); q.Get("code") == "" {
			t.Error("the true reference was spent")
		}
	})
	t.Run("P12 a client that must push", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		w.signedInAlso(b, "web")
		q := b.get("/authorize?"+request("spa").Encode()).wantRedirectError(spaRedirect, "invalid_request")
		if q.Get("state") != "state-1" || q.Get("iss") != w.issuer {
			t.Errorf("%v", q)
		}
		b.post("/authorize", request("spa")).wantRedirectError(spaRedirect, "invalid_request")
		// What a browser posted is no push, even once it is stored.
		self, v := b.post("/authorize", request("web")).location()
		if self.Path != "/authorize" || v.Get("request_uri") == "" {
			t.Fatalf("to %s", self)
		}
		w.clients.change("web", func(c *clientreg.Client) { c.RequirePAR = true })
		b.get(self.String()).wantRedirectError(webRedirect, "invalid_request")
		if _, v := b.get(front("web", w.push(request("web")))).location(); v.Get("code") == "" {
			t.Error("a true push was refused")
		}
	})
	t.Run("P12 a provider that wants pushes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *handlers.Config) { c.RequirePAR = true })
		w.browser().get("/authorize?"+request("web").Encode()).wantRedirectError(webRedirect, "invalid_request")
		w.browser().get("/authorize?" + request("web", "redirect_uri", "https://evil.example/cb").Encode()).wantPage()
		b := w.browser()
		if u, _ := b.get(front("web", w.push(request("web")))).location(); u.Path != "/login" {
			t.Errorf("to %s", u)
		}
	})
	t.Run("P14 without client_id", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri := url.Values{"request_uri": {w.push(request("spa"))}}.Encode()
		for _, q := range []string{uri, uri + "&client_id=", uri + "&client_id=nobody", uri + "&client_id=spa&client_id=web", uri + "&client_id=spa&client_id=spa"} {
			b.get("/authorize?" + q).clean().wantPage()
		}
		b.get("/authorize?client_id=spa&" + uri + "&" + uri).clean().wantPage()
		if _, q := b.get("/authorize?client_id=spa&" + uri).location(); q.Get("code") == "" {
			t.Error("the reference was spent")
		}
	})
	t.Run("P15 parameters beside it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri := w.push(request("spa"))
		u, q := b.get(front("spa", uri) + "&redirect_uri=https%3A%2F%2Fevil.example&state=EVIL&scope=openid+email&response_mode=fragment&nonce=EVIL&prompt=login&code_challenge=x").location()
		if u.Host != "app.example" || q.Get("state") != "state-1" || q.Get("code") == "" {
			t.Fatalf("to %s", u)
		}
		tok := w.redeem("spa", q.Get("code")).want(200)
		if tok.str("scope") != "openid profile" || claims(t, tok.str("id_token"))["nonce"] != "nonce-1" {
			t.Errorf("%s", tok.body)
		}
	})
	t.Run("P17 what changed since the push", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri := w.push(request("spa"))
		w.clients.change("spa", func(c *clientreg.Client) { c.Disabled = true })
		b.get(front("spa", uri)).clean().wantPage()
		w.clients.change("spa", func(c *clientreg.Client) {
			c.Disabled, c.RedirectURIs = false, []string{"https://app.example/other"}
		})
		b.get(front("spa", uri)).clean().wantPage()
		w.clients.delete("spa")
		b.get(front("spa", uri)).clean().wantPage()
	})
	t.Run("P18 POST with a reference", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		uri := w.push(request("spa"))
		if _, q := b.post("/authorize", url.Values{"client_id": {"spa"}, "request_uri": {uri}}).location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
		b.post("/authorize?x=1", url.Values{"client_id": {"spa"}, "request_uri": {uri}}).clean().wantPage()
		if got := w.send("POST", "/authorize", `{}`, "Content-Type", "application/json").clean(); got.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("JSON: status %d", got.StatusCode)
		}
	})
}

// signedInAlso lets the user of a browser allow a second client.
func (w *world) signedInAlso(b *browser, client string, edit ...string) {
	w.t.Helper()
	if _, q := b.allow(b.begin(request(client, edit...)), "remember", "1").location(); q.Get("code") == "" {
		w.t.Fatalf("no code: %v", q)
	}
}
