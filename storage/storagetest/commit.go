package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

var commitCases = []testCase{
	{name: "insert", run: insert},
	{name: "update", run: update},
	{name: "consume", run: consume},
	{name: "delete", run: deleteRow},
	{name: "check leaves the version", run: check},
	{name: "verbs without a record use only the ref", run: onlyRef},
	{name: "one commit with every verb", run: everyVerb},
	{name: "all or nothing at each op", run: allOrNothing},
	{name: "invalid commits write nothing", run: invalidCommits},
	{name: "records are copies", run: copies},
}

func insert(e *env) {
	r := record(grantRef("a"), "one")
	r.Version = 42 // set by the backend, whatever is passed in
	e.must(storage.Insert(r))
	e.wantRow(r.Ref, stored(r, 1, storage.Active))

	bare := storage.Record{Ref: grantRef("bare")}
	e.must(storage.Insert(bare))
	e.wantRow(bare.Ref, stored(bare, 1, storage.Active))

	e.wantRow(grantRef("absent"), nil)
}

func update(e *env) {
	r := record(grantRef("a"), "one")
	e.must(storage.Insert(r))
	for version := int64(1); version < 5; version++ {
		// Every column changes, at last to nothing.
		r.Version = version
		r.Data = fmt.Appendf(nil, "data %d", version)
		r.Subject, r.Client = r.Subject+"x", r.Client+"x"
		if version == 4 {
			r = storage.Record{Ref: r.Ref, Version: version}
		}
		e.must(storage.Update(r))
		e.wantRow(r.Ref, stored(r, version+1, storage.Active))
	}
}

func consume(e *env) {
	r := record(grantRef("a"), "one")
	e.must(storage.Insert(r))
	e.must(storage.Consume(r.Ref))
	e.wantRow(r.Ref, stored(r, 2, storage.Consumed))

	r = record(grantRef("b"), "one")
	e.must(storage.Insert(r))
	r.Version = 1
	e.must(storage.Update(r))
	e.must(storage.Consume(r.Ref))
	e.wantRow(r.Ref, stored(r, 3, storage.Consumed))
}

func deleteRow(e *env) {
	r := record(grantRef("a"), "one")
	e.must(storage.Delete(r.Ref)) // absent is fine
	for range 2 {
		e.must(storage.Insert(r)) // version starts again at 1
		e.wantRow(r.Ref, stored(r, 1, storage.Active))
		e.must(storage.Consume(r.Ref))
		e.must(storage.Delete(r.Ref)) // consumed is fine
		e.wantRow(r.Ref, nil)
	}
	if got := e.collect(storage.Query{Kind: r.Kind, Subject: r.Subject}); len(got) != 0 {
		e.Fatalf("find after delete: %d records", len(got))
	}
}

func check(e *env) {
	r := record(grantRef("a"), "one")
	e.must(storage.Insert(r))
	e.must(storage.Check(r.Ref))
	e.must(storage.Check(r.Ref), storage.Insert(record(grantRef("b"), "two")))
	e.wantRow(r.Ref, stored(r, 1, storage.Active))
	r.Version = 1
	e.must(storage.Update(r))
}

func onlyRef(e *env) {
	for _, verb := range []storage.Verb{storage.VerbConsume, storage.VerbCheck, storage.VerbDelete} {
		r := record(grantRef("%s", verb), "kept")
		e.must(storage.Insert(r))
		noise := storage.Record{Ref: r.Ref, Version: 99, State: storage.Consumed, Subject: "noise", Data: []byte("noise")}
		e.must(storage.Op{Verb: verb, Record: noise})
		switch verb {
		case storage.VerbConsume:
			e.wantRow(r.Ref, stored(r, 2, storage.Consumed))
		case storage.VerbCheck:
			e.wantRow(r.Ref, stored(r, 1, storage.Active))
		case storage.VerbDelete:
			e.wantRow(r.Ref, nil)
		}
	}
}

func everyVerb(e *env) {
	upd, con, del, chk := record(ref(storage.KindGrant, "u"), "u"), record(ref(storage.KindCode, "c"), "c"), record(ref(storage.KindPAR, "d"), "d"), record(ref(storage.KindSession, "k"), "k")
	ins := record(ref(storage.KindDevice, "i"), "i")
	e.must(storage.Insert(upd), storage.Insert(con), storage.Insert(del), storage.Insert(chk))
	upd.Version, upd.Data = 1, []byte("u2")
	e.must(storage.Check(chk.Ref), storage.Update(upd), storage.Delete(del.Ref), storage.Insert(ins), storage.Consume(con.Ref))
	e.wantRow(chk.Ref, stored(chk, 1, storage.Active))
	e.wantRow(upd.Ref, stored(upd, 2, storage.Active))
	e.wantRow(del.Ref, nil)
	e.wantRow(ins.Ref, stored(ins, 1, storage.Active))
	e.wantRow(con.Ref, stored(con, 2, storage.Consumed))
}

