package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// raceCases fail on a backend that reads, decides and then writes. The
// kit's own tests hold each of them against such a backend.
var raceCases = []testCase{
	{name: "race: one insert wins", races: []storage.Verb{storage.VerbInsert}, run: raceInsert},
	{name: "race: one consumer wins", races: []storage.Verb{storage.VerbConsume}, run: raceConsume},
	{name: "race: a commit of many ops wins once", races: []storage.Verb{storage.VerbConsume, storage.VerbInsert}, run: raceRedeem},
	{name: "race: one update per version", races: []storage.Verb{storage.VerbUpdate}, run: raceRotate},
	{name: "race: no update is lost", races: []storage.Verb{storage.VerbUpdate}, run: raceCounter},
	{name: "race: consume wins against updates", races: []storage.Verb{storage.VerbConsume, storage.VerbUpdate}, run: raceRevoke},
	{name: "race: no check after a consume", races: []storage.Verb{storage.VerbCheck, storage.VerbConsume}, run: raceCheck},
	{name: "race: crossed checks", races: []storage.Verb{storage.VerbCheck, storage.VerbConsume}, run: raceSkew},
	{name: "race: no update undoes a delete", races: []storage.Verb{storage.VerbDelete, storage.VerbUpdate}, run: raceDelete},
	{name: "race: no consume undoes a delete", races: []storage.Verb{storage.VerbDelete, storage.VerbConsume}, run: raceDeleteConsume},
	{name: "race: every pair of verbs is linearizable", races: []storage.Verb{storage.VerbInsert, storage.VerbUpdate, storage.VerbConsume, storage.VerbDelete, storage.VerbCheck}, run: racePairs},
	{name: "race: crossing commits do not deadlock", races: []storage.Verb{storage.VerbUpdate, storage.VerbConsume, storage.VerbCheck, storage.VerbInsert, storage.VerbDelete}, run: raceCrossing},
	{name: "commits are seen at once by others", run: readYourCommit},
}

// winners demands one success, and the one named refusal for all others.
func (e *env) winners(errs []error, refusal string) {
	e.Helper()
	got := count(errs)
	if got["ok"] != 1 || got["ok"]+got[refusal] != len(errs) {
		e.Fatalf("of %d racers: %v, want one ok and the others %q", len(errs), got, refusal)
	}
}

// winner returns the index of the one success.
func winner(errs []error) int {
	for i, err := range errs {
		if err == nil {
			return i
		}
	}
	return -1
}

func raceInsert(e *env) {
	for round := range e.rounds {
		r := grantRef("%d", round)
		errs := e.race(e.racers, func(i int) error { return e.commit(storage.Insert(record(r, fmt.Sprint(i)))) })
		e.winners(errs, "exists")
		want := stored(record(r, fmt.Sprint(winner(errs))), 1, storage.Active)
		e.wantRow(r, want)
		e.losersSaw(errs, want)
	}
}

// losersSaw demands that each refusal shows the row that the winner left.
func (e *env) losersSaw(errs []error, want *storage.Record) {
	e.Helper()
	for i, err := range errs {
		var c *storage.ConflictError
		if errors.As(err, &c) {
			if diff := differ(c.Current, want); diff != "" {
				e.Fatalf("racer %d lost, but ConflictError.Current: %s", i, diff)
			}
		}
	}
}

func raceConsume(e *env) {
	for round := range e.rounds {
		r := record(grantRef("%d", round), "")
		e.must(storage.Insert(r))
		errs := e.race(e.racers, func(int) error { return e.commit(storage.Consume(r.Ref)) })
		e.winners(errs, "consumed")
		want := stored(r, 2, storage.Consumed)
		e.wantRow(r.Ref, want)
		e.losersSaw(errs, want)
	}
}

