// Package clients holds relying parties written with other people's libraries,
// as the libraries' documentation shows, against quickstart.
package clients

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	secret        = "q+7Rk/Zd93+LmX0v/Bw8sT2yNfA5eGhu1PcJ4oEiKQ=="
	percentSecret = "p+l/u=s%41&per%zz~cent"
	callback      = "https://rp.example/callback"
)

// provider is a process that serves ../provider.yaml.
type provider struct {
	issuer string
	key    *rsa.PrivateKey // of the clients that sign assertions
}

// program returns the path of quickstart, and builds it if nobody has.
var program = sync.OnceValues(func() (string, error) {
	if file := os.Getenv("QUICKSTART"); file != "" {
		return file, nil
	}
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "quickstart"), "./quickstart")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(dir, "quickstart"), nil
})

// start serves the configuration, with pairs of texts replaced in it, until
// the end of the test.
func start(t *testing.T, replace ...string) *provider {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../provider.yaml")
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwks, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "provider.yaml")
	if err := os.WriteFile(config, []byte(strings.NewReplacer(append(replace, "$JWKS", string(jwks))...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{issuer: "http://" + l.Addr().String(), key: key}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, file, "-config", config, "-issuer", p.issuer)
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() { cancel(); <-ended })
	for {
		res, err := http.Get(p.issuer + "/readyz")
		if err == nil {
			res.Body.Close()
			return p
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("quickstart ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// browser is alice's. It keeps cookies and follows redirects within the
// provider.
type browser struct {
	t      *testing.T
	issuer string
	c      *http.Client
}

func (p *provider) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, p.issuer, &http.Client{Jar: jar, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(next.URL.String(), p.issuer+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// page is where the browser ended, or where it would leave to.
type page struct {
	status int
	url    *url.URL
	leaves *url.URL
	body   string
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
	p := page{status: res.StatusCode, url: res.Request.URL, body: string(body)}
	if res.Header.Get("Location") != "" {
		if p.leaves, err = res.Location(); err != nil {
			b.t.Fatal(err)
		}
	}
	return p
}

func (b *browser) open(u string) page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

var (
	formTag   = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	inputTag  = regexp.MustCompile(`<input ([^>]*)/>`)
	attribute = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

// press fills in the form that has the button and presses it.
func (b *browser) press(p page, button string, fields ...string) page {
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
		for i := 0; i+1 < len(fields); i += 2 {
			v.Set(fields[i], fields[i+1])
		}
		to, err := p.url.Parse(html.UnescapeString(f[1]))
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
		return b.do(r)
	}
	b.t.Fatalf("no button %q at %s: %d %v\n%s", button, p.url, p.status, p.leaves, p.body)
	return page{}
}

// answer goes through login and consent.
func (b *browser) answer(p page, consent string) page {
	b.t.Helper()
	if strings.Contains(p.body, `value="login"`) {
		p = b.press(p, "login", "username", "alice", "password", "wonderland")
	}
	if strings.Contains(p.body, `value="`+consent+`"`) {
		p = b.press(p, consent)
	}
	return p
}

// signIn returns what the application's callback gets.
func (b *browser) signIn(u string) *url.URL {
	b.t.Helper()
	p := b.answer(b.open(u), "allow")
	if p.leaves == nil {
		b.t.Fatalf("the browser stays at %s: %d\n%s", p.url, p.status, p.body)
	}
	return p.leaves
}
