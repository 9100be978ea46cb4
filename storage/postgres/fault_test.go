package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

func grant(format string, args ...any) storage.Record {
	return storage.Record{
		Ref:     storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: fmt.Sprintf(format, args...)},
		Subject: "sub", Data: []byte("data"),
	}
}

// migrated returns a storage in the schema idpkit of a database of its own.
func migrated(t testing.TB, dsn string, opts ...postgres.Option) *postgres.Storage {
	t.Helper()
	p := pool(t, dsn)
	if err := postgres.Migrate(t.Context(), p, opts...); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.New(t.Context(), p, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// foreign is a session of somebody who writes by hand.
func foreign(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func run(t testing.TB, c *pgx.Conn, query string) {
	t.Helper()
	if _, err := c.Exec(context.WithoutCancel(t.Context()), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// waiting returns when n sessions of the database wait for a lock.
func waiting(t testing.TB, c *pgx.Conn, n int) {
	t.Helper()
	for range 2000 {
		run(t, c, "SELECT pg_stat_clear_snapshot()") // c may be in a transaction
		var is int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&is); err != nil {
			t.Fatal(err)
		}
		if is >= n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no %d sessions wait", n)
}

func must(t testing.TB, s storage.Storage, ops ...storage.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

// outage wants ErrUnavailable from every method.
func outage(t testing.TB, ctx context.Context, s storage.Storage, want ...error) {
	t.Helper()
	r := grant("outage")
	_, get := s.Get(ctx, r.Ref)
	_, find := s.Find(ctx, storage.Query{Kind: r.Kind, Subject: "sub"})
	_, purge := s.Purge(ctx, time.Now(), 10)
	for method, err := range map[string]error{
		"Get": get, "Find": find, "Purge": purge, "Commit": s.Commit(ctx, storage.Insert(r)), "Check": s.Commit(ctx, storage.Check(r.Ref)),
	} {
		for _, want := range append(want, storage.ErrUnavailable) {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", method, err, want)
			}
		}
		for _, not := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConsumed, storage.ErrConflict, storage.ErrInvalid} {
			if errors.Is(err, not) {
				t.Errorf("%s: %v is an answer", method, err)
			}
		}
	}
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := migrated(t, server.DSN("postgres"))
	must(t, s, storage.Insert(grant("a")))
	server.Stop()
	outage(t, t.Context(), s)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	must(t, s, storage.Consume(grant("a").Ref))
}

func TestPoolExhausted(t *testing.T) {
	t.Parallel()
	server := server(t)
	p := pool(t, server.DSN(database(t, server), "pool_max_conns=1"))
	if err := postgres.Migrate(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	outage(t, ctx, s, context.DeadlineExceeded)
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	s := migrated(t, server.DSN(name))
	if _, err := server.SQL("postgres", "ALTER DATABASE "+name+" CONNECTION LIMIT 0; CREATE ROLE limited LOGIN; GRANT pg_read_all_data, pg_write_all_data TO limited"); err != nil {
		t.Fatal(err)
	}
	p := pool(t, strings.Replace(server.DSN(name), "user=postgres", "user=limited", 1))
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "53300") {
		t.Errorf("New: %v", err)
	}
	must(t, s, storage.Insert(grant("a"))) // superusers are not counted
}

// TestSessionEnds has sessions end while they wait for a lock.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	server := server(t)
	dsn := server.DSN(database(t, server))
	s, conn := migrated(t, dsn), foreign(t, dsn)
	r := grant("a")
	must(t, s, storage.Insert(r))
	const others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'"
	for name, end := range map[string]string{
		"57P01": "SELECT pg_terminate_backend(pid) " + others, "57014": "SELECT pg_cancel_backend(pid) " + others,
	} {
		run(t, conn, "BEGIN; LOCK TABLE idpkit.records IN ACCESS EXCLUSIVE MODE")
		done := make(chan error, 2)
		go func() { done <- s.Commit(t.Context(), storage.Consume(r.Ref)) }()
		go func() { _, err := s.Get(t.Context(), r.Ref); done <- err }()
		waiting(t, conn, 2)
		run(t, conn, end)
		for range 2 {
			if err := <-done; !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want ErrUnavailable with %s", err, name)
			}
		}
		run(t, conn, "ROLLBACK")
		if got, err := s.Get(t.Context(), r.Ref); err != nil || got.State != storage.Active {
			t.Errorf("after %s: %+v, %v", name, got, err)
		}
	}
}

// TestCancelWaiting: a caller who gives up while the commit waits for a lock is
// told so soon, and the commit does not happen later.
func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	server := server(t)
	dsn := server.DSN(database(t, server))
	s, conn := migrated(t, dsn), foreign(t, dsn)
	r := grant("a")
	must(t, s, storage.Insert(r))
	run(t, conn, "BEGIN; SELECT * FROM idpkit.records FOR UPDATE")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Commit(ctx, storage.Consume(r.Ref)) }()
	waiting(t, conn, 1)
	cancel()
	if err := <-done; !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want ErrUnavailable and Canceled", err)
	}
	for busy := 1; busy > 0; time.Sleep(5 * time.Millisecond) { // until the server has heard of it
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").Scan(&busy); err != nil {
			t.Fatal(err)
		}
	}
	run(t, conn, "ROLLBACK")
	if got, err := s.Get(t.Context(), r.Ref); err != nil || got.State != storage.Active {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	migrated(t, server.DSN(name))
	if _, err := server.SQL("postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.New(t.Context(), pool(t, server.DSN(name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Insert(grant("a"))); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "25006") {
		t.Errorf("%v, want ErrUnavailable with 25006", err)
	}
}

