package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
)

// broken is a backend with one flaw, or none. Each flaw is a mistake that a
// real backend could make.
type broken struct {
	flaw string

	mu    sync.Mutex
	rows  map[storage.Ref]*storage.Record
	stale map[storage.Ref]*storage.Record // what was there one write ago
	order map[storage.Ref]int             // of first insertion
}

func breaking(flaw string) Factory {
	return func(testing.TB) storage.Storage {
		return &broken{flaw: flaw, rows: map[storage.Ref]*storage.Record{}, stale: map[storage.Ref]*storage.Record{}, order: map[storage.Ref]int{}}
	}
}

func (b *broken) is(flaw string) bool { return b.flaw == flaw }

// pause gives others the time to come in between.
func pause() { time.Sleep(300 * time.Microsecond) }

func (b *broken) ref(r storage.Ref) storage.Ref {
	switch b.flaw {
	case "keys without case":
		r.Key = strings.ToLower(r.Key)
	case "keys without trailing blanks":
		r.Key = strings.TrimRight(r.Key, " ")
	case "keys end at NUL":
		r.Key, _, _ = strings.Cut(r.Key, "\x00")
	case "keys are UTF-8":
		r.Key = strings.ToValidUTF8(r.Key, "\ufffd")
	case "keys are cut":
		r.Key = r.Key[:min(len(r.Key), 255)]
	case "kinds share keys":
		r.Kind = ""
	case "kind and key are glued":
		r.Key, r.Kind = string(r.Kind)+":"+r.Key, ""
	case "shards share keys":
		r.Shard = 0
	case "shards are signed":
		r.Shard &= 0x7fff
	}
	return r
}

func (b *broken) out(r *storage.Record) *storage.Record {
	if r == nil || b.is("reads are aliases") {
		return r
	}
	r = r.Clone()
	switch b.flaw {
	case "times are local":
		if !r.ExpiresAt.IsZero() {
			r.ExpiresAt = r.ExpiresAt.In(time.FixedZone("here", 3600))
		}
	case "times are milliseconds":
		r.ExpiresAt = r.ExpiresAt.Truncate(time.Millisecond)
	case "no time is 1970":
		if r.ExpiresAt.IsZero() {
			r.ExpiresAt = time.Unix(0, 0).UTC()
		}
	}
	return r
}

func (b *broken) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	if ctx.Err() != nil && !b.is("reads ignore the context") {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.rows
	if b.is("reads lag behind") {
		rows = b.stale
	}
	r := rows[b.ref(ref)]
	switch {
	case r == nil && b.is("absent is nil without an error"):
		return nil, nil
	case r == nil, b.is("hides expired records") && !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(time.Now()):
		return nil, storage.ErrNotFound
	}
	return b.out(r), nil
}

func (b *broken) validate(ops []storage.Op) error {
	err := storage.Validate(ops)
	if err == nil {
		return nil
	}
	for flaw, words := range map[string]string{
		"two shards in a commit": "in a commit of shard", "a ref twice in a commit": "named twice",
		"data of any size": "data of", "inserts consumed rows": "must be active",
	} {
		if b.is(flaw) && strings.Contains(err.Error(), words) {
			return nil
		}
	}
	return err
}

func (b *broken) judge(op storage.Op, current *storage.Record) error {
	switch {
	case b.is("inserts over consumed rows") && op.Verb == storage.VerbInsert && current != nil && current.State == storage.Consumed:
		return nil
	case b.is("inserts are upserts") && op.Verb == storage.VerbInsert:
		return nil
	case b.is("updates need no version") && op.Verb == storage.VerbUpdate && current != nil && current.State == storage.Active:
		return nil
	case b.is("updates need no active row") && op.Verb == storage.VerbUpdate && current != nil && current.Version == op.Record.Version:
		return nil
	case b.is("consumed rows are absent") && current != nil && current.State == storage.Consumed && op.Verb != storage.VerbInsert:
		return storage.ErrNotFound
	case b.is("delete wants a row") && op.Verb == storage.VerbDelete && current == nil:
		return storage.ErrNotFound
	case b.is("consume needs the version") && op.Verb == storage.VerbConsume && current != nil && op.Record.Version != 0 && op.Record.Version != current.Version:
		return storage.ErrConflict
	case b.is("consume is idempotent") && op.Verb == storage.VerbConsume && current != nil:
		return nil
	case b.is("check takes consumed rows") && op.Verb == storage.VerbCheck && current != nil:
		return nil
	}
	return op.Judge(current)
}

