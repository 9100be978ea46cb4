package middleware

import (
	"net"
	"net/http"
	"strings"
)

// securityHeaders are right for an answer that is data. The policy lets it do
// nothing at all should a browser ever show it as a page.
var securityHeaders = [...]struct{ name, value string }{
	{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"},
	{"Referrer-Policy", "no-referrer"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
}

// SecurityHeaders sets what tells a browser to do less: no sniffing, no
// framing, no referrer, no embedding by other origins, no script. What an outer
// handler has set stays; an inner one that draws a page replaces the
// Content-Security-Policy with its own. Requests that came by TLS are answered
// with Strict-Transport-Security as by HSTS.
//
// Cross-Origin-Resource-Policy governs only requests without CORS, so
// same-origin does not hinder the scripts that CORS admits.
// Cross-Origin-Opener-Policy cuts a page off from the window that opened it, so
// a relying party that signs in through a popup cannot use window.opener; a
// handler that must allow it deletes the header.
func SecurityHeaders(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		values := new([len(securityHeaders)]string) // one piece of memory for all
		for i, s := range securityHeaders {
			if _, ok := header[s.name]; !ok {
				values[i] = s.value
				header[s.name] = values[i : i+1 : i+1]
			}
		}
		if r.TLS != nil {
			setHSTS(w.Header(), r.Host)
		}
		h.ServeHTTP(w, r)
	})
}

// HSTS tells browsers to come by https only for a year, RFC 6797. It is for
// servers behind a proxy that ends TLS; where TLS ends here, SecurityHeaders
// does the same. Other hosts of the domain are left alone.
func HSTS(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHSTS(w.Header(), r.Host)
		h.ServeHTTP(w, r)
	})
}

// setHSTS leaves localhost out: there the promise would bind every port, that
// is every other program a developer runs.
func setHSTS(header http.Header, host string) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host = strings.ToLower(host); host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return
	}
	setDefault(header, "Strict-Transport-Security", "max-age=31536000")
}

func setDefault(header http.Header, name, value string) {
	if _, ok := header[name]; !ok {
		header[name] = []string{value}
	}
}
