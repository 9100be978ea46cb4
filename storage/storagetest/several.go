package storagetest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// Several spreads calls over handles of one and the same storage, as several
// processes would make them. Each call takes the next handle.
func Several(handles ...storage.Storage) storage.Storage {
	if len(handles) == 0 {
		panic(errors.New("storagetest: Several without a storage"))
	}
	return &several{handles: handles}
}

type several struct {
	next    atomic.Uint64
	handles []storage.Storage
}

func (s *several) pick() storage.Storage {
	return s.handles[s.next.Add(1)%uint64(len(s.handles))]
}

func (s *several) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	return s.pick().Get(ctx, ref)
}

func (s *several) Commit(ctx context.Context, ops ...storage.Op) error {
	return s.pick().Commit(ctx, ops...)
}

func (s *several) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	return s.pick().Find(ctx, q)
}

func (s *several) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.pick().Purge(ctx, before, limit)
}
