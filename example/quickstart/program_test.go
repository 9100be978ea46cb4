package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// runProgram runs the program with the input and returns what it said.
func runProgram(t testing.TB, ctx context.Context, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var o, e syncBuffer
	code = run(ctx, args, streams{in, &o, &e}, nil)
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	good := write(t, minimal)
	for _, c := range []struct {
		name, input string
		args        []string
		code        int
		want        string
	}{
		{"help", "", []string{"-help"}, 0, "usage:"},
		{"unknown command", "", []string{"serv"}, 2, `unknown command "serv"`},
		{"unknown flag", "", []string{"-port", "1"}, 2, "usage:"},
		{"stray argument", "", []string{"-storage", "x", "y"}, 2, `unexpected argument "y"`},
		{"check without a file", "", []string{"check"}, 1, "needs -config"},
		{"check of no file", "", []string{"check", "-config", filepath.Join(t.TempDir(), "none.yaml")}, 1, "none.yaml"},
		{"check of a bad file", "", []string{"check", "-config", write(t, "isuer: x\n")}, 1, ":1: isuer: unknown key"},
		{"check of a good file", "", []string{"check", "-config", good}, 0, "good: http://localhost:3000 with 0 clients and 0 users"},
		{"check warns", "", []string{"check", "-config", good}, 0, "warning: there are no users"},
		{"no password", "\n", []string{"hash-password"}, 1, "empty"},
		{"long password", strings.Repeat("x", maxPassword+1), []string{"hash-password"}, 1, "longer than"},
		{"rotating memory", "", []string{"rotate-keys", "-config", good}, 1, "SIGHUP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := runProgram(t, t.Context(), c.input, c.args...)
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("exit %d, want %d and %q:\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
}

func TestHashPassword(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"curiouser and curiouser", "curiouser and curiouser\n", "curiouser and curiouser\r\nsecond line\n"} {
		code, out, errs := runProgram(t, t.Context(), input, "hash-password")
		if code != 0 || strings.Contains(out+errs, "curiouser") {
			t.Fatalf("exit %d: %s%s", code, out, errs)
		}
		h, err := parseArgon(strings.TrimSpace(out))
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if !h.verify("curiouser and curiouser") || h.verify("curiouser") || h.verify(strings.Repeat("x", maxPassword+1)) {
			t.Errorf("%s verifies the wrong passwords", out)
		}
		if h.String() != strings.TrimSpace(out) {
			t.Errorf("%s is written as %s", out, h)
		}
	}
}

func TestParseArgon(t *testing.T) {
	t.Parallel()
	const salt, sum = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for s, good := range map[string]bool{
		"$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$" + sum:    true,
		"$argon2id$v=19$m=262144,t=16,p=16$" + salt + "$" + sum: true,
		"":              false,
		"wonderland":    false,
		"$2y$10$" + sum: false,
		"$argon2i$v=19$m=65536,t=1,p=1$" + salt + "$" + sum:         false,
		"$argon2id$v=16$m=65536,t=1,p=1$" + salt + "$" + sum:        false,
		"$argon2id$v=19$m=1024,t=1,p=1$" + salt + "$" + sum:         false,
		"$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + sum:   false,
		"$argon2id$v=19$m=65536,t=99,p=1$" + salt + "$" + sum:       false,
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + sum:        false,
		"$argon2id$v=19$m=65536,t=1,p=257$" + salt + "$" + sum:      false,
		"$argon2id$v=19$m=65536,t=1$" + salt + "$" + sum:            false,
		"$argon2id$v=19$t=1,m=65536,p=1$" + salt + "$" + sum:        false,
		"$argon2id$v=19$m=65536,t=1,p=1$AAAA$" + sum:                false,
		"$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$AAAA":          false,
		"$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$" + sum + "=":  false,
		"$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$" + sum + "$x": false,
	} {
		if _, err := parseArgon(s); (err == nil) != good {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	hash := hashPassword("right")
	table, err := newUsers([]user{
		{Username: "alice", Sub: "1001", PasswordHash: hash, Claims: map[string]any{"name": "Alice"}},
		{Username: "gone", PasswordHash: hash, Disabled: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"alice", "right", nil},
		{"alice", "wrong", handlers.ErrWrongPassword},
		{"Alice", "right", handlers.ErrWrongPassword},
		{"1001", "right", handlers.ErrWrongPassword},
		{"", "", handlers.ErrWrongPassword},
		{"nobody", "right", handlers.ErrWrongPassword},
		{"gone", "wrong", handlers.ErrWrongPassword},
		{"gone", "right", handlers.ErrUserDisabled},
	} {
		l, err := table.VerifyPassword(t.Context(), c.name, c.password)
		if err != c.want || err == nil && l.Subject != "1001" {
			t.Errorf("%s with %s: %v, %v", c.name, c.password, l, err)
		}
	}
	if got, err := table.Claims(t.Context(), "1001", handlers.ClaimsQuery{}); err != nil || got["name"] != "Alice" {
		t.Errorf("claims: %v %v", got, err)
	}
	if _, err := table.Claims(t.Context(), "alice", handlers.ClaimsQuery{}); err != handlers.ErrNoUser {
		t.Errorf("claims by username: %v", err)
	}
	if _, err := table.Claims(t.Context(), "gone", handlers.ClaimsQuery{}); err != handlers.ErrUserDisabled {
		t.Errorf("claims of a disabled user: %v", err)
	}
}

// However many passwords come at once, few are worked on.
func TestVerificationsBounded(t *testing.T) {
	t.Parallel()
	table, err := newUsers(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range verifications {
		table.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.VerifyPassword(ctx, "alice", "x"); err != context.Canceled {
		t.Errorf("with no slot free and a context that has ended: %v", err)
	}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.secret")
	var all [8]string
	var wait sync.WaitGroup
	for i := range all { // several processes may start at once
		wait.Go(func() {
			s, err := secrets(file)
			if err != nil || len(s) != 1 || len(s[0]) != secretBytes {
				t.Errorf("%v, %v", s, err)
				return
			}
			all[i] = string(s[0])
		})
	}
	wait.Wait()
	for _, s := range all {
		if s != all[0] {
			t.Error("two secrets were made")
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if runtime.GOOS != "windows" {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v %v", info.Mode(), err)
		}
		for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610, 0o666, 0o777} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := secrets(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("mode %o: %v", mode, err)
			}
		}
		for _, mode := range []os.FileMode{0o600, 0o400} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := secrets(file); err != nil {
				t.Errorf("mode %o: %v", mode, err)
			}
		}
	}
}

func TestSecretFileContents(t *testing.T) {
	t.Parallel()
	const a, b = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for name, c := range map[string]struct {
		text string
		n    int
		want string
	}{
		"one":       {a, 1, ""},
		"two":       {"# old\n" + a + "\n\n" + b + "\n", 2, ""},
		"windows":   {a + "\r\n" + b + "\r\n", 2, ""},
		"none":      {"# nothing\n", 0, "holds no secret"},
		"short":     {a + "\nAAECAwQF\n", 0, ":2: must be at least 32"},
		"no base64": {strings.Repeat("!", 44), 0, ":1: must be at least 32"},
	} {
		file := filepath.Join(t.TempDir(), "x.secret")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := secrets(file)
		if len(s) != c.n || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d, %v", name, len(s), err)
		}
	}
	if _, err := secrets(t.TempDir()); err == nil {
		t.Error("a directory is accepted")
	}
}

// A database whose secret file is gone is not opened with a new one.
func TestSecretFileLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.s.cfg.SecretFile); err != nil {
		t.Fatal(err)
	}
	if _, err := newServer(r.s.cfg, r.s.log); err == nil || !strings.Contains(err.Error(), "bring it back") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(r.s.cfg.SecretFile); !os.IsNotExist(err) {
		t.Errorf("a new one was made: %v", err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b := newBrowser(r)
	b.Get("/healthz").Want(200, "ok")
	b.Get("/readyz").Want(200, "ok")
	req, err := http.NewRequest(http.MethodPost, r.issuer+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Do(req).Want(405)
	if err := r.s.close(); err != nil { // the database goes away
		t.Fatal(err)
	}
	b.Get("/healthz").Want(200)
	if p := b.Get("/readyz"); p.Status != 503 || p.Body != "not ready\n" {
		t.Errorf("readyz without a database: %d %s", p.Status, p.Body)
	}
}

func TestLanding(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.Name = "<b>Name</b>" })
	b := newBrowser(r)
	p := b.Get("/")
	p.Want(200, "&lt;b&gt;Name", `href="/account"`, `href="/.well-known/openid-configuration"`, r.issuer, spaClient, `href="/logout"`)
	if csp := p.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'nonce-") || p.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers: %v", p.Header)
	}
	b.Get("/elsewhere").Want(404)
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), func(c *config) { c.Features = features{} })
	b := newBrowser(r)
	for _, path := range []string{"/account", "/account/callback", "/api/me", "/logout"} {
		b.Get(path).Want(404)
	}
	if p := b.Get("/"); strings.Contains(p.Body, "/account") || strings.Contains(p.Body, "/api/me") || strings.Contains(p.Body, "logout") {
		t.Errorf("the landing page links what is not there: %s", p.Body)
	}
}

