// Package jsonread reads JSON objects of a known form without reflection: what
// the kit wrote itself into records and sealed tokens, and reads again at nearly
// every request. It takes what encoding/json takes for the same Go types, with
// two differences: names are compared byte by byte, and numbers are integers.
// What comes from outside is for strictjson.
//
//	r := jsonread.Object(data)
//	for r.Next() {
//		switch string(r.Name()) {
//		case "scope":
//			d.Scope = r.Strings()
//		default:
//			r.Skip()
//		}
//	}
//	return r.Err()
package jsonread

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"
)

// ErrMalformed says that the data are no JSON object, or that a member is of
// another type than it was read as.
var ErrMalformed = errors.New("jsonread: malformed")

// Reader goes over the members of one object. After Next, exactly one of the
// methods that read a value is called. Errors stay: the methods then return zero
// values, Next false. null is the zero value of every type.
type Reader struct {
	data  []byte
	pos   int
	name  []byte
	begun bool // the brace that opens the object is behind us
	ended bool // the brace that closes the object is
	inner int  // objects around this one
	err   error
}

// Object begins to read an object.
func Object(data []byte) *Reader { return &Reader{data: data} }

// Err returns nil once the whole object was read, and ErrMalformed if it could
// not be.
func (r *Reader) Err() error { return r.err }

// Name of the current member. The bytes are part of the data.
func (r *Reader) Name() []byte { return r.name }

// Next goes to the next member.
func (r *Reader) Next() bool {
	if r.err != nil || r.ended {
		return false
	}
	sep := byte(',')
	if !r.begun {
		r.begun, sep = true, '{'
	}
	c := r.peek()
	switch {
	case sep == ',' && c == '}', sep == '{' && c == '{' && r.after() == '}':
		r.pos++
		r.ended = true
		if r.skipSpace(); r.inner == 0 && r.pos != len(r.data) {
			r.fail()
		}
		return false
	case sep == ',' && c == ',':
		r.pos++
	case sep == ',' || c != '{':
		r.fail()
		return false
	}
	raw, plain := r.literal()
	if r.err == nil && !plain { // not written by encoding/json for a name of ours
		raw = []byte(r.unquote(raw))
	} else if r.err == nil {
		raw = raw[1 : len(raw)-1]
	}
	if r.err == nil && r.peek() != ':' {
		r.fail()
	}
	if r.err != nil {
		return false
	}
	r.pos++
	r.name = raw
	return true
}

// after consumes the opening brace and looks at what follows.
func (r *Reader) after() byte {
	r.pos++
	return r.peek()
}

// Object reads a member that is an object itself: read goes over its members
// until Next is false. It is not called for null, and Object is false then.
func (r *Reader) Object(read func(*Reader)) bool {
	if r.null() || r.err != nil {
		return false
	}
	r.inner++
	r.begun = false
	read(r)
	if !r.ended {
		r.fail()
	}
	r.inner--
	r.begun, r.ended = true, false
	return r.err == nil
}

// String reads a string.
func (r *Reader) String() string {
	if r.null() {
		return ""
	}
	raw, plain := r.literal()
	switch {
	case r.err != nil:
		return ""
	case plain:
		return string(raw[1 : len(raw)-1])
	}
	return r.unquote(raw)
}

// Strings reads an array of strings.
func (r *Reader) Strings() []string {
	list := []string{}
	if !r.array(func() { list = append(list, r.String()) }) {
		return nil
	}
	return list
}

// Raws reads an array of values of any kind. They share the memory of the data.
func (r *Reader) Raws() []json.RawMessage {
	list := []json.RawMessage{}
	if !r.array(func() { list = append(list, r.Raw()) }) {
		return nil
	}
	return list
}

// array reads an array element by element. It is false for null and after an
// error.
func (r *Reader) array(element func()) bool {
	if r.null() {
		return false
	}
	if r.err != nil || r.peek() != '[' {
		r.fail()
		return false
	}
	if r.after() == ']' {
		r.pos++
		return true
	}
	for r.err == nil {
		element()
		switch r.peek() {
		case ',':
			r.pos++
			continue
		case ']':
			r.pos++
			return r.err == nil
		}
		r.fail()
	}
	return false
}

// Int64 reads an integer.
func (r *Reader) Int64() int64 {
	if r.null() {
		return 0
	}
	raw := r.number()
	if r.err != nil {
		return 0
	}
	digits := raw
	if digits[0] == '-' {
		digits = digits[1:]
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		r.fail()
		return 0
	}
	return v
}

func (r *Reader) number() []byte {
	r.skipSpace()
	start := r.pos
	for r.pos < len(r.data) && (r.data[r.pos] == '-' || '0' <= r.data[r.pos] && r.data[r.pos] <= '9') {
		r.pos++
	}
	if r.pos == start {
		r.fail()
	}
	return r.data[start:r.pos]
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	switch {
	case r.null(), r.word("false"):
	case r.word("true"):
		return true
	default:
		r.fail()
	}
	return false
}

