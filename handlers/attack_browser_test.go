package handlers_test

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
)

// in returns the same world as a subtest sees it. What restarts the provider
// wants the original.
func (w *world) in(t testing.TB) *world {
	return &world{t: t, issuer: w.issuer, cfg: w.cfg, p: w.p, clock: w.clock, users: w.users, clients: w.clients, store: w.store,
		srv: w.srv, logged: w.logged, events: w.events}
}

// in returns the same browser as a subtest sees it.
func (b *browser) in(t testing.TB) *browser { return &browser{w: b.w.in(t), t: t, c: b.c} }

// victim is a browser in which alice is signed in and has allowed the clients
// for good: whatever request is let through by mistake gets its code at once.
func (w *world) victim(clients ...string) *browser {
	w.t.Helper()
	b := w.browser()
	for _, c := range clients {
		res := b.begin(request(c))
		if u, _ := res.location(); u.Path == w.path("/login") {
			res = b.signIn(res, "alice")
		}
		if _, q := b.allow(res, "remember", "1").location(); q.Get("code") == "" {
			w.t.Fatalf("%s got no code: %v", c, q)
		}
		if c == "native" { // nobody vouches for it, so it is asked for every time unless it is ours
			w.clients.change(c, func(c *clientreg.Client) { c.FirstParty = true })
		}
		if _, q := b.begin(request(c, "prompt", "none")).location(); q.Get("code") == "" {
			w.t.Fatalf("%s got no code without a question: %v", c, q)
		}
	}
	return b
}

// cookies returns what the browser would send to the server.
func (b *browser) cookies() []*http.Cookie {
	b.t.Helper()
	u, err := url.Parse(b.w.srv.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.c.Jar.Cookies(u)
}

// plant puts cookies into the browser.
func (b *browser) plant(cs ...*http.Cookie) {
	b.t.Helper()
	u, err := url.Parse(b.w.srv.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range cs {
		c := *c
		c.Path, c.Secure = "/", u.Scheme == "https"
		b.c.Jar.SetCookies(u, []*http.Cookie{&c})
	}
}

// send makes a request with headers; Host is one of them.
func (b *browser) send(method, raw, body string, header ...string) response {
	b.t.Helper()
	r, err := http.NewRequest(method, b.w.abs(raw), strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	hiddenPair = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// answered reads an answer to a client in any response mode: where it goes and
// what it says.
func (r response) answered() (target string, params url.Values) {
	r.t.Helper()
	if r.StatusCode != http.StatusOK {
		u, q := r.location()
		u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
		return u.String(), q
	}
	m := formAction.FindStringSubmatch(r.body)
	if m == nil {
		r.t.Fatalf("neither a redirect nor a form: %.300s", r.body)
	}
	params = url.Values{}
	for _, p := range hiddenPair.FindAllStringSubmatch(r.body, -1) {
		params.Add(html.UnescapeString(p[1]), html.UnescapeString(p[2]))
	}
	return html.UnescapeString(m[1]), params
}

// refusedPage fails unless the answer is an error page that tells and leads
// nothing anywhere.
func (r response) refusedPage() {
	r.t.Helper()
	r.wantPage()
	r.harmless()
	if ct := r.Header.Get("Content-Type"); ct != "text/html; charset=utf-8" {
		r.t.Errorf("Content-Type %q", ct)
	}
	for _, s := range []string{"ac_", "code=", "<form"} {
		if strings.Contains(r.body, s) {
			r.t.Errorf("the page holds %q", s)
		}
	}
}

// harmless fails if an answer lacks what every answer of the browser's
// endpoints has.
func (r response) harmless() {
	r.t.Helper()
	if r.StatusCode >= 500 {
		r.t.Errorf("status %d", r.StatusCode)
	}
	for k, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "",
	} {
		if got := r.Header.Get(k); got != want {
			r.t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		r.t.Errorf("Content-Security-Policy %q", csp)
	}
	for k, vs := range r.Header {
		if k != "Location" && strings.Contains(strings.ToLower(k+strings.Join(vs, "")), "injected") || len(vs) > 1 {
			r.t.Errorf("header injected: %s %v", k, vs)
		}
	}
}

// refusedAt fails unless the answer is one error at the client's URI, with
// state and iss once each and without a code.
func (r response) refusedAt(uri, code string) {
	r.t.Helper()
	r.harmless()
	target, q := r.answered()
	if target != uri {
		r.t.Fatalf("answered at %s, want %s", target, uri)
	}
	if got := q.Get("error"); got != code {
		r.t.Errorf("error %q, want %q", got, code)
	}
	if s := q["state"]; len(s) != 1 || s[0] != "state-1" {
		r.t.Errorf("state %q", s)
	}
	r.issuedBy(q)
	for _, k := range []string{"code", "access_token", "id_token", "token_type"} {
		if q.Has(k) {
			r.t.Errorf("the refusal carries %s", k)
		}
	}
}

// issuedBy fails unless iss is there once and exact, RFC 9207 §2.
func (r response) issuedBy(q url.Values) {
	r.t.Helper()
	issuer := r.Request.URL.Scheme + "://" + r.Request.URL.Host
	if got := q["iss"]; len(got) != 1 || got[0] != issuer {
		r.t.Errorf("iss %q, want %q once", got, issuer)
	}
}

// noCode fails if an answer leads to a code or to another site.
func (r response) noCode() {
	r.t.Helper()
	if r.StatusCode >= 500 {
		r.t.Errorf("status %d", r.StatusCode)
	}
	if loc := r.Header.Get("Location"); strings.Contains(loc, "code=") || strings.Contains(r.body, `name="code"`) {
		r.t.Errorf("a code was issued: %s", loc)
	}
}

// pushAs sends a request to PAR as its client and returns the answer.
func (w *world) pushAs(q url.Values) response {
	w.t.Helper()
	client := q.Get("client_id")
	form, header := auth(client)
	for k, v := range q {
		if k != "client_id" {
			form[k] = v
		}
	}
	return w.call("/par", form, header...)
}

// with adds raw pairs to an encoded request.
func with(q url.Values, raw string) string {
	if raw == "" {
		return q.Encode()
	}
	return q.Encode() + "&" + raw
}

// newServer serves a second replica.
func newServer(t testing.TB, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// readAll sends a request and reads the answer. It may run in any goroutine.
func readAll(c *http.Client, r *http.Request) (*http.Response, string, error) {
	res, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}
