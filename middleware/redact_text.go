package middleware

import (
	"net/url"
	"strings"

	"github.com/idpkit/idpkit/internal/handle"
)

// redactText replaces what looks like a secret in a text. It reads the text
// once; a text without anything suspicious is returned as it is.
func redactText(s string) string {
	var out strings.Builder
	// What a run of base64url characters does not have, no end of it has: each
	// run is read once, however often something seems to begin in it.
	noHandle, noJWT := 0, 0
	done := 0                       // s[:done] is in out
	cut := func(from, to int) int { // replaces s[from:to]
		if to <= from || from < done {
			return max(from, done)
		}
		out.WriteString(s[done:from])
		out.WriteString(redacted)
		done = to
		return to
	}
	for i := 0; i < len(s); {
		switch s[i] {
		case '_':
			if i >= max(2, noHandle) && isHandlePrefix(s[i-2:i+1]) {
				end := run(s, i+1)
				if s[i-2:i+1] == handle.Session && end < len(s) && s[end] == '.' { // a key, and the secret that belongs to it
					end = run(s, end+1)
				}
				if looksRandom(s[i+1 : end]) {
					i = cut(i+1, end)
					continue
				}
				noHandle = end
			}
		case 'u', 'U':
			if n := len(handle.PAR); len(s)-i > n && strings.EqualFold(s[i:i+n], handle.PAR) {
				i = cut(i+n, run(s, i+n))
				continue
			}
		case 'e':
			if i >= noJWT && strings.HasPrefix(s[i:], "eyJ") {
				end, ok := jwtEnd(s, i)
				if ok {
					i = cut(i, end)
					continue
				}
				noJWT = end
			}
		case ' ':
			if end := credentialEnd(s, i); end > 0 {
				i = cut(i+1, end)
				continue
			}
		case '=', '%':
			if from, to := valueOf(s, i); to > from {
				i = cut(from, to)
				continue
			}
		case ':':
			if from, to := memberOf(s, i); to > from {
				i = cut(from, to)
				continue
			}
		}
		i++
	}
	if done == 0 {
		return s
	}
	out.WriteString(s[done:])
	return out.String()
}

func isHandlePrefix(p string) bool {
	switch p {
	case handle.Code, handle.Interaction, handle.Session, handle.Refresh, handle.Access, handle.Device:
		return true
	}
	return false
}

// run returns where the base64url characters that begin at i end.
func run(s string, i int) int {
	for i < len(s) && isBase64URL(s[i]) {
		i++
	}
	return i
}

func isBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// looksRandom tells 24 random bytes in base64url from a word with underscores:
// chance leaves out neither small letters nor capitals. One handle in 6,000 has
// no digit, so what is as long as one needs none.
func looksRandom(s string) bool {
	return len(s) >= 32 && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") && strings.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") &&
		(len(s) >= 51 || strings.ContainsAny(s, "0123456789"))
}

// jwtEnd returns where the JWS or JWE that begins at i ends; it is not ok if
// there is none. The first part of one is JSON in base64url: it begins with eyJ.
func jwtEnd(s string, i int) (end int, ok bool) {
	end = run(s, i)
	if end-i < 8 || end == len(s) || s[end] != '.' {
		return end, false
	}
	for parts := 1; end < len(s) && s[end] == '.' && parts < 5; parts++ {
		end = run(s, end+1)
	}
	return end, true
}