// TestStandby turns the server that a pool leads to into a standby, as a
// failover may: it must not answer from what may be old.
func TestStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	p := pool(t, server.DSN("postgres"))
	s := migrated(t, server.DSN("postgres"))
	must(t, s, storage.Insert(grant("outage")))
	server.Stop()
	if err := os.WriteFile(filepath.Join(server.Host(), "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	outage(t, t.Context(), s)
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("New on a standby: %v", err)
	}
	if _, err := server.SQL("postgres", "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
	must(t, s, storage.Consume(grant("outage").Ref))
}

// TestByHand has somebody write rows without the locks while a commit waits for
// them: the commit is judged anew.
func TestByHand(t *testing.T) {
	t.Parallel()
	server := server(t)
	dsn := server.DSN(database(t, server))
	s, conn := migrated(t, dsn), foreign(t, dsn)
	const row = `(shard, kind, key, version, state, subject, data) VALUES (7, 'grant', 'inserted', 4, 0, 'by hand', '')`
	update := grant("updated")
	update.Version = 1
	for _, tc := range []struct {
		name, before, hand string
		op                 storage.Op
		want               error
		version            int64
	}{
		{"insert", "", "INSERT INTO idpkit.records " + row, storage.Insert(grant("inserted")), storage.ErrExists, 4},
		{"consume", "consumed", "UPDATE idpkit.records SET state = 1, version = 2 WHERE key = 'consumed'", storage.Consume(grant("consumed").Ref), storage.ErrConsumed, 2},
		{"update", "updated", "UPDATE idpkit.records SET version = 9 WHERE key = 'updated'", storage.Update(update), storage.ErrConflict, 9},
		{"delete", "deleted", "DELETE FROM idpkit.records WHERE key = 'deleted'", storage.Consume(grant("deleted").Ref), storage.ErrNotFound, 0},
	} {
		if tc.before != "" {
			must(t, s, storage.Insert(grant("%s", tc.before)))
		}
		run(t, conn, "BEGIN; "+tc.hand)
		done := make(chan error)
		go func() { done <- s.Commit(t.Context(), tc.op) }()
		waiting(t, conn, 1)
		run(t, conn, "COMMIT")
		var c *storage.ConflictError
		if err := <-done; !errors.As(err, &c) || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		} else if tc.version > 0 && (c.Current == nil || c.Current.Version != tc.version) {
			t.Errorf("%s: the row is %+v", tc.name, c.Current)
		}
	}
}

// TestDeadlock: the server ends a commit that is in a deadlock, and it is made
// again.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	server := server(t)
	dsn := server.DSN(database(t, server, "deadlock_timeout = '50ms'"))
	s, conn := migrated(t, dsn), foreign(t, dsn)
	must(t, s, storage.Insert(grant("a")))
	run(t, conn, "SET deadlock_timeout = '1min'; BEGIN; SELECT 1 FROM idpkit.records FOR UPDATE")
	done := make(chan error)
	go func() { done <- s.Commit(t.Context(), storage.Consume(grant("a").Ref)) }()
	for held := 0; held == 0; time.Sleep(time.Millisecond) {
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&held); err != nil {
			t.Fatal(err)
		}
	}
	run(t, conn, "SELECT pg_advisory_xact_lock(idpkit.lock_id(7, 'grant', 'a'))")
	run(t, conn, "COMMIT")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(server.Log(), "deadlock detected") {
		t.Error("there was no deadlock")
	}
}

// TestPurgeWaitsForNobody: rows that somebody is busy with are left, the others
// purged.
func TestPurgeWaitsForNobody(t *testing.T) {
	t.Parallel()
	server := server(t)
	dsn := server.DSN(database(t, server))
	s, conn := migrated(t, dsn), foreign(t, dsn)
	for i := range 250 {
		r := grant("%d", i)
		r.ExpiresAt = time.Date(2020, 1, 1, 0, 0, i%3, 0, time.UTC)
		must(t, s, storage.Insert(r))
	}
	run(t, conn, "BEGIN; SELECT 1 FROM idpkit.records WHERE key = '3' FOR UPDATE; SELECT pg_advisory_xact_lock_shared(idpkit.lock_id(7, 'grant', '6'))")
	if n, err := s.Purge(t.Context(), time.Now(), 1000); n != 248 || err != nil {
		t.Errorf("purged %d, %v, want 248", n, err)
	}
	run(t, conn, "ROLLBACK")
	if n, err := s.Purge(t.Context(), time.Now(), 1000); n != 2 || err != nil {
		t.Errorf("purged %d, %v, want 2", n, err)
	}
}

