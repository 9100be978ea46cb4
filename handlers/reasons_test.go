package handlers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources returns the package's own source without tests.
func sources(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(src)
	}
	return b.String()
}

// TestReasonCatalogue holds the catalogue against the code in both directions:
// every reason that the code names is there, and every entry is used.
func TestReasonCatalogue(t *testing.T) {
	t.Parallel()
	src := sources(t)
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:refuse\(|asRefresh\(err, )"([^"]+)"`).FindAllStringSubmatch(src, -1) {
		used[m[1]] = true
		if _, ok := reasons[m[1]]; !ok {
			t.Errorf("%q is not in the catalogue", m[1])
		}
	}
	for r, f := range reasons {
		if !used[r] {
			t.Errorf("%q is in the catalogue and nowhere used", r)
		}
		for _, c := range []byte(f.description) {
			if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				t.Errorf("%s: description has a character that RFC 6749 §5.2 does not allow", r)
			}
		}
	}
	for r := range problemKinds {
		if _, ok := reasons[r]; !ok {
			t.Errorf("problemKinds names %q, which is no reason", r)
		}
	}
}

// TestEventCatalogue: every event that the code emits is in EventNames, and the
// other way round.
func TestEventCatalogue(t *testing.T) {
	t.Parallel()
	src, names := sources(t), EventNames()
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:Name: |e\.Name, e\.Grant = |is\.refresh, e\.Name = string\(successor\), )"([a-z_.]+)"`).FindAllStringSubmatch(src, -1) {
		used[m[1]] = true
	}
	for n := range names {
		if !used[n] {
			t.Errorf("event %q is never emitted", n)
		}
		delete(used, n)
	}
	for n := range used {
		if strings.Contains(n, ".") {
			t.Errorf("event %q is not in EventNames", n)
		}
	}
}

// TestConfigCatalogue holds the list in doc.go against configRules.
func TestConfigCatalogue(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t(IDP\d+) `).FindAllStringSubmatch(string(doc), -1) {
		listed[m[1]] = true
		if _, ok := configRules[m[1]]; !ok {
			t.Errorf("doc.go lists %s, which no rule has", m[1])
		}
	}
	src := sources(t)
	for id := range configRules {
		if !listed[id] {
			t.Errorf("doc.go does not list %s", id)
		}
		if strings.Count(src, `"`+id+`"`) < 2 {
			t.Errorf("%s is never reported", id)
		}
	}
}
