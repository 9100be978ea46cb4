package idpkit

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// clientLeaked replaces a client's secret and ends what was had with the old one.
func clientLeaked(ctx context.Context, p *handlers.Provider, registry clientreg.Writer, id string) (secret string, err error) {
	c, err := registry.Client(ctx, id)
	if err != nil {
		return "", err
	}
	secret, hash := clientreg.NewSecret()
	c.Secrets = []clientreg.ClientSecret{{Hash: hash}} // the old one is gone at once
	c.NotBefore = time.Now()                           // and so is every token from before
	if err := registry.Update(ctx, c, c.Version); err != nil {
		return "", err
	}
	_, err = p.Grants().RevokeAll(ctx, handlers.Filter{ClientID: id})
	return secret, err
}

// newClient registers a client with a secret that is shown once.
func newClient(ctx context.Context, registry clientreg.Writer, id string) (string, error) {
	secret, hash := clientreg.NewSecret()
	err := registry.Create(ctx, &clientreg.Client{
		ID: id, Secrets: []clientreg.ClientSecret{{Hash: hash}},
		RedirectURIs: []string{"https://app.example/cb"}, Scope: "openid profile offline_access",
		GrantTypes: []string{"authorization_code", "refresh_token"},
	})
	return secret, err // nobody can read it again
}

// running is a provider that can be restarted with other secrets.
type running struct {
	*handlerstest.Server
	store   storage.Storage
	clients clientreg.Writer
	p       atomic.Pointer[handlers.Provider]
	rp      *handlerstest.RP
	browser *handlerstest.Browser
}

func (r *running) restart(t *testing.T, origin string, secrets ...[]byte) {
	t.Helper()
	p, err := handlers.New(handlers.Config{
		Issuer: origin, Storage: r.store, Clients: r.clients, Secrets: secrets, SigningAlgs: []string{"ES256"},
		Users: handlerstest.User{Name: "alice", Password: "wonderland"}.Users(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.p.Store(p)
}

func run(t *testing.T, secrets ...[]byte) *running {
	t.Helper()
	r := &running{store: memory.New()}
	r.clients = clientreg.Stored(r.store)
	secret, err := newClient(t.Context(), r.clients, "app")
	if err != nil {
		t.Fatal(err)
	}
	r.Server = handlerstest.ServeApp(t, func(_ context.Context, origin string) (http.Handler, error) {
		r.restart(t, origin, secrets...)
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.p.Load().Handler().ServeHTTP(w, req) }), nil
	})
	c, err := r.clients.Client(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	r.rp = handlerstest.NewRP(t, r.Server, *c)
	r.rp.Secret, r.rp.Scope = secret, "openid offline_access"
	r.browser = handlerstest.NewBrowser(t, r.Server)
	return r
}

func newSecret() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}

func (r *running) kids() string { return r.browser.Get("/jwks").Want(200).Body }

// TestLeakedSecret walks the guide's first case: a new secret alone.
func TestLeakedSecret(t *testing.T) {
	t.Parallel()
	old, next := newSecret(), newSecret()
	r := run(t, old)
	tokens := r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
	before := r.kids()

	r.restart(t, r.Origin, next)
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	after := r.kids()
	for _, kid := range strings.Split(before, `"kid":"`)[1:] {
		if kid, _, _ = strings.Cut(kid, `"`); strings.Contains(after, kid) {
			t.Errorf("key %s is still published", kid)
		}
	}
	tokens = r.rp.Refresh(tokens)
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).Want(200)
	if p := r.rp.Begin(r.browser); p.URL.Path == "/login" {
		t.Error("the session is gone")
	}
}

// TestPlannedSecret: second, first, alone; nobody notices.
func TestPlannedSecret(t *testing.T) {
	t.Parallel()
	old, next := newSecret(), newSecret()
	r := run(t, old)
	tokens := r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
	for _, secrets := range [][][]byte{{old, next}, {next, old}} {
		r.restart(t, r.Origin, secrets...)
		r.rp.Call("GET", "userinfo_endpoint", tokens.Access).Want(200)
		tokens = r.rp.Refresh(tokens)
	}
	keys := r.kids()
	r.restart(t, r.Origin, next)
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).Want(200)
	r.rp.Refresh(tokens)
	if r.kids() != keys {
		t.Error("other signing keys")
	}
}

// TestLeakedClient: the old secret is dead, and so is what was had with it.
func TestLeakedClient(t *testing.T) {
	t.Parallel()
	r := run(t, newSecret())
	tokens := r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
	secret, err := clientLeaked(t.Context(), r.p.Load(), r.clients, "app")
	if err != nil {
		t.Fatal(err)
	}
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	refresh := handlerstest.RefreshRequest(tokens)
	r.rp.Post("token_endpoint", refresh).WantError(401, "invalid_client")
	r.rp.Secret = secret
	r.rp.Post("token_endpoint", refresh).WantError(400, "invalid_grant")
	r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
}

// TestLeakedPassword: whoever signed in with the old password is out.
func TestLeakedPassword(t *testing.T) {
	t.Parallel()
	r := run(t, newSecret())
	thief := handlerstest.NewBrowser(t, r.Server)
	tokens := r.rp.SignIn(thief, "alice", "wonderland", "prompt", "consent")
	if err := r.p.Load().Grants().RevokeSubject(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	r.rp.Post("token_endpoint", handlerstest.RefreshRequest(tokens)).WantError(400, "invalid_grant")
	if p := r.rp.Begin(thief); p.URL.Path != "/login" {
		t.Errorf("still signed in: %s", p)
	}
	r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
}

// TestRestoredBackup: a backup brings a session back that was ended since, and
// its cookie opens it again, whatever Client.NotBefore says. Without the rows,
// as the guide has it, everybody signs in again.
func TestRestoredBackup(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), run(t, newSecret())
	tokens := r.rp.SignIn(r.browser, "alice", "wonderland", "prompt", "consent")
	var backup []*storage.Record
	for _, kind := range []storage.Kind{storage.KindSession, storage.KindGrant} {
		page, err := r.store.Find(ctx, storage.Query{Kind: kind, Subject: "alice"})
		if err != nil || len(page.Records) != 1 {
			t.Fatalf("%d rows of kind %s, %v", len(page.Records), kind, err)
		}
		backup = append(backup, page.Records...)
	}
	if err := r.p.Load().Grants().RevokeSubject(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if p := r.rp.Begin(r.browser); p.URL.Path != "/login" {
		t.Fatalf("still signed in: %s", p)
	}
	each := func(do func(storage.Record) storage.Op) {
		t.Helper()
		for _, rec := range backup {
			if err := r.store.Commit(ctx, do(*rec)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(rec storage.Record) storage.Op { return storage.Delete(rec.Ref) }
	each(remove)
	each(storage.Insert)
	c, err := r.clients.Client(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	c.NotBefore = time.Now()
	if err := r.clients.Update(ctx, c, c.Version); err != nil {
		t.Fatal(err)
	}
	if p := r.rp.Begin(r.browser); p.URL.Path == "/login" {
		t.Error("NotBefore ended the session: the guide may say so again")
	}
	each(remove)
	if p := r.rp.Begin(r.browser); p.URL.Path != "/login" {
		t.Errorf("still signed in: %s", p)
	}
	r.rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	r.rp.Post("token_endpoint", handlerstest.RefreshRequest(tokens)).WantError(400, "invalid_grant")
}
