package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// refreshData is the refresh chain of a grant. Only the newest token is known,
// by digest; older ones prove themselves by their MAC and sequence number.
type refreshData struct {
	Seq       uint32    `json:"seq"`
	Digest    []byte    `json:"digest"` // SHA-256 of the current token
	RotatedAt time.Time `json:"rotated_at"`
	Successor []byte    `json:"successor,omitempty"` // the current token, sealed under its predecessor
	IdleUntil time.Time `json:"idle_until"`
	Until     time.Time `json:"until"` // absolute end of the chain
}

const (
	grantIDBytes   = 16
	refreshRandom  = 32
	refreshMAC     = 20
	refreshBody    = 2 + grantIDBytes + 4 + refreshRandom
	refreshPurpose = "refresh token"
	sealedRefresh  = "refresh successor"
)

// refreshToken is a parsed refresh token: prefix, then base64url of shard,
// grant, sequence number, 256 random bits and a MAC over all of it.
type refreshToken struct {
	raw   string
	shard uint16
	grant string
	seq   uint32
	real  bool // the MAC is ours, under a secret we still have
}

func (p *Provider) newRefresh(ref storage.Ref, seq uint32) (string, error) {
	id, err := base64.RawURLEncoding.DecodeString(ref.Key)
	if err != nil || len(id) != grantIDBytes {
		return "", errors.New("grant identifier is malformed")
	}
	b := make([]byte, refreshBody, refreshBody+refreshMAC)
	binary.BigEndian.PutUint16(b, ref.Shard)
	copy(b[2:], id)
	binary.BigEndian.PutUint32(b[2+grantIDBytes:], seq)
	if _, err := io.ReadFull(p.rand, b[2+grantIDBytes+4:]); err != nil {
		return "", err
	}
	return handle.Refresh + base64.RawURLEncoding.EncodeToString(append(b, p.seal.MAC(refreshPurpose, b)...)), nil
}

func (p *Provider) parseRefresh(s string) (refreshToken, bool) {
	if !strings.HasPrefix(s, handle.Refresh) {
		return refreshToken{}, false
	}
	b, ok := handle.Decode(s[len(handle.Refresh):])
	if !ok || len(b) != refreshBody+refreshMAC {
		return refreshToken{}, false
	}
	return refreshToken{
		raw: s, shard: binary.BigEndian.Uint16(b), grant: base64.RawURLEncoding.EncodeToString(b[2 : 2+grantIDBytes]),
		seq: binary.BigEndian.Uint32(b[2+grantIDBytes:]), real: p.seal.VerifyMAC(refreshPurpose, b[:refreshBody], b[refreshBody:]),
	}, true
}

// startChain puts the first refresh token into a grant.
func (p *Provider) startChain(g *grant) (string, error) {
	token, err := p.newRefresh(g.rec.Ref, 1)
	if err != nil {
		return "", err
	}
	now := p.now()
	sum := sha256.Sum256([]byte(token))
	g.data.Refresh = &refreshData{Seq: 1, Digest: sum[:], RotatedAt: now, Until: now.Add(p.cfg.TTL.Refresh)}
	g.data.Refresh.IdleUntil = earlier(now.Add(p.cfg.TTL.RefreshIdle), g.data.Refresh.Until)
	return token, nil
}

