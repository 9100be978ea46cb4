package middleware

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// What a Verifier says of a request. Any other error means that it could not
// find out. RFC 6750 §3.1.
var (
	ErrNoToken        = errors.New("no access token")         // 401 without an error code
	ErrInvalidRequest = errors.New("malformed authorization") // 400 invalid_request
	ErrInvalidToken   = errors.New("invalid access token")    // 401 invalid_token
)

// maxToken is longer than any token the kit issues.
const maxToken = 16 << 10

// BearerToken returns the access token of a request: in the Authorization
// header, RFC 6750 §2.1, and nowhere else. A token in the query, which ends in
// logs and Referer headers, is ErrInvalidRequest, RFC 9700 §4.3.2; the body is
// not looked at. Other authentication schemes are ErrNoToken.
func BearerToken(r *http.Request) (string, error) {
	if hasParam(r.URL.RawQuery, "access_token") {
		return "", ErrInvalidRequest
	}
	lines := r.Header["Authorization"]
	switch len(lines) {
	case 0:
		return "", ErrNoToken
	case 1:
	default:
		return "", ErrInvalidRequest
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrNoToken
	}
	token = strings.Trim(token, " ")
	switch {
	case token == "":
		return "", ErrInvalidRequest
	case len(token) > maxToken || !isToken68(token):
		return "", ErrInvalidToken
	}
	return token, nil
}

// isToken68 checks the characters of RFC 9110 §11.2.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return s != ""
}

func hasParam(raw, name string) bool {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, _, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err == nil && key == name {
			return true
		}
	}
	return false
}
