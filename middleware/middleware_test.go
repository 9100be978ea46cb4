package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// do serves one request, built by httptest.NewRequest and the header pairs.
func do(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func logger(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestMaxBody(t *testing.T) {
	t.Parallel()
	h := MaxBody(4)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = w.Write(b)
	}))
	for body, want := range map[string]int{"": 200, "1234": 200, "12345": 413} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%q: %d, want %d", body, w.Code, want)
		}
	}
}

func TestNoStore(t *testing.T) {
	t.Parallel()
	w := do(NoStore(http.HandlerFunc(ok)), "GET", "/")
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
		t.Errorf("%v, RFC 6749 §5.1", w.Header())
	}
	w = do(NoStore(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
	})), "GET", "/")
	if w.Header().Get("Cache-Control") != "max-age=300" {
		t.Error("the handler's own value was lost")
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	w := do(SecurityHeaders(http.HandlerFunc(ok)), "GET", "http://idp.example/")
	for name, want := range map[string]string{
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Strict-Transport-Security":    "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if w.Header().Get("Permissions-Policy") == "" {
		t.Error("no Permissions-Policy")
	}

	const own = "default-src 'self'"
	inner := SecurityHeaders(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", own)
		w.Header().Del("Cross-Origin-Opener-Policy")
	}))
	if h := do(inner, "GET", "/").Header(); len(h["Content-Security-Policy"]) != 1 || h.Get("Content-Security-Policy") != own || h["Cross-Origin-Opener-Policy"] != nil {
		t.Errorf("the inner handler's choice was lost: %v", h)
	}
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		SecurityHeaders(http.HandlerFunc(ok)).ServeHTTP(w, r)
	})
	if got := do(outer, "GET", "/").Header()["X-Frame-Options"]; len(got) != 1 || got[0] != "SAMEORIGIN" {
		t.Errorf("the outer handler's choice was lost: %v", got)
	}
}

func TestHSTS(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(ok)
	for _, tt := range []struct {
		h      http.Handler
		target string
		want   string
	}{
		{SecurityHeaders(next), "https://idp.example/", "max-age=31536000"}, // httptest sets TLS
		{SecurityHeaders(next), "http://idp.example/", ""},
		{HSTS(next), "http://idp.example/", "max-age=31536000"},
		{HSTS(SecurityHeaders(next)), "https://idp.example/", "max-age=31536000"},
		{HSTS(next), "https://localhost:8443/", ""},
		{SecurityHeaders(next), "https://LOCALHOST/", ""},
		{SecurityHeaders(next), "https://app.localhost:1/", ""},
		{HSTS(next), "https://notlocalhost/", "max-age=31536000"},
	} {
		got := do(tt.h, "GET", tt.target).Header()["Strict-Transport-Security"]
		if strings.Join(got, "|") != tt.want {
			t.Errorf("%s: %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestRecover(t *testing.T) {
	t.Parallel()
	secret := "rt_very-secret"
	tests := []struct {
		name   string
		h      http.HandlerFunc
		logged string
	}{
		{"string", func(http.ResponseWriter, *http.Request) { panic("bad token " + secret) }, "not shown"},
		{"error", func(http.ResponseWriter, *http.Request) { panic(errors.New(secret)) }, "not shown"},
		{"uncomparable", func(http.ResponseWriter, *http.Request) { panic([]string{secret}) }, "not shown"},
		{"runtime", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", secret)
			w.Header().Set("Location", secret)
			w.Header().Set("Content-Length", "1")
			var none []string
			_ = none[len(secret)]
		}, "index out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			w := do(Chain(tt.h, Log(logger(&log)), Recover(logger(&log))), "GET", "/?code="+secret)
			if w.Code != 500 || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			id, _ := strings.CutPrefix(w.Body.String(), `{"error":"server_error","error_id":"`)
			id, _ = strings.CutSuffix(id, `"}`)
			if len(id) != 16 || strings.Count(log.String(), id) != 2 {
				t.Errorf("the id of %s is not twice in the log:\n%s", w.Body, &log)
			}
			if all := fmt.Sprint(w.Body, w.Header(), &log); strings.Contains(all, secret) {
				t.Error("the secret is in", all)
			}
			if !strings.Contains(log.String(), tt.logged) || !strings.Contains(log.String(), "middleware_test.go") {
				t.Errorf("no %q or no stack in the log:\n%s", tt.logged, &log)
			}
		})
	}
}

func TestRecoverPasses(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"abort":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"begun":     func(w http.ResponseWriter, _ *http.Request) { ok(w, nil); panic("late") },
		"flushed":   func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic("late") },
		"head sent": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); panic("late") },
	} {
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("%s: recovered %v, want http.ErrAbortHandler", name, v)
				}
			}()
			do(Recover(nil)(h), "GET", "/")
		}()
	}
	if w := do(Recover(nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints) // informational: the answer has not begun
		panic("x")
	})), "GET", "/"); !strings.Contains(w.Body.String(), "server_error") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	mux := http.NewServeMux()
	var id string
	mux.HandleFunc("GET /interaction/{id}", func(w http.ResponseWriter, r *http.Request) {
		id = RequestID(r.Context())
		w.WriteHeader(http.StatusTeapot)
		ok(w, r)
	})
	// Everything that copies the request must bring the route back.
	verify := verifier(func(*http.Request) (*Principal, error) { return &Principal{}, nil })
	h := Chain(mux, Edge{}.Wrap, Log(logger(&log)), Recover(nil), MaxBody(1), Observe(nopObserver{}),
		Edge{ClientCertHeader: "Client-Cert"}.Wrap, Protect(verify, Rule{AllowAnyAudience: true}))
	do(h, "GET", "/interaction/SECRET?code=SECRET&state=SECRET&at_SECRET_SECRET&%63ode=SECRET&state=2",
		"Authorization", "Bearer SECRET", "Client-Cert", "x", "User-Agent", "a\r\nb", "X-Request-Id", "SECRET")
	out := log.String()
	for _, want := range []string{
		`"msg":"request"`, `"level":"INFO"`, `"id":"` + id + `"`, `"method":"GET"`, `"route":"GET /interaction/{id}"`, `"status":418`,
		`"bytes":2`, `"duration":`, `"remote":"192.0.2.1"`, `"params":["?","code","state"]`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if strings.Contains(out, "SECRET") || strings.Count(out, "\n") != 1 || len(id) != 16 {
		t.Errorf("id %q, log %s", id, out)
	}
}

