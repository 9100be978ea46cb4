package handlers

import (
	"context"
	"encoding/json"
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

// checkClaims: OpenID Connect Core §5.5.
func checkClaims(_ context.Context, _ *clientreg.Client, f form.Form, q *authRequest) error {
	raw := f.Get("claims")
	if raw == "" {
		return nil
	}
	if len(raw) > 8<<10 || strictjson.Check([]byte(raw), 8) != nil {
		return refuse("authorize.claims", nil)
	}
	var c *claimsParameter
	if err := json.Unmarshal([]byte(raw), &c); err != nil || c == nil || len(c.UserInfo)+len(c.IDToken) > maxClaims {
		return refuse("authorize.claims", err)
	}
	q.Claims = c
	if sub := c.IDToken["sub"]; sub != nil && sub.Value != nil { // §5.5.1: this user and no other
		s, ok := sub.Value.(string)
		if !ok {
			return refuse("authorize.claims", nil)
		}
		q.HintSubject = s
	}
	return nil
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
