package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// The key of RFC 7638 §3.1 and RFC 7517 §A.1.
const rfc7638N = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

func TestThumbprintVectors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, jwk, want string }{
		{"RFC 7638 §3.1", `{"kty":"RSA","n":"` + rfc7638N + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037 §A.3", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		{"RFC 9449 §6.1", `{"kty":"EC","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}`, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, err := ParseKeySet([]byte(`{"keys":[` + tt.jwk + `]}`))
			if err != nil || len(keys) != 1 {
				t.Fatalf("%v, %v", keys, err)
			}
			if got, err := Thumbprint(keys[0].Public); err != nil || got != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	if got, err := Thumbprint("a string"); !errors.Is(err, ErrKey) || got != "" {
		t.Errorf("Thumbprint of a string: %q, %v", got, err)
	}
}

func TestPublicJWK(t *testing.T) {
	t.Parallel()
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			want := Key{ID: `k"1`, Alg: alg, Use: "sig", Public: testKey(t, alg).Public()}
			raw, err := PublicJWK(want)
			if err != nil {
				t.Fatal(err)
			}
			keys, err := ParseKeySet([]byte(`{"keys":[` + string(raw) + `]}`))
			if err != nil || len(keys) != 1 {
				t.Fatalf("%s: %v, %v", raw, keys, err)
			}
			got := keys[0]
			if got.ID != want.ID || got.Alg != want.Alg || got.Use != want.Use ||
				!want.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(got.Public) {
				t.Errorf("got %+v from %s", got, raw)
			}
		})
	}
	if raw, err := PublicJWK(Key{Public: edKey().Public()}); err != nil || !bytes.Contains(raw, []byte(`"use":"sig"`)) {
		t.Errorf("without use: %s, %v", raw, err)
	}
	for name, k := range map[string]Key{
		"another algorithm": {Alg: RS256, Public: edKey().Public()},
		"unknown algorithm": {Alg: "HS256", Public: edKey().Public()},
		"no key":            {Alg: EdDSA},
		"a private key":     {Alg: EdDSA, Public: edKey()},
		"an empty EC key":   {Public: &ecdsa.PublicKey{}},
		"an EC key alone":   {Public: &ecdsa.PublicKey{Curve: elliptic.P256()}},
	} {
		if raw, err := PublicJWK(k); err == nil || raw != nil {
			t.Errorf("%s: %s, %v", name, raw, err)
		}
	}
}

