package handlers_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// world is a provider behind a real HTTP server, with a clock that tests move.
type world struct {
	t       testing.TB
	issuer  string
	cfg     handlers.Config
	p       *handlers.Provider
	clock   *clock
	users   *users
	clients *registry
	store   storage.Storage
	srv     *httptest.Server
	logged  *logBuffer
	events  *eventLog
	handler *atomic.Pointer[http.Handler]
	watch   *watch // for secrets in logs, events and errors
}

const (
	spaRedirect    = "https://app.example/cb"
	spaOrigin      = "https://app.example"
	webRedirect    = "https://web.example/cb"
	nativeLoopback = "http://127.0.0.1/cb"
	webSecret      = "q7W-zT4xK9vB2nM5jH8gF3dS6aP1oIyU0eRtLcVbNmQ"
	postSecret     = "post+secret/with=odd%characters and a blank"
	password       = "wonderland"
)

// newWorld starts a provider. Options change the configuration before New.
func newWorld(t testing.TB, opts ...func(*handlers.Config)) *world {
	t.Helper()
	w := &world{
		t: t, clock: newClock(), users: newUsers(), store: memory.New(), handler: &atomic.Pointer[http.Handler]{}, watch: &watch{},
	}
	w.logged, w.events = &logBuffer{watch: w.watch}, &eventLog{watch: w.watch}
	t.Cleanup(func() { w.watch.report(t) }) // the last of all
	w.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*w.handler.Load()).ServeHTTP(rw, r) }))
	w.issuer = "http://" + w.srv.Listener.Addr().String()
	w.clients = newRegistry(t, testClients(t)...)
	secret := make([]byte, 32)
	rand.Read(secret)
	w.cfg = handlers.Config{
		Issuer: w.issuer, Storage: w.store, Clients: w.clients, Users: w.users, Secrets: [][]byte{secret},
		SigningAlgs: []string{"ES256"},
		Scopes:      []handlers.Scope{{Name: "api", Title: "Call the API"}},
		Details:     []handlers.DetailType{payment{}},
		Now:         w.clock.Now,
		Log:         slog.New(slog.NewJSONHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Events:      w.events.add,
	}
	for _, o := range opts {
		o(&w.cfg)
	}
	w.issuer, w.store = w.cfg.Issuer, w.cfg.Storage
	var err error
	if w.p, err = handlers.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	w.serve(w.p.Handler())
	if strings.HasPrefix(w.issuer, "https:") {
		w.srv.StartTLS()
	} else {
		w.srv.Start()
	}
	t.Cleanup(w.srv.Close)
	return w
}

// restart makes a new provider over the same storage, as after a deployment.
func (w *world) restart(opts ...func(*handlers.Config)) {
	w.t.Helper()
	for _, o := range opts {
		o(&w.cfg)
	}
	p, err := handlers.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.p = p
	w.serve(p.Handler())
}

// serve puts another handler behind the server.
func (w *world) serve(h http.Handler) {
	h = w.watch.answers(h)
	w.handler.Store(&h)
}

// hashes of the test secrets: a chosen one costs 64 MiB of argon2id, so once.
var hashes = sync.OnceValues(func() (map[string]string, error) {
	m := map[string]string{}
	for _, s := range []string{webSecret, postSecret} {
		h, err := clientreg.HashSecret(s)
		if err != nil {
			return nil, err
		}
		m[s] = h
	}
	return m, nil
})

func testClients(t testing.TB) []clientreg.Client {
	hashed, err := hashes()
	if err != nil {
		t.Fatal(err)
	}
	hash := func(s string) []clientreg.ClientSecret { return []clientreg.ClientSecret{{Hash: hashed[s]}} }
	return []clientreg.Client{
		{
			ID: "spa", Name: "The App", ClientURI: "https://app.example", RedirectURIs: []string{spaRedirect},
			TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code", "refresh_token"},
			Scope: "openid offline_access profile email api", RequirePAR: true, AuthorizationDetailsTypes: []string{"payment"},
			PostLogoutRedirectURIs: []string{"https://app.example/bye"},
		},
		{
			ID: "web", Name: "Web", RedirectURIs: []string{webRedirect, webRedirect + "?x=1"}, Secrets: hash(webSecret),
			GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid offline_access profile email api",
			PostLogoutRedirectURIs: []string{"https://web.example/bye"},
		},
		{
			ID: "post", RedirectURIs: []string{"https://post.example/cb"}, Secrets: hash(postSecret),
			TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"authorization_code", "refresh_token"},
			Scope: "openid offline_access email",
		},
		{
			ID: "native", ApplicationType: "native", RedirectURIs: []string{nativeLoopback, "com.example.app:/cb"},
			TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code", "refresh_token"},
			Scope: "openid offline_access profile",
		},
		{
			ID: "nopkce", RedirectURIs: []string{"https://old.example/cb"}, Secrets: hash(webSecret), AllowNoPKCE: true,
			Scope: "openid profile",
		},
		{ID: "m2m", GrantTypes: []string{"client_credentials"}, Secrets: hash(webSecret), Scope: "api"},
	}
}

