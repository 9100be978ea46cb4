// Command floor gives the kit's answers with the least work of the standard
// library: it parses a form, compares a digest, reads or writes one map entry,
// signs once where a signature is asked for, and writes the same headers. It is a
// yardstick and no provider: it checks nothing that a benchmark does not send.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/idpkit/idpkit/bench/internal/world"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	w, err := world.Read()
	if err != nil {
		return err
	}
	f, err := newFloor(w)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: w.Listen, Handler: f.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type floor struct {
	world           world.World
	key             *ecdsa.PrivateKey
	header          map[string]string // typ -> base64url of a JOSE header and the dot
	aead            cipher.AEAD
	secrets         map[string][32]byte // digests, by client
	own             map[string]string   // names of the clients' own grants
	discovery, jwks []byte

	mu      sync.RWMutex
	pushed  map[[32]byte]url.Values
	codes   map[[32]byte]code
	grants  map[string]grant
	refresh map[[32]byte]string // -> grant
	session map[string]string   // cookie -> subject
}

type code struct{ grant, challenge, nonce, redirectURI string }

type grant struct {
	Client, Subject, Scope string
	AuthTime               int64
}

const sessionCookie = "session"

func newFloor(w world.World) (*floor, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	f := &floor{
		world: w, key: key, header: map[string]string{}, secrets: map[string][32]byte{}, own: map[string]string{},
		pushed: map[[32]byte]url.Values{}, codes: map[[32]byte]code{}, grants: map[string]grant{}, refresh: map[[32]byte]string{}, session: map[string]string{},
	}
	if f.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, err
	}
	for _, c := range []world.Client{w.Web, w.Service, w.Signed} {
		f.secrets[c.ID], f.own[c.ID] = sha256.Sum256([]byte(c.Secret)), random(32)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	kid := encode(sum[:])
	for _, typ := range []string{"", "at+jwt"} {
		h, err := json.Marshal(struct {
			Alg string `json:"alg"`
			Kid string `json:"kid"`
			Typ string `json:"typ,omitempty"`
		}{"ES256", kid, typ})
		if err != nil {
			return nil, err
		}
		f.header[typ] = encode(h) + "."
	}
	f.jwks = fmt.Appendf(nil, `{"keys":[{"kty":"EC","kid":%q,"alg":"ES256","use":"sig","crv":"P-256","x":%q,"y":%q}]}`, kid, encode(point[1:33]), encode(point[33:]))
	f.discovery = fmt.Appendf(nil, discovery, w.Issuer)
	return f, nil
}

// discovery is as long as the kit's.
const discovery = `{"issuer":"%[1]s","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","userinfo_endpoint":"%[1]s/userinfo",` +
	`"jwks_uri":"%[1]s/jwks","pushed_authorization_request_endpoint":"%[1]s/par","revocation_endpoint":"%[1]s/revoke","introspection_endpoint":"%[1]s/introspect",` +
	`"end_session_endpoint":"%[1]s/logout","scopes_supported":["openid","profile","email","address","phone","offline_access","read"],"response_types_supported":["code"],` +
	`"response_modes_supported":["query","fragment","form_post"],"grant_types_supported":["authorization_code","client_credentials","refresh_token"],` +
	`"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"],` +
	`"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],` +
	`"token_endpoint_auth_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"],` +
	`"revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],` +
	`"revocation_endpoint_auth_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"],` +
	`"introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt"],` +
	`"introspection_endpoint_auth_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"],` +
	`"code_challenge_methods_supported":["S256"],"prompt_values_supported":["none","login","consent","select_account"],"claim_types_supported":["normal"],` +
	`"claims_supported":["sub","iss","aud","exp","iat","auth_time","nonce","acr","amr","sid","at_hash","name","family_name","given_name","middle_name","nickname",` +
	`"preferred_username","profile","picture","website","gender","birthdate","zoneinfo","locale","updated_at","email","email_verified","address","phone_number","phone_number_verified"],` +
	`"ui_locales_supported":["en","de"],"claims_parameter_supported":true,"request_parameter_supported":false,"request_uri_parameter_supported":false,` +
	`"authorization_response_iss_parameter_supported":true}`

