package postgres

import (
	"context"
	"embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// version is the schema version that this code works with. The procedures that
// it calls have the number in their names.
const version = 1

// migrations bring a schema from version i to i+1. What has been released is
// never edited, only added to.
//
//go:embed migrations/*.sql
var migrations embed.FS

// bootstrap lets one program in and makes what it finds the version in.
const bootstrap = `
SELECT pg_advisory_xact_lock(hashtextextended('migrate idpkit', 0));
DO $$ BEGIN
	IF current_setting('server_version_num')::int < 140000 THEN
		RAISE 'PostgreSQL 14 or later is needed';
	END IF;
	IF to_regnamespace('idpkit') IS NULL THEN -- IF NOT EXISTS asks for the right to make one even if it exists
		CREATE SCHEMA idpkit;
	END IF;
	IF to_regclass('idpkit.migrations') IS NULL THEN
		CREATE TABLE idpkit.migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());
		COMMENT ON TABLE idpkit.migrations IS 'the versions that this schema went through';
	END IF;
END $$`

// An Option changes what Migrate and New do.
type Option func(*options)

type options struct {
	schema     string
	partitions int
	allowLoss  bool
}

// Schema names the schema that holds the tables, to both Migrate and New.
// Providers that share a database take one each. Default: idpkit. At most 40
// lower-case letters, digits and underscores, no digit first.
func Schema(name string) Option { return func(o *options) { o.schema = name } }

// Partitions lets Migrate, where it makes the table, cut it into n partitions
// by a hash of the shard. Default, and for n below 2: one plain table. Get and
// Commit go to one partition; Find and Purge ask all of them.
func Partitions(n int) Option { return func(o *options) { o.partitions = n } }

// InsecureAllowLoss lets New accept a server that may lose acknowledged
// commits when it crashes: fsync, full_page_writes or synchronous_commit off.
// A commit that is lost can be made again: a code or a refresh token is spent
// twice, a revoked grant lives.
func InsecureAllowLoss() Option { return func(o *options) { o.allowLoss = true } }

func configure(opts []Option) (options, error) {
	o := options{schema: "idpkit"}
	for _, opt := range opts {
		opt(&o)
	}
	if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`).MatchString(o.schema) {
		return o, fmt.Errorf("postgres: %q is no name for a schema", o.schema)
	}
	return o, nil
}

// sql puts the schema's name into a statement.
func (o *options) sql(text string) string { return strings.ReplaceAll(text, "idpkit", o.schema) }

// layout says how rows lie on disk: with room for a second version beside the
// first, and swept early, since most rows live for minutes.
func (o *options) layout() string {
	layout, with := "", " WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02)"
	if o.partitions < 2 {
		return with
	}
	for i := range o.partitions {
		layout += fmt.Sprintf(";\nCREATE TABLE idpkit.records_%d PARTITION OF idpkit.records FOR VALUES WITH (MODULUS %d, REMAINDER %d)%s", i, o.partitions, i, with)
	}
	return "PARTITION BY HASH (shard)" + layout
}

// Migrate makes the schema, or brings it up to date. Any number of replicas may
// call it at once: one works, the others wait and find it done. Replicas of
// the version before go on working. A schema that is newer is left as it is.
func Migrate(ctx context.Context, pool *pgxpool.Pool, opts ...Option) error {
	o, err := configure(opts)
	if err != nil {
		return err
	}
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		// What has no arguments goes by the simple protocol, several at once.
		if _, err := tx.Exec(ctx, o.sql(bootstrap)); err != nil {
			return err
		}
		var v int
		if err := tx.QueryRow(ctx, o.sql(`SELECT coalesce(max(version), 0) FROM idpkit.migrations`), pgx.QueryExecModeExec).Scan(&v); err != nil {
			return err
		}
		for v++; v <= version; v++ {
			text, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", v))
			if err != nil {
				return err
			}
			script := strings.Replace(string(text), "/* layout */", o.layout(), 1)
			if _, err := tx.Exec(ctx, o.sql(fmt.Sprintf("%s; INSERT INTO idpkit.migrations (version) VALUES (%d)", script, v))); err != nil {
				return fmt.Errorf("to version %d: %w", v, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	return nil
}

// check refuses a database that New must not use.
func (o *options) check(ctx context.Context, pool *pgxpool.Pool) error {
	var is int
	var usable, standby bool
	var off []string
	err := pool.QueryRow(ctx, o.sql(`SELECT coalesce(max(version), 0), to_regproc('idpkit.commit_v1') IS NOT NULL, pg_is_in_recovery(), ARRAY(
			SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name)
		FROM idpkit.migrations`), pgx.QueryExecModeExec).Scan(&is, &usable, &standby, &off)
	switch {
	case isCode(err, "42P01"): // no such table
		return fmt.Errorf("there is no schema %s: run Migrate first", o.schema)
	case err != nil:
		return err
	case is < version:
		return fmt.Errorf("schema %s has version %d, this program needs %d: run Migrate first", o.schema, is, version)
	case !usable:
		return fmt.Errorf("schema %s has version %d and has dropped what this program, of version %d, calls: run the newer program", o.schema, is, version)
	case standby:
		return fmt.Errorf("the server is a standby, and reads must see every commit: connect to the primary (target_session_attrs=read-write)")
	case len(off) > 0 && !o.allowLoss:
		return fmt.Errorf("the server may lose acknowledged commits in a crash: %s = off", strings.Join(off, " = off, "))
	}
	return nil
}
