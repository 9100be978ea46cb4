package check

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// MaxURI is the length that any URI may have, in bytes.
const MaxURI = 2048

// URI is an absolute URI split by a parser that has no opinion to repair
// anything with: what browsers and libraries read differently does not parse.
type URI struct {
	Scheme string // as written
	Host   string // without port, an IPv6 address in its brackets; empty: no authority
	Port   string // 1 to 65535, digits; empty: none
	Path   string // with its query
}

// ParseURI splits s. The problem is empty, or says what is wrong with s as the
// end of a sentence ("has a fragment"). RFC 3986 §3, without fragment,
// user-info, IP futures and zone identifiers.
func ParseURI(s string) (u URI, problem string) {
	if s == "" {
		return u, "is empty"
	}
	if len(s) > MaxURI {
		return u, "is longer than 2048 characters"
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '#':
			return u, "has a fragment"
		case c <= ' ', c >= 0x7f, c == '"', c == '<', c == '>', c == '\\', c == '^', c == '`', c == '{', c == '|', c == '}':
			return u, "has a character that must be percent-encoded"
		case c == '%' && (i+2 >= len(s) || !hex(s[i+1]) || !hex(s[i+2])):
			return u, "has a broken percent-encoding"
		}
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !validScheme(scheme) {
		return u, "is not absolute"
	}
	u.Scheme = scheme
	if !strings.HasPrefix(rest, "/") {
		return u, "has no slash after its scheme"
	}
	if rest, ok = strings.CutPrefix(rest, "//"); ok {
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if u.Host, u.Port, problem = splitAuthority(rest[:end]); problem != "" {
			return u, problem
		}
		rest = rest[end:]
	}
	u.Path = rest
	path, _, _ := strings.Cut(rest, "?")
	if strings.IndexByte(path, '.') < 0 && strings.IndexByte(path, '%') < 0 {
		return u, ""
	}
	for segment := range strings.SplitSeq(path, "/") {
		if d := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); d == "." || d == ".." {
			return u, "has a dot segment in its path"
		}
	}
	return u, ""
}

func splitAuthority(s string) (host, port, problem string) {
	if strings.Contains(s, "@") {
		return "", "", "has user-info"
	}
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if !validPort(port) {
			return "", "", "has a port that is no number from 1 to 65535"
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if !ok || err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", "has a host that is no IPv6 address"
		}
		return host, port, ""
	}
	if !validHost(host) {
		return "", "", "has no valid host"
	}
	return host, port, ""
}

// validHost takes DNS names and IPv4 addresses in their four-number form. A
// last label of digits is an address to browsers, whichever its form.
func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for l := range strings.SplitSeq(s, ".") {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			if c := l[i]; !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
		last = l
	}
	if '0' <= last[0] && last[0] <= '9' {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is4()
	}
	return true
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

func validScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		alpha := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !alpha && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// Origin is scheme, host and port as they compare, RFC 6454 §4, the port only
// where it is not the scheme's own.
func (u URI) Origin() string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Port == "" || scheme == "https" && u.Port == "443" || scheme == "http" && u.Port == "80" {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + u.Port
}

// HTTPS returns "" for an https URI with a host and nothing that parsers
// disagree on, else the problem.
func HTTPS(s string) (problem string) {
	u, problem := ParseURI(s)
	switch {
	case problem != "":
		return problem
	case u.Scheme != "https":
		return "is not https"
	case u.Host == "":
		return "has no host"
	}
	return ""
}

// Issuer returns "" for what can be an issuer, else the problem: https, or http
// on a loopback host, without query, fragment and final slash. OpenID Connect
// Discovery §3, RFC 8414 §2.
func Issuer(s string) (problem string) {
	u, problem := ParseURI(s)
	switch {
	case problem != "":
		return problem
	case u.Host == "":
		return "has no host"
	case strings.Contains(u.Path, "?"):
		return "has a query"
	case strings.HasSuffix(u.Path, "/"):
		return "ends with a slash"
	case u.Scheme == "https":
		return ""
	case u.Scheme != "http":
		return "is not https"
	case u.Host != "localhost" && u.Host != "127.0.0.1" && u.Host != "[::1]":
		return "is http and not on a loopback host"
	}
	return ""
}

// responseParameters are those that an authorization response adds.
func responseParameters() []string {
	return []string{"code", "state", "iss", "error", "error_description", "error_uri", "response", "id_token", "access_token", "session_state"}
}

// RedirectURI returns "" for a URI that could be some client's redirect URI,
// else the problem. Which schemes and hosts a client may use is not judged
// here. RFC 6749 §3.1.2, RFC 9700 §4.1.3.
func RedirectURI(s string) (problem string) {
	u, problem := ParseURI(s)
	switch {
	case problem != "":
		return problem
	case strings.Contains(s, "*"):
		return "has a wildcard"
	case u.Scheme == "https" || u.Scheme == "http":
		if u.Host == "" {
			return "has no host"
		}
	case strings.EqualFold(u.Scheme, "https"), strings.EqualFold(u.Scheme, "http"):
		return "has a scheme in capitals"
	case !strings.Contains(u.Scheme, "."):
		return "has a scheme that is neither https nor the reverse of a domain name"
	}
	_, query, _ := strings.Cut(u.Path, "?")
	if query == "" {
		return ""
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && slices.Contains(responseParameters(), name) {
			return "has a query parameter that the authorization response sets"
		}
	}
	return ""
}
