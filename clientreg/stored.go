package clientreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// Stored keeps clients in a storage, one record each, for dynamic registration.
// Create and Update validate the client. A deleted one leaves its record behind
// as consumed, for ever, so that its id is never given away again.
func Stored(s storage.Storage) Writer { return stored{s} }

type stored struct{ s storage.Storage }

// clientRef names the record. The shard is that of the id, so any replica finds
// it.
func clientRef(id string) storage.Ref {
	return storage.Ref{Kind: storage.KindClient, Shard: handle.ShardOf(id), Key: handle.Key(id)}
}

// Client implements Registry.
func (s stored) Client(ctx context.Context, id string) (*Client, error) {
	ref := clientRef(id)
	rec, err := s.s.Get(ctx, ref)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("clientreg: get client: %w", err)
	case rec == nil || rec.Ref != ref:
		return nil, errors.New("clientreg: the storage returned another record")
	case rec.State != storage.Active:
		return nil, ErrNotFound
	}
	var c Client
	if err := json.Unmarshal(rec.Data, &c); err != nil {
		return nil, fmt.Errorf("clientreg: stored client: %w", err)
	}
	if c.ID != id {
		return nil, errors.New("clientreg: the stored client has another id")
	}
	c.Version = rec.Version
	return &c, nil
}

// Create implements Writer. Besides its errors: *MetadataError.
func (s stored) Create(ctx context.Context, c *Client) error {
	rec, err := clientRecord(c)
	if err != nil {
		return err
	}
	return s.commit(ctx, "create client", storage.Insert(rec))
}

// Update implements Writer. Besides its errors: *MetadataError.
func (s stored) Update(ctx context.Context, c *Client, version int64) error {
	rec, err := clientRecord(c)
	if err != nil {
		return err
	}
	rec.Version = version
	return s.commit(ctx, "update client", storage.Update(rec))
}

// Delete implements Writer.
func (s stored) Delete(ctx context.Context, id string) error {
	return s.commit(ctx, "delete client", storage.Consume(clientRef(id)))
}

func clientRecord(c *Client) (storage.Record, error) {
	if err := c.Validate(); err != nil {
		return storage.Record{}, err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return storage.Record{}, err
	}
	if len(data) > storage.MaxData {
		return storage.Record{}, &MetadataError{c.ID, "document", "is too large", fmt.Sprintf("the limit is %d bytes of JSON", storage.MaxData)}
	}
	return storage.Record{Ref: clientRef(c.ID), Client: c.ID, Data: data}, nil
}

// commit turns the storage's refusals into those of Writer.
func (s stored) commit(ctx context.Context, doing string, op storage.Op) error {
	err := s.s.Commit(ctx, op)
	for _, e := range []struct{ from, to error }{
		{storage.ErrExists, ErrExists},
		{storage.ErrConflict, ErrConflict},
		{storage.ErrNotFound, ErrNotFound},
		{storage.ErrConsumed, ErrNotFound},
	} {
		if errors.Is(err, e.from) {
			return e.to
		}
	}
	if err != nil {
		return fmt.Errorf("clientreg: %s: %w", doing, err)
	}
	return nil
}