func (f *floor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", document(f.discovery, "public, max-age=3600"))
	mux.HandleFunc("/jwks", document(f.jwks, "public, max-age=300"))
	mux.HandleFunc("/par", f.par)
	mux.HandleFunc("/authorize", f.authorize)
	mux.HandleFunc("/login", f.login)
	mux.HandleFunc("/token", f.token)
	mux.HandleFunc("/introspect", f.introspect)
	mux.HandleFunc("/userinfo", f.userinfo)
	return mux
}

// headers are those that every answer of the kit has.
func headers(h http.Header) {
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Security-Policy"] = []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"}
	h["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	h["Cross-Origin-Resource-Policy"] = []string{"same-origin"}
	h["Permissions-Policy"] = []string{"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"}
	h["Referrer-Policy"] = []string{"no-referrer"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["X-Frame-Options"] = []string{"DENY"}
}

func document(doc []byte, cacheControl string) http.HandlerFunc {
	sum := sha256.Sum256(doc)
	etag, length := `"`+encode(sum[:12])+`"`, strconv.Itoa(len(doc))
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		headers(h)
		h["Cache-Control"] = []string{cacheControl}
		h["Etag"] = []string{etag}
		h["Content-Type"] = []string{"application/json"}
		h["Content-Length"] = []string{length}
		h["Access-Control-Allow-Origin"] = []string{"*"}
		h["Access-Control-Expose-Headers"] = []string{"DPoP-Nonce, Retry-After, WWW-Authenticate"}
		h["Cross-Origin-Resource-Policy"] = []string{"cross-origin"}
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(doc)
	}
}

func answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	headers(h)
	if r.URL.Path != "/introspect" { // no script has business there
		h["Vary"] = []string{"Origin"}
	}
	h["Content-Type"] = []string{"application/json"}
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	answer(w, r, status, map[string]string{"error": code})
}

// client parses the form and authenticates the client.
func (f *floor) client(w http.ResponseWriter, r *http.Request) (id string, ok bool) {
	if r.ParseForm() != nil {
		refuse(w, r, http.StatusBadRequest, "invalid_request")
		return "", false
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		if id = r.PostForm.Get("client_id"); id == f.world.App.ID {
			return id, true
		}
	}
	want, known := f.secrets[id]
	got := sha256.Sum256([]byte(secret))
	if !known || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		refuse(w, r, http.StatusUnauthorized, "invalid_client")
		return "", false
	}
	return id, true
}

func (f *floor) par(w http.ResponseWriter, r *http.Request) {
	id, ok := f.client(w, r)
	if !ok {
		return
	}
	if r.PostForm.Get("client_id") != id || r.PostForm.Get("redirect_uri") != f.world.RedirectURI {
		refuse(w, r, http.StatusBadRequest, "invalid_request")
		return
	}
	uri := "urn:ietf:params:oauth:request_uri:" + random(32)
	f.mu.Lock()
	f.pushed[sha256.Sum256([]byte(uri))] = r.PostForm
	f.mu.Unlock()
	answer(w, r, http.StatusCreated, struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
	}{uri, 60})
}

func (f *floor) authorize(w http.ResponseWriter, r *http.Request) {
	subject := ""
	if c, err := r.Cookie(sessionCookie); err == nil {
		f.mu.RLock()
		subject = f.session[c.Value]
		f.mu.RUnlock()
	}
	if subject == "" {
		redirect(w, "/login?"+r.URL.RawQuery)
		return
	}
	digest := sha256.Sum256([]byte(r.URL.Query().Get("request_uri")))
	f.mu.Lock()
	q, ok := f.pushed[digest]
	delete(f.pushed, digest)
	f.mu.Unlock()
	if !ok {
		http.Error(w, "unknown request_uri", http.StatusBadRequest)
		return
	}
	c := code{grant: random(16), challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), redirectURI: q.Get("redirect_uri")}
	g := grant{q.Get("client_id"), subject, q.Get("scope"), time.Now().Unix()}
	raw := "ac_" + random(32)
	f.mu.Lock()
	f.codes[sha256.Sum256([]byte(raw))] = c
	f.grants[c.grant] = g
	f.mu.Unlock()
	redirect(w, c.redirectURI+"?code="+raw+"&state="+url.QueryEscape(q.Get("state"))+"&iss="+url.QueryEscape(f.world.Issuer))
}

