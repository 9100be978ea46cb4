package handlers_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/internal/jose"
	"github.com/idpkit/idpkit/storage"
)

const (
	jwtBearer      = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	signerRedirect = "https://signer.example/cb"
)

// clientKey is a key of a client.
type clientKey struct {
	kid, alg string
	key      crypto.Signer
}

// clientKeys are made once for all tests: RSA is slow.
var clientKeys = sync.OnceValues(func() (map[string]clientKey, error) {
	m := map[string]clientKey{}
	for name, alg := range map[string]string{"ec": "ES256", "rs": "RS256", "ed": "EdDSA", "other": "ES256", "third": "ES256", "p384": "ES384"} {
		k, err := jose.Generate(alg)
		if err != nil {
			return nil, err
		}
		m[name] = clientKey{"kid-" + name, alg, k}
	}
	m["ps"] = clientKey{"kid-rs", "PS256", m["rs"].key}
	return m, nil
})

func keyOf(t testing.TB, name string) clientKey {
	t.Helper()
	m, err := clientKeys()
	if err != nil {
		t.Fatal(err)
	}
	return m[name]
}

// jwkOf is a public key as its owner publishes it; alg stays open, so that one
// RSA key serves RS256 and PS256.
func keyJWK(t testing.TB, k clientKey) json.RawMessage {
	t.Helper()
	jwk, err := jose.PublicJWK(jose.Key{ID: k.kid, Public: k.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return jwk
}

func keySet(t testing.TB, keys ...clientKey) json.RawMessage {
	t.Helper()
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, keyJWK(t, k))
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signJWT signs whatever header and claims say, by code that is not the kit's.
// key is a crypto.Signer, or the bytes of an HMAC key.
func signJWT(t testing.TB, header, claims map[string]any, key any) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	input := b64(h) + "." + b64(c)
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	switch key := key.(type) {
	case []byte:
		m := hmac.New(sha256.New, key)
		m.Write([]byte(input))
		sig = m.Sum(nil)
	case *rsa.PrivateKey:
		if header["alg"] == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		}
	case *ecdsa.PrivateKey:
		d, size := digest[:], 32
		if header["alg"] == "ES384" {
			sum := sha512.Sum384([]byte(input))
			d, size = sum[:], 48
		}
		r, s, e := ecdsa.Sign(rand.Reader, key, d)
		err = e
		if e == nil {
			sig = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(input))
	case nil:
	default:
		t.Fatalf("key of type %T", key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(sig)
}

var jtis atomic.Int64

func newJTI() string { return "jti-" + itoa(int(jtis.Add(1))) }

// assertionClaims is a good assertion of a client; edit changes it: a nil value
// removes.
func (w *world) assertionClaims(client string, edit map[string]any) map[string]any {
	now := w.clock.Now().Unix()
	c := map[string]any{"iss": client, "sub": client, "aud": w.issuer, "iat": now, "exp": now + 60, "jti": newJTI()}
	for k, v := range edit {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

// assertion signs an assertion of a client.
func (w *world) assertion(client string, k clientKey, edit map[string]any) string {
	w.t.Helper()
	return signJWT(w.t, map[string]any{"alg": k.alg, "kid": k.kid}, w.assertionClaims(client, edit), k.key)
}

// present sends a form with an assertion; edit are more parameters, or other
// values: empty removes.
func (w *world) present(path, assertion string, edit ...string) response {
	w.t.Helper()
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {assertion}}
	for i := 0; i+1 < len(edit); i += 2 {
		if edit[i+1] == "" {
			form.Del(edit[i])
		} else {
			form.Set(edit[i], edit[i+1])
		}
	}
	return w.call(w.path(path), form)
}

// byAssertion asks for a token on the client's own behalf.
func (w *world) byAssertion(assertion string, edit ...string) response {
	w.t.Helper()
	return w.present("/token", assertion, append([]string{"grant_type", "client_credentials"}, edit...)...)
}

// lastReason is why the last request was refused, from the log.
func (w *world) lastReason() string {
	reason := ""
	for line := range strings.Lines(w.logged.String()) {
		var rec struct{ Msg, Reason string }
		if json.Unmarshal([]byte(line), &rec) == nil && rec.Msg == "refused" {
			reason = rec.Reason
		}
	}
	return reason
}

// refusedAs fails unless the client could not be authenticated, for that reason
// and without a word of it in the answer.
func (w *world) refusedAs(res response, reason string) {
	w.t.Helper()
	res.clean().wantError(401, "invalid_client")
	if got := res.str("error_description"); got != "client authentication failed" {
		w.t.Errorf("the answer says %q", got)
	}
	if got := w.lastReason(); got != reason {
		w.t.Errorf("reason %q, want %q", got, reason)
	}
}

// signers is a lab with clients that sign: "signer" with ES256 under kid-ec,
// "second" with kid-other, "rsa" with kid-rs, "secret" with a secret and keys.
func signers(t testing.TB, opts ...func(*handlers.Config)) *lab {
	t.Helper()
	l := newLab(t, append([]func(*handlers.Config){func(c *handlers.Config) {
		c.Features.ClientCredentials, c.Features.Introspection = true, true
	}}, opts...)...)
	signer := clientreg.Client{
		ID: "signer", RedirectURIs: []string{signerRedirect}, TokenEndpointAuthMethod: "private_key_jwt", JWKS: keySet(t, keyOf(t, "ec")),
		GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}, Scope: "openid offline_access profile api",
	}
	second, withRSA, secret := signer, signer, signer
	second.ID, second.JWKS = "second", keySet(t, keyOf(t, "other"))
	withRSA.ID, withRSA.JWKS = "rsa", keySet(t, keyOf(t, "rs"))
	secret.ID, secret.TokenEndpointAuthMethod = "secret", "client_secret_basic"
	secret.Secrets = []clientreg.ClientSecret{{Hash: quickHash(quickSecretValue)}}
	if _, err := clientreg.Static(signer, second, withRSA, secret); err != nil {
		t.Fatal(err)
	}
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	for _, c := range []clientreg.Client{signer, second, withRSA, secret} {
		l.clients.m[c.ID] = c
	}
	return l
}

// marks counts the single-use marks in the storage.
func (l *lab) marks() int { return len(l.vault.rows(l.t, storage.KindReplay)) }

// signerCode signs alice in and returns a code of the client "signer".
func (l *lab) signerCode() string {
	l.t.Helper()
	return l.browser().code(request("signer", "redirect_uri", signerRedirect, "scope", "openid profile"), "alice")
}

// redeemSigned redeems a code of "signer" with an assertion.
func (l *lab) redeemSigned(code, assertion string, edit ...string) response {
	l.t.Helper()
	verifier, _ := pkcePair("signer")
	return l.present("/token", assertion, append([]string{"grant_type", "authorization_code", "code", code, "code_verifier", verifier,
		"redirect_uri", signerRedirect}, edit...)...)
}

// keyServer is where a client publishes its keys.
type keyServer struct {
	*httptest.Server
	mu     sync.Mutex
	header http.Header
	status int
	body   []byte
	hang   chan struct{}
	hits   atomic.Int64
}

func newKeyServer(t testing.TB, body []byte) *keyServer {
	s := &keyServer{body: body, status: 200, header: http.Header{"Content-Type": {"application/json"}}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.hits.Add(1)
		s.mu.Lock()
		status, body, hang := s.status, s.body, s.hang
		maps.Copy(w.Header(), s.header)
		s.mu.Unlock()
		if hang != nil {
			<-hang
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) set(f func(*keyServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// roots trusts the server's certificate.
func (s *keyServer) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// remoteKeys is a lab whose client "signer" publishes its keys at a server on
// loopback.
func remoteKeys(t testing.TB, opts ...func(*handlers.Config)) (*lab, *keyServer) {
	t.Helper()
	l := signers(t, append([]func(*handlers.Config){func(c *handlers.Config) { c.InsecureFetchLoopback = true }}, opts...)...)
	s := newKeyServer(t, keySet(t, keyOf(t, "ec")))
	l.p.TrustCA(s.roots())
	l.clients.change("signer", func(c *clientreg.Client) { c.JWKS, c.JWKSURI = nil, s.URL+"/jwks" })
	return l, s
}

// minute passes the pause between two fetches.
const minute = time.Minute + time.Second
