package clientreg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/internal/check"
	"github.com/idpkit/idpkit/internal/secret"
	"github.com/idpkit/idpkit/internal/strictjson"
)

// MetadataError is one rule that a client breaks. It quotes nothing of the
// client but its id.
type MetadataError struct {
	Client string // client_id, or #3 for the third of a file that has none
	Field  string // wire name: redirect_uris[1]
	Rule   string // what is wrong: "has a fragment"
	Fix    string // what to do about it
}

// Error names client, field, rule and fix in one line.
func (e *MetadataError) Error() string {
	return fmt.Sprintf("client %q: %s %s: %s", e.Client, e.Field, e.Rule, e.Fix)
}

// Validate returns nil or every mistake at once: errors.Join of
// *MetadataError.
func (c *Client) Validate() error {
	m := mistakes{client: c.ID}
	for _, v := range check.Wire(c) {
		m.violation(v)
	}
	for _, rule := range []func(*Client, *mistakes){
		checkRedirectURIs,
		checkGrants,
		checkAuthMethod,
		checkSecrets,
		checkJWKS,
		checkTLS,
		checkEncryption,
		checkSubjects,
		checkCIBA,
		checkLogout,
		checkFetched,
		checkTimes,
		checkTrust,
		checkExtra,
	} {
		rule(c, &m)
	}
	return errors.Join(m.errs...)
}

// mistakes collects.
type mistakes struct {
	client string
	errs   []error
}

func (m *mistakes) add(field, rule, fix string) {
	m.errs = append(m.errs, &MetadataError{m.client, field, rule, fix})
}

// violation puts what a tag found into words.
func (m *mistakes) violation(v check.Violation) {
	s, _ := v.Value.(string)
	switch v.Tag {
	case "required":
		m.add(v.Field, "is missing", "give it a value")
	case "max":
		m.add(v.Field, "is too large", "the limit is "+v.Param)
	case "min":
		m.add(v.Field, "is too small", "the least is "+v.Param)
	case "unique":
		m.add(v.Field, "names a value twice", "name it once")
	case "oneof":
		m.add(v.Field, "has an unknown value", "use one of: "+v.Param)
	case "vschar":
		m.add(v.Field, "has a character that is not printable ASCII", "use letters, digits, - . _ ~")
	case "text":
		m.add(v.Field, "has a control or invisible character", "remove it")
	case "scope":
		m.add(v.Field, "is not a list of scope values", "give up to 64 values of printable ASCII without quotes and backslashes, with single spaces between them")
	case "https_url", "https_uri":
		s, _, _ := strings.Cut(s, "#")
		if p := check.HTTPS(s); p != "" {
			m.add(v.Field, p, "use an absolute https URI with a host")
		} else {
			m.add(v.Field, "has a fragment", "remove it")
		}
	case "redirect_uri":
		m.redirect(v.Field, check.RedirectURI(s))
	case "grant_type":
		m.add(v.Field, "is an unknown grant type", "use authorization_code, refresh_token, client_credentials or the URI of an extension grant")
	case "response_type":
		m.add(v.Field, "is an unknown response type", "use code")
	case "jws_alg", "auth_alg":
		m.add(v.Field, "is no algorithm that can be used", "use an asymmetric one such as ES256 or RS256; none is never accepted")
	case "jwe_alg":
		m.add(v.Field, "is no algorithm that can be used", "use ECDH-ES, ECDH-ES+A256KW or RSA-OAEP-256")
	case "jwe_enc":
		m.add(v.Field, "is no algorithm that can be used", "use A256GCM or A128CBC-HS256")
	case "ip":
		m.add(v.Field, "is not an IP address", "write it as 192.0.2.1 or 2001:db8::1")
	default:
		m.add(v.Field, "breaks the rule "+v.Tag, "see the documentation of Client")
	}
}

