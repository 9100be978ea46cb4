package handlers

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/middleware"
)

// UserInfo is the UserInfo endpoint, OpenID Connect Core §5.3.
func (p *Provider) UserInfo() http.Handler {
	return p.handler(endpoint{name: "userinfo", methods: "GET, POST", cors: corsClients, serve: p.userInfo, fail: p.failBearer})
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) error {
	p.allowTokenOrigin(w, r)
	raw, err := requestToken(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	t, g, c, err := p.checkAccess(ctx, raw)
	if err != nil {
		return err
	}
	if !slices.Contains(t.Aud, p.cfg.Issuer) {
		return refuse("access.audience", nil)
	}
	scope := strings.Fields(t.Scope)
	if !slices.Contains(scope, "openid") {
		return refuse("access.scope", nil)
	}
	names := p.scopeClaims(scope)
	for _, n := range g.data.Claims.names(ForUserInfo) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	claims, err := p.userClaims(ctx, c, g, names, ForUserInfo)
	if e := (*Error)(nil); errors.As(err, &e) && e.Reason == "grant.user" {
		return refuse("access.revoked", err)
	}
	if err != nil {
		return err
	}
	claims["sub"] = g.rec.Subject
	return writeJSON(w, http.StatusOK, claims)
}

// allowTokenOrigin lets the origins of the token's client read the answer, the
// refusal of an expired or revoked token included.
func (p *Provider) allowTokenOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") == "" {
		return
	}
	raw, err := middleware.BearerToken(r)
	if err != nil {
		return
	}
	t, ok, err := p.openAccess(r.Context(), raw)
	if err != nil || !ok {
		return
	}
	g, err := p.tokenGrant(r.Context(), t)
	if err != nil {
		return
	}
	if c, err := p.client(r.Context(), g.rec.Client); err == nil {
		allowOrigin(w, r, c)
	}
}
