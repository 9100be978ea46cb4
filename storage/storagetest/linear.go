package storagetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// Linearizable lets clients read and write a few records at random, writes
// down who was told what and when, and checks that each record could have
// lived through all of it one call at a time. Commits of two records are
// checked as a whole: no read sees one half of them. Calls that fail with
// ErrUnavailable may have happened or not, so the storage may be wrapped in
// [Flaky]. Rounds says how many histories are recorded.
func Linearizable(t testing.TB, f Factory, opts ...Option) {
	t.Helper()
	e := &env{TB: t, Storage: f(t), config: configure(opts)}
	for round := range e.rounds {
		e.linearize(round, mix(uint64(round)))
	}
}

const (
	clients = 8
	calls   = 24 // of one client in one history
)

func (e *env) linearize(round int, seed uint64) {
	e.Helper()
	objects := []*object{
		e.newObject(fmt.Sprint(round, " single"), 1),
		e.newObject(fmt.Sprint(round, " other"), 1),
		e.newObject(fmt.Sprint(round, " pair"), 2),
	}
	var clock atomic.Int64
	var histories []*history
	for _, o := range objects {
		h := e.newHistory(o)
		h.clock = &clock
		histories = append(histories, h)
	}
	e.race(clients, func(client int) error {
		// What the client believes the rows' versions to be.
		believed := make([][width]int64, len(objects))
		for n := range calls {
			x := mix(seed ^ uint64(client)<<32 ^ uint64(n))
			pick := func(below uint64) int {
				v := x % below
				x /= below
				return int(v)
			}
			k := pick(uint64(len(objects)))
			h, b := histories[k], &believed[k]
			row := pick(uint64(objects[k].rows))
			next := func(row int) move {
				return move{
					verb: []storage.Verb{storage.VerbInsert, storage.VerbInsert, storage.VerbUpdate, storage.VerbUpdate, storage.VerbUpdate,
						storage.VerbConsume, storage.VerbDelete, storage.VerbCheck}[pick(8)],
					row: row, version: b[row], tag: uint32(client*calls+n)*2 + uint32(row), column: byte(pick(2)),
				}
			}
			switch kind := pick(8); {
			case kind < 2:
				b[row] = h.get(client, row).version
			case kind < 3 && objects[k].rows == 1:
				h.find(client, row, byte(pick(2)))
			case objects[k].rows == 2 && kind < 7:
				first, second := next(row), next(1-row)
				if pick(2) == 0 {
					second.verb = first.verb // often enough both succeed
				}
				h.learn(b, h.commit(client, first, second))
			default:
				h.learn(b, h.commit(client, next(row)))
			}
		}
		return nil
	})
	for _, h := range histories {
		for row := range h.object.rows {
			h.get(clients, row)
		}
		h.check()
	}
}

// An object is the rows whose history is checked as one.
type object struct {
	name string
	rows int
}

func (e *env) newObject(name string, rows int) *object { return &object{name, rows} }

func (o *object) ref(row int) storage.Ref {
	return ref([]storage.Kind{storage.KindGrant, storage.KindCode}[row], o.name)
}

// column is a value of Subject that no other object has.
func (o *object) column(c byte) string { return fmt.Sprintf("%s column %d", o.name, c) }

// A history makes calls on an object and writes down what came of them. It
// is safe for concurrent use.
type history struct {
	env    *env
	object *object
	clock  *atomic.Int64

	mu     sync.Mutex
	events []event
}

func (e *env) newHistory(o *object) *history {
	return &history{env: e, object: o, clock: new(atomic.Int64)}
}

// do runs call between two ticks and keeps the event.
func (h *history) do(ev event, call func(context.Context, *event)) event {
	ev.start = h.clock.Add(1)
	call(h.env.Context(), &ev)
	ev.end = h.clock.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, ev)
	return ev
}

func (h *history) get(client, row int) rowState {
	ev := h.do(event{client: client, kind: eventGet, row: row}, func(ctx context.Context, ev *event) {
		r, err := h.env.Get(ctx, h.object.ref(row))
		ev.result = class(err)
		ev.unexpected(err)
		ev.seen = h.state(row, r, ev)
	})
	return ev.seen
}

func (h *history) find(client, row int, column byte) {
	h.do(event{client: client, kind: eventFind, row: row, column: column}, func(ctx context.Context, ev *event) {
		page, err := h.env.Find(ctx, storage.Query{Kind: h.object.ref(row).Kind, Subject: h.object.column(column)})
		ev.result = class(err)
		ev.unexpected(err)
		switch len(page.Records) {
		case 0:
		case 1:
			ev.seen = h.state(row, page.Records[0], ev)
		default:
			ev.result, ev.description = "impossible", fmt.Sprintf("%d records have the subject of one", len(page.Records))
		}
	})
}

func (h *history) commit(client int, moves ...move) event {
	var ops []storage.Op
	for _, m := range moves {
		r := storage.Record{
			Ref: h.object.ref(m.row), Version: m.version, Subject: h.object.column(m.column),
			Data: binary.BigEndian.AppendUint32(nil, m.tag),
		}
		ops = append(ops, storage.Op{Verb: m.verb, Record: r})
	}
	return h.do(event{client: client, kind: eventCommit, moves: moves}, func(ctx context.Context, ev *event) {
		err := h.env.Commit(ctx, ops...)
		ev.result = class(err)
		ev.unexpected(err)
		var c *storage.ConflictError
		if errors.As(err, &c) {
			ev.index = c.Index
			if c.Index >= 0 && c.Index < len(moves) {
				ev.seen = h.state(moves[c.Index].row, c.Current, ev)
			}
		} else if err != nil && !ev.unknown() {
			ev.description = fmt.Sprint("not a ConflictError: ", err)
			ev.result = "impossible"
		}
	})
}

// learn keeps what a commit tells about versions.
func (h *history) learn(believed *[width]int64, ev event) {
	for i, m := range ev.moves {
		switch {
		case ev.result == "ok" && m.verb == storage.VerbInsert:
			believed[m.row] = 1
		case ev.result == "ok" && m.verb == storage.VerbUpdate:
			believed[m.row]++
		case ev.result != "ok" && ev.index == i && !ev.unknown():
			believed[m.row] = ev.seen.version
		}
	}
}

// unexpected keeps the words of an error that is not part of the model.
func (ev *event) unexpected(err error) {
	if c := class(err); c == "unavailable" || c == "invalid" {
		ev.description = err.Error()
	}
}

// state turns a record into what the model knows of it.
func (h *history) state(row int, r *storage.Record, ev *event) rowState {
	if r == nil {
		return rowState{}
	}
	s := rowState{version: r.Version, consumed: r.State == storage.Consumed, column: 1}
	if r.Subject == h.object.column(0) {
		s.column = 0
	}
	if r.Ref != h.object.ref(row) || len(r.Data) != 4 || r.Subject != h.object.column(s.column) || r.Version < 1 {
		ev.result, ev.description = "impossible", fmt.Sprintf("record %+v was never written", *r)
		return s
	}
	s.tag = binary.BigEndian.Uint32(r.Data)
	return s
}

// check ends the test if the history is not linearizable.
func (h *history) check() {
	h.env.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	// A read whose outcome is unknown says nothing.
	var events []event
	for _, ev := range h.events {
		if ev.kind == eventCommit || !ev.unknown() {
			events = append(events, ev)
		}
	}
	if !linearizable(events) {
		h.env.Fatalf("%s: this history is not linearizable:\n%s", h.object.name, story(events))
	}
}