func (m *mistakes) redirect(field, problem string) {
	fix := "register the complete URI as the client sends it"
	switch {
	case problem == "is http":
		fix = "use https; a native client may use http://127.0.0.1 and http://[::1]"
	case problem == "is http on localhost":
		fix = "use https://localhost, or http://127.0.0.1 in a native client, or set allow_localhost_redirect"
	case problem == "is http on a loopback address and the client is not native":
		fix = `use https, or set application_type to "native"`
	case strings.Contains(problem, "scheme"):
		fix = `use https, or in a native client (application_type "native") a scheme that is the reverse of a domain name: com.example.app:/callback`
	}
	m.add(field, problem, fix)
}

// checkRedirectURIs judges by client what the tag redirect_uri let pass.
func checkRedirectURIs(c *Client, m *mistakes) {
	for _, list := range []struct {
		name string
		uris []string
	}{{"redirect_uris", c.RedirectURIs}, {"post_logout_redirect_uris", c.PostLogoutRedirectURIs}} {
		for i, uri := range list.uris {
			if p := c.redirectProblem(uri); p != "" && check.RedirectURI(uri) == "" {
				m.redirect(fmt.Sprintf("%s[%d]", list.name, i), p)
			}
		}
	}
	if len(c.RedirectURIs) == 0 && (c.HasGrantType("authorization_code") || c.HasGrantType("implicit")) {
		m.add("redirect_uris", "is missing", "register at least one, or leave authorization_code out of grant_types")
	}
}

// checkGrants: RFC 7591 §2.1, OpenID Connect Registration §2.
func checkGrants(c *Client, m *mistakes) {
	var code, implicit bool
	for _, t := range c.ResponseTypes {
		words := strings.Split(t, " ")
		code = code || slices.Contains(words, "code")
		implicit = implicit || slices.Contains(words, "token") || slices.Contains(words, "id_token")
	}
	hasCode, hasImplicit := c.HasGrantType("authorization_code"), c.HasGrantType("implicit")
	explicit := len(c.ResponseTypes) > 0
	switch {
	case code && !hasCode:
		m.add("grant_types", "lacks authorization_code, which a response type needs", "add it, or remove the response types with code")
	case hasCode && explicit && !code && !slices.Contains(c.ResponseTypes, "none"):
		m.add("response_types", "lacks code, which the grant type authorization_code needs", "add it, or remove the grant type")
	}
	switch {
	case implicit && !hasImplicit:
		m.add("grant_types", "lacks implicit, which a response type needs", "use the response type code alone")
	case hasImplicit && !implicit:
		m.add("response_types", "has none that the grant type implicit needs", "remove implicit from grant_types")
	}
	if c.HasGrantType("refresh_token") && len(c.GrantTypes) == 1 {
		m.add("grant_types", "has refresh_token alone", "add the grant that issues refresh tokens, such as authorization_code")
	}
	if c.Public() {
		for _, g := range []string{"client_credentials", grantCIBA} {
			if c.HasGrantType(g) {
				m.add("grant_types", "has "+g+", which a client without authentication cannot use", "choose another token_endpoint_auth_method than none")
			}
		}
	}
}

const (
	grantCIBA   = "urn:openid:params:grant-type:ciba"
	grantDevice = "urn:ietf:params:oauth:grant-type:device_code"
)

// checkAuthMethod: OpenID Connect Registration §2, RFC 7591 §2.
func checkAuthMethod(c *Client, m *mistakes) {
	method := c.AuthMethod()
	switch method {
	case "private_key_jwt", "self_signed_tls_client_auth":
		if len(c.JWKS) == 0 && c.JWKSURI == "" {
			m.add("jwks", "is missing", method+" needs jwks or jwks_uri")
		}
	}
	if alg := c.TokenEndpointAuthSigningAlg; alg != "" {
		symmetric := strings.HasPrefix(alg, "HS")
		if symmetric && method != "client_secret_jwt" || !symmetric && method == "client_secret_jwt" {
			m.add("token_endpoint_auth_signing_alg", "does not fit token_endpoint_auth_method", "use HS256 with client_secret_jwt and ES256 or RS256 with private_key_jwt")
		}
	}
}