// raceRedeem is the redemption of a code: what the losers would have written
// beside it is not there.
func raceRedeem(e *env) {
	for round := range e.rounds {
		code, grant := record(ref(storage.KindCode, fmt.Sprint(round)), ""), record(grantRef("%d", round), "")
		e.must(storage.Insert(code), storage.Insert(grant))
		errs := e.race(e.racers, func(i int) error {
			return e.commit(
				storage.Insert(record(ref(storage.KindReplay, fmt.Sprint(round, "/", i)), "")),
				storage.Check(grant.Ref),
				storage.Consume(code.Ref),
			)
		})
		e.winners(errs, "consumed")
		for i, err := range errs {
			if there := e.row(ref(storage.KindReplay, fmt.Sprint(round, "/", i))) != nil; there != (err == nil) {
				e.Fatalf("racer %d: %v, but its record is there: %v", i, err, there)
			}
		}
	}
}

// raceRotate is the rotation of a refresh token: one successor.
func raceRotate(e *env) {
	r := record(grantRef("a"), "")
	e.must(storage.Insert(r))
	for version := int64(1); version <= int64(e.rounds); version++ {
		errs := e.race(e.racers, func(i int) error {
			u := record(r.Ref, fmt.Sprint(version, "/", i))
			u.Version = version
			return e.commit(storage.Update(u))
		})
		e.winners(errs, "conflict")
		want := stored(record(r.Ref, fmt.Sprint(version, "/", winner(errs))), version+1, storage.Active)
		e.wantRow(r.Ref, want)
		e.losersSaw(errs, want)
	}
}

