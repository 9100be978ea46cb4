package middleware

import "strings"

// elements returns, for each element of a list like
//
//	for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"
//
// the value of the parameter key, "" where it is absent. It is the grammar of
// RFC 7239 §4, with unquoted values as Envoy's X-Forwarded-Client-Cert has them.
//
// ok is false if anything is malformed, because a proxy only appends: a client
// that opens a quote and does not close it would else swallow what the proxy says.
func elements(s, key string) (values []string, ok bool) {
	for {
		if s = strings.TrimLeft(s, " \t,"); s == "" { // empty elements do not count, RFC 9110 §5.6.1
			return values, true
		}
		var value string
		if value, s, ok = element(s, key); !ok {
			return nil, false
		}
		values = append(values, value)
	}
}

// element reads up to the next comma outside quotes.
func element(s, key string) (found, rest string, ok bool) {
	seen := false
	for {
		name, after, has := strings.Cut(strings.TrimLeft(s, " \t"), "=")
		if !has || name == "" || strings.ContainsAny(name, " \t,;\"\\") {
			return "", "", false
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			if value, s, ok = unquote(after[1:]); !ok {
				return "", "", false
			}
		} else {
			end := strings.IndexAny(after, " \t,;\"\\")
			if end < 0 {
				end = len(after)
			}
			value, s = after[:end], after[end:]
		}
		if strings.EqualFold(name, key) {
			if seen {
				return "", "", false
			}
			found, seen = value, true
		}
		s = strings.TrimLeft(s, " \t")
		switch {
		case s == "" || s[0] == ',':
			return found, s, true
		case s[0] != ';':
			return "", "", false
		}
		s = s[1:]
	}
}

// unquote reads the rest of a quoted-string, RFC 9110 §5.6.4.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
