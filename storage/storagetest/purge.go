package storagetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/storage"
)

var purgeCases = []testCase{
	{name: "purge is never early", run: purgeNeverEarly},
	{name: "purge respects its limit", run: purgeLimit},
	{name: "purge forgets a record altogether", run: purgeForgets},
	{name: "purge races an update that extends", run: purgeRace},
}

func (e *env) purge(before time.Time, limit int) int {
	e.Helper()
	n, err := e.Purge(e.Context(), before, limit)
	if err != nil {
		e.Fatalf("purge: %v", err)
	}
	return n
}

func purgeNeverEarly(e *env) {
	for i, at := range []time.Time{
		{}, far.Add(-time.Microsecond), far, far.Add(time.Microsecond), far.Add(time.Hour),
		far.Add(-time.Microsecond), far.In(time.FixedZone("west", -11*3600)),
	} {
		r := record(grantRef("%d", i), "")
		r.ExpiresAt = at
		e.must(storage.Insert(r))
		if i > 4 { // state plays no part
			e.must(storage.Consume(r.Ref))
		}
	}
	if n := e.purge(time.Time{}, 100); n != 0 {
		e.Fatalf("purge before the zero time: %d records", n)
	}
	n := e.purge(far, 100)
	for i, before := range []bool{false, true, false, false, false, true, false} {
		switch there := e.row(grantRef("%d", i)) != nil; {
		case !there && !before:
			e.Errorf("record %d was purged early", i)
		case there && before && !e.enginePurges:
			e.Errorf("record %d was not purged", i)
		case !there:
			n--
		}
	}
	if n != 0 {
		e.Errorf("purge is %d off in its count", n)
	}
	// Long after the last of them only the one without a bound is left.
	e.purge(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 100)
	if e.row(grantRef("0")) == nil {
		e.Error("a record that is kept for ever was purged")
	}
	if got := e.collect(storage.Query{Kind: storage.KindGrant, Subject: "sub"}); len(got) != 1 && !e.enginePurges {
		e.Errorf("%d records are left, want one", len(got))
	}
}

func purgeLimit(e *env) {
	const n = 25
	for i := range n {
		r := record(grantRef("%d", i), "")
		r.ExpiresAt = time.Date(2020, 1, 1, 0, 0, i%3, 0, time.UTC)
		e.must(storage.Insert(r))
	}
	left := func() int { return len(e.collect(storage.Query{Kind: storage.KindGrant, Subject: "sub"})) }
	for _, limit := range []int{0, -1} {
		if got := e.purge(far, limit); got != 0 || left() != n {
			e.Fatalf("purge with limit %d: deleted %d, %d of %d are left", limit, got, left(), n)
		}
	}
	want := n
	for _, limit := range []int{1, 10, 10, 10, 10} {
		got, expect := e.purge(far, limit), min(limit, want)
		if got > limit || got != expect && !e.enginePurges {
			e.Fatalf("purge with limit %d: deleted %d, want %d", limit, got, expect)
		}
		if want -= got; left() != want {
			e.Fatalf("purge says %d, but %d records are left, want %d", got, left(), want)
		}
	}
}

func purgeForgets(e *env) {
	r := record(grantRef("a"), "old")
	r.ExpiresAt = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	e.must(storage.Insert(r))
	e.must(storage.Consume(r.Ref))
	if e.purge(far, 10); e.row(r.Ref) != nil {
		if e.enginePurges {
			return
		}
		e.Fatal("not purged")
	}
	r.Data, r.ExpiresAt = []byte("new"), time.Time{}
	e.must(storage.Insert(r))
	e.wantRow(r.Ref, stored(r, 1, storage.Active))
	e.purge(far, 10)
	e.wantRow(r.Ref, stored(r, 1, storage.Active))
}

// purgeRace: a record whose retention was extended is not purged for the
// time it had before.
func purgeRace(e *env) {
	for round := range e.rounds {
		r := record(grantRef("%d", round), "")
		r.ExpiresAt = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		e.must(storage.Insert(r))
		r.Version, r.ExpiresAt = 1, far.AddDate(1, 0, 0)
		errs := e.race(8, func(i int) error {
			if i == 0 {
				return e.commit(storage.Update(r))
			}
			_, err := e.Purge(e.Context(), far, 100)
			return err
		})
		for i, err := range errs[1:] {
			if err != nil {
				e.Fatalf("purge %d: %v", i, err)
			}
		}
		switch {
		case errs[0] == nil:
			e.wantRow(r.Ref, stored(r, 2, storage.Active))
		case !errors.Is(errs[0], storage.ErrNotFound):
			e.Fatal(fmt.Errorf("update: %w", errs[0]))
		default:
			e.wantRow(r.Ref, nil)
		}
	}
}
