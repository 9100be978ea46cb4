package postgres_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

// fill makes the rows from up to below n by SQL, each as big as a grant is.
// Ten have one subject, fifty clients share all of them, two in three expire.
func fill(t testing.TB, conn *pgx.Conn, schema string, from, n int) {
	t.Helper()
	for ; from < n; from += 100_000 {
		run(t, conn, fmt.Sprintf(`INSERT INTO %s.records (shard, kind, key, version, state, subject, client, session, grant_, expires, data)
			SELECT i %% 65536, 'grant', convert_to(translate(encode(sha256(i::text::bytea), 'base64'), '+/=', '-_'), 'UTF8'), 1, 0,
				convert_to('user ' || i / 10, 'UTF8'), convert_to('client ' || i %% 50, 'UTF8'), convert_to('session ' || i / 3, 'UTF8'), convert_to('grant ' || i, 'UTF8'),
				CASE WHEN i %% 3 > 0 THEN timestamptz '2030-01-01' + i * interval '1 second' END, decode(repeat(md5(i::text), 37), 'hex')
			FROM generate_series(%d, %d) AS i`, schema, from, min(from+100_000, n)-1))
	}
}

func filled(i int) storage.Ref {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	return storage.Ref{Kind: storage.KindGrant, Shard: uint16(i % 65536), Key: base64.RawURLEncoding.EncodeToString(sum[:])}
}

// TestPlans holds each search to its index, as the server itself reports it
// (auto_explain), with plans that were cached while the table was all but
// empty and without statistics, and again with them.
func TestPlans(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "session_preload_libraries=auto_explain", "auto_explain.log_min_duration=0", "auto_explain.log_nested_statements=on", "autovacuum=off")
	dsn := server.DSN("postgres", "pool_max_conns=1")
	s := migrated(t, dsn)
	ctx := t.Context()
	round := 0
	calls := []struct {
		name string
		call func() error
		want []string // indexes
	}{
		{"get", func() error { _, err := s.Get(ctx, filled(42)); return err }, []string{"records_pkey"}},
		{"find by grant", func() error {
			_, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Grant: "grant 42", Client: "client 42"})
			return err
		}, []string{"records_grant"}},
		{"find by session", func() error {
			_, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Session: "session 14", Subject: "user 4"})
			return err
		}, []string{"records_session"}},
		{"find by subject", func() error {
			_, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: "user 4", Client: "client 42"})
			return err
		}, []string{"records_subject"}},
		{"find by client", func() error {
			page, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Client: "client 42", Limit: 10})
			if err == nil && page.Next != "" {
				_, err = s.Find(ctx, storage.Query{Kind: storage.KindGrant, Client: "client 42", Limit: 10, After: page.Next})
			}
			return err
		}, []string{"records_client"}},
		{"commit", func() error {
			round++
			a, b, c := grant("%d a", round), grant("%d b", round), grant("%d c", round)
			a.Shard, b.Shard, c.Shard = 42, 42, 42
			if err := s.Commit(ctx, storage.Insert(a), storage.Insert(b)); err != nil {
				return err
			}
			a.Version = 1
			return s.Commit(ctx, storage.Update(a), storage.Consume(b.Ref), storage.Check(filled(42)), storage.Delete(c.Ref))
		}, []string{"records_pkey"}},
		{"purge", func() error { _, err := s.Purge(ctx, time.Date(2030, 1, 1, 1, 0, 0, 0, time.UTC), 150); return err }, []string{"records_expires", "records_pkey"}},
	}
	conn := foreign(t, server.DSN("postgres"))
	fill(t, conn, "idpkit", 40, 60)
	run(t, conn, "ANALYZE idpkit.records")
	for range 8 { // the sixth plan is kept
		for _, c := range calls {
			if err := c.call(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
	}
	for _, statistics := range []bool{false, true} {
		if statistics {
			run(t, conn, "ANALYZE idpkit.records")
		} else {
			fill(t, conn, "idpkit", 100, 100_000)
		}
		for _, c := range calls {
			before := len(server.Log())
			if err := c.call(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			plans := server.Log()[before:]
			if strings.Contains(plans, "Seq Scan") || strings.Contains(plans, "Sort  ") {
				t.Errorf("%s, statistics %v: a scan or a sort:\n%s", c.name, statistics, plans)
			}
			for _, want := range c.want {
				if !strings.Contains(plans, want) {
					t.Errorf("%s, statistics %v: no use of %s:\n%s", c.name, statistics, want, plans)
				}
			}
		}
	}
}

// BenchmarkRows measures how much slower calls are the larger the table is.
// IDPKIT_ROWS lists the sizes; each has a table of its own, and calls take
// turns, so that all of them meet the same noise.
func BenchmarkRows(b *testing.B) {
	sizes := "10000,100000"
	if env := os.Getenv("IDPKIT_ROWS"); env != "" {
		sizes = env
	}
	server := pgtest.Start(b, "shared_buffers=2GB", "max_wal_size=16GB", "maintenance_work_mem=1GB")
	conn := foreign(b, server.DSN("postgres"))
	type table struct {
		*postgres.Storage
		rows string
		n    int
	}
	var tables []table
	for _, rows := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(rows)
		if err != nil {
			b.Fatal(err)
		}
		began, name := time.Now(), "rows_"+rows
		tables = append(tables, table{migrated(b, server.DSN("postgres"), postgres.Schema(name)), rows, n})
		fill(b, conn, name, 0, n)
		run(b, conn, "VACUUM ANALYZE "+name+".records")
		b.Logf("%d rows after %v", n, time.Since(began).Round(time.Second))
	}
	run(b, conn, "CHECKPOINT")
	made, ctx := 0, context.Background()
	for _, bench := range []struct {
		name string
		call func(s table, i int) error
	}{
		{"get", func(s table, i int) error { _, err := s.Get(ctx, filled(i)); return err }},
		{"commit", func(s table, i int) error {
			made++
			r := storage.Record{Ref: filled(-made), Data: make([]byte, 600), Subject: fmt.Sprint("user ", made)}
			r.Shard = filled(i).Shard
			return s.Commit(ctx, storage.Check(filled(i)), storage.Insert(r))
		}},
		{"update", func(s table, i int) error {
			r, err := s.Get(ctx, filled(i))
			if err == nil {
				err = s.Commit(ctx, storage.Update(*r))
			}
			return err
		}},
		{"find", func(s table, i int) error {
			_, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: fmt.Sprint("user ", i/10)})
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			took := make([][]time.Duration, len(tables))
			for i := range b.N {
				for k, s := range tables {
					began := time.Now()
					if err := bench.call(s, i*7919%s.n); err != nil {
						b.Fatal(err)
					}
					took[k] = append(took[k], time.Since(began))
				}
			}
			for k, s := range tables {
				percentiles(b, took[k], "-µs/"+s.rows)
			}
		})
	}
}