func TestLogHostile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target string
		h                    http.HandlerFunc
		want                 []string
	}{
		{"method", "SECRET", "/", ok, []string{`"method":"?"`, `"status":200`}},
		{"no write", "GET", "/", func(http.ResponseWriter, *http.Request) {}, []string{`"status":200`, `"bytes":0`}},
		{"unrouted", "GET", "/SECRET", http.NotFound, []string{`"route":""`, `"status":404`}},
		{"no names", "GET", "/?&&", ok, []string{`"params":[]`}},
		{"flood", "GET", "/?" + strings.Repeat("a&", 3000), ok, []string{`"params":["a"]`}},
		{"long name", "GET", "/?" + strings.Repeat("a", 33), ok, []string{`"params":["?"]`}},
		{"panic passes", "GET", "/", func(http.ResponseWriter, *http.Request) { panic("SECRET") }, []string{`"status":500`, `"level":"ERROR"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			func() {
				defer func() { _ = recover() }()
				do(Log(logger(&log))(tt.h), tt.method, tt.target)
			}()
			for _, want := range tt.want {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %s in %s", want, &log)
				}
			}
			if strings.Contains(log.String(), "SECRET") {
				t.Error(&log)
			}
		})
	}
	var log bytes.Buffer
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "@" // a Unix socket
	Log(logger(&log))(http.HandlerFunc(ok)).ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(log.String(), `"remote":""`) {
		t.Error(&log)
	}
	if RequestID(t.Context()) != "" {
		t.Error("an id out of nothing")
	}
}

type nopObserver struct{}

func (nopObserver) Start(ctx context.Context, _ string) (context.Context, func(string, error)) {
	return ctx, func(string, error) {}
}

type noteObserver struct{ notes *[]string }

func (o noteObserver) Start(ctx context.Context, op string) (context.Context, func(string, error)) {
	return context.WithValue(ctx, noteObserver{}, "span"), func(outcome string, err error) {
		*o.notes = append(*o.notes, fmt.Sprint(op, " ", outcome, " ", err))
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var notes []string
	o := noteObserver{&notes}
	mux := http.NewServeMux()
	mux.Handle("GET /a", Observe(o)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(noteObserver{}) != "span" {
			t.Error("the observer's context did not arrive")
		}
		w.WriteHeader(404)
	})))
	do(mux, "GET", "/a")
	do(Observe(o)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), "GET", "/b")
	func() {
		defer func() { _ = recover() }()
		do(Observe(o)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("SECRET") })), "GET", "/c")
	}()
	if got := strings.Join(notes, "; "); got != "GET /a 404 <nil>; http 200 <nil>; http panic panic" {
		t.Error(got)
	}
}

// Wrapped writers must still stream, hijack and take deadlines.
func TestRecorderUnwraps(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(Chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/hijack" {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.Close()
			return
		}
		ok(w, r)
		w.(http.Flusher).Flush()
	}), Log(nil), Recover(nil), Observe(nopObserver{})))
	defer s.Close()
	for path, want := range map[string]int{"/": 200, "/hijack": 299} {
		resp, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func textLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
