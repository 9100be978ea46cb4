package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
	"github.com/idpkit/idpkit/storage/redis"
	"github.com/idpkit/idpkit/storage/redis/redistest"
	"github.com/idpkit/idpkit/storage/sqlite"
)

// engine is an empty storage of one test: how a replica opens it, and what is
// in it.
type engine struct {
	open  func() (storage.Storage, error) // with connections of its own
	count func(kind storage.Kind, state storage.State) (int, error)
	// whole is an error unless the storage is sound and every code has its grant.
	whole func() error
}

// shared are the servers that all races of this package use, each with a name of
// its own for what it stores; TestMain ends them.
var shared = struct {
	postgres func() (*pgtest.Server, error)
	cluster  func() (*redistest.Cluster, error)
	single   func() (*redistest.Server, error) // with a password
	names    atomic.Int64
	mu       sync.Mutex
	ends     []func()
}{}

func TestMain(m *testing.M) {
	end := func(f func()) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.ends = append(shared.ends, f)
	}
	shared.postgres = sync.OnceValues(func() (*pgtest.Server, error) {
		s, err := pgtest.New()
		if err == nil {
			end(s.Close)
		}
		return s, err
	})
	shared.cluster = sync.OnceValues(func() (*redistest.Cluster, error) {
		c, err := redistest.NewCluster()
		if err == nil {
			end(c.Close)
		}
		return c, err
	})
	shared.single = sync.OnceValues(func() (*redistest.Server, error) {
		s, err := redistest.New()
		if err == nil {
			end(s.Close)
			c := s.Client()
			defer c.Close()
			err = c.ConfigSet(context.Background(), "requirepass", "hunter2").Err()
		}
		return s, err
	})
	code := m.Run()
	for _, f := range shared.ends {
		f()
	}
	os.Exit(code)
}

// newEngine makes an empty storage: sqlite, a file in dir; postgres, a schema;
// redis, a part of a Redis Cluster.
func newEngine(t testing.TB, name, dir string) *engine {
	t.Helper()
	part := fmt.Sprintf("race%d", shared.names.Add(1))
	switch name {
	case "sqlite":
		return sqliteEngine(t, filepath.Join(dir, "idp.sqlite"))
	case "postgres":
		s, err := shared.postgres()
		if err != nil {
			t.Fatal(err)
		}
		return postgresEngine(t, s.DSN("postgres", "pool_max_conns=8"), part)
	}
	c, err := shared.cluster()
	if err != nil {
		t.Fatal(err)
	}
	return redisEngine(t, c, part)
}

func sqliteEngine(t testing.TB, file string) *engine {
	return &engine{
		open: func() (storage.Storage, error) {
			s, err := sqlite.Open(file, sqlite.BusyTimeout(hangGuard))
			if err == nil {
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			return s, err
		},
		count: func(kind storage.Kind, state storage.State) (int, error) {
			return count(t, open(t, file), kind, state), nil
		},
		whole: func() error { whole(t, open(t, file)); return nil },
	}
}

func postgresEngine(t testing.TB, dsn, schema string) *engine {
	pool := sync.OnceValues(func() (*pgxpool.Pool, error) { return newPool(t, dsn) })
	number := func(text string, args ...any) (n int, err error) {
		p, err := pool()
		if err == nil {
			err = p.QueryRow(context.Background(), strings.ReplaceAll(text, "records", schema+".records"), args...).Scan(&n)
		}
		return n, err
	}
	return &engine{
		open: func() (storage.Storage, error) {
			p, err := newPool(t, dsn)
			if err == nil {
				err = postgres.Migrate(context.Background(), p, postgres.Schema(schema))
			}
			if err != nil {
				return nil, err
			}
			return postgres.New(context.Background(), p, postgres.Schema(schema))
		},
		count: func(kind storage.Kind, state storage.State) (int, error) {
			return number("SELECT count(*) FROM records WHERE kind = $1 AND state = $2", []byte(kind), int(state))
		},
		whole: func() error {
			n, err := number(`SELECT count(*) FROM records c WHERE c.kind = $1 AND NOT EXISTS
				(SELECT 1 FROM records g WHERE g.kind = $2 AND g.shard = c.shard AND g.key = c.grant_)`, []byte(storage.KindCode), []byte(storage.KindGrant))
			return errors.Join(err, orphans(n))
		},
	}
}

func newPool(t testing.TB, dsn string) (*pgxpool.Pool, error) {
	p, err := pgxpool.New(context.Background(), dsn)
	if err == nil {
		t.Cleanup(p.Close)
	}
	return p, err
}

func orphans(n int) error {
	if n > 0 {
		return fmt.Errorf("%d codes without their grant", n)
	}
	return nil
}

func redisEngine(t testing.TB, c *redistest.Cluster, prefix string) *engine {
	connect := func() (storage.Storage, *driver.ClusterClient, error) {
		client := c.Client()
		t.Cleanup(func() { client.Close() })
		s, err := redis.New(context.Background(), client, redis.Prefix(prefix))
		return s, client, err
	}
	// each calls f for every row of a kind.
	each := func(kind storage.Kind, f func(s storage.Storage, r *storage.Record) error) error {
		s, client, err := connect()
		if err != nil {
			return err
		}
		var mu sync.Mutex // masters are asked side by side
		return client.ForEachMaster(context.Background(), func(ctx context.Context, m *driver.Client) error {
			mu.Lock()
			defer mu.Unlock()
			keys := m.Scan(ctx, 0, fmt.Sprintf("%s{*}*:%s:*", prefix, kind), 1000).Iterator()
			seen := map[string]bool{} // a scan may name a key twice
			for keys.Next(ctx) {
				if seen[keys.Val()] {
					continue
				}
				seen[keys.Val()] = true
				var ref storage.Ref
				if _, err := fmt.Sscanf(keys.Val()[strings.Index(keys.Val(), "}")+1:], "%04x:", &ref.Shard); err != nil {
					return fmt.Errorf("%s: %w", keys.Val(), err)
				}
				ref.Kind, ref.Key = kind, strings.SplitN(keys.Val(), ":", 3)[2]
				r, err := s.Get(ctx, ref)
				if err != nil {
					return fmt.Errorf("%s: %w", keys.Val(), err)
				}
				if err := f(s, r); err != nil {
					return err
				}
			}
			return keys.Err()
		})
	}
	return &engine{
		open: func() (storage.Storage, error) { s, _, err := connect(); return s, err },
		count: func(kind storage.Kind, state storage.State) (n int, err error) {
			err = each(kind, func(_ storage.Storage, r *storage.Record) error {
				if r.State == state {
					n++
				}
				return nil
			})
			return n, err
		},
		whole: func() error {
			n := 0
			err := each(storage.KindCode, func(s storage.Storage, r *storage.Record) error {
				_, err := s.Get(context.Background(), storage.Ref{Kind: storage.KindGrant, Shard: r.Ref.Shard, Key: r.Grant})
				if errors.Is(err, storage.ErrNotFound) {
					n, err = n+1, nil
				}
				return err
			})
			return errors.Join(err, orphans(n))
		},
	}
}
