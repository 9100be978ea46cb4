package storage

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Prefixed returns a part of s of its own: what is written through it has the
// prefix before its key and its columns, and nothing else is seen. Several
// tenants share one storage so, one prefix each, one Provider for each issuer.
//
// A prefix has 1 to 64 letters, digits, '-' or '_'. Keys and columns may be so
// much shorter than MaxKey, and one byte. Purge deletes what has expired of all
// tenants.
func Prefixed(s Storage, prefix string) (Storage, error) {
	if s == nil {
		return nil, errors.New("storage: Prefixed needs a storage")
	}
	if len(prefix) == 0 || len(prefix) > 64 || strings.ContainsFunc(prefix, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) {
		return nil, errors.New("storage: a prefix has 1 to 64 letters, digits, '-' or '_'")
	}
	return &prefixed{s, prefix + ":"}, nil // no prefix holds a colon, so none begins another
}

type prefixed struct {
	inner  Storage
	prefix string
}

func (p *prefixed) ref(r Ref) Ref {
	if r.Key != "" {
		r.Key = p.prefix + r.Key
	}
	return r
}

// columns maps the columns that are set.
func columns(f func(string) string, all ...*string) {
	for _, s := range all {
		if *s != "" {
			*s = f(*s)
		}
	}
}

func (p *prefixed) add(s string) string { return p.prefix + s }

// back takes the prefix off a record in place; nil stays nil.
func (p *prefixed) back(r *Record) (*Record, error) {
	if r == nil {
		return nil, nil
	}
	key, ok := strings.CutPrefix(r.Key, p.prefix)
	if !ok {
		return nil, errors.New("storage: a record of another prefix")
	}
	r.Key = key
	columns(func(s string) string { return strings.TrimPrefix(s, p.prefix) }, &r.Subject, &r.Client, &r.Session, &r.Grant)
	return r, nil
}

func (p *prefixed) Get(ctx context.Context, ref Ref) (*Record, error) {
	r, err := p.inner.Get(ctx, p.ref(ref))
	if err != nil {
		return nil, err
	}
	return p.back(r)
}

func (p *prefixed) Commit(ctx context.Context, ops ...Op) error {
	if err := Validate(ops); err != nil { // before an empty key has a prefix
		return err
	}
	inner := make([]Op, len(ops))
	for i, op := range ops {
		r := &op.Record
		r.Ref = p.ref(r.Ref)
		columns(p.add, &r.Subject, &r.Client, &r.Session, &r.Grant)
		inner[i] = op
	}
	return translate(p.inner.Commit(ctx, inner...), ops, p.back)
}

func (p *prefixed) Find(ctx context.Context, q Query) (Page, error) {
	columns(p.add, &q.Subject, &q.Client, &q.Session, &q.Grant)
	page, err := p.inner.Find(ctx, q)
	if err != nil {
		return Page{}, err
	}
	for i, r := range page.Records {
		if page.Records[i], err = p.back(r); err != nil {
			return Page{}, err
		}
	}
	return page, nil
}

func (p *prefixed) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	return p.inner.Purge(ctx, before, limit)
}