func TestDemoAPI(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	b := newBrowser(r)
	preflight := func(origin string) handlerstest.Page {
		req, err := http.NewRequest(http.MethodOptions, r.issuer+"/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "GET")
		req.Header.Set("Access-Control-Request-Headers", "authorization")
		return b.Do(req)
	}
	if p := preflight(spaOrigin); p.Status != 204 || p.Header.Get("Access-Control-Allow-Origin") != spaOrigin || p.Header.Get("Access-Control-Allow-Headers") != "authorization" {
		t.Errorf("preflight: %d %v", p.Status, p.Header)
	}
	if p := preflight("https://evil.example"); p.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a stranger: %v", p.Header)
	}
	a := newApp(r)
	if p := b.Do(b.Request(http.MethodGet, "/api/me", "", "Origin", spaOrigin)); p.Status != 401 || p.Header.Get("WWW-Authenticate") == "" || p.Header.Get("Access-Control-Allow-Origin") != spaOrigin {
		t.Errorf("without a token: %d %v", p.Status, p.Header)
	}
	a.Call(http.MethodGet, "/api/me", "at_x").Want(401, "invalid_token")
}

// The program as a whole: it says where it is, answers, rotates its keys at a
// signal, refuses a second one on the same port and ends when it is told to.
func TestProgram(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hup := make(chan os.Signal)
	pr, pw := io.Pipe()
	var said syncBuffer
	listening := make(chan struct{})
	go func() {
		var once sync.Once
		buf := make([]byte, 4096)
		for {
			n, err := pr.Read(buf)
			_, _ = said.Write(buf[:n])
			if strings.Contains(said.String(), "msg=listening") {
				once.Do(func() { close(listening) })
			}
			if err != nil {
				return
			}
		}
	}()
	args := []string{"-issuer", issuer, "-storage", "sqlite:" + filepath.Join(dir, "x.sqlite")}
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, streams{os.Stdin, io.Discard, pw}, hup) }()
	select {
	case <-listening:
	case c := <-code:
		t.Fatalf("ended with %d: %s", c, said.String())
	}
	for _, s := range []string{"FOR DEVELOPMENT ONLY", issuer, "alice and bob", "x.sqlite"} {
		if !strings.Contains(said.String(), s) {
			t.Errorf("the note lacks %q:\n%s", s, said.String())
		}
	}
	b := handlerstest.NewBrowser(t, handlerstest.At(t, issuer))
	b.Get("/readyz").Want(200)
	before := keyIDs(t, b)

	if c, _, errs := runProgram(t, t.Context(), "", "-issuer", issuer, "-storage", "sqlite:"+filepath.Join(t.TempDir(), "y.sqlite")); c != 1 || !strings.Contains(errs, "is taken by another program") {
		t.Errorf("second one: exit %d: %s", c, errs)
	}

	hup <- syscall.SIGHUP
	hup <- syscall.SIGHUP // taken once the first rotation is done
	after := keyIDs(t, b)
	if len(after) < len(before)+2 {
		t.Errorf("keys before %v, after a rotation of two algorithms %v", before, after)
	}
	for _, id := range before {
		if !strings.Contains(strings.Join(after, " "), id) {
			t.Errorf("key %s was withdrawn at once", id)
		}
	}
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("ended with %d: %s", c, said.String())
	}
	_ = pw.Close()

	c, out, errs := runProgram(t, t.Context(), "", append([]string{"rotate-keys"}, args...)...)
	if c != 0 || !strings.Contains(out, "new signing keys") {
		t.Errorf("rotate-keys: exit %d: %s%s", c, out, errs)
	}
}

