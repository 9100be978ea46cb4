package handlers

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// Grants is what an account page or an administrator needs: to list what users
// allowed, and to take it back. Whoever calls it has checked who is asking.
type Grants struct{ p *Provider }

// Grants returns the view of grants. It is safe for concurrent use.
func (p *Provider) Grants() Grants { return Grants{p} }

// Grant is one authorization event.
type Grant struct {
	ID        string // names it to Revoke; no credential
	Subject   string
	ClientID  string
	SessionID string // of the session it was given in; no credential
	Scope     []string
	Resources []string
	Details   []json.RawMessage
	Offline   bool // lives on after logout
	AuthTime  time.Time
	CreatedAt time.Time
	UsedAt    time.Time // last time tokens were issued
	ExpiresAt time.Time // when nothing issued under it can live any more
}

// Filter selects grants. Fields that are set must all match; one must be set.
type Filter struct {
	Subject   string
	ClientID  string
	SessionID string
}

// ErrNoGrant says that no such grant is there.
var ErrNoGrant = errors.New("handlers: no such grant")

func (f Filter) query() storage.Query {
	return storage.Query{Kind: storage.KindGrant, Subject: f.Subject, Client: f.ClientID, Session: f.SessionID}
}

// List returns one page of living grants and the cursor of the next page, empty
// after the last. limit is 1 to 1000; 0 means 100. A page may hold fewer.
func (g Grants) List(ctx context.Context, f Filter, after string, limit int) (grants []Grant, next string, err error) {
	q := f.query()
	q.After, q.Limit = after, limit
	page, err := g.p.store.Find(ctx, q)
	if err != nil {
		return nil, "", err
	}
	now := g.p.now()
	for _, rec := range page.Records {
		gr, err := readGrant(rec)
		if err != nil || rec.State != storage.Active || !now.Before(rec.ExpiresAt) {
			continue
		}
		grants = append(grants, gr.view())
	}
	return grants, page.Next, nil
}

func (g *grant) view() Grant {
	return Grant{
		ID: grantName(g.rec.Ref), Subject: g.rec.Subject, ClientID: g.rec.Client, SessionID: g.rec.Session,
		Scope: g.data.Scope, Resources: g.data.Resources, Details: g.data.Details, Offline: g.offline(),
		AuthTime: g.data.AuthTime, CreatedAt: g.data.CreatedAt, UsedAt: g.data.UsedAt, ExpiresAt: g.rec.ExpiresAt,
	}
}

// grantName is shard and key in one string.
func grantName(ref storage.Ref) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint16(nil, ref.Shard)) + "." + ref.Key
}

func parseGrantName(s string) (storage.Ref, bool) {
	if len(s) < 5 || s[3] != '.' {
		return storage.Ref{}, false
	}
	b, ok := handle.Decode(s[:3])
	if !ok || len(b) != 2 {
		return storage.Ref{}, false
	}
	return grantRef(binary.BigEndian.Uint16(b), s[4:]), true
}

// Revoke kills one grant with everything issued under it, and forgets the
// consent it rests on. ErrNoGrant: there is none, or it is not the subject's.
// An empty subject matches any: for administrators.
func (g Grants) Revoke(ctx context.Context, subject, id string) error {
	ref, ok := parseGrantName(id)
	if !ok {
		return ErrNoGrant
	}
	rec, err := g.p.get(ctx, ref)
	if errors.Is(err, storage.ErrNotFound) || err == nil && subject != "" && rec.Subject != subject {
		return ErrNoGrant
	}
	if err != nil {
		return err
	}
	gr := &grant{rec: rec}
	if !gr.own() {
		if err := g.p.forget(ctx, rec.Subject, rec.Client); err != nil {
			return err
		}
	}
	return g.p.endGrant(ctx, nil, gr, Event{Reason: "revoked by the owner"})
}

// RevokeAll kills every grant that the filter selects and returns how many. By
// ClientID alone it also kills the tokens that the client has on its own behalf.
// For a deleted client, mark that first in the registry, then call it; for a user
// there is RevokeSubject. It can be repeated after an error.
func (g Grants) RevokeAll(ctx context.Context, f Filter) (int, error) {
	n := 0
	err := g.p.eachGrant(ctx, f.query(), func(gr *grant) error {
		if gr.own() {
			return nil
		}
		n++
		return g.p.endGrant(ctx, nil, gr, Event{Reason: "revoked by filter"})
	})
	if err == nil && f.ClientID != "" && f.Subject == "" && f.SessionID == "" {
		// What the client has on its own behalf may have no row to be found.
		err = g.p.revokeOwn(ctx, nil, f.ClientID, Event{Reason: "revoked by filter"})
	}
	return n, err
}

// RevokeSubject signs a subject out everywhere: it ends the sessions and kills
// every grant, those with offline_access too. For a disabled or deleted user or
// a password that leaked; change that first, then call it. What the subject
// consented to is kept. Where Users is a SessionSource the sessions are the
// application's to end. It can be repeated after an error.
func (g Grants) RevokeSubject(ctx context.Context, subject string) error {
	if subject == "" {
		return errors.New("handlers: RevokeSubject without a subject")
	}
	q := storage.Query{Kind: storage.KindSession, Subject: subject}
	for {
		page, err := g.p.store.Find(ctx, q)
		if err != nil {
			return errors.Join(errOutage, err)
		}
		for _, rec := range page.Records {
			// One that is marked as ended may have left grants behind; they go below.
			if rec.State == storage.Active {
				if err := g.p.endSession(ctx, nil, rec.Key, subject, ""); err != nil {
					return err
				}
			}
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	_, err := g.RevokeAll(ctx, Filter{Subject: subject})
	return err
}

// Withdraw takes the consent of a subject for a client back and revokes every
// grant that the subject gave it.
func (g Grants) Withdraw(ctx context.Context, subject, clientID string) error {
	if err := g.p.forget(ctx, subject, clientID); err != nil {
		return err
	}
	if _, err := g.RevokeAll(ctx, Filter{Subject: subject, ClientID: clientID}); err != nil {
		return err
	}
	g.p.emit(ctx, nil, Event{Name: "consent.withdrawn", Subject: subject, ClientID: clientID})
	return nil
}