func (b *broken) apply(op storage.Op, current *storage.Record) *storage.Record {
	next := op.Apply(current)
	if next == nil {
		return nil
	}
	next.Ref = op.Record.Ref
	switch b.flaw {
	case "insert keeps the version passed in":
		if op.Verb == storage.VerbInsert && op.Record.Version != 0 {
			next.Version = op.Record.Version
		}
	case "consume keeps the version":
		if op.Verb == storage.VerbConsume {
			next.Version--
		}
	case "check writes a version":
		if op.Verb == storage.VerbCheck {
			next.Version++
		}
	case "consume writes the record passed in":
		if op.Verb == storage.VerbConsume {
			next.Data = bytes.Clone(op.Record.Data)
		}
	case "data ends at NUL":
		next.Data, _, _ = bytes.Cut(next.Data, []byte{0})
	case "data is UTF-8":
		next.Data = bytes.ToValidUTF8(next.Data, []byte("?"))
	case "writes are aliases":
		next.Data = op.Record.Data
	case "columns are written once":
		if op.Verb == storage.VerbUpdate {
			next.Subject, next.Client = current.Subject, current.Client
		}
	}
	return next
}

func (b *broken) put(ref storage.Ref, next *storage.Record) {
	if old, ok := b.rows[ref]; ok {
		b.stale[ref] = old
	}
	if next == nil {
		delete(b.rows, ref)
		delete(b.order, ref)
		return
	}
	b.rows[ref] = next
	if _, ok := b.order[ref]; !ok || b.is("writes move a record in the order") {
		b.order[ref] = int(next.Version)<<32 + len(b.order)
	}
}

// racing tells whether the verb decides on what it read some time ago.
func (b *broken) racing(v storage.Verb) bool {
	return b.is("reads, decides, writes") || b.is("reads, decides, writes: "+v.String()) || b.is("reads, decides, writes what it checked") || b.is("snapshot isolation") && v == storage.VerbCheck
}

func (b *broken) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := b.validate(ops); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	early := make([]*storage.Record, len(ops))
	b.mu.Lock()
	for i, op := range ops {
		early[i] = b.rows[b.ref(op.Record.Ref)]
	}
	if strings.HasPrefix(b.flaw, "reads, decides") || b.is("snapshot isolation") {
		b.mu.Unlock()
		pause()
		b.mu.Lock()
	}
	defer b.mu.Unlock()

	indexes := make([]int, len(ops))
	for i := range ops {
		indexes[i] = i
	}
	if b.is("the first in lock order is blamed") {
		indexes = storage.LockOrder(ops)
	}
	current := make([]*storage.Record, len(ops))
	for _, i := range indexes {
		op := ops[i]
		current[i] = b.rows[b.ref(op.Record.Ref)]
		if b.racing(op.Verb) {
			current[i] = early[i]
		}
		if err := b.judge(op, current[i]); err != nil {
			c := &storage.ConflictError{Index: i, Op: op, Current: current[i].Clone(), Err: err}
			switch b.flaw {
			case "a conflict shows an alias":
				c.Current = current[i]
			case "a conflict shows nothing":
				c.Current = nil
			case "a conflict names op 0":
				c.Index = 0
			case "a conflict is a bare error":
				return err
			}
			return c
		}
		if b.is("writes op by op") && op.Verb != storage.VerbCheck {
			b.put(b.ref(op.Record.Ref), b.apply(op, current[i]))
		}
	}
	for i, op := range ops {
		switch {
		case b.is("writes op by op"):
			continue
		case op.Verb == storage.VerbCheck && !b.is("check writes a version") && !b.is("reads, decides, writes what it checked"):
			continue
		case b.is("others see half a commit") && i > 0, b.is("a cancelled commit stops half-way") && i > 0:
			b.mu.Unlock()
			pause()
			b.mu.Lock()
			if b.is("a cancelled commit stops half-way") && ctx.Err() != nil {
				return fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
			}
		}
		b.put(b.ref(op.Record.Ref), b.apply(op, current[i]))
	}
	if b.is("acknowledges before it is done") {
		// Undone for a moment, as if a replica had not heard yet.
		late := maps.Clone(b.rows)
		for i, op := range ops {
			if current[i] != nil {
				b.rows[b.ref(op.Record.Ref)] = current[i]
			}
		}
		go func() {
			pause()
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, op := range ops {
				if r := late[b.ref(op.Record.Ref)]; r != nil {
					b.rows[b.ref(op.Record.Ref)] = r
				}
			}
		}()
	}
	return nil
}

