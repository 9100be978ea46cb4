package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// counting counts the round trips to a storage.
type counting struct {
	storage.Storage
	reads, writes atomic.Int64
}

func (c *counting) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	c.reads.Add(1)
	return c.Storage.Get(ctx, ref)
}

func (c *counting) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	c.reads.Add(1)
	return c.Storage.Find(ctx, q)
}

func (c *counting) Commit(ctx context.Context, ops ...storage.Op) error {
	c.writes.Add(1)
	return c.Storage.Commit(ctx, ops...)
}

// TestRoundTrips: what each request costs a database. A transition writes once,
// whatever it changes; what changes nothing, and what a client gets for itself,
// writes nothing.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	store := &counting{Storage: memory.New()}
	b := newBenchmark(t, store)
	b.do(b.get("/jwks", ""), http.StatusOK) // makes the signing key
	count := func(name string, r *http.Request, status int, reads, writes int64) {
		t.Helper()
		store.reads.Store(0)
		store.writes.Store(0)
		b.do(r, status)
		if store.reads.Load() != reads || store.writes.Load() != writes {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", name, store.reads.Load(), store.writes.Load(), reads, writes)
		}
	}
	count("discovery", b.get("/.well-known/openid-configuration", ""), http.StatusOK, 0, 0)
	count("jwks", b.get("/jwks", ""), http.StatusOK, 0, 0)
	count("client_credentials, opaque", b.post("/token", "service", "grant_type=client_credentials"), http.StatusOK, 0, 0)
	count("client_credentials, JWT", b.post("/token", "service", "grant_type=client_credentials&resource="+url.QueryEscape(benchAPI)), http.StatusOK, 0, 0)

	count("PAR, public client", b.post("/par", "app", b.authorizationRequest("app")), http.StatusCreated, 0, 1)
	count("PAR", b.post("/par", "web", b.authorizationRequest("web")), http.StatusCreated, 0, 1)
	// Reads: the pushed request, whether the session has ended, and that once more
	// after the grant is stored.
	count("authorize", b.get("/authorize?"+url.Values{"client_id": {"web"}, "request_uri": {b.member("request_uri")}}.Encode(), ""), http.StatusSeeOther, 3, 1)
	count("code", b.post("/token", "web", b.exchange()), http.StatusOK, 2, 1) // the code and its grant
	access, refresh := b.member("access_token"), b.member("refresh_token")
	count("userinfo", b.get("/userinfo", "Bearer "+access), http.StatusOK, 1, 0)
	count("introspection", b.post("/introspect", "web", "token="+access), http.StatusOK, 1, 0)
	count("introspection, refresh token", b.post("/introspect", "web", "token="+refresh), http.StatusOK, 1, 0)
	count("refresh", b.post("/token", "web", "grant_type=refresh_token&refresh_token="+refresh), http.StatusOK, 1, 1)
	count("grace", b.post("/token", "web", "grant_type=refresh_token&refresh_token="+refresh), http.StatusOK, 1, 1) // that the grant lives
	count("revoke", b.post("/revoke", "web", "token="+b.member("refresh_token")), http.StatusOK, 1, 1)
	count("userinfo, revoked", b.get("/userinfo", "Bearer "+access), http.StatusUnauthorized, 1, 0)
}
