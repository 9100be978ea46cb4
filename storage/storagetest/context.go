package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/idpkit/idpkit/storage"
)

var contextCases = []testCase{
	{name: "a done context is an outage, not an answer", run: doneContext},
	{name: "a cancelled commit leaves all or nothing", run: cancelledCommit},
	{name: "a cancelled caller leaves the storage usable", run: cancelledOthers},
}

func doneContext(e *env) {
	r := record(grantRef("a"), "")
	e.must(storage.Insert(r))
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	want := func(method string, err error) {
		e.Helper()
		// The reason alone will do: any other error counts as ErrUnavailable.
		if !errors.Is(err, context.Canceled) && !errors.Is(err, storage.ErrUnavailable) {
			e.Errorf("%s with a done context: %v, want ErrUnavailable", method, err)
		}
		if c := class(err); c != "unavailable" {
			e.Errorf("%s with a done context says %q", method, c)
		}
	}
	_, err := e.Get(ctx, r.Ref)
	want("Get", err)
	_, err = e.Get(ctx, grantRef("absent"))
	want("Get of an absent record", err)
	_, err = e.Find(ctx, storage.Query{Kind: r.Kind, Subject: "sub"})
	want("Find", err)
	want("Commit", e.Commit(ctx, storage.Insert(record(grantRef("b"), ""))))
	want("Commit that would fail", e.Commit(ctx, storage.Insert(r)))
	_, err = e.Purge(ctx, far.AddDate(1, 0, 0), 10)
	want("Purge", err)
	e.wantRow(r.Ref, stored(r, 1, storage.Active))
}

func cancelledCommit(e *env) {
	for round := range 10 * e.rounds {
		one, two := record(grantRef("%d one", round), "one"), record(grantRef("%d two", round), "two")
		e.must(storage.Insert(one))
		ctx, cancel := context.WithCancel(e.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for range round * 7 % 50 {
				runtime.Gosched()
			}
			cancel()
		}()
		err := e.Commit(ctx, storage.Consume(one.Ref), storage.Insert(two))
		<-stopped
		switch class(err) {
		case "ok":
			e.wantRow(one.Ref, stored(one, 2, storage.Consumed))
			e.wantRow(two.Ref, stored(two, 1, storage.Active))
		case "unavailable":
			if e.row(two.Ref) == nil {
				e.wantRow(one.Ref, stored(one, 1, storage.Active))
			} else {
				e.wantRow(one.Ref, stored(one, 2, storage.Consumed))
			}
		default:
			e.Fatalf("cancelled commit: %v", err)
		}
	}
}

// cancelledOthers cancels half of many calls; the other half must not notice.
func cancelledOthers(e *env) {
	for round := range e.rounds {
		errs := e.race(e.racers, func(i int) error {
			ctx, cancel := context.WithCancel(e.Context())
			defer cancel()
			if i%2 == 1 {
				go cancel()
			}
			r := record(grantRef("%d/%d", round, i), "")
			r.Subject = fmt.Sprint("round ", round)
			if err := e.Commit(ctx, storage.Insert(r)); err != nil {
				return err
			}
			if _, err := e.Find(ctx, storage.Query{Kind: r.Kind, Subject: r.Subject, Limit: 3}); err != nil {
				return err
			}
			_, err := e.Get(ctx, r.Ref)
			return err
		})
		for i, err := range errs {
			if c := class(err); c != "ok" && (i%2 == 0 || c != "unavailable") {
				e.Fatalf("caller %d: %v", i, err)
			}
		}
	}
}
