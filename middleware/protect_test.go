package middleware

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

type verifier func(*http.Request) (*Principal, error)

func (v verifier) VerifyAccess(_ context.Context, r *http.Request) (*Principal, error) { return v(r) }

func TestProtect(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	good := func(change ...func(*Principal)) verifier {
		return func(*http.Request) (*Principal, error) {
			p := &Principal{Subject: "s", Scope: []string{"read", "write"}, Audience: []string{"other", "api"}, ACR: "loa2",
				AuthTime: now.Add(-time.Minute), ExpiresAt: now.Add(time.Second)}
			for _, c := range change {
				c(p)
			}
			return p, nil
		}
	}
	fails := func(err error) verifier {
		return func(*http.Request) (*Principal, error) { return nil, err }
	}
	api := Rule{Audience: "api"}
	strict := Rule{Audience: "api", Scope: []string{"read"}, ACR: []string{"loa2", "loa3"}, MaxAge: 5 * time.Minute}
	tests := []struct {
		name      string
		v         Verifier
		rule      Rule
		status    int
		challenge string
		body      string
	}{
		{"good", good(), strict, 200, "", "ok"},
		{"no token", fails(ErrNoToken), api, 401, `Bearer realm="api"`, ""},
		{"no token, scope known", fails(ErrNoToken), strict, 401, `Bearer realm="api", scope="read"`, ""},
		{"wrapped", fails(fmt.Errorf("verify: %w", ErrNoToken)), api, 401, `Bearer realm="api"`, ""},
		{"no token, metadata", fails(ErrNoToken), Rule{Audience: "api", ResourceMetadata: `https://api.example/"x`}, 401,
			`Bearer realm="api", resource_metadata="https://api.example/\"x"`, ""},
		{"invalid request", fails(ErrInvalidRequest), api, 400, `Bearer realm="api", error="invalid_request"`, `{"error":"invalid_request"}`},
		{"invalid token", fails(fmt.Errorf("SECRET: %w", ErrInvalidToken)), api, 401, `Bearer realm="api", error="invalid_token"`, `{"error":"invalid_token"}`},
		{"outage", fails(errors.New("SECRET dsn")), api, 503, "", `{"error":"temporarily_unavailable"}`},
		{"cancelled", fails(context.Canceled), api, 503, "", `{"error":"temporarily_unavailable"}`},
		{"nothing at all", fails(nil), api, 503, "", `{"error":"temporarily_unavailable"}`},
		{"audience of another API", good(func(p *Principal) { p.Audience = []string{"other"} }), api, 401,
			`Bearer realm="api", error="invalid_token"`, `{"error":"invalid_token"}`},
		{"audience like ours", good(func(p *Principal) { p.Audience = []string{"api/", "API"} }), api, 401,
			`Bearer realm="api", error="invalid_token"`, `{"error":"invalid_token"}`},
		{"no audience", good(func(p *Principal) { p.Audience = nil }), api, 401, `Bearer realm="api", error="invalid_token"`, `{"error":"invalid_token"}`},
		{"any audience, said so", good(func(p *Principal) { p.Audience = nil }), Rule{AllowAnyAudience: true}, 200, "", "ok"},
		{"expired now", good(func(p *Principal) { p.ExpiresAt = now }), api, 401, `Bearer realm="api", error="invalid_token"`, `{"error":"invalid_token"}`},
		{"expiry unknown", good(func(p *Principal) { p.ExpiresAt = time.Time{} }), api, 200, "", "ok"},
		{"scope missing", good(), Rule{Audience: "api", Scope: []string{"read", "delete"}}, 403,
			`Bearer realm="api", error="insufficient_scope", scope="read delete"`, `{"error":"insufficient_scope"}`},
		{"scope is not a prefix", good(func(p *Principal) { p.Scope = []string{"reader", "read write"} }), strict, 403,
			`Bearer realm="api", error="insufficient_scope", scope="read"`, `{"error":"insufficient_scope"}`},
		{"acr too low", good(func(p *Principal) { p.ACR = "loa1" }), strict, 401,
			`Bearer realm="api", error="insufficient_user_authentication", acr_values="loa2 loa3", max_age="300"`, `{"error":"insufficient_user_authentication"}`},
		{"no acr", good(func(p *Principal) { p.ACR = "" }), Rule{Audience: "api", ACR: []string{"loa2"}}, 401,
			`Bearer realm="api", error="insufficient_user_authentication", acr_values="loa2"`, `{"error":"insufficient_user_authentication"}`},
		{"too long ago", good(func(p *Principal) { p.AuthTime = now.Add(-6 * time.Minute) }), Rule{Audience: "api", MaxAge: 5 * time.Minute}, 401,
			`Bearer realm="api", error="insufficient_user_authentication", max_age="300"`, `{"error":"insufficient_user_authentication"}`},
		{"just in time", good(func(p *Principal) { p.AuthTime = now.Add(-5 * time.Minute) }), strict, 200, "", "ok"},
		{"never signed in", good(func(p *Principal) { p.AuthTime = time.Time{} }), Rule{Audience: "api", MaxAge: math.MaxInt64}, 401,
			`Bearer realm="api", error="insufficient_user_authentication", max_age="9223372036"`, `{"error":"insufficient_user_authentication"}`},
		{"signs in tomorrow", good(func(p *Principal) { p.AuthTime = now.Add(24 * time.Hour) }), Rule{Audience: "api", MaxAge: time.Minute}, 401,
			`Bearer realm="api", error="insufficient_user_authentication", max_age="60"`, `{"error":"insufficient_user_authentication"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.rule.Now = func() time.Time { return now }
			h := Protect(tt.v, tt.rule)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if p, found := PrincipalFrom(r.Context()); !found || p.Subject != "s" {
					t.Error("no principal")
				}
				ok(w, r)
			}))
			w := do(h, "GET", "/")
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge || w.Body.String() != tt.body {
				t.Errorf("%d %s %s\nwant %d %s %s", w.Code, w.Header().Get("WWW-Authenticate"), w.Body, tt.status, tt.challenge, tt.body)
			}
			if w.Code != 200 && w.Header().Get("Cache-Control") != "no-store" {
				t.Error("a refusal may be cached")
			}
			if (w.Header().Get("Retry-After") != "") != (w.Code == 503) {
				t.Error("Retry-After", w.Header())
			}
		})
	}
	if _, found := PrincipalFrom(t.Context()); found {
		t.Error("a principal out of nothing")
	}
}

func TestProtectExplainsItself(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]func(){
		"Rule.Audience": func() { Protect(verifier(nil), Rule{}) },
		"Verifier":      func() { Protect(nil, Rule{Audience: "api"}) },
	} {
		func() {
			defer func() {
				if s := fmt.Sprint(recover()); !strings.Contains(s, want) {
					t.Errorf("%q does not name %s", s, want)
				}
			}()
			f()
		}()
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, target string
		auth         []string
		token        string
		err          error
	}{
		{"good", "/", []string{"Bearer at_abc.DEF-_~+/=="}, "at_abc.DEF-_~+/==", nil},
		{"scheme in any case", "/", []string{"bEARER x"}, "x", nil},
		{"several blanks", "/", []string{"Bearer   x "}, "x", nil},
		{"no header", "/", nil, "", ErrNoToken},
		{"empty header", "/", []string{""}, "", ErrNoToken},
		{"Basic", "/", []string{"Basic YTpi"}, "", ErrNoToken},
		{"DPoP", "/", []string{"DPoP x"}, "", ErrNoToken},
		{"tab", "/", []string{"Bearer\tx"}, "", ErrNoToken},
		{"longer scheme", "/", []string{"BearerX x"}, "", ErrNoToken},
		{"no token", "/", []string{"Bearer"}, "", ErrInvalidRequest},
		{"blank token", "/", []string{"Bearer  "}, "", ErrInvalidRequest},
		{"two headers", "/", []string{"Bearer x", "Bearer x"}, "", ErrInvalidRequest},
		{"two headers, other scheme", "/", []string{"Bearer x", "Basic YTpi"}, "", ErrInvalidRequest},
		{"two tokens", "/", []string{"Bearer x, Bearer y"}, "", ErrInvalidToken},
		{"two words", "/", []string{"Bearer x y"}, "", ErrInvalidToken},
		{"quoted", "/", []string{`Bearer "x"`}, "", ErrInvalidToken},
		{"padding inside", "/", []string{"Bearer x=y"}, "", ErrInvalidToken},
		{"padding only", "/", []string{"Bearer =="}, "", ErrInvalidToken},
		{"NUL", "/", []string{"Bearer x\x00"}, "", ErrInvalidToken},
		{"not ASCII", "/", []string{"Bearer ü"}, "", ErrInvalidToken},
		{"16 KiB and one", "/", []string{"Bearer " + strings.Repeat("x", maxToken+1)}, "", ErrInvalidToken},
		{"query only", "/?access_token=x", nil, "", ErrInvalidRequest},
		{"query and header", "/?a=1&access_token=x", []string{"Bearer x"}, "", ErrInvalidRequest},
		{"query, no value", "/?access_token", []string{"Bearer x"}, "", ErrInvalidRequest},
		{"query, escaped", "/?%61ccess%5ftoken=x", []string{"Bearer x"}, "", ErrInvalidRequest},
		{"other parameters", "/?xaccess_token=1&b=access_token", []string{"Bearer x"}, "x", nil},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", tt.target, nil)
		if tt.auth != nil {
			r.Header["Authorization"] = tt.auth
		}
		if token, err := BearerToken(r); token != tt.token || err != tt.err {
			t.Errorf("%s: %q %v, want %q %v", tt.name, token, err, tt.token, tt.err)
		}
	}
}

func FuzzBearerToken(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer x", "bearer  a.b-c_d~e+f/g==", "Basic x", "Bearer x=y", "Bearer \x00"} {
		f.Add(s, "a=1")
		f.Add(s, "%61ccess_token=1")
	}
	f.Fuzz(func(t *testing.T, auth, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{auth}
		r.URL.RawQuery = query
		token, err := BearerToken(r)
		if err != nil {
			if token != "" || err != ErrNoToken && err != ErrInvalidRequest && err != ErrInvalidToken {
				t.Fatalf("%q %v", token, err)
			}
			return
		}
		if r.URL.Query().Has("access_token") {
			t.Fatal("a token in the query went unseen")
		}
		for _, c := range token {
			if c <= ' ' || c > '~' || strings.ContainsRune("\"\\,;", c) {
				t.Fatalf("accepted %q", token)
			}
		}
		r.URL.RawQuery = ""
		r.Header["Authorization"] = []string{"BEARER " + token}
		if again, err := BearerToken(r); err != nil || again != token {
			t.Fatalf("%q became %q %v", token, again, err)
		}
	})
}
