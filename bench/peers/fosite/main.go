// Command fosite is github.com/ory/fosite under measurement, over the memory
// store that comes with it. Endpoints, sessions and the sign-in page are left to
// its user; here they are as small as they can be.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	w, err := readWorld()
	if err != nil {
		return err
	}
	s, err := newServer(w)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: w.Listen, Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type server struct {
	world world
	key   *ecdsa.PrivateKey
	kid   string
	main  fosite.OAuth2Provider // opaque access tokens
	jwt   fosite.OAuth2Provider // JWT access tokens

	mu       sync.Mutex
	sessions map[string]time.Time // by cookie: when the user signed in
}

// digests compares secrets as the kit does generated ones: the default, bcrypt,
// would be all that is measured.
type digests struct{}

func (digests) Hash(_ context.Context, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	return sum[:], nil
}

func (digests) Compare(_ context.Context, hash, data []byte) error {
	sum := sha256.Sum256(data)
	if subtle.ConstantTimeCompare(hash, sum[:]) != 1 {
		return errors.New("wrong secret")
	}
	return nil
}

const lifetime = 10 * time.Minute

func newServer(w world) (*server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &server{world: w, key: key, kid: "1", sessions: map[string]time.Time{}}
	store := storage.NewMemoryStore()
	for _, c := range []struct {
		confidential
		public bool
		grants fosite.Arguments
	}{
		{w.App, true, fosite.Arguments{"authorization_code", "refresh_token"}},
		{w.Web, false, fosite.Arguments{"authorization_code", "refresh_token"}},
		{w.Service, false, fosite.Arguments{"client_credentials"}},
		{w.Signed, false, fosite.Arguments{"client_credentials"}},
	} {
		sum := sha256.Sum256([]byte(c.Secret))
		method := "client_secret_basic"
		if c.public {
			method = "none"
		}
		store.Clients[c.ID] = &fosite.DefaultOpenIDConnectClient{
			DefaultClient: &fosite.DefaultClient{
				ID: c.ID, Secret: sum[:], Public: c.public, RedirectURIs: []string{w.RedirectURI}, GrantTypes: c.grants,
				ResponseTypes: fosite.Arguments{"code"}, Scopes: fosite.Arguments{"openid", "profile", "email", "offline_access", serviceScope},
			},
			TokenEndpointAuthMethod: method,
		}
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	signing := func(context.Context) (any, error) { return key, nil }
	provider := func(signed bool) fosite.OAuth2Provider {
		cfg := &fosite.Config{
			GlobalSecret: secret, ClientSecretsHasher: digests{}, IDTokenIssuer: w.Issuer, AccessTokenIssuer: w.Issuer,
			AccessTokenLifespan: lifetime, IDTokenLifespan: lifetime, EnforcePKCE: true, TokenURL: w.Issuer + "/token",
			PushedAuthorizeContextLifespan: time.Minute,
		}
		var core oauth2.CoreStrategy = compose.NewOAuth2HMACStrategy(cfg)
		if signed {
			core = compose.NewOAuth2JWTStrategy(signing, core, cfg)
		}
		return compose.Compose(cfg, store, &compose.CommonStrategy{
			CoreStrategy: core, OpenIDConnectTokenStrategy: compose.NewOpenIDConnectStrategy(signing, cfg), Signer: &jwt.DefaultSigner{GetPrivateKey: signing},
		},
			compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
			compose.OpenIDConnectExplicitFactory, compose.OpenIDConnectRefreshFactory, compose.OAuth2TokenIntrospectionFactory,
			compose.OAuth2PKCEFactory, compose.PushedAuthorizeHandlerFactory)
	}
	s.main, s.jwt = provider(false), provider(true)
	return s, nil
}

func (s *server) routes() http.Handler {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		log.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	w := s.world
	mux := http.NewServeMux()
	// fosite has neither of the two; they are there for the client of the benchmark.
	mux.HandleFunc("/.well-known/openid-configuration", document(map[string]any{
		"issuer": w.Issuer, "authorization_endpoint": w.Issuer + "/authorize", "token_endpoint": w.Issuer + "/token", "userinfo_endpoint": w.Issuer + "/userinfo",
		"jwks_uri": w.Issuer + "/jwks", "pushed_authorization_request_endpoint": w.Issuer + "/par", "introspection_endpoint": w.Issuer + "/introspect",
		"x_signed_token_endpoint": w.Issuer + "/signed",
	}))
	mux.HandleFunc("/jwks", document(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "kid": s.kid, "alg": "ES256", "use": "sig", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]),
	}}}))
	mux.HandleFunc("/par", s.par)
	mux.HandleFunc("/authorize", s.authorize)
	mux.HandleFunc("/login", s.login)
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) { s.token(s.main, w, r) })
	mux.HandleFunc("/signed", func(w http.ResponseWriter, r *http.Request) { s.token(s.jwt, w, r) })
	mux.HandleFunc("/introspect", s.introspect)
	mux.HandleFunc("/userinfo", s.userinfo)
	return mux
}

