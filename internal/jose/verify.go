package jose

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jws"
)

const (
	// MaxSize is the size of the largest token that is looked at, in bytes.
	MaxSize = 16 << 10

	// maxTries bounds the signatures computed for one token without a kid.
	maxTries = 8
)

// Verify checks a compact token from outside and returns it.
//
// The header may hold alg, kid, typ, cty, jwk and x5c and nothing else; crit,
// b64, zip, jku and x5u in particular are refused. alg must be one of algs, and
// the key must fit it by type, by its own alg and by its use. kid is compared
// byte by byte with the IDs of the keys and no more; a kid that names no key is
// ErrKey, which tells the caller that fetching the set again may help. Without
// a kid up to 8 fitting keys are tried, and more than that are ErrKey. Keys
// inside the header are never used (RFC 8725 §3.10).
//
// Verify knows the form of claims and no policy: the caller judges typ, iss, aud
// and the times.
func Verify(compact string, keys []Key, algs []string) (*Token, error) {
	p, err := split(compact)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(algs, p.header.Alg) {
		return nil, fmt.Errorf("%w: not allowed here", ErrAlgorithm)
	}
	candidates := p.candidates(keys)
	switch {
	case len(candidates) == 0:
		return nil, fmt.Errorf("%w: none in the set", ErrKey)
	case len(candidates) > maxTries:
		return nil, fmt.Errorf("%w: too many fit, the token must name one", ErrKey)
	}
	for _, k := range candidates {
		if p.verify(k) {
			return p.token()
		}
	}
	return nil, ErrSignature
}

// VerifyEmbedded checks a token under the public key in its own header, the jwk
// member, and returns that key. It proves possession of the key and nothing
// else, as a DPoP proof does (RFC 9449 §4.3).
func VerifyEmbedded(compact string, algs []string) (*Token, Key, error) {
	p, err := split(compact)
	if err != nil {
		return nil, Key{}, err
	}
	if !slices.Contains(algs, p.header.Alg) {
		return nil, Key{}, fmt.Errorf("%w: not allowed here", ErrAlgorithm)
	}
	if p.jwk == nil {
		return nil, Key{}, fmt.Errorf("%w: no jwk in the header", ErrKey)
	}
	k, known, err := parseKey(p.jwk)
	if err != nil {
		return nil, Key{}, err
	}
	if !known || !fits(k, p.header.Alg) {
		return nil, Key{}, fmt.Errorf("%w: jwk does not fit the algorithm", ErrKey)
	}
	if !p.verify(k) {
		return nil, Key{}, ErrSignature
	}
	t, err := p.token()
	if err != nil {
		return nil, Key{}, err
	}
	return t, k, nil
}

// Peek returns the issuer and subject that a token claims, empty when it claims
// none. Nothing is verified but the form: the values serve to find the keys and
// to say whom an error is about.
func Peek(compact string) (iss, sub string, err error) {
	p, err := split(compact)
	if err != nil {
		return "", "", err
	}
	t, err := p.token()
	if err != nil {
		return "", "", err
	}
	return t.Issuer(), t.Subject(), nil
}

// parts is a compact token that has passed the fence, unverified.
type parts struct {
	header  Header
	alg     algorithm
	jwk     json.RawMessage // nil: none
	input   []byte          // what is signed
	payload string          // base64url
	sig     []byte
}

// split is the fence: all that is checked before a key is touched.
func split(compact string) (*parts, error) {
	if len(compact) > MaxSize {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrMalformed, MaxSize)
	}
	dots := 0
	for i := range len(compact) {
		if compact[i] == '.' {
			dots++
		} else if !base64url(compact[i]) {
			return nil, fmt.Errorf("%w: not a compact token", ErrMalformed)
		}
	}
	if dots != 2 {
		return nil, fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	head, rest, _ := strings.Cut(compact, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	if head == "" || payload == "" || signature == "" {
		return nil, fmt.Errorf("%w: a part is empty", ErrMalformed)
	}
	p := &parts{input: []byte(compact[:len(head)+1+len(payload)]), payload: payload}
	raw, err := decode(head)
	if err != nil {
		return nil, err
	}
	if err := p.readHeader(raw); err != nil {
		return nil, err
	}
	if p.sig, err = decode(signature); err != nil {
		return nil, err
	}
	return p, nil
}

// readHeader reads the protected header. Members are known or refused: an
// extension that is skipped is a rule of the issuer that is not followed.
func (p *parts) readHeader(raw []byte) error {
	var members map[string]json.RawMessage
	if err := unmarshal(raw, &members); err != nil {
		return err
	}
	var cty string
	for name, raw := range members {
		var err error
		switch name {
		case "alg":
			err = text(members, name, &p.header.Alg)
		case "kid":
			err = text(members, name, &p.header.KeyID)
		case "typ":
			err = text(members, name, &p.header.Type)
		case "cty":
			err = text(members, name, &cty)
		case "jwk":
			if raw[0] != '{' {
				err = fmt.Errorf("%w: jwk is not an object", ErrMalformed)
			}
			p.jwk = raw
		case "x5c":
			var chain []string
			if json.Unmarshal(raw, &chain) != nil || len(chain) == 0 {
				err = fmt.Errorf("%w: x5c is not an array of strings", ErrMalformed)
			}
		default:
			err = fmt.Errorf("%w: header member not known", ErrMalformed)
		}
		if err != nil {
			return err
		}
	}
	if p.header.Alg == "" {
		return fmt.Errorf("%w: no alg", ErrMalformed)
	}
	if len(p.header.KeyID) > maxKeyID {
		return fmt.Errorf("%w: kid too long", ErrMalformed)
	}
	var err error
	p.alg, err = lookup(p.header.Alg)
	return err
}

func (p *parts) candidates(keys []Key) []Key {
	var out []Key
	for _, k := range keys {
		if (p.header.KeyID == "" || p.header.KeyID == k.ID) && fits(k, p.header.Alg) {
			out = append(out, k)
		}
	}
	return out
}

// fits tells whether a key may verify signatures of the algorithm.
func fits(k Key, alg string) bool {
	a, err := lookup(alg)
	return err == nil && (k.Use == "" || k.Use == "sig") && (k.Alg == "" || k.Alg == alg) && a.check(k.Public) == nil
}

func (p *parts) verify(k Key) bool {
	if pub, ok := k.Public.(*rsa.PublicKey); ok && p.alg.pss {
		// jwx takes a salt of any length; RFC 7518 §3.5 has one.
		h := p.alg.hash.New()
		h.Write(p.input)
		return rsa.VerifyPSS(pub, p.alg.hash, h.Sum(nil), p.sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	v, err := jws.NewVerifier(p.alg.jwa)
	return err == nil && v.Verify(p.input, p.sig, k.Public) == nil
}

// token reads the payload.
func (p *parts) token() (*Token, error) {
	payload, err := decode(p.payload)
	if err != nil {
		return nil, err
	}
	claims, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	return &Token{Header: p.header, Payload: payload, Claims: claims}, nil
}

// AtHash returns the at_hash or c_hash of a value beside an ID token signed with
// alg: the base64url of the left half of its hash (OpenID Connect Core
// §3.1.3.6). With EdDSA the hash is SHA-512, the one inside Ed25519. An unknown
// alg gives "".
func AtHash(alg, value string) string {
	a, err := lookup(alg)
	if err != nil {
		return ""
	}
	h := a.hash.New()
	h.Write([]byte(value))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
