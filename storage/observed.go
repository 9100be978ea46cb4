package storage

import (
	"context"
	"time"
)

// Call is what Observed tells of one call. It holds no key and no data.
type Call struct {
	Method  string // get, commit, find or purge
	Kinds   []Kind // of each op, of the query or of the ref; nil for purge
	Verbs   []Verb // of a commit
	Records int    // found, deleted or, by Get, 1
	Took    time.Duration
	Err     error // as the storage returned it
}

// Observed returns s with a call of observe after each of its own, in the same
// goroutine, for metrics and traces. observe must be fast and safe for
// concurrent use.
func Observed(s Storage, observe func(context.Context, Call)) Storage {
	return &observed{s, observe}
}

type observed struct {
	inner   Storage
	observe func(context.Context, Call)
}

// tell observes a call when it ends, by a panic as well.
func (o *observed) tell(ctx context.Context, c *Call) func() {
	start := time.Now()
	return func() {
		c.Took = time.Since(start)
		o.observe(ctx, *c)
	}
}

func (o *observed) Get(ctx context.Context, ref Ref) (*Record, error) {
	c := Call{Method: "get", Kinds: []Kind{ref.Kind}}
	defer o.tell(ctx, &c)()
	r, err := o.inner.Get(ctx, ref)
	if c.Err = err; r != nil {
		c.Records = 1
	}
	return r, err
}

func (o *observed) Commit(ctx context.Context, ops ...Op) error {
	c := Call{Method: "commit"}
	for _, op := range ops {
		c.Kinds, c.Verbs = append(c.Kinds, op.Record.Kind), append(c.Verbs, op.Verb)
	}
	defer o.tell(ctx, &c)()
	c.Err = o.inner.Commit(ctx, ops...)
	return c.Err
}

func (o *observed) Find(ctx context.Context, q Query) (Page, error) {
	c := Call{Method: "find", Kinds: []Kind{q.Kind}}
	defer o.tell(ctx, &c)()
	p, err := o.inner.Find(ctx, q)
	c.Records, c.Err = len(p.Records), err
	return p, err
}

func (o *observed) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	c := Call{Method: "purge"}
	defer o.tell(ctx, &c)()
	n, err := o.inner.Purge(ctx, before, limit)
	c.Records, c.Err = n, err
	return n, err
}