func document(v any) http.HandlerFunc {
	b, err := json.Marshal(v)
	if err != nil {
		log.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	}
}

func (s *server) par(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ar, err := s.main.NewPushedAuthorizeRequest(ctx, r)
	if err != nil {
		s.main.WritePushedAuthorizeError(ctx, w, ar, err)
		return
	}
	res, err := s.main.NewPushedAuthorizeResponse(ctx, ar, s.session(time.Time{}))
	if err != nil {
		s.main.WritePushedAuthorizeError(ctx, w, ar, err)
		return
	}
	s.main.WritePushedAuthorizeResponse(ctx, w, ar, res)
}

// session is what fosite keeps of a sign-in, for both kinds of tokens.
func (s *server) session(at time.Time) *session {
	return &session{
		DefaultSession: &openid.DefaultSession{
			Claims: &jwt.IDTokenClaims{
				Issuer: s.world.Issuer, Subject: s.world.User.Subject, AuthTime: at, RequestedAt: time.Now(),
				AuthenticationMethodsReferences: []string{"pwd"},
			},
			Headers: &jwt.Headers{Extra: map[string]any{"kid": s.kid}},
			Subject: s.world.User.Subject, Username: s.world.User.Username,
		},
	}
}

const cookie = "session"

func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	var at time.Time
	if c, err := r.Cookie(cookie); err == nil {
		s.mu.Lock()
		at = s.sessions[c.Value]
		s.mu.Unlock()
	}
	if at.IsZero() {
		http.Redirect(w, r, "/login?"+r.URL.RawQuery, http.StatusFound)
		return
	}
	ctx := r.Context()
	ar, err := s.main.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.main.WriteAuthorizeError(ctx, w, ar, err)
		return
	}
	for _, scope := range ar.GetRequestedScopes() {
		ar.GrantScope(scope)
	}
	res, err := s.main.NewAuthorizeResponse(ctx, ar, s.session(at))
	if err != nil {
		s.main.WriteAuthorizeError(ctx, w, ar, err)
		return
	}
	s.main.WriteAuthorizeResponse(ctx, w, ar, res)
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<form method="post" action="/login?`+html.EscapeString(r.URL.RawQuery)+
			`"><input name="username"><input type="password" name="password"></form>`)
		return
	}
	if r.PostFormValue("username") != s.world.User.Username || r.PostFormValue("password") != s.world.User.Password {
		http.Error(w, "wrong", http.StatusForbidden)
		return
	}
	value := rand.Text()
	s.mu.Lock()
	s.sessions[value] = time.Now()
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/authorize?"+r.URL.RawQuery, http.StatusSeeOther)
}

func (s *server) token(p fosite.OAuth2Provider, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ar, err := p.NewAccessRequest(ctx, r, s.session(time.Time{}))
	if err != nil {
		p.WriteAccessError(ctx, w, ar, err)
		return
	}
	if ar.GetGrantTypes().ExactOne("client_credentials") {
		for _, scope := range ar.GetRequestedScopes() {
			ar.GrantScope(scope)
		}
		ar.GrantAudience(s.world.Resource)
	}
	res, err := p.NewAccessResponse(ctx, ar)
	if err != nil {
		p.WriteAccessError(ctx, w, ar, err)
		return
	}
	p.WriteAccessResponse(ctx, w, ar, res)
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ir, err := s.main.NewIntrospectionRequest(ctx, r, s.session(time.Time{}))
	if err != nil {
		s.main.WriteIntrospectionError(ctx, w, err)
		return
	}
	s.main.WriteIntrospectionResponse(ctx, w, ir)
}

// userinfo is ours, for fosite has none; the token is fosite's to judge.
func (s *server) userinfo(w http.ResponseWriter, r *http.Request) {
	use, ar, err := s.main.IntrospectToken(r.Context(), fosite.AccessTokenFromRequest(r), fosite.AccessToken, s.session(time.Time{}), "openid")
	if err != nil || use != fosite.AccessToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b, err := json.Marshal(map[string]any{
		"sub": ar.GetSession().GetSubject(), "name": s.world.User.Name, "email": s.world.User.Email, "email_verified": true,
	})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
