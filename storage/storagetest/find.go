package storagetest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/idpkit/idpkit/storage"
)

var findCases = []testCase{
	{name: "find by every combination of columns", run: findColumns},
	{name: "find follows writes", run: findFollows},
	{name: "find pages", run: findPages},
	{name: "find pages while rows are written", run: findPagesUnderWrites},
	{name: "find pages against a busy writer", run: findPagesRace},
	{name: "find refuses invalid queries", run: findInvalid},
	{name: "find knows default and greatest limit", run: findLimits},
}

func findColumns(e *env) {
	values := []string{"", "x", "y"}
	var all []*storage.Record
	for i := range 81 {
		r := storage.Record{
			Ref:     storage.Ref{Kind: storage.KindGrant, Shard: uint16(i), Key: fmt.Sprintf("k%d", i*7919%81)},
			Subject: values[i%3], Client: values[i/3%3], Session: values[i/9%3], Grant: values[i/27%3],
			ExpiresAt: far, Data: fmt.Append(nil, i),
		}
		other := r
		other.Kind = storage.KindCode // is never found
		e.must(storage.Insert(r), storage.Insert(other))
		state, version := storage.Active, int64(1)
		if i%5 == 0 { // records of any state are found
			e.must(storage.Consume(r.Ref))
			state, version = storage.Consumed, 2
		}
		all = append(all, stored(r, version, state))
	}
	for i := 1; i < 256; i++ {
		pick := func(n int) string { return []string{"", "x", "y", "z"}[i>>(2*n)&3] }
		q := storage.Query{Kind: storage.KindGrant, Subject: pick(0), Client: pick(1), Session: pick(2), Grant: pick(3), Limit: 1 + i%7}
		want := map[storage.Ref]*storage.Record{}
		for _, r := range all {
			if q.Matches(r) {
				want[r.Ref] = r
			}
		}
		for _, got := range e.collect(q) {
			r := want[got.Ref]
			if diff := differ(got, r); diff != "" {
				e.Fatalf("find %+v: %v: %s", q, got.Ref, diff)
			}
			delete(want, got.Ref)
		}
		if len(want) > 0 {
			e.Fatalf("find %+v: %d records are missing", q, len(want))
		}
	}
}

// findFollows asks, after each write, exactly for what it changed.
func findFollows(e *env) {
	r := storage.Record{Ref: grantRef("a"), Subject: "s1", Client: "c1"}
	want := func(q storage.Query, n int) {
		e.Helper()
		q.Kind = r.Kind
		if got := e.collect(q); len(got) != n {
			e.Fatalf("find %+v: %d records, want %d", q, len(got), n)
		}
	}
	e.must(storage.Insert(r))
	want(storage.Query{Subject: "s1"}, 1)
	want(storage.Query{Client: "c1"}, 1)
	want(storage.Query{Session: "e1"}, 0)
	r.Version, r.Subject, r.Client, r.Session = 1, "s2", "", "e1"
	e.must(storage.Update(r))
	want(storage.Query{Subject: "s1"}, 0)
	want(storage.Query{Subject: "s2"}, 1)
	want(storage.Query{Client: "c1"}, 0)
	want(storage.Query{Session: "e1"}, 1)
	e.must(storage.Consume(r.Ref))
	want(storage.Query{Subject: "s2"}, 1)
	want(storage.Query{Session: "e1"}, 1)
	e.must(storage.Delete(r.Ref))
	want(storage.Query{Subject: "s2"}, 0)
	want(storage.Query{Session: "e1"}, 0)
	r.Subject = "s3"
	e.must(storage.Insert(r))
	want(storage.Query{Subject: "s2"}, 0)
	want(storage.Query{Subject: "s3"}, 1)
}

func findPages(e *env) {
	const n = 60
	for i := range n {
		e.must(storage.Insert(record(storage.Ref{Kind: storage.KindGrant, Shard: uint16(i % 3), Key: fmt.Sprintf("%02d", i*37%n)}, "")))
	}
	q := storage.Query{Kind: storage.KindGrant, Subject: "sub"}
	for _, q.Limit = range []int{1, 7, n - 1, n, n + 1, storage.MaxLimit} {
		var order [2][]storage.Ref
		for pass := range order {
			seen := map[storage.Ref]bool{}
			q.After = ""
			for pages := 0; ; pages++ {
				page, err := e.Find(e.Context(), q)
				if err != nil {
					e.Fatalf("find %+v: %v", q, err)
				}
				if len(page.Records) > q.Limit {
					e.Fatalf("find %+v: %d records on a page", q, len(page.Records))
				}
				for _, r := range page.Records {
					if seen[r.Ref] {
						e.Fatalf("find %+v: %v is on two pages", q, r.Ref)
					}
					seen[r.Ref] = true
					order[pass] = append(order[pass], r.Ref)
				}
				if page.Next == "" {
					break
				}
				if pages > 2*n {
					e.Fatalf("find %+v: no end", q)
				}
				q.After = page.Next
			}
			if len(seen) != n {
				e.Fatalf("find %+v: %d of %d records", q, len(seen), n)
			}
		}
		for i := range n {
			if order[0][i] != order[1][i] {
				e.Fatalf("find %+v: the order changes from one time to the next", q)
			}
		}
	}
}

