package handlers

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/idpkit/idpkit/internal/jose"
)

// KeySource gives the keys that sign and the keys that are published. Both
// methods are called concurrently and often: keep the answer in memory.
type KeySource interface {
	// Signer returns the key that signs alg now. Its ID must be among Public.
	Signer(ctx context.Context, alg string) (SigningKey, error)
	// Public returns all keys to publish: those that sign, those that will, and
	// those whose tokens are still alive.
	Public(ctx context.Context) ([]PublicKey, error)
	// Algorithms lists what Signer can sign, best first.
	Algorithms() []string
}

// SigningKey is a private key behind a crypto.Signer: in memory, a KMS or an HSM.
type SigningKey struct {
	ID     string // the kid
	Alg    string // ES256, RS256, PS256 or EdDSA
	Signer crypto.Signer
}

// PublicKey is what JWKS publishes of a key.
type PublicKey struct {
	ID  string
	Alg string
	Key crypto.PublicKey
}

// equal tells whether two keys are published alike.
func (k PublicKey) equal(o PublicKey) bool {
	if k.ID != o.ID || k.Alg != o.Alg {
		return false
	}
	switch key := k.Key.(type) { // most often the same object
	case *ecdsa.PublicKey:
		if key == o.Key {
			return true
		}
	case *rsa.PublicKey:
		if key == o.Key {
			return true
		}
	}
	key, ok := k.Key.(interface{ Equal(crypto.PublicKey) bool }) // as every key of the standard library
	return ok && key.Equal(o.Key)
}

// StaticKeys is a KeySource of keys that do not change. The first key of an
// algorithm signs, all are published.
func StaticKeys(keys ...SigningKey) (KeySource, error) {
	if len(keys) == 0 {
		return nil, errors.New("handlers: no key")
	}
	s := make(staticKeys, len(keys))
	for i, k := range keys {
		if k.Signer == nil || k.ID == "" {
			return nil, fmt.Errorf("handlers: key %d has no ID or no signer", i)
		}
		prepared, err := jose.Prepare(k.Alg, k.Signer)
		if err != nil {
			return nil, fmt.Errorf("handlers: key %q: %w", k.ID, err)
		}
		if slices.ContainsFunc(s[:i], func(o SigningKey) bool { return o.ID == k.ID }) {
			return nil, fmt.Errorf("handlers: key ID %q is used twice", k.ID)
		}
		s[i] = SigningKey{k.ID, k.Alg, prepared}
	}
	return s, nil
}

type staticKeys []SigningKey

func (s staticKeys) Signer(_ context.Context, alg string) (SigningKey, error) {
	for _, k := range s {
		if k.Alg == alg {
			return k, nil
		}
	}
	return SigningKey{}, fmt.Errorf("handlers: no key for %s", alg)
}

func (s staticKeys) Public(context.Context) ([]PublicKey, error) {
	keys := make([]PublicKey, len(s))
	for i, k := range s {
		keys[i] = PublicKey{k.ID, k.Alg, k.Signer.Public()}
	}
	return keys, nil
}

func (s staticKeys) Algorithms() []string {
	var algs []string
	for _, k := range s {
		if !slices.Contains(algs, k.Alg) {
			algs = append(algs, k.Alg)
		}
	}
	return algs
}