// A relay stands between a pool and the server and counts round trips: how
// often the client spoke after it had heard the server. Where cut is not 0 it
// lets one byte less than that of the next answer through and hangs up.
type relay struct{ trips, heard, cut atomic.Int64 }

func (r *relay) start(t testing.TB, server string) (host string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(client, filepath.Join(server, ".s.PGSQL.5432"))
		}
	}()
	return dir
}

func (r *relay) pass(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("unix", to)
	if err != nil {
		return
	}
	defer server.Close()
	var heard atomic.Bool
	heard.Store(true)
	go func() {
		defer server.Close()
		b := make([]byte, 1<<20)
		for {
			n, err := client.Read(b)
			if n > 0 && heard.Swap(false) {
				r.trips.Add(1)
			}
			if _, werr := server.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<20)
	for {
		n, err := server.Read(b)
		if n > 0 {
			heard.Store(true)
			r.heard.Add(int64(n))
		}
		if cut := r.cut.Swap(0); cut > 0 {
			_, _ = client.Write(b[:min(n, int(cut)-1)])
			return
		}
		if _, werr := client.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TestRoundTrips: one for each call, whatever the outcome, and one transaction
// for each Commit.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	server := server(t)
	for _, isolation := range []string{"'read committed'", "serializable"} {
		name := database(t, server, "default_transaction_isolation = "+isolation)
		for through, host := range map[string]string{"server": server.Host(), "PgBouncer": pgtest.PgBouncer(t, server)} {
			var r relay
			schema := postgres.Schema(strings.ToLower(through))
			s := migrated(t, pgtest.DSN(r.start(t, host), name, "pool_max_conns=1"), schema)
			a, b, c := grant("a"), grant("b"), grant("c")
			a.Data = make([]byte, 3000)
			update := a
			update.Version = 1
			for _, call := range []struct {
				name string
				do   func() error
				want error
			}{
				{"insert", func() error { return s.Commit(t.Context(), storage.Insert(a), storage.Insert(b)) }, nil},
				{"insert again", func() error { return s.Commit(t.Context(), storage.Insert(c), storage.Insert(b)) }, storage.ErrExists},
				{"update and check", func() error { return s.Commit(t.Context(), storage.Update(update), storage.Check(b.Ref)) }, nil},
				{"consume", func() error { return s.Commit(t.Context(), storage.Consume(b.Ref), storage.Insert(c)) }, nil},
				{"consume again", func() error { return s.Commit(t.Context(), storage.Consume(b.Ref)) }, storage.ErrConsumed},
				{"get", func() error { _, err := s.Get(t.Context(), a.Ref); return err }, nil},
				{"find", func() error {
					_, err := s.Find(t.Context(), storage.Query{Kind: a.Kind, Subject: "sub"})
					return err
				}, nil},
			} {
				before := r.trips.Load()
				if err := call.do(); !errors.Is(err, call.want) {
					t.Errorf("%s, %s: %v, want %v", through, call.name, err, call.want)
				}
				if n := r.trips.Load() - before; n != 1 {
					t.Errorf("%s, %s: %s took %d round trips", through, isolation, call.name, n)
				}
			}
			var transactions int
			if err := foreign(t, server.DSN(name)).QueryRow(t.Context(), "SELECT count(DISTINCT xmin::text) FROM "+strings.ToLower(through)+".records WHERE key IN ('b', 'c')").Scan(&transactions); err != nil || transactions != 1 {
				t.Errorf("the rows of one commit were written by %d transactions (%v)", transactions, err)
			}
		}
	}
}

// TestAnswerCut loses the connection after each part of the answer to a
// commit. The server commits between the last message but one and the last:
// less than the whole answer is no answer.
func TestAnswerCut(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	straight := migrated(t, server.DSN(name))
	must(t, straight, storage.Insert(grant("there")))
	var r relay
	s := migrated(t, pgtest.DSN(r.start(t, server.Host()), name, "pool_max_conns=1"))
	for what, commit := range map[string]func(n int) error{
		"insert":   func(n int) error { return s.Commit(t.Context(), storage.Insert(grant("insert %d", n))) },
		"conflict": func(int) error { return s.Commit(t.Context(), storage.Insert(grant("there"))) },
	} {
		connected := func() {
			if _, err := s.Get(t.Context(), grant("there").Ref); err != nil {
				t.Fatal(err)
			}
		}
		connected()
		before := r.heard.Load()
		if err := commit(9999); err != nil && !errors.Is(err, storage.ErrExists) {
			t.Fatalf("%s: %v", what, err)
		}
		whole := int(r.heard.Load() - before)
		done := 0
		for n := range whole {
			if n%20 > 0 && n < whole-40 {
				continue
			}
			connected()
			r.cut.Store(int64(n) + 1)
			if err := commit(n); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: after %d of %d bytes: %v, want ErrUnavailable", what, n, whole, err)
			}
			if _, err := straight.Get(t.Context(), grant("%s %d", what, n).Ref); err == nil {
				done++
			}
		}
		t.Logf("%s: %d bytes, %d were done though their answer was lost", what, whole, done)
	}
}
