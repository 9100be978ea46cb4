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
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers/handlerstest"
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

// browser is alice's.
type browser struct {
	*handlerstest.Browser
	t *testing.T
}

func (p *provider) browser(t *testing.T) *browser {
	t.Helper()
	return &browser{handlerstest.NewBrowser(t, handlerstest.At(t, p.issuer)), t}
}

// answer goes through login and consent, where they are asked for.
func (b *browser) answer(p handlerstest.Page, consent string) handlerstest.Page {
	b.t.Helper()
	if strings.Contains(p.Body, `value="login"`) {
		p = b.SignIn(p, "alice", "wonderland")
	}
	if p.Leaves == nil {
		p = b.Submit(p, url.Values{"do": {consent}})
	}
	return p
}

// signIn returns what the application's callback gets.
func (b *browser) signIn(u string) *url.URL {
	b.t.Helper()
	p := b.answer(b.Get(u), "allow")
	if p.Leaves == nil {
		b.t.Fatalf("the browser stays: %s", p)
	}
	return p.Leaves
}
