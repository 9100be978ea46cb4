package form

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const formType = "application/x-www-form-urlencoded"

func post(body, contentType string) *http.Request {
	r := httptest.NewRequest("POST", "/token?code=from-query&grant_type=query", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestParseBody(t *testing.T) {
	t.Parallel()
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d=1&", i)
		}
		return b.String()
	}
	tests := []struct {
		name   string
		body   string
		adjust func(*http.Request)
		want   error
	}{
		{"plain", "grant_type=authorization_code&code=x", nil, nil},
		{"empty body", "", nil, nil},
		{"charset", "a=1", header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), nil},
		{"type in capitals", "a=1", header("Content-Type", "Application/X-WWW-Form-Urlencoded"), nil},
		{"no type", "a=1", header("Content-Type"), ErrMediaType},
		{"two types", "a=1", header("Content-Type", formType, "application/json"), ErrMediaType},
		{"JSON", `{"a":1}`, header("Content-Type", "application/json"), ErrMediaType},
		{"text", "a=1", header("Content-Type", "text/plain"), ErrMediaType},
		{"multipart", "a=1", header("Content-Type", "multipart/form-data; boundary=x"), ErrMediaType},
		{"longer type", "a=1", header("Content-Type", formType+"2"), ErrMediaType},
		{"two types in one", "a=1", header("Content-Type", formType+", application/json"), ErrMediaType},
		{"broken type parameter", "a=1", header("Content-Type", formType+"; charset"), ErrMediaType},
		{"gzip", "a=1", header("Content-Encoding", "gzip"), ErrEncoding},
		{"identity, said twice", "a=1", header("Content-Encoding", "identity", "gzip"), ErrEncoding},
		{"64 KiB", "a=" + strings.Repeat("x", MaxBody-2), nil, nil},
		{"64 KiB and one", "a=" + strings.Repeat("x", MaxBody-1), nil, ErrTooLarge},
		{"64 KiB and one, chunked", "a=" + strings.Repeat("x", MaxBody-1), func(r *http.Request) { r.ContentLength = -1 }, ErrTooLarge},
		{"length announced", "a=1", func(r *http.Request) { r.ContentLength = MaxBody + 1 }, ErrTooLarge},
		{"capped outside", "a=12345", func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 3) }, ErrTooLarge},
		{"peer gone", "", func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(strings.NewReader("a=1"), broken{})) }, ErrMalformed},
		{"no body", "", func(r *http.Request) { r.Body = nil }, nil},
		{"64 parameters", many(64), nil, nil},
		{"65 parameters", many(65), nil, ErrTooMany},
		{"flood of one name", strings.Repeat("a&", 20_000), nil, ErrTooMany},
		{"separators only", strings.Repeat("&", MaxBody), nil, nil},
		{"read before by FormValue", "a=1", func(r *http.Request) { r.FormValue("a") }, errRead},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := post(tt.body, formType)
			if tt.adjust != nil {
				tt.adjust(r)
			}
			f, err := ParseBody(r)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil && len(f.pairs) != 0 {
				t.Error("an error came with a value")
			}
			if f.Has("code") && f.Get("code") != "x" || f.Get("grant_type") == "query" {
				t.Error("the query was merged into the body")
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestParseQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw  string
		want string // %q of the pairs
		err  error
	}{
		{"", "[]", nil},
		{"&&", "[]", nil},
		{"a=1&b=2", `[{"a" "1"} {"b" "2"}]`, nil},
		{"a", `[{"a" ""}]`, nil},
		{"a=b=c", `[{"a" "b=c"}]`, nil},
		{"a=x+y%20z%2B", `[{"a" "x y z+"}]`, nil},
		{"a%3db=1", `[{"a=b" "1"}]`, nil},
		{"a=1;b=2", `[{"a" "1;b=2"}]`, nil}, // one parameter, not two
		{"a=%e2%82%ac", `[{"a" "€"}]`, nil},
		{"a=€", `[{"a" "€"}]`, nil},
		{"a=%2", "", ErrMalformed},
		{"a=%", "", ErrMalformed},
		{"a=%zz", "", ErrMalformed},
		{"a=%+1", "", ErrMalformed},
		{"%g1=1", "", ErrMalformed},
		{"a=%ff", "", ErrMalformed},
		{"a=\xff", "", ErrMalformed},
		{"a=%c0%80", "", ErrMalformed}, // NUL, overlong
		{"a=%ed%a0%80", "", ErrMalformed},
		{"a=x%00y", "", ErrMalformed},
		{"a%00=1", "", ErrMalformed},
		{"=1", "", ErrMalformed},
		{"a=1&=", "", ErrMalformed},
		{strings.Repeat("n", MaxName) + "=1", fmt.Sprintf("[{%q \"1\"}]", strings.Repeat("n", MaxName)), nil},
		{strings.Repeat("n", MaxName+1) + "=1", "", ErrMalformed},
		{"a=" + strings.Repeat("x", MaxQuery-1), "", ErrTooLarge},
		{strings.Repeat("a=1&", 65), "", ErrTooMany},
	}
	for _, tt := range tests {
		f, err := ParseQuery(tt.raw)
		if err != tt.err {
			t.Errorf("%.40q: error %v, want %v", tt.raw, err, tt.err)
		} else if got := fmt.Sprintf("%q", f.pairs); err == nil && got != tt.want {
			t.Errorf("%.40q: %s, want %s", tt.raw, got, tt.want)
		}
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	f, err := ParseQuery("resource=r1&scope=&state=s&resource=r2&resource=&x-y=1&at_0123456789abcdef0123456789abcdef=1&state=s&scope=")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Get("resource"); got != "r1" {
		t.Errorf("Get: %q", got)
	}
	if got := f.All("resource"); !slices.Equal(got, []string{"r1", "r2"}) {
		t.Errorf("All: %q", got)
	}
	if f.Get("scope") != "" || f.Has("scope") || f.All("scope") != nil {
		t.Error("an empty value is not absent, RFC 6749 §3.1")
	}
	if f.Has("absent") || !f.Has("state") {
		t.Error("Has")
	}
	for _, tt := range []struct {
		except []string
		want   string
	}{
		{nil, "resource"},
		{[]string{"resource", "audience"}, "scope"}, // repeated with empty values
		{[]string{"resource", "scope"}, "state"},    // repeated with equal values
		{[]string{"resource", "scope", "state"}, ""},
	} {
		if got := f.Repeated(tt.except...); got != tt.want {
			t.Errorf("Repeated(%q): %q, want %q", tt.except, got, tt.want)
		}
	}
	if got := f.Names(); !slices.Equal(got, []string{"?", "resource", "scope", "state"}) {
		t.Errorf("Names: %q", got)
	}
	var zero Form
	if zero.Get("a") != "" || zero.Repeated() != "" || len(zero.Names()) != 0 {
		t.Error("the zero Form is not empty")
	}
}