func TestParseKeySet(t *testing.T) {
	t.Parallel()
	member := func(jwk string, pairs ...string) string { // replaces or adds members
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(jwk), &m); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				delete(m, pairs[i])
			} else {
				m[pairs[i]] = json.RawMessage(pairs[i+1])
			}
		}
		return string(must(json.Marshal(m)))
	}
	of := func(pub crypto.PublicKey) string {
		j := must(jwkOf(pub))
		return string(must(json.Marshal(j)))
	}
	ed, ec, rs := of(edKey().Public()), of(p256Key().Public()), of(rsaKey().Public())
	n := rsaKey().Public().(*rsa.PublicKey).N
	quote := func(b []byte) string { return `"` + b64(b) + `"` }
	point := must(p256Key().Public().(*ecdsa.PublicKey).Bytes())
	small := must(rsa.GenerateKey(rand.Reader, 1024)).N
	x := point[1:33]
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	deep := strings.Repeat("[", 20) + strings.Repeat("]", 20)

	for _, tt := range []struct {
		name string
		set  string
		keys int // that remain
		want error
	}{
		{"three types", set(ed, ec, rs), 3, nil},
		{"empty", set(), 0, nil},
		{"other members of the set", `{"keys":[` + ed + `],"x":1}`, 1, nil},
		{"other members of a key", set(member(ed, "x5t", `"a"`, "iat", `1`)), 1, nil},
		{"64 keys", set(slices.Repeat([]string{ed}, 64)...), 64, nil},
		{"65 keys", set(slices.Repeat([]string{ed}, 65)...), 0, ErrMalformed},
		{"too large", `{"keys":[],"x":"` + strings.Repeat("x", 256<<10) + `"}`, 0, ErrMalformed},
		{"kid and alg and use", set(member(ed, "kid", `"a"`, "alg", `"EdDSA"`, "use", `"sig"`)), 1, nil},
		{"two keys of one kid", set(member(ed, "kid", `"a"`), member(ec, "kid", `"a"`)), 2, nil},

		{"unknown kty is left out", set(`{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}`, ed), 1, nil},
		{"unknown curve is left out", set(`{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}`, ed), 1, nil},
		{"Ed448 is left out", set(`{"kty":"OKP","crv":"Ed448","x":"AAAA"}`, ed), 1, nil},
		{"X25519 is left out", set(`{"kty":"OKP","crv":"X25519","x":"AAAA","use":"enc"}`, ed), 1, nil},
		{"unknown use is left out", set(member(ed, "use", `"tls"`)), 0, nil},
		{"kty in another case is left out", set(`{"kty":"rsa"}`), 0, nil},
		{"curve in another case is left out", set(member(ec, "crv", `"p-256"`)), 0, nil},
		{"encryption key stays", set(member(rs, "use", `"enc"`, "alg", `"RSA-OAEP-256"`)), 1, nil},
		{"key_ops verify", set(member(ed, "key_ops", `["verify"]`)), 1, nil},
		{"key_ops and use agree", set(member(ed, "key_ops", `["verify"]`, "use", `"sig"`)), 1, nil},
		{"key_ops and use disagree", set(member(ed, "key_ops", `["encrypt"]`, "use", `"sig"`)), 0, ErrMalformed},
		{"key_ops a string", set(member(ed, "key_ops", `"verify"`)), 0, ErrMalformed},
		{"key_ops null", set(member(ed, "key_ops", `null`)), 0, ErrMalformed},

		{"private Ed25519", set(ec, member(ed, "d", `"AAAA"`)), 0, ErrKey},
		{"private RSA", set(member(rs, "d", `"AAAA"`)), 0, ErrKey},
		{"a prime", set(member(rs, "p", `"AAAA"`)), 0, ErrKey},
		{"an exponent", set(member(rs, "dp", `"AAAA"`)), 0, ErrKey},
		{"more primes", set(member(rs, "oth", `[]`)), 0, ErrKey},
		{"a private member that is null", set(member(rs, "d", `null`)), 0, ErrKey},
		{"symmetric", set(`{"kty":"oct","k":"AAAA"}`), 0, ErrKey},
		{"symmetric in disguise", set(member(rs, "k", `"AAAA"`)), 0, ErrKey},
		{"private of an unknown kty", set(`{"kty":"AKP","priv":"AAAA"}`), 0, ErrKey},
		{"private with an escaped name", set(strings.Replace(ed, `"kty"`, `"\u0064":"AAAA","kty"`, 1)), 0, ErrKey},

		{"RSA 1024", set(member(rs, "n", quote(small.Bytes()))), 0, ErrKey},
		{"RSA 2047", set(member(rs, "n", quote(new(big.Int).Rsh(n, 1).Bytes()))), 0, ErrKey},
		{"RSA 8193", set(member(rs, "n", quote(new(big.Int).SetBit(big.NewInt(1), 8192, 1).Bytes()))), 0, ErrKey},
		{"RSA even", set(member(rs, "n", quote(new(big.Int).SetBit(new(big.Int).Set(n), 0, 0).Bytes()))), 0, ErrKey},
		{"RSA e=3", set(member(rs, "e", `"Aw"`)), 0, ErrKey},
		{"RSA e=1", set(member(rs, "e", `"AQ"`)), 0, ErrKey},
		{"RSA e of 100 bytes", set(member(rs, "e", quote(bytes.Repeat([]byte{1}, 100)))), 0, ErrKey},
		{"RSA e=65537 with leading zeros", set(member(rs, "e", `"AAEAAQ"`)), 0, ErrMalformed},
		{"RSA n with leading zeros", set(member(rs, "n", quote(append([]byte{0}, n.Bytes()...)))), 0, ErrMalformed},
		{"RSA n with padding", set(member(rs, "n", `"`+b64(n.Bytes())+`=="`)), 0, ErrMalformed},
		{"RSA n with a line break", set(member(rs, "n", `"`+b64(n.Bytes())[:300]+`\n`+b64(n.Bytes())[300:]+`"`)), 0, ErrMalformed},
		{"RSA n a number", set(member(rs, "n", `5`)), 0, ErrMalformed},
		{"RSA without n", set(member(rs, "n", ``)), 0, ErrMalformed},
		{"RSA without e", set(member(rs, "e", ``)), 0, ErrMalformed},
		{"EC off the curve", set(member(ec, "x", quote(append([]byte{x[0] ^ 1}, x[1:]...)))), 0, ErrKey},
		{"EC at zero", set(member(ec, "x", quote(make([]byte, 32)), "y", quote(make([]byte, 32)))), 0, ErrKey},
		{"EC short x", set(member(ec, "x", quote(x[:31]))), 0, ErrMalformed},
		{"EC long x", set(member(ec, "x", quote(append([]byte{0}, x...)))), 0, ErrMalformed},
		{"EC without y", set(member(ec, "y", ``)), 0, ErrMalformed},
		{"EC on another curve", set(member(ec, "crv", `"P-384"`)), 0, ErrMalformed},
		{"Ed25519 short", set(member(ed, "x", `"AAAA"`)), 0, ErrMalformed},
		{"Ed25519 without x", set(member(ed, "x", ``)), 0, ErrMalformed},
		{"Ed25519 of small order", set(member(ed, "x", quote(make([]byte, 32)))), 0, ErrKey},
		{"alg of another type", set(member(ed, "alg", `"RS256"`)), 0, ErrKey},
		{"alg of another curve", set(member(ec, "alg", `"ES384"`)), 0, ErrKey},
		{"alg unknown stays, unusable", set(member(ec, "alg", `"ES256K"`)), 1, nil},

		{"kty missing", set(`{"n":"AAAA"}`), 0, ErrMalformed},
		{"kty a number", set(`{"kty":1}`), 0, ErrMalformed},
		{"kid a number", set(member(ed, "kid", `1`)), 0, ErrMalformed},
		{"kid empty", set(member(ed, "kid", `""`)), 0, ErrMalformed},
		{"kid too long", set(member(ed, "kid", `"`+strings.Repeat("k", 513)+`"`)), 0, ErrMalformed},
		{"alg null", set(member(ed, "alg", `null`)), 0, ErrMalformed},
		{"use an array", set(member(ed, "use", `["sig"]`)), 0, ErrMalformed},
		{"kty twice", set(strings.Replace(ed, `"kty"`, `"kty":"oct","kty"`, 1)), 0, ErrMalformed},
		{"keys twice", `{"keys":[],"keys":[` + ed + `]}`, 0, ErrMalformed},
		{"a key that is no object", set(ed, `5`), 0, ErrMalformed},
		{"a key that is null", set(ed, `null`), 0, ErrMalformed},
		{"keys an object", `{"keys":{}}`, 0, ErrMalformed},
		{"keys null", `{"keys":null}`, 0, ErrMalformed},
		{"keys missing", `{}`, 0, ErrMalformed},
		{"Keys", `{"Keys":[]}`, 0, ErrMalformed},
		{"a key alone", ed, 0, ErrMalformed},
		{"an array", `[` + ed + `]`, 0, ErrMalformed},
		{"null", `null`, 0, ErrMalformed},
		{"nothing", ``, 0, ErrMalformed},
		{"HTML", `<html>`, 0, ErrMalformed},
		{"trailing data", set(ed) + "{}", 0, ErrMalformed},
		{"too deep", `{"keys":[],"x":` + deep + `}`, 0, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, err := ParseKeySet([]byte(tt.set))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || len(keys) != tt.keys || (err != nil && keys != nil) {
				t.Errorf("got %d keys, %v, want %d, %v", len(keys), err, tt.keys, tt.want)
			}
		})
	}

	keys, err := ParseKeySet([]byte(set(member(rs, "key_ops", `["wrapKey"]`), member(ed, "key_ops", `["verify"]`))))
	if err != nil || len(keys) != 2 || keys[0].Use != "enc" || keys[1].Use != "sig" {
		t.Errorf("key_ops: %+v, %v", keys, err)
	}
}

