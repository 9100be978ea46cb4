package storagetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/storage"
)

// The checker asks whether a concurrent history of one object could have
// happened one call after the other, each at some moment between its start and
// its end (Herlihy and Wing, Linearizability, 1990). Linearizability is
// local: a history is linearizable if it is so for each object alone. Here
// an object is one row, or two rows that are committed together: then it is
// seen, too, whether a commit takes effect at once or row by row.
//
// It states what the verbs do once more, instead of calling Op.Judge and
// Op.Apply, so that a mistake in those does not hide itself.

// width is the greatest number of rows in an object.
const width = 2

// rowState is a row as the model sees it. The zero value is an absent row.
type rowState struct {
	version  int64
	consumed bool
	tag      uint32 // stands for Data
	column   byte   // stands for Subject
}

type objectState [width]rowState

// move is one op of a commit.
type move struct {
	verb    storage.Verb
	row     int
	version int64 // of an update
	tag     uint32
	column  byte
}

type eventKind byte

const (
	eventGet eventKind = iota
	eventFind
	eventCommit
)

// An event is one call and what its caller was told. Times are ticks of a
// counter that all callers share.
type event struct {
	client      int
	start, end  int64
	kind        eventKind
	row         int    // get, find
	column      byte   // find
	moves       []move // commit
	result      string // class of the error; "unavailable": outcome unknown
	index       int    // of a commit that failed
	seen        rowState
	description string // of a result that no model can explain
}

// never is the end of an event whose outcome is unknown: it may take effect
// at any time, or not at all.
const never = math.MaxInt64

// unknown tells whether the event may have happened or not.
func (ev *event) unknown() bool { return ev.result == "unavailable" }

// step returns the state after ev, and whether ev could have been told what
// it was told in state s.
func (s objectState) step(ev *event) (objectState, bool) {
	switch ev.kind {
	case eventGet:
		want := "ok"
		if ev.seen.version == 0 {
			want = "not found"
		}
		return s, ev.result == want && ev.seen == s[ev.row]
	case eventFind:
		want := s[ev.row]
		if want.version == 0 || want.column != ev.column {
			want = rowState{}
		}
		return s, ev.result == "ok" && want == ev.seen
	}
	next := s
	for i, m := range ev.moves {
		row := s[m.row]
		result := "ok"
		switch {
		case m.verb == storage.VerbDelete:
			row = rowState{}
		case m.verb == storage.VerbInsert && row.version != 0:
			result = "exists"
		case m.verb == storage.VerbInsert:
			row = rowState{version: 1, tag: m.tag, column: m.column}
		case row.version == 0:
			result = "not found"
		case row.consumed:
			result = "consumed"
		case m.verb == storage.VerbUpdate && row.version != m.version:
			result = "conflict"
		case m.verb == storage.VerbUpdate:
			row = rowState{version: row.version + 1, tag: m.tag, column: m.column}
		case m.verb == storage.VerbConsume:
			row.version, row.consumed = row.version+1, true
		}
		if result != "ok" {
			return s, ev.result == result && ev.index == i && ev.seen == s[m.row]
		}
		next[m.row] = row
	}
	return next, ev.result == "ok" || ev.unknown()
}

// linearizable tells whether the history, from absent rows on, could have
// happened one event after the other. It sorts events by their start.
func linearizable(events []event) bool {
	slices.SortStableFunc(events, func(a, b event) int { return int(a.start - b.start) })
	known := 0
	for i := range events {
		if events[i].unknown() {
			events[i].end = never
		} else {
			known++
		}
	}
	c := &checker{events: events, done: make([]uint64, (len(events)+63)/64), failed: map[string]struct{}{}}
	return c.search(objectState{}, 0, known)
}

type checker struct {
	events []event
	done   []uint64            // the events that already have their place
	failed map[string]struct{} // pairs of done and state from which there is no way on
}

func (c *checker) has(i int) bool { return c.done[i/64]>>(i%64)&1 != 0 }
func (c *checker) flip(i int)     { c.done[i/64] ^= 1 << (i % 64) }

// search gives each known event that is left a place after those before. from
// is the first event that is not done.
func (c *checker) search(s objectState, from, left int) bool {
	if left == 0 {
		return true
	}
	for from < len(c.events) && c.has(from) {
		from++
	}
	id := c.identity(s, from)
	if _, ok := c.failed[id]; ok {
		return false
	}
	// Next may come any event that started before all that are left ended.
	// Those that start later end later, so one pass finds the bound.
	bound := int64(never)
	for i := from; i < len(c.events) && c.events[i].start < bound; i++ {
		if c.has(i) {
			continue
		}
		ev := &c.events[i]
		bound = min(bound, ev.end)
		next, ok := s.step(ev)
		if !ok {
			continue
		}
		rest := left
		if !ev.unknown() {
			rest--
		} else if next == s {
			continue // as good as never
		}
		c.flip(i)
		if c.search(next, from, rest) {
			return true
		}
		c.flip(i)
	}
	c.failed[id] = struct{}{}
	return false
}

func (c *checker) identity(s objectState, from int) string {
	b := binary.AppendUvarint(nil, uint64(from))
	for _, w := range c.done[from/64:] {
		b = binary.AppendUvarint(b, w)
	}
	for _, r := range s {
		b = binary.AppendVarint(b, r.version)
		b = binary.AppendUvarint(b, uint64(r.tag))
		b = append(b, r.column, 0)
		if r.consumed {
			b[len(b)-1] = 1
		}
	}
	return string(b)
}

// story tells a history to a person.
func story(events []event) string {
	var b strings.Builder
	for _, ev := range events {
		end := fmt.Sprint(ev.end)
		if ev.end == never {
			end = "?"
		}
		fmt.Fprintf(&b, "%5d –%5s  client %2d  ", ev.start, end, ev.client)
		switch ev.kind {
		case eventGet:
			fmt.Fprintf(&b, "get %d", ev.row)
		case eventFind:
			fmt.Fprintf(&b, "find %d by %d", ev.row, ev.column)
		case eventCommit:
			for i, m := range ev.moves {
				if i > 0 {
					b.WriteString(" + ")
				}
				fmt.Fprintf(&b, "%s %d", m.verb, m.row)
				if m.verb == storage.VerbUpdate {
					fmt.Fprintf(&b, " version %d", m.version)
				}
				if m.verb == storage.VerbUpdate || m.verb == storage.VerbInsert {
					fmt.Fprintf(&b, " data %d column %d", m.tag, m.column)
				}
			}
		}
		fmt.Fprintf(&b, "  → %s", ev.result)
		if ev.kind == eventCommit && ev.result != "ok" && !ev.unknown() {
			fmt.Fprintf(&b, " at op %d", ev.index)
		}
		if ev.kind != eventCommit || ev.result != "ok" {
			fmt.Fprintf(&b, "  %+v", ev.seen)
		}
		if ev.description != "" {
			fmt.Fprintf(&b, "  %s", ev.description)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
