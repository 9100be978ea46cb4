// Command kit is the provider under measurement: the kit with its defaults, its
// built-in pages and its own sessions.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/bench/internal/world"
	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/sqlite"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	w, err := world.Read()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	store, closeStore, err := open(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	p, err := provider(w, store)
	if err != nil {
		return err
	}
	go func() { _ = p.Run(ctx) }()
	profile()
	srv := &http.Server{Addr: w.Listen, Handler: p.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func open(ctx context.Context) (storage.Storage, func(), error) {
	switch name := os.Getenv("BENCH_STORAGE"); name {
	case "", "memory":
		return memory.New(), func() {}, nil
	case "sqlite":
		s, err := sqlite.Open(filepath.Join(os.Getenv("BENCH_DIR"), "idp.sqlite"))
		if err != nil {
			return nil, nil, err
		}
		return s, func() { _ = s.Close() }, nil
	case "postgres":
		pool, err := pgxpool.New(ctx, os.Getenv("BENCH_DATABASE"))
		if err != nil {
			return nil, nil, err
		}
		if err := postgres.Migrate(ctx, pool); err != nil {
			pool.Close()
			return nil, nil, err
		}
		s, err := postgres.New(ctx, pool)
		return s, pool.Close, err
	default:
		return nil, nil, fmt.Errorf("BENCH_STORAGE: %q is not known", name)
	}
}

func provider(w world.World, store storage.Storage) (*handlers.Provider, error) {
	confidential := func(c world.Client) clientreg.Client {
		return clientreg.Client{
			ID: c.ID, TokenEndpointAuthMethod: "client_secret_basic", Secrets: []clientreg.ClientSecret{{Hash: c.Hash}}, FirstParty: true,
			Scope: world.UserScope, RedirectURIs: []string{w.RedirectURI}, GrantTypes: []string{"authorization_code", "refresh_token"},
		}
	}
	app := clientreg.Client{
		ID: w.App.ID, TokenEndpointAuthMethod: "none", FirstParty: true,
		Scope: world.UserScope, RedirectURIs: []string{w.RedirectURI}, GrantTypes: []string{"authorization_code", "refresh_token"},
	}
	web, service, signed := confidential(w.Web), confidential(w.Service), confidential(w.Signed)
	for _, c := range []*clientreg.Client{&service, &signed} {
		c.Scope, c.RedirectURIs, c.GrantTypes = world.ServiceScope, nil, []string{"client_credentials"}
	}
	clients, err := clientreg.Static(app, web, service, signed)
	if err != nil {
		return nil, err
	}
	return handlers.New(handlers.Config{
		Issuer: w.Issuer, Storage: store, Clients: clients, Users: user{w.User}, Secrets: [][]byte{[]byte("a secret of a benchmark, 32 bytes")},
		SigningAlgs: []string{"ES256"}, Scopes: []handlers.Scope{{Name: world.ServiceScope}},
		APIs:     []handlers.API{{Identifier: w.Resource, Format: "jwt"}},
		Features: handlers.Features{ClientCredentials: true, Introspection: true},
		// All clients come from one address: the buckets work, and never run dry.
		Limiter: middleware.NewBuckets(1<<30, time.Nanosecond, nil),
		// No peer writes a line for each request either.
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// user is the table of users, with one row.
type user struct{ world.User }

func (u user) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	if subject != u.Subject {
		return nil, handlers.ErrNoUser
	}
	return map[string]any{"name": u.Name, "email": u.Email, "email_verified": true}, nil
}

func (u user) VerifyPassword(_ context.Context, username, password string) (handlers.Login, error) {
	if username != u.Username || password != u.Password {
		return handlers.Login{}, handlers.ErrWrongPassword
	}
	return handlers.Login{Subject: u.Subject, AMR: []string{"pwd"}}, nil
}
