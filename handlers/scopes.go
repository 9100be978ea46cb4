package handlers

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/strictjson"
)

// standardScopes are the scopes of OpenID Connect Core §5.4 and §11.
func standardScopes() []Scope {
	return []Scope{
		{Name: "openid"},
		{Name: "profile", Claims: []string{"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username",
			"profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"}},
		{Name: "email", Claims: []string{"email", "email_verified"}},
		{Name: "address", Claims: []string{"address"}},
		{Name: "phone", Claims: []string{"phone_number", "phone_number_verified"}},
		{Name: "offline_access"},
	}
}

// standardScope tells whether a scope is one of them: all of them speak of a user.
func standardScope(name string) bool {
	switch name {
	case "openid", "profile", "email", "address", "phone", "offline_access":
		return true
	}
	return false
}

// mergeScopes adds the configured scopes to the standard ones. An entry of the
// same name replaces texts, and claims if it names some.
func mergeScopes(configured []Scope) []Scope {
	scopes := standardScopes()
	for _, c := range configured {
		i := slices.IndexFunc(scopes, func(s Scope) bool { return s.Name == c.Name })
		if i < 0 {
			scopes = append(scopes, c)
			continue
		}
		if len(c.Claims) == 0 {
			c.Claims = scopes[i].Claims
		}
		scopes[i] = c
	}
	return scopes
}

// scope returns the scope of that name, or nil.
func (p *Provider) scope(name string) *Scope {
	for i := range p.scopes {
		if p.scopes[i].Name == name {
			return &p.scopes[i]
		}
	}
	return nil
}

// scopeClaims returns the names of the claims that scopes release.
func (p *Provider) scopeClaims(scopes []string) []string {
	var names []string
	for _, s := range scopes {
		if sc := p.scope(s); sc != nil {
			for _, c := range sc.Claims {
				if !slices.Contains(names, c) {
					names = append(names, c)
				}
			}
		}
	}
	return names
}

// claimsParameter is the claims request of OpenID Connect Core §5.5.
type claimsParameter struct {
	UserInfo map[string]*claimRequest `json:"userinfo,omitempty"`
	IDToken  map[string]*claimRequest `json:"id_token,omitempty"`
}

type claimRequest struct {
	Essential bool  `json:"essential,omitempty"`
	Value     any   `json:"value,omitempty"`
	Values    []any `json:"values,omitempty"`
}

const maxClaims = 64

// only returns the request without the user's claims that are not among names.
func (c *claimsParameter) only(names []string) *claimsParameter {
	if c == nil {
		return nil
	}
	keep := func(m map[string]*claimRequest) map[string]*claimRequest {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(n string, _ *claimRequest) bool { return !protectedClaim(n) && !slices.Contains(names, n) })
		return m
	}
	return &claimsParameter{UserInfo: keep(c.UserInfo), IDToken: keep(c.IDToken)}
}

// checkClaims: OpenID Connect Core §5.5. A claim that the client could not get
// by a scope is ignored, whatever else Users may know.
func (p *Provider) checkClaims(_ context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	raw := f.Get("claims")
	if raw == "" {
		return nil
	}
	if len(raw) > 8<<10 || strictjson.Check([]byte(raw), 8) != nil {
		return refuse("authorize.claims", nil)
	}
	var asked *claimsParameter
	if err := json.Unmarshal([]byte(raw), &asked); err != nil || asked == nil || len(asked.UserInfo)+len(asked.IDToken) > maxClaims {
		return refuse("authorize.claims", err)
	}
	for _, m := range []map[string]*claimRequest{asked.UserInfo, asked.IDToken} {
		maps.DeleteFunc(m, func(name string, _ *claimRequest) bool { return !protectedClaim(name) && !p.offersClaim(c, name) })
	}
	q.Claims = asked
	if sub := asked.IDToken["sub"]; sub != nil && sub.Value != nil { // §5.5.1: this user and no other
		s, ok := sub.Value.(string)
		if !ok {
			return refuse("authorize.claims", nil)
		}
		q.HintSubject = s
	}
	if acr := asked.IDToken["acr"]; acr != nil { // §5.5.1.1
		wanted := acr.strings()
		q.ACRValues = append(q.ACRValues, wanted...)
		if acr.Essential {
			q.EssentialACR = wanted
		}
	}
	return nil
}

// offersClaim tells whether a client may have a claim by name: by a scope that
// it may ask for, or since the configuration offers it to all.
func (p *Provider) offersClaim(c *clientreg.Client, name string) bool {
	return slices.Contains(p.cfg.Claims, name) || slices.ContainsFunc(p.scopes, func(s Scope) bool {
		return c.AllowsScope(s.Name) && slices.Contains(s.Claims, name)
	})
}

// strings are the values wanted of a claim.
func (r *claimRequest) strings() []string {
	var values []string
	for _, v := range append([]any{r.Value}, r.Values...) {
		if s, ok := v.(string); ok {
			values = append(values, s)
		}
	}
	return values
}

// names of the claims asked for one place, in a stable order.
func (c *claimsParameter) names(use ClaimsUse) []string {
	if c == nil {
		return nil
	}
	asked := c.UserInfo
	if use == ForIDToken {
		asked = c.IDToken
	}
	var names []string
	for n := range asked {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
