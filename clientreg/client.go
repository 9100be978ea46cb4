// Package clientreg holds what a provider knows of its clients: the metadata
// of RFC 7591 and its extensions in one struct, the rules they must keep, and
// the registries they come from.
//
// [Client] is the single source of truth: the JSON names are the wire names,
// so a static file, a registration request, a client ID metadata document and
// a column of a database all hold the same document. [Client.Validate] tells
// every mistake at once, [Client.Lint] what is allowed and will surprise.
//
// An application with a table of its own implements [Registry], one method.
// Others take [Static] for clients in Go, [ParseJSON] for a file, [Stored] for
// clients that register themselves, and join them with [Chain].
package clientreg

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Client is one client. The zero value of every field is the default of the
// specification that names it, or the stricter one. Fields with the name of a
// registered member carry its meaning, RFC 7591 §2 where nothing else is said.
//
// The kit's own members (from Secrets on) have JSON names as well, so that a
// client survives storage: secrets (with hash, sealed, expires), disabled,
// first_party, dynamic, not_before, allow_no_pkce, allow_localhost_redirect,
// allow_assertion_audience. [Client.Untrusted] clears them in what a stranger
// sent.
type Client struct {
	// ID is 1 to 512 characters of printable ASCII, compared byte by byte. The
	// limit is that of an indexed column of a storage.
	ID string `json:"client_id" validate:"required,max=512,vschar"`

	// IssuedAt is when the client was registered, to the second.
	IssuedAt time.Time `json:"client_id_issued_at"`

	// Name is what people see, at most 200 characters. LocalizedName knows the
	// translations.
	Name      string   `json:"client_name" validate:"max=200,text"`
	ClientURI string   `json:"client_uri" validate:"omitempty,https_url"`
	LogoURI   string   `json:"logo_uri" validate:"omitempty,https_url"`
	PolicyURI string   `json:"policy_uri" validate:"omitempty,https_url"`
	TosURI    string   `json:"tos_uri" validate:"omitempty,https_url"`
	Contacts  []string `json:"contacts" validate:"max=16,dive,required,max=254,text"`

	// SoftwareID and SoftwareVersion say which software the client is.
	SoftwareID      string `json:"software_id" validate:"max=200,text"`
	SoftwareVersion string `json:"software_version" validate:"max=200,text"`

	// ApplicationType is "web", the default, or "native".
	// OpenID Connect Registration §2.
	ApplicationType string `json:"application_type" validate:"omitempty,oneof=web native"`

	// RedirectURIs are compared byte by byte, see MatchRedirectURI. At most 32.
	RedirectURIs []string `json:"redirect_uris" validate:"max=32,unique,dive,redirect_uri"`

	// PostLogoutRedirectURIs follow the same rules as RedirectURIs.
	// OpenID Connect RP-Initiated Logout §3.1.
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris" validate:"max=32,unique,dive,redirect_uri"`

	// GrantTypes and ResponseTypes: ask HasGrantType and HasResponseType, which
	// know the defaults.
	GrantTypes    []string `json:"grant_types" validate:"max=16,unique,dive,grant_type"`
	ResponseTypes []string `json:"response_types" validate:"max=16,unique,dive,response_type"`

	// Scope is the list of scope values that the client may ask for, separated
	// by single spaces, at most 64. Empty: openid, profile, email, address and
	// phone; see ScopeList.
	Scope string `json:"scope" validate:"omitempty,scope"`

	// TokenEndpointAuthMethod is how the client authenticates, at every endpoint.
	// Empty means client_secret_basic: ask AuthMethod.
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method" validate:"omitempty,oneof=none client_secret_basic client_secret_post client_secret_jwt private_key_jwt tls_client_auth self_signed_tls_client_auth attest_jwt_client_auth"`

	// TokenEndpointAuthSigningAlg is the only algorithm of its assertions. Empty:
	// any that the provider takes. OpenID Connect Registration §2.
	TokenEndpointAuthSigningAlg string `json:"token_endpoint_auth_signing_alg" validate:"omitempty,auth_alg"`

	// JWKS holds public keys, RFC 7517 §5, JWKSURI is where they are: one of both.
	JWKS    json.RawMessage `json:"jwks"`
	JWKSURI string          `json:"jwks_uri" validate:"omitempty,https_url"`

	// Subjects: "public" or "pairwise"; empty: the provider's default.
	// OpenID Connect Core §8.
	SubjectType         string `json:"subject_type" validate:"omitempty,oneof=public pairwise"`
	SectorIdentifierURI string `json:"sector_identifier_uri" validate:"omitempty,https_url"`

	// ID tokens, OpenID Connect Registration §2. Empty: the provider's default
	// algorithm; not encrypted.
	IDTokenSignedResponseAlg    string `json:"id_token_signed_response_alg" validate:"omitempty,jws_alg"`
	IDTokenEncryptedResponseAlg string `json:"id_token_encrypted_response_alg" validate:"omitempty,jwe_alg"`
	IDTokenEncryptedResponseEnc string `json:"id_token_encrypted_response_enc" validate:"omitempty,jwe_enc"`

	// UserInfo answers, OpenID Connect Registration §2. Empty: plain JSON.
	UserInfoSignedResponseAlg    string `json:"userinfo_signed_response_alg" validate:"omitempty,jws_alg"`
	UserInfoEncryptedResponseAlg string `json:"userinfo_encrypted_response_alg" validate:"omitempty,jwe_alg"`
	UserInfoEncryptedResponseEnc string `json:"userinfo_encrypted_response_enc" validate:"omitempty,jwe_enc"`

	// Request objects, OpenID Connect Registration §2 and RFC 9101 §10.5.
	RequestObjectSigningAlg    string   `json:"request_object_signing_alg" validate:"omitempty,jws_alg"`
	RequestObjectEncryptionAlg string   `json:"request_object_encryption_alg" validate:"omitempty,jwe_alg"`
	RequestObjectEncryptionEnc string   `json:"request_object_encryption_enc" validate:"omitempty,jwe_enc"`
	RequireSignedRequestObject bool     `json:"require_signed_request_object"`
	RequestURIs                []string `json:"request_uris" validate:"max=32,unique,dive,https_uri"`

	// Authorization responses as JWT, JARM §3. Empty: not signed.
	AuthorizationSignedResponseAlg    string `json:"authorization_signed_response_alg" validate:"omitempty,jws_alg"`
	AuthorizationEncryptedResponseAlg string `json:"authorization_encrypted_response_alg" validate:"omitempty,jwe_alg"`
	AuthorizationEncryptedResponseEnc string `json:"authorization_encrypted_response_enc" validate:"omitempty,jwe_enc"`

	// Introspection answers as JWT, RFC 9701 §6. Empty: plain JSON.
	IntrospectionSignedResponseAlg    string `json:"introspection_signed_response_alg" validate:"omitempty,jws_alg"`
	IntrospectionEncryptedResponseAlg string `json:"introspection_encrypted_response_alg" validate:"omitempty,jwe_alg"`
	IntrospectionEncryptedResponseEnc string `json:"introspection_encrypted_response_enc" validate:"omitempty,jwe_enc"`

	// DefaultMaxAge is in seconds; nil: none, 0: sign in every time.
	// OpenID Connect Registration §2.
	DefaultMaxAge    *int     `json:"default_max_age" validate:"omitempty,min=0"`
	RequireAuthTime  bool     `json:"require_auth_time"`
	DefaultACRValues []string `json:"default_acr_values" validate:"max=16,dive,required,max=256,text"`

	// InitiateLoginURI is where sign-in can be started from elsewhere.
	// OpenID Connect Core §4.
	InitiateLoginURI string `json:"initiate_login_uri" validate:"omitempty,https_url"`

	// RequirePAR refuses authorization requests that were not pushed, RFC 9126 §6.
	RequirePAR bool `json:"require_pushed_authorization_requests"`

	// AuthorizationDetailsTypes the client may ask for, RFC 9396 §10.
	AuthorizationDetailsTypes []string `json:"authorization_details_types" validate:"max=32,unique,dive,required,max=256,text"`

	// DPoPBoundAccessTokens refuses token requests without a proof, RFC 9449 §5.2.
	DPoPBoundAccessTokens bool `json:"dpop_bound_access_tokens"`

	// Mutual TLS, RFC 8705 §2.1.2 and §3.4. tls_client_auth has exactly one of
	// the five names.
	TLSClientCertificateBoundAccessTokens bool   `json:"tls_client_certificate_bound_access_tokens"`
	TLSClientAuthSubjectDN                string `json:"tls_client_auth_subject_dn" validate:"max=1024,text"`
	TLSClientAuthSANDNS                   string `json:"tls_client_auth_san_dns" validate:"max=253,text"`
	TLSClientAuthSANURI                   string `json:"tls_client_auth_san_uri" validate:"max=2048,text"`
	TLSClientAuthSANIP                    string `json:"tls_client_auth_san_ip" validate:"omitempty,ip"`
	TLSClientAuthSANEmail                 string `json:"tls_client_auth_san_email" validate:"max=254,text"`

	// Logout notifications. OpenID Connect Back-Channel Logout §2.2 and
	// Front-Channel Logout §2.
	BackchannelLogoutURI              string `json:"backchannel_logout_uri" validate:"omitempty,https_url"`
	BackchannelLogoutSessionRequired  bool   `json:"backchannel_logout_session_required"`
	FrontchannelLogoutURI             string `json:"frontchannel_logout_uri" validate:"omitempty,https_url"`
	FrontchannelLogoutSessionRequired bool   `json:"frontchannel_logout_session_required"`

	// CIBA §4. The delivery mode is "poll", "ping" or "push".
	BackchannelTokenDeliveryMode               string `json:"backchannel_token_delivery_mode" validate:"omitempty,oneof=poll ping push"`
	BackchannelClientNotificationEndpoint      string `json:"backchannel_client_notification_endpoint" validate:"omitempty,https_url"`
	BackchannelAuthenticationRequestSigningAlg string `json:"backchannel_authentication_request_signing_alg" validate:"omitempty,jws_alg"`
	BackchannelUserCodeParameter               bool   `json:"backchannel_user_code_parameter"`

	// Secrets of the client, at most 8: several, for rotation.
	Secrets []ClientSecret `json:"secrets" validate:"max=8"`

	// Disabled clients are answered as if they did not exist, and their tokens
	// are dead.
	Disabled bool `json:"disabled"`

	// FirstParty says that the client is the provider's own: consent may be
	// skipped.
	FirstParty bool `json:"first_party"`

	// Dynamic says that the metadata come from whoever registered the client.
	// Pages show them as unverified.
	Dynamic bool `json:"dynamic"`

	// NotBefore: tokens and grants issued earlier are dead. Zero: no limit.
	NotBefore time.Time `json:"not_before"`

	// AllowNoPKCE takes authorization requests without a code_challenge. Only for
	// confidential clients that ask for openid, whose nonce then stands in for it,
	// RFC 9700 §2.1.1.
	AllowNoPKCE bool `json:"allow_no_pkce"`

	// AllowLocalhostRedirect takes http redirect URIs of the host localhost, and
	// for web clients of loopback addresses too, for development. Whoever
	// controls the name on the user's machine gets the code, RFC 8252 §8.3; the
	// provider remembers consents for it as if it were at https.
	AllowLocalhostRedirect bool `json:"allow_localhost_redirect"`

	// AllowAssertionAudience takes assertions for the token endpoint's URL besides
	// those for the issuer, as RFC 7523 §3 once recommended.
	AllowAssertionAudience bool `json:"allow_assertion_audience"`

	// Version of the stored client, for Writer.Update. 0: not stored.
	Version int64 `json:"-"`

	// Extra holds the members that no field above is named for, translations
	// such as client_name#de included.
	Extra map[string]json.RawMessage `json:"-"`
}

