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

//go:embed migrations/*.sql
var migrations embed.FS

// An Option changes what Migrate and New do.
type Option func(*options)

type options struct {
	schema     string
	partitions int
	allowLoss  bool
}

// Schema names the schema that holds the tables, for both Migrate and New.
// Providers that share a database take one each. Default: idpkit. At most 40
// lower-case letters, digits and underscores, no digit first.
func Schema(name string) Option { return func(o *options) { o.schema = name } }

// Partitions lets Migrate, where it makes the table, cut it into n partitions
// by a hash of the shard. Default, and for n below 2: one plain table. Get and
// Commit go to one partition; Find and Purge ask all of them.
func Partitions(n int) Option { return func(o *options) { o.partitions = n } }

// InsecureAllowLoss lets New accept a server that may lose acknowledged
// commits when it crashes: fsync, full_page_writes or synchronous_commit off.
// A lost commit means that a code, or a refresh token, can be spent twice.
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

// layout says how the rows lie on disk: with room for a second version beside
// the first, and swept early, since most rows live for minutes.
func (o *options) layout() string {
	const with = " WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02)"
	if o.partitions < 2 {
		return with
	}
	var b strings.Builder
	b.WriteString("PARTITION BY HASH (shard)")
	for i := range o.partitions {
		fmt.Fprintf(&b, ";\nCREATE TABLE idpkit.records_%d PARTITION OF idpkit.records FOR VALUES WITH (MODULUS %d, REMAINDER %d)%s", i, o.partitions, i, with)
	}
	return b.String()
}

// Migrate makes the schema, or brings it up to date. Any number of replicas may
// call it at once: one works, the others wait and find it done. Replicas of
// the version before go on working. A schema that is newer is left as it is.
func Migrate(ctx context.Context, pool *pgxpool.Pool, opts ...Option) error {
	o, err := configure(opts)
	if err != nil {
		return err
	}
	access := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	err = pgx.BeginTxFunc(ctx, pool, access, func(tx pgx.Tx) error { return o.migrate(ctx, tx) })
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	return nil
}

// migrate needs no prepared statement: what has no arguments goes by the
// simple protocol.
func (o *options) migrate(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, o.sql(`SELECT pg_advisory_xact_lock(hashtextextended('migrate idpkit', 0))`)); err != nil {
		return err
	}
	is, err := o.state(ctx, tx)
	if err != nil {
		return err
	}
	if is.server < minServer {
		return is.tooOld()
	}
	if is.version == 0 {
		// Not CREATE IF NOT EXISTS: that asks for the right to make a schema
		// even where it is there.
		if !is.schema {
			if _, err := tx.Exec(ctx, o.sql(`CREATE SCHEMA idpkit`)); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, o.sql(`CREATE TABLE idpkit.migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());
			COMMENT ON TABLE idpkit.migrations IS 'the versions that this schema went through'`)); err != nil {
			return err
		}
	}
	for v := is.version + 1; v <= version; v++ {
		text, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", v))
		if err != nil {
			return err
		}
		script := strings.Replace(string(text), "/* layout */", o.layout(), 1) +
			fmt.Sprintf("INSERT INTO idpkit.migrations (version) VALUES (%d);", v)
		if _, err := tx.Exec(ctx, o.sql(script)); err != nil {
			return fmt.Errorf("to schema version %d: %w", v, err)
		}
	}
	return nil
}

// minServer is PostgreSQL 14: procedures with OUT parameters, hash_record_extended.
const minServer = 140000

// state is what New and Migrate ask of a database.
type state struct {
	server  int  // server_version_num
	schema  bool // is there
	version int  // of the schema; 0: no tables
	usable  bool // has the procedures that this code calls
	standby bool
	off     []string // settings without which commits are not durable
}

func (s *state) tooOld() error {
	return fmt.Errorf("the server is PostgreSQL %d, at least %d is needed", s.server/10000, minServer/10000)
}

// state asks in two steps, because a statement that names a missing table fails.
func (o *options) state(ctx context.Context, tx pgx.Tx) (*state, error) {
	s := new(state)
	var table bool
	err := tx.QueryRow(ctx, o.sql(`SELECT current_setting('server_version_num')::int, to_regnamespace('idpkit') IS NOT NULL,
		to_regclass('idpkit.migrations') IS NOT NULL, to_regproc('idpkit.commit_v1') IS NOT NULL, pg_is_in_recovery(),
		ARRAY(SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name)`), pgx.QueryExecModeExec,
	).Scan(&s.server, &s.schema, &table, &s.usable, &s.standby, &s.off)
	if err != nil || !table {
		return s, err
	}
	err = tx.QueryRow(ctx, o.sql(`SELECT coalesce(max(version), 0) FROM idpkit.migrations`), pgx.QueryExecModeExec).Scan(&s.version)
	return s, err
}
