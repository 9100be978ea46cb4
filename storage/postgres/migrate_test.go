package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

// TestMigrateManyAtOnce starts ten replicas on an empty database, some of them
// through PgBouncer.
func TestMigrateManyAtOnce(t *testing.T) {
	t.Parallel()
	server := server(t)
	bouncer := pgtest.PgBouncer(t, server)
	for round := range 5 {
		name := database(t, server, "default_transaction_isolation = serializable")
		var group sync.WaitGroup
		handles, errs := make([]*postgres.Storage, 10), make([]error, 10)
		for i := range handles {
			p := pool(t, pgtest.DSN([]string{server.Host(), bouncer}[i%2], name, "pool_max_conns=2"))
			group.Go(func() {
				if errs[i] = postgres.Migrate(t.Context(), p); errs[i] == nil {
					handles[i], errs[i] = postgres.New(t.Context(), p)
				}
				if errs[i] == nil {
					errs[i] = handles[i].Commit(t.Context(), storage.Insert(grant("%d", i)))
				}
			})
		}
		group.Wait()
		for i, err := range errs {
			if err != nil {
				t.Fatalf("round %d, replica %d: %v", round, i, err)
			}
		}
		for i, s := range handles {
			for j := range handles {
				if _, err := s.Get(t.Context(), grant("%d", j).Ref); err != nil {
					t.Errorf("replica %d does not see what %d wrote: %v", i, j, err)
				}
			}
		}
	}
}

// TestMigrateFails leaves nothing behind.
func TestMigrateFails(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	conn := foreign(t, server.DSN(name))
	run(t, conn, "CREATE SCHEMA idpkit; CREATE TABLE idpkit.records (a int)")
	p := pool(t, server.DSN(name))
	if err := postgres.Migrate(t.Context(), p); err == nil || !strings.Contains(err.Error(), "to version 1") {
		t.Errorf("Migrate over a table of that name: %v", err)
	}
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "run Migrate first") {
		t.Errorf("New after that: %v", err)
	}
	run(t, conn, "DROP TABLE idpkit.records")
	if err := postgres.Migrate(t.Context(), p); err != nil {
		t.Error(err)
	}
}

func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	p, conn := pool(t, server.DSN(name)), foreign(t, server.DSN(name))
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "there is no schema idpkit: run Migrate first") {
		t.Errorf("no schema: %v", err)
	}
	s := migrated(t, server.DSN(name))
	must(t, s, storage.Insert(grant("a")))

	run(t, conn, "DELETE FROM idpkit.migrations")
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has version 0, this program needs %d", postgres.Version)) {
		t.Errorf("an old schema: %v", err)
	}

	// A newer replica has migrated, and kept what older ones call.
	run(t, conn, fmt.Sprintf("INSERT INTO idpkit.migrations (version) VALUES (%d), (%d)", postgres.Version, postgres.Version+1))
	if err := postgres.Migrate(t.Context(), p); err != nil {
		t.Errorf("Migrate of a newer schema: %v", err)
	}
	s, err := postgres.New(t.Context(), p)
	if err != nil {
		t.Fatalf("a newer schema: %v", err)
	}
	must(t, s, storage.Consume(grant("a").Ref))

	// Later it dropped them.
	run(t, conn, fmt.Sprintf("ALTER PROCEDURE idpkit.commit_v%d RENAME TO commit_v%d", postgres.Version, postgres.Version+1))
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "run the newer program") {
		t.Errorf("a schema that is too new: %v", err)
	}
	outageOfCommit(t, s)
}