// ClientSecret is one secret, in one of two forms.
type ClientSecret struct {
	// Hash is what HashSecret returns, or a bcrypt hash from elsewhere.
	Hash string `json:"hash,omitempty"`

	// Sealed is the encrypted secret, for methods that need its value
	// (client_secret_jwt). Only the provider that sealed it can open it.
	Sealed []byte `json:"sealed,omitempty"`

	// Expires is when the secret stops working. Zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// Clone returns a deep copy.
func (c *Client) Clone() *Client {
	if c == nil {
		return nil
	}
	n := *c
	for _, f := range []*[]string{
		&n.Contacts, &n.RedirectURIs, &n.PostLogoutRedirectURIs, &n.GrantTypes, &n.ResponseTypes,
		&n.RequestURIs, &n.DefaultACRValues, &n.AuthorizationDetailsTypes,
	} {
		*f = slices.Clone(*f)
	}
	n.JWKS = bytes.Clone(n.JWKS)
	if n.DefaultMaxAge != nil {
		v := *n.DefaultMaxAge
		n.DefaultMaxAge = &v
	}
	n.Secrets = slices.Clone(n.Secrets)
	for i := range n.Secrets {
		n.Secrets[i].Sealed = bytes.Clone(n.Secrets[i].Sealed)
	}
	n.Extra = maps.Clone(n.Extra)
	for k, v := range n.Extra {
		n.Extra[k] = bytes.Clone(v)
	}
	return &n
}

// Untrusted makes c what a stranger may register: the kit's own members and
// IssuedAt are cleared, Dynamic is set. ID is the caller's to set.
func (c *Client) Untrusted() {
	c.Secrets, c.IssuedAt, c.NotBefore, c.Version = nil, time.Time{}, time.Time{}, 0
	c.Disabled, c.FirstParty, c.Dynamic = false, false, true
	c.AllowNoPKCE, c.AllowLocalhostRedirect, c.AllowAssertionAudience = false, false, false
}

// AuthMethod is the one way in which the client authenticates. Default:
// client_secret_basic.
func (c *Client) AuthMethod() string {
	if c.TokenEndpointAuthMethod == "" {
		return "client_secret_basic"
	}
	return c.TokenEndpointAuthMethod
}

// Public tells whether the client cannot keep a secret, RFC 6749 §2.1.
func (c *Client) Public() bool { return c.AuthMethod() == "none" }

// Native tells whether the client is an application on the user's device,
// RFC 8252 §3.
func (c *Client) Native() bool { return c.ApplicationType == "native" }

// HasGrantType tells whether the client may use the grant. Default:
// authorization_code only.
func (c *Client) HasGrantType(grant string) bool {
	if len(c.GrantTypes) == 0 {
		return grant == "authorization_code"
	}
	return slices.Contains(c.GrantTypes, grant)
}

// HasResponseType tells whether the client may ask for the response type; the
// order of its words does not matter. Default: code, for clients with the grant
// authorization_code.
func (c *Client) HasResponseType(responseType string) bool {
	want := sortedWords(responseType)
	if len(c.ResponseTypes) == 0 {
		return want == "code" && c.HasGrantType("authorization_code")
	}
	return slices.ContainsFunc(c.ResponseTypes, func(t string) bool { return sortedWords(t) == want })
}

// sortedWords brings a response type into one order, OAuth 2.0 Multiple
// Response Types §2.
func sortedWords(s string) string {
	if !strings.Contains(s, " ") {
		return s
	}
	words := strings.Split(s, " ")
	slices.Sort(words)
	return strings.Join(words, " ")
}

// defaultScope is harmless: what it releases is the user's to consent to, and
// it opens no API.
const defaultScope = "openid profile email address phone"

// ScopeList returns the scope values that the client may ask for. Default:
// openid, profile, email, address, phone.
func (c *Client) ScopeList() []string {
	if c.Scope == "" {
		return strings.Fields(defaultScope)
	}
	return strings.Fields(c.Scope)
}

// AllowsScope tells whether the client may ask for one scope value.
func (c *Client) AllowsScope(scope string) bool {
	all := c.Scope
	if all == "" {
		all = defaultScope
	}
	for s := range strings.FieldsSeq(all) {
		if s == scope {
			return true
		}
	}
	return false
}
