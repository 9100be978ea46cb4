package jose

import (
	"fmt"
	"math"
	"time"

	"github.com/idpkit/idpkit/internal/strictjson"
)

// Token is a token whose signature has been verified. iss, sub, jti, aud, exp,
// iat and nbf have the types of RFC 7519 §4.1 where they are present; nothing
// is said of their values.
type Token struct {
	Header  Header
	Payload []byte         // the JSON as it was signed
	Claims  map[string]any // of Payload; numbers are float64
}

// Issuer returns iss, or "".
func (t *Token) Issuer() string { s, _ := t.String("iss"); return s }

// Subject returns sub, or "".
func (t *Token) Subject() string { s, _ := t.String("sub"); return s }

// ID returns jti, or "".
func (t *Token) ID() string { s, _ := t.String("jti"); return s }

// String returns a claim that is a string. It is not ok when the claim is absent
// or anything else.
func (t *Token) String(name string) (value string, ok bool) {
	value, ok = t.Claims[name].(string)
	return value, ok
}

// Audience returns aud, one or many; nil when absent.
func (t *Token) Audience() []string {
	aud, _ := audience(t.Claims["aud"])
	return aud
}

// ExpiresAt returns exp. It is not ok when absent.
func (t *Token) ExpiresAt() (at time.Time, ok bool) { return numericDate(t.Claims["exp"]) }

// IssuedAt returns iat. It is not ok when absent.
func (t *Token) IssuedAt() (at time.Time, ok bool) { return numericDate(t.Claims["iat"]) }

// NotBefore returns nbf. It is not ok when absent.
func (t *Token) NotBefore() (at time.Time, ok bool) { return numericDate(t.Claims["nbf"]) }

// parseClaims reads a payload and checks the types of the claims of RFC 7519.
func parseClaims(payload []byte) (map[string]any, error) {
	var claims map[string]any
	if err := strictjson.Unmarshal(payload, &claims, maxDepth); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	if claims == nil {
		return nil, fmt.Errorf("%w: not an object", ErrClaims)
	}
	for _, name := range [...]string{"exp", "iat", "nbf"} {
		if v, ok := claims[name]; ok {
			if _, ok := numericDate(v); !ok {
				return nil, fmt.Errorf("%w: %s is not a date", ErrClaims, name)
			}
		}
	}
	for _, name := range [...]string{"iss", "sub", "jti"} {
		if v, ok := claims[name]; ok {
			if _, ok := v.(string); !ok {
				return nil, fmt.Errorf("%w: %s is not a string", ErrClaims, name)
			}
		}
	}
	if v, ok := claims["aud"]; ok {
		if _, ok := audience(v); !ok {
			return nil, fmt.Errorf("%w: aud is neither a string nor an array of strings", ErrClaims)
		}
	}
	return claims, nil
}

func audience(v any) (aud []string, ok bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		aud = make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			aud = append(aud, s)
		}
		return aud, true
	}
	return nil, false
}

// numericDate reads seconds since 1970, with a fraction perhaps (RFC 7519 §2),
// up to the last second of the year 9999: later times overflow somewhere.
func numericDate(v any) (at time.Time, ok bool) {
	const last = 253402300799
	f, ok := v.(float64)
	if !ok || !(f >= 0 && f <= last) {
		return time.Time{}, false
	}
	sec, frac := math.Modf(f)
	return time.Unix(int64(sec), int64(frac*1e9)).UTC(), true
}