func outageOfCommit(t *testing.T, s storage.Storage) {
	t.Helper()
	if err := s.Commit(t.Context(), storage.Insert(grant("late"))); err == nil || !strings.Contains(err.Error(), storage.ErrUnavailable.Error()) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

// TestSchemaNames: providers with a schema each do not see each other, nor wait
// for each other.
func TestSchemaNames(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	p := pool(t, server.DSN(name))
	for _, bad := range []string{"", "Idp", "a b", `a"b`, "a.b", "1a", "a;--", strings.Repeat("a", 41), "ü"} {
		if err := postgres.Migrate(t.Context(), p, postgres.Schema(bad)); err == nil {
			t.Errorf("Migrate accepts the name %q", bad)
		}
		if _, err := postgres.New(t.Context(), p, postgres.Schema(bad)); err == nil {
			t.Errorf("New accepts the name %q", bad)
		}
	}
	one := migrated(t, server.DSN(name), postgres.Schema("one"))
	two := migrated(t, server.DSN(name), postgres.Schema(strings.Repeat("z", 40)), postgres.Partitions(3))
	must(t, one, storage.Insert(grant("a")))
	conn := foreign(t, server.DSN(name))
	run(t, conn, "BEGIN; SELECT pg_advisory_xact_lock(one.lock_id(7, 'grant', 'a'))")
	must(t, two, storage.Insert(grant("a")))
}

// TestDurability: a server that may lose what it acknowledged is refused.
func TestDurability(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server, "synchronous_commit = off")
	p := pool(t, server.DSN(name))
	if err := postgres.Migrate(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "synchronous_commit = off") {
		t.Errorf("New: %v", err)
	}
	if _, err := postgres.New(t.Context(), p, postgres.InsecureAllowLoss()); err != nil {
		t.Errorf("New that allows it: %v", err)
	}
	careless := pgtest.Start(t, "fsync=off", "full_page_writes=off")
	p = pool(t, careless.DSN("postgres"))
	if err := postgres.Migrate(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.New(t.Context(), p); err == nil || !strings.Contains(err.Error(), "fsync = off, full_page_writes = off") {
		t.Errorf("New: %v", err)
	}
}

// TestLeastRights: the program gets by without the rights of the role that
// migrates.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	migrated(t, server.DSN(name))
	if _, err := server.SQL(name, `CREATE ROLE idp LOGIN;
		GRANT USAGE ON SCHEMA idpkit TO idp;
		GRANT SELECT ON idpkit.migrations TO idp;
		GRANT SELECT, INSERT, UPDATE, DELETE ON idpkit.records TO idp;
		GRANT USAGE ON SEQUENCE idpkit.record_ids TO idp;`); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.New(t.Context(), pool(t, strings.Replace(server.DSN(name), "user=postgres", "user=idp", 1)))
	if err != nil {
		t.Fatal(err)
	}
	r := grant("a")
	r.Version = 1
	must(t, s, storage.Insert(r))
	must(t, s, storage.Update(r))
	must(t, s, storage.Check(r.Ref))
	must(t, s, storage.Consume(r.Ref))
	must(t, s, storage.Delete(r.Ref))
	if _, err := s.Purge(t.Context(), grant("").ExpiresAt, 10); err != nil {
		t.Error(err)
	}
}

// TestDocumented: each table and column says what it is.
func TestDocumented(t *testing.T) {
	t.Parallel()
	server := server(t)
	name := database(t, server)
	migrated(t, server.DSN(name), postgres.Partitions(2))
	var missing int
	err := foreign(t, server.DSN(name)).QueryRow(context.Background(), `SELECT count(*) FROM pg_attribute a
		WHERE attrelid = 'idpkit.records'::regclass AND attnum >= 0 AND (col_description(attrelid, attnum) IS NULL OR obj_description(attrelid) IS NULL)`).Scan(&missing)
	if err != nil || missing > 0 {
		t.Errorf("%d columns without a comment, %v", missing, err)
	}
}

// TestRestore: the statement of the manual leaves clients, keys, replay marks and
// what clients revoked of their own tokens.
func TestRestore(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	statement := regexp.MustCompile(`(?s)DELETE FROM[^;]+;`).Find(manual)
	server := server(t)
	dsn := server.DSN(database(t, server))
	s := migrated(t, dsn)
	kept := []storage.Kind{storage.KindClient, storage.KindKey, storage.KindReplay, storage.KindGrant}
	gone := []storage.Kind{
		storage.KindPAR, storage.KindInteraction, storage.KindCode, storage.KindDevice, storage.KindCIBA, storage.KindUserCode,
		storage.KindPoll, storage.KindConsent, storage.KindSession, storage.KindLogout,
	}
	for _, kind := range slices.Concat(kept, gone) {
		must(t, s, storage.Insert(storage.Record{Ref: storage.Ref{Kind: kind, Key: "key"}, Client: "client"}))
	}
	users := storage.Ref{Kind: storage.KindGrant, Key: "of a user"}
	must(t, s, storage.Insert(storage.Record{Ref: users, Client: "client", Subject: "alice"}))
	run(t, foreign(t, dsn), string(bytes.ReplaceAll(statement, []byte("//"), nil)))
	for _, kind := range kept {
		if _, err := s.Get(t.Context(), storage.Ref{Kind: kind, Key: "key"}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range gone {
		if _, err := s.Get(t.Context(), storage.Ref{Kind: kind, Key: "key"}); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := s.Get(t.Context(), users); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the grant of a user: %v", err)
	}
}
