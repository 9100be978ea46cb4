package handlerstest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage/memory"
)

// Server is a provider that answers over HTTP. It is safe for concurrent use;
// set its fields before the first browser or relying party is made.
type Server struct {
	// Issuer as the provider's metadata must name it.
	Issuer string

	// Origin is the issuer's scheme, host and port: what browsers stay within.
	Origin string

	// Provider is nil unless Serve made it.
	Provider *handlers.Provider

	// Now is the provider's clock, by which relying parties judge ID tokens.
	Now func() time.Time

	// Transport carries the requests. That of Serve and ServeApp reaches the
	// issuer's host and no other, so that no test leaves the machine.
	Transport http.RoundTripper

	clients *clients // nil unless Serve made it

	mu    sync.Mutex
	stops map[string]bool // redirect URIs of relying parties, without query
}

// Serve makes a provider of cfg and serves it until the test ends. What is empty
// gets a value that suits a test:
//
//	Issuer       the address of the server: http on a loopback port
//	Storage      memory
//	Clients      none but those that NewRP registers
//	Users        alice, whose password is wonderland
//	Secrets      a random one
//	SigningAlgs  ES256, whose keys are made at once; an RSA key takes a while
//	Log          the test's output, which is shown when the test fails
//
// An issuer that is given, such as https://id.example, is served too, with TLS
// if it is https: Transport takes requests for it to the server.
//
// Run is not called: call it if the test is about what it does.
func Serve(t testing.TB, cfg handlers.Config) *Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	if cfg.Issuer == "" {
		cfg.Issuer = "http://" + srv.Listener.Addr().String()
	}
	if cfg.Storage == nil {
		cfg.Storage = memory.New()
	}
	if cfg.Users == nil {
		cfg.Users = User{Name: "alice", Password: "wonderland"}.Users()
	}
	if cfg.Secrets == nil {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		cfg.Secrets = [][]byte{secret}
	}
	if cfg.SigningAlgs == nil && cfg.Keys == nil {
		cfg.SigningAlgs = []string{"ES256"}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	known := &clients{more: cfg.Clients, own: map[string]registered{}}
	cfg.Clients = known.registry()
	p, err := handlers.New(cfg)
	if err != nil {
		srv.Close()
		t.Fatal(err)
	}
	s := serve(t, srv, cfg.Issuer, p.Handler())
	s.Provider, s.Now, s.clients = p, cfg.Now, known
	return s
}

// ServeApp serves a whole application, of which the provider is a part, until
// the test ends. build gets the origin that browsers will see, a loopback
// address, and a context that ends with the test. The issuer is taken to be the
// origin; if it has a path, set it:
//
//	s := handlerstest.ServeApp(t, build)
//	s.Issuer += "/oidc"
func ServeApp(t testing.TB, build func(ctx context.Context, origin string) (http.Handler, error)) *Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	origin := "http://" + srv.Listener.Addr().String()
	h, err := build(t.Context(), origin)
	if err != nil {
		srv.Close()
		t.Fatal(err)
	}
	return serve(t, srv, origin, h)
}

// At is a provider that runs already, such as another process, under an issuer.
// A connection lasts for one request, so that none outlives the provider.
func At(t testing.TB, issuer string) *Server {
	t.Helper()
	return &Server{Issuer: issuer, Origin: origin(t, issuer), Now: time.Now, Transport: &http.Transport{DisableKeepAlives: true}}
}

func serve(t testing.TB, srv *httptest.Server, issuer string, h http.Handler) *Server {
	t.Helper()
	s := &Server{Issuer: issuer, Origin: origin(t, issuer), Now: time.Now}
	u, err := url.Parse(s.Origin)
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = h
	tr := &http.Transport{}
	if u.Scheme == "https" {
		srv.StartTLS()
		tr.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		tr.TLSClientConfig.ServerName = "example.com" // for which the server's certificate is
	} else {
		srv.Start()
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != host {
			return nil, fmt.Errorf("handlerstest: nothing is served at %s, only at %s", addr, host)
		}
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	s.Transport = tr
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		srv.Close()
	})
	return s
}

// origin returns scheme, host and port.
func origin(t testing.TB, issuer string) string {
	t.Helper()
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		t.Fatalf("the issuer %q is no http or https URL", issuer)
	}
	return originOf(u)
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// Metadata returns the provider's metadata, read anew. It fails the test if they
// name another issuer, OpenID Connect Discovery §4.3.
func (s *Server) Metadata(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	at := s.Issuer + "/.well-known/openid-configuration"
	if err := json.Unmarshal(s.read(t, at), &m); err != nil {
		t.Fatalf("GET %s: %v", at, err)
	}
	if m["issuer"] != s.Issuer {
		t.Fatalf("GET %s: issuer %v, want %s", at, m["issuer"], s.Issuer)
	}
	return m
}

// read gets a document of the provider.
func (s *Server) read(t testing.TB, at string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: s.Transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", at, err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d: %s", at, res.StatusCode, short(string(b)))
	}
	return b
}

// stop makes browsers stop at a redirect URI, wherever it is.
func (s *Server) stop(u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops == nil {
		s.stops = map[string]bool{}
	}
	s.stops[bare(u)] = true
}

// away tells whether a browser stops before a URL.
func (s *Server) away(u *url.URL) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return originOf(u) != s.Origin || s.stops[bare(u)]
}

// bare is a URL without query and fragment.
func bare(u *url.URL) string {
	c := *u
	c.RawQuery, c.ForceQuery, c.Fragment, c.RawFragment = "", false, "", ""
	return c.String()
}
