package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// Revoke is the revocation endpoint, RFC 7009 §2. Revoking a refresh token
// revokes its grant with everything issued under it; revoking an access token
// kills that one alone. A token that is unknown, dead or somebody else's is
// answered like one that was revoked.
func (p *Provider) Revoke() http.Handler {
	return p.handler(endpoint{name: "revoke", methods: "POST", cors: corsClients, serve: p.revoke, fail: p.failJSON})
}

func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) error {
	f, err := body(r)
	if err != nil {
		return err
	}
	c, err := p.authenticate(w, r, f)
	if err != nil {
		return err
	}
	token := f.Get("token")
	switch {
	case token == "":
		return refuse("revoke.missing", nil)
	case strings.HasPrefix(token, handle.Refresh):
		err = p.revokeRefresh(r.Context(), r, c, token)
	default:
		err = p.revokeAccess(r.Context(), r, c, token)
	}
	if err != nil {
		return err // an outage: the client must not believe that it is done, RFC 7009 §2.2.1
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (p *Provider) revokeRefresh(ctx context.Context, r *http.Request, c *clientreg.Client, token string) error {
	t, ok := p.parseRefresh(token)
	if !ok {
		return nil
	}
	g, err := p.loadGrant(ctx, grantRef(t.shard, t.grant))
	if err != nil {
		if toError(err).Code == "invalid_grant" {
			return nil
		}
		return err
	}
	sum := sha256.Sum256([]byte(token))
	current := g.data.Refresh != nil && subtle.ConstantTimeCompare(sum[:], g.data.Refresh.Digest) == 1
	if g.rec.Client != c.ID || !current && !t.real {
		return nil
	}
	return p.revokeGrant(ctx, r, g.rec.Ref, Event{ClientID: c.ID, Subject: g.rec.Subject, Session: g.rec.Session, Reason: "revoked by the client"})
}

func (p *Provider) revokeAccess(ctx context.Context, r *http.Request, c *clientreg.Client, token string) error {
	t, ok, err := p.openAccess(ctx, token)
	now := p.now()
	if err != nil || !ok || now.Unix() >= t.Exp {
		return err
	}
	for range 8 { // a refresh may write the grant at the same moment
		g, err := p.tokenGrant(ctx, t)
		if err != nil {
			if toError(err).Code == "invalid_token" {
				return nil
			}
			return err
		}
		if g.rec.Client != c.ID || g.rec.State != storage.Active {
			return nil
		}
		g.revokeJTI(t, now)
		if exp := time.Unix(t.Exp, 0).Add(time.Minute); g.rec.ExpiresAt.Before(exp) {
			g.rec.ExpiresAt = exp
		}
		if err := g.encode(); err != nil {
			return err
		}
		op := storage.Update(*g.rec)
		if g.rec.Version == 0 {
			op = storage.Insert(*g.rec)
		}
		err = p.commit(ctx, op)
		switch {
		case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrExists):
			continue
		case errors.Is(err, storage.ErrConsumed), errors.Is(err, storage.ErrNotFound):
			return nil // dead with its grant
		case err != nil:
			return err
		}
		p.emit(ctx, r, Event{Name: "token.revoked", ClientID: c.ID, Subject: g.rec.Subject, Session: g.rec.Session, Grant: g.rec.Key})
		return nil
	}
	return storage.ErrUnavailable
}

// revokeJTI marks one access token as dead. When there are too many to list,
// every token up to now dies instead: too many rather than too few.
func (g *grant) revokeJTI(t accessToken, now time.Time) {
	g.data.Revoked = slices.DeleteFunc(g.data.Revoked, func(x revokedJTI) bool { return x.JTI == t.JTI || !now.Before(x.Exp) })
	if len(g.data.Revoked) >= maxRevokedJTI {
		g.data.Revoked, g.data.NotBefore = nil, now.Add(time.Millisecond)
		return
	}
	g.data.Revoked = append(g.data.Revoked, revokedJTI{t.JTI, time.Unix(t.Exp, 0)})
}