func percentiles(b *testing.B, took []time.Duration, unit string) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50"+unit)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99"+unit)
}

// BenchmarkPurge measures commits alone, and beside a purge of IDPKIT_ROWS rows
// (the last of them).
func BenchmarkPurge(b *testing.B) {
	rows := 100_000
	if env := os.Getenv("IDPKIT_ROWS"); env != "" {
		rows, _ = strconv.Atoi(env[strings.LastIndexByte(env, ',')+1:])
	}
	server := pgtest.Start(b, "shared_buffers=1GB", "max_wal_size=8GB")
	s := migrated(b, server.DSN("postgres"))
	conn := foreign(b, server.DSN("postgres"))
	fill(b, conn, "idpkit", 0, rows*3/2) // two in three expire
	run(b, conn, "VACUUM ANALYZE idpkit.records")
	run(b, conn, "CHECKPOINT")
	made := 0
	commit := func() time.Duration {
		made++
		began := time.Now()
		if err := s.Commit(context.Background(), storage.Check(filled(3)), storage.Insert(storage.Record{
			Ref: storage.Ref{Kind: "code", Shard: filled(3).Shard, Key: filled(-made).Key}, Data: make([]byte, 600),
		})); err != nil {
			b.Error(err)
		}
		return time.Since(began)
	}
	for _, purging := range []bool{false, true} {
		b.Run(fmt.Sprint("purging=", purging), func(b *testing.B) {
			var group sync.WaitGroup
			over := make(chan struct{})
			purged := 0
			if purging && b.N > 1 { // the first run is a trial
				group.Go(func() {
					defer close(over)
					for n := 1; n > 0; purged += n {
						var err error
						if n, err = s.Purge(context.Background(), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), 1000); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			var took []time.Duration
			began := time.Now()
			for range b.N {
				took = append(took, commit())
			}
			if purging && b.N > 1 { // to the end, if that is not yet
				for done := false; !done; {
					select {
					case <-over:
						done = true
					default:
						took = append(took, commit())
					}
				}
				b.ReportMetric(float64(purged)/time.Since(began).Seconds(), "purged/s")
			}
			group.Wait()
			percentiles(b, took, "-µs")
		})
	}
}
