package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers"
)

// TestDiscovery reads both well-known documents at the root and under a path,
// and follows every endpoint they name. RFC 8414 §3, OpenID Connect Discovery §4.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"root": "", "path": "/tenant/a"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *handlers.Config) { c.Issuer += path })
			places := []string{path + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server" + path}
			if path != "" {
				places = append(places, "/.well-known/openid-configuration"+path, path+"/.well-known/oauth-authorization-server")
			}
			var first string
			for _, place := range places {
				res := w.getWith(place).want(200)
				if first == "" {
					first = res.body
				}
				if res.body != first {
					t.Errorf("%s differs", place)
				}
				if !strings.HasPrefix(res.Header.Get("Cache-Control"), "public, max-age=") || res.Header.Get("ETag") == "" || res.Header.Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("%s: headers %v", place, res.Header)
				}
				w.getWith(place, "If-None-Match", res.Header.Get("ETag")).want(304)
			}
			m := w.getWith(places[0]).json()
			if m["issuer"] != w.issuer {
				t.Errorf("issuer %v", m["issuer"])
			}
			for member, want := range map[string]int{
				"authorization_endpoint": 400, "token_endpoint": 405, "userinfo_endpoint": 401, "jwks_uri": 200,
				"pushed_authorization_request_endpoint": 405, "revocation_endpoint": 405, "end_session_endpoint": 200,
			} {
				u, _ := m[member].(string)
				if !strings.HasPrefix(u, w.issuer+"/") {
					t.Errorf("%s is %q", member, u)
					continue
				}
				if res := w.getWith(u); res.StatusCode != want {
					t.Errorf("%s: GET %s is %d, want %d", member, u, res.StatusCode, want)
				}
			}
			for _, method := range []string{"PUT", "DELETE", "PATCH", "POST"} {
				r, _ := http.NewRequest(method, w.abs(places[0]), nil)
				res := w.browser().do(r).want(405)
				if res.Header.Get("Allow") != "GET, HEAD" {
					t.Errorf("Allow %q", res.Header.Get("Allow"))
				}
			}
			b := w.browser()
			q := request("web")
			res := b.get(w.path("/authorize") + "?" + q.Encode())
			res = b.signIn(res, "alice")
			if _, v := b.allow(res).location(); v.Get("code") == "" {
				t.Error("no code under the path")
			}
		})
	}
}

// TestMountAlone mounts single endpoints in a mux of the application's own.
func TestMountAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mux := http.NewServeMux()
	mux.Handle("/keys", w.p.JWKS())
	mux.Handle("/meta", w.p.Discovery())
	mux.Handle("/t", w.p.Token())
	w.serve(mux)
	if keys, _ := w.getWith("/keys").want(200).json()["keys"].([]any); len(keys) != 1 {
		t.Errorf("keys %v", keys)
	}
	w.getWith("/meta").want(200)
	w.call("/t", url.Values{"client_id": {"spa"}}).wantError(400, "invalid_request")
}

// TestForeignHostChangesNothing: every URL comes from the configuration.
func TestForeignHostChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil := []string{"Host", "evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example;proto=https",
		"X-Forwarded-Prefix", "/evil", "X-Original-URL", "/evil"}
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks", "/authorize?client_id=nope", "/login?interaction=x", "/logout"} {
		plain, hostile := w.getWith(path), w.getWith(path, evil...)
		strip := func(s string) string { return csrfField.ReplaceAllString(nonceAttr.ReplaceAllString(s, ""), "") }
		if plain.StatusCode != hostile.StatusCode || strip(plain.body) != strip(hostile.body) || strings.Contains(hostile.body, "evil") {
			t.Errorf("%s changed: %d %s", path, hostile.StatusCode, hostile.body)
		}
	}
	for _, q := range []url.Values{request("native"), request("native", "redirect_uri", "https://evil-not.example/cb")} {
		answers := [2]response{}
		for i := range answers {
			r, err := http.NewRequest("POST", w.abs("/par"), strings.NewReader(q.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for j := 2; i == 1 && j < len(evil); j += 2 {
				r.Host = "evil.example"
				r.Header.Set(evil[j], evil[j+1])
			}
			answers[i] = w.bare().do(r)
		}
		strip := func(s string) string { return regexp.MustCompile(`request_uri:[\w-]+`).ReplaceAllString(s, "") }
		if plain, hostile := answers[0], answers[1]; plain.StatusCode != hostile.StatusCode || strip(plain.body) != strip(hostile.body) {
			t.Errorf("PAR changed: %d %s, then %d %s", plain.StatusCode, plain.body, hostile.StatusCode, hostile.body)
		}
	}
	res := w.getWith("/authorize?"+request("web", "prompt", "none").Encode(), evil...)
	if q := res.Header.Get("Location"); strings.Contains(q, "evil") || q != "" && !strings.HasPrefix(q, webRedirect) {
		t.Errorf("redirect to %s", q)
	}
}

// TestResponseModes: Multiple Response Types §2.1, Form Post §2.
func TestResponseModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, mode := range []string{"query", "fragment", "form_post"} {
		b := w.browser()
		res := b.allow(b.signIn(b.begin(request("web", "response_mode", mode)), "alice"))
		switch mode {
		case "query":
			if u, v := res.location(); v.Get("code") == "" || u.Fragment != "" {
				t.Errorf("%s: %s", mode, u)
			}
		case "fragment":
			if u, v := res.location(); v.Get("code") == "" || u.RawQuery != "" || v.Get("iss") != w.issuer {
				t.Errorf("%s: %s", mode, u)
			}
		case "form_post":
			res.want(200)
			for _, want := range []string{`action="` + webRedirect + `"`, `name="code"`, `name="state" value="state-1"`, `name="iss"`, "<noscript>"} {
				if !strings.Contains(res.body, want) {
					t.Errorf("%s lacks %q: %s", mode, want, res.body)
				}
			}
			if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'sha256-") || strings.Contains(csp, "unsafe-inline") {
				t.Errorf("CSP %q", csp)
			}
		}
	}
	u, v := w.browser().begin(request("web", "response_mode", "fragment", "prompt", "none")).location()
	if v.Get("error") != "login_required" || u.Fragment == "" {
		t.Errorf("error went to %s", u)
	}
}
