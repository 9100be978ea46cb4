package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/idpkit/idpkit/storage"
)

// Storage is a storage.Storage in a PostgreSQL database. New makes it; it is
// safe for concurrent use.
type Storage struct {
	pool                     *pgxpool.Pool
	get, find, commit, purge string
}

// fields are the columns that scan reads.
const fields = `version, state, subject, client, session, grant_, expires, data`

// New returns a storage in the database that the pool leads to, which Migrate
// has prepared. The pool stays the caller's, to size, to watch and to close
// after the last call. New refuses a standby, a schema that is too old or too
// new for this code, and a server that may lose what it acknowledged.
func New(ctx context.Context, pool *pgxpool.Pool, opts ...Option) (*Storage, error) {
	o, err := configure(opts)
	if err != nil {
		return nil, err
	}
	if err := o.check(ctx, pool); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return &Storage{
		pool: pool,
		get:  o.sql(`SELECT ` + fields + ` FROM idpkit.records WHERE idpkit.on_primary() AND shard = $1 AND kind = $2 AND key = $3`),
		find: o.sql(`SELECT id, shard, key, ` + fields + ` FROM idpkit.find_v1($1, $2, $3, $4, $5, $6, $7)`),
		// A procedure is called with something in the place of each result.
		commit: o.sql(`CALL idpkit.commit_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12` + strings.Repeat(`, NULL`, 9) + `)`),
		purge:  o.sql(`CALL idpkit.purge_v1($1, $2, NULL)`),
	}, nil
}

// Get implements storage.Storage.
func (s *Storage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	var r *storage.Record
	err := s.run(ctx, "get", s.get, []any{ref.Shard, []byte(ref.Kind), []byte(ref.Key)}, func(rows pgx.Rows) (err error) {
		r, err = scan(rows, ref)
		return err
	})
	if err == nil && r == nil {
		err = storage.ErrNotFound
	}
	return r, err
}

// Find implements storage.Storage. Records come in the order of their first
// insertion.
func (s *Storage) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	if err := q.Validate(); err != nil {
		return storage.Page{}, err
	}
	after, err := int64(0), error(nil)
	if q.After != "" {
		if after, err = strconv.ParseInt(q.After, 10, 64); err != nil {
			return storage.Page{}, fmt.Errorf("%w: the cursor is not from a page of this storage", storage.ErrInvalid)
		}
	}
	args := []any{[]byte(q.Kind), after, q.Limit + 1, null(q.Grant), null(q.Session), null(q.Subject), null(q.Client)}
	var page storage.Page
	var last int64
	err = s.run(ctx, "find", s.find, args, func(rows pgx.Rows) error {
		var id int64
		var key []byte
		ref := storage.Ref{Kind: q.Kind}
		r, err := scan(rows, ref, &id, &ref.Shard, &key)
		switch {
		case err != nil:
			return err
		case len(page.Records) == q.Limit:
			page.Next = strconv.FormatInt(last, 10)
			return nil
		}
		r.Shard, r.Key, last = ref.Shard, string(key), id
		page.Records = append(page.Records, r)
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
	var (
		verbs    []int16
		versions []int64
		expiries []*time.Time
		text     [6][][]byte // kind, key, subject, client, session, grant
		data     [][]byte
	)
	for _, op := range ops {
		r := &op.Record
		verbs, versions = append(verbs, int16(op.Verb)), append(versions, r.Version)
		for c, v := range [...]string{string(r.Kind), r.Key, r.Subject, r.Client, r.Session, r.Grant} {
			text[c] = append(text[c], null(v))
		}
		var expires *time.Time
		if t := storage.Time(r.ExpiresAt); !t.IsZero() {
			expires = &t
		}
		expiries, data = append(expiries, expires), append(data, append([]byte{}, r.Data...))
	}
	args := []any{ops[0].Record.Shard, storage.LockOrder(ops), verbs, text[0], text[1], versions, text[2], text[3], text[4], text[5], expiries, data}
	outcome := fmt.Errorf("%w: postgres: commit: no answer", storage.ErrUnavailable)
	err := s.run(ctx, "commit", s.commit, args, func(rows pgx.Rows) error {
		var failed *int
		r, err := scan(rows, storage.Ref{}, &failed)
		if err != nil || failed == nil {
			outcome = nil
			return err
		}
		op := ops[*failed]
		if r != nil {
			r.Ref = op.Record.Ref
		}
		if err = op.Judge(r); err == nil {
			return errors.New("a row changed in spite of its lock")
		}
		outcome = &storage.ConflictError{Index: *failed, Op: op, Current: r, Err: err}
		return nil
	})
	if err != nil {
		return err
	}
	return outcome
}

// purgeBatch is how many rows one transaction purges, and so how many locks it
// holds; a server has room for some thousands.
const purgeBatch = 100

// Purge implements storage.Storage. It works in transactions of some rows each;
// when one fails, what those before it deleted stays deleted.
func (s *Storage) Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	for n := 1; err == nil && n > 0 && deleted < limit; deleted += n {
		n = 0
		err = s.run(ctx, "purge", s.purge, []any{before, min(limit-deleted, purgeBatch)}, func(rows pgx.Rows) error { return rows.Scan(&n) })
	}
	return deleted, err
}

