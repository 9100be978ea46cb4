package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// migrations bring a file from user_version i to i+1. What has been released
// is never edited, only appended to.
//
// Text of the caller is a BLOB, so that it is compared byte by byte and holds
// NUL and invalid UTF-8. Empty columns are NULL and so cost no index entry. The
// row has an id because rows are wide: without it (WITHOUT ROWID) Data would
// sit in the inner pages of the primary key and the key in every index. The
// id is also the cursor of Find: it never changes while the row lives.
var migrations = [...]string{`
CREATE TABLE records (
	id      INTEGER PRIMARY KEY,
	kind    BLOB    NOT NULL,
	shard   INTEGER NOT NULL,
	key     BLOB    NOT NULL,
	version INTEGER NOT NULL CHECK (version > 0),
	state   INTEGER NOT NULL CHECK (state IN (0, 1)),
	subject BLOB,
	client  BLOB,
	session BLOB,
	grant_  BLOB,
	expires INTEGER, -- microseconds since 1970; NULL: never
	data    BLOB    NOT NULL,
	UNIQUE (kind, shard, key)
) STRICT;
CREATE INDEX records_subject ON records (kind, subject) WHERE subject IS NOT NULL;
CREATE INDEX records_client  ON records (kind, client)  WHERE client  IS NOT NULL;
CREATE INDEX records_session ON records (kind, session) WHERE session IS NOT NULL;
CREATE INDEX records_grant   ON records (kind, grant_)  WHERE grant_  IS NOT NULL;
CREATE INDEX records_expires ON records (expires)       WHERE expires IS NOT NULL;
`}

// columns are the indexed ones, the narrowest first.
var columns = [...]string{"grant_", "session", "subject", "client"}

const (
	fields    = `id, kind, shard, key, version, state, subject, client, session, grant_, expires, data`
	selectRow = `SELECT ` + fields + ` FROM records WHERE kind = ? AND shard = ? AND key = ?`
	insertRow = `INSERT INTO records (kind, shard, key, version, state, subject, client, session, grant_, expires, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateRow = `UPDATE records SET version = ?4, state = ?5, subject = ?6, client = ?7, session = ?8, grant_ = ?9, expires = ?10, data = ?11
		WHERE kind = ?1 AND shard = ?2 AND key = ?3`
	deleteRow = `DELETE FROM records WHERE kind = ? AND shard = ? AND key = ?`
	purgeRows = `DELETE FROM records WHERE id IN (SELECT id FROM records WHERE expires < ? ORDER BY expires LIMIT ?)`
)

// selectPage is the statement of Find that starts from one column's index, in
// the order of id, which the index holds already.
func selectPage(column string) string {
	where := ""
	for i, c := range columns {
		if n := i + 4; c == column {
			where += fmt.Sprintf(" AND %s = ?%d", c, n)
		} else {
			where += fmt.Sprintf(" AND (?%d IS NULL OR %s = ?%d)", n, c, n)
		}
	}
	return `SELECT ` + fields + ` FROM records WHERE kind = ?1 AND id > ?2` + where + ` ORDER BY id LIMIT ?3`
}

// migrate brings the schema up to date under the write lock, so that of
// several processes one does it and the others see it done.
func (s *Storage) migrate(ctx context.Context) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	// A file becomes WAL once and stays so. While several try, SQLite refuses
	// some of them at once.
	var mode string
	err = s.wait(ctx, func(ctx context.Context) error {
		return conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
	})
	if err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal_mode is %s: the file system does not support WAL", mode)
	}
	if err := s.begin(ctx, conn); err != nil {
		return err
	}
	defer conn.ExecContext(ctx, "ROLLBACK") // fails after COMMIT, as it should
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version < 0 || version > len(migrations) {
		return fmt.Errorf("the file has schema version %d, this program knows up to %d: run the newer program", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		if _, err := conn.ExecContext(ctx, migrations[version]); err != nil {
			return fmt.Errorf("migrate from schema version %d: %w", version, err)
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

func key(ref storage.Ref) []any {
	return []any{[]byte(ref.Kind), ref.Shard, []byte(ref.Key)}
}

// values are the parameters of insertRow and updateRow.
func values(r *storage.Record) []any {
	var expires any
	if !r.ExpiresAt.IsZero() {
		expires = r.ExpiresAt.UnixMicro()
	}
	data := r.Data
	if data == nil {
		data = []byte{}
	}
	return append(key(r.Ref), r.Version, r.State, blob(r.Subject), blob(r.Client), blob(r.Session), blob(r.Grant), expires, data)
}

func blob(s string) any {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// scan reads one row of fields. A row that no Commit can have written is an
// error, never a record.
func scan(row interface{ Scan(...any) error }) (id int64, r *storage.Record, err error) {
	var (
		text         [6][]byte
		shard, state int64
		expires      sql.NullInt64
	)
	r = new(storage.Record)
	if err := row.Scan(&id, &text[0], &shard, &text[1], &r.Version, &state, &text[2], &text[3], &text[4], &text[5], &expires, &r.Data); err != nil {
		return 0, nil, err
	}
	if shard != int64(uint16(shard)) || r.Version < 1 || state < 0 || state > int64(storage.Consumed) {
		return 0, nil, fmt.Errorf("row %d is corrupt", id)
	}
	r.Ref = storage.Ref{Kind: storage.Kind(text[0]), Shard: uint16(shard), Key: string(text[1])}
	r.State = storage.State(state)
	r.Subject, r.Client, r.Session, r.Grant = string(text[2]), string(text[3]), string(text[4]), string(text[5])
	if expires.Valid {
		r.ExpiresAt = time.UnixMicro(expires.Int64).UTC()
	}
	return id, r, nil
}