// The points of small order are found here from the equation of the curve
// (RFC 8032 §5.1) and not from a list: those P for which 8P is the identity.
func TestSmallOrderPoints(t *testing.T) {
	t.Parallel()
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	mod := func(x *big.Int) *big.Int { return x.Mod(x, p) }
	mul := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Mul(a, b)) }
	inv := func(a *big.Int) *big.Int { return new(big.Int).ModInverse(a, p) }
	one := big.NewInt(1)
	d := mul(new(big.Int).Neg(big.NewInt(121665)), inv(big.NewInt(121666)))

	// With 2P = (0, -1) twice over, order 8 has x² = -y², order 4 has y = 0.
	// On -x²+y² = 1+dx²y² that is 2y² = 1-dy⁴, so dy⁴+2y²-1 = 0.
	root := new(big.Int).ModSqrt(mod(new(big.Int).Add(one, d)), p)
	ys := []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, one)}
	for _, r := range []*big.Int{root, new(big.Int).Sub(p, root)} {
		y2 := mul(mod(new(big.Int).Sub(r, one)), inv(d))
		if y := new(big.Int).ModSqrt(y2, p); y != nil {
			ys = append(ys, y, new(big.Int).Sub(p, y))
		}
	}
	if len(ys) != 5 {
		t.Fatalf("%d values of y", len(ys))
	}
	limit := new(big.Int).Lsh(big.NewInt(1), 255)
	tried := 0
	for _, y := range ys {
		for y := new(big.Int).Set(y); y.Cmp(limit) < 0; y.Add(y, p) { // in every encoding
			for _, sign := range []byte{0, 0x80} {
				raw := y.FillBytes(make([]byte, 32))
				slices.Reverse(raw)
				raw[31] |= sign
				tried++
				if err := checkPublic(ed25519.PublicKey(raw)); !errors.Is(err, ErrKey) {
					t.Errorf("%x passed", raw)
				}
			}
		}
	}
	if tried != 14 {
		t.Errorf("%d encodings", tried)
	}
	if err := checkPublic(edKey().Public()); err != nil {
		t.Error(err)
	}
}

