package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"testing"
)

// This file is an independent implementation of RFC 7515 with the standard
// library alone: what the package signs must verify here, what it verifies must
// verify here too, and tests make with it the tokens that the package would
// never make.

var b64 = base64.RawURLEncoding.EncodeToString

// digest hashes for an algorithm by its name, not by the tables of the package.
func digest(alg string, input []byte) ([]byte, crypto.Hash) {
	switch alg[2:] {
	case "256":
		sum := sha256.Sum256(input)
		return sum[:], crypto.SHA256
	case "384":
		sum := sha512.Sum384(input)
		return sum[:], crypto.SHA384
	case "512":
		sum := sha512.Sum512(input)
		return sum[:], crypto.SHA512
	}
	return input, 0
}

// stdSign makes a compact token of any header and payload.
func stdSign(tb testing.TB, alg string, key crypto.Signer, header, payload string) string {
	tb.Helper()
	return stdSignParts(tb, alg, key, b64([]byte(header)), b64([]byte(payload)))
}

func stdSignParts(tb testing.TB, alg string, key crypto.Signer, header, payload string) string {
	tb.Helper()
	input := header + "." + payload
	sum, hash := digest(alg, []byte(input))
	var sig []byte
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			sig, err = rsa.SignPSS(rand.Reader, key, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, hash, sum)
		}
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key, sum)
		size := (key.Params().BitSize + 7) / 8
		sig = make([]byte, 2*size)
		r.FillBytes(sig[:size])
		s.FillBytes(sig[size:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(input))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + b64(sig)
}

// stdVerify returns the payload of a compact token under one key.
func stdVerify(token, alg string, pub crypto.PublicKey) ([]byte, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return nil, err
		}
	}
	var header struct{ Alg string }
	if err := json.Unmarshal(raw[0], &header); err != nil {
		return nil, err
	}
	if header.Alg != alg {
		return nil, fmt.Errorf("alg %q", header.Alg)
	}
	input := []byte(parts[0] + "." + parts[1])
	sum, hash := digest(alg, input)
	sig, ok := raw[2], false
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		switch alg[:2] {
		case "PS":
			ok = rsa.VerifyPSS(pub, hash, sum, sig, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
		case "RS":
			ok = rsa.VerifyPKCS1v15(pub, hash, sum, sig) == nil
		}
	case *ecdsa.PublicKey:
		size := (pub.Params().BitSize + 7) / 8
		want := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
		ok = want[alg] == pub.Curve && len(sig) == 2*size &&
			ecdsa.Verify(pub, sum, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	case ed25519.PublicKey:
		ok = alg == "EdDSA" && ed25519.Verify(pub, input, sig)
	}
	if !ok {
		return nil, errors.New("signature")
	}
	return raw[1], nil
}

// testKey returns a private key for an algorithm, the same for the whole run.
func testKey(tb testing.TB, alg string) crypto.Signer {
	tb.Helper()
	switch alg {
	case ES256:
		return p256Key()
	case ES384:
		return p384Key()
	case ES512:
		return p521Key()
	case EdDSA:
		return edKey()
	}
	return rsaKey()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	p256Key = sync.OnceValue(func() crypto.Signer { // RFC 7515 §A.3
		return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), unb64("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")))
	})
	p384Key = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521Key = sync.OnceValue(func() crypto.Signer { // RFC 7515 §A.4
		return must(ecdsa.ParseRawPrivateKey(elliptic.P521(), unb64("AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C")))
	})
	edKey = sync.OnceValue(func() crypto.Signer { // RFC 8037 §A.1
		return ed25519.NewKeyFromSeed(unb64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
	})
	rsaKey = sync.OnceValue(func() crypto.Signer { // RFC 7515 §A.2
		num := func(s string) *big.Int { return new(big.Int).SetBytes(unb64(s)) }
		k := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: num(rfc7515N), E: 65537},
			D:         num("Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"),
			Primes: []*big.Int{
				num("4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"),
				num("uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"),
			},
		}
		k.Precompute()
		return k
	})
	otherRSAKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

const rfc7515N = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"

func unb64(s string) []byte {
	return must(base64.RawURLEncoding.Strict().DecodeString(s))
}

// hsm is a crypto.Signer of no type that a library knows.
type hsm struct {
	inner crypto.Signer
	spoil func(sig []byte) []byte
	fail  error
}

func (h hsm) Public() crypto.PublicKey { return h.inner.Public() }

func (h hsm) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	sig, err := h.inner.Sign(random, digest, opts)
	if err == nil && h.spoil != nil {
		sig = h.spoil(sig)
	}
	return sig, err
}
