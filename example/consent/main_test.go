package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// ask is what the application asks for.
var ask = "/app/?" + url.Values{
	"scope":                 {"openid profile email"},
	"claims":                {`{"userinfo":{"name":null}}`},
	"authorization_details": {`[{"type":"payment","to":"Hatter's Teas","limit":"50"}]`},
}.Encode()

func serve(t *testing.T, page handlers.ConsentFunc) *handlerstest.Browser {
	return handlerstest.NewBrowser(t, handlerstest.ServeApp(t, func(ctx context.Context, origin string) (http.Handler, error) { return build(ctx, origin, page) }))
}

func scopes(p handlerstest.Page) []string {
	return strings.Fields(p.Want(200).Member("scope"))
}

// limit of the payment that was allowed; empty: none.
func limit(t *testing.T, p handlerstest.Page) string {
	t.Helper()
	var v struct {
		Details []paymentDetail `json:"authorization_details"`
	}
	if err := json.Unmarshal([]byte(p.Body), &v); err != nil || len(v.Details) > 1 {
		t.Fatalf("%v in %s", err, p.Body)
	}
	if len(v.Details) == 0 {
		return ""
	}
	return v.Details[0].Limit
}

func TestPage(t *testing.T) {
	t.Parallel()
	b := serve(t, consentPage)
	page := b.SignIn(b.Get(ask), "alice", "wonderland").Want(200, "Allow The demo app?", "signed in as Alice", `name="scope" value="email" checked> read your e-mail address`, `name="claim" value="name"`,
		"to Hatter&#39;s Teas", `value="50"`)
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "form-action 'self'") {
		t.Errorf("policy %q", csp)
	}

	// Less: no profile, and half of the money.
	answer := b.Submit(page, url.Values{"do": {"allow"}, "scope": {"email"}, "limit0": {"25"}})
	if got := scopes(answer); !slices.Equal(got, []string{"openid", "email"}) || limit(t, answer) != "25" {
		t.Errorf("narrowed: %s", answer.Body)
	}
	// No money at all.
	answer = b.Submit(b.Get(ask).Want(200), url.Values{"do": {"allow"}, "scope": {"email"}, "limit0": {""}})
	if limit(t, answer) != "" {
		t.Errorf("refused detail: %s", answer.Body)
	}
	b.Submit(b.Get(ask).Want(200), url.Values{"do": {"deny"}}).Want(200, "access_denied")
}

// TestMoreThanAsked: whatever the page makes of it, the kit does not grant it.
func TestMoreThanAsked(t *testing.T) {
	t.Parallel()
	b := serve(t, consentPage)
	page := b.SignIn(b.Get(ask), "alice", "wonderland").Want(200)
	for name, fields := range map[string]url.Values{
		"scope": {"do": {"allow"}, "scope": {"email", "offline_access"}},
		"claim": {"do": {"allow"}, "scope": {"email"}, "claim": {"phone_number"}},
		"limit": {"do": {"allow"}, "scope": {"email"}, "limit0": {"51"}},
		"junk":  {"do": {"allow"}, "scope": {"email"}, "limit0": {"many"}},
	} {
		if answer := b.Submit(page, fields).Want(200).JSON(); answer["error"] != "invalid_request" {
			t.Errorf("%s: %v", name, answer)
		}
		page = b.Get(ask).Want(200)
	}
}

func TestRemember(t *testing.T) {
	t.Parallel()
	b := serve(t, consentPage)
	page := b.SignIn(b.Get("/app/"), "alice", "wonderland").Want(200, "Do not ask again")
	b.Submit(page, url.Values{"do": {"allow"}, "scope": {"openid", "profile", "email"}, "remember": {"on"}}).Member("access_token")
	b.Get("/app/").Member("access_token")
	b.Get(ask).Want(200, "Send money") // a payment is asked every time
}

// TestScript does what static/consent.js does.
func TestScript(t *testing.T) {
	t.Parallel()
	b := serve(t, consentScript)
	page := b.SignIn(b.Get(ask), "alice", "wonderland").Want(200, `src="/static/consent.js"`)
	if csp := page.Header.Get("Content-Security-Policy"); csp != scriptPolicy {
		t.Errorf("policy %q", csp)
	}
	for _, file := range []string{"/static/consent.js", "/static/consent.css"} {
		b.Get(file).Want(200)
	}
	csrf := func(p handlerstest.Page) string { return b.Fetch("GET", p.URL.String(), nil).Want(200).Member("csrf") }
	send := func(p handlerstest.Page, csrf, answer string) handlerstest.Page {
		return b.Fetch("POST", p.URL.String(), json.RawMessage(answer), "X-CSRF-Token", csrf)
	}

	asked := csrf(page)
	send(page, "of another page", `{"allow":true}`).Want(400, "invalid_request")
	send(page, asked, `not JSON`).Want(400)
	answer := b.Follow(send(page, asked, `{"allow":true,"scopes":["openid","email"],"details":[{"type":"payment","to":"Hatter's Teas","limit":"10"}]}`))
	if got := scopes(answer); !slices.Equal(got, []string{"openid", "email"}) || limit(t, answer) != "10" {
		t.Errorf("narrowed: %s", answer.Body)
	}
	send(page, asked, `{"allow":true}`).Want(400, "invalid_request") // an interaction ends once

	page = b.Get(ask).Want(200)
	b.Follow(send(page, csrf(page), `{"allow":false}`)).Want(200, "access_denied")
	page = b.Get("/app/").Want(200)
	b.Follow(send(page, csrf(page), `{"allow":true,"scopes":["openid","profile","email"],"remember":true}`)).Member("access_token")
	b.Get("/app/").Member("access_token")
}
