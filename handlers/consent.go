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
	return true
}

// requestedClaims lists the claims asked for by name, for any place.
func requestedClaims(q *authRequest) []string {
	names := q.Claims.names(ForIDToken)
	for _, n := range q.Claims.names(ForUserInfo) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// remember adds a decision to what is remembered. Losing a race against
// another tab means reading once more.
func (p *Provider) remember(ctx context.Context, subject, clientID string, scope, claims []string) error {
	for range 16 {
		c, rec, err := p.remembered(ctx, subject, clientID)
		if err != nil {
			return err
		}
		for _, s := range scope {
			if !slices.Contains(c.Scope, s) {
				c.Scope = append(c.Scope, s)
			}
		}
		for _, n := range claims {
			if !slices.Contains(c.Claims, n) {
				c.Claims = append(c.Claims, n)
			}
		}
		c.Until = p.now().Add(p.cfg.TTL.Consent)
		next := storage.Record{Ref: consentRef(subject, clientID), Subject: subject, Client: clientID, ExpiresAt: c.Until}
		if next.Data, err = json.Marshal(c); err != nil {
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

// forget takes a remembered consent back.
func (p *Provider) forget(ctx context.Context, subject, clientID string) error {
	return p.commit(ctx, storage.Delete(consentRef(subject, clientID)))
}
