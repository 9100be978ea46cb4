package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// clientGrant is the grant that a client's tokens on its own behalf name. Every
// client has one; its row is absent until something has to be written into it,
// so issuing such a token costs no write.
func clientGrant(clientID string) *grant {
	ref := derived(storage.KindGrant, handle.DerivedKey("client grant", clientID))
	return &grant{rec: &storage.Record{Ref: ref, Client: clientID, Grant: ref.Key}}
}

// revokeOwn kills every token that a client has on its own behalf so far. The
// row is kept as long as the youngest of them lives; the client goes on.
func (p *Provider) revokeOwn(ctx context.Context, r *http.Request, clientID string, e Event) error {
	for range 8 {
		g := clientGrant(clientID)
		rec, err := p.get(ctx, g.rec.Ref)
		switch {
		case err == nil:
			if g, err = readGrant(rec); err != nil {
				return err
			}
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		now := p.now()
		g.data.Revoked, g.data.NotBefore = nil, now.Add(time.Millisecond)
		g.rec.ExpiresAt = now.Add(p.cfg.TTL.Access + time.Minute)
		if err := g.encode(); err != nil {
			return err
		}
		op := storage.Update(*g.rec)
		if g.rec.Version == 0 {
			op = storage.Insert(*g.rec)
		}
		err = p.commit(ctx, op)
		if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		e.Name, e.ClientID, e.Grant = "grant.revoked", clientID, g.rec.Key
		p.emit(ctx, r, e)
		return nil
	}
	return storage.ErrUnavailable
}

// own tells whether a grant is a client's own: it has no user.
func (g *grant) own() bool { return g.rec.Subject == "" }

// subject is the user, or the client itself. RFC 9068 §2.2.
func (g *grant) subject() string {
	if g.own() {
		return g.rec.Client
	}
	return g.rec.Subject
}

// exchangeClient issues a token on the client's own behalf, RFC 6749 §4.4. There
// is no user, so there is no ID token and no refresh token (§4.4.3).
func (p *Provider) exchangeClient(ctx context.Context, r *http.Request, c *clientreg.Client, f form.Form) (*tokenResponse, error) {
	if c.Public() {
		return nil, refuse("client.grant_type", nil)
	}
	if f.Has("authorization_details") { // nobody granted any; never ignored
		return nil, refuse("token.details_client", nil)
	}
	scope, err := p.clientScope(c, f.Get("scope"))
	if err != nil {
		return nil, err
	}
	for _, res := range f.All("resource") {
		if p.api(res) == nil {
			return nil, refuse("token.resource", nil)
		}
	}
	if p.cfg.Policy != nil {
		if err := p.cfg.Policy(ctx, Decision{"token", c, "", scope, r}); err != nil {
			return nil, tokenPolicyError(err)
		}
	}
	g := clientGrant(c.ID)
	g.data.Resources = f.All("resource")
	res, err := p.mint(ctx, g, issue{client: c, scope: scope, resource: f.All("resource")})
	if err != nil {
		return nil, err
	}
	p.emit(ctx, r, Event{Name: "token.issued", ClientID: c.ID, Grant: g.rec.Key})
	return res, nil
}

// clientScope: what is asked for, else all that the client is registered for;
// without the scopes that speak of a user.
func (p *Provider) clientScope(c *clientreg.Client, asked string) ([]string, error) {
	var scope []string
	for _, s := range c.ScopeList() {
		if p.scope(s) != nil && !standardScope(s) {
			scope = append(scope, s)
		}
	}
	if asked == "" {
		return scope, nil
	}
	narrowed, err := narrowScope(scope, asked)
	if err != nil {
		return nil, refuse("authorize.scope_client", nil)
	}
	return narrowed, nil
}
