package redis

import (
	"time"

	"github.com/idpkit/idpkit/storage"
)

// Row and Index name the keys of a row and of an index, for tests that look at
// them from outside.
func (s *Storage) Row(ref storage.Ref) string { return s.row(ref) }

func (s *Storage) Index(kind storage.Kind, column int, value string) string {
	return s.index(kind, column, value)
}

func (s *Storage) Times(ref storage.Ref) string { return s.times(int(ref.Shard) % tags) }

func NewID(now time.Time) string { return newID(now) }

func Entry(ref storage.Ref, id string) string { return entry(ref, id) }

// CommitLua is the script of a commit.
var CommitLua = commitLua
