package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

const (
	spaClient   = "client-par-required"
	spaOrigin   = "https://localhost:4207"
	spaRedirect = "https://localhost:4207"
)

// running is a provider that serves on a port of its own.
type running struct {
	t      testing.TB
	issuer string
	s      *server
	log    *syncBuffer
	stop   func() error // ends it and returns what serve said; may be called twice
}

// start serves the built-in configuration, changed by change, on a free port
// with an SQLite file in dir.
func start(t testing.TB, dir string, change ...func(*config)) *running {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startAt(t, l, dir, change...)
}

func startAt(t testing.TB, l net.Listener, dir string, change ...func(*config)) *running {
	t.Helper()
	r := &running{t: t, issuer: "http://" + l.Addr().String(), log: &syncBuffer{}}
	cfg, err := load(options{issuer: r.issuer, storage: "sqlite:" + filepath.Join(dir, "idp.sqlite")})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(cfg)
	}
	if r.s, err = newServer(cfg, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.serve(ctx, l) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

// again stops the provider and starts another one on the same port and files.
func (r *running) again(dir string) *running {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp4", strings.TrimPrefix(r.issuer, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	return startAt(r.t, l, dir)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newBrowser returns a person's browser at the provider.
func newBrowser(r *running) *handlerstest.Browser {
	r.t.Helper()
	return handlerstest.NewBrowser(r.t, handlerstest.At(r.t, r.issuer))
}

// newApp returns the single-page application.
func newApp(r *running) *handlerstest.RP {
	r.t.Helper()
	a := handlerstest.NewRP(r.t, handlerstest.At(r.t, r.issuer), clientreg.Client{
		ID: spaClient, TokenEndpointAuthMethod: "none", RedirectURIs: []string{spaRedirect}, PostLogoutRedirectURIs: []string{spaRedirect},
	})
	a.Origin, a.Scope = spaOrigin, "openid offline_access profile email api"
	return a
}

// connect signs a user in for the application, with the consent page.
func connect(a *handlerstest.RP, b *handlerstest.Browser, user string) *handlerstest.Tokens {
	return a.SignIn(b, user, "wonderland", "prompt", "consent")
}

// refresh sends a refresh token, and says what comes of it.
func refresh(a *handlerstest.RP, t *handlerstest.Tokens) handlerstest.Page {
	return a.Post("token_endpoint", handlerstest.RefreshRequest(t))
}

// do presses a button of our pages.
func do(button string) url.Values { return url.Values{"do": {button}} }

// unpooled makes a connection a request: none outlives the provider.
func unpooled() http.RoundTripper { return &http.Transport{DisableKeepAlives: true} }

func decode(t testing.TB, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
