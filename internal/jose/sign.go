package jose

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/lestrrat-go/jwx/v2/jws"
)

// Header is the protected header of a token.
type Header struct {
	Alg   string `json:"alg"`
	KeyID string `json:"kid,omitempty"` // at most 512 bytes
	Type  string `json:"typ,omitempty"`
}

// IsType compares the typ of a token as RFC 7515 §4.1.9 asks: in any case, and
// with or without the prefix "application/".
func (h Header) IsType(typ string) bool {
	return strings.EqualFold(shortType(h.Type), shortType(typ))
}

func shortType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) && !strings.Contains(typ[len(prefix):], "/") {
		return typ[len(prefix):]
	}
	return typ
}

// Sign returns the compact token with the claims as its payload. Where one key
// signs often, [Prepare] it or use a [Signer].
func Sign(ctx context.Context, h Header, s crypto.Signer, claims any) (string, error) {
	var signer *Signer
	var err error
	if p, ok := s.(*prepared); ok {
		signer, err = p.signer(h)
	} else {
		signer, err = NewSigner(h, s)
	}
	if err != nil {
		return "", err
	}
	return signer.Sign(ctx, claims)
}

// Prepare returns a key that Sign takes without checking it again, and with each
// header made once. Headers of such a key should be few.
func Prepare(alg string, s crypto.Signer) (crypto.Signer, error) {
	if err := CheckSigner(alg, s); err != nil {
		return nil, err
	}
	return &prepared{Signer: s}, nil
}

type prepared struct {
	crypto.Signer
	signers sync.Map // Header -> *Signer
}

func (p *prepared) signer(h Header) (*Signer, error) {
	if s, ok := p.signers.Load(h); ok {
		return s.(*Signer), nil
	}
	s, err := NewSigner(h, p.Signer)
	if err != nil {
		return nil, err
	}
	p.signers.Store(h, s)
	return s, nil
}

// Signer signs tokens with one key under one header. It is safe for concurrent
// use if its crypto.Signer is.
type Signer struct {
	head string // base64url of the header, and the dot
	alg  algorithm
	key  crypto.Signer
}

// NewSigner prepares a signer. s may be any crypto.Signer that fits h.Alg: a key
// of the standard library or one that lives in a KMS or HSM.
func NewSigner(h Header, s crypto.Signer) (*Signer, error) {
	if p, ok := s.(*prepared); ok {
		s = p.Signer
	}
	if err := CheckSigner(h.Alg, s); err != nil {
		return nil, err
	}
	if len(h.KeyID) > maxKeyID {
		return nil, fmt.Errorf("%w: kid too long", ErrKey)
	}
	a, err := lookup(h.Alg)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	switch s.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		s = foreign{s, a}
	}
	return &Signer{head: base64.RawURLEncoding.EncodeToString(raw) + ".", alg: a, key: s}, nil
}

// Sign returns the compact token with the claims, which encoding/json must write
// as an object. crypto.Signer knows no context: a ctx that is done is noticed
// before signing only. Claims that are no object give ErrClaims; other errors
// are faults of the signer.
func (s *Signer) Sign(ctx context.Context, claims any) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("jose: sign: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	if payload[0] != '{' {
		return "", fmt.Errorf("%w: not an object", ErrClaims)
	}
	signer, err := jws.NewSigner(s.alg.jwa)
	if err != nil {
		return "", fmt.Errorf("jose: sign: %w", err)
	}
	room := 180 // for the dot and a signature of ES512
	if s.alg.rsa {
		room = 520 // of RSA with 3072 bits
	}
	token := make([]byte, 0, len(s.head)+base64.RawURLEncoding.EncodedLen(len(payload))+room)
	token = append(token, s.head...)
	token = base64.RawURLEncoding.AppendEncode(token, payload)
	sig, err := signer.Sign(token, s.key)
	if err != nil {
		return "", fmt.Errorf("jose: sign: %w", err)
	}
	token = append(token, '.')
	token = base64.RawURLEncoding.AppendEncode(token, sig)
	return string(token), nil
}

// foreign is a signer whose key is somewhere else. Its answers are verified: a
// key that was exchanged behind the same name, or a broken device, fails here
// and not at every client, and jwx never sees a signature of an impossible form.
type foreign struct {
	crypto.Signer
	alg algorithm
}

func (f foreign) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := f.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	ok := false
	switch pub := f.Public().(type) {
	case *rsa.PublicKey:
		if f.alg.pss {
			ok = rsa.VerifyPSS(pub, f.alg.hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(pub, f.alg.hash, digest, sig) == nil
		}
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, digest, sig)
	}
	if !ok {
		return nil, errors.New("the signer's signature does not verify under its public key")
	}
	return sig, nil
}
