package handlers_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// The benchmarks call the handlers without a network, on memory storage, with
// nothing logged: what a request costs the kit alone, and what it allocates. The
// few allocations of the request itself are in the figures. bench/README.md says
// how to compare two runs.

// benchmark is a provider, one user who is signed in to it at her application,
// and what the last answer was.
type benchmark struct {
	testing.TB
	handler http.Handler
	basic   map[string]string // Authorization, by client
	status  int
	header  http.Header
	body    []byte
}

func (b *benchmark) Header() http.Header    { return b.header }
func (b *benchmark) WriteHeader(status int) { b.status = status }
func (b *benchmark) Write(p []byte) (int, error) {
	b.body = append(b.body, p...)
	return len(p), nil
}

// her is the user: always signed in.
type her struct{}

func (her) Claims(_ context.Context, _ string, _ handlers.ClaimsQuery) (map[string]any, error) {
	return map[string]any{"name": "Alice Liddell", "email": "alice@example.com", "email_verified": true}, nil
}

func (her) CurrentLogin(*http.Request) (*handlers.Login, error) {
	return &handlers.Login{Subject: "248289761001", At: time.Unix(1700000000, 0), AMR: []string{"pwd"}, SessionID: "s1"}, nil
}

func (her) EndLogin(http.ResponseWriter, *http.Request, string) error { return nil }

const (
	benchScope    = "openid profile email offline_access"
	benchRedirect = "https://app.example/cb"
	benchVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	benchAPI      = "https://api.example/"
)

func newBenchmark(t testing.TB, store storage.Storage) *benchmark {
	t.Helper()
	b := &benchmark{TB: t, basic: map[string]string{}, header: http.Header{}}
	confidential := func(id, scope string, grants ...string) clientreg.Client {
		secret, hash := clientreg.NewSecret()
		b.basic[id] = "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
		c := clientreg.Client{ID: id, Secrets: []clientreg.ClientSecret{{Hash: hash}}, FirstParty: true, Scope: scope, GrantTypes: grants}
		if grants[0] == "authorization_code" {
			c.RedirectURIs = []string{benchRedirect}
		}
		return c
	}
	clients, err := clientreg.Static(
		clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none", FirstParty: true, Scope: benchScope, RedirectURIs: []string{benchRedirect},
			GrantTypes: []string{"authorization_code", "refresh_token"}},
		confidential("web", benchScope, "authorization_code", "refresh_token"),
		confidential("service", "read", "client_credentials"),
	)
	if err != nil {
		t.Fatal(err)
	}
	p, err := handlers.New(handlers.Config{
		Issuer: "https://id.example", Storage: store, Clients: clients, Users: her{}, LoginURL: "/signin", Secrets: [][]byte{[]byte(rand.Text() + rand.Text())},
		SigningAlgs: []string{"ES256"}, Scopes: []handlers.Scope{{Name: "read"}}, APIs: []handlers.API{{Identifier: benchAPI, Format: "jwt"}},
		Features: handlers.Features{ClientCredentials: true, Introspection: true},
		Limiter:  middleware.NewBuckets(1<<30, time.Nanosecond, nil), // never dry
	})
	if err != nil {
		t.Fatal(err)
	}
	b.handler = p.Handler()
	return b
}

// get prepares a GET.
func (b *benchmark) get(target, auth string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "https://id.example"+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:4711"
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	return r
}

// post prepares a form of a client, "" for one that the form names.
func (b *benchmark) post(target, client, form string) *http.Request {
	r := b.get(target, b.basic[client])
	r.Method = http.MethodPost
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Body = io.NopCloser(strings.NewReader(form))
	r.ContentLength = int64(len(form))
	return r
}

// do sends a request and stops the benchmark unless the answer has that status.
func (b *benchmark) do(r *http.Request, status int) {
	clear(b.header)
	b.status, b.body = http.StatusOK, b.body[:0]
	b.handler.ServeHTTP(b, r)
	if b.status != status {
		b.Fatalf("%s %s: status %d, not %d: %s", r.Method, r.URL.Path, b.status, status, b.body)
	}
}

// member returns a member of the last answer, a JSON object.
func (b *benchmark) member(name string) string {
	var doc map[string]any
	if err := json.Unmarshal(b.body, &doc); err != nil {
		b.Fatal(err)
	}
	s, _ := doc[name].(string)
	if s == "" {
		b.Fatalf("no %s in %s", name, b.body)
	}
	return s
}

