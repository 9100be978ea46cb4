package pkce

import (
	"strings"
	"testing"
)

// TestVector: RFC 7636 Appendix B.
func TestVector(t *testing.T) {
	t.Parallel()
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if !ValidChallenge(challenge) || !ValidVerifier(verifier) || !Verify(verifier, challenge) {
		t.Error("the specification's own example fails")
	}
	if Verify(verifier[:42]+"l", challenge) || Verify(challenge, challenge) || Verify("", challenge) || Verify(verifier, "") {
		t.Error("a wrong verifier passes")
	}
}

// TestForms: RFC 7636 §4.1 and §4.2.
func TestForms(t *testing.T) {
	t.Parallel()
	x := strings.Repeat("x", 200)
	for v, ok := range map[string]bool{
		x[:42]: false, x[:43]: true, x[:128]: true, x[:129]: false, x[:42] + "~": true, x[:42] + "+": false, x[:42] + "é": false,
		x[:43] + "\n": false, x[:43] + " ": false, "": false, x[:40] + "-._~": true, x[:43] + "=": false,
	} {
		if ValidVerifier(v) != ok {
			t.Errorf("verifier %q: %v", v, !ok)
		}
	}
	const good = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	for c, ok := range map[string]bool{
		good: true, good[:42]: false, good + "A": false, good[:42] + "N": false, good[:42] + "+": false, good[:42] + "=": false,
		good[:42] + "\n": false, good + "\n": false, "": false,
	} {
		if ValidChallenge(c) != ok {
			t.Errorf("challenge %q: %v", c, !ok)
		}
	}
}
