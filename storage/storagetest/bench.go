package storagetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// Bench measures what the kit asks of a storage, on a table of 10 000 records
// of 600 bytes, so that the numbers of backends can be compared. The names
// that end in /parallel have GOMAXPROCS callers on rows of their own.
func Bench(b *testing.B, f Factory) {
	for _, bench := range []struct {
		name string
		run  func(*env, int) error // n counts from 0 and comes once
		prep func(int) []storage.Op
	}{
		{"get", func(e *env, n int) error { _, err := e.Get(e.Context(), benchRef("base", n%benchRows)); return err }, nil},
		{"get absent", func(e *env, n int) error {
			_, err := e.Get(e.Context(), benchRef("none", n))
			if class(err) == "not found" {
				return nil
			}
			return fmt.Errorf("got %w", err)
		}, nil},
		{"insert", func(e *env, n int) error { return e.commit(storage.Insert(benchRecord("new", n))) }, nil},
		{"consume", func(e *env, n int) error { return e.commit(storage.Consume(benchRef("spend", n))) }, benchInsert("spend")},
		{"update", func(e *env, n int) error {
			r := benchRecord("change", n)
			r.Version = 1
			return e.commit(storage.Update(r))
		}, benchInsert("change")},
		{"commit of two", func(e *env, n int) error {
			return e.commit(storage.Consume(benchRef("redeem", n)), storage.Insert(benchRecord("issued", n)))
		}, benchInsert("redeem")},
		{"conflict", func(e *env, n int) error {
			err := e.commit(storage.Insert(benchRecord("base", n%benchRows)))
			if class(err) == "exists" {
				return nil
			}
			return fmt.Errorf("got %w", err)
		}, nil},
		{"find", func(e *env, n int) error {
			page, err := e.Find(e.Context(), storage.Query{Kind: storage.KindGrant, Subject: fmt.Sprint("subject ", n%(benchRows/10))})
			if err == nil && len(page.Records) != 10 {
				err = fmt.Errorf("%d records, want 10", len(page.Records))
			}
			return err
		}, nil},
	} {
		for _, parallel := range []bool{false, true} {
			name := bench.name
			if parallel {
				name += "/parallel"
			}
			b.Run(name, func(b *testing.B) {
				e := &env{TB: b, Storage: f(b)}
				e.fill(benchRows, benchInsert("base"))
				if bench.prep != nil {
					e.fill(b.N, bench.prep)
				}
				b.ReportAllocs()
				b.ResetTimer()
				if !parallel {
					for n := range b.N {
						if err := bench.run(e, n); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := bench.run(e, int(next.Add(1))-1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

const benchRows = 10_000

func benchRef(family string, n int) storage.Ref {
	// Keys are spread as digests are.
	return storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: fmt.Sprintf("%016x%016x %s", mix(uint64(n)), mix(uint64(n)+1<<40), family)}
}

func benchRecord(family string, n int) storage.Record {
	r := record(benchRef(family, n), "")
	r.Data = make([]byte, 600)
	r.Subject, r.Session, r.Grant = fmt.Sprint(family, n), fmt.Sprint(family, " session ", n), ""
	if family == "base" {
		r.Subject = fmt.Sprint("subject ", n%(benchRows/10))
	}
	return r
}

func benchInsert(family string) func(int) []storage.Op {
	return func(n int) []storage.Op { return []storage.Op{storage.Insert(benchRecord(family, n))} }
}

// fill commits the ops of 0 to n-1, many at a time.
func (e *env) fill(n int, ops func(int) []storage.Op) {
	e.Helper()
	var batch []storage.Op
	for i := range n {
		batch = append(batch, ops(i)...)
		if i == n-1 || len(batch) == storage.MaxOps {
			e.must(batch...)
			batch = nil
		}
	}
}
