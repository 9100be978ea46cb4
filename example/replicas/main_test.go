package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/replicas/fleet"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// TestRollingRestart replaces all replicas, one after the other, while people
// sign in and applications refresh: each request is answered as if nothing
// happened, and each token lives on.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"postgres", "redis"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			storage, end, err := startEngine(engine)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(end)
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			issuer := "http://" + l.Addr().String()
			var log syncBuffer
			f, err := deploy(t.TempDir(), storage, issuer, &log)
			if err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			t.Cleanup(f.Close)
			srv := httptest.NewUnstartedServer(f)
			_ = srv.Listener.Close()
			srv.Listener = l
			srv.Start()
			t.Cleanup(srv.Close)

			var over atomic.Bool
			var signIns, refreshes atomic.Int64
			var load sync.WaitGroup
			for range 4 {
				load.Go(func() {
					for round := 0; round == 0 || !over.Load(); round++ {
						b := handlerstest.NewBrowser(t, handlerstest.At(t, issuer))
						app := newApp(t, issuer)
						tok := app.SignIn(b, "alice", "wonderland", "prompt", "consent")
						signIns.Add(1)
						for i := 0; i < 3 || i < 20 && !over.Load(); i++ {
							app.UserInfo(tok)
							tok = app.Refresh(tok)
							refreshes.Add(1)
						}
					}
				})
			}
			const rolls = 6
			for range rolls {
				if err := f.Roll(); err != nil {
					t.Error(err)
				}
			}
			over.Store(true)
			load.Wait()
			if strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("the replicas said:\n%.4000s", log.String())
			}
			t.Logf("%d restarts, %d sign-ins, %d refreshes, %d retries of the proxy", rolls*replicas, signIns.Load(), refreshes.Load(), f.Retried())
		})
	}
}

func newApp(t *testing.T, issuer string) *handlerstest.RP {
	app := handlerstest.NewRP(t, handlerstest.At(t, issuer), clientreg.Client{
		ID: "app", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://localhost:4207/"},
	})
	app.Scope = "openid offline_access profile api"
	return app
}

// TestProxy: a request goes to the next backend if the first does not listen,
// and is not sent again if the first may have seen it.
func TestProxy(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	good := serve(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		_, _ = w.Write([]byte(r.FormValue("x") + r.Header.Get("X-Forwarded-For")))
	})
	broken := serve(func(http.ResponseWriter, *http.Request) { seen.Add(1); panic(http.ErrAbortHandler) })
	fickle := serve(func(w http.ResponseWriter, r *http.Request) { // keeps the connection after the first request
		if seen.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(r.Method + r.Header.Get("Transfer-Encoding")))
	})
	p := fleet.NewProxy(fickle)
	p.In(0)
	for i, status := range []int{200, 502} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != status || seen.Load() != int64(i+1) {
			t.Errorf("GET number %d: %d %q, seen %d times", i, w.Code, w.Body, seen.Load())
		}
	}
	dead, err := fleet.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		addresses []string
		status    int
		body      string
		seen      int64
	}{
		{"one does not listen", []string{dead, good}, 200, "y127.0.0.1", 1},
		{"one breaks off", []string{broken, good}, 502, "bad gateway\n", 1},
		{"none listens", []string{dead}, 502, "bad gateway\n", 0},
	} {
		seen.Store(0)
		p := fleet.NewProxy(c.addresses...)
		for i := range c.addresses {
			p.In(i)
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x=y"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-For", "192.0.2.66")
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != c.status || w.Body.String() != c.body || seen.Load() != c.seen {
			t.Errorf("%s: %d %q, seen %d times", c.name, w.Code, w.Body, seen.Load())
		}
	}
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
