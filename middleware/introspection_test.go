package middleware

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// says is an answer of the endpoint.
func says(status int, contentType, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
}

// endpoint is a provider that answers whatever a test wants.
type endpoint struct {
	asked  atomic.Int64
	answer atomic.Value // func(*http.Request) (*http.Response, error)
}

func (e *endpoint) set(f func(*http.Request) (*http.Response, error)) { e.answer.Store(f) }

func (e *endpoint) say(body string) {
	e.set(func(*http.Request) (*http.Response, error) { return says(200, "application/json", body), nil })
}

func (e *endpoint) verifier(t testing.TB, change ...func(*Introspection)) Verifier {
	t.Helper()
	c := Introspection{Endpoint: "https://op.example/introspect", ClientID: "api", ClientSecret: "s",
		HTTPClient: &http.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			e.asked.Add(1)
			return e.answer.Load().(func(*http.Request) (*http.Response, error))(r)
		})}}
	for _, f := range change {
		f(&c)
	}
	v, err := c.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bearer(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func guard(v Verifier, token string) *httptest.ResponseRecorder {
	return do(Protect(v, Rule{Audience: "api"})(http.HandlerFunc(ok)), "GET", "/", "Authorization", "Bearer "+token)
}

// until is the time to which a token of the tests lives.
var until = newClock().now().Add(time.Hour).Unix()

// good is an answer with more members.
func good(more string) string {
	return fmt.Sprintf(`{"active":true,"token_type":"Bearer","aud":"api","exp":%d%s}`, until, more)
}

// TestIntrospectionAnswers: what the endpoint may say and what comes of it.
func TestIntrospectionAnswers(t *testing.T) {
	t.Parallel()
	c := newClock()
	long := strings.Repeat("x", maxAnswer)
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"good", good(""), 200},
		{"type in any case", strings.Replace(good(""), "Bearer", "bearer", 1), 200},
		{"several audiences", strings.Replace(good(""), `"api"`, `["other","api"]`, 1), 200},
		{"no exp", `{"active":true,"token_type":"Bearer","aud":"api"}`, 200},
		{"null members", good(`,"nbf":null,"cnf":null,"scope":null,"sub":null`), 200},
		{"unknown members", good(`,"x":{"y":[1]}`), 200},
		{"one minute of clock", good(fmt.Sprintf(`,"nbf":%d`, c.now().Unix()+60)), 200},

		{"inactive", `{"active":false}`, 401},
		{"inactive with all the rest", strings.Replace(good(""), "true", "false", 1), 401},
		{"audience of another API", strings.Replace(good(""), `"api"`, `"other"`, 1), 401},
		{"audience like ours", strings.Replace(good(""), `"api"`, `"api "`, 1), 401},
		{"no audience", strings.Replace(good(""), `"aud"`, `"AUDIENCE"`, 1), 401},
		{"empty audience", strings.Replace(good(""), `"api"`, `[]`, 1), 401},
		{"no token type", `{"active":true,"aud":"api"}`, 401},
		{"refresh token", good(`,"token_use":"refresh_token"`), 401},
		{"DPoP token", strings.Replace(good(""), "Bearer", "DPoP", 1), 401},
		{"bound to a key", good(`,"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`), 401},
		{"bound to a certificate", good(`,"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`), 401},
		{"bound to something", good(`,"cnf":{}`), 401},
		{"bound to nonsense", good(`,"cnf":""`), 401},
		{"expired", `{"active":true,"token_type":"Bearer","aud":"api","exp":1}`, 401},
		{"expired this second", fmt.Sprintf(`{"active":true,"token_type":"Bearer","aud":"api","exp":%d}`, c.now().Unix()), 401},
		{"exp is 0", `{"active":true,"token_type":"Bearer","aud":"api","exp":0}`, 401},
		{"not yet", good(fmt.Sprintf(`,"nbf":%d`, c.now().Unix()+61)), 401},

		{"empty", ``, 503},
		{"no JSON", `<html>`, 503},
		{"truncated", good("")[:40], 503},
		{"two values", good("") + `{}`, 503},
		{"a list", `[` + good("") + `]`, 503},
		{"null", `null`, 503},
		{"no members", `{}`, 503},
		{"active is a string", strings.Replace(good(""), "true", `"true"`, 1), 503},
		{"active is a number", strings.Replace(good(""), "true", `1`, 1), 503},
		{"active is null", strings.Replace(good(""), "true", `null`, 1), 503},
		{"active in capitals", strings.Replace(good(""), "active", `Active`, 1), 503},
		{"active twice", `{"active":false,` + good("")[1:], 503},
		{"active twice, escaped", `{"\u0061ctive":false,` + good("")[1:], 503},
		{"aud twice", good(`,"aud":"other"`), 503},
		{"exp is a string", `{"active":true,"token_type":"Bearer","aud":"api","exp":"99999999999"}`, 503},
		{"exp beyond time", `{"active":true,"token_type":"Bearer","aud":"api","exp":1e300}`, 503},
		{"exp before time", `{"active":true,"token_type":"Bearer","aud":"api","exp":-1}`, 503},
		{"scope is a list", good(`,"scope":["a"]`), 503},
		{"aud is a number", strings.Replace(good(""), `"api"`, `7`, 1), 503},
		{"deep", good(`,"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)), 503},
		{"broken UTF-8", good(`,"x":"` + "\xff" + `"`), 503},
		{"long", good(`,"x":"` + long + `"`), 503},
		{"long blanks", good("") + strings.Repeat(" ", maxAnswer), 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var e endpoint
			e.say(tt.body)
			// Kept answers get the same verdict as fresh ones.
			v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, time.Minute })
			h := Protect(v, Rule{Audience: "api", Now: c.now})(http.HandlerFunc(ok))
			for range 2 {
				if w := do(h, "GET", "/", "Authorization", "Bearer t"); w.Code != tt.want {
					t.Errorf("%d, want %d", w.Code, tt.want)
				}
			}
			// Without Protect behind it: the audience is all that is left to it.
			if _, err := v.VerifyAccess(t.Context(), bearer("t")); strings.Contains(tt.name, "expired") && !errors.Is(err, ErrInvalidToken) {
				t.Error("left to Protect", err)
			}
			if tt.want == 503 && e.asked.Load() != 3 {
				t.Error("an outage was remembered")
			}
		})
	}
}

// TestIntrospectionOutages: nothing that is wrong with the endpoint speaks
// against the token, and nothing of it is remembered.
func TestIntrospectionOutages(t *testing.T) {
	t.Parallel()
	c := newClock()
	answer := func(status int, contentType, body string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return says(status, contentType, body), nil }
	}
	for name, f := range map[string]func(*http.Request) (*http.Response, error){
		"away":                func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"our secret is wrong": answer(401, "application/json", `{"error":"invalid_client"}`),
		"403":                 answer(403, "application/json", `{"active":false}`),
		"429":                 answer(429, "application/json", `{"active":false}`),
		"500":                 answer(500, "application/json", `{"active":false}`),
		"201":                 answer(201, "application/json", good("")),
		"204":                 answer(204, "", ""),
		"HTML":                answer(200, "text/html", good("")),
		"no content type":     answer(200, "", good("")),
		"signed answer":       answer(200, "application/token-introspection+jwt", good("")),
		"redirect":            answer(302, "application/json", good("")),
		"panic":               func(*http.Request) (*http.Response, error) { panic("transport") },
		"cut": func(*http.Request) (*http.Response, error) {
			res := says(200, "application/json", "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(good("")[:20]), errReader{}))
			return res, nil
		},
		"verdict in an error": func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("x: %w", context.Canceled) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e endpoint
			e.set(f)
			v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, time.Minute })
			var log strings.Builder
			h := Protect(v, Rule{Audience: "api", Now: c.now, Log: textLogger(&log)})(http.HandlerFunc(ok))
			w := do(h, "GET", "/", "Authorization", "Bearer the-token")
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "introspection") || strings.Contains(log.String(), "the-token") {
				t.Errorf("log: %s", &log)
			}
			e.say(good(""))
			if w := do(h, "GET", "/", "Authorization", "Bearer the-token"); w.Code != 200 {
				t.Errorf("after the outage: %d", w.Code)
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestIntrospectionQuestion: what goes over the wire, and where it does not go.
func TestIntrospectionQuestion(t *testing.T) {
	t.Parallel()
	var seen atomic.Value
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token went elsewhere") }))
	defer elsewhere.Close()
	var redirect atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		seen.Store(r)
		if redirect.Load() {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, strings.Replace(good(`,"iss":"https://op.example"`), fmt.Sprint(until), "99999999999", 1))
	}))
	defer s.Close()
	basic, err := Introspection{Endpoint: s.URL, ClientID: "a:b c", ClientSecret: "s%+/", Issuer: "https://op.example"}.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	if w := guard(basic, "tok+/=="); w.Code != 200 {
		t.Fatal(w.Code)
	}
	r := seen.Load().(*http.Request)
	id, secret, _ := r.BasicAuth()
	if id != "a%3Ab+c" || secret != "s%25%2B%2F" || r.Method != "POST" || r.URL.RawQuery != "" ||
		r.PostForm.Encode() != "token=tok%2B%2F%3D%3D&token_type_hint=access_token" || r.Header.Get("Accept") != "application/json" {
		t.Errorf("%s %s %s:%s %v", r.Method, r.URL, id, secret, r.PostForm)
	}

	jwt, err := Introspection{Endpoint: s.URL, HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }},
		Authenticate: func(_ context.Context, h http.Header, f url.Values) error {
			h.Set("X-Trace", "1")
			f.Set("client_assertion", "signed")
			return nil
		}}.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	if w := guard(jwt, "t"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	r = seen.Load().(*http.Request)
	if r.Header.Get("Authorization") != "" || r.PostForm.Get("client_assertion") != "signed" || r.PostForm.Get("token") != "t" || r.Header.Get("X-Trace") != "1" {
		t.Errorf("%v %v", r.Header, r.PostForm)
	}
	redirect.Store(true)
	for _, v := range []Verifier{basic, jwt} {
		if w := guard(v, "t"); w.Code != 503 {
			t.Error("redirect", w.Code)
		}
	}
	redirect.Store(false)
	other, err := Introspection{Endpoint: s.URL, ClientID: "a", ClientSecret: "b", Issuer: "https://op.example/"}.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	if w := guard(other, "t"); w.Code != 401 {
		t.Error("another issuer", w.Code)
	}
}

// TestIntrospectionAuthenticateFails: neither an error nor a panic there is a
// verdict on the token.
func TestIntrospectionAuthenticateFails(t *testing.T) {
	t.Parallel()
	var e endpoint
	e.say(good(""))
	for name, f := range map[string]func(context.Context, http.Header, url.Values) error{
		"error": func(context.Context, http.Header, url.Values) error { return ErrInvalidToken },
		"panic": func(context.Context, http.Header, url.Values) error { panic("no key") },
	} {
		v := e.verifier(t, func(i *Introspection) { i.ClientSecret, i.Authenticate = "", f })
		if w := guard(v, "t"); w.Code != 503 || e.asked.Load() != 0 {
			t.Errorf("%s: %d after %d questions", name, w.Code, e.asked.Load())
		}
	}
}

// TestIntrospectionBadTokens: what cannot be a token is nobody's question.
func TestIntrospectionBadTokens(t *testing.T) {
	t.Parallel()
	var e endpoint
	e.say(good(""))
	v := e.verifier(t)
	for _, token := range []string{"a b", "a\tb", "a\x00b", "a\x7f", "ä", "a&token=b", "a\r\nX: y", `"a"`, strings.Repeat("a", maxToken+1), "=="} {
		if w := guard(v, token); w.Code != 401 {
			t.Errorf("%q: %d", token, w.Code)
		}
	}
	if w := do(Protect(v, Rule{Audience: "api"})(http.HandlerFunc(ok)), "GET", "/"); w.Code != 401 || w.Header().Get("WWW-Authenticate") != `Bearer realm="api"` {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if n := e.asked.Load(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

func TestIntrospectionPrincipal(t *testing.T) {
	t.Parallel()
	c := newClock()
	var e endpoint
	v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, time.Minute })
	e.say(good(`,"sub":"u1","client_id":"app","scope":"a b","acr":"mfa","auth_time":1761998400.5,"username":"Alice",` +
		`"authorization_details":[{"type":"payment","amount":7}]`))
	for range 2 { // fresh and kept
		p, err := v.VerifyAccess(t.Context(), bearer("t"))
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(p.Subject, p.ClientID, p.Scope, p.Audience, p.ACR, p.AuthTime.Unix(), p.ExpiresAt.Unix() == until, p.Claims["username"], string(p.Details[0]), p.ByClient())
		if want := `u1app[a b][api]mfa1761998400 trueAlice{"type":"payment","amount":7}false`; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s\nwant %s", got, want)
		}
		// A handler that scribbles on it changes nobody else's.
		p.Scope[0], p.Audience[0], p.Claims["username"], p.Details[0][0] = "admin", "x", "root", 'x'
	}
	if e.asked.Load() != 1 {
		t.Errorf("%d questions", e.asked.Load())
	}
}

func TestByClient(t *testing.T) {
	t.Parallel()
	now := newClock().now()
	for _, tt := range []struct {
		name string
		p    Principal
		want bool
	}{
		{"client", Principal{Subject: "c", ClientID: "c"}, true},
		{"client without sub", Principal{ClientID: "c"}, true},
		{"user", Principal{Subject: "u", ClientID: "c", AuthTime: now}, false},
		{"user named like the client", Principal{Subject: "c", ClientID: "c", AuthTime: now}, false},
		{"user of a provider without auth_time", Principal{Subject: "u", ClientID: "c"}, false},
	} {
		if tt.p.ByClient() != tt.want {
			t.Errorf("%s: %v", tt.name, !tt.want)
		}
	}
}

// TestIntrospectionAges: how long answers are used again.
func TestIntrospectionAges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		maxAge time.Duration
		exp    time.Duration // of the token, from now
		active bool
		after  time.Duration
		asked  int64
	}{
		{"no cache", 0, time.Hour, true, 0, 2},
		{"within MaxAge", 30 * time.Second, time.Hour, true, 29 * time.Second, 1},
		{"at MaxAge", 30 * time.Second, time.Hour, true, 30 * time.Second, 2},
		{"before exp", 30 * time.Second, 10 * time.Second, true, 9 * time.Second, 1},
		{"at exp", 30 * time.Second, 10 * time.Second, true, 10 * time.Second, 2},
		{"inactive", 30 * time.Second, time.Hour, false, 4 * time.Second, 1},
		{"inactive, no longer", 30 * time.Second, time.Hour, false, 5 * time.Second, 2},
		{"inactive, short MaxAge", 2 * time.Second, time.Hour, false, 2 * time.Second, 2},
		{"inactive, no cache", 0, time.Hour, false, 0, 2},
		{"clock set back", 30 * time.Second, time.Hour, true, -time.Second, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			var e endpoint
			v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, tt.maxAge })
			e.say(fmt.Sprintf(`{"active":%v,"token_type":"Bearer","aud":"api","exp":%d}`, tt.active, c.now().Add(tt.exp).Unix()))
			_, first := v.VerifyAccess(t.Context(), bearer("t"))
			if tt.active != (first == nil) {
				t.Fatal(first)
			}
			c.add(tt.after)
			_, _ = v.VerifyAccess(t.Context(), bearer("t"))
			if n := e.asked.Load(); n != tt.asked {
				t.Errorf("%d questions, want %d", n, tt.asked)
			}
			if _, err := v.VerifyAccess(t.Context(), bearer("other")); e.asked.Load() != tt.asked+1 {
				t.Errorf("another token's answer was used: %v", err)
			}
		})
	}
}

// TestIntrospectionAgeCountsFromTheQuestion: an answer that was long on its way
// is old when it comes.
func TestIntrospectionAgeCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	c := newClock()
	var e endpoint
	v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, 10*time.Second })
	e.set(func(*http.Request) (*http.Response, error) {
		c.add(9 * time.Second)
		return says(200, "application/json", good("")), nil
	})
	_, _ = v.VerifyAccess(t.Context(), bearer("t"))
	c.add(time.Second)
	_, _ = v.VerifyAccess(t.Context(), bearer("t"))
	if e.asked.Load() != 2 {
		t.Errorf("%d questions", e.asked.Load())
	}
}

// TestIntrospectionBounded: a flood of made-up tokens stays within the bound
// and costs good ones nothing; nothing of a token is kept.
func TestIntrospectionBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	var e endpoint
	v := e.verifier(t, func(i *Introspection) { i.Now, i.MaxAge = c.now, time.Minute }).(*introspector)
	e.say(good(""))
	if _, err := v.VerifyAccess(t.Context(), bearer("good")); err != nil {
		t.Fatal(err)
	}
	e.say(`{"active":false,"padding":"` + strings.Repeat("x", 1000) + `"}`)
	for i := range maxAnswers + 100 {
		_, _ = v.VerifyAccess(t.Context(), bearer(fmt.Sprint("bad", i)))
	}
	n := e.asked.Load()
	if _, err := v.VerifyAccess(t.Context(), bearer("good")); err != nil || e.asked.Load() != n {
		t.Error("the flood pushed a good token's answer out", err)
	}
	if len(v.inactive) != maxAnswers || len(v.active) != 1 || len(v.flights) != 0 {
		t.Errorf("%d inactive, %d active, %d flights", len(v.inactive), len(v.active), len(v.flights))
	}
	for _, k := range v.inactive {
		if k.answer.body != nil {
			t.Fatal("an inactive answer is kept whole")
		}
	}
	if _, ok := v.active[sha256.Sum256([]byte("good"))]; !ok {
		t.Error("the key is not the digest")
	}
	e.say(good(`,"x":"` + strings.Repeat("x", maxKept) + `"`))
	for range 2 {
		if _, err := v.VerifyAccess(t.Context(), bearer("large")); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.active) != 1 {
		t.Error("a large answer was kept")
	}
	e.say(good(""))
	for i := range maxAnswers + 100 {
		_, _ = v.VerifyAccess(t.Context(), bearer(fmt.Sprint("good", i)))
	}
	if len(v.active) != maxAnswers {
		t.Errorf("%d active", len(v.active))
	}
}

// TestIntrospectionHerd: a thousand requests with one token ask once, and the
// first one's leaving fails nobody else.
func TestIntrospectionHerd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e endpoint
		v := e.verifier(t)
		release := make(chan struct{})
		e.set(func(r *http.Request) (*http.Response, error) {
			select {
			case <-release:
				return says(200, "application/json", `{"active":true,"token_type":"Bearer","aud":"api"}`), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		first, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := v.VerifyAccess(first, bearer("t"))
			left <- err
		}()
		synctest.Wait()
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if p, err := v.VerifyAccess(context.Background(), bearer("t")); err == nil && p != nil {
					passed.Add(1)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error("the first one", err)
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if passed.Load() != 1000 || e.asked.Load() != 1 {
			t.Errorf("%d passed after %d questions", passed.Load(), e.asked.Load())
		}
	})
}

// TestIntrospectionTimeout: an endpoint that hangs is an outage after Timeout,
// and questions that nobody waits for any more are given up.
func TestIntrospectionTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e endpoint
		v := e.verifier(t, func(i *Introspection) { i.MaxAge = time.Minute }).(*introspector)
		var open atomic.Int64
		e.set(func(r *http.Request) (*http.Response, error) {
			open.Add(1)
			defer open.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		if w := guard(v, "t"); w.Code != 503 || time.Since(start) != 5*time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { _, _ = v.VerifyAccess(ctx, bearer(fmt.Sprint("t", i))) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		synctest.Wait()
		if open.Load() != 0 || len(v.flights) != 0 || len(v.active)+len(v.inactive) != 0 {
			t.Errorf("%d questions still open, %d flights", open.Load(), len(v.flights))
		}
	})
}

// TestIntrospectionLateAnswer: an answer that was given up does not overwrite a
// later one. Were it kept, a token revoked in between would come back to life.
func TestIntrospectionLateAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e endpoint
		v := e.verifier(t, func(i *Introspection) { i.MaxAge = time.Minute })
		release := make(chan struct{})
		e.set(func(*http.Request) (*http.Response, error) { // deaf to cancellation
			<-release
			return says(200, "application/json", `{"active":true,"token_type":"Bearer","aud":"api"}`), nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = v.VerifyAccess(ctx, bearer("t")) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		e.say(`{"active":false}`) // revoked
		if _, err := v.VerifyAccess(t.Context(), bearer("t")); !errors.Is(err, ErrInvalidToken) {
			t.Fatal(err)
		}
		close(release)
		synctest.Wait()
		time.Sleep(maxInactive) // the refusal is forgotten; a late answer that was kept would come up now
		if _, err := v.VerifyAccess(t.Context(), bearer("t")); !errors.Is(err, ErrInvalidToken) {
			t.Error("the late answer brought the token back", err)
		}
	})
}

// TestIntrospectionRace: many tokens at once, each gets its own answer.
func TestIntrospectionRace(t *testing.T) {
	t.Parallel()
	var e endpoint
	v := e.verifier(t, func(i *Introspection) { i.MaxAge = time.Nanosecond })
	e.set(func(r *http.Request) (*http.Response, error) {
		_ = r.ParseForm()
		token := r.PostForm.Get("token")
		if strings.HasPrefix(token, "bad") {
			return says(200, "application/json", `{"active":false}`), nil
		}
		return says(200, "application/json", `{"active":true,"token_type":"Bearer","aud":"api","sub":"`+token+`"}`), nil
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 100 {
				token := fmt.Sprint([]string{"bad", "good"}[i%2], j%7)
				p, err := v.VerifyAccess(context.Background(), bearer(token))
				if bad := strings.HasPrefix(token, "bad"); bad != errors.Is(err, ErrInvalidToken) || !bad && (err != nil || p.Subject != token) {
					t.Errorf("%s: %v %v", token, p, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestIntrospectionConfig(t *testing.T) {
	t.Parallel()
	fine := Introspection{Endpoint: "https://op.example/introspect", ClientID: "a", ClientSecret: "b"}
	for _, tt := range []struct {
		name   string
		change func(*Introspection)
		want   string // in the error; empty: none
	}{
		{"fine", func(*Introspection) {}, ""},
		{"loopback", func(c *Introspection) { c.Endpoint = "http://127.0.0.1:8080/i" }, ""},
		{"loopback, IPv6", func(c *Introspection) { c.Endpoint = "http://[::1]:8080/i" }, ""},
		{"localhost", func(c *Introspection) { c.Endpoint = "http://localhost/i" }, ""},
		{"http", func(c *Introspection) { c.Endpoint = "http://op.example/i" }, "Endpoint"},
		{"http, looks local", func(c *Introspection) { c.Endpoint = "http://localhost.evil.example/i" }, "Endpoint"},
		{"http, user looks local", func(c *Introspection) { c.Endpoint = "http://localhost@evil.example/i" }, "Endpoint"},
		{"user", func(c *Introspection) { c.Endpoint = "https://u:p@op.example/i" }, "Endpoint"},
		{"fragment", func(c *Introspection) { c.Endpoint += "#x" }, "Endpoint"},
		{"empty", func(c *Introspection) { c.Endpoint = "" }, "Endpoint"},
		{"path", func(c *Introspection) { c.Endpoint = "/introspect" }, "Endpoint"},
		{"no credentials", func(c *Introspection) { c.ClientSecret = "" }, "ClientSecret"},
		{"both", func(c *Introspection) {
			c.Authenticate = func(context.Context, http.Header, url.Values) error { return nil }
		}, "Authenticate"},
		{"negative age", func(c *Introspection) { c.MaxAge = -1 }, "MaxAge"},
		{"long age", func(c *Introspection) { c.MaxAge = time.Hour + 1 }, "MaxAge"},
		{"negative timeout", func(c *Introspection) { c.Timeout = -1 }, "Timeout"},
	} {
		c := fine
		tt.change(&c)
		v, err := c.Verifier()
		if (err == nil) != (tt.want == "") || (v == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), "Introspection."+tt.want+":") {
			t.Errorf("%s: %v %v", tt.name, v, err)
		}
	}
}

// FuzzIntrospectionAnswer: an answer opens the door only if another parser
// agrees that it says so.
func FuzzIntrospectionAnswer(f *testing.F) {
	for _, s := range []string{`{}`, `{"active":true}`, good(""), `{"active":false}`, good(`,"cnf":{"jkt":"x"}`), good(`,"aud":["a"]`), `{"active":"true"}`,
		good(`,"auth_time":1.5e9,"authorization_details":[{"type":"x"}]`), `{"active":true,"active":false}`} {
		f.Add([]byte(s))
	}
	c := newClock()
	v := &introspector{Introspection: Introspection{Now: c.now}}

	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAnswer(body)
		if err != nil {
			return
		}
		p, err := v.principal(a)
		if (p == nil) == (err == nil) {
			t.Fatal(p, err)
		}
		if err != nil {
			return
		}
		if p.Claims["active"] != true || p.Claims["cnf"] != nil || !strings.EqualFold(p.Claims["token_type"].(string), "bearer") {
			t.Fatalf("%s opened the door", body)
		}
		if exp, ok := p.Claims["exp"].(float64); ok && exp < float64(c.now().Unix()) {
			t.Fatalf("%s is expired", body)
		}
	})
}

func BenchmarkIntrospectionKept(b *testing.B) {
	c := newClock()
	var e endpoint
	e.say(good(`,"sub":"248289761001","client_id":"app","scope":"openid profile invoices.read","iss":"https://op.example","iat":1761998400,"jti":"x","auth_time":1761998400`))
	v := e.verifier(b, func(i *Introspection) { i.Now, i.MaxAge = c.now, time.Minute })
	r := bearer("t")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.VerifyAccess(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
