package jose

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
)

// Tokens go from the package to the independent implementation and back, with
// keys of the standard library and keys behind a crypto.Signer.
func TestSignAndVerifyAgreeWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	const payload = `{"iss":"https://op.example","aud":["a","b"],"exp":1700000000.5}`
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			native := testKey(t, alg)
			keys := []Key{{ID: "k1", Alg: alg, Use: "sig", Public: native.Public()}}
			prepared, err := Prepare(alg, native)
			if err != nil {
				t.Fatal(err)
			}
			for name, s := range map[string]crypto.Signer{"native": native, "foreign": hsm{inner: native}, "prepared": prepared} {
				h := Header{Alg: alg, KeyID: "k1", Type: "at+jwt"}
				token, err := Sign(t.Context(), h, s, json.RawMessage(payload))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, err := stdVerify(token, alg, native.Public())
				if err != nil || string(got) != payload {
					t.Errorf("%s: standard library: %s, %v", name, got, err)
				}
				v, err := Verify(token, keys, []string{alg})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if v.Header != h || string(v.Payload) != payload {
					t.Errorf("%s: got %+v %s", name, v.Header, v.Payload)
				}
			}
			token := stdSign(t, alg, native, `{"alg":"`+alg+`","kid":"k1"}`, payload)
			v, err := Verify(token, keys, []string{alg})
			if err != nil || v.Issuer() != "https://op.example" {
				t.Errorf("token of the standard library: %v", err)
			}
		})
	}
}

func TestSignerIsReusable(t *testing.T) {
	t.Parallel()
	key := testKey(t, ES256)
	s, err := NewSigner(Header{Alg: ES256}, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, iss := range []string{"one", "two"} {
		token, err := s.Sign(t.Context(), map[string]any{"iss": iss})
		if err != nil {
			t.Fatal(err)
		}
		v, err := Verify(token, []Key{{Public: key.Public()}}, []string{ES256})
		if err != nil || v.Issuer() != iss {
			t.Errorf("%s: %v", iss, err)
		}
	}
}

func TestCheckSigner(t *testing.T) {
	t.Parallel()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	exponent3 := &rsa.PublicKey{N: rsaKey().Public().(*rsa.PublicKey).N, E: 3}
	even := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for _, tt := range []struct {
		name string
		alg  string
		s    crypto.Signer
		want error
	}{
		{"ES256 with P-384", ES256, p384Key(), ErrKey},
		{"ES384 with P-256", ES384, p256Key(), ErrKey},
		{"ES512 with P-384", ES512, p384Key(), ErrKey},
		{"ES256 with P-224", ES256, p224, ErrKey},
		{"ES256 with RSA", ES256, rsaKey(), ErrKey},
		{"RS256 with P-256", RS256, p256Key(), ErrKey},
		{"PS256 with Ed25519", PS256, edKey(), ErrKey},
		{"EdDSA with P-256", EdDSA, p256Key(), ErrKey},
		{"EdDSA with RSA", EdDSA, rsaKey(), ErrKey},
		{"RSA of 1024 bits", RS256, small, ErrKey},
		{"RSA of 8193 bits", RS256, public{huge}, ErrKey},
		{"RSA with exponent 3", RS256, public{exponent3}, ErrKey},
		{"RSA with an even modulus", RS256, public{even}, ErrKey},
		{"RSA without a modulus", RS256, public{&rsa.PublicKey{E: 65537}}, ErrKey},
		{"Ed25519 too short", EdDSA, public{ed25519.PublicKey{1, 2, 3}}, ErrKey},
		{"Ed25519 of small order", EdDSA, public{make(ed25519.PublicKey, 32)}, ErrKey},
		{"a key by value", ES256, public{*p256Key().Public().(*ecdsa.PublicKey)}, ErrKey},
		{"no public key", ES256, public{nil}, ErrKey},
		{"a nil key", ES256, public{(*ecdsa.PublicKey)(nil)}, ErrKey},
		{"a nil RSA key", RS256, public{(*rsa.PublicKey)(nil)}, ErrKey},
		{"no signer", ES256, nil, ErrKey},
		{"none", "none", rsaKey(), ErrAlgorithm},
		{"HS256", "HS256", rsaKey(), ErrAlgorithm},
		{"ES256K", "ES256K", p256Key(), ErrAlgorithm},
		{"wrong case", "es256", p256Key(), ErrAlgorithm},
		{"empty", "", p256Key(), ErrAlgorithm},
		{"fits", ES256, p256Key(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := CheckSigner(tt.alg, tt.s); !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
				t.Errorf("CheckSigner: %v, want %v", err, tt.want)
			}
			if _, err := NewSigner(Header{Alg: tt.alg}, tt.s); !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
				t.Errorf("NewSigner: %v, want %v", err, tt.want)
			}
		})
	}
}

