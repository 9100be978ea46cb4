package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// writer is the one connection that writes, with its statements.
type writer struct {
	conn                            *sql.Conn
	get, insert, update, del, purge *sql.Stmt
}

func (s *Storage) connect(ctx context.Context) (*writer, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn}
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{{&w.get, selectRow}, {&w.insert, insertRow}, {&w.update, updateRow}, {&w.del, deleteRow}, {&w.purge, purgeRows}} {
		if *p.stmt, err = conn.PrepareContext(ctx, p.query); err != nil {
			_ = w.close()
			return nil, err
		}
	}
	return w, nil
}

// dial opens the connection, which reads the file and so may find it locked.
func (s *Storage) dial(ctx context.Context) (conn *sql.Conn, err error) {
	err = s.wait(ctx, func(ctx context.Context) error {
		conn, err = s.write.Conn(ctx)
		return err
	})
	return conn, err
}

func (w *writer) apply(ctx context.Context, op storage.Op, current *storage.Record) (err error) {
	switch op.Verb {
	case storage.VerbInsert:
		_, err = w.insert.ExecContext(ctx, values(op.Apply(nil))...)
	case storage.VerbUpdate, storage.VerbConsume:
		_, err = w.update.ExecContext(ctx, values(op.Apply(current))...)
	case storage.VerbDelete:
		_, err = w.del.ExecContext(ctx, key(op.Record.Ref)...)
	}
	return err
}

// transaction runs do under SQLite's write lock and commits. ctx ends the wait
// for the lock; once the lock is held the transaction is a matter of moments
// and runs to its end, because SQLite, interrupted in COMMIT, would leave
// it unknown whether it happened. It is tried once.
func (s *Storage) transaction(ctx context.Context, doing string, do func(context.Context, *writer) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(doing, err)
	}
	var w *writer
	select {
	case w = <-s.writer:
	case <-ctx.Done():
		return unavailable(doing, ctx.Err())
	}
	defer func() { s.writer <- w }()
	if w == nil {
		var err error
		if w, err = s.connect(ctx); err != nil {
			return unavailable(doing, err)
		}
	}

	if err := s.begin(ctx, w.conn); err != nil {
		return unavailable(doing, err)
	}
	ctx = context.WithoutCancel(ctx)
	err := do(ctx, w)
	if err == nil {
		if _, err = w.conn.ExecContext(ctx, "COMMIT"); err == nil {
			return nil
		}
	}
	if _, rollback := w.conn.ExecContext(ctx, "ROLLBACK"); rollback != nil {
		// A full disk, for one, has rolled back already. Whatever state the
		// connection is in, the next transaction gets a fresh one.
		w.discard()
		w = nil
	}
	if conflict := new(storage.ConflictError); errors.As(err, &conflict) {
		return err
	}
	return unavailable(doing, err)
}

// close ends the statements and gives the connection back. An open statement
// would keep SQLite's connection, and with it a lock or the write-ahead log.
func (w *writer) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{w.get, w.insert, w.update, w.del, w.purge} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// discard closes the connection for good.
func (w *writer) discard() {
	for _, s := range []*sql.Stmt{w.get, w.insert, w.update, w.del, w.purge} {
		_ = s.Close()
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
}

// begin takes the write lock, waiting while another process holds it.
func (s *Storage) begin(ctx context.Context, conn *sql.Conn) error {
	return s.wait(ctx, func(ctx context.Context) error {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err
	})
}

// wait repeats do while the file is busy, until the busy timeout. Each try is
// out of reach of ctx, so that no error hides a success.
func (s *Storage) wait(ctx context.Context, do func(context.Context) error) error {
	deadline := time.Now().Add(s.busy)
	for pause := time.Millisecond; ; pause = min(2*pause, 25*time.Millisecond) {
		err := do(context.WithoutCancel(ctx))
		if err == nil || !isBusy(err) {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("busy for %v: %w", s.busy, err)
		}
		timer := time.NewTimer(min(pause, left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
