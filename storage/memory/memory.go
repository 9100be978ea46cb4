// Package memory is the reference backend: a map, one lock, nothing else. It
// is exact and fast, and forgets everything when the process ends: for tests
// and development.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// Storage keeps records in memory. The zero value is ready for use; it must
// not be copied.
type Storage struct {
	mu   sync.RWMutex
	rows map[storage.Ref]*storage.Record
	// index holds, for each value of an indexed column, the rows that carry it.
	index map[column]map[storage.Ref]struct{}
}

type column struct {
	kind  storage.Kind
	name  byte
	value string
}

// New returns an empty Storage.
func New() *Storage { return &Storage{} }

// Get implements storage.Storage.
func (s *Storage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.rows[ref]; r != nil {
		return r.Clone(), nil
	}
	return nil, storage.ErrNotFound
}

// Commit implements storage.Storage.
func (s *Storage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range ops {
		current := s.rows[op.Record.Ref]
		if err := op.Judge(current); err != nil {
			return &storage.ConflictError{Index: i, Op: op, Current: current.Clone(), Err: err}
		}
	}
	for _, op := range ops {
		if op.Verb != storage.VerbCheck {
			current := s.rows[op.Record.Ref]
			s.replace(current, op.Apply(current))
		}
	}
	return nil
}

// replace swaps one row for another in the table and its indexes.
func (s *Storage) replace(old, next *storage.Record) {
	if s.rows == nil {
		s.rows = map[storage.Ref]*storage.Record{}
		s.index = map[column]map[storage.Ref]struct{}{}
	}
	var was, is [4]column
	if old != nil {
		was = columns(old)
		if next == nil {
			delete(s.rows, old.Ref)
		}
	}
	if next != nil {
		is = columns(next)
		s.rows[next.Ref] = next
	}
	for i := range was {
		if was[i] == is[i] {
			continue
		}
		if c := was[i]; c.value != "" {
			if delete(s.index[c], old.Ref); len(s.index[c]) == 0 {
				delete(s.index, c)
			}
		}
		if c := is[i]; c.value != "" {
			if s.index[c] == nil {
				s.index[c] = map[storage.Ref]struct{}{}
			}
			s.index[c][next.Ref] = struct{}{}
		}
	}
}

// columns lists the indexed columns, the narrowest first.
func columns(r *storage.Record) [4]column {
	return [4]column{{r.Kind, 'g', r.Grant}, {r.Kind, 's', r.Session}, {r.Kind, 'u', r.Subject}, {r.Kind, 'c', r.Client}}
}

// Find implements storage.Storage. Records come in the order of shard and key.
func (s *Storage) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	if err := q.Validate(); err != nil {
		return storage.Page{}, err
	}
	if err := ctx.Err(); err != nil {
		return storage.Page{}, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	asked := columns(&storage.Record{Ref: storage.Ref{Kind: q.Kind}, Subject: q.Subject, Client: q.Client, Session: q.Session, Grant: q.Grant})
	narrowest := asked[slices.IndexFunc(asked[:], func(c column) bool { return c.value != "" })] // Validate wants one
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []*storage.Record
	for ref := range s.index[narrowest] {
		if r := s.rows[ref]; q.Matches(r) && (q.After == "" || cursor(ref) > q.After) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *storage.Record) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), strings.Compare(a.Key, b.Key))
	})
	var page storage.Page
	if len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = cursor(found[q.Limit-1].Ref)
	}
	for _, r := range found {
		page.Records = append(page.Records, r.Clone())
	}
	return page, nil
}

// cursor orders refs of one kind.
func cursor(ref storage.Ref) string { return fmt.Sprintf("%04x%s", ref.Shard, ref.Key) }

// Purge implements storage.Storage.
func (s *Storage) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := 0
	for _, r := range s.rows {
		if deleted >= limit {
			break
		}
		if !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(before) {
			s.replace(r, nil)
			deleted++
		}
	}
	return deleted, nil
}
