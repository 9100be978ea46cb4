package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// open returns an empty storage, closed by t.Cleanup.
func open(testing.TB) storage.Storage { return memory.New() }

// A backend's whole test.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestStorage(t *testing.T)
		storagetest.Run(t, open)
	}
	_ = func(t *testing.T) { // longer, on an engine that drops expired rows by itself
		storagetest.Run(t, open, storagetest.Rounds(200), storagetest.Racers(128), storagetest.EnginePurges())
	}
	_ = func(t *testing.T) { // a decorator that makes keys 8 and data 45 bytes longer
		storagetest.Run(t, open, storagetest.Less(8, 45))
	}
	// Output:
}

// Recorded histories, checked for linearizability.
func ExampleLinearizable() {
	_ = func(t *testing.T) {
		storagetest.Linearizable(t, open, storagetest.Rounds(50))
	}
	// Output:
}

// Random batches against the memory model.
func ExampleFuzz() {
	_ = func(f *testing.F) { storagetest.Fuzz(f, open) }
	// Output:
}

// The same figures for every backend.
func ExampleBench() {
	_ = func(b *testing.B) { storagetest.Bench(b, open) }
	// Output:
}

var ref = storage.Ref{Kind: storage.KindCode, Key: "c"}

// What does a caller do when a commit happened and its answer was lost?
func ExampleFlaky() {
	ctx := context.Background()
	s := storagetest.Flaky(memory.New(), storagetest.Plan{
		Faults: map[int]storagetest.Fault{1: storagetest.CommitThenError},
	})
	err := s.Commit(ctx, storage.Insert(storage.Record{Ref: ref}))
	fmt.Println(errors.Is(err, storage.ErrUnavailable))
	_, err = s.Get(ctx, ref)
	fmt.Println(err, s.Count())
	// Output:
	// true
	// <nil> 2
}

// Faults chosen by what the call does.
func ExampleFlakyStorage_Arm() {
	ctx := context.Background()
	s := storagetest.Flaky(memory.New(), storagetest.Plan{})
	_ = s.Commit(ctx, storage.Insert(storage.Record{Ref: ref}))
	s.Arm(storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
		if c.Method == "Commit" && c.Ops[0].Verb == storage.VerbConsume {
			return storagetest.Fail(storage.ErrUnavailable)
		}
		return nil
	}})
	_, err := s.Get(ctx, ref)
	fmt.Println(err)
	fmt.Println(s.Commit(ctx, storage.Consume(ref)))
	for _, c := range s.Calls() {
		fmt.Println(c.N, c.Method)
	}
	// Output:
	// <nil>
	// storage: unavailable
	// 1 Get
	// 2 Commit
}

// A storage as slow as one over a network brings races in its users out.
func ExampleRandom() {
	latency := storagetest.Random(1, time.Millisecond, 20*time.Millisecond)
	s := storagetest.Flaky(memory.New(), storagetest.Plan{Latency: latency})
	_, err := s.Get(context.Background(), ref)
	again := storagetest.Random(1, time.Millisecond, 20*time.Millisecond)
	fmt.Println(err, latency(7) == again(7), storagetest.Fixed(time.Millisecond)(7))
	// Output: storage: not found true 1ms
}

// What each fault lets the caller see, and whether the commit happened.
func ExampleFault() {
	ctx := context.Background()
	for _, f := range []struct {
		name  string
		fault storagetest.Fault
	}{
		{"fail", storagetest.Fail(storage.ErrUnavailable)},
		{"commit, then error", storagetest.CommitThenError},
		{"commit, then retry", storagetest.CommitThenRetry},
		{"commit, then hang", storagetest.CommitThenHang},
		{"hang", storagetest.Hang},
		{"skip", storagetest.Skip},
	} {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		s := storagetest.Flaky(memory.New(), storagetest.Plan{Faults: map[int]storagetest.Fault{1: f.fault}})
		err := s.Commit(ctx, storage.Insert(storage.Record{Ref: ref}))
		_, absent := s.Get(context.Background(), ref)
		fmt.Printf("%s: told %v, happened %t\n", f.name, err == nil, absent == nil)
		cancel()
	}
	func() {
		defer func() { fmt.Println("commit, then panic:", recover() != nil) }()
		s := storagetest.Flaky(memory.New(), storagetest.Plan{Faults: map[int]storagetest.Fault{1: storagetest.CommitThenPanic}})
		_ = s.Commit(ctx, storage.Insert(storage.Record{Ref: ref}))
	}()
	// Output:
	// fail: told false, happened false
	// commit, then error: told false, happened true
	// commit, then retry: told false, happened true
	// commit, then hang: told false, happened true
	// hang: told false, happened false
	// skip: told true, happened false
	// commit, then panic: true
}

// The caller leaves while the call runs: whether it happened is open.
func ExampleCancelMid() {
	s := storagetest.Flaky(memory.New(), storagetest.Plan{Faults: map[int]storagetest.Fault{
		1: storagetest.CancelMid, 2: storagetest.Delay(time.Millisecond),
	}})
	fmt.Println(s.Commit(context.Background(), storage.Insert(storage.Record{Ref: ref})) != nil)
	_, err := s.Get(context.Background(), ref) // late, and well
	fmt.Println(err == nil || errors.Is(err, storage.ErrNotFound))
	// Output:
	// true
	// true
}

// Several handles of one database stand for several processes.
func ExampleSeveral() {
	ctx, db := context.Background(), memory.New()
	s := storagetest.Several(db, db) // two connections, say
	_ = s.Commit(ctx, storage.Insert(storage.Record{Ref: ref}))
	_, err := s.Get(ctx, ref)
	fmt.Println(err)
	// Output: <nil>
}
