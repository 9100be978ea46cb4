package handlers

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestCatalogue holds CATALOGUE.md against the code, both ways: configuration
// IDs with rule and fix, reasons with their error, events with all that is known of them.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../CATALOGUE.md")
	if err != nil {
		t.Fatal(err)
	}
	// For each section what must stand right behind a name.
	want := map[string]map[string]string{"Configuration": {}, "Reasons": {}, "Events": {}}
	for id, r := range configRules {
		want["Configuration"][id] = r.rule + " | " + r.fix + " |"
	}
	for name, f := range reasons {
		want["Reasons"]["`"+name+"`"] = f.code + " | "
	}
	for name, e := range events {
		want["Events"]["`"+name+"`"] = e.outcome + " | " + e.always + " | " + e.meaning + " |"
	}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, rows, _ := strings.Cut(section, "\n")
		seen := map[string]bool{}
		for _, m := range regexp.MustCompile("(?m)^\\| (IDP\\d+|`[a-z_.]+`) \\| (.*)$").FindAllStringSubmatch(rows, -1) {
			name, rest := m[1], m[2]
			head, ok := want[title][name]
			switch {
			case !ok:
				t.Errorf("%s has %s, which is not in the code", title, name)
			case seen[name]:
				t.Errorf("%s has %s twice", title, name)
			case !strings.HasPrefix(rest, head):
				t.Errorf("%s says of %s: %s; the code: %s", title, name, rest, head)
			case regexp.MustCompile(`\|\s*\|`).MatchString(rest):
				t.Errorf("%s leaves something of %s empty", title, name)
			}
			seen[name] = true
		}
		for name := range want[title] {
			if !seen[name] {
				t.Errorf("%s does not have %s", title, name)
			}
		}
		delete(want, title)
	}
	if len(want) > 0 {
		t.Errorf("CATALOGUE.md lacks sections: %d", len(want))
	}
}
