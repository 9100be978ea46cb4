package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/storage"
)

// Storage is a storage.Storage in a PostgreSQL database. New makes it; it is
// safe for concurrent use.
type Storage struct {
	pool               *pgxpool.Pool
	get, commit, purge statement
	find               string // what comes before the conditions
}

// A statement is sent in one round trip and leaves nothing behind on the
// server (an unnamed prepared statement), so that it works through PgBouncer.
// Its parameters have types, so that they and the results travel in binary and
// do not depend on DateStyle and the like.
type statement struct {
	sql   string
	types []uint32
}

// fields are the columns that scan reads.
const fields = `version, state, subject, client, session, grant_, expires, data`

// New returns a storage in the database that the pool leads to, which Migrate
// has prepared. The pool stays the caller's: to size, to watch and to close
// after the last call. New refuses a standby, a schema that is too old or too
// new for this code, and a server that may lose what it acknowledged.
func New(ctx context.Context, pool *pgxpool.Pool, opts ...Option) (*Storage, error) {
	o, err := configure(opts)
	if err != nil {
		return nil, err
	}
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return o.check(ctx, tx) })
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	const bytea, byteas, int2s, int4, int8s, text, times, timestamp = pgtype.ByteaOID, pgtype.ByteaArrayOID, pgtype.Int2ArrayOID, pgtype.Int4OID,
		pgtype.Int8ArrayOID, pgtype.TextOID, pgtype.TimestamptzArrayOID, pgtype.TimestamptzOID
	return &Storage{
		pool: pool,
		get: statement{o.sql(`SELECT ` + fields + ` FROM idpkit.records WHERE shard = $1 AND kind = $2 AND key = $3 AND idpkit.on_primary()`),
			[]uint32{int4, bytea, bytea}},
		commit: statement{o.sql(`CALL idpkit.commit_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL` + strings.Repeat(`, NULL`, 8) + `)`),
			[]uint32{int4, int2s, int2s, byteas, byteas, int8s, byteas, byteas, byteas, byteas, times, byteas}},
		purge: statement{o.sql(`CALL idpkit.purge_v1($1, $2, NULL)`), []uint32{timestamp, int4}},
		find:  o.sql(`SELECT id, shard, key, ` + fields + ` FROM idpkit.records WHERE idpkit.on_primary() AND kind = $1 AND id > $2`),
	}, nil
}

func (o *options) check(ctx context.Context, tx pgx.Tx) error {
	is, err := o.state(ctx, tx)
	switch {
	case err != nil:
		return err
	case is.server < minServer:
		return is.tooOld()
	case is.standby:
		return errors.New("the server is a standby: reads must see every commit, so connect to the primary (target_session_attrs=read-write)")
	case is.version < version:
		return fmt.Errorf("schema %s has version %d, this program needs %d: run Migrate first", o.schema, is.version, version)
	case !is.usable:
		return fmt.Errorf("schema %s has version %d, which has dropped what this program of version %d calls: run the newer program", o.schema, is.version, version)
	case len(is.off) > 0 && !o.allowLoss:
		return fmt.Errorf("the server may lose acknowledged commits in a crash: %s = off", strings.Join(is.off, " = off, "))
	}
	return nil
}

