package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// A Factory returns a storage that is empty, shares nothing with any other
// that it returned, and is closed by t.Cleanup.
type Factory func(t testing.TB) storage.Storage

// An Option changes how much the kit does, or what it may ask for.
type Option func(*config)

type config struct {
	rounds, racers  int
	enginePurges    bool
	maxKey, maxData int // bytes
}

func configure(opts []Option) config {
	c := config{rounds: 20, racers: 64, maxKey: storage.MaxKey, maxData: storage.MaxData}
	if testing.Short() {
		c.rounds = 4
	}
	for _, opt := range opts {
		opt(&c)
	}
	return c
}

// Rounds sets how often each race is run and how many histories Linearizable
// records. Default: 20; 4 with -short.
func Rounds(n int) Option { return func(c *config) { c.rounds = max(n, 1) } }

// Racers sets how many goroutines take part in a race. Default: 64.
func Racers(n int) Option { return func(c *config) { c.racers = max(n, 4) } }

// EnginePurges says that the engine drops expired records by itself, some
// time after ExpiresAt, so that Purge has little or nothing to delete. What
// Purge must leave alone is tested all the same.
func EnginePurges() Option { return func(c *config) { c.enginePurges = true } }

// Less says that keys and columns, and Data, may be so many bytes shorter than
// storage.MaxKey and storage.MaxData. For decorators, which add something to
// them; a backend takes all.
func Less(key, data int) Option {
	return func(c *config) { c.maxKey, c.maxData = storage.MaxKey-key, storage.MaxData-data }
}

// Run tests the whole contract of package storage, each part as a parallel
// subtest on a storage of its own.
func Run(t *testing.T, f Factory, opts ...Option) {
	c := configure(opts)
	for _, tc := range cases() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(&env{TB: t, Storage: f(t), config: c})
		})
	}
}

// A testCase is one clause of the contract.
type testCase struct {
	name  string
	races []storage.Verb // the verbs that this case races
	run   func(*env)
}

func cases() []testCase {
	return slices.Concat(commitCases, conflictCases, exactCases, findCases, purgeCases, contextCases, raceCases, modelCases)
}

// env is what a case works with. Its helpers end the test; they are for the
// goroutine of the test only.
type env struct {
	testing.TB
	storage.Storage
	config
}

// far is an ExpiresAt that no clock of a test reaches.
var far = time.Date(2100, 2, 3, 4, 5, 6, 789_000, time.UTC)

// ref names a record of one common shard.
func ref(kind storage.Kind, key string) storage.Ref {
	return storage.Ref{Kind: kind, Shard: 7, Key: key}
}

func grantRef(format string, args ...any) storage.Ref {
	return ref(storage.KindGrant, fmt.Sprintf(format, args...))
}

// record is a record with something in every field.
func record(r storage.Ref, data string) storage.Record {
	return storage.Record{
		Ref: r, Subject: "sub", Client: "cli", Session: "ses", Grant: "gra",
		ExpiresAt: far, Data: []byte(data),
	}
}

func (e *env) commit(ops ...storage.Op) error { return e.Commit(e.Context(), ops...) }

func (e *env) must(ops ...storage.Op) {
	e.Helper()
	if err := e.commit(ops...); err != nil {
		e.Fatalf("commit of %s: %v", describe(ops), err)
	}
}

// row returns the record, or nil if there is none.
func (e *env) row(r storage.Ref) *storage.Record {
	e.Helper()
	rec, err := e.Get(e.Context(), r)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if rec != nil {
			e.Fatalf("get %v: a record together with %v", r, err)
		}
		return nil
	case err != nil:
		e.Fatalf("get %v: %v", r, err)
	case rec == nil:
		e.Fatalf("get %v: neither a record nor an error", r)
	}
	return rec
}

func (e *env) wantRow(r storage.Ref, want *storage.Record) {
	e.Helper()
	if diff := differ(e.row(r), want); diff != "" {
		e.Fatalf("record %v: %s", r, diff)
	}
}

// wantConflict demands a ConflictError for ops[index].
func (e *env) wantConflict(err error, ops []storage.Op, index int, want error, current *storage.Record) {
	e.Helper()
	var c *storage.ConflictError
	if !errors.As(err, &c) {
		e.Fatalf("commit of %s: got %v, want a ConflictError: %v", describe(ops), err, want)
	}
	if !errors.Is(err, want) || !errors.Is(c.Err, want) {
		e.Fatalf("commit of %s: got %v, want %v", describe(ops), err, want)
	}
	if c.Index != index {
		e.Fatalf("commit of %s: op %d is blamed, want the lowest failing op %d", describe(ops), c.Index, index)
	}
	if op := ops[index]; c.Op.Verb != op.Verb || c.Op.Record.Ref != op.Record.Ref {
		e.Fatalf("commit of %s: ConflictError.Op is %s %v, want %s %v", describe(ops), c.Op.Verb, c.Op.Record.Ref, op.Verb, op.Record.Ref)
	}
	if diff := differ(c.Current, current); diff != "" {
		e.Fatalf("commit of %s: ConflictError.Current: %s", describe(ops), diff)
	}
}