// usesSecret tells whether the method compares or uses a client secret.
func usesSecret(method string) bool { return strings.HasPrefix(method, "client_secret_") }

func checkSecrets(c *Client, m *mistakes) {
	method := c.AuthMethod()
	usable := 0
	for i, s := range c.Secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		switch {
		case (s.Hash == "") == (len(s.Sealed) == 0):
			m.add(field, "does not have exactly one of hash and sealed", "use HashSecret")
		case s.Hash != "" && secret.Valid(s.Hash) != nil:
			m.add(field, "has a hash of unknown form or excessive cost", "use HashSecret")
		case len(s.Sealed) > 4<<10:
			m.add(field, "is too large", "the limit is 4096 bytes")
		case s.Hash == "" || method != "client_secret_jwt":
			usable++
		}
	}
	switch {
	case c.Public() && len(c.Secrets) > 0:
		m.add("secrets", "has a secret that a client without authentication cannot keep", "remove it, or choose another token_endpoint_auth_method than none")
	case usesSecret(method) && usable == 0:
		m.add("secrets", "is missing", fix(method == "client_secret_jwt", "client_secret_jwt needs a sealed secret",
			method+` needs one (client_secret in a file, HashSecret in Go); a public client has token_endpoint_auth_method "none"`))
	}
}

func fix(cond bool, a, b string) string {
	if cond {
		return a
	}
	return b
}

// checkJWKS looks at the structure only: whether a key is strong enough is
// judged where it is used. RFC 7517 §4 and §5, RFC 7518 §6.
func checkJWKS(c *Client, m *mistakes) {
	if len(c.JWKS) == 0 {
		return
	}
	if c.JWKSURI != "" {
		m.add("jwks", "stands beside jwks_uri", "give one of them") // RFC 7591 §2
	}
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if len(c.JWKS) > maxJWKS || strictjson.Unmarshal(c.JWKS, &set, 8) != nil || len(set.Keys) == 0 || len(set.Keys) > 32 {
		m.add("jwks", "is not a JWK set", `give {"keys": […]} with 1 to 32 public keys, at most 32 KiB`)
		return
	}
	for i, k := range set.Keys {
		field := fmt.Sprintf("jwks.keys[%d]", i)
		var kty string
		if json.Unmarshal(k["kty"], &kty) != nil || kty == "" {
			m.add(field, "has no kty", "give RSA, EC or OKP keys")
			continue
		}
		if strings.EqualFold(kty, "oct") || k["k"] != nil {
			m.add(field, "is a symmetric key", "give public keys only")
			continue
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
			if _, ok := k[private]; ok {
				m.add(field, "is a private key", "give the public half only; consider this key compromised")
				break
			}
		}
	}
}

const maxJWKS = 32 << 10

// checkTLS: exactly one name, RFC 8705 §2.1.2.
func checkTLS(c *Client, m *mistakes) {
	n := 0
	for _, s := range []string{c.TLSClientAuthSubjectDN, c.TLSClientAuthSANDNS, c.TLSClientAuthSANURI, c.TLSClientAuthSANIP, c.TLSClientAuthSANEmail} {
		if s != "" {
			n++
		}
	}
	switch mtls := c.AuthMethod() == "tls_client_auth"; {
	case mtls && n != 1:
		m.add("tls_client_auth_subject_dn", "and the tls_client_auth_san_ members are not exactly one", "give the one name that the certificate must have")
	case !mtls && n > 0:
		m.add("tls_client_auth_subject_dn", "or a tls_client_auth_san_ member is given for another method", "set token_endpoint_auth_method to tls_client_auth, or remove it")
	}
	if u, problem := check.ParseURI("https://" + c.TLSClientAuthSANDNS); c.TLSClientAuthSANDNS != "" && (problem != "" || u.Host != c.TLSClientAuthSANDNS) {
		m.add("tls_client_auth_san_dns", "is not a DNS name", "give the name as the certificate has it, without wildcard")
	}
	if a, err := netip.ParseAddr(c.TLSClientAuthSANIP); err == nil && a.Zone() != "" {
		m.add("tls_client_auth_san_ip", "has a zone", "remove it")
	}
}

