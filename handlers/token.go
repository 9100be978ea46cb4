package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
)

// Token is the token endpoint, RFC 6749 §3.2.
func (p *Provider) Token() http.Handler {
	return p.handler(endpoint{name: "token", methods: "POST", cors: corsClients, serve: p.token, fail: p.failJSON})
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) error {
	f, err := body(r, "resource", "audience")
	if err != nil {
		return err
	}
	c, err := p.authenticate(w, r, f)
	if err != nil {
		return err
	}
	name := f.Get("grant_type")
	if name == "" {
		return refuse("token.no_grant_type", nil)
	}
	exchange := p.exchanges[name]
	if exchange == nil {
		return refuse("token.grant_type", nil)
	}
	if !c.HasGrantType(name) {
		return refuse("client.grant_type", nil)
	}
	res, err := exchange(r.Context(), r, c, f)
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749 §5.1
	return writeJSON(w, http.StatusOK, res)
}

// exchange turns the credential of one grant type into tokens.
type exchange func(context.Context, *http.Request, *clientreg.Client, form.Form) (*tokenResponse, error)

// grantTypes are the grant types that are served.
func (p *Provider) grantTypes() map[string]exchange {
	m := map[string]exchange{
		"authorization_code": p.exchangeCode,
		"refresh_token":      p.exchangeRefresh,
	}
	if p.cfg.Features.ClientCredentials {
		m["client_credentials"] = p.exchangeClient
	}
	if p.cfg.Features.Device {
		m[grantTypeDevice] = p.exchangeDevice
	}
	return m
}

// tokenResponse is RFC 6749 §5.1, OpenID Connect Core §3.1.3.3, RFC 9396 §7.
type tokenResponse struct {
	AccessToken  string            `json:"access_token"`
	TokenType    string            `json:"token_type"`
	ExpiresIn    int64             `json:"expires_in"`
	RefreshToken string            `json:"refresh_token,omitempty"`
	IDToken      string            `json:"id_token,omitempty"`
	Scope        string            `json:"scope"`
	Details      []json.RawMessage `json:"authorization_details,omitempty"`
}

// issue is what one token request asks the seam that mints tokens for.
type issue struct {
	client   *clientreg.Client
	scope    []string // of the access token; within the grant's
	resource []string // asked for at the token endpoint; empty: the grant's
	details  string   // authorization_details of the request; empty: the grant's
	nonce    string   // for the ID token; empty at refresh
	refresh  string   // the refresh token to hand out; empty: none
}

// mint makes the tokens of a grant. It stores nothing: the caller commits what
// the tokens rest on, and answers after that.
func (p *Provider) mint(ctx context.Context, g *grant, is issue) (*tokenResponse, error) {
	aud, err := p.audience(g, is.resource)
	if err != nil {
		return nil, err
	}
	is.scope = p.scopeAt(aud, is.scope)
	narrowed, err := p.ofToken(ctx, is.client, g, is.details)
	if err != nil {
		return nil, err
	}
	details, _ := narrowed.in(g)
	now := p.now()
	access, err := p.mintAccess(ctx, g, is.scope, aud, narrowed, now)
	if err != nil {
		return nil, err
	}
	res := &tokenResponse{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(p.cfg.TTL.Access / time.Second),
		RefreshToken: is.refresh, Scope: strings.Join(is.scope, " "), Details: details,
	}
	if g.has("openid") {
		if res.IDToken, err = p.idToken(ctx, g, is, access, now); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// scopeAt keeps the scopes that mean something at the APIs of an audience.
func (p *Provider) scopeAt(aud, scope []string) []string {
	return slices.DeleteFunc(slices.Clone(scope), func(s string) bool {
		return !slices.ContainsFunc(aud, func(a string) bool {
			api := p.api(a)
			return api == nil || len(api.Scopes) == 0 || slices.Contains(api.Scopes, s)
		})
	})
}

// audience: what the request names, within what was granted; else the grant's
// only resource; else the issuer. RFC 8707 §2.2.
func (p *Provider) audience(g *grant, asked []string) ([]string, error) {
	if len(asked) > 0 {
		if !within(asked, g.data.Resources) {
			return nil, refuse("token.resource", nil)
		}
		return asked, nil
	}
	if len(g.data.Resources) == 1 {
		return g.data.Resources, nil
	}
	return []string{p.cfg.Issuer}, nil
}
