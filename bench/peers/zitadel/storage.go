package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage answers what the library asks, from maps behind one lock.
type storage struct {
	op.Storage // nil: what is not below is never called
	world      world
	key        signingKey
	clients    map[string]*client

	mu       sync.Mutex
	requests map[string]*request
	codes    map[string]string // -> request
	tokens   map[string]*token
	refresh  map[string]*token
	sessions map[string]string // -> subject
}

var (
	_       op.Storage                   = (*storage)(nil)
	_       op.ClientCredentialsStorage  = (*storage)(nil)
	_       op.CanSetUserinfoFromRequest = (*storage)(nil)
	errNone                              = errors.New("none")
)

const lifetime = 10 * time.Minute

func newStorage(w world) (*storage, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &storage{
		world: w, key: signingKey{key}, clients: map[string]*client{}, requests: map[string]*request{}, codes: map[string]string{},
		tokens: map[string]*token{}, refresh: map[string]*token{}, sessions: map[string]string{},
	}
	code := []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
	own := []oidc.GrantType{oidc.GrantTypeClientCredentials}
	for _, c := range []*client{
		{id: w.App.ID, grants: code, method: oidc.AuthMethodNone},
		{id: w.Web.ID, grants: code, method: oidc.AuthMethodBasic, digest: sha256.Sum256([]byte(w.Web.Secret))},
		{id: w.Service.ID, grants: own, method: oidc.AuthMethodBasic, digest: sha256.Sum256([]byte(w.Service.Secret))},
		{id: w.Signed.ID, grants: own, method: oidc.AuthMethodBasic, digest: sha256.Sum256([]byte(w.Signed.Secret)), format: op.AccessTokenTypeJWT},
	} {
		c.redirectURI = w.RedirectURI
		s.clients[c.id] = c
	}
	return s, nil
}

func (s *storage) startSession(subject string) string {
	value := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[value] = subject
	return value
}

// finish signs the user of a session in for a request.
func (s *storage) finish(id, session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	subject, ok := s.sessions[session]
	r := s.requests[id]
	if !ok || r == nil {
		return false
	}
	r.subject, r.at = subject, time.Now()
	return true
}

// request is an authorization request.
type request struct {
	id, subject string
	at          time.Time // of the sign-in
	asked       *oidc.AuthRequest
}

func (r *request) GetID() string                      { return r.id }
func (r *request) GetACR() string                     { return "" }
func (r *request) GetAMR() []string                   { return []string{"pwd"} }
func (r *request) GetAudience() []string              { return []string{r.asked.ClientID} }
func (r *request) GetAuthTime() time.Time             { return r.at }
func (r *request) GetClientID() string                { return r.asked.ClientID }
func (r *request) GetNonce() string                   { return r.asked.Nonce }
func (r *request) GetRedirectURI() string             { return r.asked.RedirectURI }
func (r *request) GetScopes() []string                { return r.asked.Scopes }
func (r *request) GetState() string                   { return r.asked.State }
func (r *request) GetSubject() string                 { return r.subject }
func (r *request) Done() bool                         { return r.subject != "" }
func (r *request) GetResponseType() oidc.ResponseType { return r.asked.ResponseType }
func (r *request) GetResponseMode() oidc.ResponseMode { return r.asked.ResponseMode }
func (r *request) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: r.asked.CodeChallenge, Method: r.asked.CodeChallengeMethod}
}

func (s *storage) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, subject string) (op.AuthRequest, error) {
	r := &request{id: rand.Text(), subject: subject, asked: asked}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.id] = r
	return r, nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.requests[id]; r != nil {
		return r, nil
	}
	return nil, errNone
}

func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.requests[s.codes[code]]; r != nil {
		delete(s.codes, code)
		return r, nil
	}
	return nil, errNone
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
	return nil
}

// token is an access token, or a refresh token.
type token struct {
	client, subject string
	audience        []string
	scope           []string
	at              time.Time // of the sign-in
	expires         time.Time
}

func (t *token) GetAMR() []string            { return []string{"pwd"} }
func (t *token) GetAudience() []string       { return t.audience }
func (t *token) GetAuthTime() time.Time      { return t.at }
func (t *token) GetClientID() string         { return t.client }
func (t *token) GetScopes() []string         { return t.scope }
func (t *token) GetSubject() string          { return t.subject }
func (t *token) SetCurrentScopes(s []string) { t.scope = s }

