package handlers_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// remote hides the type of a key, as a KMS or an HSM does.
type remote struct {
	crypto.Signer
	fail bool
}

func (r *remote) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if r.fail {
		return nil, io.ErrUnexpectedEOF
	}
	return r.Signer.Sign(random, digest, opts)
}

func (w *world) kids() map[string]string {
	w.t.Helper()
	kids := map[string]string{}
	for _, k := range w.getWith("/jwks").want(200).json()["keys"].([]any) {
		m := k.(map[string]any)
		kids[m["kid"].(string)], _ = m["alg"].(string)
	}
	return kids
}

// TestStaticKeys signs with every algorithm through a bare crypto.Signer.
func TestStaticKeys(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hsm := &remote{Signer: ec}
	keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "ec", Alg: "ES256", Signer: hsm}, handlers.SigningKey{ID: "rs", Alg: "RS256", Signer: &remote{Signer: rs}},
		handlers.SigningKey{ID: "ps", Alg: "PS256", Signer: &remote{Signer: rs}}, handlers.SigningKey{ID: "ed", Alg: "EdDSA", Signer: &remote{Signer: ed}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *handlers.Config) { c.Keys = keys })
	for alg, kid := range map[string]string{"ES256": "ec", "RS256": "rs", "PS256": "ps", "EdDSA": "ed", "": "rs"} {
		w.clients.change("web", func(c *clientreg.Client) { c.IDTokenSignedResponseAlg = alg })
		b := w.browser()
		tok := w.redeem("web", b.code(request("web"), "alice")).want(200)
		if h := jwtHeader(t, tok.str("id_token")); h["kid"] != kid {
			t.Errorf("%s: header %v", alg, h)
		}
		u, v := b.begin(request("web", "prompt", "none", "id_token_hint", tok.str("id_token"))).location()
		if v.Get("error") == "invalid_request" {
			t.Errorf("%s: our own ID token is no hint: %s", alg, u)
		}
	}
	// A signer that fails spends nothing: S16.
	w.clients.change("web", func(c *clientreg.Client) { c.IDTokenSignedResponseAlg = "ES256" })
	code := w.browser().code(request("web"), "alice")
	hsm.fail = true
	if res := w.redeem("web", code); res.StatusCode < 500 {
		t.Errorf("status %d", res.StatusCode)
	}
	hsm.fail = false
	w.redeem("web", code).want(200)
	w.redeem("web", code).wantError(400, "invalid_grant")
	for name, bad := range map[string]handlers.SigningKey{
		"algorithm": {ID: "x", Alg: "HS256", Signer: ec}, "type": {ID: "x", Alg: "RS256", Signer: ec}, "no ID": {Alg: "ES256", Signer: ec}, "no signer": {ID: "x", Alg: "ES256"},
	} {
		if _, err := handlers.StaticKeys(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRotation: published before use, signs when every verifier can know it,
// published until its tokens are dead. Two replicas agree.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signedBy := func() string {
		tok := w.redeem("web", w.browser().code(request("web"), "alice")).want(200)
		kid, _ := jwtHeader(t, tok.str("id_token"))["kid"].(string)
		return kid
	}
	first := signedBy()
	if kids := w.kids(); len(kids) != 1 || kids[first] != "ES256" {
		t.Fatalf("keys %v", kids)
	}
	if err := w.p.RotateKeys(context.Background()); err != nil {
		t.Fatal(err)
	}
	if kids := w.kids(); len(kids) != 2 {
		t.Fatalf("keys %v", kids)
	}
	if signedBy() != first {
		t.Error("the new key signs before verifiers can know it")
	}
	w.clock.add(11 * time.Minute)
	second := signedBy()
	if second == first {
		t.Error("the new key does not sign")
	}
	if _, ok := w.kids()[first]; !ok {
		t.Error("the old key was dropped while its tokens live")
	}
	w.clock.add(time.Hour)
	if kids := w.kids(); len(kids) != 1 || kids[second] == "" {
		t.Errorf("keys %v", kids)
	}
	w.clock.add(91 * 24 * time.Hour) // by itself
	if kids := w.kids(); len(kids) != 2 {
		t.Errorf("not rotated: %v", kids)
	}
	w.restart()
	if kids := w.kids(); len(kids) != 2 || kids[second] == "" {
		t.Errorf("after a restart: %v", kids)
	}
	if signedBy() != second {
		t.Error("another replica signs with another key")
	}
}
