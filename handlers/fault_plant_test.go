package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// recorder is a test that only writes down how it failed.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	msgs []string
}

func (r *recorder) Error(a ...any) { r.Errorf("%s", fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.msgs = append(r.msgs, fmt.Sprintf(f, a...))
}
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) FailNow()                  { r.Fatal("failed") }
func (r *recorder) Failed() bool              { return r.all() != "" }
func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.msgs, "\n")
}

// lying is a storage that changes what is committed.
type lying struct {
	storage.Storage
	edit func([]storage.Op) []storage.Op
}

func (s *lying) Commit(ctx context.Context, ops ...storage.Op) error {
	if ops = s.edit(slices.Clone(ops)); len(ops) == 0 {
		return nil
	}
	return s.Storage.Commit(ctx, ops...)
}

// after changes the answers of a handler.
func after(edit func(r *http.Request, res *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			res := httptest.NewRecorder()
			h.ServeHTTP(res, r)
			edit(r, res)
			for k, v := range res.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(res.Code)
			_, _ = w.Write(res.Body.Bytes())
		})
	}
}

// TestFaultsAreSeen plants a violation of each invariant: TestFaults' engine
// must see it.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	invalidGrant := func(res *httptest.ResponseRecorder) {
		res.Code = 400
		res.Body.Reset()
		res.Body.WriteString(`{"error":"invalid_grant"}`)
	}
	drop := func(is func(storage.Op) bool) func([]storage.Op) []storage.Op {
		return func(ops []storage.Op) []storage.Op { return slices.DeleteFunc(ops, is) }
	}
	consumes := func(kind storage.Kind) func(storage.Op) bool {
		verb := storage.Consume(storage.Ref{}).Verb
		return func(op storage.Op) bool { return op.Verb == verb && op.Record.Kind == kind }
	}
	tests := []struct {
		name, flow string
		edit       func([]storage.Op) []storage.Op
		front      func(http.Handler) http.Handler
		want       string // in what the engine says
	}{
		{name: "nothing", flow: "wrong verifier"},
		{name: "I1: a request is answered twice", flow: "authorize, prompt none", edit: drop(consumes(storage.KindPAR)), want: "two successes"},
		{name: "I1: a code is redeemed twice", flow: "redeem", edit: drop(consumes(storage.KindCode)), want: "status 200, want 400"},
		{name: "I2: a token that does not work", flow: "redeem", want: "want 200",
			edit: drop(func(op storage.Op) bool {
				return op.Record.Kind == storage.KindGrant && strings.Contains(string(op.Record.Data), `"seq":1`)
			})},
		{name: "I3: a refresh token that nobody was given", flow: "userinfo", want: "never delivered",
			front: after(func(r *http.Request, res *httptest.ResponseRecorder) {
				var m map[string]any
				if r.URL.Path == "/token" && json.Unmarshal(res.Body.Bytes(), &m) == nil {
					delete(m, "refresh_token")
					b, _ := json.Marshal(m)
					res.Body.Reset()
					res.Body.Write(b)
				}
			})},
		{name: "I4: a replay that revokes nothing", flow: "code replay", edit: drop(consumes(storage.KindGrant)), want: "status 200, want 401"},
		{name: "I5: a revocation that does nothing", flow: "revoke refresh_token", edit: drop(consumes(storage.KindGrant)), want: "status 200, want 401"},
		{name: "I5: a revocation answered in spite of a fault", flow: "revoke access_token", want: "status 200, want 401",
			front: after(func(r *http.Request, res *httptest.ResponseRecorder) {
				if r.URL.Path == "/revoke" && res.Code >= 500 {
					res.Code = 200
				}
			})},
		{name: "I6: a fault told as invalid_grant", flow: "refresh", want: "status 400",
			front: after(func(_ *http.Request, res *httptest.ResponseRecorder) {
				if res.Code >= 500 {
					invalidGrant(res)
				}
			})},
		{name: "I6: a fault told as inactive", flow: "introspect", want: "status 200",
			front: after(func(r *http.Request, res *httptest.ResponseRecorder) {
				if r.URL.Path == "/introspect" && res.Code >= 500 {
					res.Code = 200
					res.Body.Reset()
					res.Body.WriteString(`{"active":false}`)
				}
			})},
		{name: "I6: no Retry-After", flow: "userinfo", want: "no Retry-After",
			front: after(func(_ *http.Request, res *httptest.ResponseRecorder) { res.Header().Del("Retry-After") })},
		{name: "I7: a fault that leads elsewhere", flow: "authorize", want: "https://evil.example",
			front: after(func(_ *http.Request, res *httptest.ResponseRecorder) {
				if res.Code >= 500 || strings.Contains(res.Header().Get("Location"), "unavailable") {
					res.Code = 303
					res.Header().Set("Location", "https://evil.example/?error=server_error")
				}
			})},
		{name: "I8: no retry is answered", flow: "push", want: "the retry: status 503",
			front: func() func(http.Handler) http.Handler {
				down := false
				return after(func(_ *http.Request, res *httptest.ResponseRecorder) {
					if down = down || res.Code >= 500; down {
						res.Code = 503
						res.Header().Set("Retry-After", "1")
					}
				})
			}()},
		{name: "I9: work that goes on after the answer", flow: "userinfo", want: "outlive the answer",
			front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Context().Value(hurried{}) != true {
						h.ServeHTTP(w, r)
						return
					}
					res, done := httptest.NewRecorder(), make(chan struct{})
					go func() {
						defer close(done)
						h.ServeHTTP(res, r.WithContext(context.WithoutCancel(r.Context())))
					}()
					select {
					case <-done:
						for k, v := range res.Header() {
							w.Header()[k] = v
						}
						w.WriteHeader(res.Code)
						_, _ = w.Write(res.Body.Bytes())
					case <-time.After(haste / 3):
						w.Header().Set("Retry-After", "1")
						w.WriteHeader(503)
					}
				})
			}},
		{name: "I10: the inside shows", flow: "userinfo", want: "the answer says",
			front: after(func(_ *http.Request, res *httptest.ResponseRecorder) {
				if res.Code >= 500 {
					res.Body.WriteString(" storage: row 7 is locked")
				}
			})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(allFaultFlows(), func(f faultFlow) bool { return f.name == tt.flow })
			if i < 0 {
				t.Fatalf("no flow %q", tt.flow)
			}
			store := memory.New()
			var s storage.Storage = store
			if tt.edit != nil {
				s = &lying{Storage: store, edit: tt.edit}
			}
			rec := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				allFaultFlows()[i].run(rec, s, tt.front)
			}()
			<-done
			if got := rec.all(); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("the engine says %q, want %q", got, tt.want)
			}
		})
	}
}