func keyIDs(t testing.TB, b *handlerstest.Browser) []string {
	t.Helper()
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	b.Get("/jwks").Decode(&set)
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

// A request under way is answered before the process ends.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	address := strings.TrimPrefix(r.issuer, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=refresh_token&client_id=nobody&refresh_token=x"
	if _, err := io.WriteString(conn, "POST /token HTTP/1.1\r\nHost: idp\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+
		strconv.Itoa(len(body))+"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// The server says this when the handler begins to read the body.
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	if _, err := io.ReadFull(conn, make([]byte, len(goOn))); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	go func() {
		defer close(release)
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	for { // until it has begun to stop: nobody listens any more
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 401")) || !bytes.Contains(answer, []byte("invalid_client")) {
		t.Errorf("%v: %s", err, answer)
	}
	<-release
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	issuer := "https://localhost:" + port
	file := write(t, "issuer: "+issuer+"\nstorage: memory\ntls: {cert: s.crt, key: s.key, request_client_certificates: true}\n")
	roots := x509.NewCertPool()
	roots.AddCert(makeCert(t, filepath.Join(filepath.Dir(file), "s")))
	cfg, err := load(options{config: file})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(cfg, newLog(cfg, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := c.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Issuer string }
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || doc.Issuer != issuer {
		t.Errorf("%v %v", doc, err)
	}
	_ = res.Body.Close()
	c = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if res, err = c.Get(issuer + "/account"); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	for _, cookie := range res.Cookies() {
		if !strings.HasPrefix(cookie.Name, "__Host-") || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Domain != "" {
			t.Errorf("cookie %+v", cookie)
		}
	}
	if len(res.Cookies()) == 0 {
		t.Error("no cookie")
	}
	for name, bad := range map[string]*tls.Config{
		"TLS 1.1":            {RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC suites":         {RootCAs: roots, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}},
		"no forward secrecy": {RootCAs: roots, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
	} {
		if conn, err := tls.Dial("tcp", "localhost:"+port, bad); err == nil {
			t.Errorf("%s: accepted", name)
			_ = conn.Close()
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	ls, err := listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := net.SplitHostPort(ls[0].Addr().String())
	for _, l := range ls {
		if _, port, _ := net.SplitHostPort(l.Addr().String()); port != first {
			t.Errorf("ports differ: %s and %s", first, port)
		}
	}
	if _, err := listen("localhost:" + first); err == nil || !strings.Contains(err.Error(), "is taken by another program") {
		t.Errorf("taken port: %v", err)
	}
	for _, l := range ls {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	for issuer, want := range map[string]string{
		"http://localhost:3000": "localhost:3000", "http://127.0.0.1": "127.0.0.1:80", "https://[::1]:8443/x": "[::1]:8443", "https://localhost": "localhost:443",
		"https://idp.example": "", "https://192.0.2.1:1": "", "": "",
	} {
		if got := loopbackAddress(issuer); got != want {
			t.Errorf("%s: %q, want %q", issuer, got, want)
		}
	}
}
