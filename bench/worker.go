package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/bench/internal/world"
)

// site is what a client knows of a running server: its metadata and keys.
type site struct {
	world     world.World
	endpoints endpoints
	keys      map[string]*ecdsa.PublicKey // by kid
}

type endpoints struct {
	Issuer     string `json:"issuer"`
	Authorize  string `json:"authorization_endpoint"`
	Token      string `json:"token_endpoint"`
	UserInfo   string `json:"userinfo_endpoint"`
	JWKS       string `json:"jwks_uri"`
	PAR        string `json:"pushed_authorization_request_endpoint"`
	Introspect string `json:"introspection_endpoint"`

	// Signed is where JWT access tokens come from, of a server that has one format
	// for each token endpoint. Empty: Token.
	Signed string `json:"x_signed_token_endpoint"`
}

const wellKnown = "/.well-known/openid-configuration"

// learn reads the metadata and the keys of the server at w.Listen.
func learn(w world.World) (*site, error) {
	s := &site{world: w}
	c := &conn{addr: w.Listen}
	defer c.close()
	a, err := c.do(request{target: wellKnown})
	if err != nil {
		return nil, err
	}
	if err := checkMetadata(w.Issuer, a, &s.endpoints); err != nil {
		return nil, err
	}
	if s.endpoints.Signed == "" {
		s.endpoints.Signed = s.endpoints.Token
	}
	e := &s.endpoints
	for _, u := range []*string{&e.Authorize, &e.Token, &e.UserInfo, &e.JWKS, &e.PAR, &e.Introspect, &e.Signed} {
		if *u == "" {
			continue
		}
		if *u, err = local(w.Listen, *u); err != nil {
			return nil, err
		}
	}
	if a, err = c.do(request{target: e.JWKS}); err != nil {
		return nil, err
	}
	s.keys, err = checkKeys(a)
	return s, err
}

func checkMetadata(issuer string, a *answer, e *endpoints) error {
	if err := a.json(http.StatusOK, e); err != nil {
		return err
	}
	if e.Issuer != issuer || e.Authorize == "" || e.Token == "" || e.JWKS == "" {
		return fmt.Errorf("metadata of %q miss something: %s", issuer, a.body)
	}
	return nil
}

// checkKeys reads a JWK Set with a key on P-256.
func checkKeys(a *answer) (map[string]*ecdsa.PublicKey, error) {
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X, Y string }
	}
	if err := a.json(http.StatusOK, &set); err != nil {
		return nil, err
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		if k.Kty != "EC" || k.Crv != "P-256" {
			continue
		}
		x, err1 := base64.RawURLEncoding.DecodeString(k.X)
		y, err2 := base64.RawURLEncoding.DecodeString(k.Y)
		if err1 != nil || err2 != nil || len(x) != 32 || len(y) != 32 {
			return nil, fmt.Errorf("key %q is malformed", k.Kid)
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Kid, err)
		}
		keys[k.Kid] = pub
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key on P-256 in %s", a.body)
	}
	return keys, nil
}

// json reads the answer as a JSON document of that status.
func (a *answer) json(status int, into any) error {
	if a.status != status {
		return fmt.Errorf("status %d, not %d: %s", a.status, status, firstBytes(a.body))
	}
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") && !strings.HasPrefix(ct, "application/jwk-set+json") {
		return fmt.Errorf("Content-Type %q", ct)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%w in %s", err, firstBytes(a.body))
	}
	return nil
}

func firstBytes(b []byte) []byte { return b[:min(len(b), 200)] }

// worker is one client with one connection and, behind it, one browser. It is
// used by one goroutine.
type worker struct {
	*site
	conn    conn
	cookies map[string]string
	seen    map[string]bool // what must never come twice
	right   []byte          // an answer that was checked in full
	later   []func() error  // checks that are made after the clock has stopped
	state   any             // of the workload
}

func newWorker(s *site) *worker {
	return &worker{site: s, conn: conn{addr: s.world.Listen}, cookies: map[string]string{}, seen: map[string]bool{}}
}

// fresh returns an error if the value is empty or came before.
func (w *worker) fresh(what, value string) error {
	if value == "" {
		return fmt.Errorf("no %s in the answer", what)
	}
	if w.seen[value] {
		return fmt.Errorf("the %s came before", what)
	}
	w.seen[value] = true
	return nil
}

// verify makes the checks that were put off.
func (w *worker) verify() error {
	for _, check := range w.later {
		if err := check(); err != nil {
			return err
		}
	}
	w.later = nil
	return nil
}

// post sends a form; client is nil for one that is named in the form.
func (w *worker) post(target string, client *world.Client, form string) (*answer, error) {
	q := request{target: target, form: form}
	if client != nil {
		q.auth = basic(*client)
	}
	return w.conn.do(q)
}

func basic(c world.Client) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret)))
}

// signIn is an authorization request with what its answer needs.
type signIn struct {
	client          *world.Client // nil: the public one
	state, nonce    string
	verifier        string
	params          url.Values // the request
	code            string
	withoutPassword bool // the browser must be signed in already
}