// tries bounds how often a call is made that is known not to have happened.
const tries = 8

// run sends one statement and hands each row of the answer to do. Its errors
// are ErrUnavailable.
func (s *Storage) run(ctx context.Context, doing, query string, args []any, do func(pgx.Rows) error) error {
	for n := 1; ; n++ {
		answered, err := s.once(ctx, query, args, do)
		if err == nil {
			return nil
		}
		if n < tries && !answered && undone(err) && ctx.Err() == nil {
			continue
		}
		if done := ctx.Err(); done != nil && !errors.Is(err, done) {
			err = fmt.Errorf("%w: %w", done, err)
		}
		return fmt.Errorf("%w: postgres: %s: %w", storage.ErrUnavailable, doing, err)
	}
}

// once takes one round trip. The statement is prepared without a name and so
// leaves nothing on the connection, which PgBouncer may give to somebody else.
// The answer is in binary and so does not depend on DateStyle and the like.
func (s *Storage) once(ctx context.Context, query string, args []any, do func(pgx.Rows) error) (answered bool, err error) {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer pooled.Release()
	ctx, cancel := linger(ctx)
	defer cancel()
	conn, p := pooled.Conn(), pgx.ExtendedQueryBuilder{}
	if err := p.Build(conn.TypeMap(), nil, args); err != nil {
		return false, err
	}
	result := conn.PgConn().ExecParams(ctx, query, p.ParamValues, nil, p.ParamFormats, []int16{pgx.BinaryFormatCode})
	rows := pgx.RowsFromResultReader(conn.TypeMap(), result)
	defer rows.Close()
	for rows.Next() {
		answered = true
		if err := do(rows); err != nil {
			return true, err
		}
	}
	rows.Close()
	return answered, rows.Err()
}

// grace is how long a call that was sent may go on after its context is done.
const grace = time.Second

// linger returns a context that ends a while after ctx. Nearly every call ends
// within it: its outcome is known, and its connection need not be closed.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() { stop(); cancel() }
}

// undone tells whether err says that nothing happened: the server rolled back
// or nothing was sent to it. A unique violation is the work of somebody who
// writes without the locks; the next try sees the row.
func undone(err error) bool {
	return isCode(err, "40001", "40P01", "23505") || pgconn.SafeToRetry(err)
}

func isCode(err error, codes ...string) bool {
	e := (*pgconn.PgError)(nil)
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

// null makes an empty column NULL, which costs no index entry.
func null(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// scan reads what before names and then fields. It returns nil if they are
// NULL.
func scan(rows pgx.Rows, ref storage.Ref, before ...any) (*storage.Record, error) {
	var (
		version *int64
		state   *int16
		column  [4][]byte
		expires *time.Time
		data    []byte
	)
	err := rows.Scan(append(before, &version, &state, &column[0], &column[1], &column[2], &column[3], &expires, &data)...)
	if err != nil || version == nil {
		return nil, err
	}
	r := &storage.Record{
		Ref: ref, Version: *version, State: storage.State(*state), Data: data,
		Subject: string(column[0]), Client: string(column[1]), Session: string(column[2]), Grant: string(column[3]),
	}
	if expires != nil {
		r.ExpiresAt = expires.UTC()
	}
	return r, nil
}