// checkEncryption: an enc goes with an alg, OpenID Connect Registration §2, and
// needs a key to encrypt to.
func checkEncryption(c *Client, m *mistakes) {
	for _, e := range []struct{ name, alg, enc string }{
		{"id_token_encrypted_response", c.IDTokenEncryptedResponseAlg, c.IDTokenEncryptedResponseEnc},
		{"userinfo_encrypted_response", c.UserInfoEncryptedResponseAlg, c.UserInfoEncryptedResponseEnc},
		{"authorization_encrypted_response", c.AuthorizationEncryptedResponseAlg, c.AuthorizationEncryptedResponseEnc},
		{"introspection_encrypted_response", c.IntrospectionEncryptedResponseAlg, c.IntrospectionEncryptedResponseEnc},
		{"request_object_encryption", c.RequestObjectEncryptionAlg, c.RequestObjectEncryptionEnc},
	} {
		if e.enc != "" && e.alg == "" {
			m.add(e.name+"_enc", "stands without "+e.name+"_alg", "give both")
		}
		if e.alg != "" && strings.HasSuffix(e.name, "_response") && len(c.JWKS) == 0 && c.JWKSURI == "" {
			m.add(e.name+"_alg", "has no key to encrypt to", "give jwks or jwks_uri")
		}
	}
}

// checkSubjects: several hosts have no common sector, OpenID Connect Core §8.1.
func checkSubjects(c *Client, m *mistakes) {
	if c.SubjectType != "pairwise" || c.SectorIdentifierURI != "" {
		return
	}
	hosts := map[string]bool{}
	for _, uri := range c.RedirectURIs {
		u, _ := check.ParseURI(uri)
		hosts[strings.ToLower(u.Host)] = true
	}
	if len(hosts) > 1 {
		m.add("sector_identifier_uri", "is missing", "pairwise subjects need it when the redirect URIs have several hosts")
	}
}

// checkCIBA: CIBA §4.
func checkCIBA(c *Client, m *mistakes) {
	mode, endpoint := c.BackchannelTokenDeliveryMode, c.BackchannelClientNotificationEndpoint
	if c.HasGrantType(grantCIBA) && mode == "" {
		m.add("backchannel_token_delivery_mode", "is missing", "use poll, ping or push")
	}
	if (mode == "ping" || mode == "push") && endpoint == "" {
		m.add("backchannel_client_notification_endpoint", "is missing", mode+" needs it")
	}
}

// checkLogout: the URI belongs to the client's own pages. OpenID Connect
// Front-Channel Logout §2.
func checkLogout(c *Client, m *mistakes) {
	front, problem := check.ParseURI(c.FrontchannelLogoutURI)
	if c.FrontchannelLogoutURI == "" || problem != "" {
		return
	}
	if !slices.ContainsFunc(c.RedirectURIs, func(uri string) bool {
		u, _ := check.ParseURI(uri)
		return u.Origin() == front.Origin()
	}) {
		m.add("frontchannel_logout_uri", "is of another origin than every redirect URI", "use scheme, host and port of a redirect URI")
	}
}

