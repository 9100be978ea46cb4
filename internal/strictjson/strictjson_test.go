package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	many := func(last string) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range 40 {
			fmt.Fprintf(&b, `"m%d":%d,`, i, i)
		}
		return b.String() + `"` + last + `":0}`
	}
	for _, tt := range []struct {
		name, data string
		want       error
	}{
		{"object", `{"a":1,"b":[true,false,null,"x",{}],"c":{"a":1}}`, nil},
		{"scalars", `"x"`, nil},
		{"blanks", " \t\r\n{ \"a\" : [ 1 , 2 ] } \n", nil},
		{"numbers", `[0,-0,1,-1,10,0.5,1e5,1E+5,1e-5,-12.34e56,1e999]`, nil},
		{"escapes", `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`, nil},
		{"UTF-8", `"é€😀"`, nil},
		{"U+FFFD itself", `"` + "\ufffd" + `"`, nil},
		{"DEL and C1", "\"\x7f\u0085\u2028\"", nil},
		{"names of other objects", `[{"a":1},{"a":1},{"b":{"a":1},"a":{"b":1}}]`, nil},
		{"names that differ in case", `{"a":1,"A":2}`, nil},
		{"names of one look", `{"é":1,"` + "e\u0301" + `":2}`, nil},
		{"empty name", `{"":1}`, nil},
		{"many names", many("last"), nil},
		{"depth 3", `[[[]]]`, nil},

		{"depth 4", `[[[[]]]]`, ErrDepth},
		{"depth 4, mixed", `{"a":[{"a":{}}]}`, ErrDepth},
		{"depth 100000", strings.Repeat("[", 100000), ErrDepth},
		{"duplicate", `{"a":1,"a":2}`, ErrDuplicate},
		{"duplicate, same value", `{"a":1,"b":0,"a":1}`, ErrDuplicate},
		{"duplicate, escaped", `{"a":1,"\u0061":2}`, ErrDuplicate},
		{"duplicate, escaped otherwise", `{"\/":1,"/":2}`, ErrDuplicate},
		{"duplicate, surrogates", `{"😀":1,"\ud83d\ude00":2}`, ErrDuplicate},
		{"duplicate, nested", `[{"x":{"a":1,"a":1}}]`, ErrDuplicate},
		{"duplicate, empty name", `{"":1,"":2}`, ErrDuplicate},
		{"duplicate, NUL", `{"\u0000":1,"\u0000":2}`, ErrDuplicate},
		{"duplicate of many, early", many("m3"), ErrDuplicate},
		{"duplicate of many, late", many("m39"), ErrDuplicate},

		{"nothing", ``, ErrSyntax},
		{"blanks only", `  `, ErrSyntax},
		{"trailing value", `{} {}`, ErrSyntax},
		{"trailing NUL", "{}\x00", ErrSyntax},
		{"trailing comma in an object", `{"a":1,}`, ErrSyntax},
		{"trailing comma in an array", `[1,]`, ErrSyntax},
		{"leading comma", `[,1]`, ErrSyntax},
		{"no comma", `[1 2]`, ErrSyntax},
		{"no comma between members", `{"a":1 "b":2}`, ErrSyntax},
		{"no colon", `{"a" 1}`, ErrSyntax},
		{"no value", `{"a":}`, ErrSyntax},
		{"no name", `{:1}`, ErrSyntax},
		{"name not quoted", `{a:1}`, ErrSyntax},
		{"name in single quotes", `{'a':1}`, ErrSyntax},
		{"open object", `{"a":1`, ErrSyntax},
		{"open array", `[1`, ErrSyntax},
		{"open string", `"a`, ErrSyntax},
		{"open escape", `"\`, ErrSyntax},
		{"wrong bracket", `[1}`, ErrSyntax},
		{"comment", `{/**/}`, ErrSyntax},
		{"byte order mark", "\ufeff{}", ErrSyntax},
		{"no-break space", "\u00a0{}", ErrSyntax},
		{"form feed", "\f{}", ErrSyntax},
		{"True", `True`, ErrSyntax},
		{"tru", `tru`, ErrSyntax},
		{"truex", `truex`, ErrSyntax},
		{"NaN", `NaN`, ErrSyntax},
		{"Infinity", `-Infinity`, ErrSyntax},
		{"leading zero", `01`, ErrSyntax},
		{"minus zero one", `-01`, ErrSyntax},
		{"plus", `+1`, ErrSyntax},
		{"point first", `.5`, ErrSyntax},
		{"point last", `5.`, ErrSyntax},
		{"exponent empty", `1e`, ErrSyntax},
		{"exponent sign only", `1e+`, ErrSyntax},
		{"minus only", `-`, ErrSyntax},
		{"hexadecimal", `0x10`, ErrSyntax},
		{"line break in a string", "\"a\nb\"", ErrSyntax},
		{"NUL in a string", "\"\x00\"", ErrSyntax},
		{"unknown escape", `"\x"`, ErrSyntax},
		{"short \\u", `"\u12"`, ErrSyntax},
		{"bad \\u", `"\u12g4"`, ErrSyntax},
		{"lone high surrogate", `"\ud800"`, ErrSyntax},
		{"lone low surrogate", `"\udc00"`, ErrSyntax},
		{"two high surrogates", `"\ud800\ud800"`, ErrSyntax},
		{"high surrogate and a letter", `"\ud800a"`, ErrSyntax},
		{"high surrogate and an escape", `"\ud800\n"`, ErrSyntax},
		{"lone surrogate in a name", `{"\ud800":1}`, ErrSyntax},
		{"invalid byte", "\"\xff\"", ErrSyntax},
		{"cut rune", "\"\xe2\x82\"", ErrSyntax},
		{"overlong", "\"\xc0\xaf\"", ErrSyntax},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", ErrSyntax},
		{"beyond Unicode", "\"\xf4\x90\x80\x80\"", ErrSyntax},
		{"invalid byte in a name", "{\"\xff\":1}", ErrSyntax},
		{"invalid byte outside", "\xff", ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := Check([]byte(tt.data), 3); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if err := Check([]byte(`5`), 0); err != nil {
		t.Errorf("a scalar at depth 0: %v", err)
	}
	if err := Check([]byte(`[]`), 0); !errors.Is(err, ErrDepth) {
		t.Errorf("an array at depth 0: %v", err)
	}
}

type inner struct {
	Name string `json:"name"`
}

type base struct {
	Common string `json:"common"`
}

type outer struct {
	base
	*Embedded
	RedirectURIs []string          `json:"redirect_uris,omitempty"`
	Inner        inner             `json:"inner"`
	List         []*inner          `json:"list"`
	Map          map[string]inner  `json:"map"`
	Free         any               `json:"free"`
	Raw          json.RawMessage   `json:"raw"`
	Time         time.Time         `json:"time"`
	Words        map[string]string `json:"words"`
	Plain        int
	Hidden       int `json:"-"`
	private      int
}

// Embedded is embedded by pointer.
type Embedded struct {
	Deep string `json:"deep"`
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, data string
		want       error
	}{
		{"all", `{"common":"c","deep":"d","redirect_uris":["a"],"inner":{"name":"n"},"list":[{"name":"n"},null],"map":{"k":{"name":"n"}},
			"free":{"NAME":1},"raw":{"Name":1},"time":"2026-01-01T00:00:00Z","Plain":1,"-":2,"Hidden":1,"unknown":{"Name":1}}`, nil},
		{"null", `null`, nil},
		{"case", `{"Redirect_URIs":["https://evil.example"]}`, ErrName},
		{"case, beside the right one", `{"redirect_uris":[],"REDIRECT_URIS":["https://evil.example"]}`, ErrName},
		{"case by Unicode folding", `{"redirect_uri` + "\u017f" + `":[]}`, ErrName},
		{"case, escaped", `{"\u0052edirect_uris":[]}`, ErrName},
		{"case of a plain field", `{"plain":1}`, ErrName},
		{"case of an embedded field", `{"Common":"c"}`, ErrName},
		{"case of a field embedded by pointer", `{"DEEP":"d"}`, ErrName},
		{"case, nested", `{"inner":{"Name":"n"}}`, ErrName},
		{"case in a list", `{"list":[{"name":"n"},{"nAme":"n"}]}`, ErrName},
		{"case in a map's values", `{"map":{"NAME":{"NAME":"n"}}}`, ErrName},
		{"case of a map's keys is free", `{"words":{"a":"1","A":"2"}}`, nil},
		{"case where json has no field", `{"hidden":1,"private":1,"PRIVATE":1}`, nil},
		{"duplicate", `{"Plain":1,"Plain":2}`, ErrDuplicate},
		{"depth", `{"free":[[[[]]]]}`, ErrDepth},
		{"syntax", `{"free":}`, ErrSyntax},
		{"type", `{"Plain":"one"}`, ErrType},
		{"type, overflow", `{"Plain":1e999}`, ErrType},
		{"type, infinite", `{"free":1e999}`, ErrType},
		{"type, of its own", `{"time":"yesterday"}`, ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := outer{private: 1}
			if err := Unmarshal([]byte(tt.data), &v, 4); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	var v outer
	if err := Unmarshal([]byte(`{"common":"c","deep":"d","inner":{"name":"n"}}`), &v, 4); err != nil ||
		v.Common != "c" || v.Deep != "d" || v.Inner.Name != "n" {
		t.Errorf("got %+v, %v", v, err)
	}
}

// Errors say where, never what.
func TestErrorsCarryNoInput(t *testing.T) {
	t.Parallel()
	const canary = "canary7f3a"
	for _, data := range []string{
		`{"Plain":"` + canary + `"}`, `{"` + canary + `":1,"` + canary + `":2}`, canary, `{"time":"` + canary + `"}`, `"` + canary,
	} {
		var v outer
		if err := Unmarshal([]byte(data), &v, 4); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// Time must not grow with the square of the number of members: beyond a few the
// names are hashed.
func TestManyMembersAreHashed(t *testing.T) {
	t.Parallel()
	var n names
	for i := range 17 {
		if !n.add(fmt.Sprint(i)) {
			t.Fatalf("%d is new", i)
		}
	}
	if len(n.set) != 17 {
		t.Errorf("%d names are hashed", len(n.set))
	}
	for _, name := range []string{"0", "16"} {
		if n.add(name) {
			t.Errorf("%s is not new", name)
		}
	}
}

// FuzzStrictJSON compares with encoding/json: what passes is valid there, and
// what is valid there and fails has a reason that encoding/json overlooks.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"a":2}`, `{"a":{"b":[1,2.5e3,"\ud83d\ude00"]}}`, `"\ud800"`, "\"\xff\"", `[[[[]]]]`, `{"A":1,"a":2}`, `null`, `-0.0e-1`, `{"\u0061":1,"a":2}`, ` [ ] `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := Check(data, 8)
		valid := json.Valid(data)
		if err == nil && !valid {
			t.Fatalf("%q passed", data)
		}
		if err != nil && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrDepth) {
			t.Fatalf("unknown error %v", err)
		}
		if errors.Is(err, ErrSyntax) && valid && bytes.Equal(bytes.ToValidUTF8(data, nil), data) && !bytes.Contains(data, []byte(`\u`)) {
			t.Fatalf("%q refused: %v", data, err)
		}
		if !valid {
			return
		}
		duplicate, depth := walk(t, data)
		switch {
		case err == nil && (duplicate || depth > 8):
			t.Fatalf("%q passed, duplicate %v, depth %d", data, duplicate, depth)
		case errors.Is(err, ErrDuplicate) && !duplicate:
			t.Fatalf("%q has no duplicate", data)
		case errors.Is(err, ErrDepth) && depth <= 8:
			t.Fatalf("%q has depth %d", data, depth)
		}
		if err != nil {
			return
		}
		var v, w any
		if json.Unmarshal(data, &v) != nil {
			return // a number beyond float64
		}
		if err := Unmarshal(data, &w, 8); err != nil {
			t.Fatalf("%q: Unmarshal says %v", data, err)
		}
	})
}

// walk reads data with the tokenizer of encoding/json.
func walk(t *testing.T, data []byte) (duplicate bool, depth int) {
	t.Helper()
	type level struct {
		names map[string]bool // nil: array
		name  bool            // the next token is a name
	}
	var stack []level
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return duplicate, depth
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if s, ok := token.(string); ok && len(stack) > 0 && stack[len(stack)-1].name {
			top := &stack[len(stack)-1]
			duplicate = duplicate || top.names[s]
			top.names[s], top.name = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}, name: true})
			depth = max(depth, len(stack))
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			depth = max(depth, len(stack))
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 && stack[len(stack)-1].names != nil {
			stack[len(stack)-1].name = true
		}
	}
}
