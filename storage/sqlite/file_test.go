package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/sqlite"
)

func grant(format string, args ...any) storage.Record {
	return storage.Record{
		Ref:     storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: fmt.Sprintf(format, args...)},
		Subject: "sub", Data: []byte("data"),
	}
}

// foreign is another program with the file open.
func foreign(t testing.TB, path string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	return conn
}

func run(t testing.TB, conn *sql.Conn, query string) {
	t.Helper()
	if _, err := conn.ExecContext(context.WithoutCancel(t.Context()), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, path := range map[string]string{
		"nothing":          "",
		"memory":           ":memory:",
		"DSN":              "file:" + filepath.Join(dir, "a"),
		"synchronous off":  filepath.Join(dir, "b") + "?_pragma=synchronous(OFF)",
		"short for it":     filepath.Join(dir, "c") + "?_sync=0",
		"no such folder":   filepath.Join(dir, "none", "d"),
		"a folder":         dir,
		"not a database":   write(t, filepath.Join(dir, "e"), strings.Repeat("this is text, ", 1000)),
		"another database": alien(t, filepath.Join(dir, "f")),
	} {
		s, err := sqlite.Open(path)
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
		if path != "" && err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Name() != "e" && f.Name() != "f" {
			t.Errorf("%s was left behind", f.Name())
		}
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// alien is a database of some other program.
func alien(t *testing.T, path string) string {
	t.Helper()
	conn := foreign(t, path)
	run(t, conn, "CREATE TABLE records (a, b)")
	return path
}

func TestOpenNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with blank.db", "50%.db", "%00%3f.db", "a#b.db", "a&_sync=0.db", "ünï.db", "'quoted'.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			s := open(t, path)
			if err := s.Commit(t.Context(), storage.Insert(grant("a"))); err != nil {
				t.Fatal(err)
			}
			for _, suffix := range []string{"", "-wal", "-shm"} {
				info, err := os.Stat(path + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != 0o600 {
					t.Errorf("%s has mode %v", info.Name(), info.Mode())
				}
			}
			if files, _ := os.ReadDir(dir); len(files) != 3 {
				t.Errorf("files: %v", files)
			}
		})
	}
}

