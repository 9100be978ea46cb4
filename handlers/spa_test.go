package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// postJSON is what a script on a page does: fetch with the CSRF value in a header.
func (b *browser) postJSON(raw, csrf string) response {
	b.t.Helper()
	r, err := http.NewRequest("POST", b.w.abs(raw), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-CSRF-Token", csrf)
	return b.do(r)
}

// TestScriptedConsent is a consent page that is a script.
func TestScriptedConsent(t *testing.T) {
	t.Parallel()
	page := handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		if r.Method == http.MethodGet {
			json.NewEncoder(w).Encode(i)
			return
		}
		i.ApproveAll(w, r, false)
	})
	w := newWorld(t, func(c *handlers.Config) { c.Consent = page })
	for mode, member := range map[string]string{"query": "location", "form_post": "action"} {
		b := w.browser()
		u, _ := b.signIn(b.begin(request("web", "response_mode", mode)), "alice").location()
		view := b.get(u.String()).want(200)
		if strings.Contains(view.body, "hash") || strings.Contains(view.body, "sha256") {
			t.Errorf("the page learns of secrets: %s", view.body)
		}
		asked, _ := view.json()["asked"].(map[string]any)
		if scopes, _ := asked["scopes"].([]any); len(scopes) != 2 || scopes[0].(map[string]any)["name"] != "openid" {
			t.Errorf("asked %v", asked)
		}
		b.postJSON(u.String(), "wrong").wantError(400, "invalid_request")
		res := b.postJSON(u.String(), view.str("csrf")).want(200)
		if !strings.HasPrefix(res.str(member), webRedirect) || !strings.Contains(res.body, "code") {
			t.Errorf("%s: %s", mode, res.body)
		}
		b.postJSON(u.String(), view.str("csrf")).wantError(400, "invalid_request")
	}
}

// TestOwnPages replaces the error and logout pages.
func TestOwnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) {
		c.Pages.Error = func(w http.ResponseWriter, _ *http.Request, e handlers.ErrorPage) {
			w.WriteHeader(e.Status)
			w.Write([]byte("own error " + e.Kind + " " + e.Code))
		}
		c.Pages.Logout = func(w http.ResponseWriter, _ *http.Request, l handlers.LogoutPage) {
			w.Write([]byte(`own logout ` + l.State + ` ` + l.Account + ` name="csrf" value="` + l.CSRF + `"`))
		}
	})
	if res := w.getWith("/authorize?client_id=nope").want(400); res.body != "own error client invalid_request" {
		t.Errorf("%s", res.body)
	}
	b := w.browser()
	b.code(request("web"), "alice")
	page := b.get("/logout").want(200)
	if !strings.HasPrefix(page.body, "own logout ask Alice") {
		t.Errorf("%s", page.body)
	}
	for do, state := range map[string]string{"stay": "stayed"} {
		if res := b.post("/logout", url.Values{"do": {do}, "csrf": {csrf(page)}}); !strings.HasPrefix(res.body, "own logout "+state) {
			t.Errorf("%s: %s", do, res.body)
		}
	}
	if res := b.post("/logout", url.Values{"do": {"logout"}, "csrf": {csrf(page)}}); !strings.HasPrefix(res.body, "own logout signed_out") {
		t.Errorf("%s", res.body)
	}
}

// TestScopesOfAnAPI: a token carries what means something where it is for.
func TestScopesOfAnAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) {
		c.APIs = []handlers.API{{Identifier: "https://api.example", Scopes: []string{"api"}}}
	})
	q := request("web", "scope", "openid profile api")
	q.Set("resource", "https://api.example")
	tok := w.redeem("web", w.browser().code(q, "alice")).want(200)
	if tok.str("scope") != "api" || tok.str("id_token") == "" {
		t.Errorf("%s", tok.body)
	}
}

// keeper is a registry that keeps secrets itself.
type keeper struct {
	*registry
	err error
}

func (v keeper) VerifySecret(_ context.Context, c *clientreg.Client, presented string) (bool, error) {
	return presented == "kept elsewhere "+c.ID, v.err
}

// TestSecretVerifier: the registry judges, abstains, or is away.
func TestSecretVerifier(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err             error
		elsewhere, kept int
	}{{nil, 400, 401}, {errors.ErrUnsupported, 401, 400}, {errTest, 503, 503}} {
		w := newWorld(t, func(c *handlers.Config) { c.Clients = keeper{c.Clients.(*registry), tc.err} })
		form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
		w.call("/token", form, "Authorization", basic("web", "kept elsewhere web")).want(tc.elsewhere)
		w.call("/token", form, "Authorization", basic("web", webSecret)).want(tc.kept)
	}
}

// TestChosenSecretsAreHeldBack: what could be guessed is not judged for ever.
func TestChosenSecretsAreHeldBack(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := newWorld(t, func(c *handlers.Config) { c.Limiter = &few{left: 3}; c.Now = clock.Now })
	try := func(secret string) response {
		return w.call("/token", url.Values{"client_id": {"post"}, "client_secret": {secret}, "grant_type": {"authorization_code"}, "code": {"x"}})
	}
	for range 3 {
		try(postSecret).wantError(400, "invalid_grant") // right ones do not count
	}
	try("guess one is wrong").want(401)
	try("guess two is wrong").want(429)
	try(postSecret).wantError(429, "temporarily_unavailable")
}

// few allows a number of tries, and gives back.
type few struct{ left int }

func (f *few) Allow(context.Context, string) (bool, time.Duration) {
	if f.left <= 0 {
		return false, time.Second
	}
	f.left--
	return true, 0
}

func (f *few) Undo(context.Context, string) { f.left++ }

// TestOwnPagePolicy: what a page of the application's own must allow, so that
// its answer reaches the client, and whether remembering has an effect.
func TestOwnPagePolicy(t *testing.T) {
	t.Parallel()
	var policy string
	var remember bool
	w := newWorld(t, func(c *handlers.Config) {
		c.Consent = handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
			policy, remember = i.FormAction(), i.CanRemember()
			w.Write(nil)
		})
	})
	for _, c := range []struct {
		client, redirect, details, policy string
		remember                          bool
	}{
		{"web", webRedirect, "", "form-action 'self' https:", true},
		{"native", "http://127.0.0.1:51004/cb", "", "form-action 'self' https: http://127.0.0.1:51004", false},
		{"native", "com.example.app:/cb", "", "form-action 'self' https: com.example.app:", false},
		{"spa", spaRedirect, `[{"type":"payment","amount":5}]`, "form-action 'self' https:", false},
	} {
		b := w.browser()
		u, _ := b.signIn(b.begin(request(c.client, "redirect_uri", c.redirect, "authorization_details", c.details)), "alice").location()
		b.get(u.String()).want(200)
		if policy != c.policy || remember != c.remember {
			t.Errorf("%s at %s: %q, %v; want %q, %v", c.client, c.redirect, policy, remember, c.policy, c.remember)
		}
	}
}
