package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// lab is a world whose storage can be made slow or made to fail, and whose
// rows can be read back.
type lab struct {
	*world
	vault *vault
	flaky *storagetest.FlakyStorage
	spy   *spy
	hasty bool // the storage hangs: who asks gives up soon
}

func newLab(t testing.TB, opts ...func(*handlers.Config)) *lab {
	t.Helper()
	return newLabOver(t, memory.New(), opts...)
}

// newLabOver is a lab over a storage.
func newLabOver(t testing.TB, inner storage.Storage, opts ...func(*handlers.Config)) *lab {
	t.Helper()
	l := &lab{vault: &vault{inner: inner, refs: map[storage.Ref]bool{}}}
	l.flaky = storagetest.Flaky(l.vault, storagetest.Plan{})
	l.world = newWorld(t, append([]func(*handlers.Config){func(c *handlers.Config) { c.Storage = l.flaky }}, opts...)...)
	base := l.srv.Client().Transport.(*http.Transport)
	base.MaxIdleConnsPerHost = 128
	l.spy = &spy{base: base, secrets: map[string]string{}}
	l.srv.Client().Transport = l.spy
	return l
}

// quick gives the confidential clients secrets of the cheap kind, under the same
// value: where a test authenticates often and stretching is not its subject.
func (w *world) quick() {
	for id, secret := range map[string]string{"web": webSecret, "post": postSecret, "nopkce": webSecret, "m2m": webSecret} {
		w.clients.change(id, func(c *clientreg.Client) { c.Secrets = []clientreg.ClientSecret{{Hash: quickHash(secret)}} })
	}
}

// unlimited is a limiter that holds nobody back: where a test signs in more
// often than a person does.
type unlimited struct{}

func (unlimited) Allow(context.Context, string) (bool, time.Duration) { return true, 0 }

func noLimits(c *handlers.Config) { c.Limiter = unlimited{} }

// vault passes everything on and remembers what was written.
type vault struct {
	inner storage.Storage
	mu    sync.Mutex
	refs  map[storage.Ref]bool
	past  []storage.Record // every version of every row, when keep is set
	keep  bool
}

func (v *vault) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	return v.inner.Get(ctx, ref)
}

func (v *vault) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	return v.inner.Find(ctx, q)
}

func (v *vault) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	return v.inner.Purge(ctx, before, limit)
}

func (v *vault) Commit(ctx context.Context, ops ...storage.Op) error {
	err := v.inner.Commit(ctx, ops...)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, op := range ops {
		v.refs[op.Record.Ref] = true
		if v.keep {
			v.past = append(v.past, *op.Record.Clone())
		}
	}
	return err
}

// rows returns the rows of a kind as they are now.
func (v *vault) rows(t testing.TB, kind storage.Kind) []*storage.Record {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	var rows []*storage.Record
	for ref := range v.refs {
		if ref.Kind != kind {
			continue
		}
		if r, err := v.inner.Get(context.Background(), ref); err == nil {
			rows = append(rows, r)
		}
	}
	return rows
}

// active counts the living rows of a kind.
func (v *vault) active(t testing.TB, kind storage.Kind) int {
	t.Helper()
	n := 0
	for _, r := range v.rows(t, kind) {
		if r.State == storage.Active {
			n++
		}
	}
	return n
}

// noOrphans fails if a code names no grant.
func (v *vault) noOrphans(t testing.TB) {
	t.Helper()
	grants := map[string]bool{}
	for _, g := range v.rows(t, storage.KindGrant) {
		grants[g.Key] = true
	}
	for _, c := range v.rows(t, storage.KindCode) {
		if !grants[c.Grant] {
			t.Errorf("a code without its grant")
		}
	}
}

// spy is a transport that writes down every secret that goes by, with what it
// is. It lets the tests look for them where they must not be.
type spy struct {
	base    http.RoundTripper
	mu      sync.Mutex
	secrets map[string]string
}

func (s *spy) note(what, value string) {
	if len(value) < 8 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[value] = what
}

func (s *spy) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]string{}
	for k, v := range s.secrets {
		m[k] = v
	}
	return m
}

func (s *spy) values(q url.Values) {
	for _, n := range []string{"code", "interaction", "request_uri", "code_verifier", "client_secret", "password", "csrf", "refresh_token", "access_token", "id_token", "token"} {
		for _, v := range q[n] {
			s.note(n, v)
		}
	}
}

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	s.values(r.URL.Query())
	if r.Body != nil && r.GetBody != nil {
		if rc, err := r.GetBody(); err == nil {
			b, _ := io.ReadAll(rc)
			if q, err := url.ParseQuery(string(b)); err == nil && len(b) < 64<<10 {
				s.values(q)
			}
		}
	}
	if _, pw, ok := r.BasicAuth(); ok {
		s.note("client_secret", pw)
		if dec, err := url.QueryUnescape(pw); err == nil {
			s.note("client_secret", dec)
		}
	}
	res, err := s.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	for _, c := range res.Cookies() {
		s.note("cookie "+c.Name, c.Value)
	}
	if u, err := url.Parse(res.Header.Get("Location")); err == nil {
		s.values(u.Query())
	}
	if m := csrfField.FindSubmatch(body); m != nil {
		s.note("csrf", string(m[1]))
	}
	var j map[string]any
	if json.Unmarshal(body, &j) == nil {
		for _, n := range []string{"access_token", "refresh_token", "id_token", "request_uri"} {
			if v, ok := j[n].(string); ok {
				s.note(n, v)
			}
		}
	}
	return res, nil
}