func TestParsePrivateRefuses(t *testing.T) {
	t.Parallel()
	small := must(x509.MarshalPKCS8PrivateKey(must(rsa.GenerateKey(rand.Reader, 1024))))
	p224 := must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))))
	good := must(MarshalPrivate(edKey()))
	for name, der := range map[string][]byte{
		"nothing":  nil,
		"noise":    []byte("noise"),
		"cut":      good[:len(good)-1],
		"RSA 1024": small,
		"P-224":    p224,
		"X25519":   must(x509.MarshalPKCS8PrivateKey(x25519())),
		"public":   must(x509.MarshalPKIXPublicKey(edKey().Public())),
	} {
		if s, err := ParsePrivate(der); !errors.Is(err, ErrKey) || s != nil {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	for _, alg := range Algorithms() {
		f.Add([]byte(`{"keys":[` + string(must(PublicJWK(Key{ID: "k", Alg: alg, Public: testKey(f, alg).Public()}))) + `]}`))
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AAAA","e":"AQAB","d":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","key_ops":["verify"]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := ParseKeySet(raw)
		if err != nil {
			if keys != nil {
				t.Error("an error with a value")
			}
			return
		}
		if len(keys) > maxKeys {
			t.Errorf("%d keys", len(keys))
		}
		// What was read is strong, and says the same when written and read again.
		for _, k := range keys {
			if err := checkPublic(k.Public); err != nil {
				t.Fatal(err)
			}
			if _, err := lookup(k.Alg); err != nil {
				k.Alg = ""
			}
			out, err := PublicJWK(k)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseKeySet([]byte(`{"keys":[` + string(out) + `]}`))
			if err != nil || len(again) != 1 {
				t.Fatalf("%s: %v", out, err)
			}
			a, errA := Thumbprint(k.Public)
			b, errB := Thumbprint(again[0].Public)
			if errA != nil || errB != nil || a != b || again[0].ID != k.ID {
				t.Fatal(fmt.Sprint("another key came back: ", string(out)))
			}
		}
	})
}

func x25519() *ecdh.PrivateKey { return must(ecdh.X25519().GenerateKey(rand.Reader)) }