// public is a signer that has a public key only.
type public struct{ key crypto.PublicKey }

func (p public) Public() crypto.PublicKey { return p.key }
func (p public) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}

// A signer that answers wrongly must not produce a token (S16), nor bring jwx
// down.
func TestForeignSignerFails(t *testing.T) {
	t.Parallel()
	down := errors.New("hsm is down")
	flip := func(sig []byte) []byte { sig[len(sig)-1] ^= 1; return sig }
	for _, alg := range Algorithms() {
		other := testKey(t, alg)
		switch alg {
		case EdDSA:
			_, other, _ = ed25519.GenerateKey(nil)
		case ES256, ES384, ES512:
			other = must(ecdsa.GenerateKey(other.(*ecdsa.PrivateKey).Curve, rand.Reader))
		default:
			other = otherRSAKey()
		}
		for name, s := range map[string]crypto.Signer{
			"fails":              hsm{inner: testKey(t, alg), fail: down},
			"spoils":             hsm{inner: testKey(t, alg), spoil: flip},
			"empty":              hsm{inner: testKey(t, alg), spoil: func([]byte) []byte { return nil }},
			"impossible numbers": hsm{inner: testKey(t, alg), spoil: func([]byte) []byte { return bigSignature }},
			"key was exchanged":  exchanged{hsm{inner: other}, testKey(t, alg).Public()},
		} {
			t.Run(alg+" "+name, func(t *testing.T) {
				t.Parallel()
				token, err := Sign(t.Context(), Header{Alg: alg}, s, map[string]any{})
				if err == nil || token != "" {
					t.Fatalf("got %q, %v", token, err)
				}
				if name == "fails" && !errors.Is(err, down) {
					t.Errorf("the signer's error is lost: %v", err)
				}
			})
		}
	}
}

// bigSignature is an ASN.1 signature with numbers of 80 bytes.
var bigSignature = func() []byte {
	n := append([]byte{0x02, 80}, []byte(strings.Repeat("\x01", 80))...)
	return append([]byte{0x30, 0x81, 164}, append(n, n...)...)
}()

type exchanged struct {
	hsm
	public crypto.PublicKey
}

func (e exchanged) Public() crypto.PublicKey { return e.public }

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	h := Header{Alg: EdDSA}
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		h      Header
		claims any
		want   error
	}{
		{"context is done", done, h, map[string]any{}, context.Canceled},
		{"array", t.Context(), h, []string{"a"}, ErrClaims},
		{"null", t.Context(), h, nil, ErrClaims},
		{"string", t.Context(), h, "a", ErrClaims},
		{"not marshallable", t.Context(), h, map[string]any{"f": func() {}}, ErrClaims},
		{"long kid", t.Context(), Header{Alg: EdDSA, KeyID: strings.Repeat("k", 513)}, map[string]any{}, ErrKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if token, err := Sign(tt.ctx, tt.h, edKey(), tt.claims); !errors.Is(err, tt.want) || token != "" {
				t.Errorf("got %q, %v, want %v", token, err, tt.want)
			}
		})
	}
}

