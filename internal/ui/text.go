package ui

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest texts shown, in characters. Registration has bounds of its own; a
// page must not depend on them.
const (
	maxName = 80
	maxText = 300
	maxMark = 3 // combining marks on one letter: more climb over the lines above
)

// cleanText makes a stranger's text fit to stand on a page of ours: no control
// or direction characters that would reorder what is around it, nothing
// invisible that tells two equal looking names apart, one line, bounded.
func cleanText(s string, limit int) string {
	var b strings.Builder
	n, marks, space := 0, 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || r == '\u2028' || r == '\u2029' || blank(r):
			space = n > 0
			continue
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			if marks++; marks > maxMark {
				continue
			}
		case !shown(r):
			continue
		default:
			marks = 0
		}
		if n >= limit {
			b.WriteRune('…')
			break
		}
		if space {
			b.WriteByte(' ')
			n, space = n+1, false
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// shown says whether r may be shown. The joiners are kept because several
// scripts are wrong without them.
func shown(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return true
	}
	return r != utf8.RuneError && !unicode.In(r, unicode.C, unicode.Noncharacter_Code_Point)
}

// blank says whether r is a letter or symbol without ink.
func blank(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800', '\u034f', '\u17b4', '\u17b5':
		return true
	}
	return false
}

// initial returns the first letter or digit in upper case, "" if there is none.
func initial(s string) string {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return ""
}
