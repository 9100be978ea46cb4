package handlers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// TestVerifierForm: a verifier that fits its challenge but is too short, too
// long or of other characters is none. RFC 7636 §4.1, §7.1.
func TestVerifierForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	w.quick()
	b := w.signedIn("web")
	for verifier, ok := range map[string]bool{
		strings.Repeat("a", 42): false, strings.Repeat("a", 43): true, strings.Repeat("-._~Z9", 21) + "aa": true, strings.Repeat("a", 129): false,
		"a": false, strings.Repeat("a", 42) + "+": false, strings.Repeat("a", 42) + "é": false,
	} {
		sum := sha256.Sum256([]byte(verifier))
		code := b.code(request("web", "code_challenge", base64.RawURLEncoding.EncodeToString(sum[:])), "alice")
		if res := w.redeem("web", code, "code_verifier", verifier); is200(res) != ok || !ok && !isInvalidGrant(res) {
			t.Errorf("%d characters, %.50q: %d %s", len(verifier), verifier, res.StatusCode, res.body)
		}
	}
}

// TestConfidentialClientHasNoCORS: a client with a secret has no business in a
// browser: no origin reads its answers, its own redirect URI's neither.
func TestConfidentialClientHasNoCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quick()
	for client, allowed := range map[string]string{"web": "", "spa": spaOrigin} {
		origin := map[string]string{"web": "https://web.example", "spa": spaOrigin}[client]
		for _, path := range []string{"/token", "/par", "/revoke"} {
			form, header := auth(client)
			form.Set("token", "x")
			res := w.call(path, form, append(header, "Origin", origin)...)
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != allowed {
				t.Errorf("%s at %s: Access-Control-Allow-Origin %q, want %q", client, path, got, allowed)
			}
		}
	}
}