func (w *worker) newSignIn(client *world.Client) *signIn {
	s := &signIn{client: client, state: rand.Text(), nonce: rand.Text(), verifier: rand.Text() + rand.Text()}
	id := w.world.App.ID
	if client != nil {
		id = client.ID
	}
	sum := sha256.Sum256([]byte(s.verifier))
	s.params = url.Values{
		"client_id": {id}, "response_type": {"code"}, "redirect_uri": {w.world.RedirectURI}, "scope": {world.UserScope},
		"state": {s.state}, "nonce": {s.nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	return s
}

// push sends the request to the PAR endpoint and returns its request_uri.
func (w *worker) push(s *signIn) (string, error) {
	a, err := w.post(w.endpoints.PAR, s.client, s.params.Encode())
	if err != nil {
		return "", err
	}
	var res struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
	}
	if err := a.json(http.StatusCreated, &res); err != nil {
		return "", fmt.Errorf("PAR: %w", err)
	}
	if res.ExpiresIn <= 0 {
		return "", errors.New("PAR: no expires_in")
	}
	return res.RequestURI, w.fresh("request_uri", res.RequestURI)
}

// authorize takes the browser through the authorization endpoint and whatever
// pages there are, until it is sent to the client with a code. A server without
// PAR gets the request itself.
func (w *worker) authorize(s *signIn) error {
	if w.endpoints.PAR != "" {
		uri, err := w.push(s)
		if err != nil {
			return err
		}
		s.params = url.Values{"client_id": {s.params.Get("client_id")}, "request_uri": {uri}}
	}
	return w.follow(s)
}

// follow is authorize for a request that was pushed, or is not to be.
func (w *worker) follow(s *signIn) error {
	q := request{target: w.endpoints.Authorize + "?" + s.params.Encode()}
	for range 12 {
		q.cookie = w.cookieHeader()
		a, err := w.conn.do(q)
		if err != nil {
			return err
		}
		w.keepCookies(a)
		switch location := a.header.Get("Location"); {
		case a.status/100 == 3 && strings.HasPrefix(location, w.world.RedirectURI+"?"):
			return w.arrive(s, location)
		case a.status/100 == 3:
			target, err := local(w.world.Listen, location)
			if err != nil {
				return err
			}
			q = request{target: target}
		case a.status == http.StatusOK && !s.withoutPassword:
			if q, err = fill(path(q.target), a.body, w.world.User); err != nil {
				return err
			}
		default:
			return fmt.Errorf("authorize: status %d at %s: %s", a.status, path(q.target), firstBytes(a.body))
		}
	}
	return errors.New("authorize: redirects without an end")
}

func (w *worker) arrive(s *signIn, location string) error {
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	q := u.Query()
	if q.Get("state") != s.state {
		return fmt.Errorf("authorize: wrong state in %s", location)
	}
	s.code = q.Get("code")
	return w.fresh("code", s.code)
}

func (w *worker) cookieHeader() string {
	var b strings.Builder
	for name, value := range w.cookies {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(name + "=" + value)
	}
	return b.String()
}

func (w *worker) keepCookies(a *answer) {
	if len(a.header["Set-Cookie"]) == 0 {
		return
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge < 0 || c.Value == "" || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(w.cookies, c.Name)
		} else {
			w.cookies[c.Name] = c.Value
		}
	}
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
	Refresh   string `json:"refresh_token"`
	ID        string `json:"id_token"`
}

// token sends a token request and checks what every answer must hold.
func (w *worker) token(target string, client *world.Client, form string) (*tokens, error) {
	a, err := w.post(target, client, form)
	if err != nil {
		return nil, err
	}
	var t tokens
	if err := a.json(http.StatusOK, &t); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if !strings.EqualFold(t.Type, "Bearer") || t.ExpiresIn <= 0 {
		return nil, fmt.Errorf("token: token_type %q, expires_in %d", t.Type, t.ExpiresIn)
	}
	return &t, w.fresh("access token", t.Access)
}

// redeem exchanges the code of a sign-in.
func (w *worker) redeem(s *signIn) (*tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {s.code}, "redirect_uri": {w.world.RedirectURI}, "code_verifier": {s.verifier}}
	if s.client == nil {
		form.Set("client_id", w.world.App.ID)
	}
	t, err := w.token(w.endpoints.Token, s.client, form.Encode())
	if err != nil {
		return nil, err
	}
	w.checkID(t, s.params.Get("client_id"), s.nonce)
	return t, w.fresh("refresh token", t.Refresh)
}

// refresh exchanges a refresh token for the next ones.
func (w *worker) refresh(client *world.Client, refresh string) (*tokens, error) {
	t, err := w.token(w.endpoints.Token, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}.Encode())
	if err != nil {
		return nil, err
	}
	w.checkID(t, client.ID, "")
	return t, w.fresh("refresh token", t.Refresh)
}

// checkID puts the check of an ID token off.
func (w *worker) checkID(t *tokens, client, nonce string) {
	id := t.ID
	w.later = append(w.later, func() error {
		var c idClaims
		if err := w.verifyJWT(id, &c); err != nil {
			return fmt.Errorf("ID token: %w", err)
		}
		if c.Issuer != w.world.Issuer || c.Subject != w.world.User.Subject || !c.Audience.has(client) || nonce != "" && c.Nonce != nonce {
			return fmt.Errorf("ID token: wrong claims: %+v", c)
		}
		return nil
	})
}

type idClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Nonce    string   `json:"nonce"`
	Exp      float64  `json:"exp"`
}

// audience is one string or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

func (a audience) has(s string) bool { return slices.Contains(a, s) }

// verifyJWT checks the signature, which must be ES256, and reads the claims,
// which must not have expired.
func (s *site) verifyJWT(token string, claims any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("no JWT: %q", token)
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return err
		}
	}
	var h struct{ Alg, Kid string }
	if err := json.Unmarshal(raw[0], &h); err != nil {
		return err
	}
	key := s.keys[h.Kid]
	if h.Alg != "ES256" || key == nil || len(raw[2]) != 64 {
		return fmt.Errorf("alg %q, kid %q", h.Alg, h.Kid)
	}
	digest := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])) {
		return errors.New("the signature does not verify")
	}
	var times struct{ Exp float64 }
	if err := json.Unmarshal(raw[1], &times); err != nil {
		return err
	}
	if times.Exp < float64(time.Now().Unix()) {
		return errors.New("expired")
	}
	return json.Unmarshal(raw[1], claims)
}
