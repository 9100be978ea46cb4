package storagetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

func TestFlakyPassesOn(t *testing.T) {
	t.Parallel()
	Run(t, func(testing.TB) storage.Storage { return Flaky(memory.New(), Plan{}) }, Rounds(2))
}

func TestSeveral(t *testing.T) {
	t.Parallel()
	Run(t, func(testing.TB) storage.Storage { m := memory.New(); return Several(m, m, m) }, Rounds(2))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, test := range []struct {
		name    string
		fault   Fault
		want    error // nil: success
		applied bool
	}{
		{"fail", Fail(boom), boom, false},
		{"fail unavailable", Fail(storage.ErrUnavailable), storage.ErrUnavailable, false},
		{"commit then error", CommitThenError, storage.ErrUnavailable, true},
		{"commit then retry", CommitThenRetry, storage.ErrConsumed, true},
		{"hang", Hang, context.DeadlineExceeded, false},
		{"commit then hang", CommitThenHang, context.DeadlineExceeded, true},
		{"skip", Skip, nil, false},
		{"delay", Delay(time.Second), nil, true},
		{"delay past the deadline", Delay(time.Hour), context.DeadlineExceeded, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := Flaky(memory.New(), Plan{Faults: map[int]Fault{2: test.fault}})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				r := record(grantRef("a"), "")
				if err := s.Commit(ctx, storage.Insert(r)); err != nil {
					t.Fatal(err)
				}
				err := s.Commit(ctx, storage.Consume(r.Ref))
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if test.want != nil && test.want != boom && class(err) != class(test.want) {
					t.Errorf("got class %s of %v", class(err), err)
				}
				got, err := s.Get(t.Context(), r.Ref)
				if err != nil {
					t.Fatal(err)
				}
				if applied := got.State == storage.Consumed; applied != test.applied {
					t.Errorf("applied: %v, want %v", applied, test.applied)
				}
				if s.Count() != 3 || s.Calls()[1].Ops[0].Verb != storage.VerbConsume || s.Calls()[2].Ref != r.Ref {
					t.Errorf("calls: %+v", s.Calls())
				}
			})
		})
	}
}

func TestFaultsOfReads(t *testing.T) {
	t.Parallel()
	s := Flaky(memory.New(), Plan{})
	r := record(grantRef("a"), "")
	if err := s.Commit(t.Context(), storage.Insert(r)); err != nil {
		t.Fatal(err)
	}
	every := func(f Fault) Plan { return Plan{Choose: func(Call) Fault { return f }} }

	s.Arm(every(Skip))
	if got, err := s.Get(t.Context(), r.Ref); got != nil || err != nil {
		t.Errorf("skipped Get: %v, %v", got, err)
	}
	s.Arm(every(CommitThenError))
	if got, err := s.Get(t.Context(), r.Ref); got != nil || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Get with a lost answer: %v, %v", got, err)
	}
	if page, err := s.Find(t.Context(), storage.Query{Kind: r.Kind, Subject: "sub"}); len(page.Records) > 0 || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Find with a lost answer: %v, %v", page, err)
	}
	if s.Count() != 2 {
		t.Errorf("%d calls since it was armed, want 2", s.Count())
	}
	s.Arm(Plan{Faults: map[int]Fault{1: Fail(storage.ErrNotFound)}})
	if _, err := s.Get(t.Context(), r.Ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get by a forgetful storage: %v", err)
	}
	if _, err := s.Get(t.Context(), r.Ref); err != nil {
		t.Errorf("Get after the fault: %v", err)
	}
}

func TestCommitThenPanic(t *testing.T) {
	t.Parallel()
	s := Flaky(memory.New(), Plan{Faults: map[int]Fault{1: CommitThenPanic}})
	r := record(grantRef("a"), "")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = s.Commit(t.Context(), storage.Insert(r))
	}()
	if _, err := s.Get(t.Context(), r.Ref); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

func TestCancelMid(t *testing.T) {
	t.Parallel()
	s := Flaky(memory.New(), Plan{Choose: func(c Call) Fault {
		if c.Method == "Commit" {
			return CancelMid
		}
		return nil
	}})
	for i := range 50 {
		r := record(grantRef("%d", i), "")
		if err := s.Commit(t.Context(), storage.Insert(r)); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		if _, err := s.Get(t.Context(), r.Ref); err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := Flaky(memory.New(), Plan{Latency: Fixed(3 * time.Second)})
		start := time.Now()
		var calls sync.WaitGroup
		for range 10 { // they wait side by side
			calls.Go(func() { _, _ = s.Get(t.Context(), grantRef("a")) })
		}
		calls.Wait()
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("ten calls at once took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Commit(ctx, storage.Insert(record(grantRef("a"), ""))); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that was given up: %v", err)
		}
		if _, err := s.Get(t.Context(), grantRef("a")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a call that was given up reached the storage: %v", err)
		}
	})
	first, second := Random(7, time.Millisecond, 5*time.Millisecond), Random(7, time.Millisecond, 5*time.Millisecond)
	seen := map[time.Duration]bool{}
	for n := range 100 {
		d := first(n)
		if d != second(n) || d < time.Millisecond || d >= 5*time.Millisecond {
			t.Fatalf("latency %d: %v and %v", n, d, second(n))
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("only %d different latencies", len(seen))
	}
	if d := Random(1, time.Second, time.Second)(1); d != time.Second {
		t.Errorf("from one second to one second: %v", d)
	}
}