func (b *broken) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	limit := q.Limit
	if err := q.Validate(); err != nil && !(b.is("find takes any query") && q.Kind != "") {
		return storage.Page{}, err
	}
	if ctx.Err() != nil {
		return storage.Page{}, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	if b.is("default limit of 50") && limit == 0 {
		q.Limit = 50
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.rows
	if b.is("find lags behind") {
		rows = b.stale
	}
	var found []*storage.Record
	for _, r := range rows {
		m := *r
		switch b.flaw {
		case "columns without case":
			fold := strings.ToLower
			m.Subject, m.Client, m.Session, m.Grant = fold(m.Subject), fold(m.Client), fold(m.Session), fold(m.Grant)
			q.Subject, q.Client, q.Session, q.Grant = fold(q.Subject), fold(q.Client), fold(q.Session), fold(q.Grant)
		case "find ignores the session":
			if m.Session = q.Session; q.Subject+q.Client+q.Grant == "" {
				m.Session = r.Session
			}
		case "find ignores the kind":
			m.Kind = q.Kind
		case "find skips consumed records":
			if m.State == storage.Consumed {
				continue
			}
		}
		if q.Matches(&m) {
			found = append(found, r)
		}
	}
	key := func(r *storage.Record) string { return fmt.Sprintf("%04x%s", r.Shard, r.Key) }
	slices.SortFunc(found, func(x, y *storage.Record) int {
		if b.is("writes move a record in the order") {
			return cmp.Compare(b.order[b.ref(x.Ref)], b.order[b.ref(y.Ref)])
		}
		return strings.Compare(key(x), key(y))
	})
	skip := 0
	if b.is("pages by offset") || b.is("writes move a record in the order") {
		skip, _ = strconv.Atoi(q.After)
		skip = min(max(skip, 0), len(found))
	} else {
		for skip < len(found) && q.After != "" && (key(found[skip]) < q.After || key(found[skip]) == q.After && !b.is("pages overlap")) {
			skip++
		}
	}
	found = found[skip:]
	var page storage.Page
	if len(found) > q.Limit && !b.is("find knows no limit") {
		found = found[:q.Limit]
		page.Next = key(found[len(found)-1])
		if b.is("pages by offset") || b.is("writes move a record in the order") {
			page.Next = strconv.Itoa(skip + q.Limit)
		}
		if b.is("one page is all") {
			page.Next = ""
		}
	}
	for _, r := range found {
		page.Records = append(page.Records, b.out(r))
	}
	return page, nil
}

func (b *broken) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	if ctx.Err() != nil && !b.is("purge ignores the context") {
		return 0, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.is("purge with limit 0 has no limit") && limit == 0 || b.is("purge knows no limit") {
		limit = 1 << 30
	}
	var doomed []storage.Ref
	for ref, r := range b.rows {
		at := r.ExpiresAt
		if at.IsZero() && !b.is("purge takes what is kept for ever") {
			continue
		}
		if at.Before(before) || b.is("purge is a microsecond early") && at.Equal(before) || b.is("purge compares seconds") && at.Unix() <= before.Unix() {
			doomed = append(doomed, ref)
		}
	}
	if b.is("purge decides, then deletes") {
		b.mu.Unlock()
		pause()
		b.mu.Lock()
	}
	n := 0
	for _, ref := range doomed {
		if n < limit {
			b.put(ref, nil)
			n++
		}
	}
	if b.is("purge does not count") {
		n = 0
	}
	return n, nil
}