// failures are ops that fail on rows that prepare made.
var failures = []struct {
	name    string
	op      func(prefix string) storage.Op
	current string // name of the row that ConflictError shows; "": absent
	err     error
}{
	{"insert of an active row", func(p string) storage.Op { return storage.Insert(record(grantRef("%sactive", p), "")) }, "active", storage.ErrExists},
	{"insert of a consumed row", func(p string) storage.Op { return storage.Insert(record(grantRef("%sconsumed", p), "")) }, "consumed", storage.ErrExists},
	{"update of an absent row", func(p string) storage.Op { return updateOf(grantRef("%sabsent", p), 1) }, "", storage.ErrNotFound},
	{"update of a consumed row", func(p string) storage.Op { return updateOf(grantRef("%sconsumed", p), 2) }, "consumed", storage.ErrConsumed},
	{"update of a consumed row, other version", func(p string) storage.Op { return updateOf(grantRef("%sconsumed", p), 1) }, "consumed", storage.ErrConsumed},
	{"update with version 0", func(p string) storage.Op { return updateOf(grantRef("%sactive", p), 0) }, "active", storage.ErrConflict},
	{"update with a later version", func(p string) storage.Op { return updateOf(grantRef("%sactive", p), 2) }, "active", storage.ErrConflict},
	{"update with a negative version", func(p string) storage.Op { return updateOf(grantRef("%sactive", p), -1) }, "active", storage.ErrConflict},
	{"consume of an absent row", func(p string) storage.Op { return storage.Consume(grantRef("%sabsent", p)) }, "", storage.ErrNotFound},
	{"consume of a consumed row", func(p string) storage.Op { return storage.Consume(grantRef("%sconsumed", p)) }, "consumed", storage.ErrConsumed},
	{"check of an absent row", func(p string) storage.Op { return storage.Check(grantRef("%sabsent", p)) }, "", storage.ErrNotFound},
	{"check of a consumed row", func(p string) storage.Op { return storage.Check(grantRef("%sconsumed", p)) }, "consumed", storage.ErrConsumed},
}

func updateOf(r storage.Ref, version int64) storage.Op {
	rec := record(r, "never written")
	rec.Version = version
	return storage.Update(rec)
}

// prepare makes the rows that failures speak of.
func (e *env) prepare(prefix string) map[string]*storage.Record {
	active, consumed := record(grantRef("%sactive", prefix), "active"), record(grantRef("%sconsumed", prefix), "consumed")
	e.must(storage.Insert(active), storage.Insert(consumed))
	e.must(storage.Consume(consumed.Ref))
	return map[string]*storage.Record{"active": stored(active, 1, storage.Active), "consumed": stored(consumed, 2, storage.Consumed)}
}

// allOrNothing puts each kind of failure at each place of a full commit.
func allOrNothing(e *env) {
	for n, f := range failures {
		for k := range storage.MaxOps {
			prefix := fmt.Sprintf("%d/%d/", n, k)
			rows := e.prepare(prefix)
			upd, con, del := record(grantRef("%supd", prefix), "u"), record(grantRef("%scon", prefix), "c"), record(grantRef("%sdel", prefix), "d")
			e.must(storage.Insert(upd), storage.Insert(con), storage.Insert(del))
			changed := upd
			changed.Version, changed.Data = 1, []byte("changed")
			ops := []storage.Op{storage.Update(changed), storage.Consume(con.Ref), storage.Delete(del.Ref)}
			for i := len(ops); i < storage.MaxOps-1; i++ {
				ops = append(ops, storage.Insert(record(grantRef("%snew %d", prefix, i), "")))
			}
			ops = append(ops[:k:k], append([]storage.Op{f.op(prefix)}, ops[k:]...)...)
			e.wantConflict(e.commit(ops...), ops, k, f.err, rows[f.current])

			e.wantRow(upd.Ref, stored(upd, 1, storage.Active))
			e.wantRow(con.Ref, stored(con, 1, storage.Active))
			e.wantRow(del.Ref, stored(del, 1, storage.Active))
			for _, r := range rows {
				e.wantRow(r.Ref, r)
			}
			for i := 3; i < storage.MaxOps-1; i++ {
				if got := e.row(grantRef("%snew %d", prefix, i)); got != nil {
					e.Fatalf("%s at op %d: the commit failed, yet it inserted a record", f.name, k)
				}
			}
			if testing.Short() && k == 1 {
				break
			}
		}
	}
}

