package storagetest

import (
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

func ev(client int, start, end int64, result string, moves ...move) event {
	return event{client: client, start: start, end: end, kind: eventCommit, moves: moves, result: result}
}

func read(start, end int64, row int, seen rowState) event {
	result := "ok"
	if seen.version == 0 {
		result = "not found"
	}
	return event{start: start, end: end, kind: eventGet, row: row, result: result, seen: seen}
}

func TestChecker(t *testing.T) {
	t.Parallel()
	var (
		ins0   = move{verb: storage.VerbInsert, tag: 1}
		ins1   = move{verb: storage.VerbInsert, row: 1, tag: 2}
		use0   = move{verb: storage.VerbConsume}
		del0   = move{verb: storage.VerbDelete}
		chk0   = move{verb: storage.VerbCheck}
		upd0   = move{verb: storage.VerbUpdate, version: 1, tag: 3}
		again  = move{verb: storage.VerbUpdate, version: 1, tag: 4}
		absent = rowState{}
		fresh  = rowState{version: 1, tag: 1}
		spent  = rowState{version: 2, tag: 1, consumed: true}
		newer  = rowState{version: 2, tag: 3}
	)
	saw := func(e event, index int, s rowState) event { e.index, e.seen = index, s; return e }
	for _, test := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"nothing", nil, true},
		{"in sequence", []event{ev(0, 1, 2, "ok", ins0), read(3, 4, 0, fresh), ev(0, 5, 6, "ok", use0), read(7, 8, 0, spent)}, true},
		{"the order of recording is of no matter", []event{read(3, 4, 0, fresh), ev(0, 1, 2, "ok", ins0)}, true},
		{"a read beside an insert sees either: old", []event{ev(0, 1, 4, "ok", ins0), read(2, 3, 0, absent)}, true},
		{"a read beside an insert sees either: new", []event{ev(0, 1, 4, "ok", ins0), read(2, 3, 0, fresh)}, true},
		{"a stale read", []event{ev(0, 1, 2, "ok", ins0), read(3, 4, 0, absent)}, false},
		{"a read of the future", []event{read(1, 2, 0, fresh), ev(0, 3, 4, "ok", ins0)}, false},
		{"new, then old", []event{ev(0, 1, 8, "ok", ins0), read(2, 3, 0, fresh), read(4, 5, 0, absent)}, false},
		{"a value from nowhere", []event{ev(0, 1, 2, "ok", ins0), read(3, 4, 0, rowState{version: 1, tag: 9})}, false},
		{"a double spend", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 6, "ok", use0), ev(2, 4, 5, "ok", use0)}, false},
		{"one spends, one is refused", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 6, "consumed", use0), 0, spent), ev(2, 4, 5, "ok", use0)}, true},
		{"refused before anybody spent", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 4, "consumed", use0), 0, spent), ev(2, 5, 6, "ok", use0)}, false},
		{"both refused", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 6, "consumed", use0), 0, spent), saw(ev(2, 4, 5, "consumed", use0), 0, spent)}, false},
		{"two inserts", []event{ev(0, 1, 4, "ok", ins0), ev(1, 2, 3, "ok", ins0)}, false},
		{"two inserts with a delete between", []event{ev(0, 1, 6, "ok", ins0), ev(1, 2, 3, "ok", ins0), ev(2, 4, 5, "ok", del0)}, true},
		{"a lost update", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 6, "ok", upd0), ev(2, 4, 5, "ok", again)}, false},
		{"an update undoes a delete", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 6, "ok", upd0), ev(2, 4, 5, "ok", del0), read(7, 8, 0, newer)}, false},
		{"a check after a consume", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 4, "ok", use0), ev(2, 5, 6, "ok", chk0)}, false},
		{"a check beside a consume", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 6, "ok", use0), ev(2, 4, 5, "ok", chk0)}, true},
		{"crossed checks", []event{
			ev(0, 1, 2, "ok", ins0, ins1),
			ev(1, 3, 6, "ok", chk0, move{verb: storage.VerbConsume, row: 1}),
			ev(2, 4, 5, "ok", move{verb: storage.VerbCheck, row: 1}, use0),
		}, false},
		{"half a commit is seen", []event{ev(0, 1, 6, "ok", ins0, ins1), read(2, 3, 0, fresh), read(4, 5, 1, absent)}, false},
		{"half a commit stays", []event{ev(0, 1, 2, "ok", ins0, ins1), read(3, 4, 0, fresh), read(5, 6, 1, absent)}, false},
		{"a commit between two reads", []event{ev(0, 1, 6, "ok", ins0, ins1), read(2, 3, 0, absent), read(4, 5, 1, rowState{version: 1, tag: 2})}, true},
		{"the wrong op is blamed", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 4, "exists", ins1, ins0), 0, fresh)}, false},
		{"the right op is blamed", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 4, "exists", ins1, ins0), 1, fresh), read(5, 6, 1, absent)}, true},
		{"a conflict shows an old row", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 4, "ok", upd0), saw(ev(2, 5, 6, "conflict", again), 0, fresh)}, false},
		{"a failed commit wrote", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 4, "exists", ins1, ins0), 1, fresh), read(5, 6, 1, rowState{version: 1, tag: 2})}, false},
		{"an unknown outcome happened", []event{ev(0, 1, 2, "unavailable", ins0), read(3, 4, 0, fresh)}, true},
		{"an unknown outcome never happened", []event{ev(0, 1, 2, "unavailable", ins0), read(3, 4, 0, absent)}, true},
		{"an unknown outcome happened late", []event{ev(0, 1, 2, "unavailable", ins0), read(3, 4, 0, absent), read(5, 6, 0, fresh)}, true},
		{"an unknown outcome happened and was undone", []event{ev(0, 1, 2, "unavailable", ins0), read(3, 4, 0, fresh), read(5, 6, 0, absent)}, false},
		{"an unknown outcome happened twice", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 4, "unavailable", use0), ev(2, 5, 6, "ok", use0), saw(ev(3, 7, 8, "consumed", use0), 0, spent)}, true},
		{"spent by nobody", []event{ev(0, 1, 2, "ok", ins0), saw(ev(1, 3, 4, "consumed", use0), 0, spent)}, false},
		{"spent by one of unknown outcome", []event{ev(0, 1, 2, "ok", ins0), ev(1, 3, 4, "unavailable", use0), saw(ev(2, 5, 6, "consumed", use0), 0, spent)}, true},
		{"an impossible result", []event{ev(0, 1, 2, "impossible", ins0)}, false},
		{"an invalid commit", []event{ev(0, 1, 2, "invalid", ins0)}, false},
		{"a find misses a row", []event{ev(0, 1, 2, "ok", ins0), {start: 3, end: 4, kind: eventFind, result: "ok"}}, false},
		{"a find by another column", []event{ev(0, 1, 2, "ok", ins0), {start: 3, end: 4, kind: eventFind, column: 1, result: "ok"}}, true},
		{"a find sees a row", []event{ev(0, 1, 2, "ok", ins0), {start: 3, end: 4, kind: eventFind, result: "ok", seen: fresh}}, true},
		{"a find sees a deleted row", []event{ev(0, 1, 2, "ok", ins0), ev(0, 3, 4, "ok", del0), {start: 5, end: 6, kind: eventFind, result: "ok", seen: fresh}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := linearizable(test.events); got != test.want {
				t.Errorf("linearizable: %v, want %v, of\n%s", got, test.want, story(test.events))
			}
		})
	}
}