func redirect(w http.ResponseWriter, to string) {
	headers(w.Header())
	w.Header()["Location"] = []string{to}
	w.WriteHeader(http.StatusSeeOther)
}

func (f *floor) login(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_, _ = fmt.Fprintf(w, `<form method="post" action="/login?%s"><input name="username"><input type="password" name="password"></form>`, html.EscapeString(r.URL.RawQuery))
		return
	}
	if r.PostFormValue("username") != f.world.User.Username || r.PostFormValue("password") != f.world.User.Password {
		http.Error(w, "wrong", http.StatusForbidden)
		return
	}
	value := random(32)
	f.mu.Lock()
	f.session[value] = f.world.User.Subject
	f.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	redirect(w, "/authorize?"+r.URL.RawQuery)
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
	Refresh   string `json:"refresh_token,omitempty"`
	ID        string `json:"id_token,omitempty"`
	Scope     string `json:"scope"`
}

const lifetime = 600 // seconds

func (f *floor) token(w http.ResponseWriter, r *http.Request) {
	id, ok := f.client(w, r)
	if !ok {
		return
	}
	t := tokens{Type: "Bearer", ExpiresIn: lifetime, Scope: r.PostForm.Get("scope")}
	var err error
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		err = f.credentials(&t, id, r.PostForm.Get("resource"))
	case "authorization_code":
		digest, verifier := sha256.Sum256([]byte(r.PostForm.Get("code"))), sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		f.mu.Lock()
		c, known := f.codes[digest]
		g := f.grants[c.grant]
		delete(f.codes, digest)
		f.mu.Unlock()
		if !known || g.Client != id || c.challenge != encode(verifier[:]) || c.redirectURI != r.PostForm.Get("redirect_uri") {
			refuse(w, r, http.StatusBadRequest, "invalid_grant")
			return
		}
		err = f.issue(&t, c.grant, g, c.nonce)
	case "refresh_token":
		digest := sha256.Sum256([]byte(r.PostForm.Get("refresh_token")))
		f.mu.Lock()
		name, known := f.refresh[digest]
		g := f.grants[name]
		delete(f.refresh, digest)
		f.mu.Unlock()
		if !known || g.Client != id {
			refuse(w, r, http.StatusBadRequest, "invalid_grant")
			return
		}
		err = f.issue(&t, name, g, "")
	default:
		refuse(w, r, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	if err != nil {
		refuse(w, r, http.StatusInternalServerError, "server_error")
		return
	}
	w.Header()["Pragma"] = []string{"no-cache"}
	answer(w, r, http.StatusOK, t)
}

// accessToken is the inside of an opaque access token.
type accessToken struct {
	Grant  string   `json:"g,omitempty"`
	Client string   `json:"c,omitempty"`
	JTI    string   `json:"j"`
	Scope  string   `json:"o"`
	Aud    []string `json:"a"`
	Iat    int64    `json:"i"`
	Exp    int64    `json:"e"`
}

func (f *floor) seal(t accessToken) (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	return "at_" + encode(f.aead.Seal(nil, nil, b, nil)), nil
}

func (f *floor) credentials(t *tokens, id, resource string) (err error) {
	now := time.Now().Unix()
	if resource == "" {
		t.Access, err = f.seal(accessToken{Grant: f.own[id], Client: id, JTI: random(12), Scope: t.Scope, Aud: []string{f.world.Issuer}, Iat: now, Exp: now + lifetime})
		return err
	}
	t.Access, err = f.sign("at+jwt", struct {
		Iss    string   `json:"iss"`
		Sub    string   `json:"sub"`
		Aud    []string `json:"aud"`
		Client string   `json:"client_id"`
		Exp    int64    `json:"exp"`
		Iat    int64    `json:"iat"`
		JTI    string   `json:"jti"`
		Scope  string   `json:"scope"`
	}{f.world.Issuer, id, []string{resource}, id, now + lifetime, now, random(12), t.Scope})
	return err
}

func (f *floor) issue(t *tokens, name string, g grant, nonce string) (err error) {
	now := time.Now().Unix()
	t.Scope = g.Scope
	if t.Access, err = f.seal(accessToken{Grant: name, JTI: random(12), Scope: g.Scope, Aud: []string{f.world.Issuer}, Iat: now, Exp: now + lifetime}); err != nil {
		return err
	}
	t.Refresh = "rt_" + random(32)
	f.mu.Lock()
	f.refresh[sha256.Sum256([]byte(t.Refresh))] = name
	f.mu.Unlock()
	half := sha256.Sum256([]byte(t.Access))
	t.ID, err = f.sign("", struct {
		Iss    string `json:"iss"`
		Sub    string `json:"sub"`
		Aud    string `json:"aud"`
		Exp    int64  `json:"exp"`
		Iat    int64  `json:"iat"`
		SID    string `json:"sid"`
		AtHash string `json:"at_hash"`
		Nonce  string `json:"nonce,omitempty"`
	}{f.world.Issuer, g.Subject, g.Client, now + lifetime, now, name, encode(half[:16]), nonce})
	return err
}

// sign returns a JWT, ES256.
func (f *floor) sign(typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	token := append(make([]byte, 0, 768), f.header[typ]...)
	token = base64.RawURLEncoding.AppendEncode(token, payload)
	digest := sha256.Sum256(token)
	r, s, err := ecdsa.Sign(rand.Reader, f.key, digest[:])
	if err != nil {
		return "", err
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), sig[:])), nil
}

