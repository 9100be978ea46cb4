package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// consentData is a remembered decision of a subject for a client. It outlives
// grants: a replayed code kills its grant and not what the user decided.
type consentData struct {
	Scope  []string  `json:"scope,omitempty"`
	Claims []string  `json:"claims,omitempty"`
	Until  time.Time `json:"until"`

	// APIs has the scopes allowed at each: a scope means something else at another.
	APIs map[string][]string `json:"apis,omitempty"`
}

func consentRef(subject, clientID string) storage.Ref {
	return derived(storage.KindConsent, handle.DerivedKey("consent", subject, clientID))
}

// remembered returns the consent of a subject for a client, empty if there is
// none, and the record it is in, nil if there is none.
func (p *Provider) remembered(ctx context.Context, subject, clientID string) (consentData, *storage.Record, error) {
	var c consentData
	rec, err := p.get(ctx, consentRef(subject, clientID))
	if errors.Is(err, storage.ErrNotFound) {
		return c, nil, nil
	}
	if err != nil {
		return c, nil, err
	}
	if rec.State != storage.Active || json.Unmarshal(rec.Data, &c) != nil || !p.now().Before(c.Until) {
		return consentData{}, rec, nil
	}
	return c, rec, nil
}

// covers tells whether everything asked for was allowed before. Authorization
// details never are: each payment is a decision of its own.
func (c *consentData) covers(q *authRequest) bool {
	if len(q.Details) > 0 || c.Until.IsZero() {
		return false
	}
	for _, s := range q.Scope {
		if !slices.Contains(c.Scope, s) {
			return false
		}
	}
	for _, n := range requestedClaims(q) {
		if !slices.Contains(c.Claims, n) {
			return false
		}
	}
	for _, r := range q.Resources {
		if at, ok := c.APIs[r]; !ok || !within(q.Scope, at) {
			return false
		}
	}
	return true
}

// requestedClaims lists the claims of the user that are asked for by name, for
// any place.
func requestedClaims(q *authRequest) []string {
	var names []string
	for _, n := range append(q.Claims.names(ForIDToken), q.Claims.names(ForUserInfo)...) {
		if !slices.Contains(names, n) && !protectedClaim(n) {
			names = append(names, n)
		}
	}
	return names
}

// remember brings what is remembered in line with what was decided just now:
// what was asked for and refused is forgotten, and what was allowed is added if
// the user wants that. Losing a race against another tab means reading again.
func (p *Provider) remember(ctx context.Context, subject string, f *flow, d decision) error {
	clientID := f.client.ID
	for range 16 {
		old, rec, err := p.remembered(ctx, subject, clientID)
		if err != nil {
			return err
		}
		c := consentData{
			Scope:  decide(old.Scope, f.req.Scope, d.scope, d.remember),
			Claims: decide(old.Claims, requestedClaims(f.req), d.claims, d.remember),
			APIs:   map[string][]string{},
			Until:  old.Until,
		}
		for api, scope := range old.APIs {
			c.APIs[api] = decide(scope, f.req.Scope, d.scope, false)
		}
		for _, api := range f.req.Resources { // they come with every approval
			if d.remember {
				c.APIs[api] = decide(old.APIs[api], f.req.Scope, d.scope, true)
			}
		}
		if d.remember {
			c.Until = p.now().Add(p.cfg.TTL.Consent)
		}
		if !d.remember && (rec == nil || len(c.Scope) == len(old.Scope) && len(c.Claims) == len(old.Claims)) {
			return nil
		}
		next := storage.Record{Ref: consentRef(subject, clientID), Subject: subject, Client: clientID, ExpiresAt: c.Until}
		if next.Data, err = encodeJSON(c); err != nil {
			return err
		}
		op := storage.Insert(next)
		if rec != nil {
			next.Version = rec.Version
			op = storage.Update(next)
		}
		err = p.commit(ctx, op)
		if errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		return err
	}
	return storage.ErrUnavailable
}

// decide returns what stays allowed: the old without what was asked for and not
// approved, and with what was approved if that is to be added.
func decide(old, asked, approved []string, add bool) []string {
	kept := slices.DeleteFunc(slices.Clone(old), func(s string) bool { return slices.Contains(asked, s) && !slices.Contains(approved, s) })
	for _, s := range approved {
		if add && !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// forget takes a remembered consent back.
func (p *Provider) forget(ctx context.Context, subject, clientID string) error {
	return p.commit(ctx, storage.Delete(consentRef(subject, clientID)))
}
