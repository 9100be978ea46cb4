package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// Introspect is the introspection endpoint, RFC 7662 §2. A token is shown to
// its own client and to the clients listed for an API it is meant for; to
// anybody else it is inactive, like a token that does not exist (§4).
func (p *Provider) Introspect() http.Handler {
	return p.handler(endpoint{name: "introspect", methods: "POST", serve: p.introspect, fail: p.failJSON})
}

// introspection is RFC 7662 §2.2.
type introspection struct {
	Active    bool              `json:"active"`
	Scope     string            `json:"scope,omitempty"`
	ClientID  string            `json:"client_id,omitempty"`
	TokenType string            `json:"token_type,omitempty"`
	Exp       int64             `json:"exp,omitempty"`
	Iat       int64             `json:"iat,omitempty"`
	Subject   string            `json:"sub,omitempty"`
	Audience  []string          `json:"aud,omitempty"`
	Issuer    string            `json:"iss,omitempty"`
	JTI       string            `json:"jti,omitempty"`
	AuthTime  int64             `json:"auth_time,omitempty"` // RFC 9470 §6.2
	ACR       string            `json:"acr,omitempty"`
	Details   []json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 §9.2
}

func (p *Provider) introspect(w http.ResponseWriter, r *http.Request) error {
	f, err := body(r)
	if err != nil {
		return err
	}
	c, err := p.authenticate(w, r, f)
	if err != nil {
		return err
	}
	if c.Public() { // RFC 7662 §2.1: whoever asks must be authenticated
		return refuse("client.missing", nil)
	}
	token := f.Get("token")
	if token == "" {
		return refuse("introspect.missing", nil)
	}
	var res introspection
	if strings.HasPrefix(token, handle.Refresh) {
		res, err = p.introspectRefresh(r.Context(), c, token)
	} else {
		res, err = p.introspectAccess(r.Context(), c, token)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, res)
}

func (p *Provider) introspectAccess(ctx context.Context, c *clientreg.Client, token string) (introspection, error) {
	t, g, _, err := p.checkAccess(ctx, token)
	if err == nil && !g.own() {
		err = p.checkUser(ctx, c, g.rec.Subject)
	}
	if err != nil {
		if e := toError(err); e.Code == "invalid_token" || e.Reason == "grant.user" {
			return introspection{}, nil
		}
		return introspection{}, err
	}
	if g.rec.Client != c.ID && !p.mayIntrospect(c, t.Aud) {
		// The client must not learn more; whoever forgot API.Clients looks here.
		p.cfg.Log.InfoContext(ctx, "a live token is shown as inactive: the asking client is in Clients of none of its APIs", "client", c.ID, "audience", t.Aud)
		return introspection{}, nil
	}
	res := introspection{
		Active: true, Scope: t.Scope, ClientID: g.rec.Client, TokenType: "Bearer", Exp: t.Exp, Iat: t.Iat / 1000,
		Subject: g.subject(), Audience: t.Aud, Issuer: p.cfg.Issuer, JTI: t.JTI, ACR: g.data.ACR, Details: t.Details,
	}
	if !g.own() {
		res.AuthTime = g.data.AuthTime.Unix()
	}
	return res, nil
}

// mayIntrospect tells whether the client is a resource server of the audience.
func (p *Provider) mayIntrospect(c *clientreg.Client, aud []string) bool {
	return slices.ContainsFunc(aud, func(a string) bool {
		api := p.api(a)
		return api != nil && slices.Contains(api.Clients, c.ID)
	})
}

// introspectRefresh shows a current refresh token to its own client.
func (p *Provider) introspectRefresh(ctx context.Context, c *clientreg.Client, token string) (introspection, error) {
	t, ok := p.parseRefresh(token)
	if !ok {
		return introspection{}, nil
	}
	g, err := p.liveGrant(ctx, c, grantRef(t.shard, t.grant))
	if err != nil {
		if toError(err).Code == "invalid_grant" {
			return introspection{}, nil
		}
		return introspection{}, err
	}
	chain, sum := g.data.Refresh, sha256.Sum256([]byte(token))
	if g.rec.State != storage.Active || chain == nil || subtle.ConstantTimeCompare(sum[:], chain.Digest) != 1 || !p.now().Before(chain.IdleUntil) {
		return introspection{}, nil
	}
	return introspection{
		Active: true, Scope: strings.Join(g.data.Scope, " "), ClientID: c.ID, Exp: chain.IdleUntil.Unix(), Iat: chain.RotatedAt.Unix(),
		Subject: g.rec.Subject, Issuer: p.cfg.Issuer, Details: g.data.Details,
	}, nil
}
