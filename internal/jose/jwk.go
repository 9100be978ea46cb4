package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"github.com/idpkit/idpkit/internal/strictjson"
)

const (
	maxKeys   = 64
	maxKeySet = 256 << 10
	maxKeyID  = 512
	maxDepth  = 16
)

// Key is a public key with what its JWK says of it.
type Key struct {
	ID     string           // kid, at most 512 bytes; may be empty
	Alg    string           // the only algorithm it is for; empty: any that fits its type
	Use    string           // "sig", "enc", or empty for both
	Public crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// ParseKeySet reads a JWK Set that somebody else wrote (RFC 7517 §5): strict
// JSON, at most 256 KiB and 64 keys. Keys of a type, curve or use unknown here
// are left out, as that section asks. The whole set is refused when one key
// is private or symmetric (its owner has leaked it), malformed, or weak: RSA
// outside 2048 to 8192 bits or with an exponent other than 65537, a point not on
// its curve or of small order. The result may be empty.
func ParseKeySet(raw []byte) ([]Key, error) {
	if len(raw) > maxKeySet {
		return nil, fmt.Errorf("%w: key set too large", ErrMalformed)
	}
	var members map[string]json.RawMessage
	if err := unmarshal(raw, &members); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(members["keys"], &list); err != nil || list == nil {
		return nil, fmt.Errorf("%w: key set without an array of keys", ErrMalformed)
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("%w: more than %d keys", ErrMalformed, maxKeys)
	}
	keys := make([]Key, 0, len(list))
	for i, raw := range list {
		k, known, err := parseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if known {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// unmarshal decodes a strict JSON object.
func unmarshal(raw []byte, members *map[string]json.RawMessage) error {
	if err := strictjson.Unmarshal(raw, members, maxDepth); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if *members == nil {
		return fmt.Errorf("%w: not an object", ErrMalformed)
	}
	return nil
}

// parseKey reads one JWK. A key that is well-formed but not known here is no
// error.
func parseKey(raw []byte) (k Key, known bool, err error) {
	var jwk map[string]json.RawMessage
	if err := unmarshal(raw, &jwk); err != nil {
		return Key{}, false, err
	}
	for _, name := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, ok := jwk[name]; ok {
			return Key{}, false, fmt.Errorf("%w: private or symmetric", ErrKey)
		}
	}
	var kty, crv string
	for name, dst := range map[string]*string{"kty": &kty, "crv": &crv, "kid": &k.ID, "alg": &k.Alg, "use": &k.Use} {
		if err := text(jwk, name, dst); err != nil {
			return Key{}, false, err
		}
	}
	if kty == "" {
		return Key{}, false, fmt.Errorf("%w: key without kty", ErrMalformed)
	}
	if len(k.ID) > maxKeyID {
		return Key{}, false, fmt.Errorf("%w: kid too long", ErrMalformed)
	}
	if raw, ok := jwk["key_ops"]; ok {
		var ops []string
		if err := json.Unmarshal(raw, &ops); err != nil || ops == nil {
			return Key{}, false, fmt.Errorf("%w: key_ops is not an array of strings", ErrMalformed)
		}
		verifies := slices.Contains(ops, "verify")
		switch {
		case k.Use == "" && verifies:
			k.Use = "sig"
		case k.Use == "":
			k.Use = "enc"
		case k.Use == "sig" && !verifies:
			return Key{}, false, fmt.Errorf("%w: use and key_ops contradict each other", ErrMalformed)
		}
	}
	if k.Use != "" && k.Use != "sig" && k.Use != "enc" {
		return Key{}, false, nil
	}

	switch {
	case kty == "RSA":
		n, err := number(jwk, "n")
		if err != nil {
			return Key{}, false, err
		}
		e, err := number(jwk, "e")
		if err != nil {
			return Key{}, false, err
		}
		if !e.IsInt64() || e.Int64() != 65537 {
			return Key{}, false, fmt.Errorf("%w: RSA exponent is not 65537", ErrKey)
		}
		k.Public = &rsa.PublicKey{N: n, E: 65537}
	case kty == "EC" && curve(crv) != nil:
		c := curve(crv)
		size := (c.Params().BitSize + 7) / 8
		x, err := octets(jwk, "x", size)
		if err != nil {
			return Key{}, false, err
		}
		y, err := octets(jwk, "y", size)
		if err != nil {
			return Key{}, false, err
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(c, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return Key{}, false, fmt.Errorf("%w: point not on its curve", ErrKey)
		}
		k.Public = pub
	case kty == "OKP" && crv == "Ed25519":
		x, err := octets(jwk, "x", ed25519.PublicKeySize)
		if err != nil {
			return Key{}, false, err
		}
		k.Public = ed25519.PublicKey(x)
	default:
		return Key{}, false, nil
	}
	if err := checkPublic(k.Public); err != nil {
		return Key{}, false, err
	}
	if a, err := lookup(k.Alg); err == nil {
		if err := a.check(k.Public); err != nil {
			return Key{}, false, err
		}
	}
	return k, true, nil
}

func curve(name string) elliptic.Curve {
	for _, c := range [...]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if c.Params().Name == name {
			return c
		}
	}
	return nil
}

// text reads a member that must be a non-empty string if it is there.
func text(members map[string]json.RawMessage, name string, dst *string) error {
	raw, ok := members[name]
	if !ok {
		return nil
	}
	if raw[0] != '"' || json.Unmarshal(raw, dst) != nil || *dst == "" {
		return fmt.Errorf("%w: %s is not a string or empty", ErrMalformed, name)
	}
	return nil
}

// octets reads a member of base64url; any size if size is 0.
func octets(members map[string]json.RawMessage, name string, size int) ([]byte, error) {
	var s string
	if err := text(members, name, &s); err != nil {
		return nil, err
	}
	b, err := decode(s)
	if err != nil || len(b) == 0 || size != 0 && len(b) != size {
		return nil, fmt.Errorf("%w: %s is not base64url of the right size", ErrMalformed, name)
	}
	return b, nil
}

// number reads a Base64urlUInt, which has no leading zeros (RFC 7518 §2).
func number(members map[string]json.RawMessage, name string) (*big.Int, error) {
	b, err := octets(members, name, 0)
	if err != nil {
		return nil, err
	}
	if b[0] == 0 {
		return nil, fmt.Errorf("%w: %s has leading zeros", ErrMalformed, name)
	}
	return new(big.Int).SetBytes(b), nil
}

// decode reads canonical base64url without padding. encoding/base64 alone skips
// line breaks.
func decode(s string) ([]byte, error) {
	for i := range len(s) {
		if !base64url(s[i]) {
			return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	return b, nil
}

func base64url(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// jwk is the public form of a key; the members are in the order that RFC 7638
// asks for, so that a thumbprint is the hash of one with the required ones only.
type jwk struct {
	Alg string `json:"alg,omitempty"`
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kid string `json:"kid,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	Use string `json:"use,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

func jwkOf(pub crypto.PublicKey) (jwk, error) {
	if err := checkPublic(pub); err != nil {
		return jwk{}, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", N: b64(pub.N.Bytes()), E: "AQAB"}, nil // checkPublic: e = 65537
	case *ecdsa.PublicKey:
		point, err := pub.Bytes() // 4, x, y
		if err != nil {
			return jwk{}, fmt.Errorf("%w: point not on its curve", ErrKey)
		}
		size := (len(point) - 1) / 2
		return jwk{Kty: "EC", Crv: pub.Params().Name, X: b64(point[1 : 1+size]), Y: b64(point[1+size:])}, nil
	case ed25519.PublicKey:
		return jwk{Kty: "OKP", Crv: "Ed25519", X: b64(pub)}, nil
	}
	return jwk{}, fmt.Errorf("%w: unknown type of key", ErrKey)
}

// PublicJWK returns the JWK of a key (RFC 7517 §4), with use "sig" when k does
// not say.
func PublicJWK(k Key) (json.RawMessage, error) {
	j, err := jwkOf(k.Public)
	if err != nil {
		return nil, err
	}
	j.Kid, j.Alg, j.Use = k.ID, k.Alg, k.Use
	if j.Use == "" {
		j.Use = "sig"
	}
	if k.Alg != "" {
		a, err := lookup(k.Alg)
		if err != nil {
			return nil, err
		}
		if err := a.check(k.Public); err != nil {
			return nil, err
		}
	}
	return json.Marshal(j)
}

// Thumbprint returns the SHA-256 thumbprint of a key in base64url, 43
// characters (RFC 7638 §3).
func Thumbprint(pub crypto.PublicKey) (string, error) {
	j, err := jwkOf(pub)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(j)
	if err != nil {
		return "", fmt.Errorf("jose: thumbprint: %w", err)
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