// Time reads a time as time.Time writes it, RFC 3339.
func (r *Reader) Time() time.Time {
	var t time.Time
	if r.null() {
		return t
	}
	raw, _ := r.literal()
	if r.err != nil {
		return t
	}
	if t, ok := utc(raw); ok {
		return t
	}
	if t.UnmarshalJSON(raw) != nil {
		r.fail()
		return time.Time{}
	}
	return t
}

// utc reads "2026-11-25T19:00:00.123456Z", the form that nearly every time has.
// What it does not take may be right all the same.
func utc(raw []byte) (t time.Time, ok bool) {
	const form = `"0000-00-00T00:00:00`
	n := len(raw)
	if n < len(form)+2 || n > len(form)+12 || raw[n-2] != 'Z' {
		return t, false
	}
	for i := 1; i < len(form); i++ {
		if c := raw[i]; form[i] == '0' && (c < '0' || c > '9') || form[i] != '0' && c != form[i] {
			return t, false
		}
	}
	two := func(i int) int { return int(raw[i]-'0')*10 + int(raw[i+1]-'0') }
	year, month, day, hour, minute, second, nano := two(1)*100+two(3), two(6), two(9), two(12), two(15), two(18), 0
	if frac := raw[len(form) : n-2]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) == 1 {
			return t, false
		}
		for i := 1; i < 10; i++ {
			nano *= 10
			if i < len(frac) {
				if frac[i] < '0' || frac[i] > '9' {
					return t, false
				}
				nano += int(frac[i] - '0')
			}
		}
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return t, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	return t, t.Day() == day // and no 31 February
}

// Bytes reads a []byte as encoding/json writes it, base64.
func (r *Reader) Bytes() []byte {
	if r.null() {
		return nil
	}
	raw, plain := r.literal()
	if r.err != nil {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	if !plain {
		r.fail()
		return nil
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Decode(b, raw)
	if err != nil {
		r.fail()
		return nil
	}
	return b[:n]
}

// Raw reads a value of any kind and returns its JSON, which shares the memory of
// the data.
func (r *Reader) Raw() json.RawMessage {
	r.skipSpace()
	start := r.pos
	r.pass()
	if r.err != nil {
		return nil
	}
	raw := r.data[start:r.pos:r.pos]
	if !json.Valid(raw) {
		r.fail()
		return nil
	}
	return raw
}

// Decode reads a value of any kind as encoding/json does.
func (r *Reader) Decode(v any) {
	raw := r.Raw()
	if r.err == nil && json.Unmarshal(raw, v) != nil {
		r.fail()
	}
}

// Skip passes over a value of any kind.
func (r *Reader) Skip() { r.Raw() }

// pass goes behind a value, judging only where it ends.
func (r *Reader) pass() {
	depth := 0
	for r.err == nil {
		switch c := r.peek(); c {
		case '"':
			r.literal()
		case '{', '[':
			depth++
			r.pos++
			continue
		case '}', ']':
			depth--
			r.pos++
		case ',', ':':
			if depth == 0 {
				r.fail()
				return
			}
			r.pos++
			continue
		case 0:
			r.fail()
			return
		default:
			for r.pos < len(r.data) && !delimiter(r.data[r.pos]) {
				r.pos++
			}
		}
		if depth <= 0 {
			if depth < 0 {
				r.fail()
			}
			return
		}
	}
}

func delimiter(c byte) bool {
	switch c {
	case ',', ':', '}', ']', '{', '[', '"', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// literal reads a string with its quotes; plain says that what is between them
// stands for itself.
func (r *Reader) literal() (raw []byte, plain bool) {
	if r.err != nil || r.peek() != '"' {
		r.fail()
		return nil, false
	}
	plain = true
	for i := r.pos + 1; i < len(r.data); i++ {
		c := r.data[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			continue
		}
		switch {
		case c == '"':
			raw = r.data[r.pos : i+1]
			r.pos = i + 1
			return raw, plain
		case c < 0x20:
			r.fail()
			return nil, false
		case c == '\\':
			i++
		}
		plain = false
	}
	r.fail()
	return nil, false
}

// unquote reads a string that is not plain.
func (r *Reader) unquote(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		r.fail()
	}
	return s
}

func (r *Reader) null() bool { return r.word("null") }

// word reads a word if it is there.
func (r *Reader) word(w string) bool {
	if r.err != nil {
		return false
	}
	if r.peek() != w[0] || len(r.data)-r.pos < len(w) || string(r.data[r.pos:r.pos+len(w)]) != w {
		return false
	}
	r.pos += len(w)
	return true
}

// peek returns the next byte that is no space; 0 at the end.
func (r *Reader) peek() byte {
	r.skipSpace()
	if r.pos == len(r.data) {
		return 0
	}
	return r.data[r.pos]
}

func (r *Reader) skipSpace() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return
		}
	}
}

func (r *Reader) fail() {
	if r.err == nil {
		r.err = ErrMalformed
	}
}
