package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"time"

	"github.com/idpkit/idpkit/middleware"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })

func get(h http.Handler, header ...string) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest("GET", "https://api.example/notes", nil), httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

// The first one is the outermost.
func ExampleChain() {
	h := middleware.Chain(hello, middleware.Recover(nil), middleware.HSTS, middleware.SecurityHeaders, middleware.NoStore)
	w := get(h)
	for _, name := range []string{"Strict-Transport-Security", "X-Content-Type-Options", "Cache-Control"} {
		fmt.Println(name+":", w.Header().Get(name))
	}
	// Output:
	// Strict-Transport-Security: max-age=31536000
	// X-Content-Type-Options: nosniff
	// Cache-Control: no-store
}

// The client's address behind a proxy that is named.
func ExampleEdge_Wrap() {
	edge := middleware.Edge{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")}}
	h := edge.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(middleware.RemoteAddr(r), middleware.ClientCert(r) == nil)
	}))
	get(h, "X-Forwarded-For", "10.1.1.1, 198.51.100.7") // httptest's peer is 192.0.2.1
	// Output: 198.51.100.7 true
}

// One line for each request, without paths and values; the id is for other lines.
func ExampleLog() {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	get(middleware.Log(log)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(len(middleware.RequestID(r.Context())))
	})))
	fmt.Println(strings.Contains(out.String(), "status=200"), strings.Contains(out.String(), "/notes"))
	// Output:
	// 16
	// true false
}

// Secrets are recognized by name and shape.
func ExampleRedact() {
	h := slog.NewTextHandler(printer{}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	slog.New(middleware.Redact(h)).Info("call failed", "refresh_token", "s3cr3t", "url", "https://app.example/cb?code=abc&lang=de")
	// Output: level=INFO msg="call failed" refresh_token=[redacted] url="https://app.example/cb?code=[redacted]&lang=de"
}

type printer struct{}

func (printer) Write(p []byte) (int, error) { return fmt.Print(string(p)) }

// A body beyond the limit cannot be read.
func ExampleMaxBody() {
	h := middleware.MaxBody(8)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		fmt.Println(err)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader("more than eight")))
	// Output: http: request body too large
}

// Scripts of registered origins may read the answer, others may not.
func ExampleCORS() {
	h := middleware.CORS(middleware.CORSOptions{Allow: func(_ context.Context, origin string) bool {
		return origin == "https://app.example"
	}})(hello)
	fmt.Printf("%q\n", get(h, "Origin", "https://app.example").Header().Get("Access-Control-Allow-Origin"))
	fmt.Printf("%q\n", get(h, "Origin", "https://evil.example").Header().Get("Access-Control-Allow-Origin"))
	// Output:
	// "https://app.example"
	// ""
}

// Two at once, then one every ten seconds.
func ExampleRateLimit() {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	buckets := middleware.NewBuckets(2, 10*time.Second, func() time.Time { return now })
	h := middleware.RateLimit(buckets, nil)(hello)
	for range 3 {
		w := get(h)
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 ""
	// 200 ""
	// 429 "10"
}

// Count failures only: take a token before, give it back afterwards.
func ExampleBuckets_Undo() {
	ctx, b := context.Background(), middleware.NewBuckets(1, time.Minute, nil)
	for range 3 {
		ok, _ := b.Allow(ctx, "alice")
		fmt.Println(ok)
		b.Undo(ctx, "alice") // the password was right
	}
	// Output:
	// true
	// true
	// true
}

// spans is an Observer, here of a tracer that prints.
type spans struct{}

func (spans) Start(ctx context.Context, op string) (context.Context, func(string, error)) {
	return ctx, func(outcome string, err error) { fmt.Println(op, outcome, err) }
}

// Traces and metrics by route.
func ExampleObserve() {
	mux := http.NewServeMux()
	mux.Handle("GET /notes", middleware.Observe(spans{})(hello))
	get(mux)
	// Output: GET /notes 200 <nil>
}

// A panic is an answer, and a line in the log.
func ExampleRecover() {
	w := get(middleware.Recover(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("oh")
	})))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "oh"))
	// Output: 500 false
}

// verifier stands for the provider, or for Introspection.
type verifier struct{}

func (verifier) VerifyAccess(_ context.Context, r *http.Request) (*middleware.Principal, error) {
	token, err := middleware.BearerToken(r)
	if err != nil {
		return nil, err
	}
	if token != "good" {
		return nil, fmt.Errorf("%w: unknown", middleware.ErrInvalidToken)
	}
	return &middleware.Principal{
		Subject: "alice", ClientID: "app", AuthTime: time.Unix(1, 0), Scope: []string{"notes:read"}, Audience: []string{"https://api.example"},
	}, nil
}

// An API and its rule.
func ExampleProtect() {
	api := middleware.Protect(verifier{}, middleware.Rule{Audience: "https://api.example", Scope: []string{"notes:read"}})(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, _ := middleware.PrincipalFrom(r.Context())
			if who.ByClient() {
				http.Error(w, "users only", http.StatusForbidden)
				return
			}
			fmt.Fprint(w, "the notes of ", who.Subject)
		}))
	w := get(api, "Authorization", "Bearer good")
	fmt.Println(w.Code, w.Body)
	w = get(api)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output:
	// 200 the notes of alice
	// 401 Bearer realm="api", scope="notes:read"
}

// An API in a process of its own asks the provider.
func ExampleIntrospection_Verifier() {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"active":true,"token_type":"Bearer","sub":"alice","client_id":"app","scope":"notes:read","aud":"https://api.example"}`)
	}))
	defer provider.Close()
	v, err := middleware.Introspection{Endpoint: provider.URL + "/introspect", ClientID: "api", ClientSecret: "of the API"}.Verifier()
	if err != nil {
		fmt.Println(err)
		return
	}
	h := middleware.Protect(v, middleware.Rule{Audience: "https://api.example"})(hello)
	fmt.Println(get(h, "Authorization", "Bearer a-token").Body)
	// Output: hello
}

// The token of a request, or why there is none.
func ExampleBearerToken() {
	r := httptest.NewRequest("GET", "/", nil)
	_, err := middleware.BearerToken(r)
	fmt.Println(errors.Is(err, middleware.ErrNoToken))
	r.Header.Set("Authorization", "Bearer abc")
	token, err := middleware.BearerToken(r)
	fmt.Println(token, err)
	// Output:
	// true
	// abc <nil>
}