func invalidCommits(e *env) {
	good := storage.Insert(record(grantRef("good"), ""))
	long := strings.Repeat("x", e.maxKey+1)
	with := func(change func(*storage.Record)) []storage.Op {
		r := record(grantRef("bad"), "")
		change(&r)
		return []storage.Op{good, storage.Insert(r)}
	}
	var many []storage.Op
	for i := range storage.MaxOps + 1 {
		many = append(many, storage.Insert(record(grantRef("many %d", i), "")))
	}
	for name, ops := range map[string][]storage.Op{
		"no op":            nil,
		"too many ops":     many,
		"zero verb":        {good, {Record: record(grantRef("bad"), "")}},
		"unknown verb":     {good, {Verb: 200, Record: record(grantRef("bad"), "")}},
		"no kind":          with(func(r *storage.Record) { r.Kind = "" }),
		"long kind":        with(func(r *storage.Record) { r.Kind = storage.Kind(long) }),
		"no key":           with(func(r *storage.Record) { r.Key = "" }),
		"long key":         with(func(r *storage.Record) { r.Key = long }),
		"long subject":     with(func(r *storage.Record) { r.Subject = long }),
		"long client":      with(func(r *storage.Record) { r.Client = long }),
		"long session":     with(func(r *storage.Record) { r.Session = long }),
		"long grant":       with(func(r *storage.Record) { r.Grant = long }),
		"long data":        with(func(r *storage.Record) { r.Data = make([]byte, e.maxData+1) }),
		"expires too late": with(func(r *storage.Record) { r.ExpiresAt = far.AddDate(10_000, 0, 0) }),
		"expires too soon": with(func(r *storage.Record) { r.ExpiresAt = far.AddDate(-1000, 0, 0) }),
		"insert consumed":  with(func(r *storage.Record) { r.State = storage.Consumed }),
		"unknown state":    with(func(r *storage.Record) { r.State = 7 }),
		"two shards":       with(func(r *storage.Record) { r.Shard++ }),
		"a ref twice":      {good, storage.Check(good.Record.Ref)},
		"a delete twice":   {good, storage.Delete(grantRef("x")), storage.Delete(grantRef("x"))},
		"update to spent":  {good, {Verb: storage.VerbUpdate, Record: storage.Record{Ref: grantRef("x"), State: storage.Consumed}}},
		"only two shards":  {storage.Delete(storage.Ref{Kind: "a", Shard: 1, Key: "x"}), storage.Delete(storage.Ref{Kind: "a", Shard: 2, Key: "x"})},
		"check two shards": {good, storage.Check(storage.Ref{Kind: good.Record.Kind, Shard: 0, Key: "x"})},
	} {
		if err := e.commit(ops...); !errors.Is(err, storage.ErrInvalid) {
			e.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		e.wantRow(good.Record.Ref, nil)
		e.wantRow(grantRef("many 0"), nil)
	}
}

// copies asks that neither side sees what the other does to its records.
func copies(e *env) {
	r := record(grantRef("a"), "original")
	want := stored(r, 1, storage.Active)
	want.Data = []byte("original")
	e.must(storage.Insert(r))
	r.Data[0] = 'X' // ours after Commit
	e.wantRow(r.Ref, want)

	got := e.row(r.Ref)
	got.Data[0], got.Subject, got.Version = 'X', "X", 9
	e.wantRow(r.Ref, want)

	for _, rec := range e.collect(storage.Query{Kind: r.Kind, Subject: "sub"}) {
		rec.Data[0], rec.Subject = 'X', "X"
	}
	e.wantRow(r.Ref, want)

	ops := []storage.Op{storage.Insert(record(r.Ref, ""))}
	err := e.commit(ops...)
	e.wantConflict(err, ops, 0, storage.ErrExists, want)
	var c *storage.ConflictError
	errors.As(err, &c)
	c.Current.Data[0], c.Current.Subject = 'X', "X"
	e.wantRow(r.Ref, want)

	up := record(r.Ref, "updated")
	up.Version = 1
	want = stored(up, 2, storage.Active)
	e.must(storage.Update(up))
	up.Data[0] = 'X'
	e.wantRow(r.Ref, want)
	got = e.row(r.Ref)
	e.must(storage.Consume(r.Ref))
	if got.State != storage.Active || got.Version != 2 {
		e.Fatal("a record that Get returned changed when the row was consumed")
	}
	want.Version, want.State = 3, storage.Consumed
	e.wantRow(r.Ref, want)
}
