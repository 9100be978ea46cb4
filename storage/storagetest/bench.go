package storagetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// Bench measures what the kit asks of a storage, so that the numbers of
// backends can be compared: records of 600 bytes in a table of some thousands.
// All benchmarks share one storage. Those whose name ends in /parallel have
// GOMAXPROCS callers on rows of their own.
func Bench(b *testing.B, f Factory) {
	s := f(b)
	(&env{TB: b, Storage: s}).fill(benchRows, "base")
	var runs atomic.Int64
	for _, bench := range []struct {
		name string
		prep bool                                     // one row for each call
		call func(e *env, family string, n int) error // n counts from 0 and comes once
	}{
		{"get", false, func(e *env, _ string, n int) error {
			_, err := e.Get(e.Context(), benchRef("base", n%benchRows))
			return err
		}},
		{"get absent", false, func(e *env, _ string, n int) error {
			_, err := e.Get(e.Context(), benchRef("none", n))
			return expect("not found", err)
		}},
		{"insert", false, func(e *env, family string, n int) error {
			return e.commit(storage.Insert(benchRecord(family, n)))
		}},
		{"consume", true, func(e *env, family string, n int) error {
			return e.commit(storage.Consume(benchRef(family, n)))
		}},
		{"update", true, func(e *env, family string, n int) error {
			r := benchRecord(family, n)
			r.Version = 1
			return e.commit(storage.Update(r))
		}},
		{"commit of two", true, func(e *env, family string, n int) error {
			return e.commit(storage.Consume(benchRef(family, n)), storage.Insert(benchRecord(family+" issued", n)))
		}},
		{"conflict", false, func(e *env, _ string, n int) error {
			return expect("exists", e.commit(storage.Insert(benchRecord("base", n%benchRows))))
		}},
		{"find", false, func(e *env, _ string, n int) error {
			page, err := e.Find(e.Context(), storage.Query{Kind: storage.KindGrant, Subject: fmt.Sprint("subject ", n%(benchRows/10))})
			if err == nil && len(page.Records) != 10 {
				err = fmt.Errorf("%d records, want 10", len(page.Records))
			}
			return err
		}},
	} {
		for _, parallel := range []bool{false, true} {
			name := bench.name
			if parallel {
				name += "/parallel"
			}
			b.Run(name, func(b *testing.B) {
				e := &env{TB: b, Storage: s}
				family := fmt.Sprint("run ", runs.Add(1))
				if bench.prep {
					e.fill(b.N, family)
				}
				b.ReportAllocs()
				b.ResetTimer()
				if !parallel {
					for n := range b.N {
						if err := bench.call(e, family, n); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := bench.call(e, family, int(next.Add(1))-1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func expect(want string, err error) error {
	if class(err) != want {
		return fmt.Errorf("got %v, want %s", err, want)
	}
	return nil
}

const benchRows = 2000

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

// fill inserts the rows 0 to n-1 of a family, many at a time.
func (e *env) fill(n int, family string) {
	e.Helper()
	var batch []storage.Op
	for i := range n {
		batch = append(batch, storage.Insert(benchRecord(family, i)))
		if i == n-1 || len(batch) == storage.MaxOps {
			e.must(batch...)
			batch = nil
		}
	}
}