// registry is a ClientRegistry whose clients tests change.
type registry struct {
	mu  sync.Mutex
	m   map[string]clientreg.Client
	err error
}

func newRegistry(t testing.TB, cs ...clientreg.Client) *registry {
	if _, err := clientreg.Static(cs...); err != nil {
		t.Fatal(err)
	}
	r := &registry{m: map[string]clientreg.Client{}}
	for _, c := range cs {
		r.m[c.ID] = c
	}
	return r
}

func (r *registry) Client(_ context.Context, id string) (*clientreg.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	c, ok := r.m[id]
	if !ok {
		return nil, clientreg.ErrNotFound
	}
	return &c, nil
}

func (r *registry) change(id string, f func(*clientreg.Client)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.m[id]
	f(&c)
	r.m[id] = c
}

func (r *registry) delete(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, id)
}

// users is the application's table of users.
type users struct {
	mu       sync.Mutex
	disabled map[string]bool
	err      error
}

func newUsers() *users { return &users{disabled: map[string]bool{}} }

func (u *users) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.err != nil:
		return nil, u.err
	case u.disabled[subject]:
		return nil, handlers.ErrUserDisabled
	case subject != "sub-alice" && subject != "sub-bob":
		return nil, handlers.ErrNoUser
	}
	name := strings.TrimPrefix(subject, "sub-")
	return map[string]any{
		"name": strings.ToUpper(name[:1]) + name[1:], "preferred_username": name, "password_hash": "secret",
		"email": name + "@example.org", "email_verified": true, "phone_number": "+49 1", "iss": "https://evil.example",
	}, nil
}

func (u *users) VerifyPassword(_ context.Context, username, pw string) (handlers.Login, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.err != nil:
		return handlers.Login{}, u.err
	case username != "alice" && username != "bob" || pw != password:
		return handlers.Login{}, handlers.ErrWrongPassword
	case u.disabled["sub-"+username]:
		return handlers.Login{}, handlers.ErrUserDisabled
	}
	return handlers.Login{Subject: "sub-" + username}, nil
}

func (u *users) disable(subject string, off bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.disabled[subject] = off
}

func (u *users) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

// payment is a DetailType with an amount that can be narrowed.
type payment struct{}

type paymentDetail struct {
	Type   string `json:"type"`
	Amount int    `json:"amount"`
}

func (payment) Type() string { return "payment" }

func (payment) Validate(_ context.Context, _ *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	var d paymentDetail
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	if d.Amount <= 0 {
		return nil, errors.New("amount must be positive")
	}
	return json.Marshal(d)
}

func (payment) Describe(_ context.Context, raw json.RawMessage, _ []string) ([]string, error) {
	var d paymentDetail
	err := json.Unmarshal(raw, &d)
	return []string{fmt.Sprintf("Pay up to %d euros", d.Amount)}, err
}

func (payment) Within(_ context.Context, granted, narrowed json.RawMessage) (bool, error) {
	var a, b paymentDetail
	if err := errors.Join(json.Unmarshal(granted, &a), json.Unmarshal(narrowed, &b)); err != nil {
		return false, err
	}
	return b.Amount > 0 && b.Amount <= a.Amount, nil
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Truncate(time.Second)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type logBuffer struct {
	watch *watch
	mu    sync.Mutex
	b     bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	if l.watch != nil {
		l.watch.look("log", string(p))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type eventLog struct {
	watch *watch
	mu    sync.Mutex
	es    []handlers.Event
}

func (l *eventLog) add(_ context.Context, e handlers.Event) {
	if l.watch != nil {
		l.watch.event(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.es = append(l.es, e)
}

func (l *eventLog) count(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.es {
		if e.Name == name {
			n++
		}
	}
	return n
}

// nonceAttr is what differs between two drawings of a page.
var nonceAttr = regexp.MustCompile(`nonce="[^"]*"`)

// errTest is an outage.
var errTest = errors.New("the database is away")