func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	open(t, "idp.db")
	if _, err := os.Stat("idp.db"); err != nil {
		t.Error(err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Insert(grant("a"))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second Close is harmless
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(t.Context(), grant("a").Ref); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Get after Close: %v", err)
	}
	if err := s.Commit(t.Context(), storage.Insert(grant("b"))); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Commit after Close: %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Ping after Close: %v", err)
	}
	s = open(t, path)
	if _, err := s.Get(t.Context(), grant("a").Ref); err != nil {
		t.Errorf("after it was opened again: %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func TestOpenManyAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := file(t)
		var group sync.WaitGroup
		handles, errs := make([]*sqlite.Storage, 12), make([]error, 12)
		for i := range handles {
			group.Go(func() {
				if handles[i], errs[i] = sqlite.Open(path); errs[i] == nil {
					errs[i] = handles[i].Commit(t.Context(), storage.Insert(grant("%d", i)))
				}
			})
		}
		group.Wait()
		for i, err := range errs {
			if err != nil {
				t.Fatalf("handle %d: %v", i, err)
			}
		}
		for i, s := range handles {
			for j := range handles {
				if _, err := s.Get(t.Context(), grant("%d", j).Ref); err != nil {
					t.Errorf("handle %d does not see what %d wrote: %v", i, j, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	path := file(t)
	if err := open(t, path).Commit(t.Context(), storage.Insert(grant("a"))); err != nil {
		t.Fatal(err)
	}
	conn := foreign(t, path)
	for _, version := range []int{1000, 2, -1} {
		run(t, conn, fmt.Sprintf("PRAGMA user_version = %d", version))
		_, err := sqlite.Open(path)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("schema version %d", version)) {
			t.Errorf("a file of schema version %d: %v", version, err)
		}
	}
	run(t, conn, "PRAGMA user_version = 1")
	if _, err := open(t, path).Get(t.Context(), grant("a").Ref); err != nil {
		t.Error(err)
	}
}

// TestConsumeRace spends each record once, whatever handle is asked.
func TestConsumeRace(t *testing.T) {
	t.Parallel()
	path := file(t)
	handles := []*sqlite.Storage{open(t, path), open(t, path)}
	for round := range 50 {
		r := grant("%d", round)
		if err := handles[round%2].Commit(t.Context(), storage.Insert(r)); err != nil {
			t.Fatal(err)
		}
		var won, lost atomic.Int64
		var group sync.WaitGroup
		barrier := make(chan struct{})
		for i := range 64 {
			group.Go(func() {
				<-barrier
				err := handles[i%2].Commit(t.Context(), storage.Consume(r.Ref), storage.Insert(grant("%d/%d", round, i)))
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, storage.ErrConsumed):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		close(barrier)
		group.Wait()
		if won.Load() != 1 || lost.Load() != 63 {
			t.Fatalf("round %d: %d won, %d lost", round, won.Load(), lost.Load())
		}
	}
}

func TestBusyWriter(t *testing.T) {
	t.Parallel()
	path := file(t)
	patient, hasty := open(t, path, sqlite.BusyTimeout(time.Minute)), open(t, path, sqlite.BusyTimeout(50*time.Millisecond))
	for _, s := range []*sqlite.Storage{patient, hasty} {
		if err := s.Commit(t.Context(), storage.Delete(grant("none").Ref)); err != nil {
			t.Fatal(err)
		}
	}
	conn := foreign(t, path)
	run(t, conn, "BEGIN IMMEDIATE")

	if err := hasty.Commit(t.Context(), storage.Insert(grant("a"))); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("past the busy timeout: %v, want ErrUnavailable", err)
	}
	if _, err := hasty.Purge(t.Context(), time.Now(), 10); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Purge past the busy timeout: %v, want ErrUnavailable", err)
	}
	if _, err := hasty.Get(t.Context(), grant("a").Ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a reader waits for a writer: %v", err)
	}
	if _, err := sqlite.Open(path, sqlite.BusyTimeout(0)); err == nil {
		t.Error("opened a file that another process is writing to, without waiting")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := patient.Commit(ctx, storage.Insert(grant("a"))); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past the caller's deadline: %v, want ErrUnavailable", err)
	}

	done := make(chan error, 2)
	for i := range cap(done) { // one waits for SQLite, the other for the first
		go func() { done <- patient.Commit(t.Context(), storage.Insert(grant("b%d", i))) }()
	}
	select {
	case err := <-done:
		t.Fatalf("a commit did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	run(t, conn, "COMMIT")
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("after the lock was released: %v", err)
		}
	}
	if _, err := hasty.Get(t.Context(), grant("a").Ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a commit that failed busy was done later: %v", err)
	}
	if err := hasty.Commit(t.Context(), storage.Insert(grant("a"))); err != nil {
		t.Errorf("after it failed busy: %v", err)
	}
}

// TestCorruptRows plants rows that no Commit can have written.
func TestCorruptRows(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	conn := foreign(t, path)
	run(t, conn, "PRAGMA ignore_check_constraints = 1")
	for i, set := range []string{"state = 2", "state = -1", "version = 0", "version = -5", "shard = 70000", "shard = -1"} {
		bad, good := grant("%d bad", i), grant("%d good", i)
		bad.Subject, good.Subject = fmt.Sprint("s", i), fmt.Sprint("s", i)
		good.Client = "good"
		if err := s.Commit(t.Context(), storage.Insert(bad), storage.Insert(good)); err != nil {
			t.Fatal(err)
		}
		run(t, conn, fmt.Sprintf("UPDATE records SET %s WHERE key = CAST('%s' AS BLOB)", set, bad.Key))

		if strings.HasPrefix(set, "shard") { // it has another name now
			if _, err := s.Get(t.Context(), bad.Ref); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: Get: %v", set, err)
			}
		} else {
			unavailable := func(doing string, err error) {
				t.Helper()
				if !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%s: %s: %v, want ErrUnavailable", set, doing, err)
				}
			}
			_, err := s.Get(t.Context(), bad.Ref)
			unavailable("Get", err)
			unavailable("Consume", s.Commit(t.Context(), storage.Consume(bad.Ref)))
			unavailable("Check", s.Commit(t.Context(), storage.Delete(good.Ref), storage.Check(bad.Ref)))
			unavailable("Insert", s.Commit(t.Context(), storage.Insert(bad)))
		}
		// A search that should have found it must not go on as if it were not there.
		if _, err := s.Find(t.Context(), storage.Query{Kind: bad.Kind, Subject: bad.Subject}); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: Find: %v, want ErrUnavailable", set, err)
		}
		if _, err := s.Get(t.Context(), good.Ref); err != nil {
			t.Errorf("%s: Get of the row beside it: %v", set, err)
		}
		if page, err := s.Find(t.Context(), storage.Query{Kind: good.Kind, Subject: good.Subject, Client: "good"}); err != nil || len(page.Records) != 1 {
			t.Errorf("%s: Find of the row beside it: %v", set, err)
		}
		if strings.HasPrefix(set, "shard") {
			continue
		}
		if err := s.Commit(t.Context(), storage.Delete(bad.Ref)); err != nil {
			t.Errorf("%s: Delete: %v", set, err)
		}
		if _, err := s.Get(t.Context(), bad.Ref); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: Get after Delete: %v", set, err)
		}
	}
}

// TestPlans holds each read to its index: a search without one grows with the
// table.
func TestPlans(t *testing.T) {
	t.Parallel()
	path := file(t)
	open(t, path)
	conn := foreign(t, path)
	for query, want := range sqlite.Queries() {
		args := make([]any, strings.Count(query, "?"))
		for n := len(args); n > 0 && strings.Contains(query, "?1"); n-- {
			if strings.Contains(query, fmt.Sprint("?", n)) {
				args = args[:n]
				break
			}
		}
		rows, err := conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		rows.Close()
		all := strings.Join(plan, "; ")
		if !strings.Contains(all, want) || strings.Contains(all, "SCAN") || strings.Contains(all, "TEMP B-TREE") {
			t.Errorf("%s\nhas the plan: %s\nwant: %s", query, all, want)
		}
	}
}
