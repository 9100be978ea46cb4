package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// token gets an access token with scope notes:read for an API.
func token(b *handlerstest.Browser, api string) string {
	q := url.Values{"scope": {"openid notes:read"}, "resource": {b.Server.Origin + api}}
	page := b.SignIn(b.Get("/app/?"+q.Encode()).Want(200), "alice", "wonderland").Want(200, "Read your notes")
	return b.Submit(page, url.Values{"do": {"allow"}, "scope": {"openid", "notes:read"}}).Member("access_token")
}

func call(b *handlerstest.Browser, method, api, token string) handlerstest.Page {
	return b.Do(b.Request(method, api, "", "Authorization", "Bearer "+token))
}

func wantChallenge(t *testing.T, p handlerstest.Page, status int, texts ...string) {
	t.Helper()
	p.Want(status)
	for _, s := range texts {
		if got := p.Header.Get("WWW-Authenticate"); !strings.Contains(got, s) {
			t.Errorf("%s: challenge %q lacks %q", p.URL, got, s)
		}
	}
}

func TestProtect(t *testing.T) {
	t.Parallel()
	for api, other := range map[string]string{"/notes": "/remote/notes", "/remote/notes": "/notes"} {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			b := handlerstest.NewBrowser(t, handlerstest.ServeApp(t, build))
			wantChallenge(t, b.Get(api), 401, `scope="notes:read"`)
			wantChallenge(t, call(b, "GET", api, "nonsense"), 401, `error="invalid_token"`)
			b.Get(api+"?access_token=x").Want(400, "invalid_request") // RFC 9700 §4.3.2

			good := token(b, api)
			call(b, "GET", api, good).Want(200, "the notes of user 1001, for application app")
			wantChallenge(t, call(b, "POST", api, good), 403, `error="insufficient_scope"`, `scope="notes:write"`)
			wantChallenge(t, call(b, "GET", other, good), 401, `error="invalid_token"`) // another audience

			form := url.Values{"client_id": {"app"}, "token": {good}}
			b.Do(b.Request("POST", "/revoke", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")).Want(200)
			wantChallenge(t, call(b, "GET", api, good), 401, `error="invalid_token"`)
		})
	}
}