// retain sets how long the grant's record is kept: as long as anything issued
// under it lives.
func (p *Provider) retain(g *grant) {
	until := p.now().Add(p.cfg.TTL.Grace + p.cfg.TTL.Access) // the grace issues once more without a write
	if r := g.data.Refresh; r != nil && r.IdleUntil.After(until) {
		until = r.IdleUntil
	}
	if until = until.Add(time.Minute); until.After(g.rec.ExpiresAt) {
		g.rec.ExpiresAt = until
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// exchangeRefresh rotates a refresh token, RFC 6749 §6 and RFC 9700 §4.14.2.
//
// A token has exactly one successor. The current token is rotated. Its
// predecessor is answered again with the same successor, as long as that one
// was never presented and the grace lasts: a lost response logs nobody out, and
// requests that run at once all get one and the same successor. Anything older
// is reuse and kills the grant.
func (p *Provider) exchangeRefresh(ctx context.Context, r *http.Request, c *clientreg.Client, f form.Form) (*tokenResponse, error) {
	raw := f.Get("refresh_token")
	if raw == "" {
		return nil, refuse("refresh.missing", nil)
	}
	t, ok := p.parseRefresh(raw)
	if !ok {
		return nil, refuse("refresh.malformed", nil)
	}
	// Another request may rotate in between; then the row says what our token
	// has become, and we judge once more.
	for range 8 {
		res, err := p.refreshOnce(ctx, r, c, f, t)
		if !errors.Is(err, storage.ErrConflict) {
			return res, err
		}
	}
	return nil, storage.ErrUnavailable
}

func (p *Provider) refreshOnce(ctx context.Context, r *http.Request, c *clientreg.Client, f form.Form, t refreshToken) (*tokenResponse, error) {
	g, err := p.loadGrant(ctx, grantRef(t.shard, t.grant))
	if err != nil {
		return nil, asRefresh(err, "refresh.unknown")
	}
	if g.rec.Client != c.ID {
		return nil, refuse("refresh.client", nil)
	}
	chain := g.data.Refresh
	if g.rec.State != storage.Active || chain == nil {
		return nil, refuse("refresh.unknown", nil)
	}
	now := p.now()
	sum := sha256.Sum256([]byte(t.raw))
	current := subtle.ConstantTimeCompare(sum[:], chain.Digest) == 1
	again := !current && t.real && t.seq+1 == chain.Seq && len(chain.Successor) > 0 && now.Sub(chain.RotatedAt) < p.cfg.TTL.Grace
	switch {
	case current, again:
	case t.real && t.seq < chain.Seq:
		return nil, p.refreshReused(ctx, r, g)
	default: // never issued, or minted and lost before it was
		return nil, refuse("refresh.unknown", nil)
	}
	if !now.Before(chain.IdleUntil) || !now.Before(chain.Until) {
		return nil, refuse("refresh.expired", nil)
	}
	if err := p.checkGrant(ctx, c, g); err != nil {
		return nil, err
	}
	scope, err := narrowScope(allowed(c, g.data.Scope), f.Get("scope"))
	if err != nil {
		return nil, err
	}
	if p.cfg.Policy != nil {
		if err := p.cfg.Policy(ctx, Decision{"token", c, g.rec.Subject, scope, r}); err != nil {
			return nil, tokenPolicyError(err)
		}
	}
	is := issue{client: c, scope: scope, resource: f.All("resource"), details: f.Get("authorization_details")}
	e := Event{Name: "token.refreshed", ClientID: c.ID, Subject: g.rec.Subject, Grant: g.rec.Key, Session: g.rec.Session}
	if again {
		successor, err := p.seal.OpenTo([]byte(t.raw), sealedRefresh, chain.Successor)
		if err != nil {
			return nil, refuse("refresh.unknown", err) // the secret it was sealed under is gone
		}
		is.refresh, e.Name = string(successor), "token.repeated"
		res, err := p.mint(ctx, g, is)
		if err != nil {
			return nil, err
		}
		// The grant must still be active at the moment of the answer.
		if err := p.commit(ctx, storage.Check(g.rec.Ref)); err != nil {
			return nil, revokedMeanwhile(err)
		}
		p.emit(ctx, r, e)
		return res, nil
	}
	if is.refresh, err = p.newRefresh(g.rec.Ref, chain.Seq+1); err != nil {
		return nil, err
	}
	res, err := p.mint(ctx, g, is)
	if err != nil {
		return nil, err
	}
	next := sha256.Sum256([]byte(is.refresh))
	sealed, err := p.seal.SealTo([]byte(t.raw), sealedRefresh, p.rand, []byte(is.refresh))
	if err != nil {
		return nil, err
	}
	g.data.Refresh = &refreshData{
		Seq: chain.Seq + 1, Digest: next[:], RotatedAt: now, Successor: sealed,
		IdleUntil: earlier(now.Add(p.cfg.TTL.RefreshIdle), chain.Until), Until: chain.Until,
	}
	g.data.UsedAt = now
	p.retain(g)
	if err := g.encode(); err != nil {
		return nil, err
	}
	if err := p.commit(ctx, storage.Update(*g.rec)); err != nil {
		return nil, revokedMeanwhile(err)
	}
	p.emit(ctx, r, e)
	return res, nil
}

// refreshReused answers a spent refresh token: the family dies. It answers only
// after that is certain. RFC 9700 §4.14.2.
func (p *Provider) refreshReused(ctx context.Context, r *http.Request, g *grant) error {
	e := Event{Subject: g.rec.Subject, ClientID: g.rec.Client, Session: g.rec.Session, Reason: "refresh.reused"}
	if err := p.revokeGrant(ctx, r, g.rec.Ref, e); err != nil {
		return err
	}
	e.Name, e.Grant = "refresh.reused", g.rec.Key
	p.emit(ctx, r, e)
	return refuse("refresh.reused", nil)
}

// revokedMeanwhile names a grant that was revoked while we worked.
func revokedMeanwhile(err error) error {
	if errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrNotFound) {
		return refuse("grant.revoked", err)
	}
	return err
}

// asRefresh gives a refusal the reason of this grant type; faults stay faults.
func asRefresh(err error, reason string) error {
	if e := toError(err); e.Code == "invalid_grant" {
		return refuse(reason, err)
	}
	return err
}

// allowed drops the scopes that the client is no longer registered for.
func allowed(c *clientreg.Client, scope []string) []string {
	return slices.DeleteFunc(slices.Clone(scope), func(s string) bool { return !c.AllowsScope(s) })
}

// narrowScope: a refresh may ask for less, RFC 6749 §6. The grant keeps what
// it has.
func narrowScope(granted []string, asked string) ([]string, error) {
	if asked == "" {
		return granted, nil
	}
	scope := strings.Fields(asked)
	if !within(scope, granted) {
		return nil, refuse("refresh.scope", nil)
	}
	return scope, nil
}