// stays is a crowd of records that are there from first page to last.
func (e *env) stays(n int) map[storage.Ref]int {
	rows := map[storage.Ref]int{}
	for i := range n {
		r := grantRef("%03d stays", i*37%n)
		e.must(storage.Insert(record(r, "")))
		rows[r] = 0
	}
	return rows
}

// findPagesUnderWrites changes rows between pages, before and behind the
// cursor.
func findPagesUnderWrites(e *env) {
	rows := e.stays(50)
	// gone are deleted one by one on the way.
	var gone []storage.Ref
	for i := range 50 {
		gone = append(gone, grantRef("%03d gone", i))
		e.must(storage.Insert(record(gone[i], "")))
	}
	q := storage.Query{Kind: storage.KindGrant, Subject: "sub", Limit: 6}
	for page := 0; ; page++ {
		got, err := e.Find(e.Context(), q)
		if err != nil {
			e.Fatal(err)
		}
		for _, r := range got.Records {
			if _, ok := rows[r.Ref]; ok {
				rows[r.Ref]++
			}
		}
		if got.Next == "" {
			break
		}
		q.After = got.Next
		if page > 500 {
			e.Fatal("no end")
		}
		for i := page; i < 50; i += 9 {
			e.must(storage.Delete(gone[i]))
		}
		if page < 20 { // more would be paging after our own writes
			e.must(storage.Insert(record(grantRef("%03d new", page), "")), storage.Insert(record(grantRef("%03d new", 50-page), "")))
		}
		// A record that is written keeps its place; so does one that is spent.
		for i := page; i < 50; i += 11 {
			r := e.row(grantRef("%03d stays", i))
			if r.State == storage.Active {
				r.Data, r.Client, r.ExpiresAt = []byte("written"), fmt.Sprint("c", page), far.AddDate(0, 0, page)
				e.must(storage.Update(*r))
				if i%2 == 0 {
					e.must(storage.Consume(r.Ref))
				}
			}
		}
	}
	for r, n := range rows {
		if n != 1 {
			e.Errorf("%v was there all the time and is on %d pages", r, n)
		}
	}
}

// findPagesRace pages while writers go on without a pause.
func findPagesRace(e *env) {
	rows := e.stays(40)
	var over atomic.Bool
	errs := make(chan error, 2)
	for w := range cap(errs) {
		go func() {
			var err error
			for i := 0; err == nil && !over.Load(); i++ {
				r := record(grantRef("%03d writer %d", i*13%40, w), "")
				err = e.commit(storage.Insert(r))
				if err == nil {
					var s *storage.Record
					if s, err = e.Get(e.Context(), grantRef("%03d stays", (2*i+w)%40)); err == nil {
						err = e.commit(storage.Delete(r.Ref), storage.Update(*s))
					}
				}
			}
			errs <- err
		}()
	}
	for range max(e.rounds/2, 2) {
		clear(rows)
		for _, r := range e.collect(storage.Query{Kind: storage.KindGrant, Subject: "sub", Limit: 3}) {
			rows[r.Ref]++
		}
		for i := range 40 {
			if n := rows[grantRef("%03d stays", i)]; n != 1 {
				e.Errorf("record %d was there all the time and is on %d pages", i, n)
			}
		}
	}
	over.Store(true)
	for range cap(errs) {
		if err := <-errs; err != nil {
			e.Errorf("writer: %v", err)
		}
	}
}

func findInvalid(e *env) {
	for name, q := range map[string]storage.Query{
		"no kind":        {Subject: "s"},
		"no column":      {Kind: storage.KindGrant},
		"negative limit": {Kind: storage.KindGrant, Subject: "s", Limit: -1},
		"high limit":     {Kind: storage.KindGrant, Subject: "s", Limit: storage.MaxLimit + 1},
	} {
		if page, err := e.Find(e.Context(), q); !errors.Is(err, storage.ErrInvalid) || len(page.Records) > 0 {
			e.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	// A cursor is the backend's own affair, but one from elsewhere must do no harm.
	e.must(storage.Insert(record(grantRef("a"), "")))
	for _, cursor := range []string{"x", "-1", "\x00", "' OR 1=1", "99999999999999999999999", "9223372036854775807", "0000", "*", "\xff"} {
		_, err := e.Find(e.Context(), storage.Query{Kind: storage.KindGrant, Subject: "sub", After: cursor})
		if c := class(err); c != "ok" && c != "invalid" {
			e.Errorf("foreign cursor %q: %v", cursor, err)
		}
	}
}

func findLimits(e *env) {
	const n = storage.MaxLimit + 1
	for i := 0; i < n; {
		var ops []storage.Op
		for ; len(ops) < storage.MaxOps && i < n; i++ {
			ops = append(ops, storage.Insert(record(grantRef("%d", i), "")))
		}
		e.must(ops...)
	}
	for limit, want := range map[int]int{0: 100, 1: 1, storage.MaxLimit: storage.MaxLimit} {
		q := storage.Query{Kind: storage.KindGrant, Subject: "sub", Limit: limit}
		page, err := e.Find(e.Context(), q)
		if err != nil {
			e.Fatalf("limit %d: %v", limit, err)
		}
		if len(page.Records) != want || page.Next == "" {
			e.Errorf("limit %d: %d records and the cursor %q, want %d and a cursor", limit, len(page.Records), page.Next, want)
		}
	}
}