// TestCheckerAgainstBruteForce compares the search with one that tries every
// order, on small random histories.
func TestCheckerAgainstBruteForce(t *testing.T) {
	t.Parallel()
	yes, no := 0, 0
	for seed := range uint64(3000) {
		x := mix(seed)
		pick := func(n uint64) uint64 { v := x % n; x = mix(x); return v }
		var events []event
		var truth objectState
		for i := range 2 + pick(4) {
			e := event{start: int64(pick(12)), kind: eventKind(pick(3)), result: "ok", row: int(pick(2)), column: byte(pick(2))}
			e.end = e.start + 1 + int64(pick(8))
			if e.kind == eventCommit {
				e.moves = []move{{verb: storage.Verb(1 + pick(5)), row: e.row, version: 1, tag: uint32(i), column: e.column}}
				for _, e.result = range []string{"ok", "exists", "not found", "consumed", "conflict"} {
					e.seen = rowState{}
					if e.result != "ok" {
						e.seen = truth[e.row]
					}
					if next, ok := truth.step(&e); ok {
						truth = next
						break
					}
				}
				if pick(6) == 0 {
					e.result, e.seen = "unavailable", rowState{}
				}
			} else {
				e.seen = truth[e.row]
				if e.kind == eventFind && e.seen.column != e.column {
					e.seen = rowState{}
				}
				if e.kind == eventGet && e.seen.version == 0 {
					e.result = "not found"
				}
			}
			if pick(3) == 0 && e.seen.version > 0 { // a mistake
				e.seen.version++
			} else if pick(6) == 0 && e.kind == eventCommit {
				e.result = "ok"
			}
			events = append(events, e)
		}
		want := bruteForce(events, objectState{})
		if got := linearizable(events); got != want {
			t.Fatalf("seed %d: linearizable: %v, want %v, of\n%s", seed, got, want, story(events))
		}
		if want {
			yes++
		} else {
			no++
		}
	}
	if yes < 300 || no < 300 {
		t.Errorf("%d linearizable and %d other histories: too few of one", yes, no)
	}
}

func bruteForce(left []event, s objectState) bool {
	known := false
	for i, e := range left {
		known = known || !e.unknown()
		first := true
		for _, other := range left {
			if !other.unknown() && other.end <= e.start {
				first = false
			}
		}
		if !first {
			continue
		}
		rest := append(append([]event{}, left[:i]...), left[i+1:]...)
		if next, ok := s.step(&e); ok && bruteForce(rest, next) {
			return true
		}
	}
	return !known
}

// TestLinearizableWithFaults: lost answers are no violation.
func TestLinearizableWithFaults(t *testing.T) {
	t.Parallel()
	Linearizable(t, func(testing.TB) storage.Storage {
		return Flaky(memory.New(), Plan{
			Latency: Random(1, 0, 200*time.Microsecond),
			Choose: func(c Call) Fault {
				switch mix(uint64(c.N)) % 40 {
				case 0:
					return CommitThenError
				case 1:
					return Fail(storage.ErrUnavailable)
				case 2:
					return CancelMid
				}
				return nil
			},
		})
	}, Rounds(5))
}

// TestLinearizableFindsFaults: a backend that repeats commits, or says done
// when it is not, is found out.
func TestLinearizableFindsFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]Fault{"retries": CommitThenRetry, "lies": Skip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := func(testing.TB) storage.Storage {
				return Flaky(memory.New(), Plan{Choose: func(c Call) Fault {
					if c.Method == "Commit" && c.N%10 == 0 {
						return fault
					}
					return nil
				}})
			}
			if attempt(t, func(tb testing.TB) { Linearizable(tb, f, Rounds(5)) }) == "" {
				t.Error("Linearizable does not notice")
			}
		})
	}
}
