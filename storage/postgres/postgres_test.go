package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// common is the server that tests share, each with a schema or a database of
// its own.
var common = sync.OnceValues(func() (*pgtest.Server, error) {
	return pgtest.New("max_connections=200")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if started.Load() {
		if s, err := common(); err == nil {
			s.Close()
		}
	}
	os.Exit(code)
}

var started atomic.Bool

func server(t testing.TB) *pgtest.Server {
	t.Helper()
	started.Store(true)
	s, err := common()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var names atomic.Int64

// database makes one, with settings of its own.
func database(t testing.TB, s *pgtest.Server, settings ...string) string {
	t.Helper()
	name := fmt.Sprint("db", names.Add(1))
	text := "CREATE DATABASE " + name + ";\n"
	for _, set := range settings {
		text += "ALTER DATABASE " + name + " SET " + set + ";\n"
	}
	if _, err := s.SQL("postgres", text); err != nil {
		t.Fatal(err)
	}
	return name
}

func pool(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// open migrates a schema of its own and opens it through each of the pools.
func open(t testing.TB, opts []postgres.Option, pools ...*pgxpool.Pool) storage.Storage {
	t.Helper()
	ctx := context.Background()
	name := fmt.Sprint("s", names.Add(1))
	opts = append([]postgres.Option{postgres.Schema(name)}, opts...)
	if err := postgres.Migrate(ctx, pools[0], opts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pools[0].Exec(ctx, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	var handles []storage.Storage
	for _, p := range pools {
		s, err := postgres.New(ctx, p, opts...)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, s)
	}
	return storagetest.Several(handles...)
}

// factory returns storages in a new database with the given settings.
func factory(t testing.TB, settings ...string) storagetest.Factory {
	s := server(t)
	name := database(t, s, settings...)
	p := pool(t, s.DSN(name, "pool_max_conns=24"))
	return func(t testing.TB) storage.Storage { return open(t, nil, p) }
}

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(t))
}

func TestStorageSerializable(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(t, "default_transaction_isolation = serializable"))
}

func TestStorageRepeatableRead(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(t, "default_transaction_isolation = 'repeatable read'"), storagetest.Rounds(5))
}

// TestStorageTwoPools has two pools on one schema, as two replicas have, and
// settings of the server that change how values are printed.
func TestStorageTwoPools(t *testing.T) {
	t.Parallel()
	s := server(t)
	name := database(t, s, "DateStyle = 'German'", "TimeZone = 'Asia/Kathmandu'", "bytea_output = escape", "standard_conforming_strings = off")
	one, two := pool(t, s.DSN(name, "pool_max_conns=12")), pool(t, s.DSN(name, "pool_max_conns=12"))
	storagetest.Run(t, func(t testing.TB) storage.Storage { return open(t, nil, one, two) }, storagetest.Rounds(5))
}

func TestStoragePartitioned(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := pool(t, s.DSN(database(t, s), "pool_max_conns=12"))
	storagetest.Run(t, func(t testing.TB) storage.Storage { return open(t, []postgres.Option{postgres.Partitions(5)}, p) }, storagetest.Rounds(5))
}

// TestStoragePgBouncer has fewer connections to the server than callers, and
// none of them anybody's own. The pool is a default one.
func TestStoragePgBouncer(t *testing.T) {
	t.Parallel()
	s := server(t)
	host := pgtest.PgBouncer(t, s, "default_pool_size = 8")
	p := pool(t, pgtest.DSN(host, database(t, s), "pool_max_conns=24"))
	storagetest.Run(t, func(t testing.TB) storage.Storage { return open(t, nil, p) }, storagetest.Rounds(5))
}

// Each round records about 196 calls, so these are 100,000 of them.
const linearizableRounds = 520

func TestLinearizable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, factory(t), storagetest.Rounds(linearizableRounds))
}

func TestLinearizableSerializable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, factory(t, "default_transaction_isolation = serializable"), storagetest.Rounds(100))
}

func TestLinearizableTwoPools(t *testing.T) {
	t.Parallel()
	s := server(t)
	name := database(t, s)
	one, two := pool(t, s.DSN(name)), pool(t, s.DSN(name))
	storagetest.Linearizable(t, func(t testing.TB) storage.Storage { return open(t, nil, one, two) }, storagetest.Rounds(100))
}

// TestLinearizableCancelled has callers that go away in the middle of a call.
func TestLinearizableCancelled(t *testing.T) {
	t.Parallel()
	f := factory(t)
	storagetest.Linearizable(t, func(t testing.TB) storage.Storage {
		return storagetest.Flaky(f(t), storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
			if c.N%5 == 0 {
				return storagetest.CancelMid
			}
			return nil
		}})
	}, storagetest.Rounds(50))
}

func FuzzStorage(f *testing.F) { storagetest.Fuzz(f, factory(f)) }

func BenchmarkStorage(b *testing.B) { storagetest.Bench(b, factory(b)) }
