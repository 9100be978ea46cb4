package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// tv is a client of the device grant.
var tv = party{id: "tv"}

// TestRaceDeviceCode: 64 polls at once with a device code that was just approved.
// RFC 8628 §3.4.
func TestRaceDeviceCode(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		for round := range a.rounds {
			p, err := tv.ask(a.c, a.issuer+"/device_authorization", url.Values{"scope": {"openid offline_access profile"}})
			if err != nil || !is200(p) {
				t.Fatalf("device authorization: %d %s %v", p.Status, p.Body, err)
			}
			var v struct {
				Code     string `json:"device_code"`
				Complete string `json:"verification_uri_complete"`
			}
			decode(t, p.Body, &v)
			p, err = fetch(a.who.c, http.MethodGet, v.Complete, nil)
			if err == nil {
				p, err = a.who.press(p, "code", nil)
			}
			if err == nil {
				p, err = a.who.press(p, "allow", nil)
			}
			if err != nil || !is200(p) {
				t.Fatalf("approval: %d %s %v", p.Status, p.Body, err)
			}
			a.spent++
			ws := a.race(round, func(int) (handlerstest.Page, error) {
				return tv.ask(a.c, a.issuer+"/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {v.Code}})
			}, is200, func(p handlerstest.Page) bool {
				return invalidGrant(p) || p.Status == http.StatusBadRequest && strings.Contains(p.Body, `"slow_down"`)
			})
			if len(ws) != 1 {
				t.Fatalf("round %d: %d polls won", round, len(ws))
			}
		}
	})
}

// TestRaceAssertion: one client assertion, sent 64 times at once. RFC 7523 §3.
func TestRaceAssertion(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		for round := range a.rounds {
			form := url.Values{
				"grant_type": {"client_credentials"}, "scope": {"api"}, "client_assertion": {a.signer.assertion(t, a.issuer)},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			}
			ws := a.race(round, func(int) (handlerstest.Page, error) { return fetch(a.c, http.MethodPost, a.issuer+"/token", form) }, is200,
				func(p handlerstest.Page) bool {
					return p.Status == http.StatusUnauthorized && strings.Contains(p.Body, `"invalid_client"`)
				})
			if len(ws) != 1 {
				t.Fatalf("round %d: %d assertions won", round, len(ws))
			}
		}
	})
}

// signer is a client that authenticates by private_key_jwt.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

var b64 = base64.RawURLEncoding.EncodeToString

// jwks is what the provider knows of it.
func (s signer) jwks(t testing.TB) string {
	t.Helper()
	point, err := s.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"k","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
}

// assertion signs a new one, RFC 7523 §3.
func (s signer) assertion(t testing.TB, issuer string) string {
	t.Helper()
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": "signer", "sub": "signer", "aud": issuer, "iat": now, "exp": now + 60, "jti": random()})
	if err != nil {
		t.Fatal(err)
	}
	input := b64([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + b64(claims)
	sum := sha256.Sum256([]byte(input))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...))
}
