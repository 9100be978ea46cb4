package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/jose"
)

// protected claims are set by the kit alone; Users cannot replace them.
func protectedClaim(name string) bool {
	switch name {
	case "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash",
		"s_hash", "sid", "events", "cnf", "act", "client_id", "scope":
		return true
	}
	return false
}

// idToken mints the ID token of a grant. OpenID Connect Core §2, §3.1.3.6. A
// refreshed one has no nonce (§12.2).
func (p *Provider) idToken(ctx context.Context, g *grant, is issue, access string, now time.Time) (string, error) {
	alg, err := p.idTokenAlg(is.client)
	if err != nil {
		return "", err
	}
	key, err := p.keys.Signer(ctx, alg)
	if err != nil {
		return "", refuse("keys.outage", err)
	}
	claims := idClaims{
		Issuer: p.cfg.Issuer, Subject: g.rec.Subject, Audience: is.client.ID, Iat: now.Unix(), Exp: now.Add(p.cfg.TTL.ID).Unix(),
		SID: g.data.SID, AtHash: jose.AtHash(alg, access), Nonce: is.nonce, ACR: g.data.ACR, AMR: g.data.AMR,
	}
	if g.data.TellTime {
		at := g.data.AuthTime.Unix()
		claims.AuthTime = &at
	}
	var payload any = claims
	if names := g.data.Claims.names(ForIDToken); len(names) > 0 {
		user, err := p.userClaims(ctx, is.client, g, names, ForIDToken)
		if err == nil {
			payload, err = claims.with(user)
		}
		if err != nil {
			return "", err
		}
	}
	token, err := jose.Sign(ctx, jose.Header{Alg: alg, KeyID: key.ID}, key.Signer, payload)
	if err != nil {
		return "", refuse("keys.outage", err)
	}
	return token, nil
}

// idClaims is the payload of an ID token, OpenID Connect Core §2.
type idClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Exp      int64    `json:"exp"`
	Iat      int64    `json:"iat"`
	AuthTime *int64   `json:"auth_time,omitempty"`
	Nonce    string   `json:"nonce,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	SID      string   `json:"sid,omitempty"`
	AtHash   string   `json:"at_hash"`
}

// with puts claims of the user beside the others. None has a name of theirs: see
// protectedClaim.
func (c idClaims) with(user map[string]any) (json.RawMessage, error) {
	own, err := json.Marshal(c)
	if err != nil || len(user) == 0 {
		return own, err
	}
	asked, err := json.Marshal(user)
	if err != nil {
		return nil, err
	}
	own[len(own)-1] = ','
	return append(own, asked[1:]...), nil
}

// idTokenAlg: what the client registered; else RS256 as OpenID Connect
// Registration §2 has it, if there is such a key; else the first.
func (p *Provider) idTokenAlg(c *clientreg.Client) (string, error) {
	algs, want := p.keys.Algorithms(), c.IDTokenSignedResponseAlg
	switch {
	case want != "" && !slices.Contains(algs, want):
		return "", refuse("server.fault", fmt.Errorf("client %s is registered for %s, which the keys do not sign", c.ID, want))
	case want != "":
		return want, nil
	case slices.Contains(algs, "RS256"):
		return "RS256", nil
	}
	return algs[0], nil
}

// userClaims asks Users for claims by name and keeps only those.
func (p *Provider) userClaims(ctx context.Context, c *clientreg.Client, g *grant, names []string, use ClaimsUse) (map[string]any, error) {
	got, err := p.cfg.Users.Claims(ctx, g.rec.Subject, ClaimsQuery{
		Client: c, Scope: g.data.Scope, Claims: names, Locales: g.data.Locales, For: use,
	})
	switch {
	case errors.Is(err, ErrNoUser), errors.Is(err, ErrUserDisabled):
		return nil, refuse("grant.user", err)
	case err != nil:
		return nil, refuse("users.outage", err)
	}
	claims := make(map[string]any, len(names))
	for _, n := range names {
		if v, ok := got[n]; ok && v != nil && !protectedClaim(n) {
			claims[n] = v
		}
	}
	return claims, nil
}

// readHint verifies an ID token of this issuer that came back as a hint. It may
// be expired: OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2.
func (p *Provider) readHint(ctx context.Context, hint string) (*jose.Token, error) {
	keys, err := p.ownKeys(ctx)
	if err != nil {
		return nil, err
	}
	if rotating, ok := p.keys.(*rotatingKeys); ok {
		former, err := rotating.former(ctx)
		if err != nil {
			return nil, refuse("keys.outage", err)
		}
		keys = append(keys, verificationKeys(former)...)
	}
	t, err := jose.Verify(hint, keys, p.keys.Algorithms())
	switch {
	case err != nil:
		return nil, refuse("authorize.hint", err)
	case t.Header.Type != "" && t.Header.Type != "JWT":
		return nil, refuse("authorize.hint", errors.New("not an ID token by its typ"))
	case t.Issuer() != p.cfg.Issuer || t.Subject() == "" || len(t.Audience()) == 0:
		return nil, refuse("authorize.hint", errors.New("not an ID token of this issuer"))
	}
	return t, nil
}

// ownKeys are the published keys, to verify what we signed.
func (p *Provider) ownKeys(ctx context.Context) ([]jose.Key, error) {
	public, err := p.keys.Public(ctx)
	if err != nil {
		return nil, refuse("keys.outage", err)
	}
	return verificationKeys(public), nil
}

func verificationKeys(public []PublicKey) []jose.Key {
	keys := make([]jose.Key, len(public))
	for i, k := range public {
		keys[i] = jose.Key{ID: k.ID, Alg: k.Alg, Use: "sig", Public: k.Key}
	}
	return keys
}
