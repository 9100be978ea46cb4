package handlerstest

import (
	"net/http"
	"net/url"
	"strings"
)

// mayPost tells whether a page's Content-Security-Policy lets it send a form to
// a URL. Browsers ask that also of the redirects that follow, so a policy with
// form-action 'self' strands whoever signs in for an application elsewhere; and
// of no other directive is there a test without a browser. CSP Level 3 §6.4.1.
func mayPost(header http.Header, page, to *url.URL) bool {
	for _, list := range header.Values("Content-Security-Policy") {
		for policy := range strings.SplitSeq(list, ",") {
			for directive := range strings.SplitSeq(policy, ";") {
				words := strings.Fields(directive)
				if len(words) == 0 || !strings.EqualFold(words[0], "form-action") {
					continue
				}
				if !anySource(words[1:], page, to) {
					return false
				}
				break // a second one is ignored
			}
		}
	}
	return true
}

func anySource(sources []string, page, to *url.URL) bool {
	for _, s := range sources {
		if source(strings.ToLower(s), page, to) {
			return true
		}
	}
	return false
}

// source matches one source expression, CSP Level 3 §6.7.2.
func source(s string, page, to *url.URL) bool {
	scheme, rest, hasScheme := strings.Cut(s, "://")
	switch {
	case s == "'self'":
		return originOf(page) == originOf(to)
	case strings.HasPrefix(s, "'"):
		return false
	case s == "*":
		return to.Scheme == "http" || to.Scheme == "https" || to.Scheme == page.Scheme
	case !hasScheme && strings.HasSuffix(s, ":"):
		return schemeFits(strings.TrimSuffix(s, ":"), to.Scheme)
	case !hasScheme:
		scheme, rest = page.Scheme, s
	}
	if !schemeFits(scheme, to.Scheme) {
		return false
	}
	rest, path, hasPath := strings.Cut(rest, "/")
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	if tail, ok := strings.CutPrefix(host, "*."); ok {
		if !strings.HasSuffix(strings.ToLower(to.Hostname()), "."+tail) {
			return false
		}
	} else if strings.Trim(host, "[]") != strings.ToLower(to.Hostname()) && host != "*" {
		return false
	}
	if port != "*" && portOf(port, scheme) != portOf(to.Port(), to.Scheme) && (port != "" || to.Port() != "") {
		return false
	}
	if path = "/" + path; !hasPath || path == "/" {
		return true
	}
	at := strings.ToLower(to.Path) // s is in lower case too
	return at == path || strings.HasSuffix(path, "/") && strings.HasPrefix(at, path)
}

// schemeFits: http stands for https too.
func schemeFits(want, got string) bool { return want == got || want == "http" && got == "https" }

func portOf(port, scheme string) string {
	if port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[scheme]
}
