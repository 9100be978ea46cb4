package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// What the conformance suite's browser script looks for is on our pages.
func TestConformanceDescription(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("conformance/provider.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Authorize, Page        string
		ConsentPage            string `json:"consent_page"`
		EndSession             string `json:"end_session"`
		Login, Consent, Reject [][]string
		LogoutConfirm          [][]string `json:"logout_confirm"`
		LoginRE                string     `json:"login_re"`
		ErrorRE                string     `json:"error_re"`
		LogoutDoneRE           string     `json:"logout_done_re"`
		LogoutErrorRE          string     `json:"logout_error_re"`
	}
	decode(t, string(text), &d)
	r := start(t, t.TempDir())
	at := func(what string, p handlerstest.Page, glob string, status int) {
		t.Helper()
		if !strings.HasPrefix(p.URL.String(), r.issuer+strings.TrimSuffix(glob, "*")) || p.Status != status {
			t.Errorf("%s: status %d at %s, want %d at %s", what, p.Status, p.URL.String(), status, glob)
		}
	}
	shows := func(what string, p handlerstest.Page, re string) {
		t.Helper()
		text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(p.Body, " ")
		if !regexp.MustCompile(re).MatchString(text) {
			t.Errorf("%s does not show %q:\n%s", what, re, p.Body)
		}
	}
	elements := func(what string, p handlerstest.Page, commands ...[]string) {
		t.Helper()
		for _, c := range commands {
			if c[1] != "id" || !strings.Contains(p.Body, `id="`+c[2]+`"`) {
				t.Errorf("%s has no element for %v:\n%s", what, c, p.Body)
			}
		}
	}

	b, a := newBrowser(r), newApp(r)
	login := a.Begin(b, "prompt", "consent")
	at("login page", login, d.Page, 200)
	shows("login page", login, d.LoginRE)
	elements("login page", login, append(d.Login, d.Reject...)...)
	consent := b.SignIn(login, d.Login[0][3], d.Login[1][3])
	at("consent page", consent, d.ConsentPage, 200)
	elements("consent page", consent, append(d.Consent, d.Reject...)...)
	a.WantError(b.Submit(consent, do("deny")), "access_denied")
	wrong := b.Get("/authorize?client_id=" + spaClient + "&response_type=code&redirect_uri=https%3A%2F%2Felsewhere.example")
	at("error page", wrong, d.Authorize, 400)
	shows("error page", wrong, d.ErrorRE)
	confirm := b.Get("/logout")
	at("logout page", confirm, d.EndSession, 200)
	elements("logout page", confirm, d.LogoutConfirm...)
	out := b.Submit(confirm, do("logout"))
	at("signed out", out, d.EndSession, 200)
	shows("signed out", out, d.LogoutDoneRE)
	bad := b.Get("/logout?" + url.Values{"id_token_hint": {"x.y.z"}}.Encode())
	at("bad logout", bad, d.EndSession, 400)
	shows("bad logout", bad, d.LogoutErrorRE)
}

// The configuration for the suite loads with clients in the form in which
// mkconfigs.py writes them, and they need no PKCE.
func TestConformanceConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("conformance/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "quickstart.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "configs"), 0o700); err != nil {
		t.Fatal(err)
	}
	makeCert(t, filepath.Join(dir, "configs", "go"))
	const callback = "https://localhost.emobix.co.uk:8443/test/a/go-static/callback"
	clients, err := json.MarshalIndent([]any{map[string]any{
		"client_id": "go-static-1", "client_secret": "1-secret-0123456789abcdef0123456789abcdef", "token_endpoint_auth_method": "client_secret_basic",
		"redirect_uris": []string{callback, callback + "?dummy1=lorem&dummy2=ipsum"},
		"grant_types":   []string{"authorization_code", "implicit", "refresh_token"}, "response_types": []string{"code", "code id_token"},
	}}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "configs", "go-clients.json"), clients, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(options{config: file})
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.clients[0]
	if !c.AllowNoPKCE || c.HasGrantType("implicit") || c.HasResponseType("code id_token") || !c.AllowsScope("offline_access") || len(cfg.Users) != 2 {
		t.Errorf("%+v", c)
	}
	cfg.Issuer = "https://localhost:9443"
	s, err := newServer(cfg, newLog(cfg, &syncBuffer{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	u := "/authorize?" + url.Values{"client_id": {c.ID}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid"}, "nonce": {"n"}, "state": {"s"}}.Encode()
	req, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := call(s.handler, req); got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/login?") {
		t.Errorf("request without PKCE: %d %s %s", got.status, got.header.Get("Location"), got.body.String())
	}
}