// collect pages through all that q selects.
func (e *env) collect(q storage.Query) []*storage.Record {
	e.Helper()
	var all []*storage.Record
	for {
		page, err := e.Find(e.Context(), q)
		if err != nil {
			e.Fatalf("find %+v: %v", q, err)
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		if page.Next == q.After {
			e.Fatalf("find %+v: the cursor does not move", q)
		}
		q.After = page.Next
	}
}

// race runs do in n goroutines and returns their errors. Each first makes a
// call of its own, so that a connection is open, and waits for the others.
func (e *env) race(n int, do func(i int) error) []error {
	var (
		ready, done sync.WaitGroup
		barrier     = make(chan struct{})
		errs        = make([]error, n)
	)
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			_, _ = e.Get(e.Context(), grantRef("warm"))
			ready.Done()
			<-barrier
			errs[i] = do(i)
		})
	}
	ready.Wait()
	close(barrier)
	done.Wait()
	return errs
}

// count returns how many errors are of each class.
func count(errs []error) map[string]int {
	m := map[string]int{}
	for _, err := range errs {
		m[class(err)]++
	}
	return m
}

// class names what an error means to a caller of a storage.
func class(err error) string {
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "unavailable"
}

var classes = []struct {
	err  error
	name string
}{
	{nil, "ok"},
	{storage.ErrUnavailable, "unavailable"},
	{storage.ErrInvalid, "invalid"},
	{storage.ErrExists, "exists"},
	{storage.ErrNotFound, "not found"},
	{storage.ErrConsumed, "consumed"},
	{storage.ErrConflict, "conflict"},
}

// differ says in what got is not want, or "". Empty Data may come back as nil.
func differ(got, want *storage.Record) string {
	switch {
	case got == nil && want == nil:
		return ""
	case got == nil:
		return "absent, want it to be there"
	case want == nil:
		return fmt.Sprintf("there (version %d, state %d), want it absent", got.Version, got.State)
	}
	type field struct {
		name      string
		got, want any
	}
	for _, f := range []field{
		{"Ref", got.Ref, want.Ref}, {"Version", got.Version, want.Version}, {"State", got.State, want.State},
		{"Subject", got.Subject, want.Subject}, {"Client", got.Client, want.Client},
		{"Session", got.Session, want.Session}, {"Grant", got.Grant, want.Grant},
	} {
		if f.got != f.want {
			return fmt.Sprintf("%s is %.80q, want %.80q", f.name, fmt.Sprint(f.got), fmt.Sprint(f.want))
		}
	}
	if !got.ExpiresAt.Equal(want.ExpiresAt) || got.ExpiresAt.IsZero() != want.ExpiresAt.IsZero() {
		return fmt.Sprintf("ExpiresAt is %v, want %v", got.ExpiresAt, want.ExpiresAt)
	}
	if got.ExpiresAt.Location() != time.UTC {
		return fmt.Sprintf("ExpiresAt is in %v, want UTC", got.ExpiresAt.Location())
	}
	if !bytes.Equal(got.Data, want.Data) {
		return fmt.Sprintf("Data is %d bytes %.40q, want %d bytes %.40q", len(got.Data), got.Data, len(want.Data), want.Data)
	}
	return ""
}

// stored is the record as it is after it was written as the given version.
func stored(r storage.Record, version int64, state storage.State) *storage.Record {
	c := r.Clone()
	c.Version, c.State, c.ExpiresAt = version, state, storage.Time(r.ExpiresAt)
	return c
}

func describe(ops []storage.Op) string {
	s := "["
	for i, op := range ops {
		if i > 0 {
			s += ", "
		}
		if i == 4 {
			return fmt.Sprintf("%s… %d ops]", s, len(ops))
		}
		s += fmt.Sprintf("%s %s/%d/%.20q", op.Verb, op.Record.Kind, op.Record.Shard, op.Record.Key)
	}
	return s + "]"
}

// background is a context for goroutines that outlive no test.
func (e *env) background() (context.Context, context.CancelFunc) {
	return context.WithCancel(e.Context())
}
