package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/internal/pkce"
	"github.com/idpkit/idpkit/storage"
)

// maxMisses is how often the right client may send a wrong verifier.
const maxMisses = 5

// exchangeCode redeems an authorization code, RFC 6749 §4.1.3. Everything is
// checked before anything is spent: a wrong client never burns a code.
func (p *Provider) exchangeCode(ctx context.Context, r *http.Request, c *clientreg.Client, f form.Form) (*tokenResponse, error) {
	code := f.Get("code")
	if code == "" {
		return nil, refuse("code.missing", nil)
	}
	shard, ok := handle.Parse(handle.Code, code)
	if !ok {
		return nil, refuse("code.malformed", nil)
	}
	rec, err := p.get(ctx, storage.Ref{Kind: storage.KindCode, Shard: shard, Key: handle.Key(code)})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse("code.unknown", nil)
	}
	if err != nil {
		return nil, err
	}
	var d codeData
	if err := decode(rec.Data, &d); err != nil {
		return nil, err
	}
	switch {
	case rec.Client != c.ID:
		return nil, refuse("code.client", nil)
	case rec.State != storage.Active:
		return nil, p.codeReused(ctx, r, rec)
	case !p.now().Before(d.Expires):
		return nil, refuse("code.expired", nil)
	case f.Get("redirect_uri") != d.RedirectURI: // RFC 6749 §4.1.3
		return nil, refuse("code.redirect_uri", nil)
	}
	if err := p.checkVerifier(ctx, rec, d, f.Get("code_verifier")); err != nil {
		return nil, err
	}
	res, g, err := p.redeem(ctx, r, rec, issue{client: c, resource: f.All("resource"), details: f.Get("authorization_details"), nonce: d.Nonce})
	if errors.Is(err, errSpent) {
		return nil, p.codeReused(ctx, r, rec)
	}
	if err != nil {
		return nil, err
	}
	p.emit(ctx, r, Event{Name: "code.redeemed", ClientID: c.ID, Subject: g.rec.Subject, Grant: g.rec.Key, Session: g.rec.Session})
	return res, nil
}

// errSpent says that another request has spent the record in the meantime.
var errSpent = errors.New("handlers: spent by another request")

// redeem turns a record that stands for a grant into tokens, once: it mints
// first, then one Commit spends the record and notes the use in the grant.
func (p *Provider) redeem(ctx context.Context, r *http.Request, rec *storage.Record, is issue) (*tokenResponse, *grant, error) {
	g, err := p.liveGrant(ctx, is.client, grantRef(rec.Shard, rec.Grant))
	if err != nil {
		return nil, nil, err
	}
	is.scope = allowed(is.client, g.data.Scope)
	if p.cfg.Policy != nil {
		if err := p.cfg.Policy(ctx, Decision{"token", is.client, g.rec.Subject, is.scope, r}); err != nil {
			return nil, nil, tokenPolicyError(err)
		}
	}
	if g.offline() && is.client.HasGrantType("refresh_token") {
		if is.refresh, err = p.startChain(g); err != nil {
			return nil, nil, err
		}
	}
	res, err := p.mint(ctx, g, is)
	if err != nil {
		return nil, nil, err
	}
	g.data.UsedAt = p.now()
	p.retain(g)
	if err := g.encode(); err != nil {
		return nil, nil, err
	}
	err = p.commit(ctx, storage.Consume(rec.Ref), storage.Update(*g.rec))
	var conflict *storage.ConflictError
	switch {
	case errors.As(err, &conflict) && conflict.Op.Record.Ref == rec.Ref:
		return nil, nil, errSpent
	case err != nil:
		return nil, nil, revokedMeanwhile(err)
	}
	return res, g, nil
}

// codeReused answers a code that was spent: everything issued for it dies.
// RFC 6749 §4.1.2, RFC 9700 §4.5.
func (p *Provider) codeReused(ctx context.Context, r *http.Request, rec *storage.Record) error {
	e := Event{Subject: rec.Subject, ClientID: rec.Client, Reason: "code.reused"}
	if err := p.revokeGrant(ctx, r, grantRef(rec.Shard, rec.Grant), e); err != nil {
		return err
	}
	e.Name, e.Grant = "code.reused", rec.Grant
	p.emit(ctx, r, e)
	return refuse("code.reused", nil)
}

// checkVerifier: RFC 7636 §4.6, RFC 9700 §4.8.2. A wrong one is counted on the
// code, so that a thief cannot search for it.
func (p *Provider) checkVerifier(ctx context.Context, rec *storage.Record, d codeData, verifier string) error {
	switch {
	case d.Challenge == "" && verifier == "":
		return nil
	case d.Challenge == "":
		return refuse("code.extra_verifier", nil)
	case d.Misses >= maxMisses:
		return refuse("code.attempts", nil)
	case verifier == "":
		return refuse("code.no_verifier", nil)
	case pkce.Verify(verifier, d.Challenge):
		return nil
	}
	for d.Misses < maxMisses {
		d.Misses++
		next := rec.Clone()
		var err error
		if next.Data, err = json.Marshal(d); err != nil {
			return err
		}
		err = p.commit(ctx, storage.Update(*next))
		var conflict *storage.ConflictError
		switch {
		case errors.Is(err, storage.ErrConflict) && errors.As(err, &conflict) && conflict.Current != nil:
			// Another guess was counted at the same moment; ours counts as well.
			rec, d = conflict.Current, codeData{}
			if err := decode(rec.Data, &d); err != nil {
				return err
			}
			continue
		case errors.Is(err, errOutage):
			return err
		}
		return refuse("code.verifier", nil)
	}
	return refuse("code.attempts", nil)
}
