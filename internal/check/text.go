package check

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text tells whether s is valid UTF-8 that shows as what it is: no control
// characters, and none of the characters that turn the direction of writing or
// are not seen (Unicode categories Cc and Cf, line and paragraph separators),
// save the two joiners that some languages need inside words.
func Text(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r == '\u200c' || r == '\u200d':
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			return false
		}
	}
	return true
}

// VSChar tells whether s is printable ASCII, RFC 6749 appendix A.
func VSChar(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// ScopeToken tells whether s is one scope value, RFC 6749 §3.3, of at most 256
// characters.
func ScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// MaxScopes is the number of values that a scope may have.
const MaxScopes = 64

// Scope tells whether s is 1 to 64 scope values separated by single spaces.
func Scope(s string) bool {
	n := 0
	for t := range strings.SplitSeq(s, " ") {
		if n++; n > MaxScopes || !ScopeToken(t) {
			return false
		}
	}
	return true
}
