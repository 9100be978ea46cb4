package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// TestRevokeSubject signs a user out everywhere, and nobody else.
func TestRevokeSubject(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	var browsers []*browser
	for range 3 {
		b := w.browser()
		b.code(request("web"), "alice")
		browsers = append(browsers, b)
	}
	_, offline := w.tokens("web")
	mixed := w.browser()
	mixed.code(request("web"), "alice")
	bob := w.redeem("web", mixed.code(request("web", "prompt", "login"), "bob")).want(200)
	if err := w.p.Grants().RevokeSubject(context.Background(), "sub-alice"); err != nil {
		t.Fatal(err)
	}
	for _, b := range browsers {
		b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "login_required")
	}
	w.userinfo(offline.str("access_token")).want(401)
	w.refresh("web", offline.str("refresh_token")).wantError(400, "invalid_grant")
	w.userinfo(bob.str("access_token")).want(200)
	page, _ := mixed.at(mixed.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Alice") || !strings.Contains(page.body, "Bob") {
		t.Errorf("wrong accounts:\n%s", page.body)
	}
	if got := w.subjectOf(browsers[0].signIn(browsers[0].begin(request("web")), "alice")); got != "sub-alice" {
		t.Errorf("alice cannot sign in again: %s", got)
	}
	if err := w.p.Grants().RevokeSubject(context.Background(), ""); err == nil {
		t.Error("an empty subject was accepted")
	}
}

// TestRevokeSubjectFails: an error at any call of the storage is told, and
// trying again finishes.
func TestRevokeSubjectFails(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		var flaky *storagetest.FlakyStorage
		w := trusted(t, func(c *handlers.Config) {
			flaky = storagetest.Flaky(c.Storage, storagetest.Plan{})
			c.Storage = flaky
		})
		b, tokens := w.tokens("web")
		flaky.Arm(storagetest.Plan{Faults: map[int]storagetest.Fault{n: storagetest.Fail(errTest)}})
		err := w.p.Grants().RevokeSubject(context.Background(), "sub-alice")
		if flaky.Count() < n {
			if n < 5 || err != nil {
				t.Fatalf("%d calls, %v", flaky.Count(), err)
			}
			return
		}
		if !errors.Is(err, errTest) {
			t.Errorf("fault at call %d: %v", n, err)
		}
		flaky.Arm(storagetest.Plan{})
		if err := w.p.Grants().RevokeSubject(context.Background(), "sub-alice"); err != nil {
			t.Fatal(err)
		}
		w.refresh("web", tokens.str("refresh_token")).wantError(400, "invalid_grant")
		b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "login_required")
	}
}

// TestUnassuredClientsAreAskedForEveryTime: whoever registers itself, and any
// program that can claim the redirect URI of a public client. RFC 8252 §8.6.
func TestUnassuredClientsAreAskedForEveryTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		client, redirect string
		change           func(*clientreg.Client)
		asked            bool
	}{
		"web":                          {"web", webRedirect, nil, false},
		"web that registered itself":   {"web", webRedirect, func(c *clientreg.Client) { c.Dynamic = true }, true},
		"app in a browser":             {"spa", spaRedirect, nil, false},
		"native on a loopback address": {"native", "http://127.0.0.1:51004/cb", nil, true},
		"native by a private scheme":   {"native", "com.example.app:/cb", nil, true},
		"in development":               {"native", "http://127.0.0.1:51004/cb", func(c *clientreg.Client) { c.AllowLocalhostRedirect = true }, false},
		"native of ours":               {"native", "com.example.app:/cb", func(c *clientreg.Client) { c.FirstParty = true }, false},
		"ours, it says":                {"native", "com.example.app:/cb", func(c *clientreg.Client) { c.FirstParty, c.Dynamic = true, true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				w.clients.change(c.client, c.change)
			}
			b := w.browser()
			q := request(c.client, "redirect_uri", c.redirect)
			if res := b.signIn(b.begin(q), "alice"); strings.Contains(res.Header.Get("Location"), "/consent") {
				b.allow(res, "remember", "1").location()
			}
			q.Set("prompt", "none")
			if _, v := b.begin(q).location(); (v.Get("error") == "consent_required") != c.asked {
				t.Errorf("%v, want a question: %v", v, c.asked)
			}
			q.Set("prompt", "consent")
			page, _ := b.at(b.begin(q), "/consent")
			if offers := strings.Contains(page.body, `name="remember"`); offers == c.asked && !strings.HasSuffix(name, "of ours") {
				t.Errorf("the page offers to remember: %v", offers)
			}
		})
	}
}

// TestConsentNamesTheLifetime: for how long, as ASVS 5.0 10.7.2 asks.
func TestConsentNamesTheLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	res := b.signIn(b.begin(request("web")), "alice")
	if page, _ := b.at(res, "/consent"); !strings.Contains(page.body, "ends after <bdi>10 minutes</bdi>") {
		t.Errorf("%s", page.body)
	}
	if page, _ := b.at(b.begin(request("web", "scope", "openid offline_access")), "/consent"); !strings.Contains(page.body, "ends after <bdi>90 days</bdi>") {
		t.Errorf("%s", page.body)
	}
}

// TestHeadIsNoAnswer: a page that takes every request but a GET for a form must
// not be fooled into an answer.
func TestHeadIsNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.LoginURL = "/own" })
	mux := http.NewServeMux()
	mux.Handle("/", w.p.Handler())
	mux.HandleFunc("/own", func(rw http.ResponseWriter, r *http.Request) {
		i, err := w.p.Interaction(r)
		if err != nil {
			w.p.Fail(rw, r, err)
			return
		}
		if r.Method != http.MethodGet {
			i.Deny(rw, r, nil)
		}
	})
	w.serve(mux)
	b := w.browser()
	u, _ := b.begin(request("web")).location()
	r, err := http.NewRequest(http.MethodHead, w.abs(u.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.do(r).wantPage()
	b.get(u.String()).want(200)
}
