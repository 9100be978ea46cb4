package handlers_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// TestAuthTimeInIDToken: auth_time is there when the client's metadata, max_age
// or the claims parameter want it. OpenID Connect Core §2, OpenID Connect
// Registration §2.
func TestAuthTimeInIDToken(t *testing.T) {
	t.Parallel()
	w := trusted(t)
	b := w.browser()
	for _, tt := range []struct {
		name    string
		require bool
		edit    []string
		want    bool
	}{
		{name: "nobody asks"},
		{name: "require_auth_time", require: true, want: true},
		{name: "max_age", edit: []string{"max_age", "3600"}, want: true},
		{name: "claims", edit: []string{"claims", `{"id_token":{"auth_time":{"essential":true}}}`}, want: true},
	} {
		w.clients.change("web", func(c *clientreg.Client) { c.RequireAuthTime = tt.require })
		id := claims(t, w.redeem("web", b.code(request("web", tt.edit...), "alice")).want(200).str("id_token"))
		if _, has := id["auth_time"].(float64); has != tt.want {
			t.Errorf("%s: auth_time %v, want it: %v", tt.name, id["auth_time"], tt.want)
		}
	}
}

// asked remembers the languages that claims are asked for in.
type asked struct {
	*users
	mu      sync.Mutex
	locales map[handlers.ClaimsUse][]string
}

func (u *asked) Claims(ctx context.Context, subject string, q handlers.ClaimsQuery) (map[string]any, error) {
	u.mu.Lock()
	u.locales[q.For] = q.Locales
	u.mu.Unlock()
	return u.users.Claims(ctx, subject, q)
}

// TestClaimsLocales: Users gets claims_locales, best first, for UserInfo and ID
// tokens. OpenID Connect Core §5.2.
func TestClaimsLocales(t *testing.T) {
	t.Parallel()
	u := &asked{users: newUsers(), locales: map[handlers.ClaimsUse][]string{}}
	w := trusted(t, func(c *handlers.Config) { c.Users = u })
	tokens := w.redeem("web", w.browser().code(request("web", "claims_locales", "de-CH fr", "ui_locales", "en",
		"claims", `{"id_token":{"name":null},"userinfo":{"name":null}}`), "alice")).want(200)
	w.userinfo(tokens.str("access_token")).want(200)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range []handlers.ClaimsUse{handlers.ForIDToken, handlers.ForUserInfo} {
		if got := u.locales[use]; !slices.Equal(got, []string{"de-CH", "fr"}) {
			t.Errorf("%v: asked in %v", use, got)
		}
	}
}

// TestHintsReachThePage: display, if it is one of the four, and acr_values or
// else default_acr_values. OpenID Connect Core §3.1.2.1, OpenID Connect
// Registration §2.
func TestHintsReachThePage(t *testing.T) {
	t.Parallel()
	w, last := levels(t)
	w.clients.change("web", func(c *clientreg.Client) { c.DefaultACRValues = []string{"two", "one"} })
	for _, tt := range []struct {
		display, acr string
		wantDisplay  string
		wantACR      []string
	}{
		{"", "", "", []string{"two", "one"}},
		{"popup", "three", "popup", []string{"three"}},
		{"touch", "one three", "touch", []string{"one", "three"}},
		{"hologram", "", "", []string{"two", "one"}},
	} {
		b := w.browser()
		b.at(b.begin(request("web", "display", tt.display, "acr_values", tt.acr)), "/own")
		if i := last(); i.Display != tt.wantDisplay || !slices.Equal(i.ACRValues, tt.wantACR) {
			t.Errorf("display %q, acr_values %q: the page gets %q and %v", tt.display, tt.acr, i.Display, i.ACRValues)
		}
	}
}

// livesSomewhere has an address and a telephone.
type livesSomewhere struct{ *users }

func (u livesSomewhere) Claims(ctx context.Context, subject string, q handlers.ClaimsQuery) (map[string]any, error) {
	claims, err := u.users.Claims(ctx, subject, q)
	if err != nil {
		return nil, err
	}
	claims["address"] = map[string]any{"formatted": "1 Rabbit Hole\nWonderland", "country": "Wonderland"}
	claims["phone_number"], claims["phone_number_verified"] = "+49 1", true
	return claims, nil
}

// TestAddressAndPhone: scopes of OpenID Connect Core §5.4 release their claims
// and no others; address is an object, §5.1.1.
func TestAddressAndPhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.Users = livesSomewhere{c.Users.(*users)} })
	w.clients.change("web", func(c *clientreg.Client) { c.Scope = "openid address phone" })
	for scope, want := range map[string][]string{
		"openid":               {"sub"},
		"openid address":       {"address", "sub"},
		"openid phone":         {"phone_number", "phone_number_verified", "sub"},
		"openid phone address": {"address", "phone_number", "phone_number_verified", "sub"},
	} {
		info := w.userinfo(w.redeem("web", w.browser().code(request("web", "scope", scope), "alice")).want(200).str("access_token")).want(200).json()
		if got := slices.Sorted(maps.Keys(info)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", scope, got, want)
		}
		if a, ok := info["address"].(map[string]any); strings.Contains(scope, "address") && (!ok || a["country"] != "Wonderland") {
			t.Errorf("address %v", info["address"])
		}
	}
}