// raceCounter reads, adds one and updates until it succeeds.
func raceCounter(e *env) {
	const each = 4
	racers := min(e.racers, 16)
	r := record(grantRef("a"), "\x00\x00")
	e.must(storage.Insert(r))
	errs := e.race(racers, func(int) error {
		for range each {
			for {
				now, err := e.Get(e.Context(), r.Ref)
				if err != nil {
					return err
				}
				if now.Data[1]++; now.Data[1] == 0 {
					now.Data[0]++
				}
				if err = e.commit(storage.Update(*now)); err == nil {
					break
				}
				if !errors.Is(err, storage.ErrConflict) {
					return err
				}
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			e.Fatal(err)
		}
	}
	now := e.row(r.Ref)
	if got, want := int(now.Data[0])<<8|int(now.Data[1]), racers*each; got != want || now.Version != int64(want)+1 {
		e.Fatalf("%d increments were acknowledged, the row says %d and version %d", want, got, now.Version)
	}
}

// raceRevoke consumes a row that others update all the time. The first try
// must succeed: Consume names no version.
func raceRevoke(e *env) {
	for round := range e.rounds {
		r := record(grantRef("%d", round), "")
		e.must(storage.Insert(r))
		var updates, ended atomic.Int64
		var revoked atomic.Bool
		errs := e.race(min(e.racers, 12), func(i int) error {
			if i == 0 {
				for updates.Load() < 2 && ended.Load() == 0 { // let it become busy
					time.Sleep(50 * time.Microsecond)
				}
				err := e.commit(storage.Consume(r.Ref))
				revoked.Store(true)
				return err
			}
			defer ended.Add(1)
			u := record(r.Ref, "")
			for u.Version = 1; ; {
				late := revoked.Load()
				err := e.commit(storage.Update(u))
				var c *storage.ConflictError
				switch {
				case late && !errors.Is(err, storage.ErrConsumed):
					return fmt.Errorf("an update after the consume: %v", err)
				case err == nil:
					u.Version++
					updates.Add(1)
				case errors.As(err, &c) && errors.Is(err, storage.ErrConflict):
					u.Version = c.Current.Version
				default:
					return err
				}
			}
		})
		if errs[0] != nil {
			e.Fatalf("consume of a busy row: %v", errs[0])
		}
		for i, err := range errs[1:] {
			if !errors.Is(err, storage.ErrConsumed) {
				e.Fatalf("updater %d: %v, want ErrConsumed", i, err)
			}
		}
		e.wantRow(r.Ref, stored(r, updates.Load()+2, storage.Consumed))
	}
}

// raceCheck is a revocation that must not be overtaken: who consumes a row and
// then looks for what was written under a Check of it finds all of it. Nothing
// may come later.
func raceCheck(e *env) {
	for round := range e.rounds {
		r, subject := record(grantRef("%d", round), ""), fmt.Sprint("round ", round)
		e.must(storage.Insert(r))
		var begun, ended atomic.Int64
		var revoked atomic.Bool
		found := map[storage.Ref]bool{}
		written := make([][]storage.Ref, min(e.racers, 16))
		errs := e.race(len(written), func(i int) error {
			if i == 0 {
				for begun.Load() < 3 && ended.Load() == 0 {
					time.Sleep(50 * time.Microsecond)
				}
				err := e.commit(storage.Consume(r.Ref))
				revoked.Store(true)
				if err != nil {
					return fmt.Errorf("consume of a row that others check: %w", err)
				}
				q := storage.Query{Kind: storage.KindCode, Subject: subject, Limit: storage.MaxLimit}
				for {
					page, err := e.Find(e.Context(), q)
					if err != nil {
						return err
					}
					for _, rec := range page.Records {
						found[rec.Ref] = true
					}
					if q.After = page.Next; q.After == "" {
						return nil
					}
				}
			}
			defer ended.Add(1)
			for n := 0; ; n++ {
				code := record(ref(storage.KindCode, fmt.Sprint(round, "/", i, "/", n)), "")
				code.Subject = subject
				begun.Add(1)
				late := revoked.Load()
				err := e.commit(storage.Check(r.Ref), storage.Insert(code))
				switch {
				case errors.Is(err, storage.ErrConsumed):
					return nil
				case late: // or a backend that lost the consume would be asked for ever
					return fmt.Errorf("a check after the consume: %v, want ErrConsumed", err)
				case err != nil:
					return err
				}
				written[i] = append(written[i], code.Ref)
			}
		})
		for _, err := range errs {
			if err != nil {
				e.Fatal(err)
			}
		}
		for _, refs := range written {
			for _, code := range refs {
				if !found[code] {
					e.Fatalf("%v was written under a Check of a row, but not found after the row was consumed", code)
				}
			}
		}
		e.wantRow(r.Ref, stored(r, 2, storage.Consumed))
	}
}

// raceSkew: each of two commits checks what the other consumes. Snapshot
// isolation lets both through.
func raceSkew(e *env) {
	for round := range 2 * e.rounds {
		a, b := record(grantRef("%d a", round), ""), record(grantRef("%d b", round), "")
		e.must(storage.Insert(a), storage.Insert(b))
		errs := e.race(e.racers, func(i int) error {
			if i%2 == 0 {
				return e.commit(storage.Check(a.Ref), storage.Consume(b.Ref))
			}
			return e.commit(storage.Check(b.Ref), storage.Consume(a.Ref))
		})
		e.winners(errs, "consumed")
	}
}

func raceDelete(e *env) {
	e.raceDeleteWith(func(r storage.Record) storage.Op { r.Version = 1; return storage.Update(r) }, "conflict")
}

func raceDeleteConsume(e *env) {
	e.raceDeleteWith(func(r storage.Record) storage.Op { return storage.Consume(r.Ref) }, "consumed")
}

func (e *env) raceDeleteWith(write func(storage.Record) storage.Op, refusal string) {
	for round := range e.rounds {
		r := record(grantRef("%d", round), "")
		e.must(storage.Insert(r))
		errs := e.race(e.racers, func(i int) error {
			if i == e.racers/2 {
				return e.commit(storage.Delete(r.Ref))
			}
			return e.commit(write(r))
		})
		if err := errs[e.racers/2]; err != nil {
			e.Fatalf("delete: %v", err)
		}
		got := count(errs)
		if got["ok"] > 2 || got["ok"]+got[refusal]+got["not found"] != len(errs) {
			e.Fatalf("of %d racers: %v", len(errs), got)
		}
		e.wantRow(r.Ref, nil)
	}
}

// racePairs lets each verb meet each other one on one row, from each state
// that the row can be in, and has the history checked.
func racePairs(e *env) {
	verbs := []storage.Verb{storage.VerbInsert, storage.VerbUpdate, storage.VerbConsume, storage.VerbDelete, storage.VerbCheck}
	for round := range max(e.rounds/4, 1) {
		for _, one := range verbs {
			for _, two := range verbs {
				for start := range 3 {
					o := e.newObject(fmt.Sprintf("%d %s %s %d", round, one, two, start), 1)
					h := e.newHistory(o)
					if start > 0 {
						h.commit(0, move{verb: storage.VerbInsert, tag: 1})
					}
					if start > 1 {
						h.commit(0, move{verb: storage.VerbConsume})
					}
					e.race(8, func(i int) error {
						m := move{verb: one, version: 1, tag: uint32(10 + i)}
						if i%2 == 1 {
							m.verb = two
						}
						h.commit(i+1, m)
						return nil
					})
					h.get(0, 0)
					h.check()
				}
			}
		}
	}
}

// raceCrossing commits the same rows in opposite orders.
func raceCrossing(e *env) {
	ctx, cancel := context.WithTimeoutCause(e.Context(), 2*time.Minute, errors.New("two minutes: deadlock"))
	defer cancel()
	const rows = 4
	var all []storage.Ref
	for i := range rows {
		all = append(all, ref([]storage.Kind{storage.KindGrant, storage.KindCode}[i%2], fmt.Sprint(i)))
		e.must(storage.Insert(record(all[i], "")))
	}
	racers := min(e.racers, 12)
	var wins atomic.Int64
	errs := e.race(racers, func(i int) error {
		for n := range e.rounds {
			var ops []storage.Op
			for j := range rows {
				r := all[(i+j)%rows]
				if i%2 == 1 {
					r = all[(i+rows-j)%rows]
				}
				switch (i + j + n) % 3 {
				case 0:
					ops = append(ops, storage.Check(r))
				default:
					now, err := e.Get(ctx, r)
					if err != nil {
						return err
					}
					ops = append(ops, storage.Update(*now))
				}
			}
			extra := ref(storage.KindReplay, fmt.Sprint(n%5))
			switch i % 3 {
			case 0:
				ops = append(ops, storage.Insert(record(extra, "")))
			case 1:
				ops = append([]storage.Op{storage.Delete(extra)}, ops...)
			case 2:
				ops = append([]storage.Op{storage.Consume(extra)}, ops...)
			}
			err := e.Commit(ctx, ops...)
			switch class(err) {
			case "ok":
				wins.Add(1)
			case "unavailable", "invalid":
				return fmt.Errorf("commit of %s: %w", describe(ops), err)
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			e.Fatalf("%v (%v)", err, context.Cause(ctx))
		}
	}
	if wins.Load() == 0 {
		e.Fatal("no commit came through")
	}
}

// readYourCommit tells others of a commit the moment it returned.
func readYourCommit(e *env) {
	const readers = 4
	var group sync.WaitGroup
	ctx, cancel := e.background()
	defer cancel()
	errs := make(chan error, readers)
	var told [readers]chan int64
	for i := range told {
		told[i] = make(chan int64)
		group.Go(func() {
			for version := range told[i] {
				var got *storage.Record
				var err error
				if i%2 == 0 {
					got, err = e.Get(ctx, grantRef("a"))
				} else {
					var page storage.Page
					page, err = e.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: fmt.Sprint("v", version)})
					if len(page.Records) == 1 {
						got = page.Records[0]
					}
				}
				switch {
				case err != nil:
				case got == nil:
					err = fmt.Errorf("find does not see version %d, which was committed", version)
				case got.Version != version:
					err = fmt.Errorf("version %d was committed, a reader still sees %d", version, got.Version)
				}
				errs <- err
			}
		})
	}
	r := record(grantRef("a"), "")
	for version := int64(1); version <= int64(5*e.rounds); version++ {
		r.Subject = fmt.Sprint("v", version)
		if version == 1 {
			e.must(storage.Insert(r))
		} else {
			r.Version = version - 1
			e.must(storage.Update(r))
		}
		for _, c := range told {
			c <- version
		}
		for range readers {
			if err := <-errs; err != nil {
				e.Error(err)
			}
		}
	}
	for _, c := range told {
		close(c)
	}
	group.Wait()
}
