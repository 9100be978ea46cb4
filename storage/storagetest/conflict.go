package storagetest

import (
	"fmt"

	"github.com/idpkit/idpkit/storage"
)

var conflictCases = []testCase{
	{name: "conflicts one by one", run: conflicts},
	{name: "the lowest failing op is blamed", run: lowest},
	{name: "an insert is done once", run: insertOnce},
	{name: "an update needs the version it read", run: staleUpdate},
}

func conflicts(e *env) {
	for n, f := range failures {
		prefix := fmt.Sprintf("%d/", n)
		rows := e.prepare(prefix)
		ops := []storage.Op{f.op(prefix)}
		e.wantConflict(e.commit(ops...), ops, 0, f.err, rows[f.current])
		for _, r := range rows {
			e.wantRow(r.Ref, r)
		}
		e.wantRow(grantRef("%sabsent", prefix), nil)
	}
}

// lowest has two failing ops in a commit, in the order in which rows are
// locked and against it.
func lowest(e *env) {
	rows := e.prepare("")
	failing := []struct {
		op      storage.Op
		err     error
		current *storage.Record
	}{
		{storage.Insert(record(grantRef("active"), "")), storage.ErrExists, rows["active"]},
		{storage.Consume(grantRef("absent")), storage.ErrNotFound, nil},
		{storage.Consume(grantRef("consumed")), storage.ErrConsumed, rows["consumed"]},
		{storage.Consume(ref("zzz", "absent")), storage.ErrNotFound, nil},
		{storage.Check(ref("aaa", "absent")), storage.ErrNotFound, nil},
		{updateOf(ref("mmm", "absent"), 3), storage.ErrNotFound, nil},
	}
	fine := func(n int) storage.Op { return storage.Insert(record(grantRef("new %d", n), "")) }
	for i, first := range failing {
		for j, second := range failing {
			if i == j {
				continue
			}
			ops := []storage.Op{first.op, second.op}
			e.wantConflict(e.commit(ops...), ops, 0, first.err, first.current)
			ops = []storage.Op{fine(1), fine(0), first.op, fine(2), second.op, fine(3)}
			e.wantConflict(e.commit(ops...), ops, 2, first.err, first.current)
		}
	}
	for n := range 4 {
		e.wantRow(fine(n).Record.Ref, nil)
	}
}

func insertOnce(e *env) {
	first, second := record(grantRef("a"), "first"), record(grantRef("a"), "second")
	second.Subject = "another"
	e.must(storage.Insert(first))
	ops := []storage.Op{storage.Insert(second)}
	e.wantConflict(e.commit(ops...), ops, 0, storage.ErrExists, stored(first, 1, storage.Active))
	e.wantRow(first.Ref, stored(first, 1, storage.Active))
	if got := e.collect(storage.Query{Kind: first.Kind, Subject: "another"}); len(got) != 0 {
		e.Fatal("Find knows of an insert that failed")
	}
}

func staleUpdate(e *env) {
	r := record(grantRef("a"), "1")
	e.must(storage.Insert(r))
	for version := int64(1); version <= 4; version++ {
		r.Version, r.Data = version, fmt.Appendf(nil, "%d", version+1)
		e.must(storage.Update(r))
		now := stored(r, version+1, storage.Active)
		for stale := int64(0); stale <= version+3; stale++ {
			if stale == now.Version {
				continue
			}
			ops := []storage.Op{updateOf(r.Ref, stale)}
			e.wantConflict(e.commit(ops...), ops, 0, storage.ErrConflict, now)
		}
		e.wantRow(r.Ref, now)
	}
}
