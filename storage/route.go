package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Leg is a storage with the kinds of records that live in it.
type Leg struct {
	Storage Storage
	Kinds   []Kind
}

// together lists the kinds that the kit writes in one Commit. They cannot live
// apart: no storage commits in two places at once.
var together = [][]Kind{
	{KindPAR, KindInteraction, KindCode, KindGrant, KindDevice, KindCIBA, KindUserCode},
	{KindSession, KindLogout},
}

// Route returns a storage that keeps the kinds of each leg there and all others
// in rest: replay marks in Redis, say, and grants in PostgreSQL. It refuses legs
// that part what is committed together, and a kind on two legs, all mistakes at
// once. A Commit across legs is ErrInvalid.
//
// The contract holds as long as each leg keeps it: what the kit does across
// kinds is written first and read again, which needs no common transaction.
// Back legs up together: a session without its grants is signed out, and grants
// without their session live on until they expire.
func Route(rest Storage, legs ...Leg) (Storage, error) {
	var errs []error
	if rest == nil {
		errs = append(errs, errors.New("storage: Route needs a storage for the rest"))
	}
	r := &route{stores: []Storage{rest}, at: map[Kind]int{}}
	for i, leg := range legs {
		if leg.Storage == nil {
			errs = append(errs, fmt.Errorf("storage: leg %d of Route has no storage", i))
		}
		r.stores = append(r.stores, leg.Storage)
		for _, k := range leg.Kinds {
			if _, twice := r.at[k]; twice {
				errs = append(errs, fmt.Errorf("storage: Route has the kind %q twice", k))
			}
			r.at[k] = i + 1
		}
	}
	for _, kinds := range together {
		apart := slices.ContainsFunc(kinds, func(k Kind) bool { return r.at[k] != r.at[kinds[0]] })
		if apart {
			errs = append(errs, fmt.Errorf("storage: Route parts kinds that are committed together: keep %q on one leg", kinds))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

type route struct {
	stores []Storage    // the rest, then the legs
	at     map[Kind]int // absent: the rest
}

func (r *route) Get(ctx context.Context, ref Ref) (*Record, error) {
	return r.stores[r.at[ref.Kind]].Get(ctx, ref)
}

func (r *route) Commit(ctx context.Context, ops ...Op) error {
	if err := Validate(ops); err != nil {
		return err
	}
	first := ops[0].Record.Kind
	for i, op := range ops {
		if r.at[op.Record.Kind] != r.at[first] {
			return fmt.Errorf("%w: op %d: a %s and a %s live in two storages", ErrInvalid, i, first, op.Record.Kind)
		}
	}
	return r.stores[r.at[first]].Commit(ctx, ops...)
}

func (r *route) Find(ctx context.Context, q Query) (Page, error) {
	return r.stores[r.at[q.Kind]].Find(ctx, q)
}

func (r *route) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	deleted := 0
	var errs []error
	for _, s := range r.stores { // one that is away keeps no other from being swept
		if deleted >= limit {
			break
		}
		n, err := s.Purge(ctx, before, limit-deleted)
		deleted += n
		errs = append(errs, err)
	}
	return deleted, errors.Join(errs...)
}
