// Package form reads application/x-www-form-urlencoded bodies and query
// strings, strictly.
//
// net/http's own ParseForm merges the query into the body's values, reads up to
// 10 MiB, drops what it cannot parse and hashes every name before anybody
// counts them. Here the body is the body and the query is the query, limits are
// applied while reading, and one malformed pair refuses the whole: a parameter
// that a proxy in front saw and the endpoint did not is how requests are
// smuggled past a check.
package form

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a request.
const (
	MaxBody  = 64 << 10 // bytes of a body
	MaxQuery = 8 << 10  // bytes of a query string
	MaxPairs = 64       // name-value pairs, repeated and empty ones included
	MaxName  = 128      // bytes of a decoded name
)

const mediaType = "application/x-www-form-urlencoded"

// What ParseBody and ParseQuery refuse. The comment is the HTTP status meant.
var (
	ErrTooLarge  = errors.New("form: too large")                        // 413
	ErrMediaType = errors.New("form: not x-www-form-urlencoded")        // 415
	ErrEncoding  = errors.New("form: Content-Encoding is not accepted") // 415
	ErrTooMany   = errors.New("form: too many parameters")              // 400
	ErrMalformed = errors.New("form: malformed")                        // 400
	errRead      = errors.New("form: the body was read before, by ParseForm or FormValue in a middleware")
)

// Form is a parsed form. It does not change and is safe for concurrent use. The
// zero value is an empty form.
//
// A parameter with an empty value counts as absent, RFC 6749 §3.1, except for
// Repeated and Names.
type Form struct {
	pairs []pair // in the order sent; a slice, so that no input chooses hash collisions
}

type pair struct{ name, value string }

// ParseBody reads the body of r, which must be a form by its Content-Type, and
// leaves the query alone. The sentinels of this package are the client's fault;
// any other error is a fault of the program around it: something has read the
// body before.
func ParseBody(r *http.Request) (Form, error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		return Form{}, ErrEncoding
	}
	ct := r.Header["Content-Type"]
	if len(ct) != 1 {
		return Form{}, ErrMediaType
	}
	if ct[0] != mediaType { // parsing it makes a map of no parameters
		if mt, _, err := mime.ParseMediaType(ct[0]); err != nil || mt != mediaType {
			return Form{}, ErrMediaType
		}
	}
	if r.PostForm != nil {
		return Form{}, errRead
	}
	if r.ContentLength > MaxBody {
		return Form{}, ErrTooLarge
	}
	if r.Body == nil {
		return Form{}, nil
	}
	b, err := readAll(r.Body, r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case len(b) > MaxBody, errors.As(err, &tooLarge):
		return Form{}, ErrTooLarge
	case err != nil: // the peer went away, was too slow, or sent broken chunks
		return Form{}, fmt.Errorf("%w: read the body: %w", ErrMalformed, err)
	}
	return parse(string(b))
}

// readAll reads up to one byte more than MaxBody, into one piece of memory if the
// announced length is right. What is only announced gets 4 KiB at most.
func readAll(body io.Reader, announced int64) ([]byte, error) {
	b := make([]byte, 0, min(max(announced, 255), 4<<10)+1)
	for len(b) <= MaxBody {
		n, err := body.Read(b[len(b):min(cap(b), MaxBody+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			b = slices.Grow(b, len(b))
		}
	}
	return b, nil
}

// ParseQuery parses the part of a URL after the question mark, by the same
// rules.
func ParseQuery(raw string) (Form, error) {
	if len(raw) > MaxQuery {
		return Form{}, ErrTooLarge
	}
	return parse(raw)
}

// parse splits at '&' only. A semicolon is an ordinary character, as in the URL
// standard: software that takes it for a separator sees other parameters.
func parse(s string) (Form, error) {
	if s == "" {
		return Form{}, nil
	}
	pairs := make([]pair, 0, min(strings.Count(s, "&")+1, MaxPairs))
	for s != "" {
		var piece string
		piece, s, _ = strings.Cut(s, "&")
		if piece == "" {
			continue
		}
		if len(pairs) == MaxPairs {
			return Form{}, ErrTooMany
		}
		name, value, _ := strings.Cut(piece, "=")
		name, ok1 := unescape(name)
		value, ok2 := unescape(value)
		if !ok1 || !ok2 || name == "" || len(name) > MaxName { // param-name = 1*name-char, RFC 6749 §8.2
			return Form{}, ErrMalformed
		}
		pairs = append(pairs, pair{name, value})
	}
	return Form{pairs}, nil
}

// unescape decodes %XX and '+', and refuses broken escapes, invalid UTF-8 and
// NUL, which storage engines and C libraries cut strings at.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') >= 0 || strings.IndexByte(s, '+') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch c {
			case '+':
				c = ' '
			case '%':
				if i+2 >= len(s) {
					return "", false
				}
				hi, lo := unhex(s[i+1]), unhex(s[i+2])
				if hi < 0 || lo < 0 {
					return "", false
				}
				c = byte(hi<<4 | lo)
				i += 2
			}
			b = append(b, c)
		}
		s = string(b)
	}
	return s, utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Get returns the first value of name that is not empty, "" if there is none.
func (f Form) Get(name string) string {
	for _, p := range f.pairs {
		if p.name == name && p.value != "" {
			return p.value
		}
	}
	return ""
}

// All returns the values of name that are not empty, in the order sent.
func (f Form) All(name string) []string {
	var all []string
	for _, p := range f.pairs {
		if p.name == name && p.value != "" {
			all = append(all, p.value)
		}
	}
	return all
}

// Has tells whether name has a value that is not empty.
func (f Form) Has(name string) bool { return f.Get(name) != "" }

// Repeated returns the first name, in the order sent, that occurs more than
// once and is not excepted, "" if there is none. Equal and empty values count:
// request parameters must not be included more than once, RFC 6749 §3.1.
func (f Form) Repeated(except ...string) string {
	for i, p := range f.pairs {
		if slices.Contains(except, p.name) {
			continue
		}
		for _, q := range f.pairs[i+1:] {
			if q.name == p.name {
				return p.name
			}
		}
	}
	return ""
}

// Names returns what names were sent, sorted, each once, for the log. A name
// that does not look like one (more than 32 bytes, or other characters than
// a-z, 0-9, '_' and '.') is given as "?": a token sent where a name belongs
// must not reach the log.
func (f Form) Names() []string {
	names := make([]string, 0, len(f.pairs))
	for _, p := range f.pairs {
		n := p.name
		if n == "" || len(n) > 32 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
			n = "?"
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
