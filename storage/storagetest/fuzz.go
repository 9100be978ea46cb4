package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// Fuzz decodes its input into commits, reads and purges, and does the same
// on the storage and on the memory backend: answers and rows must be alike.
// Each input gets a storage of its own.
func Fuzz(f *testing.F, mk Factory, opts ...Option) {
	f.Add([]byte{})
	f.Add([]byte("insert, update, consume, delete and check"))
	for seed := range uint64(8) {
		f.Add(noise(seed, 200))
	}
	c := configure(opts)
	f.Fuzz(func(t *testing.T, input []byte) {
		replay(&env{TB: t, Storage: mk(t), config: c}, input)
	})
}

var modelCases = []testCase{{name: "random calls as in memory", run: func(e *env) {
	replay(e, noise(99, 200*e.rounds))
}}}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(mix(seed<<32 + uint64(i)))
	}
	return b
}

// tape hands out the bytes of an input; after its end, zeros.
type tape struct{ b []byte }

func (t *tape) pick(below int) int {
	if len(t.b) == 0 {
		return 0
	}
	v := int(t.b[0]) % below
	t.b = t.b[1:]
	return v
}

var (
	fuzzKinds  = []storage.Kind{storage.KindGrant, storage.KindCode}
	fuzzKeys   = []string{"a", "A", "a\x00", "\xff"}
	fuzzValues = []string{"", "x", "X", "x\x00"}
	fuzzTimes  = []time.Time{{}, far, far.Add(time.Microsecond), far.Add(time.Nanosecond), far.AddDate(1, 0, 0)}
)

func (t *tape) ref() storage.Ref {
	return storage.Ref{Kind: fuzzKinds[t.pick(2)], Shard: uint16(t.pick(8) / 7), Key: fuzzKeys[t.pick(len(fuzzKeys))]}
}

func (t *tape) op() storage.Op {
	r := storage.Record{Ref: t.ref()}
	verb := storage.Verb(t.pick(6))
	if verb == 0 { // now and then one that is unknown
		verb = storage.Verb(1 + t.pick(255))
	}
	if verb == storage.VerbInsert || verb == storage.VerbUpdate {
		r.Version = int64(t.pick(4))
		r.Subject, r.Client = fuzzValues[t.pick(4)], fuzzValues[t.pick(4)]
		r.Session, r.Grant = fuzzValues[t.pick(4)], fuzzValues[t.pick(4)]
		r.ExpiresAt = fuzzTimes[t.pick(len(fuzzTimes))]
		n := min(t.pick(16), len(t.b))
		r.Data, t.b = t.b[:n:n], t.b[n:]
	}
	return storage.Op{Verb: verb, Record: r}
}

func replay(e *env, input []byte) {
	model := &env{TB: e.TB, Storage: memory.New(), config: e.config}
	t := &tape{input}
	for len(t.b) > 0 {
		switch what := t.pick(16); {
		case what < 12:
			var ops []storage.Op
			for range 1 + t.pick(3) {
				ops = append(ops, t.op())
			}
			e.sameCommit(model, ops)
		case what < 14:
			q := storage.Query{
				Kind: fuzzKinds[t.pick(2)], Subject: fuzzValues[t.pick(4)], Client: fuzzValues[t.pick(4)],
				Session: fuzzValues[t.pick(4)], Grant: fuzzValues[t.pick(4)], Limit: 1 + t.pick(3),
			}
			if q.Subject+q.Client+q.Session+q.Grant != "" {
				e.samePages(model, q)
			}
		case what == 14:
			e.sameRow(model, t.ref())
		case !e.enginePurges:
			before := fuzzTimes[t.pick(len(fuzzTimes))].Truncate(time.Microsecond)
			if got, want := e.purge(before, 1000), model.purge(before, 1000); got != want {
				e.Fatalf("purge before %v: %d, want %d", before, got, want)
			}
		}
	}
	for _, kind := range fuzzKinds {
		for shard := range uint16(2) {
			for _, k := range fuzzKeys {
				e.sameRow(model, storage.Ref{Kind: kind, Shard: shard, Key: k})
			}
		}
		for _, v := range fuzzValues[1:] {
			e.samePages(model, storage.Query{Kind: kind, Subject: v})
			e.samePages(model, storage.Query{Kind: kind, Client: v})
			e.samePages(model, storage.Query{Kind: kind, Session: v})
			e.samePages(model, storage.Query{Kind: kind, Grant: v})
		}
	}
}

func (e *env) sameRow(model *env, r storage.Ref) {
	e.Helper()
	e.wantRow(r, model.row(r))
}

func (e *env) sameCommit(model *env, ops []storage.Op) {
	e.Helper()
	got, want := e.commit(cloneOps(ops)...), model.commit(cloneOps(ops)...)
	var c *storage.ConflictError
	switch {
	case class(got) != class(want):
		e.Fatalf("commit of %s: %v, want %v", describe(ops), got, want)
	case errors.As(want, &c):
		e.wantConflict(got, ops, c.Index, c.Err, c.Current)
	}
	for _, op := range ops {
		e.sameRow(model, op.Record.Ref)
	}
}

func (e *env) samePages(model *env, q storage.Query) {
	e.Helper()
	got, want := e.collect(q), model.collect(q)
	sort := func(rs []*storage.Record) {
		slices.SortFunc(rs, func(a, b *storage.Record) int {
			return strings.Compare(fmt.Sprint(a.Shard, a.Key), fmt.Sprint(b.Shard, b.Key))
		})
	}
	sort(got)
	sort(want)
	if len(got) != len(want) {
		e.Fatalf("find %+v: %d records, want %d", q, len(got), len(want))
	}
	for i := range got {
		if diff := differ(got[i], want[i]); diff != "" {
			e.Fatalf("find %+v: %v: %s", q, want[i].Ref, diff)
		}
	}
}
