package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// grant is one authorization event: what a user allowed a client, once. It is
// the unit of revocation: every token names its grant, and dies with it. It is
// also the refresh chain, one row however long the chain.
type grant struct {
	rec  *storage.Record
	data grantData
}

type grantData struct {
	Scope     []string          `json:"scope,omitempty"`
	Claims    *claimsParameter  `json:"claims,omitempty"`
	Locales   []string          `json:"claims_locales,omitempty"`
	Resources []string          `json:"resource,omitempty"`
	Details   []json.RawMessage `json:"authorization_details,omitempty"`
	Host      bool              `json:"host,omitempty"` // the session is the application's
	SID       string            `json:"sid,omitempty"`
	AuthTime  time.Time         `json:"auth_time"`
	TellTime  bool              `json:"tell_time,omitempty"` // auth_time belongs into ID tokens
	ACR       string            `json:"acr,omitempty"`
	AMR       []string          `json:"amr,omitempty"`
	Consent   bool              `json:"consent,omitempty"` // rests on a remembered consent
	CreatedAt time.Time         `json:"created_at"`
	UsedAt    time.Time         `json:"used_at"`

	NotBefore time.Time    `json:"not_before,omitzero"` // access tokens issued before are dead
	Revoked   []revokedJTI `json:"revoked,omitempty"`
	Refresh   *refreshData `json:"refresh,omitempty"`
}

// revokedJTI is one access token that was revoked alone, RFC 7009.
type revokedJTI struct {
	JTI string    `json:"jti"`
	Exp time.Time `json:"exp"`
}

const maxRevokedJTI = 32

func (g *grant) offline() bool         { return g.has("offline_access") }
func (g *grant) has(scope string) bool { return slices.Contains(g.data.Scope, scope) }

// ref of a grant from its shard and identifier.
func grantRef(shard uint16, id string) storage.Ref {
	return storage.Ref{Kind: storage.KindGrant, Shard: shard, Key: id}
}

// newGrant draws up the grant of an approved request, not yet stored.
func (p *Provider) newGrant(f *flow, s *session, a decision) (*grant, error) {
	id, err := handle.Random(p.rand, grantIDBytes)
	if err != nil {
		return nil, err
	}
	now := p.now()
	q := f.req
	pickup := p.cfg.TTL.Code // how long the client may take to come for its tokens
	if f.device != nil {
		pickup = p.cfg.TTL.Device
	}
	g := &grant{
		rec: &storage.Record{
			Ref: grantRef(f.shard, id), Subject: s.login.Subject, Client: f.client.ID, Session: s.key, Grant: id,
			ExpiresAt: now.Add(pickup + p.cfg.TTL.Access),
		},
		data: grantData{
			Scope: a.scope, Claims: q.Claims.only(a.claims), Locales: q.ClaimsLocales, Resources: q.Resources, Details: a.details,
			Host: s.rec == nil, SID: s.sid(f.client.ID), AuthTime: s.login.At, ACR: s.login.ACR, AMR: s.login.AMR,
			TellTime: q.MaxAge != nil || f.client.RequireAuthTime || asksAuthTime(q.Claims),
			Consent:  a.remembered, CreatedAt: now, UsedAt: now,
		},
	}
	return g, g.encode()
}

func asksAuthTime(c *claimsParameter) bool {
	return c != nil && slices.Contains(c.names(ForIDToken), "auth_time")
}

func (g *grant) encode() (err error) {
	g.rec.Data, err = encodeJSON(g.data)
	return err
}

func readGrant(rec *storage.Record) (*grant, error) {
	g := &grant{rec: rec}
	if err := decode(rec.Data, &g.data); err != nil {
		return nil, err
	}
	return g, nil
}

// loadGrant returns a grant in any state, or refuses.
func (p *Provider) loadGrant(ctx context.Context, ref storage.Ref) (*grant, error) {
	rec, err := p.get(ctx, ref)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse("grant.revoked", nil)
	}
	if err != nil {
		return nil, err
	}
	return readGrant(rec)
}

// liveGrant returns a grant that may be used by the client: active, its own,
// its user enabled.
func (p *Provider) liveGrant(ctx context.Context, c *clientreg.Client, ref storage.Ref) (*grant, error) {
	g, err := p.loadGrant(ctx, ref)
	if err != nil {
		return nil, err
	}
	return g, p.checkGrant(ctx, c, g)
}

func (p *Provider) checkGrant(ctx context.Context, c *clientreg.Client, g *grant) error {
	switch {
	case g.rec.State != storage.Active:
		return refuse("grant.revoked", nil)
	case g.rec.Client != c.ID:
		return refuse("grant.client", nil)
	case g.data.CreatedAt.Before(c.NotBefore):
		return refuse("grant.client", nil)
	}
	return p.checkUser(ctx, c, g.rec.Subject)
}

// recheck is the second half of "revocation cannot be overtaken": whoever
// inserted a grant reads again what it rests on. Whoever revokes marks first
// and looks for grants then, so one of the two sees the other.
func (p *Provider) recheck(ctx context.Context, g *grant) error {
	c, err := p.client(ctx, g.rec.Client)
	if err != nil {
		return err
	}
	if g.data.CreatedAt.Before(c.NotBefore) {
		return refuse("grant.client", nil)
	}
	rec, err := p.get(ctx, derived(storage.KindSession, g.rec.Session))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if !g.data.Host {
			return refuse("grant.session", nil)
		}
	case err != nil:
		return err
	case rec.State != storage.Active:
		return refuse("grant.session", nil)
	}
	if g.data.Consent {
		rec, err := p.get(ctx, consentRef(g.rec.Subject, g.rec.Client))
		var now consentData
		if errors.Is(err, storage.ErrNotFound) || err == nil && (rec.State != storage.Active || json.Unmarshal(rec.Data, &now) != nil || !within(g.data.Scope, now.Scope)) {
			return refuse("grant.consent", nil)
		}
		if err != nil {
			return err
		}
	}
	return p.checkUser(ctx, c, g.rec.Subject)
}

// endGrant kills a grant and everything issued under it, whatever its kind.
func (p *Provider) endGrant(ctx context.Context, r *http.Request, g *grant, e Event) error {
	e.Subject, e.ClientID, e.Session = g.rec.Subject, g.rec.Client, g.rec.Session
	if g.own() {
		return p.revokeOwn(ctx, r, g.rec.Client, e)
	}
	return p.revokeGrant(ctx, r, g.rec.Ref, e)
}

// revokeGrant kills a grant and everything issued under it: one row, without a
// version, so it cannot lose. A grant that is gone already is fine.
func (p *Provider) revokeGrant(ctx context.Context, r *http.Request, ref storage.Ref, e Event) error {
	err := p.commit(ctx, storage.Consume(ref))
	if errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	e.Name, e.Grant = "grant.revoked", ref.Key
	p.emit(ctx, r, e)
	return nil
}

// eachGrant calls f for every active grant of a query.
func (p *Provider) eachGrant(ctx context.Context, q storage.Query, f func(*grant) error) error {
	for {
		page, err := p.store.Find(ctx, q)
		if err != nil {
			return errors.Join(errOutage, err)
		}
		for _, rec := range page.Records {
			if rec == nil || rec.State != storage.Active {
				continue
			}
			g, err := readGrant(rec)
			if err != nil {
				g = &grant{rec: rec} // unreadable, but to be revoked all the same
			}
			if err := f(g); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		q.After = page.Next
	}
}