// credentialEnd returns where the credential of an Authorization header ends
// whose scheme ends before the blank at i, 0 if there is none.
func credentialEnd(s string, i int) int {
	word := s[:i]
	if j := strings.LastIndexFunc(word, func(c rune) bool { return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') }); j >= 0 {
		word = word[j+1:]
	}
	if !strings.EqualFold(word, "Bearer") && !strings.EqualFold(word, "Basic") && !strings.EqualFold(word, "DPoP") {
		return 0
	}
	end := i + 1
	odd := false // a letter of an ordinary word is neither
	for end < len(s) && (isBase64URL(s[end]) || strings.IndexByte(".~+/=", s[end]) >= 0) {
		odd = odd || !(s[end] >= 'a' && s[end] <= 'z' || s[end] == '=' || s[end] == '.')
		end++
	}
	if end-i-1 < 8 || !odd {
		return 0
	}
	return end
}

// valueOf returns the value after the '=', or "%3D", at i if a secret's name
// stands before it.
func valueOf(s string, i int) (from, to int) {
	from = i + 1
	if s[i] == '%' { // escaped, and perhaps escaped again
		for strings.HasPrefix(s[from:], "25") {
			from += 2
		}
		if !strings.HasPrefix(s[from:], "3D") && !strings.HasPrefix(s[from:], "3d") {
			return 0, 0
		}
		from += 2
	}
	name := nameBefore(s, i)
	if name == "" || secretName(name) == open {
		return 0, 0
	}
	return from, valueEnd(s, &from)
}

// nameBefore returns the parameter's name that ends at i.
func nameBefore(s string, i int) string {
	begin := i
	for begin > 0 && i-begin < 64 && (isBase64URL(s[begin-1]) || s[begin-1] == '.' || s[begin-1] == '%') {
		begin--
	}
	name := s[begin:i]
	if strings.IndexByte(name, '%') < 0 {
		return name
	}
	// c%6fde is code, and an escaped separator ends the name before.
	plain := make([]byte, 0, len(name))
	for j := 0; j < len(name); j++ {
		c := name[j]
		if c == '%' {
			k := j + 1
			for strings.HasPrefix(name[k:], "25") { // the % that %25 stands for
				k += 2
			}
			if b, err := url.PathUnescape("%" + name[k:min(k+2, len(name))]); err == nil {
				c, j = b[0], k+1
			}
		}
		if plain = append(plain, c); !isBase64URL(c) && c != '.' {
			plain = plain[:0]
		}
	}
	return string(plain)
}

// valueEnd returns where the value that begins at *from ends, and moves *from
// behind an opening quote.
func valueEnd(s string, from *int) int {
	if rest := s[*from:]; rest == "" || strings.HasPrefix(rest, redacted) {
		return *from
	}
	if q := s[*from]; q == '"' || q == '\'' {
		*from++
		return quoteEnd(s, *from, q)
	}
	if end := strings.IndexAny(s[*from:], "&; \t\r\n\"'<>#,)]}"); end >= 0 {
		return *from + end
	}
	return len(s)
}

func quoteEnd(s string, i int, q byte) int {
	for i < len(s) && s[i] != q {
		if s[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(s))
}

// memberOf returns what follows the ':' at i if that is the value of a JSON
// member or a header with a secret's name, or the password of a URL.
func memberOf(s string, i int) (from, to int) {
	from = i + 1
	if strings.HasPrefix(s[from:], "//") { // scheme://user:password@host
		end := strings.IndexAny(s[from+2:], "/?# \t\r\n\"'<>")
		if end < 0 {
			end = len(s) - from - 2
		}
		authority := s[from+2 : from+2+end]
		at := strings.LastIndexByte(authority, '@')
		colon := strings.IndexByte(authority, ':')
		if at < 0 || colon < 0 || colon > at || strings.HasPrefix(authority[colon+1:], redacted) {
			return 0, 0
		}
		return from + 2 + colon + 1, from + 2 + at
	}
	before := strings.TrimRight(s[:i], " \t")
	quoted := ""
	for _, q := range [...]string{`\"`, `"`, `'`} {
		if strings.HasSuffix(before, q) {
			quoted, before = q, before[:len(before)-len(q)]
			break
		}
	}
	how := secretName(nameBefore(before, len(before)))
	for from < len(s) && (s[from] == ' ' || s[from] == '\t') {
		from++
	}
	switch {
	case how == open || from == len(s):
		return 0, 0
	case quoted != "" && strings.HasPrefix(s[from:], quoted): // a member whose value is a string
		from += len(quoted)
		if strings.HasPrefix(s[from:], redacted) {
			return 0, 0
		}
		if quoted == `\"` {
			if end := strings.Index(s[from:], quoted); end >= 0 {
				return from, from + end
			}
			return from, len(s)
		}
		return from, quoteEnd(s, from, quoted[0])
	case quoted != "" || how == secretText: // a number, a list; prose such as "unknown code: x"
		return 0, 0
	}
	// A header, or text that looks like one: all of the line.
	if strings.HasPrefix(s[from:], redacted) {
		return 0, 0
	}
	if end := strings.IndexAny(s[from:], "\r\n"); end >= 0 {
		return from, from + end
	}
	return from, len(s)
}
