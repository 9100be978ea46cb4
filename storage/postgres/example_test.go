package postgres_test

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
)

// The pool is the application's: one for all that it does with the database.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL")) // of the primary, or of PgBouncer before it
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := postgres.Migrate(ctx, pool); err != nil { // or from a release job
		log.Fatal(err)
	}
	store, err := postgres.New(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	var _ storage.Storage = store // for handlers.Config.Storage

	// Once in a while, on any replica or on all:
	if _, err := store.Purge(ctx, time.Now(), 10_000); err != nil {
		log.Print(err)
	}
}
