// Package pkce checks code challenges and verifiers of RFC 7636, S256 only.
package pkce

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// ValidChallenge tells whether s can be an S256 challenge: the base64url of a
// SHA-256, 43 characters (RFC 7636 §4.2).
func ValidChallenge(s string) bool {
	if len(s) != 43 { // the decoder skips line feeds
		return false
	}
	if len(s) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s) // which skips line breaks
	return err == nil && len(b) == sha256.Size
}

// ValidVerifier tells whether s has the form of a verifier: 43 to 128
// unreserved characters (RFC 7636 §4.1).
func ValidVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return true
}

// Verify tells whether verifier belongs to the S256 challenge (RFC 7636 §4.6).
func Verify(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	return ValidVerifier(verifier) && subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) == 1
}
