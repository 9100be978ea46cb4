package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/idpkit/idpkit/storage"
)

// boltStorage is a storage.Storage in one file. bbolt has one writer at a time
// and readers that see a snapshot, which is all that the contract asks for.
type boltStorage struct{ db *bolt.DB }

// The buckets. The keys of the index end in the key of a row and have no value:
// bbolt keeps keys sorted, so to look something up is to walk a prefix.
var (
	bucketRows  = []byte("rows")  // row key: the record
	bucketIndex = []byte("index") // what entries says
)

func openBolt(path string, o *bolt.Options) (*boltStorage, error) {
	db, err := bolt.Open(path, 0o600, o)
	if err != nil {
		return nil, err
	}
	return &boltStorage{db}, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketRows)
		_, err2 := tx.CreateBucketIfNotExists(bucketIndex)
		return errors.Join(err, err2)
	})
}

func (s *boltStorage) Close() error { return s.db.Close() }

// Get implements storage.Storage.
func (s *boltStorage) Get(ctx context.Context, ref storage.Ref) (rec *storage.Record, err error) {
	err = s.do(ctx, s.db.View, func(t table) error {
		if rec, err = t.get(rowKey(ref)); err == nil && rec == nil {
			err = storage.ErrNotFound
		}
		return err
	})
	return rec, err
}

// Commit implements storage.Storage: judge every op, then apply every op, in
// one transaction. The package storage knows what each verb means.
func (s *boltStorage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	return s.do(ctx, s.db.Update, func(t table) error {
		current := make([]*storage.Record, len(ops))
		for i, op := range ops {
			var err error
			if current[i], err = t.get(rowKey(op.Record.Ref)); err != nil {
				return err
			}
			if err := op.Judge(current[i]); err != nil { // nothing is written yet, and nothing will be
				return &storage.ConflictError{Index: i, Op: op, Current: current[i], Err: err}
			}
		}
		for i, op := range ops {
			if err := t.replace(current[i], op.Apply(current[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// Find implements storage.Storage. Records come in the order of their row keys,
// and a page ends with the key of its last record.
func (s *boltStorage) Find(ctx context.Context, q storage.Query) (page storage.Page, err error) {
	if err := q.Validate(); err != nil {
		return page, err
	}
	// The first column that is set narrows most: a grant has few records, a client many.
	prefix := entries(&storage.Record{Ref: storage.Ref{Kind: q.Kind}, Subject: q.Subject, Client: q.Client, Session: q.Session, Grant: q.Grant})[0]
	err = s.do(ctx, s.db.View, func(t table) error {
		after := slices.Concat(prefix, []byte(q.After))
		c := t.index.Cursor()
		for k, _ := c.Seek(after); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			rec, err := t.get(k[len(prefix):])
			switch {
			case err != nil:
				return err
			case rec == nil || !q.Matches(rec) || q.After != "" && bytes.Equal(k, after):
				continue
			case len(page.Records) == q.Limit:
				page.Next = string(rowKey(page.Records[q.Limit-1].Ref))
				return nil
			}
			page.Records = append(page.Records, rec)
		}
		return nil
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

// Purge implements storage.Storage.
func (s *boltStorage) Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	err = s.do(ctx, s.db.Update, func(t table) error {
		var dead []*storage.Record // to delete under a cursor would move it
		end := expiryEntry(before)
		c := t.index.Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k, end) < 0 && len(dead) < limit; k, _ = c.Next() {
			rec, err := t.get(k[len(end):])
			if err != nil {
				return err
			}
			dead = append(dead, rec)
		}
		for _, rec := range dead {
			if err := t.replace(rec, nil); err != nil {
				return err
			}
		}
		deleted = len(dead)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// table is the two buckets within a transaction.
type table struct{ rows, index *bolt.Bucket }

// do runs f in a transaction. bbolt knows no contexts and an Update may have
// waited long for its turn, so the context is asked inside; after that the
// transaction is short and runs to its end. Errors of bbolt are returned as they
// are: the kit counts what it does not know as storage.ErrUnavailable.
func (s *boltStorage) do(ctx context.Context, transaction func(func(*bolt.Tx) error) error, f func(table) error) error {
	return transaction(func(tx *bolt.Tx) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
		return f(table{tx.Bucket(bucketRows), tx.Bucket(bucketIndex)})
	})
}

// get returns the record or nil. It decodes a copy: what bbolt returns is gone
// with the transaction.
func (t table) get(key []byte) (*storage.Record, error) {
	b := t.rows.Get(key)
	if b == nil {
		return nil, nil
	}
	rec := new(storage.Record)
	return rec, gob.NewDecoder(bytes.NewReader(b)).Decode(rec) // not JSON: strings are bytes, not always UTF-8
}

// replace swaps one record for another, and what the index says of it. nil
// stands for none.
func (t table) replace(old, next *storage.Record) (err error) {
	if old != nil {
		err = t.rows.Delete(rowKey(old.Ref))
		for _, e := range entries(old) {
			err = errors.Join(err, t.index.Delete(append(e, rowKey(old.Ref)...)))
		}
	}
	if next != nil {
		var b bytes.Buffer
		err = errors.Join(err, gob.NewEncoder(&b).Encode(next))
		err = errors.Join(err, t.rows.Put(rowKey(next.Ref), b.Bytes()))
		for _, e := range entries(next) {
			err = errors.Join(err, t.index.Put(append(e, rowKey(next.Ref)...), nil))
		}
	}
	return err
}

// rowKey of a record: kind, shard and key, so that no two refs share one.
func rowKey(ref storage.Ref) []byte {
	return append(binary.BigEndian.AppendUint16(text(nil, string(ref.Kind)), ref.Shard), ref.Key...)
}

// entries returns the prefixes under which the index has a record: its columns,
// the narrowest first, and the time after which it may go.
func entries(r *storage.Record) [][]byte {
	var all [][]byte
	for i, value := range []string{r.Grant, r.Session, r.Subject, r.Client} {
		if value != "" {
			all = append(all, text(append(text(nil, string(r.Kind)), byte(i)), value))
		}
	}
	if !r.ExpiresAt.IsZero() {
		all = append(all, expiryEntry(r.ExpiresAt))
	}
	return all
}

// expiryEntry sorts by time, before all columns: no kind is of length 0.
func expiryEntry(t time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{0}, uint64(max(t.UnixMicro(), 0)))
}

// text appends s with its length before it: none is the beginning of another.
func text(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