func (b *benchmark) authorizationRequest(client string) string {
	sum := sha256.Sum256([]byte(benchVerifier))
	return url.Values{
		"client_id": {client}, "response_type": {"code"}, "redirect_uri": {benchRedirect}, "scope": {benchScope},
		"state": {"af0ifjsldkj"}, "nonce": {"n-0S6_WzA2Mj"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// pushed returns the authorization endpoint with a request that was pushed.
func (b *benchmark) pushed() string {
	b.do(b.post("/par", "web", b.authorizationRequest("web")), http.StatusCreated)
	return "/authorize?" + url.Values{"client_id": {"web"}, "request_uri": {b.member("request_uri")}}.Encode()
}

// code returns the token request for a fresh authorization code.
func (b *benchmark) code() string {
	b.do(b.get(b.pushed(), ""), http.StatusSeeOther)
	return b.exchange()
}

// exchange returns the token request for the code of the last answer.
func (b *benchmark) exchange() string {
	u, err := url.Parse(b.header.Get("Location"))
	if err != nil {
		b.Fatal(err)
	}
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {benchRedirect}, "code_verifier": {benchVerifier},
	}.Encode()
}

// repeat measures the same request again and again.
func (b *benchmark) repeat(t *testing.B, r func() *http.Request, status int) {
	b.do(r(), status)
	t.ReportAllocs()
	for t.Loop() {
		b.do(r(), status)
	}
}

// renew measures requests each of which needs one of its own, made aside.
func (b *benchmark) renew(t *testing.B, make func() *http.Request, status int) {
	const batch = 256
	var ready []*http.Request
	t.ReportAllocs()
	t.ResetTimer()
	for range t.N {
		if len(ready) == 0 {
			t.StopTimer()
			for range batch {
				ready = append(ready, make())
			}
			t.StartTimer()
		}
		r := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		b.do(r, status)
	}
}

func BenchmarkDiscovery(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.repeat(t, func() *http.Request { return b.get("/.well-known/openid-configuration", "") }, http.StatusOK)
}

func BenchmarkJWKS(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.repeat(t, func() *http.Request { return b.get("/jwks", "") }, http.StatusOK)
}

func BenchmarkPAR(t *testing.B) {
	for name, client := range map[string]string{"public": "app", "confidential": "web"} {
		t.Run(name, func(t *testing.B) {
			b := newBenchmark(t, memory.New())
			form := b.authorizationRequest(client)
			b.repeat(t, func() *http.Request { return b.post("/par", client, form) }, http.StatusCreated)
		})
	}
}

func BenchmarkAuthorize(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.renew(t, func() *http.Request { return b.get(b.pushed(), "") }, http.StatusSeeOther)
}

func BenchmarkTokenClientCredentials(t *testing.B) {
	const form = "grant_type=client_credentials&scope=read"
	for name, more := range map[string]string{"opaque": "", "jwt": "&resource=" + url.QueryEscape(benchAPI)} {
		t.Run(name, func(t *testing.B) {
			b := newBenchmark(t, memory.New())
			b.repeat(t, func() *http.Request { return b.post("/token", "service", form+more) }, http.StatusOK)
		})
	}
}

func BenchmarkTokenCode(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.renew(t, func() *http.Request { return b.post("/token", "web", b.code()) }, http.StatusOK)
}

func BenchmarkTokenRefresh(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.do(b.post("/token", "web", b.code()), http.StatusOK)
	refresh := b.member("refresh_token")
	t.ReportAllocs()
	for t.Loop() {
		b.do(b.post("/token", "web", "grant_type=refresh_token&refresh_token="+refresh), http.StatusOK)
		_, rest, _ := strings.Cut(string(b.body), `"refresh_token":"`)
		refresh, _, _ = strings.Cut(rest, `"`)
	}
}

func BenchmarkIntrospect(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.do(b.post("/token", "web", b.code()), http.StatusOK)
	form := "token=" + b.member("access_token")
	b.repeat(t, func() *http.Request { return b.post("/introspect", "web", form) }, http.StatusOK)
}

func BenchmarkUserInfo(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.do(b.post("/token", "web", b.code()), http.StatusOK)
	auth := "Bearer " + b.member("access_token")
	b.repeat(t, func() *http.Request { return b.get("/userinfo", auth) }, http.StatusOK)
}

func BenchmarkRevoke(t *testing.B) {
	b := newBenchmark(t, memory.New())
	b.renew(t, func() *http.Request {
		b.do(b.post("/token", "web", b.code()), http.StatusOK)
		return b.post("/revoke", "web", "token="+b.member("refresh_token"))
	}, http.StatusOK)
}