func tokenOf(r op.TokenRequest) *token {
	t := &token{subject: r.GetSubject(), audience: r.GetAudience(), scope: r.GetScopes(), expires: time.Now().Add(lifetime)}
	if r, ok := r.(interface {
		GetClientID() string
		GetAuthTime() time.Time
	}); ok {
		t.client, t.at = r.GetClientID(), r.GetAuthTime()
	}
	return t
}

func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, t := rand.Text(), tokenOf(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[id] = t
	return id, t.expires, nil
}

func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	id, next, t := rand.Text(), rand.Text()+rand.Text(), tokenOf(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if current != "" {
		if s.refresh[current] == nil {
			return "", "", time.Time{}, op.ErrInvalidRefreshToken
		}
		delete(s.refresh, current)
	}
	s.tokens[id], s.refresh[next] = t, t
	return id, next, t.expires, nil
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, refresh string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.refresh[refresh]; t != nil {
		c := *t
		return &c, nil
	}
	return nil, op.ErrInvalidRefreshToken
}

// signingKey is the one key, in both of the library's views of it.
type signingKey struct{ key *ecdsa.PrivateKey }

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k signingKey) Key() any                                    { return k.key }
func (k signingKey) ID() string                                  { return "1" }

type publicKey struct{ signingKey }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.PublicKey }

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }
func (s *storage) KeySet(context.Context) ([]op.Key, error)          { return []op.Key{publicKey{s.key}}, nil }
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

// client is one client; see the library's documentation for what is asked of it.
type client struct {
	id, redirectURI string
	digest          [32]byte
	method          oidc.AuthMethod
	grants          []oidc.GrantType
	format          op.AccessTokenType
}

func (c *client) GetID() string                       { return c.id }
func (c *client) RedirectURIs() []string              { return []string{c.redirectURI} }
func (c *client) PostLogoutRedirectURIs() []string    { return nil }
func (c *client) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c *client) AuthMethod() oidc.AuthMethod         { return c.method }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *client) GrantTypes() []oidc.GrantType         { return c.grants }
func (c *client) LoginURL(id string) string            { return "/login?id=" + id }
func (c *client) AccessTokenType() op.AccessTokenType  { return c.format }
func (c *client) IDTokenLifetime() time.Duration       { return lifetime }
func (c *client) DevMode() bool                        { return false }
func (c *client) IsScopeAllowed(scope string) bool     { return scope == serviceScope }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return false }
func (c *client) ClockSkew() time.Duration             { return 0 }
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if c := s.clients[id]; c != nil {
		return c, nil
	}
	return nil, errNone
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c, sum := s.clients[id], sha256.Sum256([]byte(secret))
	if c == nil || subtle.ConstantTimeCompare(c.digest[:], sum[:]) != 1 {
		return errNone
	}
	return nil
}

func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.clients[id], nil
}

func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{s.world.Resource}, Scopes: scopes}, nil
}

func (s *storage) claims(info *oidc.UserInfo, subject string, scopes []string) {
	u := s.world.User
	info.Subject = subject
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeProfile:
			info.Name = u.Name
		case oidc.ScopeEmail:
			info.Email, info.EmailVerified = u.Email, true
		}
	}
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	s.claims(info, r.GetSubject(), scopes)
	return nil
}

func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, subject, _ string) error {
	t, err := s.live(id)
	if err == nil {
		s.claims(info, subject, t.scope)
	}
	return err
}

func (s *storage) SetIntrospectionFromToken(_ context.Context, res *oidc.IntrospectionResponse, id, subject, client string) error {
	t, err := s.live(id)
	if err != nil {
		return err
	}
	if t.client != client && !slices.Contains(t.audience, client) {
		return errNone
	}
	res.Subject, res.ClientID, res.Scope, res.Expiration = subject, t.client, t.scope, oidc.FromTime(t.expires)
	return nil
}

func (s *storage) live(id string) (*token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[id]
	if t == nil || t.expires.Before(time.Now()) {
		return nil, errNone
	}
	return t, nil
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}

func (s *storage) Health(context.Context) error { return nil }
