package check

import (
	"slices"
	"strings"
)

// SignatureAlg tells whether metadata may name this algorithm of a signature.
// none and everything symmetric are unknown. RFC 8725 §3.1, §3.2.
func SignatureAlg(s string) bool {
	switch s {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519":
		return true
	}
	return false
}

// KeyAlg tells whether metadata may name this algorithm of key encryption.
// RSA1_5, dir and PBES2 are unknown. RFC 8725 §3.2.
func KeyAlg(s string) bool {
	switch s {
	case "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW":
		return true
	}
	return false
}

// ContentAlg tells whether metadata may name this algorithm of content
// encryption, RFC 7518 §5.1.
func ContentAlg(s string) bool {
	switch s {
	case "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM", "A256GCM":
		return true
	}
	return false
}

// GrantType tells whether s is the name of a grant that can be registered: one
// that the specifications name, or the absolute URI of an extension grant,
// RFC 6749 §4.5. The password grant is not among them, RFC 9700 §2.4.
func GrantType(s string) bool {
	switch s {
	case "authorization_code", "implicit", "refresh_token", "client_credentials":
		return true
	}
	return (strings.HasPrefix(s, "urn:") || strings.HasPrefix(s, "https://")) && len(s) > 8 && len(s) <= 256 && ScopeToken(s)
}

// ResponseType tells whether s is a response type, its words in any order.
// OAuth 2.0 Multiple Response Types §3 to §5.
func ResponseType(s string) bool {
	words := strings.Split(s, " ")
	slices.Sort(words)
	switch strings.Join(words, " ") {
	case "code", "token", "id_token", "none", "id_token token", "code id_token", "code token", "code id_token token":
		return true
	}
	return false
}
