package clientreg

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/idpkit/idpkit/internal/check"
)

// LocalizedName returns the client's name in the first of the languages (tags
// of RFC 5646, the best first) that it has a name in, else Name, which may be
// empty. A tag that is not there is looked up without its last part, then
// without the one before: de-AT finds client_name#de. RFC 7591 §2.2,
// RFC 4647 §3.4.
func (c *Client) LocalizedName(locales ...string) string {
	if len(c.Extra) == 0 {
		return c.Name
	}
	names := map[string]string{}
	for member, raw := range sorted(c.Extra) {
		tag, ok := strings.CutPrefix(member, "client_name#")
		var s string
		if ok && json.Unmarshal(raw, &s) == nil && s != "" && validName(s) {
			names[strings.ToLower(tag)] = s
		}
	}
	for _, l := range locales {
		for l = strings.ToLower(l); l != ""; {
			if s, ok := names[l]; ok {
				return s
			}
			i := strings.LastIndexByte(l, '-')
			l = l[:max(i, 0)]
		}
	}
	return c.Name
}

func validName(s string) bool { return utf8.RuneCountInString(s) <= 200 && check.Text(s) }

// translatable tells which members may have a language tag, RFC 7591 §2.2.
func translatable(member string) bool {
	switch member {
	case "client_name", "client_uri", "logo_uri", "policy_uri", "tos_uri":
		return true
	}
	return false
}

// languageTag tells whether s has the form of a tag: parts of 1 to 8 letters
// and digits, RFC 5646 §2.1.
func languageTag(s string) bool {
	for part := range strings.SplitSeq(s, "-") {
		if part == "" || len(part) > 8 || strings.ContainsFunc(part, func(r rune) bool {
			return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9')
		}) {
			return false
		}
	}
	return true
}

// sorted ranges over a map in the order of its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
