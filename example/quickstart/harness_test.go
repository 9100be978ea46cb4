package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const (
	spaClient   = "client-par-required"
	spaOrigin   = "https://localhost:4207"
	spaRedirect = "https://localhost:4207"
)

// running is a provider that serves on a port of its own.
type running struct {
	t      testing.TB
	issuer string
	s      *server
	log    *syncBuffer
	stop   func() error // ends it and returns what serve said; may be called twice
}

// start serves the built-in configuration, changed by change, on a free port
// with an SQLite file in dir.
func start(t testing.TB, dir string, change ...func(*config)) *running {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startAt(t, l, dir, change...)
}

func startAt(t testing.TB, l net.Listener, dir string, change ...func(*config)) *running {
	t.Helper()
	r := &running{t: t, issuer: "http://" + l.Addr().String(), log: &syncBuffer{}}
	cfg, err := load(options{issuer: r.issuer, database: filepath.Join(dir, "idp.sqlite")})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(cfg)
	}
	if r.s, err = newServer(cfg, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.serve(ctx, l) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

// again stops the provider and starts another one on the same port and files.
func (r *running) again(dir string) *running {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp4", strings.TrimPrefix(r.issuer, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	return startAt(r.t, l, dir)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// browser is a person's: it keeps cookies and follows redirects within the
// provider.
type browser struct {
	t      testing.TB
	issuer string
	c      *http.Client
}

func newBrowser(r *running) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &browser{r.t, r.issuer, &http.Client{Jar: jar, Transport: unpooled(), CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(next.URL.String(), r.issuer+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// unpooled makes a connection a request: none outlives the provider.
func unpooled() http.RoundTripper { return &http.Transport{DisableKeepAlives: true} }

// page is where the browser ended.
type page struct {
	status   int
	url      string // of the page
	location string // where it would leave to
	header   http.Header
	body     string
}

func (b *browser) do(r *http.Request) page {
	b.t.Helper()
	res, err := b.c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	text := styleTag.ReplaceAllString(string(body), "")
	return page{res.StatusCode, res.Request.URL.String(), res.Header.Get("Location"), res.Header, text}
}

func (b *browser) get(u string) page {
	b.t.Helper()
	if strings.HasPrefix(u, "/") {
		u = b.issuer + u
	}
	r, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

var (
	styleTag  = regexp.MustCompile(`(?s)<style.*?</style>`)
	formTag   = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	inputTag  = regexp.MustCompile(`<input ([^>]*)/>`)
	attribute = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

// press fills in the form that has the button and presses it.
func (b *browser) press(p page, button string, fields url.Values, change ...func(*http.Request)) page {
	b.t.Helper()
	for _, f := range formTag.FindAllStringSubmatch(p.body, -1) {
		if !strings.Contains(f[2], `value="`+button+`"`) {
			continue
		}
		v := url.Values{"do": {button}}
		for _, in := range inputTag.FindAllStringSubmatch(f[2], -1) {
			a := map[string]string{}
			for _, kv := range attribute.FindAllStringSubmatch(in[1], -1) {
				a[kv[1]] = html.UnescapeString(kv[2])
			}
			if _, checked := a["checked"]; a["name"] != "" && (a["type"] != "checkbox" || checked) {
				v.Add(a["name"], a["value"])
			}
		}
		for k, s := range fields {
			v[k] = s
		}
		at, err := url.Parse(p.url)
		if err != nil {
			b.t.Fatal(err)
		}
		to, err := at.Parse(html.UnescapeString(f[1]))
		if err != nil {
			b.t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(v.Encode()))
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.issuer)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, c := range change {
			c(r)
		}
		return b.do(r)
	}
	b.t.Fatalf("no form with the button %q on the page %s, status %d:\n%s", button, p.url, p.status, p.body)
	return page{}
}

// signIn answers the login page.
func (b *browser) signIn(p page, user, password string) page {
	b.t.Helper()
	return b.press(p, "login", url.Values{"username": {user}, "password": {password}})
}

// app is a relying party: what a single-page application does.
type app struct {
	t                         testing.TB
	issuer                    string
	verifier, state           string
	Access, ID, Refresh, Type string
}

func newApp(r *running) *app {
	return &app{t: r.t, issuer: r.issuer, verifier: random(), state: random()}
}

// ask sends a request as a script of the application's origin.
func (a *app) ask(method, path string, form url.Values, token string) page {
	a.t.Helper()
	r, err := http.NewRequest(method, a.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Origin", spaOrigin)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return (&browser{a.t, a.issuer, &http.Client{Transport: unpooled()}}).do(r)
}

// push pushes the authorization request and returns where to send the browser.
func (a *app) push(extra url.Values) string {
	a.t.Helper()
	sum := sha256.Sum256([]byte(a.verifier))
	form := url.Values{
		"client_id": {spaClient}, "response_type": {"code"}, "redirect_uri": {spaRedirect}, "scope": {"openid offline_access profile email api"},
		"state": {a.state}, "nonce": {"n"}, "prompt": {"consent"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for k, v := range extra {
		form[k] = v
	}
	p := a.ask(http.MethodPost, "/par", form, "")
	if p.status != http.StatusCreated || p.header.Get("Access-Control-Allow-Origin") != spaOrigin {
		a.t.Fatalf("par: %d %s, Access-Control-Allow-Origin %q", p.status, p.body, p.header.Get("Access-Control-Allow-Origin"))
	}
	var v struct {
		RequestURI string `json:"request_uri"`
	}
	decode(a.t, p.body, &v)
	return "/authorize?" + url.Values{"client_id": {spaClient}, "request_uri": {v.RequestURI}}.Encode()
}

// redeem takes the answer that the browser brought and redeems the code.
func (a *app) redeem(location string) {
	a.t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		a.t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(location, spaRedirect+"?") || q.Get("state") != a.state || q.Get("iss") != a.issuer || q.Get("code") == "" {
		a.t.Fatalf("answer: %s", location)
	}
	p := a.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {spaRedirect}, "code_verifier": {a.verifier}})
	if p.status != http.StatusOK {
		a.t.Fatalf("token: %d %s", p.status, p.body)
	}
}

// token asks the token endpoint and keeps the tokens it gives.
func (a *app) token(form url.Values) page {
	a.t.Helper()
	form.Set("client_id", spaClient)
	p := a.ask(http.MethodPost, "/token", form, "")
	if p.status == http.StatusOK {
		var v struct {
			Access  string `json:"access_token"`
			ID      string `json:"id_token"`
			Refresh string `json:"refresh_token"`
		}
		decode(a.t, p.body, &v)
		a.Access, a.ID, a.Refresh = v.Access, v.ID, v.Refresh
	}
	return p
}

func (a *app) refresh(token string) page {
	a.t.Helper()
	return a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func decode(t testing.TB, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

// has fails the test unless the page has the status and all the texts.
func has(t testing.TB, what string, p page, status int, texts ...string) {
	t.Helper()
	if p.status != status {
		t.Fatalf("%s: status %d, want %d: %s %s\n%s", what, p.status, status, p.url, p.location, p.body)
	}
	for _, s := range texts {
		if !strings.Contains(p.body, s) {
			t.Errorf("%s lacks %q:\n%s", what, s, p.body)
		}
	}
}
