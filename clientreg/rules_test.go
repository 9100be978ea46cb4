package clientreg

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// hash is that of a generated secret.
const hash = "$sha256$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

const publicJWKS = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

// public, confidential, keyed and machine are valid clients to change.
func public() Client {
	return Client{ID: "c", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}}
}

func confidential() Client {
	return Client{ID: "c", RedirectURIs: []string{"https://app.example/cb"}, Secrets: []ClientSecret{{Hash: hash}}}
}

func keyed() Client {
	return Client{ID: "c", RedirectURIs: []string{"https://app.example/cb"}, TokenEndpointAuthMethod: "private_key_jwt", JWKS: json.RawMessage(publicJWKS)}
}

func machine() Client {
	return Client{ID: "c", GrantTypes: []string{"client_credentials"}, Scope: "api", Secrets: []ClientSecret{{Hash: hash}}}
}

// found lists "field rule" of every mistake, and demands that each is complete.
func found(t *testing.T, err error, id string) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T does not hold several errors", err)
	}
	var list []string
	for _, err := range joined.Unwrap() {
		var e *MetadataError
		if !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		if e.Client != id || e.Field == "" || e.Rule == "" || e.Fix == "" {
			t.Errorf("incomplete: %+v", e)
		}
		if s := err.Error(); !strings.Contains(s, e.Field) || !strings.Contains(s, e.Fix) || !strings.Contains(s, fmt.Sprintf("%q", id)) {
			t.Errorf("message %q", s)
		}
		list = append(list, e.Field+" "+e.Rule)
	}
	return list
}

func many(n int, format string) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf(format, i)
	}
	return s
}