func TestGenerateAndPrivate(t *testing.T) {
	t.Parallel()
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s, err := Generate(alg)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckSigner(alg, s); err != nil {
				t.Fatal(err)
			}
			der, err := MarshalPrivate(s)
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParsePrivate(der)
			if err != nil {
				t.Fatal(err)
			}
			if !back.(interface{ Equal(crypto.PrivateKey) bool }).Equal(s) {
				t.Error("another key came back")
			}
		})
	}
	if s, err := Generate("HS256"); !errors.Is(err, ErrAlgorithm) || s != nil {
		t.Errorf("Generate(HS256): %v, %v", s, err)
	}
	if der, err := MarshalPrivate(hsm{inner: edKey()}); !errors.Is(err, ErrKey) || der != nil {
		t.Errorf("MarshalPrivate of a foreign signer: %x, %v", der, err)
	}
	if der, err := MarshalPrivate(nil); !errors.Is(err, ErrKey) || der != nil {
		t.Errorf("MarshalPrivate(nil): %x, %v", der, err)
	}
}

func TestHeaderIsType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ, want string
		is        bool
	}{
		{"at+jwt", "at+jwt", true},
		{"AT+JWT", "at+jwt", true},
		{"application/at+jwt", "at+jwt", true},
		{"Application/AT+jwt", "application/at+jwt", true},
		{"JWT", "at+jwt", false},
		{"", "at+jwt", false},
		{"application/", "", false},
		{"application/application/at+jwt", "at+jwt", false},
	} {
		if got := (Header{Type: tt.typ}).IsType(tt.want); got != tt.is {
			t.Errorf("%q is %q: %v", tt.typ, tt.want, got)
		}
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	key := testKey(t, ES256)
	if _, err := Prepare(RS256, key); !errors.Is(err, ErrKey) {
		t.Errorf("a key of another type: %v", err)
	}
	if _, err := Prepare(ES256, nil); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
	s, err := Prepare(ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), Header{Alg: RS256, KeyID: "k1"}, s, struct{}{}); !errors.Is(err, ErrKey) {
		t.Errorf("another algorithm than it was prepared for: %v", err)
	}
	for range 2 {
		for _, h := range []Header{{Alg: ES256, KeyID: "k1"}, {Alg: ES256, KeyID: "k1", Type: "at+jwt"}, {Alg: ES256, KeyID: "k2"}} {
			token, err := Sign(t.Context(), h, s, struct{}{})
			if err != nil {
				t.Fatal(err)
			}
			v, err := Verify(token, []Key{{ID: h.KeyID, Public: key.Public()}}, []string{ES256})
			if err != nil {
				t.Fatal(err)
			}
			if v.Header != h {
				t.Errorf("header %+v, want %+v", v.Header, h)
			}
		}
	}
}

func BenchmarkSign(b *testing.B) {
	claims := map[string]any{"iss": "https://op.example", "sub": "user-1", "aud": "client-1", "exp": 1700000600, "iat": 1700000000, "jti": "0123456789abcdef"}
	for _, alg := range []string{ES256, RS256, EdDSA} {
		b.Run(alg, func(b *testing.B) {
			s, err := NewSigner(Header{Alg: alg, KeyID: "k1", Type: "at+jwt"}, testKey(b, alg))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(b.Context(), claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSignUnprepared(b *testing.B) {
	key := testKey(b, ES256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(b.Context(), Header{Alg: ES256, KeyID: "k1", Type: "at+jwt"}, key, struct{}{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignPrepared(b *testing.B) {
	key, err := Prepare(ES256, testKey(b, ES256))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(b.Context(), Header{Alg: ES256, KeyID: "k1", Type: "at+jwt"}, key, struct{}{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{ES256, RS256, EdDSA} {
		b.Run(alg, func(b *testing.B) {
			key := testKey(b, alg)
			token := stdSign(b, alg, key, `{"alg":"`+alg+`","kid":"k1","typ":"JWT"}`, `{"iss":"c","sub":"c","aud":"https://op.example","exp":1700000600,"iat":1700000000,"jti":"0123456789abcdef"}`)
			keys := []Key{{ID: "k1", Public: key.Public()}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(token, keys, []string{alg}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
