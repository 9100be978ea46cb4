package clientreg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/internal/check"
)

// Warning is something that is allowed and will surprise.
type Warning struct {
	Client  string // client_id
	Field   string // wire name
	Message string
}

// String is the warning in one line.
func (w Warning) String() string {
	return fmt.Sprintf("client %q: %s: %s", w.Client, w.Field, w.Message)
}

// Lint says in words what will surprise about a client. It finds nothing that
// must be changed; that is what Validate is for.
func Lint(c *Client) []Warning {
	l := linter{c: c}
	l.tokens()
	l.redirects()
	l.weak()
	l.useless()
	for name := range sorted(c.Extra) {
		if base, _, tagged := strings.Cut(name, "#"); !tagged || !translatable(base) {
			l.warn(name, "is no member that the kit knows; it is kept and has no effect. A typing error?")
		}
	}
	return l.found
}

type linter struct {
	c     *Client
	found []Warning
}

func (l *linter) warn(field, message string) {
	l.found = append(l.found, Warning{l.c.ID, field, message})
}

func (l *linter) tokens() {
	c := l.c
	people := c.HasGrantType("authorization_code") || c.HasGrantType("implicit") || c.HasGrantType(grantDevice) || c.HasGrantType(grantCIBA)
	offline, refresh := slices.Contains(strings.Fields(c.Scope), "offline_access"), c.HasGrantType("refresh_token")
	switch {
	case offline && !refresh:
		l.warn("grant_types", "the client may ask for offline_access but has no refresh_token grant: the scope is dropped and it gets no refresh tokens")
	case refresh && !offline:
		l.warn("scope", "the client has the refresh_token grant but its scope has no offline_access: it gets no refresh tokens")
	}
	switch {
	case c.Scope == "" && people:
		l.warn("scope", "is empty: the client may ask for "+strings.Join(c.ScopeList(), ", ")+", for no API and not for offline_access")
	case c.Scope == "":
		l.warn("scope", "is empty: the client gets tokens for no API")
	case people && !c.AllowsScope("openid"):
		l.warn("scope", "has no openid: the client gets no ID token and cannot use UserInfo")
	}
}

func (l *linter) redirects() {
	c := l.c
	if len(c.RedirectURIs) == 0 && (c.HasGrantType("authorization_code") || c.HasGrantType("implicit")) {
		l.warn("redirect_uris", "is empty: nobody can sign in to this client")
	}
	if len(c.RedirectURIs) > 0 && !c.HasGrantType("authorization_code") && !c.HasGrantType("implicit") {
		l.warn("redirect_uris", "has no use: no grant type of the client answers through a redirect")
	}
	for i, uri := range c.RedirectURIs {
		u, problem := check.ParseURI(uri)
		field := fmt.Sprintf("redirect_uris[%d]", i)
		switch {
		case problem != "":
		case u.Scheme == "https" && u.Host == "localhost":
			l.warn(field, "is on localhost: for development only")
		case u.Scheme == "http" && u.Port != "" && c.Native() && u.Host != "localhost":
			l.warn(field, "has a port, and any port is accepted all the same: RFC 8252 §7.3")
		case u.Scheme != "https" && u.Scheme != "http" && !c.Public():
			l.warn(field, "belongs to an application on the user's device, which cannot keep the secret that the client has")
		}
	}
	if c.AuthMethod() == "client_secret_basic" && strings.ContainsAny(c.ID, ":%+ ") {
		l.warn("client_id", "has one of : % + or a blank, which many clients do not percent-encode in HTTP Basic credentials as RFC 6749 §2.3.1 asks")
	}
	if c.Native() && !c.Public() {
		l.warn("token_endpoint_auth_method", "native applications cannot keep a secret that is the same in every copy: use none. RFC 8252 §8.5")
	}
}

// weak lists what is weaker than the default.
func (l *linter) weak() {
	c := l.c
	if c.AllowNoPKCE {
		l.warn("allow_no_pkce", "a stolen code is stopped by the nonce only, and only if the client checks it. RFC 9700 §2.1.1")
	}
	if c.AllowLocalhostRedirect {
		l.warn("allow_localhost_redirect", "whatever answers as localhost on the user's machine gets the code. RFC 8252 §8.3")
	}
	if c.AllowAssertionAudience {
		l.warn("allow_assertion_audience", "assertions for the token endpoint are accepted: a provider that the client also uses could replay them here")
	}
	if c.HasGrantType("implicit") {
		l.warn("grant_types", "implicit puts tokens into URLs. It works only where the provider has switched it on. RFC 9700 §2.1.2")
	}
	for i, t := range c.ResponseTypes {
		if t != "code" {
			l.warn(fmt.Sprintf("response_types[%d]", i), "works only where the provider has switched it on; code is enough for every client")
		}
	}
	if c.FirstParty && c.Public() {
		l.warn("first_party", "consent may be skipped for a client that cannot prove who it is; its redirect URIs are all that protects it")
	}
}

// useless lists what has no effect.
func (l *linter) useless() {
	c := l.c
	if c.Disabled {
		l.warn("disabled", "the client is refused everywhere")
	}
	if c.BackchannelLogoutSessionRequired && c.BackchannelLogoutURI == "" {
		l.warn("backchannel_logout_session_required", "has no effect without backchannel_logout_uri")
	}
	if c.FrontchannelLogoutSessionRequired && c.FrontchannelLogoutURI == "" {
		l.warn("frontchannel_logout_session_required", "has no effect without frontchannel_logout_uri")
	}
	if c.FrontchannelLogoutURI != "" {
		l.warn("frontchannel_logout_uri", "is kept and not called yet, and browsers keep third-party cookies from such pages anyway: revoke tokens at sign-out")
	}
	if c.BackchannelLogoutURI != "" {
		l.warn("backchannel_logout_uri", "is kept and not called yet: the provider delivers no logout tokens in this release")
	}
	if !usesSecret(c.AuthMethod()) && len(c.Secrets) > 0 {
		l.warn("secrets", "are not asked for by "+c.AuthMethod())
	}
	for i, s := range c.Secrets {
		if s.Hash != "" && c.AuthMethod() == "client_secret_jwt" {
			l.warn(fmt.Sprintf("secrets[%d]", i), "client_secret_jwt needs a sealed secret; this hash is not used")
		}
	}
	if c.DPoPBoundAccessTokens && c.TLSClientCertificateBoundAccessTokens {
		l.warn("dpop_bound_access_tokens", "stands beside tls_client_certificate_bound_access_tokens: every token needs both proofs")
	}
}
