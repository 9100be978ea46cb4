package handle

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

var prefixes = []string{Code, PAR, Interaction, Session, Refresh, Access, Device}

func TestNewAndParse(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range prefixes {
		for _, shard := range []uint16{0, 1, 255, 256, 65535} {
			h, err := New(p, shard, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := Parse(p, h); !ok || got != shard {
				t.Errorf("%s: shard %d, %v", p, got, ok)
			}
			for _, o := range prefixes {
				if _, ok := Parse(o, h); ok && o != p {
					t.Errorf("a handle of %q parses as %q", p, o)
				}
				if _, ok := Parse(o, o+h[len(p):]); ok && o != p {
					t.Errorf("a handle of %q parses as %q when its prefix is swapped", p, o)
				}
			}
			if seen[h] || seen[Key(h)] {
				t.Errorf("%s repeats", h)
			}
			seen[h], seen[Key(h)] = true, true
		}
	}
}

// TestPrefixes: no prefix is the beginning of another one.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	for i, p := range prefixes {
		for j, o := range prefixes {
			if i != j && strings.HasPrefix(o, p) {
				t.Errorf("%q begins with %q", o, p)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	h, err := New(Code, 513, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty": "", "prefix only": Code, "cut": h[:len(h)-1], "longer": h + "A", "other case": strings.ToUpper(h),
		"padded": h[:len(h)-1] + "=", "line feed": h[:10] + "\n" + h[11:], "standard alphabet": Code + strings.Repeat("+", len(h)-3),
		"zeros": Code + strings.Repeat("A", len(h)-3), "blank before": " " + h, "no prefix": h[3:],
	} {
		if _, ok := Parse(Code, bad); ok {
			t.Errorf("%s: parsed", name)
		}
	}
	for i := len(Code); i < len(h); i++ { // every other spelling of every character
		for _, c := range "ABab01-_" {
			if bad := h[:i] + string(c) + h[i+1:]; bad != h {
				if _, ok := Parse(Code, bad); ok {
					t.Fatalf("%q parses as well as %q", bad, h)
				}
			}
		}
	}
}

func TestRandomnessFails(t *testing.T) {
	t.Parallel()
	short := func() *bytes.Reader { return bytes.NewReader([]byte{1}) }
	if h, err := New(Code, 0, short()); err == nil || h != "" {
		t.Errorf("New: %q, %v", h, err)
	}
	if _, err := Shard(short()); err == nil {
		t.Error("Shard drew two bytes from one")
	}
	if _, err := Random(short(), 16); !errors.Is(err, errors.Unwrap(err)) && err == nil {
		t.Error("Random drew 16 bytes from one")
	}
	if Source(nil) != rand.Reader {
		t.Error("Source(nil) is not crypto/rand")
	}
}

// TestDerivedKey: the parts' borders count.
func TestDerivedKey(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}} {
		k := DerivedKey(parts...)
		if seen[k] != nil {
			t.Errorf("%q and %q have one key", parts, seen[k])
		}
		seen[k] = parts
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	if b, ok := Decode("AQI"); !ok || !bytes.Equal(b, []byte{1, 2}) {
		t.Errorf("%v %v", b, ok)
	}
	for _, bad := range []string{"AQI=", "AQJ", "AQ\nI", "AQI\r\n", "A", "A+/A"} {
		if _, ok := Decode(bad); ok {
			t.Errorf("%q decodes", bad)
		}
	}
}

// FuzzParse: what parses was made by New, in its one spelling.
func FuzzParse(f *testing.F) {
	h, err := New(Code, 7, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h)
	f.Add("ac_" + strings.Repeat("\n", 51))
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := Parse(Code, s); ok {
			b, ok := Decode(s[len(Code):])
			if !ok || Code+encoding.EncodeToString(b) != s {
				t.Fatalf("%q has two spellings", s)
			}
		}
	})
}
