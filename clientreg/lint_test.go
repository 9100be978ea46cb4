package clientreg

import (
	"slices"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	t.Parallel()
	quiet := func() Client {
		c := public()
		c.Scope = "openid"
		return c
	}
	secretive := func() Client {
		c := confidential()
		c.Scope = "openid"
		return c
	}
	for _, tc := range []struct {
		name   string
		base   func() Client
		change func(*Client)
		fields []string
		word   string // that the messages have
	}{
		{"nothing", quiet, func(*Client) {}, nil, ""},
		{"nothing, machine", machine, func(*Client) {}, nil, ""},
		{"offline_access without grant", quiet, func(c *Client) { c.Scope = "openid offline_access" }, []string{"grant_types"}, "no refresh tokens"},
		{"grant without offline_access", quiet, func(c *Client) { c.GrantTypes = []string{"authorization_code", "refresh_token"} }, []string{"scope"}, "no refresh tokens"},
		{"both", quiet, func(c *Client) {
			c.Scope, c.GrantTypes = "openid offline_access", []string{"authorization_code", "refresh_token"}
		}, nil, ""},
		{"offline_access in another word", quiet, func(c *Client) { c.Scope = "openid offline_access_x" }, nil, ""},
		{"no scope", quiet, func(c *Client) { c.Scope = "" }, []string{"scope"}, "openid, profile"},
		{"no scope, machine", machine, func(c *Client) { c.Scope = "" }, []string{"scope"}, "no API"},
		{"no openid", quiet, func(c *Client) { c.Scope = "api" }, []string{"scope"}, "no openid"},
		{"no redirect URIs", quiet, func(c *Client) { c.RedirectURIs = nil }, []string{"redirect_uris"}, "nobody can sign in"},
		{"useless redirect URIs", machine, func(c *Client) { c.RedirectURIs = []string{"https://a.example/"} }, []string{"redirect_uris"}, "no use"},
		{"development", quiet, func(c *Client) { c.RedirectURIs = []string{"https://a.example/", "https://localhost:4207"} }, []string{"redirect_uris[1]"}, "development"},
		{"port of a loopback", quiet, func(c *Client) {
			c.ApplicationType, c.RedirectURIs = "native", []string{"http://127.0.0.1:8000/"}
		}, []string{"redirect_uris[0]"}, "any port"},
		{"native with secret", secretive, func(c *Client) {
			c.ApplicationType, c.RedirectURIs = "native", []string{"com.example.app:/cb"}
		}, []string{"redirect_uris[0]", "token_endpoint_auth_method"}, "secret"},
		{"client_id for Basic", secretive, func(c *Client) { c.ID = "https://a.example/" }, []string{"client_id"}, "percent-encode"},
		{"no PKCE", secretive, func(c *Client) { c.AllowNoPKCE = true }, []string{"allow_no_pkce"}, "nonce"},
		{"localhost", quiet, func(c *Client) { c.AllowLocalhostRedirect = true }, []string{"allow_localhost_redirect"}, "localhost"},
		{"audience", quiet, func(c *Client) { c.AllowAssertionAudience = true }, []string{"allow_assertion_audience"}, "replay"},
		{"implicit", quiet, func(c *Client) {
			c.GrantTypes, c.ResponseTypes = []string{"authorization_code", "implicit"}, []string{"code", "id_token"}
		}, []string{"grant_types", "response_types[1]"}, "switched it on"},
		{"first party SPA", quiet, func(c *Client) { c.FirstParty = true }, []string{"first_party"}, "redirect URIs"},
		{"first party", secretive, func(c *Client) { c.FirstParty = true }, nil, ""},
		{"disabled", quiet, func(c *Client) { c.Disabled = true }, []string{"disabled"}, "refused"},
		{"session required without URI", quiet, func(c *Client) {
			c.BackchannelLogoutSessionRequired, c.FrontchannelLogoutSessionRequired = true, true
		}, []string{"backchannel_logout_session_required", "frontchannel_logout_session_required"}, "no effect"},
		{"front channel", quiet, func(c *Client) { c.FrontchannelLogoutURI = "https://app.example/x" }, []string{"frontchannel_logout_uri"}, "not called yet"},
		{"back channel", quiet, func(c *Client) { c.BackchannelLogoutURI = "https://app.example/x" }, []string{"backchannel_logout_uri"}, "not called yet"},
		{"unused secret", keyed, func(c *Client) { c.Scope, c.Secrets = "openid", []ClientSecret{{Hash: hash}} }, []string{"secrets"}, "private_key_jwt"},
		{"unusable secret", secretive, func(c *Client) {
			c.TokenEndpointAuthMethod = "client_secret_jwt"
			c.Secrets = append(c.Secrets, ClientSecret{Sealed: []byte("x")})
		}, []string{"secrets[0]"}, "not used"},
		{"two proofs", quiet, func(c *Client) { c.DPoPBoundAccessTokens, c.TLSClientCertificateBoundAccessTokens = true, true }, []string{"dpop_bound_access_tokens"}, "both"},
		{"unknown member", quiet, func(c *Client) { c.Extra = extra("redirect_url", `1`, "client_name#de", `"x"`, "x#de", `1`) }, []string{"redirect_url", "x#de"}, "typing error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := tc.base()
			tc.change(&c)
			var fields []string
			for _, w := range Lint(&c) {
				fields = append(fields, w.Field)
				if !strings.Contains(w.Message, tc.word) || w.Client != c.ID || !strings.Contains(w.String(), w.Field+": "+w.Message) {
					t.Errorf("%q: want %q in it", w, tc.word)
				}
			}
			if !slices.Equal(fields, tc.fields) {
				t.Errorf("got %v, want %v", fields, tc.fields)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := Client{}
	if c.AuthMethod() != "client_secret_basic" || c.Public() || c.Native() {
		t.Error("authentication")
	}
	if !c.HasGrantType("authorization_code") || c.HasGrantType("refresh_token") || c.HasGrantType("implicit") || c.HasGrantType("") {
		t.Error("grant types")
	}
	if !c.HasResponseType("code") || c.HasResponseType("token") || c.HasResponseType("") || c.HasResponseType("code id_token") {
		t.Error("response types")
	}
	if m := machine(); m.HasGrantType("authorization_code") || m.HasResponseType("code") || m.AllowsScope("openid") || !m.AllowsScope("api") {
		t.Error("machine")
	}
	h := Client{ResponseTypes: []string{"id_token code"}}
	if !h.HasResponseType("code id_token") || h.HasResponseType("code") || h.HasResponseType("id_token code ") {
		t.Error("order of response types")
	}
	for scope, want := range map[string]bool{"openid": true, "profile": true, "email": true, "address": true, "phone": true, "offline_access": false, "api": false, "": false, "openid profile": false} {
		if c.AllowsScope(scope) != want {
			t.Errorf("scope %q: %v", scope, !want)
		}
	}
	s := Client{Scope: "a b"}
	if !slices.Equal(s.ScopeList(), []string{"a", "b"}) || s.AllowsScope("openid") || s.AllowsScope("A") || s.AllowsScope("") {
		t.Error("scope")
	}
	if p := public(); !p.Public() {
		t.Error("public")
	}
}

func TestLocalizedName(t *testing.T) {
	t.Parallel()
	c := Client{Name: "Name", Extra: extra(
		"client_name#de", `"Deutsch"`, "client_name#de-AT", `"Österreichisch"`, "client_name#zh-Hant", `"繁體"`, "client_name#fr", `7`,
		"client_name#it", `"a\u202eb"`, "client_name#es", `""`, "client_name#PT", `"Português"`, "logo_uri#nl", `"https://x.example"`)}
	for locales, want := range map[string]string{
		"": "Name", "de": "Deutsch", "DE": "Deutsch", "de-AT": "Österreichisch", "de-at-1996": "Österreichisch", "de-CH": "Deutsch",
		"zh-Hant-TW": "繁體", "zh": "Name", "fr de": "Deutsch", "it de": "Deutsch", "es de": "Deutsch", "nl": "Name",
		"pt-BR": "Português", "en de": "Deutsch", "en": "Name", "-": "Name", "--": "Name",
	} {
		if got := c.LocalizedName(strings.Fields(locales)...); got != want {
			t.Errorf("%q: %q, want %q", locales, got, want)
		}
	}
	if got := (&Client{Name: "x"}).LocalizedName("de"); got != "x" {
		t.Error(got)
	}
}
