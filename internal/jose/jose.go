// Package jose signs and verifies JSON Web Tokens in compact serialisation and
// reads and writes JSON Web Keys. It is the only importer of jwx.
//
// jwx computes signatures; everything it reads goes through a fence first. Left
// alone, jwx v2 takes tokens with an unknown crit, with b64=false, with
// duplicate members, nested thousands deep, with an exp that is no number, and
// verifies a JSON serialised token to an empty one. The fence admits one form:
// a compact token of at most [MaxSize] bytes, a header of known members only,
// an algorithm that the caller listed and that fits the key by type, size and
// curve, canonical base64url, and a payload that is one strict JSON object
// (RFC 8725 §3).
//
// Algorithms are strings with their names in the IANA registry; "none" and the
// HS family are not among them. Keys are those of the standard library.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384 and crypto.SHA512
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// The signature algorithms, RFC 7518 §3.1 and RFC 8037 §3.1 (with Ed25519 only).
const (
	ES256 = "ES256"
	ES384 = "ES384"
	ES512 = "ES512"
	EdDSA = "EdDSA"
	PS256 = "PS256"
	PS384 = "PS384"
	PS512 = "PS512"
	RS256 = "RS256"
	RS384 = "RS384"
	RS512 = "RS512"
)

// What the package refuses. An error is one of these, wrapped, and carries
// nothing of the input; any other error is a fault of a crypto.Signer or of the
// context. An error never comes with a value.
var (
	ErrMalformed = errors.New("jose: malformed")                // not a token or key set in the one form admitted
	ErrAlgorithm = errors.New("jose: algorithm not acceptable") // unknown, or not in the caller's list
	ErrKey       = errors.New("jose: no fitting key")           // none by that kid, type and use; weak or private
	ErrSignature = errors.New("jose: signature does not verify")
	ErrClaims    = errors.New("jose: claims of a wrong form")
)

// Sizes of RSA moduli in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

type algorithm struct {
	jwa   jwa.SignatureAlgorithm
	hash  crypto.Hash // of the signature; for EdDSA the one of at_hash
	curve func() elliptic.Curve
	rsa   bool
	pss   bool
	bits  int // of a generated RSA key
}

// lookup returns the algorithm of that name.
func lookup(alg string) (algorithm, error) {
	switch alg {
	case ES256:
		return algorithm{jwa: jwa.ES256, hash: crypto.SHA256, curve: elliptic.P256}, nil
	case ES384:
		return algorithm{jwa: jwa.ES384, hash: crypto.SHA384, curve: elliptic.P384}, nil
	case ES512:
		return algorithm{jwa: jwa.ES512, hash: crypto.SHA512, curve: elliptic.P521}, nil
	case EdDSA:
		return algorithm{jwa: jwa.EdDSA, hash: crypto.SHA512}, nil
	case PS256:
		return algorithm{jwa: jwa.PS256, hash: crypto.SHA256, rsa: true, pss: true, bits: 2048}, nil
	case PS384:
		return algorithm{jwa: jwa.PS384, hash: crypto.SHA384, rsa: true, pss: true, bits: 3072}, nil
	case PS512:
		return algorithm{jwa: jwa.PS512, hash: crypto.SHA512, rsa: true, pss: true, bits: 3072}, nil
	case RS256:
		return algorithm{jwa: jwa.RS256, hash: crypto.SHA256, rsa: true, bits: 2048}, nil
	case RS384:
		return algorithm{jwa: jwa.RS384, hash: crypto.SHA384, rsa: true, bits: 3072}, nil
	case RS512:
		return algorithm{jwa: jwa.RS512, hash: crypto.SHA512, rsa: true, bits: 3072}, nil
	}
	return algorithm{}, fmt.Errorf("%w: unknown", ErrAlgorithm)
}

// Algorithms lists every algorithm there is, in alphabetical order. The slice is
// the caller's.
func Algorithms() []string {
	return []string{ES256, ES384, ES512, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512}
}

// Generate returns a new private key for alg: on the curve of the algorithm,
// Ed25519, or RSA of 2048 bits for the algorithms with SHA-256 and of 3072 bits
// for the others.
func Generate(alg string) (crypto.Signer, error) {
	a, err := lookup(alg)
	if err != nil {
		return nil, err
	}
	switch {
	case a.rsa:
		return rsa.GenerateKey(rand.Reader, a.bits)
	case a.curve != nil:
		return ecdsa.GenerateKey(a.curve(), rand.Reader)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// CheckSigner tells whether s can sign for alg: its public key has the type and
// curve of the algorithm and is not weak (RFC 8725 §3.5).
func CheckSigner(alg string, s crypto.Signer) error {
	a, err := lookup(alg)
	if err != nil {
		return err
	}
	if s == nil {
		return fmt.Errorf("%w: no signer", ErrKey)
	}
	return a.check(s.Public())
}

// check tells whether a public key is one for this algorithm, and strong.
func (a algorithm) check(pub crypto.PublicKey) error {
	if err := checkPublic(pub); err != nil {
		return err
	}
	ok := false
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		ok = a.rsa
	case *ecdsa.PublicKey:
		ok = a.curve != nil && pub.Curve == a.curve()
	case ed25519.PublicKey:
		ok = a.jwa == jwa.EdDSA
	}
	if !ok {
		return fmt.Errorf("%w: type does not fit the algorithm", ErrKey)
	}
	return nil
}

// checkPublic tells whether a key is of a type used here and strong enough.
func checkPublic(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		switch {
		case pub == nil || pub.N == nil:
			return fmt.Errorf("%w: empty", ErrKey)
		case pub.N.BitLen() < minRSA || pub.N.BitLen() > maxRSA:
			return fmt.Errorf("%w: RSA modulus not of %d to %d bits", ErrKey, minRSA, maxRSA)
		case pub.N.Bit(0) == 0:
			return fmt.Errorf("%w: even RSA modulus", ErrKey)
		case pub.E != 65537:
			return fmt.Errorf("%w: RSA exponent is not 65537", ErrKey)
		}
		return nil
	case *ecdsa.PublicKey:
		if pub == nil || !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, pub.Curve) {
			return fmt.Errorf("%w: unknown curve", ErrKey)
		}
		//lint:ignore SA1019 Bytes panics where a coordinate is missing
		if pub.X == nil || pub.Y == nil {
			return fmt.Errorf("%w: empty", ErrKey)
		}
		if _, err := pub.Bytes(); err != nil {
			return fmt.Errorf("%w: point not on its curve", ErrKey)
		}
		return nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: Ed25519 key not of 32 bytes", ErrKey)
		}
		if smallOrder(pub) {
			return fmt.Errorf("%w: Ed25519 point of small order", ErrKey)
		}
		return nil
	}
	return fmt.Errorf("%w: unknown type of key", ErrKey)
}

// smallOrder tells whether an Ed25519 point has an order that divides 8, in any
// encoding. One signature under such a key verifies for many messages, so that
// everybody could sign for its owner.
func smallOrder(pub ed25519.PublicKey) bool {
	y := [32]byte(pub)
	y[31] &= 0x7f // the sign of x
	switch y {
	case [32]byte{}, // order 4
		[32]byte{1}, // order 1
		// order 8
		[32]byte{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
		// order 8
		[32]byte{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}:
		return true
	}
	// p-1 (order 2), and p and p+1, which stand for 0 and 1.
	for i := 1; i < 31; i++ {
		if y[i] != 0xff {
			return false
		}
	}
	return y[31] == 0x7f && y[0] >= 0xec && y[0] <= 0xee
}