// raw writes bytes to the server and reads what comes back until it closes or
// falls silent. The second value tells whether the connection was closed.
func (w *world) raw(b []byte) (answers []*http.Response, closed bool) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.srv.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = c.Write(b) }() // the server may close while we write
	br := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			ne, timeout := err.(net.Error)
			return answers, !timeout || !ne.Timeout()
		}
		body, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(body))
		answers = append(answers, res)
		if res.Close {
			return answers, true
		}
	}
}

// send makes a request of any method, body and headers, without cookies.
func (w *world) send(method, path, body string, header ...string) response {
	w.t.Helper()
	r, err := http.NewRequest(method, w.abs(path), strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	c := &http.Client{Transport: w.srv.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return (&browser{w: w, t: w.t, c: c}).do(r)
}

const formType = "application/x-www-form-urlencoded"

// huge posts a body too large to be read whole: the answer may come while we
// still write. It returns the status, 0 when the connection was just closed.
func (w *world) huge(path string, size int, header ...string) int {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("POST " + path + " HTTP/1.1\r\nHost: " + w.srv.Listener.Addr().String() + "\r\nContent-Type: " + formType + "\r\n")
	for i := 0; i+1 < len(header); i += 2 {
		b.WriteString(header[i] + ": " + header[i+1] + "\r\n")
	}
	b.WriteString("Content-Length: ")
	n := []byte("x=")
	body := append(n, bytes.Repeat([]byte("a"), size-2)...)
	b.WriteString(itoa(len(body)) + "\r\nConnection: close\r\n\r\n")
	answers, _ := w.raw(append([]byte(b.String()), body...))
	if len(answers) == 0 {
		return 0
	}
	return answers[0].StatusCode
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// signedIn returns a browser of alice at which everything that the client asks
// for is allowed and remembered: later requests of the scopes are answered at
// once.
func (w *world) signedIn(client string, edit ...string) *browser {
	w.t.Helper()
	b := w.browser()
	res := b.begin(request(client, edit...))
	if u, _ := res.location(); u.Path == w.path("/login") {
		res = b.signIn(res, "alice")
	}
	if u, _ := res.location(); u.Path == w.path("/consent") {
		res = b.allow(res, "remember", "1")
	}
	if _, q := res.location(); q.Get("code") == "" {
		w.t.Fatalf("no code: %s", res.Header.Get("Location"))
	}
	return b
}

// offline is a request for a refresh token.
var offline = []string{"scope", "openid profile offline_access"}

// issue redeems a new code of a signed-in browser.
func (b *browser) issue(client string, edit ...string) response {
	b.t.Helper()
	return b.w.redeem(client, b.code(request(client, edit...), "alice")).want(200)
}

// leak returns what of the inside of a server an answer shows, "" if nothing.
func leak(body string) string {
	for _, s := range []string{"goroutine", "panic", ".go:", "SQLSTATE", "node_modules", "runtime error", "storagetest", "storage:", "context deadline", "/home/", "/usr/"} {
		if strings.Contains(body, s) {
			return s
		}
	}
	return ""
}

// clean fails when an answer to what a client made is a fault or shows the
// inside of the server.
func (r response) clean() response {
	r.t.Helper()
	if r.StatusCode >= 500 {
		r.t.Errorf("%s %s: status %d for what a client sent: %.300s", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.body)
	}
	if m := leak(r.body); m != "" {
		r.t.Errorf("%s %s: the answer says %q", r.Request.Method, r.Request.URL.Path, m)
	}
	return r
}

// alive drives a whole flow: the provider still serves.
func (w *world) alive() {
	w.t.Helper()
	b := w.browser()
	tok := w.redeem("native", b.code(request("native", append(offline, "prompt", "consent")...), "bob")).want(200)
	w.userinfo(tok.str("access_token")).want(200)
	w.refresh("native", tok.str("refresh_token")).want(200)
}

// dead fails unless nothing of a token response works any more.
func (w *world) dead(client string, tok response) {
	w.t.Helper()
	w.userinfo(tok.str("access_token")).want(401)
	if rt := tok.str("refresh_token"); rt != "" {
		w.refresh(client, rt).wantError(400, "invalid_grant")
	}
}

// mutations returns values that differ from s in one place, and its usual
// misspellings.
func mutations(s string) []string {
	var ms []string
	for _, i := range []int{0, 2, 3, 5, len(s) / 2, len(s) - 2, len(s) - 1} {
		c := byte('A')
		if s[i] == 'A' {
			c = 'B'
		}
		ms = append(ms, s[:i]+string(c)+s[i+1:])
	}
	return append(ms, s[:len(s)-1], s+"A", s+"=", s+" ", " "+s, strings.ToLower(s), strings.ToUpper(s), s+"\n", s+s)
}

// decoded returns the bytes of a base64 value in any of its alphabets.
func decoded(s string) [][]byte {
	var out [][]byte
	for _, e := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.StdEncoding} {
		if b, err := e.DecodeString(s); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// sub returns the same lab as a subtest sees it.
func (l *lab) sub(t testing.TB) *lab {
	c := *l
	c.world = l.in(t)
	return &c
}
