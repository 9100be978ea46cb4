// Package sqlite keeps the kit's records in one SQLite file, in pure Go. It
// serves one machine: one process or several that share the file.
//
// A Commit is one transaction that holds SQLite's write lock from before it
// judges until it is done (BEGIN IMMEDIATE), so nothing is decided on a row
// that another may still change. It returns when the disk has it (journal_mode
// WAL, synchronous FULL), so an acknowledged commit survives kill -9 and power
// loss. Neither can be switched off: a name that is a DSN is refused.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	driver "modernc.org/sqlite"
	code "modernc.org/sqlite/lib"

	"github.com/idpkit/idpkit/storage"
)

// Storage is a storage.Storage in one file. Open makes it; it is safe for
// concurrent use.
type Storage struct {
	busy    time.Duration
	readers int

	read *sql.DB // autocommit: each read is a transaction of its own and sees all before it
	get  *sql.Stmt
	find map[string]*sql.Stmt // by the column that the query starts from

	write  *sql.DB      // one connection
	writer chan *writer // holds the writer while no commit runs; nil: to be connected
}

// An Option changes how Open opens.
type Option func(*Storage)

// BusyTimeout sets how long a Commit, a Purge or Open waits for another
// process to release the write lock before it fails with ErrUnavailable.
// Default: 5 s. Zero or less: it does not wait.
func BusyTimeout(d time.Duration) Option { return func(s *Storage) { s.busy = max(d, 0) } }

// Readers sets how many connections read at once. Default: 4, or the number
// of processors if that is more. Less than one counts as one.
func Readers(n int) Option { return func(s *Storage) { s.readers = max(n, 1) } }

// Open opens the file, makes it (mode 0600) if it is not there, and brings
// its schema up to date. Several processes may open one file at once. It
// refuses a file that a newer version of this package has written, and names
// that are no file: a DSN, ":memory:".
func Open(path string, opts ...Option) (*Storage, error) {
	s := &Storage{
		busy:    5 * time.Second,
		readers: max(4, runtime.GOMAXPROCS(0)),
		writer:  make(chan *writer, 1),
	}
	s.writer <- nil
	for _, opt := range opts {
		opt(s)
	}
	if err := s.open(path); err != nil {
		s.Close()
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	return s, nil
}

func (s *Storage) open(path string) error {
	if path == "" || strings.HasPrefix(path, "file:") || strings.HasPrefix(path, ":memory:") || strings.Contains(path, "?") {
		return errors.New("a file name is wanted, not a DSN: how the file is opened, synchronous=FULL above all, is not for choice")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := create(path); err != nil {
		return err
	}
	// An absolute path, on Windows too, so that nothing of it is taken for a host.
	slashed := "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")
	name := "file://" + (&url.URL{Path: slashed}).EscapedPath() + "?_defensive=1&_dqs=0&_pragma=synchronous(FULL)"

	ctx := context.Background()
	if s.write, err = sql.Open("sqlite", name+"&_pragma=busy_timeout(0)"); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.migrate(ctx); err != nil {
		return err
	}

	// Readers wait for a lock only in the moments when another process opens
	// or closes the file.
	if s.read, err = sql.Open("sqlite", fmt.Sprintf("%s&_pragma=busy_timeout(%d)&_pragma=query_only(1)", name, s.busy.Milliseconds())); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(s.readers)
	s.read.SetMaxIdleConns(s.readers)
	if s.get, err = s.read.PrepareContext(ctx, selectRow); err != nil {
		return err
	}
	s.find = map[string]*sql.Stmt{}
	for _, column := range columns {
		if s.find[column], err = s.read.PrepareContext(ctx, selectPage(column)); err != nil {
			return err
		}
	}
	return nil
}

// create makes an empty file of mode 0600 if there is none. The file gets its
// name only when it is closed: closing a file that SQLite has open elsewhere in
// this process would drop SQLite's locks on it (fcntl).
func create(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".idpkit-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// Ping reports whether the file can be read, for health checks. The error, if
// any, is ErrUnavailable.
func (s *Storage) Ping(ctx context.Context) error {
	var one int
	if err := s.read.QueryRowContext(ctx, "SELECT 1 FROM records LIMIT 1").Scan(&one); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return unavailable("ping", err)
	}
	return nil
}

// Close waits for the calls under way and closes the file. Calls after it
// fail with ErrUnavailable.
func (s *Storage) Close() error {
	var errs []error
	if w := <-s.writer; w != nil {
		errs = append(errs, w.close())
	}
	s.writer <- nil
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Get implements storage.Storage.
func (s *Storage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	_, r, err := scan(s.get.QueryRowContext(ctx, []byte(ref.Kind), ref.Shard, []byte(ref.Key)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, storage.ErrNotFound
	case err != nil:
		return nil, unavailable("get", err)
	}
	return r, nil
}

// Find implements storage.Storage. Records come in the order of their first
// insertion.
func (s *Storage) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	if err := q.Validate(); err != nil {
		return storage.Page{}, err
	}
	after := int64(math.MinInt64)
	if q.After != "" {
		var err error
		if after, err = strconv.ParseInt(q.After, 10, 64); err != nil {
			return storage.Page{}, fmt.Errorf("%w: the cursor is not from a page of this storage", storage.ErrInvalid)
		}
	}
	values := map[string]string{"grant_": q.Grant, "session": q.Session, "subject": q.Subject, "client": q.Client}
	narrowest := ""
	args := []any{[]byte(q.Kind), after, q.Limit + 1}
	for _, column := range columns {
		if args = append(args, blob(values[column])); narrowest == "" && values[column] != "" {
			narrowest = column
		}
	}
	rows, err := s.find[narrowest].QueryContext(ctx, args...)
	if err != nil {
		return storage.Page{}, unavailable("find", err)
	}
	defer rows.Close()
	var page storage.Page
	var last int64
	for rows.Next() {
		id, r, err := scan(rows)
		if err != nil {
			return storage.Page{}, unavailable("find", err)
		}
		if len(page.Records) == q.Limit {
			page.Next = strconv.FormatInt(last, 10)
			break
		}
		page.Records, last = append(page.Records, r), id
	}
	if err := rows.Err(); err != nil {
		return storage.Page{}, unavailable("find", err)
	}
	return page, nil
}

// Commit implements storage.Storage.
func (s *Storage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	return s.transaction(ctx, "commit", func(ctx context.Context, w *writer) error {
		current := make([]*storage.Record, len(ops))
		for i, op := range ops {
			var err error
			if op.Verb == storage.VerbDelete {
				continue // demands nothing, and so removes even a row that cannot be read
			}
			if _, current[i], err = scan(w.get.QueryRowContext(ctx, key(op.Record.Ref)...)); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if err := op.Judge(current[i]); err != nil {
				return &storage.ConflictError{Index: i, Op: op, Current: current[i], Err: err}
			}
		}
		for i, op := range ops {
			if err := w.apply(ctx, op, current[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Purge implements storage.Storage.
func (s *Storage) Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	err = s.transaction(ctx, "purge", func(ctx context.Context, w *writer) error {
		result, err := w.purge.ExecContext(ctx, before.UnixMicro(), limit)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		deleted = int(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// unavailable wraps what SQLite said. Its messages quote no values.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: sqlite: %s: %w", storage.ErrUnavailable, doing, err)
}

func isBusy(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == code.SQLITE_BUSY
}