func TestValidate(t *testing.T) {
	t.Parallel()
	negative, zero := -1, 0
	jwks := func(keys ...string) json.RawMessage {
		return json.RawMessage(`{"keys":[` + strings.Join(keys, ",") + `]}`)
	}
	for _, tc := range []struct {
		name   string
		base   func() Client
		change func(*Client)
		want   string // "field rule"; several with " | "; empty: valid
	}{
		{"public", public, func(*Client) {}, ""},
		{"confidential", confidential, func(*Client) {}, ""},
		{"keyed", keyed, func(*Client) {}, ""},
		{"machine", machine, func(*Client) {}, ""},

		{"no id", public, func(c *Client) { c.ID = "" }, "client_id is missing"},
		{"long id", public, func(c *Client) { c.ID = strings.Repeat("a", 513) }, "client_id is too large"},
		{"longest id", public, func(c *Client) { c.ID = strings.Repeat("a", 512) }, ""},
		{"id with blank", public, func(c *Client) { c.ID = "a b" }, ""},
		{"URL as id", public, func(c *Client) { c.ID = "https://app.example/client.json" }, ""},
		{"id with control character", public, func(c *Client) { c.ID = "a\nb" }, "client_id has a character that is not printable ASCII"},
		{"id with umlaut", public, func(c *Client) { c.ID = "ä" }, "client_id has a character that is not printable ASCII"},

		{"long name", public, func(c *Client) { c.Name = strings.Repeat("ä", 201) }, "client_name is too large"},
		{"longest name", public, func(c *Client) { c.Name = strings.Repeat("ä", 200) }, ""},
		{"name with line break", public, func(c *Client) { c.Name = "a\nb" }, "client_name has a control or invisible character"},
		{"name that runs backwards", public, func(c *Client) { c.Name = "pay\u202elap" }, "client_name has a control or invisible character"},
		{"contacts", public, func(c *Client) { c.Contacts = []string{"a@b.example", ""} }, "contacts[1] is missing"},
		{"many contacts", public, func(c *Client) { c.Contacts = many(17, "a%d@b.example") }, "contacts is too large"},
		{"software", public, func(c *Client) { c.SoftwareID, c.SoftwareVersion = "\x00", "1\r\n" }, "software_id has a control or invisible character | software_version has a control or invisible character"},
		{"application type", public, func(c *Client) { c.ApplicationType = "desktop" }, "application_type has an unknown value"},

		{"G02 javascript", public, func(c *Client) { c.RedirectURIs = []string{"javascript:alert(1)"} }, "redirect_uris[0] has no slash after its scheme"},
		{"G04 fragment", public, func(c *Client) { c.RedirectURIs = append(c.RedirectURIs, "https://app.example/#x") }, "redirect_uris[1] has a fragment"},
		{"G05 http", public, func(c *Client) { c.RedirectURIs = []string{"http://app.example/cb"} }, "redirect_uris[0] is http"},
		{"G05 http, native", public, func(c *Client) {
			c.RedirectURIs, c.ApplicationType = []string{"http://app.example/cb"}, "native"
		}, "redirect_uris[0] is http"},
		{"G05 loopback, web", public, func(c *Client) { c.RedirectURIs = []string{"http://127.0.0.1/cb"} }, "redirect_uris[0] is http on a loopback address and the client is not native"},
		{"G05 localhost", public, func(c *Client) { c.RedirectURIs = []string{"http://localhost/cb"} }, "redirect_uris[0] is http on localhost"},
		{"G05 localhost, native", public, func(c *Client) {
			c.RedirectURIs, c.ApplicationType = []string{"http://localhost/cb"}, "native"
		}, "redirect_uris[0] is http on localhost"},
		{"localhost by https", public, func(c *Client) { c.RedirectURIs = []string{"https://localhost:4207"} }, ""},
		{"localhost, allowed", public, func(c *Client) {
			c.RedirectURIs, c.AllowLocalhostRedirect = []string{"http://localhost:3000/cb", "http://127.0.0.1:3000/"}, true
		}, ""},
		{"http elsewhere, localhost allowed", public, func(c *Client) {
			c.RedirectURIs, c.AllowLocalhostRedirect = []string{"http://app.example/cb"}, true
		}, "redirect_uris[0] is http"},
		{"G06 prefix trick", public, func(c *Client) {
			c.RedirectURIs, c.AllowLocalhostRedirect = []string{"http://localhost.evil.test/", "http://127.0.0.1.evil.test/"}, true
		}, "redirect_uris[0] is http | redirect_uris[1] is http"},
		{"G06 prefix trick, native", public, func(c *Client) {
			c.RedirectURIs, c.ApplicationType = []string{"http://127.0.0.1.evil.test/"}, "native"
		}, "redirect_uris[0] is http"},
		{"G07 wildcard", public, func(c *Client) { c.RedirectURIs = []string{"https://app.example/*"} }, "redirect_uris[0] has a wildcard"},
		{"G08 user-info", public, func(c *Client) { c.RedirectURIs = []string{"https://a@app.example/"} }, "redirect_uris[0] has user-info"},
		{"G09 relative, empty, CR LF", public, func(c *Client) { c.RedirectURIs = []string{"/cb", "", "https://app.example/\r\n"} }, "redirect_uris[0] is not absolute | redirect_uris[1] is empty | redirect_uris[2] has a character that must be percent-encoded"},
		{"G10 none", public, func(c *Client) { c.RedirectURIs = nil }, "redirect_uris is missing"},
		{"G32 33 redirect URIs", public, func(c *Client) { c.RedirectURIs = many(33, "https://app.example/%d") }, "redirect_uris is too large"},
		{"32 redirect URIs", public, func(c *Client) { c.RedirectURIs = many(32, "https://app.example/%d") }, ""},
		{"twice", public, func(c *Client) { c.RedirectURIs = append(c.RedirectURIs, c.RedirectURIs[0]) }, "redirect_uris names a value twice"},
		{"native", public, func(c *Client) {
			c.ApplicationType, c.RedirectURIs = "native", []string{"http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb", "https://app.example/cb"}
		}, ""},
		{"private-use scheme, web", public, func(c *Client) { c.RedirectURIs = []string{"com.example.app:/cb"} }, "redirect_uris[0] has a private-use scheme and the client is not native"},
		{"scheme without dot", public, func(c *Client) {
			c.ApplicationType, c.RedirectURIs = "native", []string{"myapp:/cb"}
		}, "redirect_uris[0] has a scheme that is neither https nor the reverse of a domain name"},
		{"G22 post-logout javascript", public, func(c *Client) { c.PostLogoutRedirectURIs = []string{"javascript:alert(1)"} }, "post_logout_redirect_uris[0] has no slash after its scheme"},
		{"G22 post-logout http", public, func(c *Client) { c.PostLogoutRedirectURIs = []string{"http://app.example/"} }, "post_logout_redirect_uris[0] is http"},
		{"post-logout, 33", public, func(c *Client) { c.PostLogoutRedirectURIs = many(33, "https://app.example/%d") }, "post_logout_redirect_uris is too large"},

		{"G18 unknown grant type", confidential, func(c *Client) { c.GrantTypes = []string{"authorization_code", "magic"} }, "grant_types[1] is an unknown grant type"},
		{"G18 password", confidential, func(c *Client) { c.GrantTypes = []string{"authorization_code", "password"} }, "grant_types[1] is an unknown grant type"},
		{"extension grant", confidential, func(c *Client) { c.GrantTypes = []string{"authorization_code", "urn:example:grant"} }, ""},
		{"G18 unknown response type", confidential, func(c *Client) { c.ResponseTypes = []string{"code", "magic"} }, "response_types[1] is an unknown response type"},
		{"grant type twice", confidential, func(c *Client) { c.GrantTypes = []string{"authorization_code", "authorization_code"} }, "grant_types names a value twice"},
		{"G19 response type without grant", confidential, func(c *Client) {
			c.GrantTypes, c.ResponseTypes = []string{"client_credentials"}, []string{"code"}
		}, "grant_types lacks authorization_code, which a response type needs"},
		{"G19 grant without response type", confidential, func(c *Client) {
			c.GrantTypes, c.ResponseTypes = []string{"authorization_code", "implicit"}, []string{"id_token"}
		}, "response_types lacks code, which the grant type authorization_code needs"},
		{"G19 id_token without implicit", confidential, func(c *Client) { c.ResponseTypes = []string{"code", "id_token"} }, "grant_types lacks implicit, which a response type needs"},
		{"G19 token with the default grant", confidential, func(c *Client) { c.ResponseTypes = []string{"token"} }, "response_types lacks code, which the grant type authorization_code needs | grant_types lacks implicit, which a response type needs"},
		{"G19 implicit without response type", confidential, func(c *Client) { c.GrantTypes = []string{"authorization_code", "implicit"} }, "response_types has none that the grant type implicit needs"},
		{"hybrid", confidential, func(c *Client) {
			c.GrantTypes, c.ResponseTypes = []string{"authorization_code", "implicit"}, []string{"code", "id_token code"}
		}, ""},
		{"hybrid without implicit", confidential, func(c *Client) { c.ResponseTypes = []string{"code id_token"} }, "grant_types lacks implicit, which a response type needs"},
		{"refresh_token alone", confidential, func(c *Client) { c.GrantTypes = []string{"refresh_token"} }, "grant_types has refresh_token alone"},
		{"T52 public client_credentials", public, func(c *Client) { c.GrantTypes = []string{"authorization_code", "client_credentials"} }, "grant_types has client_credentials, which a client without authentication cannot use"},
		{"public CIBA", public, func(c *Client) {
			c.GrantTypes, c.BackchannelTokenDeliveryMode = []string{"authorization_code", grantCIBA}, "poll"
		}, "grant_types has urn:openid:params:grant-type:ciba, which a client without authentication cannot use"},
		{"device", public, func(c *Client) { c.GrantTypes, c.RedirectURIs = []string{grantDevice}, nil }, ""},

		{"scope", public, func(c *Client) { c.Scope = "openid https://api.example/read" }, ""},
		{"scope with two blanks", public, func(c *Client) { c.Scope = "openid  profile" }, "scope is not a list of scope values"},
		{"scope with quote", public, func(c *Client) { c.Scope = `openid "x"` }, "scope is not a list of scope values"},
		{"65 scope values", public, func(c *Client) { c.Scope = strings.Join(many(65, "s%d"), " ") }, "scope is not a list of scope values"},
		{"64 scope values", public, func(c *Client) { c.Scope = strings.Join(many(64, "s%d"), " ") }, ""},

		{"G24 unknown method", confidential, func(c *Client) { c.TokenEndpointAuthMethod = "magic" }, "token_endpoint_auth_method has an unknown value"},
		{"public with secret", public, func(c *Client) { c.Secrets = []ClientSecret{{Hash: hash}} }, "secrets has a secret that a client without authentication cannot keep"},
		{"no secret", confidential, func(c *Client) { c.Secrets = nil }, "secrets is missing"},
		{"no secret, post", confidential, func(c *Client) { c.Secrets, c.TokenEndpointAuthMethod = nil, "client_secret_post" }, "secrets is missing"},
		{"client_secret_jwt with a hash", confidential, func(c *Client) { c.TokenEndpointAuthMethod = "client_secret_jwt" }, "secrets is missing"},
		{"client_secret_jwt", confidential, func(c *Client) {
			c.TokenEndpointAuthMethod, c.Secrets = "client_secret_jwt", []ClientSecret{{Sealed: []byte("x")}}
			c.TokenEndpointAuthSigningAlg = "HS256"
		}, ""},
		{"two secrets", confidential, func(c *Client) {
			c.Secrets = append(c.Secrets, ClientSecret{Hash: "$2a$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", Expires: time.Unix(1, 0)})
		}, ""},
		{"nine secrets", confidential, func(c *Client) { c.Secrets = slicesRepeat(ClientSecret{Hash: hash}, 9) }, "secrets is too large"},
		{"secret in clear", confidential, func(c *Client) { c.Secrets[0].Hash = "hunter2hunter2" }, "secrets[0] has a hash of unknown form or excessive cost | secrets is missing"},
		{"hash of 4 GiB", confidential, func(c *Client) {
			c.Secrets[0].Hash = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		}, "secrets[0] has a hash of unknown form or excessive cost | secrets is missing"},
		{"empty secret", confidential, func(c *Client) { c.Secrets = append(c.Secrets, ClientSecret{}) }, "secrets[1] does not have exactly one of hash and sealed"},
		{"both forms", confidential, func(c *Client) { c.Secrets = append(c.Secrets, ClientSecret{Hash: hash, Sealed: []byte("x")}) }, "secrets[1] does not have exactly one of hash and sealed"},
		{"large seal", confidential, func(c *Client) { c.Secrets = append(c.Secrets, ClientSecret{Sealed: make([]byte, 4097)}) }, "secrets[1] is too large"},
		{"no keys", keyed, func(c *Client) { c.JWKS = nil }, "jwks is missing"},
		{"keys elsewhere", keyed, func(c *Client) { c.JWKS, c.JWKSURI = nil, "https://app.example/jwks" }, ""},
		{"G17 none", keyed, func(c *Client) { c.TokenEndpointAuthSigningAlg = "none" }, "token_endpoint_auth_signing_alg is no algorithm that can be used"},
		{"HS256 with private_key_jwt", keyed, func(c *Client) { c.TokenEndpointAuthSigningAlg = "HS256" }, "token_endpoint_auth_signing_alg does not fit token_endpoint_auth_method"},
		{"ES256 with private_key_jwt", keyed, func(c *Client) { c.TokenEndpointAuthSigningAlg = "ES256" }, ""},
		{"ES256 with client_secret_jwt", confidential, func(c *Client) {
			c.TokenEndpointAuthMethod, c.Secrets = "client_secret_jwt", []ClientSecret{{Sealed: []byte("x")}}
			c.TokenEndpointAuthSigningAlg = "ES256"
		}, "token_endpoint_auth_signing_alg does not fit token_endpoint_auth_method"},

		{"G13 jwks and jwks_uri", keyed, func(c *Client) { c.JWKSURI = "https://app.example/jwks" }, "jwks stands beside jwks_uri"},
		{"jwks is an array", keyed, func(c *Client) { c.JWKS = json.RawMessage(`[]`) }, "jwks is not a JWK set"},
		{"jwks is no JSON", keyed, func(c *Client) { c.JWKS = json.RawMessage(`{`) }, "jwks is not a JWK set"},
		{"jwks without keys", keyed, func(c *Client) { c.JWKS = json.RawMessage(`{}`) }, "jwks is not a JWK set"},
		{"jwks with no key", keyed, func(c *Client) { c.JWKS = jwks() }, "jwks is not a JWK set"},
		{"jwks with a string", keyed, func(c *Client) { c.JWKS = jwks(`"x"`) }, "jwks is not a JWK set"},
		{"jwks with a member twice", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"EC","kty":"oct"}`) }, "jwks is not a JWK set"},
		{"jwks in capitals", keyed, func(c *Client) { c.JWKS = json.RawMessage(`{"KEYS":[{"kty":"EC"}]}`) }, "jwks is not a JWK set"},
		{"33 keys", keyed, func(c *Client) { c.JWKS = jwks(many(33, `{"kty":"EC","kid":"%d"}`)...) }, "jwks is not a JWK set"},
		{"large jwks", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"EC","x":"` + strings.Repeat("a", 32<<10) + `"}`) }, "jwks is not a JWK set"},
		{"key without kty", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"EC"}`, `{"x":"y"}`) }, "jwks.keys[1] has no kty"},
		{"key with a number as kty", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":1}`) }, "jwks.keys[0] has no kty"},
		{"G26 symmetric", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"oct","k":"AAAA"}`) }, "jwks.keys[0] is a symmetric key"},
		{"G26 symmetric in capitals", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"OCT"}`) }, "jwks.keys[0] is a symmetric key"},
		{"G26 k in another key", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","k":"AAAA"}`) }, "jwks.keys[0] is a symmetric key"},
		{"G26 null k", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","k":null}`) }, "jwks.keys[0] is a symmetric key"},
		{"private d", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"EC"}`, `{"kty":"EC","d":"AAAA"}`) }, "jwks.keys[1] is a private key"},
		{"private p", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","p":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private q", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","q":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private dp", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","dp":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private dq", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","dq":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private qi", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","qi":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private oth", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","oth":[]}`) }, "jwks.keys[0] is a private key"},
		{"private post-quantum", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"AKP","priv":"AAAA"}`) }, "jwks.keys[0] is a private key"},
		{"private, all at once", keyed, func(c *Client) { c.JWKS = jwks(`{"kty":"RSA","d":"","p":"","q":""}`) }, "jwks.keys[0] is a private key"},

		{"mutual TLS", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANDNS = "tls_client_auth", "client.example"
		}, ""},
		{"mutual TLS without name", public, func(c *Client) { c.TokenEndpointAuthMethod = "tls_client_auth" }, "tls_client_auth_subject_dn and the tls_client_auth_san_ members are not exactly one"},
		{"mutual TLS with two names", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANDNS, c.TLSClientAuthSubjectDN = "tls_client_auth", "client.example", "CN=x"
		}, "tls_client_auth_subject_dn and the tls_client_auth_san_ members are not exactly one"},
		{"name without mutual TLS", public, func(c *Client) { c.TLSClientAuthSANURI = "spiffe://a/b" }, "tls_client_auth_subject_dn or a tls_client_auth_san_ member is given for another method"},
		{"wildcard in a DNS name", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANDNS = "tls_client_auth", "*.example"
		}, "tls_client_auth_san_dns is not a DNS name"},
		{"port in a DNS name", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANDNS = "tls_client_auth", "a.example:443"
		}, "tls_client_auth_san_dns is not a DNS name"},
		{"IP", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANIP = "tls_client_auth", "2001:db8::1"
		}, ""},
		{"no IP", public, func(c *Client) {
			c.TokenEndpointAuthMethod, c.TLSClientAuthSANIP = "tls_client_auth", "300.0.0.1"
		}, "tls_client_auth_san_ip is not an IP address"},
		{"self-signed without keys", public, func(c *Client) { c.TokenEndpointAuthMethod = "self_signed_tls_client_auth" }, "jwks is missing"},

		{"G15 ID token", confidential, func(c *Client) { c.IDTokenSignedResponseAlg = "none" }, "id_token_signed_response_alg is no algorithm that can be used"},
		{"HS256 ID token", confidential, func(c *Client) { c.IDTokenSignedResponseAlg = "HS256" }, "id_token_signed_response_alg is no algorithm that can be used"},
		{"UserInfo none", confidential, func(c *Client) { c.UserInfoSignedResponseAlg = "none" }, "userinfo_signed_response_alg is no algorithm that can be used"},
		{"G16 request object", confidential, func(c *Client) { c.RequestObjectSigningAlg = "none" }, "request_object_signing_alg is no algorithm that can be used"},
		{"JARM none", confidential, func(c *Client) { c.AuthorizationSignedResponseAlg = "none" }, "authorization_signed_response_alg is no algorithm that can be used"},
		{"introspection none", confidential, func(c *Client) { c.IntrospectionSignedResponseAlg = "none" }, "introspection_signed_response_alg is no algorithm that can be used"},
		{"CIBA none", confidential, func(c *Client) { c.BackchannelAuthenticationRequestSigningAlg = "none" }, "backchannel_authentication_request_signing_alg is no algorithm that can be used"},
		{"encryption", keyed, func(c *Client) {
			c.IDTokenEncryptedResponseAlg, c.IDTokenEncryptedResponseEnc = "ECDH-ES", "A256GCM"
			c.RequestObjectEncryptionAlg = "RSA-OAEP-256"
		}, ""},
		{"RSA1_5", keyed, func(c *Client) { c.IDTokenEncryptedResponseAlg = "RSA1_5" }, "id_token_encrypted_response_alg is no algorithm that can be used"},
		{"dir", keyed, func(c *Client) { c.UserInfoEncryptedResponseAlg = "dir" }, "userinfo_encrypted_response_alg is no algorithm that can be used"},
		{"unknown enc", keyed, func(c *Client) {
			c.AuthorizationEncryptedResponseAlg, c.AuthorizationEncryptedResponseEnc = "ECDH-ES", "none"
		}, "authorization_encrypted_response_enc is no algorithm that can be used"},
		{"enc without alg", keyed, func(c *Client) {
			c.IntrospectionEncryptedResponseEnc, c.RequestObjectEncryptionEnc = "A256GCM", "A256GCM"
		}, "introspection_encrypted_response_enc stands without introspection_encrypted_response_alg | request_object_encryption_enc stands without request_object_encryption_alg"},
		{"encryption without key", confidential, func(c *Client) { c.IDTokenEncryptedResponseAlg = "ECDH-ES" }, "id_token_encrypted_response_alg has no key to encrypt to"},

		{"subject type", confidential, func(c *Client) { c.SubjectType = "ephemeral" }, "subject_type has an unknown value"},
		{"pairwise", confidential, func(c *Client) { c.SubjectType = "pairwise" }, ""},
		{"pairwise, two hosts", confidential, func(c *Client) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://a.example/", "https://b.example/"}
		}, "sector_identifier_uri is missing"},
		{"pairwise, two hosts, sector", confidential, func(c *Client) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://a.example/", "https://b.example/"}
			c.SectorIdentifierURI = "https://a.example/sector.json"
		}, ""},

		{"G20 javascript", confidential, func(c *Client) {
			c.ClientURI, c.LogoURI, c.PolicyURI, c.TosURI = "javascript:alert(1)", "javascript:alert(1)", "javascript:alert(1)", "data:/x"
		}, "client_uri has no slash after its scheme | logo_uri has no slash after its scheme | policy_uri has no slash after its scheme | tos_uri is not https"},
		{"http everywhere", confidential, func(c *Client) {
			for _, f := range []*string{&c.ClientURI, &c.JWKSURI, &c.SectorIdentifierURI, &c.InitiateLoginURI, &c.BackchannelLogoutURI, &c.FrontchannelLogoutURI, &c.BackchannelClientNotificationEndpoint} {
				*f = "http://a.example/"
			}
		}, "client_uri is not https | jwks_uri is not https | sector_identifier_uri is not https | initiate_login_uri is not https | backchannel_logout_uri is not https | frontchannel_logout_uri is not https | backchannel_client_notification_endpoint is not https | frontchannel_logout_uri is of another origin than every redirect URI"},
		{"logout URI with fragment", confidential, func(c *Client) { c.BackchannelLogoutURI = "https://app.example/#x" }, "backchannel_logout_uri has a fragment"},
		{"logo with user-info", confidential, func(c *Client) { c.LogoURI = "https://a@b.example/" }, "logo_uri has user-info"},
		{"request_uris", confidential, func(c *Client) { c.RequestURIs = []string{"https://app.example/r#abc", "https://app.example/s"} }, ""},
		{"request_uris http", confidential, func(c *Client) { c.RequestURIs = []string{"http://app.example/r#abc"} }, "request_uris[0] is not https"},
		{"33 request_uris", confidential, func(c *Client) { c.RequestURIs = many(33, "https://app.example/%d") }, "request_uris is too large"},

		{"max age 0", confidential, func(c *Client) { c.DefaultMaxAge = &zero }, ""},
		{"negative max age", confidential, func(c *Client) { c.DefaultMaxAge = &negative }, "default_max_age is too small"},
		{"acr", confidential, func(c *Client) { c.DefaultACRValues = []string{"a", "\n"} }, "default_acr_values[1] has a control or invisible character"},
		{"details", confidential, func(c *Client) { c.AuthorizationDetailsTypes = []string{"payment", "payment"} }, "authorization_details_types names a value twice"},

		{"CIBA", machine, func(c *Client) {
			c.GrantTypes, c.BackchannelTokenDeliveryMode = []string{grantCIBA}, "poll"
		}, ""},
		{"CIBA without mode", machine, func(c *Client) { c.GrantTypes = []string{grantCIBA} }, "backchannel_token_delivery_mode is missing"},
		{"CIBA ping without endpoint", machine, func(c *Client) {
			c.GrantTypes, c.BackchannelTokenDeliveryMode = []string{grantCIBA}, "ping"
		}, "backchannel_client_notification_endpoint is missing"},
		{"CIBA mode", machine, func(c *Client) { c.BackchannelTokenDeliveryMode = "carrier pigeon" }, "backchannel_token_delivery_mode has an unknown value"},

		{"front-channel logout", confidential, func(c *Client) { c.FrontchannelLogoutURI = "https://app.example:443/bye" }, ""},
		{"front-channel logout elsewhere", confidential, func(c *Client) { c.FrontchannelLogoutURI = "https://app.example:8443/bye" }, "frontchannel_logout_uri is of another origin than every redirect URI"},

		{"first party", confidential, func(c *Client) { c.FirstParty = true }, ""},
		{"first party and dynamic", confidential, func(c *Client) { c.FirstParty, c.Dynamic = true, true }, "first_party and dynamic contradict each other"},
		{"no PKCE", confidential, func(c *Client) { c.AllowNoPKCE = true }, ""},
		{"no PKCE, public", public, func(c *Client) { c.AllowNoPKCE = true }, "allow_no_pkce is set for a client without authentication"},
		{"no PKCE without openid", confidential, func(c *Client) { c.AllowNoPKCE, c.Scope = true, "api" }, "allow_no_pkce is set for a client without the scope openid"},

		{"G29 jwks_uri of a stranger", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://127.0.0.1/jwks" }, "jwks_uri is not at a public host"},
		{"G29 jwks_uri at a public address", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://192.0.2.1/jwks" }, "jwks_uri is not at a public host"},
		{"G29 jwks_uri at IPv6", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://[::1]/jwks" }, "jwks_uri is not at a public host"},
		{"G29 metadata service", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://169.254.169.254/latest" }, "jwks_uri is not at a public host"},
		{"G29 short name", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://kubernetes/jwks" }, "jwks_uri is not at a public host"},
		{"G29 localhost", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://a.LOCALHOST/jwks" }, "jwks_uri is not at a public host"},
		{"jwks_uri of a stranger", keyed, func(c *Client) { c.Dynamic, c.JWKS, c.JWKSURI = true, nil, "https://app.example/jwks" }, ""},
		{"jwks_uri of an own client", keyed, func(c *Client) { c.JWKS, c.JWKSURI = nil, "https://localhost:8443/jwks" }, ""},
		{"G30 sector of a stranger", keyed, func(c *Client) { c.Dynamic, c.SectorIdentifierURI = true, "https://10.0.0.1/s" }, "sector_identifier_uri is not at a public host"},
		{"logout of a stranger", keyed, func(c *Client) { c.Dynamic, c.BackchannelLogoutURI = true, "https://localhost/s" }, "backchannel_logout_uri is not at a public host"},
		{"request_uri of a stranger", keyed, func(c *Client) {
			c.Dynamic, c.RequestURIs = true, []string{"https://app.example/x", "https://localhost/s#x"}
		}, "request_uris[1] is not at a public host"},

		{"times", confidential, func(c *Client) {
			c.IssuedAt, c.NotBefore, c.Secrets[0].Expires = time.Unix(-1, 0), time.Unix(1<<40, 0), time.Unix(1<<40, 0)
		}, "client_id_issued_at is out of range | not_before is out of range | secrets[0].expires is out of range"},

		{"translations", public, func(c *Client) {
			c.Extra = extra("client_name#de", `"Anwendung"`, "tos_uri#fr-CA", `"https://app.example/fr"`)
		}, ""},
		{"translated name, hostile", public, func(c *Client) { c.Extra = extra("client_name#de", `"a\u202eb"`) }, "client_name#de is too long or has a control or invisible character"},
		{"translated name, long", public, func(c *Client) { c.Extra = extra("client_name#de", `"`+strings.Repeat("a", 201)+`"`) }, "client_name#de is too long or has a control or invisible character"},
		{"translated name, number", public, func(c *Client) { c.Extra = extra("client_name#de", `1`) }, "client_name#de is not a string"},
		{"G20 translated logo", public, func(c *Client) { c.Extra = extra("logo_uri#de", `"javascript:alert(1)"`) }, "logo_uri#de has no slash after its scheme"},
		{"translated redirect URIs", public, func(c *Client) { c.Extra = extra("redirect_uris#de", `["https://evil.example/"]`) }, "redirect_uris#de cannot be translated"},
		{"no language", public, func(c *Client) { c.Extra = extra("client_name#", `"x"`) }, "client_name# has no valid language tag"},
		{"no language tag", public, func(c *Client) { c.Extra = extra("client_name#de_AT", `"x"`) }, "client_name#de_AT has no valid language tag"},
		{"unknown members", public, func(c *Client) { c.Extra = extra("x", `{"a":[null]}`, "y#de", `1`) }, ""},
		{"unknown member without value", public, func(c *Client) { c.Extra = extra("x", ``) }, "x is not a JSON value"},
		{"unknown member, duplicates", public, func(c *Client) { c.Extra = extra("x", `{"a":1,"a":2}`) }, "x is not a JSON value"},
		{"unknown member, deep", public, func(c *Client) { c.Extra = extra("x", strings.Repeat("[", 16)+strings.Repeat("]", 16)) }, "x is not a JSON value"},
		{"unknown member, deep enough", public, func(c *Client) { c.Extra = extra("x", strings.Repeat("[", 15)+strings.Repeat("]", 15)) }, ""},
		{"known member in Extra", public, func(c *Client) { c.Extra = extra("scope", `"admin"`) }, "scope is in Extra and has a field or no place in a client"},
		{"known member in Extra, in capitals", public, func(c *Client) { c.Extra = extra("First_Party", `true`) }, "First_Party is in Extra and has a field or no place in a client"},
		{"secret in Extra", public, func(c *Client) { c.Extra = extra("client_secret", `"x"`) }, "client_secret is in Extra and has a field or no place in a client"},
		{"member with an unusable name", public, func(c *Client) { c.Extra = extra("a\x00", `1`) }, "extra has a member with an unusable name"},
		{"many members", public, func(c *Client) {
			c.Extra = map[string]json.RawMessage{}
			for _, n := range many(65, "x%d") {
				c.Extra[n] = json.RawMessage(`1`)
			}
		}, "extra is too large"},
		{"large member", public, func(c *Client) { c.Extra = extra("x", `"`+strings.Repeat("a", 32<<10)+`"`) }, "extra is too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := tc.base()
			tc.change(&c)
			before := c.Clone()
			got := strings.Join(found(t, c.Validate(), c.ID), " | ")
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if !reflect.DeepEqual(&c, before) {
				t.Error("Validate changed the client")
			}
		})
	}
}

func extra(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

func slicesRepeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// TestMessagesQuoteNothing: G34, what a stranger sends is not in the answer.
func TestMessagesQuoteNothing(t *testing.T) {
	t.Parallel()
	const evil = "<img src=x onerror=alert(1)>"
	c := Client{
		ID: "c", Name: "\x00" + evil, RedirectURIs: []string{evil}, GrantTypes: []string{evil}, ResponseTypes: []string{evil},
		Scope: `"` + evil, TokenEndpointAuthMethod: evil, LogoURI: evil, IDTokenSignedResponseAlg: evil, JWKS: json.RawMessage(evil),
	}
	err := c.Validate()
	if len(found(t, err, "c")) < 9 {
		t.Error(err)
	}
	if strings.Contains(err.Error(), "onerror") {
		t.Error(err)
	}
}