// Ping reports whether the primary answers, for health checks. The error, if
// any, is ErrUnavailable.
func (s *Storage) Ping(ctx context.Context) error {
	_, err := s.Get(ctx, storage.Ref{Kind: "ping", Key: "ping"})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Get implements storage.Storage.
func (s *Storage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	var r *storage.Record
	err := s.run(ctx, "get", s.get, []any{ref.Shard, []byte(ref.Kind), []byte(ref.Key)}, func(rows pgx.Rows) (err error) {
		r, err = scan(rows, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, storage.ErrNotFound
	}
	return r, nil
}

// Find implements storage.Storage. Records come in the order of their first
// insertion.
func (s *Storage) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	if err := q.Validate(); err != nil {
		return storage.Page{}, err
	}
	after := int64(-1)
	if q.After != "" {
		var err error
		if after, err = strconv.ParseInt(q.After, 10, 64); err != nil {
			return storage.Page{}, fmt.Errorf("%w: the cursor is not from a page of this storage", storage.ErrInvalid)
		}
	}
	st := statement{s.find, []uint32{pgtype.ByteaOID, pgtype.Int8OID, pgtype.Int4OID}}
	args := []any{[]byte(q.Kind), after, q.Limit + 1}
	// The narrowest column comes first and picks the index; IS TRUE keeps the
	// others from picking theirs.
	for _, c := range []struct{ name, value string }{{"grant_", q.Grant}, {"session", q.Session}, {"subject", q.Subject}, {"client", q.Client}} {
		if c.value == "" {
			continue
		}
		condition := fmt.Sprintf(" AND %s = $%d", c.name, len(args)+1)
		if len(args) > 3 {
			condition = fmt.Sprintf(" AND (%s = $%d) IS TRUE", c.name, len(args)+1)
		}
		st.sql, st.types, args = st.sql+condition, append(st.types, pgtype.ByteaOID), append(args, []byte(c.value))
	}
	st.sql += " ORDER BY id LIMIT $3"

	var page storage.Page
	var last int64
	err := s.run(ctx, "find", st, args, func(rows pgx.Rows) error {
		id, ref, key := int64(0), storage.Ref{Kind: q.Kind}, []byte(nil)
		r, err := scan(rows, ref, &id, &ref.Shard, &key)
		if err != nil {
			return err
		}
		if len(page.Records) == q.Limit {
			page.Next = strconv.FormatInt(last, 10)
			return nil
		}
		ref.Key = string(key)
		r.Ref, last, page.Records = ref, id, append(page.Records, r)
		return nil
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

// Commit implements storage.Storage.
func (s *Storage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	n := len(ops)
	order, verbs, versions, expiries := make([]int16, n), make([]int16, n), make([]int64, n), make([]*time.Time, n)
	var text [7][][]byte
	for i, at := range storage.LockOrder(ops) {
		r := &ops[i].Record
		order[i], verbs[i], versions[i] = int16(at+1), int16(ops[i].Verb), r.Version
		for c, v := range []string{string(r.Kind), r.Key, r.Subject, r.Client, r.Session, r.Grant} {
			text[c] = append(text[c], null(v))
		}
		text[6] = append(text[6], append([]byte{}, r.Data...))
		if t := storage.Time(r.ExpiresAt); !t.IsZero() {
			expiries[i] = &t
		}
	}
	args := []any{ops[0].Record.Shard, order, verbs, text[0], text[1], versions, text[2], text[3], text[4], text[5], expiries, text[6]}
	var conflict *storage.ConflictError
	err := s.run(ctx, "commit", s.commit, args, func(rows pgx.Rows) error {
		var failed *int
		c := &storage.ConflictError{}
		r, err := scan(rows, storage.Ref{}, &failed)
		if err != nil || failed == nil {
			return err
		}
		if *failed < 0 || *failed >= n {
			return fmt.Errorf("op %d of %d failed", *failed, n)
		}
		if r != nil {
			r.Ref = ops[*failed].Record.Ref
		}
		c.Index, c.Op, c.Current = *failed, ops[*failed], r
		if c.Err = c.Op.Judge(r); c.Err == nil {
			return errors.New("the database refused what this program would do")
		}
		conflict = c
		return nil
	})
	if err == nil && conflict != nil {
		return conflict
	}
	return err
}

// purgeBatch is how many rows one transaction purges, and so how many locks it
// takes; the server has some thousands for all.
const purgeBatch = 100

// Purge implements storage.Storage. It works in transactions of some rows each;
// when one fails, what those before it deleted stays deleted.
func (s *Storage) Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	for deleted < limit {
		n := 0
		err := s.run(ctx, "purge", s.purge, []any{before, min(limit-deleted, purgeBatch)}, func(rows pgx.Rows) error { return rows.Scan(&n) })
		if deleted += n; err != nil || n == 0 {
			return deleted, err
		}
	}
	return deleted, nil
}

// tries bounds how often a call is made. What is repeated is known not to have
// happened; of that more than one in a row is rare.
const tries = 8

// run sends one statement and hands each row to do. Errors it returns are
// ErrUnavailable.
func (s *Storage) run(ctx context.Context, doing string, st statement, args []any, do func(pgx.Rows) error) error {
	for n := 1; ; n++ {
		handled, err := s.once(ctx, st, args, do)
		if err == nil {
			return nil
		}
		if done := ctx.Err(); done != nil && !errors.Is(err, done) {
			err = fmt.Errorf("%w: %w", done, err)
		}
		if n == tries || handled || ctx.Err() != nil || !undone(err) {
			return fmt.Errorf("%w: postgres: %s: %w", storage.ErrUnavailable, doing, err)
		}
	}
}

// once returns whether a row was handed to do.
func (s *Storage) once(ctx context.Context, st statement, args []any, do func(pgx.Rows) error) (handled bool, err error) {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer pooled.Release()
	ctx, cancel := linger(ctx)
	defer cancel()
	conn := pooled.Conn()
	var b pgx.ExtendedQueryBuilder
	if err := b.Build(conn.TypeMap(), &pgconn.StatementDescription{ParamOIDs: st.types}, args); err != nil {
		return false, err
	}
	result := conn.PgConn().ExecParams(ctx, st.sql, b.ParamValues, st.types, b.ParamFormats, []int16{pgx.BinaryFormatCode})
	rows := pgx.RowsFromResultReader(conn.TypeMap(), result)
	defer rows.Close()
	for rows.Next() {
		handled = true
		if err := do(rows); err != nil {
			return true, err
		}
	}
	rows.Close()
	return handled, rows.Err()
}

// grace is how long a call that was sent may go on after its context is done.
const grace = time.Second

// linger returns a context that ends a while after ctx. Nearly every call ends
// within it: then its outcome is known, and the connection need not be closed.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		<-longer.Done()
		timer.Stop()
	})
	return longer, func() { stop(); cancel() }
}

// undone tells whether err says that nothing happened: the server rolled back
// by itself, or nothing was sent to it.
func undone(err error) bool {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		switch e.Code {
		case "40001", "40P01", "23505": // serialization failure, deadlock, unique violation: written by hand
			return true
		}
		return false
	}
	return pgconn.SafeToRetry(err)
}

// null makes an empty column NULL, which costs no index entry.
func null(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// scan reads the columns named in before and then fields. It returns nil if
// they are NULL. A row that no Commit can have written is an error.
func scan(rows pgx.Rows, ref storage.Ref, before ...any) (*storage.Record, error) {
	var (
		r       = &storage.Record{Ref: ref}
		version *int64
		state   *int16
		column  [4][]byte
		expires *time.Time
	)
	if err := rows.Scan(append(before, &version, &state, &column[0], &column[1], &column[2], &column[3], &expires, &r.Data)...); err != nil {
		return nil, err
	}
	if version == nil {
		return nil, nil
	}
	if *version < 1 || state == nil || *state < 0 || *state > int16(storage.Consumed) {
		return nil, errors.New("a row is corrupt")
	}
	r.Version, r.State = *version, storage.State(*state)
	r.Subject, r.Client, r.Session, r.Grant = string(column[0]), string(column[1]), string(column[2]), string(column[3])
	if expires != nil {
		r.ExpiresAt = expires.UTC()
	}
	return r, nil
}
