package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/example/internal/demotest"
)

// token gets an access token with scope notes:read for an API.
func token(b *demotest.Browser, api string) string {
	q := url.Values{"scope": {"openid notes:read"}, "resource": {b.Origin + api}}
	page := b.SignIn(b.Get("/app/?"+q.Encode()).Want(200)).Want(200, "Read your notes")
	return b.Submit(page, url.Values{"do": {"allow"}, "scope": {"openid", "notes:read"}}).Token()
}

func call(b *demotest.Browser, method, api, token string) demotest.Page {
	return b.Do(b.Request(method, api, "", "Authorization", "Bearer "+token))
}

func wantChallenge(t *testing.T, p demotest.Page, status int, texts ...string) {
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
			b := demotest.Serve(t, build)
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

// TestIntrospection: only a provider that says so makes a token good, and one
// that does not answer is no reason to throw the token away.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	const aud = `,"aud":["https://api.example"],"scope":"notes:read","exp":9999999999}`
	for name, tc := range map[string]struct {
		status int
		answer string
		want   int
	}{
		"good":             {200, `{"active":true,"token_type":"Bearer"` + aud, 200},
		"inactive":         {200, `{"active":false,"token_type":"Bearer"` + aud, 401},
		"no access token":  {200, `{"active":true` + aud, 401},
		"expired":          {200, `{"active":true,"token_type":"Bearer","aud":["https://api.example"],"exp":1}`, 401},
		"away":             {503, ``, 503},
		"our secret wrong": {401, `{"error":"invalid_client"}`, 503},
		"no JSON":          {200, `<html>`, 503},
		"elsewhere":        {307, `{"active":true,"token_type":"Bearer"` + aud, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tc.status == 307 && r.URL.Path == "/" {
					http.Redirect(w, r, "/elsewhere", tc.status)
					return
				}
				if tc.status != 307 {
					w.WriteHeader(tc.status)
				}
				_, _ = w.Write([]byte(tc.answer))
			}))
			defer s.Close()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer some-token")
			w := httptest.NewRecorder()
			notes(newIntrospection(s.URL+"/", "api", "secret"), "https://api.example").ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("status %d, want %d; headers %v", w.Code, tc.want, w.Header())
			}
		})
	}
}
