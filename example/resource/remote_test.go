package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

// remote is a provider in one place and an API in another, with a line between
// them that can be cut.
type remote struct {
	t      *testing.T
	op     *httptest.Server
	p      *handlers.Provider
	secret string // of all clients
	asked  atomic.Int64
	cut    atomic.Bool
	now    atomic.Int64 // seconds to add to the API's clock
}

const remoteAPI = "https://notes.example"

func newRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{t: t}
	secret, hash := clientreg.NewSecret()
	r.secret = secret
	hashed := []clientreg.ClientSecret{{Hash: hash}}
	grants := []string{"client_credentials"}
	clients, err := clientreg.Static(
		clientreg.Client{ID: "cron", GrantTypes: grants, Secrets: hashed, Scope: "notes:read"},
		clientreg.Client{ID: "the api", GrantTypes: grants, Secrets: hashed},
		clientreg.Client{ID: "stranger", GrantTypes: grants, Secrets: hashed},
	)
	if err != nil {
		t.Fatal(err)
	}
	r.op = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/introspect" {
			r.asked.Add(1)
			if r.cut.Load() {
				panic(http.ErrAbortHandler)
			}
		}
		r.p.Handler().ServeHTTP(w, req)
	}))
	r.p, err = handlers.New(handlers.Config{
		Issuer: "http://" + r.op.Listener.Addr().String(), Storage: memory.New(), Clients: clients, Users: demo.Users{},
		Secrets: [][]byte{demo.Secret()}, SigningAlgs: []string{"ES256"},
		Scopes:   []handlers.Scope{{Name: "notes:read"}},
		APIs:     []handlers.API{{Identifier: remoteAPI, Clients: []string{"the api"}}, {Identifier: "https://other.example", Clients: []string{"the api"}}},
		Features: handlers.Features{Introspection: true, ClientCredentials: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.op.Start()
	t.Cleanup(r.op.Close)
	return r
}

func (r *remote) api(clientID, secret string, maxAge time.Duration) http.Handler {
	r.t.Helper()
	v, err := middleware.Introspection{
		Endpoint: r.op.URL + "/introspect", ClientID: clientID, ClientSecret: secret, Issuer: r.op.URL, MaxAge: maxAge,
		Now: func() time.Time { return time.Now().Add(time.Duration(r.now.Load()) * time.Second) },
	}.Verifier()
	if err != nil {
		r.t.Fatal(err)
	}
	return notes(v, remoteAPI)
}

func (r *remote) post(path string, form url.Values) []byte {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "POST", r.op.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("cron", r.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := r.op.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		r.t.Fatalf("%s: %d %s %v", path, res.StatusCode, body, err)
	}
	return body
}

func (r *remote) token(api string) string {
	r.t.Helper()
	var res struct {
		Token string `json:"access_token"`
	}
	body := r.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"notes:read"}, "resource": {api}})
	if err := json.Unmarshal(body, &res); err != nil {
		r.t.Fatal(err)
	}
	return res.Token
}

func get(api http.Handler, token string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("GET", "/", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, req)
	return w
}

// TestRemote: what an API sees of its provider, RFC 7662.
func TestRemote(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	want := func(api http.Handler, token string, status int, text string) {
		t.Helper()
		if w := get(api, token); w.Code != status || !strings.Contains(w.Body.String()+w.Header().Get("WWW-Authenticate"), text) {
			t.Errorf("%d %s %s, want %d with %q", w.Code, w.Header().Get("WWW-Authenticate"), w.Body, status, text)
		}
	}
	api := r.api("the api", r.secret, 0)
	token := r.token(remoteAPI)
	want(api, token, 200, "application cron itself")
	want(api, token[:len(token)-1], 401, "invalid_token")
	want(api, r.token("https://other.example"), 401, "invalid_token")
	want(r.api("stranger", r.secret, 0), token, 401, "invalid_token") // the provider tells it nothing
	want(r.api("the api", "wrong", 0), token, 503, "temporarily_unavailable")
	r.cut.Store(true)
	want(api, token, 503, "temporarily_unavailable")
	r.cut.Store(false)
	r.post("/revoke", url.Values{"token": {token}})
	want(api, token, 401, "invalid_token")
}

// TestRemoteCache: how long a revoked token lives, and what an outage does to
// an answer that is there.
func TestRemoteCache(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	api := r.api("the api", r.secret, 30*time.Second)
	token := r.token(remoteAPI)
	for range 10 {
		if w := get(api, token); w.Code != 200 {
			t.Fatal(w.Code)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
	r.cut.Store(true)
	if w := get(api, token); w.Code != 200 {
		t.Error("an outage took a known answer away", w.Code)
	}
	r.cut.Store(false)
	r.post("/revoke", url.Values{"token": {token}})
	r.now.Store(31)
	if w := get(api, token); w.Code != 401 {
		t.Error("revoked, after MaxAge:", w.Code)
	}
	fresh := r.token(remoteAPI)
	r.now.Store(31 + 9*60) // just before it expires, for the API's clock
	if w := get(api, fresh); w.Code != 200 {
		t.Fatal(w.Code)
	}
	r.now.Store(31 + 11*60)
	if w := get(api, fresh); w.Code != 401 {
		t.Error("expired:", w.Code)
	}
}
