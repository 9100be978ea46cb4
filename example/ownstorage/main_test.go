package main

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

func open(t testing.TB, path string, o *bolt.Options) *boltStorage {
	t.Helper()
	s, err := openBolt(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fresh is an empty storage. It does not wait for the disk, which no test could
// tell: that takes a power failure.
func fresh(t testing.TB) storage.Storage {
	return open(t, filepath.Join(t.TempDir(), "idp.bolt"), &bolt.Options{NoSync: true, NoGrowSync: true})
}

// TestStorage is the whole test of a backend.
func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, fresh, storagetest.Rounds(2))
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, fresh, storagetest.Rounds(2))
}

// TestRestart signs in, closes the file, and finds everything in it again.
func TestRestart(t *testing.T) {
	t.Parallel()
	path, secret := filepath.Join(t.TempDir(), "idp.bolt"), demo.Secret()
	var store *boltStorage
	start := func(ctx context.Context, origin string) (http.Handler, error) {
		store = open(t, path, nil)
		return build(ctx, origin, store, secret)
	}

	var handler http.Handler // of the process that runs
	b := handlerstest.NewBrowser(t, handlerstest.ServeApp(t, func(ctx context.Context, origin string) (_ http.Handler, err error) {
		handler, err = start(ctx, origin)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }), err
	}))
	page := b.SignIn(b.Get("/app/").Want(200), "alice", "wonderland")
	token := b.Submit(page, url.Values{"do": {"allow"}, "remember": {"1"}}).Member("access_token")
	userinfo := func() handlerstest.Page {
		return b.Do(b.Request("GET", "/userinfo", "", "Authorization", "Bearer "+token))
	}

	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	userinfo().Want(503) // an outage is no refusal
	var err error
	if handler, err = start(t.Context(), b.Server.Origin); err != nil {
		t.Fatal(err)
	}
	userinfo().Want(200, "alice@example.org")
	b.Get("/app/").Member("access_token") // session and consent are still there: no page is shown
}
