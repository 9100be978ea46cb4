package handlerstest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/internal/jose"
)

// recorder is a test that keeps its failure to itself.
type recorder struct {
	testing.TB
	message string // of the failure that ended it
	ended   bool
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprintln(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.message, r.ended = fmt.Sprintf(format, args...), true
	runtime.Goexit()
}

// failure runs f as a test that must fail, and returns how it does.
func failure(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	var wait sync.WaitGroup
	wait.Go(func() { f(r) })
	wait.Wait()
	if !r.ended {
		t.Fatal("it does not fail")
	}
	return r.message
}

// wrong is a transport at which requests and answers are changed on the way.
type wrong struct {
	base    http.RoundTripper
	request func(path string, form url.Values)
	answer  func(path string, res *http.Response, body string) string // nil: as it is
}

func (w wrong) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.request != nil && r.Method == http.MethodPost {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(b))
		if err != nil {
			return nil, err
		}
		w.request(r.URL.Path, form)
		r = r.Clone(r.Context())
		text := form.Encode()
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
	res, err := w.base.RoundTrip(r)
	if err != nil || w.answer == nil {
		return res, err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	res.Body = io.NopCloser(strings.NewReader(w.answer(r.URL.Path, res, string(b))))
	return res, nil
}

// at changes the answers of one path.
func at(path string, f func(res *http.Response, body string) string) func(string, *http.Response, string) string {
	return func(p string, res *http.Response, body string) string {
		if p != path {
			return body
		}
		return f(res, body)
	}
}

// location changes where the answer to the client goes.
func location(f func(q url.Values)) func(string, *http.Response, string) string {
	return func(_ string, res *http.Response, body string) string {
		if u, err := url.Parse(res.Header.Get("Location")); err == nil && u.Host == "rp.example" {
			q := u.Query()
			f(q)
			u.RawQuery = q.Encode()
			res.Header.Set("Location", u.String())
		}
		return body
	}
}

func member(body, name string, value any) string {
	var m map[string]any
	if json.Unmarshal([]byte(body), &m) != nil {
		return body
	}
	if m[name] = value; value == nil {
		delete(m, name)
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// TestSignInFails: what a relying party must refuse.
func TestSignInFails(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "k", Alg: "ES256", Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	// claims signs the ID token anew with other claims; nil removes one.
	claims := func(change map[string]any) func(string, *http.Response, string) string {
		return at("/token", func(_ *http.Response, body string) string {
			var m map[string]any
			if err := json.Unmarshal([]byte(body), &m); err != nil {
				t.Error(err)
			}
			raw, _ := m["id_token"].(string)
			token, err := jose.Verify(raw, []jose.Key{{ID: "k", Public: key.Public()}}, []string{"ES256"})
			if err != nil {
				t.Error(err)
				return body
			}
			for name, value := range change {
				if token.Claims[name] = value; value == nil {
					delete(token.Claims, name)
				}
			}
			if raw, err = jose.Sign(context.Background(), token.Header, key, token.Claims); err != nil {
				t.Error(err)
			}
			return member(body, "id_token", raw)
		})
	}
	for _, tc := range []struct {
		name    string
		request func(path string, form url.Values)
		answer  func(path string, res *http.Response, body string) string
		rp      func(rp *handlerstest.RP)
		want    []string
	}{
		{name: "another state", request: func(p string, f url.Values) {
			if p == "/par" {
				f.Set("state", "of somebody else")
			}
		}, want: []string{`state "of somebody else" is of no request`, "POST /consent: status 303, leaving to https://rp.example/cb"}},
		{name: "no state", answer: location(func(q url.Values) { q.Del("state") }), want: []string{`state "" is of no request`}},
		{name: "no iss", answer: location(func(q url.Values) { q.Del("iss") }), want: []string{`iss "", want "http://127.0.0.1:`}},
		{name: "another iss", answer: location(func(q url.Values) { q.Set("iss", "https://evil.example") }), want: []string{`iss "https://evil.example"`}},
		{name: "no code", answer: location(func(q url.Values) { q.Del("code") }), want: []string{"a code or an error"}},
		{name: "code and error", answer: location(func(q url.Values) { q.Set("error", "x") }), want: []string{"a code or an error"}},
		{name: "two codes", answer: location(func(q url.Values) { q.Add("code", "x") }), want: []string{"parameter code is there 2 times"}},
		{name: "another redirect URI", answer: func(_ string, res *http.Response, body string) string {
			res.Header.Set("Location", strings.Replace(res.Header.Get("Location"), "https://rp.example/cb", "https://rp.example/other", 1))
			return body
		}, want: []string{"the answer goes to https://rp.example/other"}},
		{name: "another nonce", request: func(p string, f url.Values) {
			if p == "/par" {
				f.Set("nonce", "of somebody else")
			}
		}, want: []string{"ID token is not valid: nonce of somebody else, want", "POST /token: status 200"}},
		{name: "no nonce", answer: claims(map[string]any{"nonce": nil}), want: []string{"nonce <nil>, want"}},
		{name: "another issuer", answer: claims(map[string]any{"iss": "https://evil.example"}), want: []string{`iss "https://evil.example"`}},
		{name: "another audience", answer: claims(map[string]any{"aud": "other"}), want: []string{`aud ["other"], want "app"`}},
		{name: "two audiences", answer: claims(map[string]any{"aud": []string{"app", "other"}}), want: []string{`azp <nil>, want "app"`}},
		{name: "another party", answer: claims(map[string]any{"azp": "other"}), want: []string{`azp other, want "app"`}},
		{name: "expired", answer: claims(map[string]any{"exp": time.Now().Unix()}), want: []string{"exp "}},
		{name: "no end", answer: claims(map[string]any{"exp": nil}), want: []string{"exp <nil>"}},
		{name: "of the future", answer: claims(map[string]any{"iat": time.Now().Add(time.Minute).Unix()}), want: []string{"iat "}},
		{name: "no subject", answer: claims(map[string]any{"sub": nil}), want: []string{"no sub"}},
		{name: "of another access token", answer: claims(map[string]any{"at_hash": "AAAA"}), want: []string{"at_hash AAAA"}},
		{name: "tampered signature", answer: at("/token", func(_ *http.Response, body string) string {
			var m map[string]any
			_ = json.Unmarshal([]byte(body), &m)
			raw, _ := m["id_token"].(string)
			i := strings.LastIndexByte(raw, '.')
			return member(body, "id_token", raw[:i+1]+strings.Repeat("A", len(raw)-i-1))
		}), want: []string{"ID token is not valid: jose: signature"}},
		{name: "another key", answer: at("/jwks", func(_ *http.Response, body string) string {
			return strings.Replace(body, `"kid":"k"`, `"kid":"other"`, 1)
		}), want: []string{"ID token is not valid: jose: "}},
		{name: "keys that are none", answer: at("/jwks", func(*http.Response, string) string { return "no JSON" }), want: []string{"/jwks: "}},
		{name: "no keys", answer: at("/jwks", func(res *http.Response, _ string) string { res.StatusCode = 503; return "away" }), want: []string{"/jwks: status 503: away"}},
		{name: "another algorithm", rp: func(rp *handlerstest.RP) { rp.Client.IDTokenSignedResponseAlg = "RS256" }, want: []string{"algorithm"}},
		{name: "tokens that caches keep", answer: at("/token", func(res *http.Response, body string) string {
			res.Header.Del("Cache-Control")
			return body
		}), want: []string{`tokens with Cache-Control ""`}},
		{name: "no ID token", answer: at("/token", func(_ *http.Response, body string) string { return member(body, "id_token", nil) }), want: []string{"there is no ID token"}},
		{name: "no token", answer: at("/token", func(_ *http.Response, body string) string { return member(body, "access_token", nil) }), want: []string{"no access_token"}},
		{name: "no JSON", answer: at("/token", func(*http.Response, string) string { return "<html>" }), want: []string{"invalid character", "POST /token: status 200", "<html>"}},
		{name: "another verifier", request: func(p string, f url.Values) {
			if p == "/token" {
				f.Set("code_verifier", strings.Repeat("x", 43))
			}
		}, want: []string{"authorization_code is refused: invalid_grant", "POST /token: status 400"}},
		{name: "another provider", answer: at("/.well-known/openid-configuration", func(_ *http.Response, body string) string {
			return member(body, "issuer", "https://evil.example")
		}), want: []string{"issuer https://evil.example, want http://127.0.0.1:"}},
		{name: "metadata that are none", answer: at("/.well-known/openid-configuration", func(*http.Response, string) string { return "" }), want: []string{"openid-configuration: unexpected end"}},
		{name: "a refusal to push", request: func(p string, f url.Values) {
			if p == "/par" {
				f.Set("scope", "openid openid unknown")
			}
		}, want: []string{"status 400, want 201: POST /par: status 400", "invalid_scope"}},
		{name: "a denial", request: func(p string, f url.Values) {
			if p == "/consent" {
				f.Set("do", "deny")
			}
		}, want: []string{"the answer is access_denied"}},
		{name: "no cross-origin access", rp: func(rp *handlerstest.RP) { rp.Origin = "https://elsewhere.example" },
			want: []string{"a browser keeps the answer from a script of https://elsewhere.example", "POST /par"}},
		{name: "no such button", rp: func(rp *handlerstest.RP) { rp.Consent = url.Values{"decision": {"yes"}} },
			want: []string{"no form on the page takes decision=yes", `form POST /consent?interaction=`, `[do=allow] [do=deny]: no field "decision"`, "GET /consent: status 200"}},
		{name: "redirects in a circle", answer: at("/login", func(res *http.Response, body string) string {
			res.StatusCode = 302
			res.Header.Set("Location", "/login")
			return body
		}), want: []string{"more than 20 redirects: GET /authorize: status 303, then GET /login: status 302"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			idp := handlerstest.Serve(t, handlers.Config{Keys: keys})
			idp.Transport = wrong{idp.Transport, tc.request, tc.answer}
			got := failure(t, func(t testing.TB) {
				rp := handlerstest.NewRP(t, idp, app)
				if tc.rp != nil {
					tc.rp(rp)
				}
				rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland")
			})
			holds(t, got, tc.want...)
		})
	}
}

// TestRedirectQuery: what the redirect URI has in its query must come back.
func TestRedirectQuery(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{})
	idp.Transport = wrong{idp.Transport, nil, location(func(q url.Values) { q.Del("tenant") })}
	client := app
	client.RedirectURIs = []string{"https://rp.example/cb?tenant=1"}
	holds(t, failure(t, func(t testing.TB) {
		handlerstest.NewRP(t, idp, client).SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland")
	}), "the answer lacks tenant of the redirect URI")
}

func holds(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, s := range want {
		if !strings.Contains(got, s) {
			t.Errorf("the failure lacks %q:\n%s", s, got)
		}
	}
}

// TestFails: each method with what must end a test.
func TestFails(t *testing.T) {
	t.Parallel()
	type set struct {
		idp     *handlerstest.Server
		rp      *handlerstest.RP
		browser *handlerstest.Browser
		tokens  *handlerstest.Tokens
		page    handlerstest.Page // for consent
	}
	for _, tc := range []struct {
		name   string
		answer func(path string, res *http.Response, body string) string
		run    func(t testing.TB, s set)
		want   []string
	}{
		{"wrong password", nil, func(t testing.TB, s set) { s.rp.SignIn(handlerstest.NewBrowser(t, s.idp), "alice", "looking-glass") },
			[]string{"the sign-in page is shown again", "POST /login: status 200", "not right"}},
		{"no password asked", nil, func(_ testing.TB, s set) { s.browser.SignIn(s.page, "alice", "wonderland") },
			[]string{"no form on the page asks for a password", "GET /consent: status 200"}},
		{"no form", nil, func(_ testing.TB, s set) { s.browser.Submit(s.browser.Get("/authorize"), nil) },
			[]string{"there is no form on the page", "GET /authorize: status 400"}},
		{"no button", nil, func(_ testing.TB, s set) { s.browser.Submit(s.page, url.Values{"do": {"maybe"}}) }, []string{"no button do=maybe"}},
		{"status", nil, func(_ testing.TB, s set) { s.page.Want(404) }, []string{"status 200, want 404", "GET /consent"}},
		{"text", nil, func(_ testing.TB, s set) { s.page.Want(200, "The App", "Off with her head") }, []string{`"Off with her head" is not on the page`}},
		{"JSON", nil, func(_ testing.TB, s set) { s.page.JSON() }, []string{"invalid character '<'", "GET /consent"}},
		{"member", nil, func(_ testing.TB, s set) { s.browser.Fetch("GET", "/jwks", nil).Member("csrf") }, []string{`no text "csrf"`, "GET /jwks: status 200"}},
		{"follow", nil, func(_ testing.TB, s set) { s.browser.Follow(s.browser.Fetch("GET", "/jwks", nil)) }, []string{"neither location nor action"}},
		{"unencodable", nil, func(_ testing.TB, s set) { s.browser.Fetch("POST", "/", func() {}) }, []string{"unsupported type"}},
		{"elsewhere", nil, func(_ testing.TB, s set) { s.browser.Get("https://elsewhere.example/") }, []string{"nothing is served at elsewhere.example:443"}},
		{"no URL", nil, func(_ testing.TB, s set) { s.browser.Get("http://[") }, []string{"missing ']'"}},
		{"no refusal", nil, func(_ testing.TB, s set) {
			s.rp.Call("GET", "userinfo_endpoint", s.tokens.Access).WantError(401, "invalid_token")
		}, []string{"no error response, want status 401 and invalid_token", "GET /userinfo: status 200", `"sub":"alice"`}},
		{"another refusal", nil, func(_ testing.TB, s set) {
			s.rp.Call("GET", "userinfo_endpoint", "x").WantError(403, "insufficient_scope")
		},
			[]string{"status 401 and invalid_token, want 403 and insufficient_scope"}},
		{"another status", nil, func(_ testing.TB, s set) { s.rp.Call("GET", "userinfo_endpoint", "x").WantError(400, "invalid_token") },
			[]string{"status 401 and invalid_token, want 400 and invalid_token"}},
		{"another code", nil, func(_ testing.TB, s set) {
			s.rp.Call("GET", "userinfo_endpoint", "x").WantError(401, "insufficient_scope")
		},
			[]string{"status 401 and invalid_token, want 401 and insufficient_scope"}},
		{"no refusal at the client", nil, func(_ testing.TB, s set) {
			s.rp.WantError(s.browser.Submit(s.page, url.Values{"do": {"allow"}}), "access_denied")
		}, []string{`error "", want "access_denied"`, "POST /consent"}},
		{"not back", nil, func(_ testing.TB, s set) { s.rp.Answer(s.page) }, []string{"has not come back", "GET /consent"}},
		{"subject of UserInfo", at("/userinfo", func(_ *http.Response, body string) string { return member(body, "sub", "mallory") }),
			func(_ testing.TB, s set) { s.rp.UserInfo(s.tokens) }, []string{`sub mallory, and that of the ID token is "alice"`}},
		{"subject of a refresh", nil, func(_ testing.TB, s set) {
			s.tokens.Subject = "bob"
			s.rp.Refresh(s.tokens)
		}, []string{`sub "alice", and before it was "bob"`}},
		{"refresh", nil, func(_ testing.TB, s set) { s.rp.Refresh(&handlerstest.Tokens{Refresh: "x"}) }, []string{"refresh_token is refused: invalid_grant"}},
		{"logout", nil, func(_ testing.TB, s set) { s.rp.LogOut(s.browser, &handlerstest.Tokens{ID: "x.y.z"}) }, []string{"status 400, want 200: GET /logout"}},
		{"logout elsewhere", at("/logout", func(res *http.Response, body string) string {
			res.Header.Set("Location", "https://rp.example/bye?state=other")
			return body
		}), func(_ testing.TB, s set) { s.rp.LogOut(s.browser, s.tokens) }, []string{"logout leads elsewhere", "leaving to https://rp.example/bye?state=other"}},
		{"no introspection", nil, func(_ testing.TB, s set) { s.rp.Introspect(s.tokens.Access) }, []string{"the metadata name no introspection_endpoint"}},
		{"a method it does not know", nil, func(_ testing.TB, s set) {
			s.rp.Client.TokenEndpointAuthMethod = "private_key_jwt"
			s.rp.Refresh(s.tokens)
		}, []string{`client "app": set Authenticate for private_key_jwt`}},
		{"a client that is wrong", nil, func(t testing.TB, s set) { handlerstest.NewRP(t, s.idp, clientreg.Client{ID: "a", Scope: `"`}) }, []string{`client "a": `, "scope"}},
		{"a client that is not served", nil, func(t testing.TB, s set) {
			handlerstest.NewRP(t, s.idp, clientreg.Client{ID: "a", IDTokenSignedResponseAlg: "RS256"})
		}, []string{"id_token_signed_response_alg asks for what this provider does not serve"}},
		{"a configuration that is wrong", nil, func(t testing.TB, _ set) { handlerstest.Serve(t, handlers.Config{Issuer: "https://id.example/"}) }, []string{"IDP113"}},
		{"an application that does not start", nil, func(t testing.TB, _ set) {
			handlerstest.ServeApp(t, func(context.Context, string) (http.Handler, error) { return nil, errors.New("no teapot") })
		}, []string{"no teapot"}},
		{"an issuer that is none", nil, func(t testing.TB, _ set) { handlerstest.At(t, "id.example") }, []string{`"id.example" is no http or https URL`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := app
			client.PostLogoutRedirectURIs = []string{"https://rp.example/bye"}
			idp := handlerstest.Serve(t, handlers.Config{})
			rp, browser := handlerstest.NewRP(t, idp, client), handlerstest.NewBrowser(t, idp)
			rp.Scope = "openid offline_access"
			tokens := rp.SignIn(browser, "alice", "wonderland", "prompt", "consent")
			page := rp.Begin(browser, "prompt", "consent").Want(200)
			idp.Transport = wrong{idp.Transport, nil, tc.answer}
			got := failure(t, func(t testing.TB) {
				s := set{idp, rp.In(t), handlerstest.NewBrowser(t, idp), tokens, page}
				s.browser = browser.In(t)
				s.page = s.browser.Get(page.URL.String())
				tc.run(t, s)
			})
			holds(t, got, tc.want...)
		})
	}
}

// TestPolicy: a page whose Content-Security-Policy keeps its form from being
// sent, or from being answered, is found.
func TestPolicy(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]string{
		"":                              "",
		"default-src 'none'":            "",
		"form-action 'self' https:":     "",
		"form-action 'self' *":          "",
		"form-action 'self' rp.example": "",
		"form-action 'self' HTTPS://*.example:443/cb; form-action 'none'": "",
		"form-action 'none'":                                      "would not send the form of /consent to http://127.0.0.1",
		"default-src 'self'; Form-Action":                         "would not send the form of /consent to http://127.0.0.1",
		"form-action 'self'":                                      "would not send the form of /consent to https://rp.example",
		"form-action 'self' https://rp.example:444":               "to https://rp.example",
		"form-action 'self' https://rp.example/other":             "to https://rp.example",
		"form-action 'self' https://other.example com.app:":       "to https://rp.example",
		"form-action 'self' https://*.rp.example 'unsafe-inline'": "to https://rp.example",
		"form-action *, form-action 'self'":                       "to https://rp.example",
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			idp := handlerstest.Serve(t, handlers.Config{Consent: custom(policy)})
			sign := func(t testing.TB) {
				rp := handlerstest.NewRP(t, idp, app)
				rp.Consent = url.Values{"decision": {"yes & no"}}
				rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland")
			}
			if want == "" {
				sign(t)
				return
			}
			holds(t, failure(t, sign), want, "Content-Security-Policy: "+policy)
		})
	}
}

// TestLog: the provider's log goes to the test's output, so that a failure is
// beside its reason.
func TestLog(t *testing.T) {
	t.Parallel()
	out := &output{TB: t}
	idp := handlerstest.Serve(out, handlers.Config{})
	handlerstest.NewBrowser(t, idp).Get("/authorize?client_id=nobody").Want(400)
	out.mu.Lock()
	defer out.mu.Unlock()
	holds(t, out.b.String(), "msg=refused endpoint=authorize")
}

type output struct {
	testing.TB
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Output() io.Writer { return o }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}
