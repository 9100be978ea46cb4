package middleware

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

const spa = "https://localhost:4207"

func clientOrigins(_ context.Context, origin string) bool { return origin == spa }

// Row 1 of the reference scenario: a preflight from the application's origin is
// answered without a client.
func TestPreflight(t *testing.T) {
	t.Parallel()
	h := CORS(CORSOptions{Allow: clientOrigins, Methods: "POST"})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a preflight reached the handler")
	}))
	w := do(h, "OPTIONS", "/par", "Origin", spa, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	if w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      spa,
		"Access-Control-Allow-Methods":     "POST",
		"Access-Control-Allow-Headers":     "content-type",
		"Access-Control-Max-Age":           "3600",
		"Access-Control-Allow-Credentials": "",
		"Vary":                             "Origin",
	} {
		if got := strings.Join(w.Header()[name], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	everybody := func(context.Context, string) bool { return true } // the worst that can be plugged in
	public := CORSOptions{AnyOrigin: true}
	clients := CORSOptions{Allow: clientOrigins}
	tests := []struct {
		name   string
		o      CORSOptions
		method string
		header []string
		acao   string
	}{
		{"client's origin", clients, "POST", []string{"Origin", spa}, spa},
		{"other origin", clients, "POST", []string{"Origin", "https://evil.example"}, ""},
		{"null", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "null"}, ""},
		{"null to a public document", public, "GET", []string{"Origin", "null"}, "*"},
		{"no origin", clients, "POST", nil, ""},
		{"public document", public, "GET", []string{"Origin", "https://evil.example"}, "*"},
		{"two origins", CORSOptions{Allow: everybody}, "POST", []string{"Origin", spa, "Origin", "https://evil.example"}, ""},
		{"list", CORSOptions{Allow: everybody}, "POST", []string{"Origin", spa + " https://evil.example"}, ""},
		{"path", CORSOptions{Allow: everybody}, "POST", []string{"Origin", spa + "/"}, ""},
		{"user", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "https://localhost:4207@evil.example"}, ""},
		{"capitals", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "HTTPS://localhost"}, ""},
		{"no host", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "file://"}, ""},
		{"port only", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "https://:80"}, ""},
		{"star", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "*"}, ""},
		{"long", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "https://" + strings.Repeat("a", 600)}, ""},
		{"private scheme", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "capacitor://localhost"}, "capacitor://localhost"},
		{"IPv6", CORSOptions{Allow: everybody}, "POST", []string{"Origin", "http://[::1]:3000"}, "http://[::1]:3000"},
		{"nobody configured", CORSOptions{}, "POST", []string{"Origin", spa}, ""},
		{"refused preflight", clients, "OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, ""},
		{"OPTIONS without CORS", clients, "OPTIONS", []string{"Origin", spa}, spa},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inner := CORS(tt.o)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }))
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // an application's own, careless CORS around it
				w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
				w.Header().Set("Access-Control-Allow-Credentials", "true")
				inner.ServeHTTP(w, r)
			})
			w := do(SecurityHeaders(h), tt.method, "/", tt.header...)
			if got := strings.Join(w.Header()["Access-Control-Allow-Origin"], "|"); got != tt.acao {
				t.Errorf("Access-Control-Allow-Origin %q, want %q", got, tt.acao)
			}
			if w.Header()["Access-Control-Allow-Credentials"] != nil {
				t.Error("credentials allowed, RFC 9700 §2.6")
			}
			if got := w.Header().Get("Vary"); (got == "Origin") == tt.o.AnyOrigin {
				t.Errorf("Vary %q", got)
			}
			wantCORP, wantCode, wantExpose := "same-origin", 400, tt.acao != ""
			if tt.o.AnyOrigin {
				wantCORP = "cross-origin"
			}
			if strings.Contains(tt.name, "preflight") {
				wantCode, wantExpose = 204, false
			}
			if w.Header().Get("Cross-Origin-Resource-Policy") != wantCORP || w.Code != wantCode ||
				(w.Header().Get("Access-Control-Expose-Headers") != "") != wantExpose {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if w.Header().Get("Access-Control-Allow-Methods") != "" {
				t.Error("methods outside an accepted preflight")
			}
		})
	}
}

func TestCORSHeaders(t *testing.T) {
	t.Parallel()
	clients := CORS(CORSOptions{Allow: clientOrigins})(http.HandlerFunc(ok))
	public := CORS(CORSOptions{AnyOrigin: true})(http.HandlerFunc(ok))
	for _, tt := range []struct {
		h           http.Handler
		asked, want string
	}{
		{clients, "authorization,content-type,dpop", "authorization,content-type,dpop"},
		{clients, "Content-Type, X-Evil", "content-type"},
		{clients, "x-evil,cookie", ""},
		{clients, "", ""},
		{clients, strings.Repeat("dpop,", 1000), "dpop"},
		{clients, "content-type\r\nset-cookie: x", ""},
		{public, "mcp-protocol-version, x-app", "*"},
	} {
		w := do(tt.h, "OPTIONS", "/", "Origin", spa, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", tt.asked)
		if got := w.Header().Get("Access-Control-Allow-Headers"); got != tt.want || w.Code != 204 {
			t.Errorf("%.40q: %d %q, want %q", tt.asked, w.Code, got, tt.want)
		}
	}
}
