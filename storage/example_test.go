package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

var code = storage.Ref{Kind: storage.KindCode, Shard: 7, Key: "digest-of-a-code"}

// A one-time record is spent by one Commit; the second one is told so, and sees
// the row.
func ExampleConsume() {
	ctx, s := context.Background(), memory.New()
	fmt.Println(s.Commit(ctx, storage.Insert(storage.Record{Ref: code, Client: "app"})))
	fmt.Println(s.Commit(ctx, storage.Consume(code)))

	err := s.Commit(ctx, storage.Consume(code))
	var conflict *storage.ConflictError
	if errors.As(err, &conflict) {
		fmt.Println(err, "–", conflict.Current.Client)
	}
	// Output:
	// <nil>
	// <nil>
	// op 0 (consume code): storage: consumed – app
}

// What belongs together is one Commit: everything or nothing.
func ExampleCheck() {
	ctx, s := context.Background(), memory.New()
	grant := storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: "grant"}
	err := s.Commit(ctx,
		storage.Check(grant), // is not there
		storage.Insert(storage.Record{Ref: code}),
	)
	fmt.Println(err)
	_, err = s.Get(ctx, code)
	fmt.Println(err)
	// Output:
	// op 0 (check grant): storage: not found
	// storage: not found
}

// Update names the version that was read, so nothing is overwritten unseen.
func ExampleUpdate() {
	ctx, s := context.Background(), memory.New()
	_ = s.Commit(ctx, storage.Insert(storage.Record{Ref: code, Data: []byte("first")}))
	mine, _ := s.Get(ctx, code)
	theirs := mine.Clone()

	theirs.Data = []byte("second")
	fmt.Println(s.Commit(ctx, storage.Update(*theirs)))
	fmt.Println(s.Commit(ctx, storage.Update(*mine)))
	fmt.Println(s.Commit(ctx, storage.Delete(code)))
	// Output:
	// <nil>
	// op 0 (update code): storage: version conflict
	// <nil>
}

// The heart of a backend: judge every op, then apply every op.
func ExampleOp_Judge() {
	rows := map[storage.Ref]*storage.Record{}
	commit := func(ops ...storage.Op) error { // under a lock
		if err := storage.Validate(ops); err != nil {
			return err
		}
		for i, op := range ops {
			current := rows[op.Record.Ref]
			if err := op.Judge(current); err != nil {
				return &storage.ConflictError{Index: i, Op: op, Current: current, Err: err}
			}
		}
		for _, op := range ops {
			ref := op.Record.Ref
			if next := op.Apply(rows[ref]); next != nil {
				rows[ref] = next
			} else {
				delete(rows, ref)
			}
		}
		return nil
	}
	fmt.Println(commit(storage.Insert(storage.Record{Ref: code})), rows[code].Version)
	fmt.Println(commit(storage.Insert(storage.Record{Ref: code})))
	// Output:
	// <nil> 1
	// op 0 (insert code): storage: already exists
}

// Backends lock rows in one order, so that crossing batches cannot deadlock.
func ExampleLockOrder() {
	ops := []storage.Op{
		storage.Consume(storage.Ref{Kind: storage.KindPAR, Key: "b"}),
		storage.Insert(storage.Record{Ref: storage.Ref{Kind: storage.KindCode, Key: "a"}}),
	}
	for _, i := range storage.LockOrder(ops) {
		fmt.Println(ops[i].Verb, ops[i].Record.Kind)
	}
	// Output:
	// insert code
	// consume par
}

// A Commit stays in one shard, on every backend.
func ExampleValidate() {
	err := storage.Validate([]storage.Op{
		storage.Check(storage.Ref{Kind: storage.KindGrant, Shard: 1, Key: "a"}),
		storage.Check(storage.Ref{Kind: storage.KindGrant, Shard: 2, Key: "b"}),
	})
	fmt.Println(err)
	// Output: storage: invalid request: op 1: shard 2 in a commit of shard 1
}

// Find in a backend: validate, then ask each candidate.
func ExampleQuery_Matches() {
	q := storage.Query{Kind: storage.KindGrant, Subject: "alice"}
	fmt.Println(q.Validate(), q.Limit)
	fmt.Println(q.Matches(&storage.Record{Ref: storage.Ref{Kind: storage.KindGrant}, Subject: "alice", Client: "app"}))
	fmt.Println(q.Matches(&storage.Record{Ref: storage.Ref{Kind: storage.KindConsent}, Subject: "alice"}))
	// Output:
	// <nil> 100
	// true
	// false
}

// Times are kept to the microsecond, in UTC.
func ExampleTime() {
	t := time.Date(2026, 11, 25, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	fmt.Println(storage.Time(t))
	// Output: 2026-11-25 12:00:00.123456 +0000 UTC
}

// What is in a row is unreadable to who reads the database.
func ExampleEncrypted() {
	ctx, db := context.Background(), memory.New()
	s, err := storage.Encrypted(db, bytes.Repeat([]byte("of your secret store "), 2))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = s.Commit(ctx, storage.Insert(storage.Record{Ref: code, Data: []byte("who may do what")}))
	ours, _ := s.Get(ctx, code)
	theirs, _ := db.Get(ctx, code)
	fmt.Printf("%s, %t\n", ours.Data, bytes.Contains(theirs.Data, []byte("who")))
	// Output: who may do what, false
}

// Tenants in one storage do not see each other.
func ExamplePrefixed() {
	ctx, db := context.Background(), memory.New()
	acme, _ := storage.Prefixed(db, "acme")
	other, _ := storage.Prefixed(db, "other")
	_ = acme.Commit(ctx, storage.Insert(storage.Record{Ref: code}))
	_, err := other.Get(ctx, code)
	fmt.Println(err)
	// Output: storage: not found
}

// Kinds that are committed together stay together.
func ExampleRoute() {
	_, err := storage.Route(memory.New(), storage.Leg{Storage: memory.New(), Kinds: []storage.Kind{storage.KindReplay}})
	fmt.Println(err)
	_, err = storage.Route(memory.New(), storage.Leg{Storage: memory.New(), Kinds: []storage.Kind{storage.KindCode}})
	fmt.Println(err != nil)
	// Output:
	// <nil>
	// true
}

// Metrics of every call.
func ExampleObserved() {
	s := storage.Observed(memory.New(), func(_ context.Context, c storage.Call) {
		fmt.Println(c.Method, c.Kinds, c.Err)
	})
	_, _ = s.Get(context.Background(), code)
	// Output: get [code] storage: not found
}
