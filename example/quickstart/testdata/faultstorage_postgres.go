package handlers_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

// faultPool leads to a server that ends with the process. All flows share it:
// with a pool for each there would be too many connections.
var faultPool = sync.OnceValues(func() (*pgxpool.Pool, error) {
	// No fsync: faults are the subject, not crashes, and the flows have deadlines.
	server, err := pgtest.New("fsync=off", "synchronous_commit=off", "full_page_writes=off")
	if err != nil {
		return nil, err
	}
	return pgxpool.New(context.Background(), server.DSN("postgres", "pool_max_conns=4", "pool_min_conns=4"))
})

var faultSchemas atomic.Int64

// faultStorage is a new schema for each flow.
func faultStorage(t testing.TB) storage.Storage {
	pool, err := faultPool()
	if err != nil {
		t.Fatal(err)
	}
	schema := postgres.Schema(fmt.Sprintf("fault%d", faultSchemas.Add(1)))
	if err := postgres.Migrate(t.Context(), pool, schema); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.New(t.Context(), pool, schema, postgres.InsecureAllowLoss())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