// checkFetched: what the provider will fetch or call for a stranger has a name
// in the public DNS. The addresses behind names are judged when they are
// dialled. RFC 7591 §5.
func checkFetched(c *Client, m *mistakes) {
	if !c.Dynamic {
		return
	}
	fetched := []struct{ field, uri string }{
		{"jwks_uri", c.JWKSURI},
		{"sector_identifier_uri", c.SectorIdentifierURI},
		{"backchannel_logout_uri", c.BackchannelLogoutURI},
		{"backchannel_client_notification_endpoint", c.BackchannelClientNotificationEndpoint},
	}
	for i, uri := range c.RequestURIs {
		fetched = append(fetched, struct{ field, uri string }{fmt.Sprintf("request_uris[%d]", i), uri})
	}
	for _, f := range fetched {
		uri, _, _ := strings.Cut(f.uri, "#")
		if u, problem := check.ParseURI(uri); problem == "" && !publicName(u.Host) {
			m.add(f.field, "is not at a public host", "use the full domain name of a public host")
		}
	}
}

// publicName tells whether host could be a name of the public DNS. RFC 6761,
// RFC 6762.
func publicName(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	dot := strings.LastIndexByte(host, '.')
	switch strings.ToLower(host[dot+1:]) {
	case "localhost", "local", "internal", "invalid":
		return false
	}
	return dot > 0
}

// checkTimes: JSON has no year beyond 9999.
func checkTimes(c *Client, m *mistakes) {
	for _, t := range []struct {
		field string
		time  time.Time
	}{{"client_id_issued_at", c.IssuedAt}, {"not_before", c.NotBefore}} {
		if !validTime(t.time) {
			m.add(t.field, "is out of range", "give a time from 1970 to 9999")
		}
	}
	for i, s := range c.Secrets {
		if !validTime(s.Expires) {
			m.add(fmt.Sprintf("secrets[%d].expires", i), "is out of range", "give a time from 1970 to 9999")
		}
	}
}

func validTime(t time.Time) bool { return t.IsZero() || t.Unix() >= 0 && t.UTC().Year() <= 9999 }

// checkTrust: what weakens is named, and what contradicts itself is refused.
func checkTrust(c *Client, m *mistakes) {
	if c.FirstParty && c.Dynamic {
		m.add("first_party", "and dynamic contradict each other", "clear dynamic once you have verified the metadata")
	}
	if c.AllowNoPKCE && c.Public() {
		m.add("allow_no_pkce", "is set for a client without authentication", "remove it: nothing else protects the code") // RFC 9700 §2.1.1
	}
	if c.AllowNoPKCE && !c.AllowsScope("openid") {
		m.add("allow_no_pkce", "is set for a client without the scope openid", "add openid, whose nonce protects the code instead")
	}
}

const (
	maxExtra      = 64       // members
	maxExtraBytes = 32 << 10 // names and values together
)

// checkExtra holds translations to the rules of what they translate.
func checkExtra(c *Client, m *mistakes) {
	size := 0
	for name, raw := range sorted(c.Extra) {
		size += len(name) + len(raw)
		switch {
		case name == "" || len(name) > 256 || !check.Text(name):
			m.add("extra", "has a member with an unusable name", "remove it")
			continue
		case reserved(name):
			m.add(name, "is in Extra and has a field or no place in a client", "set the field")
			continue
		case strictjson.Check(raw, MaxDepth-1) != nil:
			m.add(name, "is not a JSON value", fmt.Sprintf("give strict JSON, nested at most %d deep", MaxDepth))
			continue
		}
		base, tag, tagged := strings.Cut(name, "#")
		if !tagged || !reserved(base) {
			continue
		}
		var s string
		switch {
		case !languageTag(tag):
			m.add(name, "has no valid language tag", "write it as client_name#de or client_name#zh-Hant")
		case !translatable(base):
			m.add(name, "cannot be translated", "remove the language tag")
		case json.Unmarshal(raw, &s) != nil:
			m.add(name, "is not a string", "give a string")
		case base == "client_name":
			if !validName(s) {
				m.add(name, "is too long or has a control or invisible character", "give at most 200 characters")
			}
		default:
			if p := check.HTTPS(s); p != "" {
				m.add(name, p, "use an absolute https URI with a host")
			}
		}
	}
	if len(c.Extra) > maxExtra || size > maxExtraBytes {
		m.add("extra", "is too large", "keep unknown members to 64 and 32 KiB")
	}
}