// A get of an empty first value must not hide the second, nor let it through
// unnoticed: Repeated sees both.
func TestEmptyThenValue(t *testing.T) {
	t.Parallel()
	f, err := ParseQuery("code=&code=x")
	if err != nil || f.Get("code") != "x" || f.Repeated() != "code" {
		t.Errorf("%v %v", f, err)
	}
}

// A flood is refused after MaxPairs, whatever its size. The count of
// allocations shows that no map of it is built, without a clock.
func TestFloodStopsEarly(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%%61%d=1&", i)
	}
	flood := b.String()
	if n := testing.AllocsPerRun(10, func() {
		if _, err := parse(flood); err != ErrTooMany {
			t.Errorf("error %v", err)
		}
	}); n > 3*MaxPairs {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse compares what is accepted with net/url, which differs on purpose in
// one thing only: it refuses a bare semicolon.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a=1&b=2", "a=%e2%82%ac+x", "a;b=1", "a=%", "a=%00", "&&a&a=", "a=b=c&a", strings.Repeat("a&", 65)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseQuery(s)
		if err != nil {
			if len(got.pairs) != 0 {
				t.Fatal("an error came with a value")
			}
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(s, ";", "%3B"))
		if err != nil {
			t.Fatalf("accepted what net/url refuses: %v", err)
		}
		seen := url.Values{}
		for _, p := range got.pairs {
			seen[p.name] = append(seen[p.name], p.value)
		}
		if len(seen) != len(want) || len(got.pairs) > MaxPairs {
			t.Fatalf("%q, want %q", seen, want)
		}
		repeated := false
		for name, values := range want {
			if !slices.Equal(seen[name], values) {
				t.Fatalf("%q: %q, want %q", name, seen[name], values)
			}
			repeated = repeated || len(values) > 1
			values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
			if !slices.Equal(got.All(name), values) || got.Has(name) != (len(values) > 0) {
				t.Fatalf("All(%q) = %q, want %q", name, got.All(name), values)
			}
		}
		if again, err := parse(got.Encode()); err != nil || !slices.Equal(again.pairs, got.pairs) {
			t.Fatalf("%q encoded is %q: %v", got.pairs, got.Encode(), err)
		}
		if repeated != (got.Repeated() != "") {
			t.Fatalf("Repeated() = %q", got.Repeated())
		}
	})
}
