package storage_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
)

var (
	a = storage.Ref{Kind: storage.KindGrant, Shard: 3, Key: "a"}
	b = storage.Ref{Kind: storage.KindGrant, Shard: 3, Key: "b"}
)

func TestValidate(t *testing.T) {
	t.Parallel()
	change := func(f func(*storage.Record)) []storage.Op {
		r := storage.Record{Ref: a}
		f(&r)
		return []storage.Op{storage.Insert(r)}
	}
	long := strings.Repeat("x", storage.MaxKey+1)
	many := func(n int) (ops []storage.Op) {
		for i := range n {
			ops = append(ops, storage.Delete(storage.Ref{Kind: "k", Key: fmt.Sprint(i)}))
		}
		return ops
	}
	for _, test := range []struct {
		name string
		ops  []storage.Op
		ok   bool
	}{
		{"none", nil, false},
		{"one", many(1), true},
		{"most", many(storage.MaxOps), true},
		{"too many", many(storage.MaxOps + 1), false},
		{"verb 0", []storage.Op{{Record: storage.Record{Ref: a}}}, false},
		{"verb 6", []storage.Op{{Verb: storage.VerbCheck + 1, Record: storage.Record{Ref: a}}}, false},
		{"no kind", change(func(r *storage.Record) { r.Kind = "" }), false},
		{"longest kind", change(func(r *storage.Record) { r.Kind = storage.Kind(long[:32]) }), true},
		{"long kind", change(func(r *storage.Record) { r.Kind = storage.Kind(long[:33]) }), false},
		{"no key", change(func(r *storage.Record) { r.Key = "" }), false},
		{"longest key", change(func(r *storage.Record) { r.Key = long[1:] }), true},
		{"long key", change(func(r *storage.Record) { r.Key = long }), false},
		{"longest subject", change(func(r *storage.Record) { r.Subject = long[1:] }), true},
		{"long subject", change(func(r *storage.Record) { r.Subject = long }), false},
		{"long client", change(func(r *storage.Record) { r.Client = long }), false},
		{"long session", change(func(r *storage.Record) { r.Session = long }), false},
		{"long grant", change(func(r *storage.Record) { r.Grant = long }), false},
		{"most data", change(func(r *storage.Record) { r.Data = make([]byte, storage.MaxData) }), true},
		{"too much data", change(func(r *storage.Record) { r.Data = make([]byte, storage.MaxData+1) }), false},
		{"insert consumed", change(func(r *storage.Record) { r.State = storage.Consumed }), false},
		{"update to consumed", []storage.Op{storage.Update(storage.Record{Ref: a, State: storage.Consumed})}, false},
		{"consume, whatever state is passed in", []storage.Op{{Verb: storage.VerbConsume, Record: storage.Record{Ref: a, State: 9}}}, true},
		{"expires before 1970", change(func(r *storage.Record) { r.ExpiresAt = time.Unix(-1, 0) }), false},
		{"expires in the year 1", change(func(r *storage.Record) { r.ExpiresAt = time.Time{}.Add(1) }), false},
		{"expires in 1970", change(func(r *storage.Record) { r.ExpiresAt = time.Unix(0, 0) }), true},
		{"expires in 9999", change(func(r *storage.Record) { r.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }), true},
		{"expires after 9999", change(func(r *storage.Record) { r.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), false},
		{"expires after int64 microseconds", change(func(r *storage.Record) { r.ExpiresAt = time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC) }), false},
		{"two refs", []storage.Op{storage.Consume(a), storage.Check(b)}, true},
		{"a ref twice", []storage.Op{storage.Check(a), storage.Delete(b), storage.Consume(a)}, false},
		{"two shards", []storage.Op{storage.Check(a), storage.Check(storage.Ref{Kind: a.Kind, Shard: 4, Key: "b"})}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := storage.Validate(test.ops)
			if test.ok && err != nil {
				t.Errorf("got %v", err)
			}
			if !test.ok && !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	active := &storage.Record{Ref: a, Version: 3}
	spent := &storage.Record{Ref: a, Version: 3, State: storage.Consumed}
	for _, test := range []struct {
		op                    storage.Op
		absent, active, spent error
	}{
		{storage.Insert(storage.Record{Ref: a}), nil, storage.ErrExists, storage.ErrExists},
		{storage.Update(*active), storage.ErrNotFound, nil, storage.ErrConsumed},
		{storage.Update(storage.Record{Ref: a, Version: 2}), storage.ErrNotFound, storage.ErrConflict, storage.ErrConsumed},
		{storage.Consume(a), storage.ErrNotFound, nil, storage.ErrConsumed},
		{storage.Check(a), storage.ErrNotFound, nil, storage.ErrConsumed},
		{storage.Delete(a), nil, nil, nil},
		{storage.Op{Verb: 77}, storage.ErrInvalid, storage.ErrInvalid, storage.ErrInvalid},
	} {
		for _, c := range []struct {
			current *storage.Record
			want    error
		}{{nil, test.absent}, {active, test.active}, {spent, test.spent}} {
			if got := test.op.Judge(c.current); got != c.want {
				t.Errorf("%s version %d of %+v: %v, want %v", test.op.Verb, test.op.Record.Version, c.current, got, c.want)
			}
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
	current := &storage.Record{Ref: a, Version: 3, Subject: "s", Data: []byte("old")}
	next := storage.Record{Ref: a, Version: 3, Client: "c", ExpiresAt: at, Data: []byte("new")}
	for _, test := range []struct {
		op      storage.Op
		current *storage.Record
		want    *storage.Record
	}{
		{storage.Insert(next), nil, &storage.Record{Ref: a, Version: 1, Client: "c", ExpiresAt: storage.Time(at), Data: []byte("new")}},
		{storage.Update(next), current, &storage.Record{Ref: a, Version: 4, Client: "c", ExpiresAt: storage.Time(at), Data: []byte("new")}},
		{storage.Consume(a), current, &storage.Record{Ref: a, Version: 4, State: storage.Consumed, Subject: "s", Data: []byte("old")}},
		{storage.Check(a), current, current},
		{storage.Delete(a), current, nil},
	} {
		got := test.op.Apply(test.current)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.op.Verb, got, test.want)
		}
		if got != nil {
			got.Data[0] = 'X'
			if current.Data[0] != 'o' || next.Data[0] != 'n' {
				t.Fatalf("%s: the result shares its data", test.op.Verb)
			}
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
	got := storage.Time(at)
	if want := time.Date(2030, 1, 2, 2, 4, 5, 6000, time.UTC); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := storage.Time(time.Time{}.In(time.Local)); got != (time.Time{}) {
		t.Errorf("zero time: %v", got)
	}
	if now := storage.Time(time.Now()); now != time.UnixMicro(now.UnixMicro()).UTC() {
		t.Errorf("a time of the clock does not survive microseconds: %#v", now)
	}
}

func TestLockOrder(t *testing.T) {
	t.Parallel()
	ops := []storage.Op{storage.Check(b), storage.Delete(storage.Ref{Kind: "z", Shard: 3, Key: "a"}), storage.Consume(a), storage.Check(storage.Ref{Kind: "a", Shard: 3, Key: "z"})}
	if got := storage.LockOrder(ops); !slices.Equal(got, []int{3, 2, 0, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	q := storage.Query{Kind: "k", Grant: "g"}
	if err := q.Validate(); err != nil || q.Limit != 100 {
		t.Errorf("%v, limit %d", err, q.Limit)
	}
	for _, q := range []storage.Query{{}, {Kind: "k"}, {Subject: "s"}, {Kind: "k", Subject: "s", Limit: -1}, {Kind: "k", Subject: "s", Limit: storage.MaxLimit + 1}} {
		if err := q.Validate(); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", q, err)
		}
	}
	r := &storage.Record{Ref: storage.Ref{Kind: "k"}, Subject: "s", Client: "c", Session: "e", Grant: "g"}
	for _, test := range []struct {
		q    storage.Query
		want bool
	}{
		{storage.Query{Kind: "k", Subject: "s"}, true},
		{storage.Query{Kind: "k", Subject: "s", Client: "c", Session: "e", Grant: "g"}, true},
		{storage.Query{Kind: "K", Subject: "s"}, false},
		{storage.Query{Kind: "k", Subject: "S"}, false},
		{storage.Query{Kind: "k", Subject: "s", Client: "x"}, false},
		{storage.Query{Kind: "k", Subject: "s", Session: "x"}, false},
		{storage.Query{Kind: "k", Subject: "s", Grant: "x"}, false},
	} {
		if got := test.q.Matches(r); got != test.want {
			t.Errorf("%+v: %v", test.q, got)
		}
	}
}

func TestConflictErrorTellsNoData(t *testing.T) {
	t.Parallel()
	r := storage.Record{Ref: storage.Ref{Kind: "k", Key: "the key"}, Subject: "the subject", Data: []byte("the data")}
	err := error(&storage.ConflictError{Index: 2, Op: storage.Insert(r), Current: &r, Err: storage.ErrExists})
	if !errors.Is(err, storage.ErrExists) {
		t.Error("does not unwrap")
	}
	if got, want := err.Error(), "op 2 (insert k): storage: already exists"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
