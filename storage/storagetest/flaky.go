package storagetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// A Call is one call that a [FlakyStorage] received.
type Call struct {
	N      int          // number of the call since the plan was armed, from 1
	Method string       // "Get", "Commit", "Find" or "Purge"
	Ref    storage.Ref  // of a Get
	Ops    []storage.Op // of a Commit; to be read only
}

// A Fault stands in for one call of the storage underneath. It runs do never,
// once or more often, and returns what the caller gets to see; do returns the
// storage's own error. A Fault that returns nil without do makes Get answer
// (nil, nil) and Commit lie. It may be called from many goroutines at once.
type Fault func(ctx context.Context, do func(context.Context) error) error

// A Plan says what a [FlakyStorage] does to each call. The zero Plan passes
// every call on as it is. Its functions are called from many goroutines at
// once.
type Plan struct {
	// Latency is waited for before the call number n reaches the storage. A
	// context that ends first ends the wait: the call fails with ErrUnavailable
	// and never reaches the storage. Nil: no latency. See Fixed and Random.
	Latency func(n int) time.Duration

	// Faults by the number of the call, from 1.
	Faults map[int]Fault

	// Choose picks the fault of a call that is not in Faults; nil or a nil
	// Fault: none. Use it to hit, say, the second Commit that consumes a code.
	Choose func(Call) Fault
}

// Flaky wraps s so that calls become slow or fail as p says. It is safe for
// concurrent use.
//
// A storage in memory answers so fast that races in its users hide; give it
// latency to bring them out:
//
//	s := storagetest.Flaky(memory.New(), storagetest.Plan{
//		Latency: storagetest.Random(1, 0, 5*time.Millisecond),
//		Faults:  map[int]storagetest.Fault{3: storagetest.CommitThenError},
//	})
func Flaky(s storage.Storage, p Plan) *FlakyStorage {
	f := &FlakyStorage{inner: s}
	f.Arm(p)
	return f
}

// FlakyStorage is made by [Flaky].
type FlakyStorage struct {
	inner storage.Storage

	mu    sync.Mutex
	plan  Plan
	calls []Call
}

// Arm replaces the plan. The count of calls starts again at 1; calls already
// under way keep their fault.
func (f *FlakyStorage) Arm(p Plan) {
	p.Faults = maps.Clone(p.Faults)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.calls = p, nil
}

// Count returns how many calls came in since the plan was armed.
func (f *FlakyStorage) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// Calls returns the calls that came in since the plan was armed, in order.
func (f *FlakyStorage) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *FlakyStorage) call(ctx context.Context, c Call, do func(context.Context) error) error {
	f.mu.Lock()
	c.N = len(f.calls) + 1
	f.calls = append(f.calls, c)
	plan := f.plan
	f.mu.Unlock()

	if plan.Latency != nil {
		if err := sleep(ctx, plan.Latency(c.N)); err != nil {
			return err
		}
	}
	fault := plan.Faults[c.N]
	if fault == nil && plan.Choose != nil {
		fault = plan.Choose(c)
	}
	if fault == nil {
		return do(ctx)
	}
	return fault(ctx, do)
}

// Get implements storage.Storage.
func (f *FlakyStorage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	var r *storage.Record
	err := f.call(ctx, Call{Method: "Get", Ref: ref}, func(ctx context.Context) (err error) {
		r, err = f.inner.Get(ctx, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Commit implements storage.Storage.
func (f *FlakyStorage) Commit(ctx context.Context, ops ...storage.Op) error {
	ops = cloneOps(ops)
	return f.call(ctx, Call{Method: "Commit", Ops: ops}, func(ctx context.Context) error {
		return f.inner.Commit(ctx, ops...)
	})
}

// Find implements storage.Storage.
func (f *FlakyStorage) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	var page storage.Page
	err := f.call(ctx, Call{Method: "Find"}, func(ctx context.Context) (err error) {
		page, err = f.inner.Find(ctx, q)
		return err
	})
	if err != nil {
		return storage.Page{}, err
	}
	return page, nil
}

// Purge implements storage.Storage.
func (f *FlakyStorage) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int
	err := f.call(ctx, Call{Method: "Purge"}, func(ctx context.Context) (err error) {
		n, err = f.inner.Purge(ctx, before, limit)
		return err
	})
	return n, err
}

func cloneOps(ops []storage.Op) []storage.Op {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Record = *ops[i].Record.Clone()
	}
	return ops
}

// Fail answers err; the call never reaches the storage. Fail(ErrUnavailable)
// is a backend that is down, Fail(ErrNotFound) one that forgot.
func Fail(err error) Fault {
	return func(context.Context, func(context.Context) error) error { return err }
}

// CommitThenError lets the call happen and answers ErrUnavailable: the
// connection broke before the answer came.
func CommitThenError(ctx context.Context, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: the answer was lost", storage.ErrUnavailable)
}

// CommitThenRetry lets the call happen twice and answers the second time: a
// proxy that repeats what it should not. A Consume that won is told that it
// lost.
func CommitThenRetry(ctx context.Context, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return err
	}
	return do(ctx)
}

// CancelMid cancels the storage's context while the call runs and answers
// whatever the storage made of it; a nil error turns into ErrUnavailable,
// since a caller that has gone does not hear it.
func CancelMid(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		cancel()
	}()
	err := do(ctx)
	<-stopped
	if err == nil {
		err = fmt.Errorf("%w: %w", storage.ErrUnavailable, context.Canceled)
	}
	return err
}

// Hang waits until ctx is done; the call never reaches the storage.
func Hang(ctx context.Context, _ func(context.Context) error) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
}

// CommitThenHang lets the call happen, then waits until ctx is done.
func CommitThenHang(ctx context.Context, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return err
	}
	return Hang(ctx, nil)
}

// CommitThenPanic lets the call happen and panics.
func CommitThenPanic(ctx context.Context, do func(context.Context) error) error {
	err := do(ctx)
	panic(fmt.Errorf("storagetest: planned panic after %v", err))
}

// Skip answers nil and never calls the storage: Get returns (nil, nil), and
// Commit says done when it is not.
func Skip(context.Context, func(context.Context) error) error { return nil }

// Delay lets the call happen d later.
func Delay(d time.Duration) Fault {
	return func(ctx context.Context, do func(context.Context) error) error {
		if err := sleep(ctx, d); err != nil {
			return err
		}
		return do(ctx)
	}
}

// Fixed is a Latency of d for every call.
func Fixed(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

// Random is a Latency between low and high. The same seed gives the same
// latency to the same number of call.
func Random(seed uint64, low, high time.Duration) func(int) time.Duration {
	return func(n int) time.Duration {
		if high <= low {
			return low
		}
		return low + time.Duration(mix(seed+uint64(n))%uint64(high-low))
	}
}

// mix is the finalizer of splitmix64: enough chance for tests, without state.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
}
