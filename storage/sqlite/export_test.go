package sqlite

import (
	"context"
	"strconv"
	"strings"
)

// Queries returns the statements that search, and the index that each uses.
func Queries() map[string]string {
	m := map[string]string{
		selectRow: "sqlite_autoindex_records_1 (kind=? AND shard=? AND key=?)",
		updateRow: "sqlite_autoindex_records_1 (kind=? AND shard=? AND key=?)",
		deleteRow: "sqlite_autoindex_records_1 (kind=? AND shard=? AND key=?)",
		purgeRows: "records_expires (expires<?)",
	}
	for _, column := range columns {
		m[selectPage(column)] = "records_" + strings.TrimSuffix(column, "_") + " (kind=? AND " + column + "=? AND rowid>?)"
	}
	return m
}

// LimitPages limits the file to n pages more than it has, as a full disk
// would; a negative n lifts the limit.
func (s *Storage) LimitPages(ctx context.Context, n int) error {
	return s.transaction(ctx, "limit", func(ctx context.Context, w *writer) error {
		var pages int
		if err := w.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		if n < 0 {
			pages, n = 0, 1<<30
		}
		var now int
		return w.conn.QueryRowContext(ctx, "PRAGMA max_page_count = "+strconv.Itoa(pages+n)).Scan(&now)
	})
}
