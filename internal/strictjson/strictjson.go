// Package strictjson accepts the JSON that every parser reads alike, I-JSON of
// RFC 7493, and refuses the rest.
//
// encoding/json keeps the last of two members with one name, takes a member
// for a field when only its case differs, and repairs broken UTF-8. Each of
// these lets one document say one thing to a check and another to the code
// behind it.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// What Check and Unmarshal refuse. Errors carry an offset and never any of the
// data.
var (
	ErrSyntax    = errors.New("strictjson: malformed")
	ErrDepth     = errors.New("strictjson: nested too deep")
	ErrDuplicate = errors.New("strictjson: duplicate member")
	ErrName      = errors.New("strictjson: member differs from a known one in case only")
	ErrType      = errors.New("strictjson: wrong type of value")
)

// Check tells whether data is exactly one JSON value (RFC 8259) with at most
// maxDepth arrays and objects inside one another, in valid UTF-8, without lone
// surrogates, and with no member named twice in one object, whichever way the
// name is escaped. A scalar has depth 0. Blanks around the value are allowed.
func Check(data []byte, maxDepth int) error {
	return check(data, maxDepth, nil)
}

// Unmarshal is Check and json.Unmarshal into v, a non-nil pointer. A member
// whose name is that of a field of v but for its case is refused with ErrName;
// a member that v does not know is skipped. After an error v may hold anything.
func Unmarshal(data []byte, v any, maxDepth int) error {
	t := reflect.TypeOf(v)
	if err := check(data, maxDepth, t); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		// The text of err may quote the data.
		return fmt.Errorf("%w: %s", ErrType, at(err))
	}
	return nil
}

// at says where a json.Unmarshal error is without saying what was there.
func at(err error) string {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return fmt.Sprintf("at byte %d, want %s", te.Offset, te.Type)
	}
	return "value refused by its type"
}

func check(data []byte, maxDepth int, t reflect.Type) error {
	s := scanner{data: data, max: maxDepth}
	s.blanks()
	if err := s.value(0, t); err != nil {
		return err
	}
	s.blanks()
	if s.pos != len(data) {
		return s.fail(ErrSyntax)
	}
	return nil
}

type scanner struct {
	data []byte
	pos  int
	max  int
}

func (s *scanner) fail(err error) error {
	return fmt.Errorf("%w at byte %d", err, s.pos)
}

// peek returns the next byte, or 0 at the end; 0 starts nothing in JSON.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) blanks() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value scans one value that is depth containers deep and, if t is not nil, is
// meant for a t.
func (s *scanner) value(depth int, t reflect.Type) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth+1, t)
	case c == '[':
		return s.array(depth+1, t)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return nil
		}
	}
	return s.fail(ErrSyntax)
}

func (s *scanner) object(depth int, t reflect.Type) error {
	if depth > s.max {
		return s.fail(ErrDepth)
	}
	target := shapeOf(t)
	s.pos++
	s.blanks()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	var seen names
	for {
		if s.peek() != '"' {
			return s.fail(ErrSyntax)
		}
		start := s.pos
		name, err := s.name()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			s.pos = start
			return s.fail(ErrDuplicate)
		}
		member, ok := target.member(name)
		if !ok {
			s.pos = start
			return s.fail(ErrName)
		}
		s.blanks()
		if s.peek() != ':' {
			return s.fail(ErrSyntax)
		}
		s.pos++
		s.blanks()
		if err := s.value(depth, member); err != nil {
			return err
		}
		s.blanks()
		switch s.peek() {
		case ',':
			s.pos++
			s.blanks()
		case '}':
			s.pos++
			return nil
		default:
			return s.fail(ErrSyntax)
		}
	}
}

func (s *scanner) array(depth int, t reflect.Type) error {
	if depth > s.max {
		return s.fail(ErrDepth)
	}
	elem := shapeOf(t).elem
	s.pos++
	s.blanks()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(depth, elem); err != nil {
			return err
		}
		s.blanks()
		switch s.peek() {
		case ',':
			s.pos++
			s.blanks()
		case ']':
			s.pos++
			return nil
		default:
			return s.fail(ErrSyntax)
		}
	}
}

// name scans a string and returns what it means.
func (s *scanner) name() (string, error) {
	start := s.pos
	escaped, err := s.str()
	if err != nil {
		return "", err
	}
	if !escaped {
		return string(s.data[start+1 : s.pos-1]), nil
	}
	var name string
	if err := json.Unmarshal(s.data[start:s.pos], &name); err != nil {
		return "", s.fail(ErrSyntax)
	}
	return name, nil
}

// str scans a string and tells whether it has escapes.
func (s *scanner) str() (escaped bool, err error) {
	s.pos++
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		case c < ' ':
			return false, s.fail(ErrSyntax)
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return false, s.fail(ErrSyntax)
			}
			s.pos += n
		}
	}
	return false, s.fail(ErrSyntax)
}

func (s *scanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.fail(ErrSyntax)
	}
	s.pos++
	r, ok := s.hex4()
	if !ok || 0xDC00 <= r && r <= 0xDFFF {
		return s.fail(ErrSyntax)
	}
	if 0xD800 <= r && r <= 0xDBFF {
		if s.peek() != '\\' {
			return s.fail(ErrSyntax)
		}
		s.pos++
		if s.peek() != 'u' {
			return s.fail(ErrSyntax)
		}
		s.pos++
		if low, ok := s.hex4(); !ok || low < 0xDC00 || low > 0xDFFF {
			return s.fail(ErrSyntax)
		}
	}
	return nil
}

func (s *scanner) hex4() (r rune, ok bool) {
	for range 4 {
		c := s.peek()
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
		s.pos++
	}
	return r, true
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail(ErrSyntax)
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail(ErrSyntax)
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail(ErrSyntax)
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// names is the set of the members of one object: a list while it is short, a
// map (whose hash is seeded) before comparing becomes quadratic.
type names struct {
	list []string
	set  map[string]struct{}
}

func (n *names) add(name string) bool {
	if n.set != nil {
		if _, ok := n.set[name]; ok {
			return false
		}
		n.set[name] = struct{}{}
		return true
	}
	for _, s := range n.list {
		if s == name {
			return false
		}
	}
	n.list = append(n.list, name)
	if len(n.list) > 16 {
		n.set = make(map[string]struct{}, 2*len(n.list))
		for _, s := range n.list {
			n.set[s] = struct{}{}
		}
	}
	return true
}
