package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/replicas/fleet"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/storage"
)

// What the system tests share: the whole program on a file of its own, people
// and applications that may live in any goroutine and so return errors.

// hangGuard is longer than anything takes on any machine.
const hangGuard = 5 * time.Minute

// party is a client as its application knows it.
type party struct {
	id, redirect string
	secret       string // "": a public client
	post         bool   // the secret travels in the body
}

// household is who takes part in a system test.
type household struct {
	issuer  string
	config  string // file
	db      string // file
	people  []string
	parties []party
	signer  signer
}

// password of a person; each has another one.
func (household) password(user string) string { return user + "-through-the-looking-glass" }

// newHousehold writes a configuration into dir, its lifetimes long enough for a
// machine that is busy.
func newHousehold(t testing.TB, dir, issuer, level string) *household {
	t.Helper()
	one, _ := clientreg.NewSecret()
	two, _ := clientreg.NewSecret()
	h := &household{
		issuer: issuer, config: filepath.Join(dir, "provider.yaml"), db: filepath.Join(dir, "idp.sqlite"),
		people: []string{"alice", "bob", "carol", "dinah"},
		parties: []party{
			{id: "spa", redirect: "https://spa.example/cb"},
			{id: "web", redirect: "https://web.example/cb", secret: one},
			{id: "old", redirect: "https://old.example/cb", secret: two, post: true},
		},
		signer: newSigner(t),
	}
	var b strings.Builder
	fmt.Fprintf(&b, "issuer: %s\nname: System test\nstorage: sqlite:idp.sqlite\nlog: {format: text, level: %s}\n", issuer, level)
	b.WriteString("trusted_proxies: [127.0.0.1]\nfeatures: {device: true, client_credentials: true}\n")
	b.WriteString("lifetimes: {code: 10m, par: 600s, access: 2h, id: 2h, grace: 10m}\nscopes: [{name: api, title: Use the API}]\nclients:\n")
	for _, c := range h.parties {
		method := "none"
		if c.post {
			method = "client_secret_post"
		} else if c.secret != "" {
			method = "client_secret_basic"
		}
		fmt.Fprintf(&b, "  - {client_id: %s, client_name: %q, token_endpoint_auth_method: %s, redirect_uris: [%q], post_logout_redirect_uris: [%q], "+
			"grant_types: [authorization_code, refresh_token], scope: openid offline_access profile email api, require_pushed_authorization_requests: %v",
			c.id, "App "+c.id, method, c.redirect, c.redirect, c.secret == "")
		if c.secret != "" {
			fmt.Fprintf(&b, ", client_secret: %q", c.secret)
		}
		b.WriteString("}\n")
	}
	fmt.Fprintf(&b, "  - {client_id: tv, client_name: TV, token_endpoint_auth_method: none, grant_types: [%q, refresh_token], scope: openid offline_access profile}\n",
		"urn:ietf:params:oauth:grant-type:device_code")
	fmt.Fprintf(&b, "  - {client_id: signer, token_endpoint_auth_method: private_key_jwt, grant_types: [client_credentials], scope: api, jwks: %s}\n", h.signer.jwks(t))
	b.WriteString("users:\n")
	for _, name := range h.people {
		fmt.Fprintf(&b, "  - {username: %s, password_hash: %q, claims: {name: %q, email: %s@example.com}}\n", name, lightHash(h.password(name)), strings.ToUpper(name), name)
	}
	if err := os.WriteFile(h.config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// lightHash has the weakest parameters that are taken: stretching is no subject
// of these tests.
func lightHash(password string) string {
	h := argonHash{memory: 8 << 10, time: 1, threads: 1, salt: []byte("sixteen bytes ok")}
	h.sum = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, 32)
	return h.String()
}

// errLost says that there was no answer, or half of one: nobody knows whether
// what was asked for has happened.
var errLost = errors.New("no answer")

// fetch sends a request and reads the whole answer: what it returns without an
// error has been acknowledged.
func fetch(c *http.Client, method, u string, form url.Values, header ...string) (handlerstest.Page, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, u, body)
	if err != nil {
		return handlerstest.Page{}, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return ask(c, r)
}

// ask is fetch for a request that is made already.
func ask(c *http.Client, r *http.Request) (handlerstest.Page, error) {
	res, err := c.Do(r)
	if err != nil {
		return handlerstest.Page{}, fmt.Errorf("%w: %w", errLost, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return handlerstest.Page{}, fmt.Errorf("%w: %w", errLost, err)
	}
	return handlerstest.Page{URL: res.Request.URL, Status: res.StatusCode, Header: res.Header, Body: string(b)}, nil
}

// newClient makes an HTTP client with many connections; base may be nil.
func newClient(t testing.TB, issuer string, jar http.CookieJar, follow bool, spy func(http.RoundTripper) http.RoundTripper) *http.Client {
	base := &http.Transport{MaxIdleConnsPerHost: 2 * crowd}
	t.Cleanup(base.CloseIdleConnections)
	c := &http.Client{Jar: jar, Transport: base, Timeout: hangGuard, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if !follow || !strings.HasPrefix(next.URL.String(), issuer+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	if spy != nil {
		c.Transport = spy(base)
	}
	return c
}

// ask sends a form to an endpoint as the client.
func (c party) ask(h *http.Client, endpoint string, form url.Values) (handlerstest.Page, error) {
	form = maps.Clone(form)
	switch {
	case c.secret == "":
		form.Set("client_id", c.id)
	case c.post:
		form.Set("client_id", c.id)
		form.Set("client_secret", c.secret)
	default:
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(c.id, c.secret)
		return fetch(h, http.MethodPost, endpoint, form, "Authorization", r.Header.Get("Authorization"))
	}
	return fetch(h, http.MethodPost, endpoint, form)
}

// tokens is a token response.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

// visitor is a person at a browser that follows redirects within the provider.
type visitor struct {
	issuer, name, password string
	c                      *http.Client
	logins                 int // how often the password was sent
}

func newVisitor(t testing.TB, h *household, name string, spy func(http.RoundTripper) http.RoundTripper) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{issuer: h.issuer, name: name, password: h.password(name), c: newClient(t, h.issuer, jar, true, spy)}
}

// press sends the form of the page that has the button.
func (v *visitor) press(p handlerstest.Page, button string, fields url.Values) (handlerstest.Page, error) {
	f, err := p.Form(with(do(button), fields))
	if err != nil {
		return handlerstest.Page{}, fmt.Errorf("%w: status %d, Location %q: %s", err, p.Status, location(p), p)
	}
	return fetch(v.c, http.MethodPost, f.Action.String(), f.Values, "Origin", v.issuer)
}

// with returns the form with other fields in it.
func with(form, fields url.Values) url.Values {
	maps.Copy(form, fields)
	return form
}

// signIn fills in the login page.
func (v *visitor) signIn(p handlerstest.Page) (handlerstest.Page, error) {
	v.logins++
	return v.press(p, "login", url.Values{"username": {v.name}, "password": {v.password}})
}

// at tells whether a page is the one of a path.
func at(p handlerstest.Page, path string) bool {
	return p.URL.Path == path
}

// location is where the answer leads.
func location(p handlerstest.Page) string { return p.Header.Get("Location") }

// param returns a parameter of the answer that a page leads to, "" if it leads
// nowhere.
func param(p handlerstest.Page, name string) string {
	u, err := url.Parse(location(p))
	if err != nil || p.Status != http.StatusSeeOther {
		return ""
	}
	return u.Query().Get(name)
}

// spentRequest tells whether the answer is the clean refusal of a request or a
// page that was answered before. RFC 9126 §7.3.
func spentRequest(p handlerstest.Page) bool {
	return p.Status == http.StatusBadRequest && location(p) == "" || param(p, "error") == "invalid_request_uri" && param(p, "code") == ""
}

func invalidGrant(p handlerstest.Page) bool {
	return p.Status == http.StatusBadRequest && strings.Contains(p.Body, `"invalid_grant"`)
}

// open opens the database file beside the provider.
func open(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// count counts the rows of a kind in a state.
func count(t testing.TB, db *sql.DB, kind storage.Kind, state storage.State) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM records WHERE kind = ? AND state = ?", []byte(kind), state).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// whole fails the test unless the file is sound and every code names its grant.
func whole(t testing.TB, db *sql.DB) {
	t.Helper()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check: %s, %v", verdict, err)
	}
	var orphans int
	err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM records c WHERE c.kind = ? AND NOT EXISTS
		(SELECT 1 FROM records g WHERE g.kind = ? AND g.shard = c.shard AND g.key = c.grant_)`, []byte(storage.KindCode), []byte(storage.KindGrant)).Scan(&orphans)
	if err != nil || orphans > 0 {
		t.Errorf("%d codes without their grant, %v", orphans, err)
	}
}

// freePort returns an address that can be had again after a restart.
func freePort(t testing.TB) string {
	t.Helper()
	address, err := fleet.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// buildProgram builds the program as the test was built: with the race detector
// if it has it.
func buildProgram(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "quickstart.exe") // a name that every system runs
	args := []string{"build", "-o", file}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// process is the program, running.
type process struct {
	cmd   *exec.Cmd
	log   *syncBuffer
	ended chan struct{}
	err   error // of Wait, once ended
}

func startProcess(t testing.TB, file string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(file, args...), log: &syncBuffer{}, ended: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process without a word (SIGKILL) and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop asks the process to end and returns how it did.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(hangGuard):
		p.kill()
		return errors.New("it does not end")
	}
}

// ready waits until the process serves.
func (p *process) ready(issuer string) error {
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	c := &http.Client{Transport: unpooled(), Timeout: hangGuard}
	for {
		if a, err := fetch(c, http.MethodGet, issuer+"/readyz", nil); err == nil && a.Status == http.StatusOK {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended: %v: %s", p.err, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %s", p.log.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// atOnce runs f n times at the same moment.
func atOnce(n int, f func(i int) (handlerstest.Page, error)) ([]handlerstest.Page, []error) {
	pages, errs := make([]handlerstest.Page, n), make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			pages[i], errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return pages, errs
}