// open reads an access token and the grant behind it.
func (f *floor) open(raw string) (t accessToken, g grant, ok bool) {
	if len(raw) < 3 {
		return t, g, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(raw[3:])
	if err != nil {
		return t, g, false
	}
	plain, err := f.aead.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(plain, &t) != nil || t.Exp <= time.Now().Unix() {
		return t, g, false
	}
	f.mu.RLock()
	g, ok = f.grants[t.Grant]
	f.mu.RUnlock()
	return t, g, ok
}

func (f *floor) introspect(w http.ResponseWriter, r *http.Request) {
	id, ok := f.client(w, r)
	if !ok {
		return
	}
	t, g, ok := f.open(r.PostForm.Get("token"))
	if !ok || g.Client != id {
		answer(w, r, http.StatusOK, map[string]bool{"active": false})
		return
	}
	answer(w, r, http.StatusOK, struct {
		Active    bool     `json:"active"`
		Scope     string   `json:"scope"`
		ClientID  string   `json:"client_id"`
		TokenType string   `json:"token_type"`
		Exp       int64    `json:"exp"`
		Iat       int64    `json:"iat"`
		Subject   string   `json:"sub"`
		Audience  []string `json:"aud"`
		Issuer    string   `json:"iss"`
		JTI       string   `json:"jti"`
		AuthTime  int64    `json:"auth_time"`
	}{true, t.Scope, g.Client, "Bearer", t.Exp, t.Iat, g.Subject, t.Aud, f.world.Issuer, t.JTI, g.AuthTime})
}

func (f *floor) userinfo(w http.ResponseWriter, r *http.Request) {
	auth := r.Header.Get("Authorization")
	t, g, ok := accessToken{}, grant{}, false
	if len(auth) > 7 {
		t, g, ok = f.open(auth[7:])
	}
	if !ok || !slices.Contains(t.Aud, f.world.Issuer) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, r, http.StatusOK, struct {
		Subject  string `json:"sub"`
		Name     string `json:"name"`
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}{g.Subject, f.world.User.Name, f.world.User.Email, true})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return encode(b)
}
