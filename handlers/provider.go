package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/fetch"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/internal/seal"
	"github.com/idpkit/idpkit/internal/secret"
	"github.com/idpkit/idpkit/storage"
)

// Provider is an OAuth 2.0 authorization server and OpenID provider. It is safe
// for concurrent use and starts no goroutine; see Run.
type Provider struct {
	cfg       Config
	issuerURL *url.URL
	basePath  string // path of the issuer, "" at the root
	cookies   string // prefix of the cookies' names
	secure    bool   // the issuer is https
	loginURL  string
	scopes    []Scope // standard and configured
	store     storage.Storage
	clients   clientreg.Registry
	keys      KeySource
	seal      *seal.Keyring
	secrets   *secret.Hasher
	csrf      *http.CrossOriginProtection
	rand      io.Reader
	limits    limiters
	exchanges map[string]exchange // by grant_type
	fetch     *fetch.Fetcher      // of what clients name by URL
}

// New checks the configuration and returns a provider. It reports all mistakes
// at once, each as a *ConfigError; errors.As finds the first. It does no input
// or output.
func New(cfg Config) (*Provider, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil {
		return nil, err // check has parsed it already
	}
	sum := sha256.Sum256([]byte(cfg.Issuer))
	p := &Provider{
		cfg:       cfg,
		issuerURL: issuer,
		basePath:  issuer.EscapedPath(),
		secure:    issuer.Scheme == "https",
		store:     cfg.Storage,
		clients:   cfg.Clients,
		keys:      cfg.Keys,
		seal:      seal.New(cfg.Issuer, cfg.Secrets),
		secrets:   secret.NewHasher(0),
		csrf:      http.NewCrossOriginProtection(),
		rand:      handle.Source(cfg.Rand),
		scopes:    mergeScopes(cfg.Scopes),
		limits:    newLimiters(&cfg),
		fetch:     newFetcher(&cfg, nil),
	}
	if err := p.csrf.AddTrustedOrigin(issuer.Scheme + "://" + issuer.Host); err != nil {
		return nil, err
	}
	p.exchanges = p.grantTypes()
	p.cookies = "idp-" + hex.EncodeToString(sum[:4]) + "-"
	if p.secure {
		p.cookies = "__Host-" + p.cookies
	}
	p.loginURL = cfg.LoginURL
	if p.loginURL == "" {
		p.loginURL = p.path(cfg.Paths.Login)
	}
	if p.keys == nil {
		p.keys = &rotatingKeys{p: p, every: cfg.TTL.KeyRotation}
	}
	return p, nil
}

func (p *Provider) now() time.Time { return p.cfg.Now().UTC() }

// url returns the absolute URL of an endpoint.
func (p *Provider) url(path string) string { return p.cfg.Issuer + path }

// path returns the path of an endpoint on the issuer's host.
func (p *Provider) path(path string) string { return p.basePath + path }

// Route is one endpoint of the provider.
type Route struct {
	Name    string // "token", "par", …
	Pattern string // for http.ServeMux, without a method: the handler answers 405 itself
	Handler http.Handler
}

// Routes lists every endpoint that the configuration serves, for a mux or a
// middleware of your own. Patterns hold the issuer's path.
func (p *Provider) Routes() []Route {
	c := &p.cfg.Paths
	routes := []Route{
		{"discovery", p.path("/.well-known/openid-configuration"), p.Discovery()},
		{"metadata", "/.well-known/oauth-authorization-server" + p.basePath, p.Discovery()},
		{"jwks", p.path(c.JWKS), p.JWKS()},
		{"par", p.path(c.PAR), p.PAR()},
		{"authorize", p.path(c.Authorize), p.Authorize()},
		{"token", p.path(c.Token), p.Token()},
		{"userinfo", p.path(c.UserInfo), p.UserInfo()},
		{"revoke", p.path(c.Revoke), p.Revoke()},
		{"consent", p.path(c.Consent), p.ConsentPage()},
	}
	if _, host := p.cfg.Users.(SessionSource); !host {
		routes = append(routes, Route{"account", p.path(c.Account), p.AccountPage()})
	}
	if p.cfg.Features.Introspection {
		routes = append(routes, Route{"introspect", p.path(c.Introspect), p.Introspect()})
	}
	if p.cfg.Features.Device {
		routes = append(routes,
			Route{"device_authorization", p.path(c.DeviceAuthorization), p.DeviceAuthorization()},
			Route{"device", p.path(c.Device), p.DevicePage()})
	}
	if p.basePath != "" {
		// Clients that do not know the path rule ask at both places, RFC 8414 §5.
		routes = append(routes,
			Route{"metadata", p.path("/.well-known/oauth-authorization-server"), p.Discovery()},
			Route{"discovery", "/.well-known/openid-configuration" + p.basePath, p.Discovery()})
	}
	if !p.cfg.DisableEndSession {
		routes = append(routes, Route{"end_session", p.path(c.EndSession), p.EndSessionEndpoint()})
	}
	if p.cfg.LoginURL == "" {
		routes = append(routes, Route{"login", p.path(c.Login), p.LoginPage()})
	}
	return routes
}

// Handler serves all Routes. Other paths are answered 404. Mount it at "/" or
// beside your own handlers; it wants the request's path as the client sent it,
// without http.StripPrefix.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range p.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	return mux
}

// Run purges expired records and rotates keys until ctx is done, which it
// returns as nil. Any number of replicas may run it; faults are logged and
// tried again. Without it nothing breaks at once: the storage grows, and keys
// rotate when a request needs them.
func (p *Provider) Run(ctx context.Context) error {
	for {
		p.maintain(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
		}
	}
}

// maintain does one round of what Run does.
func (p *Provider) maintain(ctx context.Context) {
	const batch = 500
	for ctx.Err() == nil {
		n, err := p.store.Purge(ctx, p.now(), batch)
		if err != nil {
			p.cfg.Log.WarnContext(ctx, "purge failed", "error", err)
			break
		}
		if n < batch {
			break
		}
	}
	if _, err := p.keys.Public(ctx); err != nil && ctx.Err() == nil {
		p.cfg.Log.WarnContext(ctx, "reading keys failed", "error", err)
	}
}

// isOutage tells whether err says that something below is away, so that the
// request may be repeated.
func isOutage(err error) bool {
	var conflict *storage.ConflictError
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, errOutage) || errors.As(err, &conflict)
}

// errOutage marks errors of a registry, of Users or of a storage that returned
// something else than the contract's sentinels.
var errOutage = errors.New("handlers: outage")

// client asks the registry and believes nothing else than what it was asked.
func (p *Provider) client(ctx context.Context, id string) (*clientreg.Client, error) {
	c, err := p.clients.Client(ctx, id)
	switch {
	case errors.Is(err, clientreg.ErrNotFound):
		return nil, refuse("client.unknown", nil)
	case err != nil:
		return nil, refuse("registry.outage", err)
	case c == nil || c.ID != id:
		return nil, refuse("server.fault", errors.New("the registry returned another client"))
	case c.Disabled:
		return nil, refuse("client.disabled", nil)
	}
	if err := p.Serves(c); err != nil {
		return nil, refuse("client.unserved", err)
	}
	return c, nil
}

// Serves returns nil if the provider can do what the client's metadata demand.
// Where it cannot, the client is refused: to go on without encryption, binding
// or a signature that was asked for would weaken it unseen. Call it for every
// client at start to learn of it early.
func (p *Provider) Serves(c *clientreg.Client) error {
	for _, d := range []struct {
		member string
		set    bool
	}{
		{"dpop_bound_access_tokens", c.DPoPBoundAccessTokens},
		{"tls_client_certificate_bound_access_tokens", c.TLSClientCertificateBoundAccessTokens},
		{"require_signed_request_object", c.RequireSignedRequestObject},
		{"subject_type", c.SubjectType == "pairwise"},
		{"id_token_encrypted_response_alg", c.IDTokenEncryptedResponseAlg != ""},
		{"userinfo_signed_response_alg", c.UserInfoSignedResponseAlg != ""},
		{"userinfo_encrypted_response_alg", c.UserInfoEncryptedResponseAlg != ""},
		{"authorization_signed_response_alg", c.AuthorizationSignedResponseAlg != ""},
		{"authorization_encrypted_response_alg", c.AuthorizationEncryptedResponseAlg != ""},
		{"introspection_signed_response_alg", c.IntrospectionSignedResponseAlg != ""},
		{"introspection_encrypted_response_alg", c.IntrospectionEncryptedResponseAlg != ""},
		{"id_token_signed_response_alg", c.IDTokenSignedResponseAlg != "" && !slices.Contains(p.keys.Algorithms(), c.IDTokenSignedResponseAlg)},
	} {
		if d.set {
			return fmt.Errorf("handlers: client %q: %s asks for what this provider does not serve", c.ID, d.member)
		}
	}
	return nil
}

// checkUser asks whether a subject exists and is enabled.
func (p *Provider) checkUser(ctx context.Context, c *clientreg.Client, subject string) error {
	_, err := p.cfg.Users.Claims(ctx, subject, ClaimsQuery{Client: c, For: ForCheck})
	switch {
	case errors.Is(err, ErrNoUser), errors.Is(err, ErrUserDisabled):
		return refuse("grant.user", err)
	case err != nil:
		return refuse("users.outage", err)
	}
	return nil
}

// get reads a record and re-checks that it is the one asked for.
func (p *Provider) get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	rec, err := p.store.Get(ctx, ref)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, storage.ErrNotFound
	case err != nil:
		return nil, errors.Join(errOutage, err)
	case rec == nil || rec.Ref != ref:
		return nil, errors.New("the storage returned another record")
	}
	return rec, nil
}

// commit passes ops on; any error that is no conflict counts as an outage.
func (p *Provider) commit(ctx context.Context, ops ...storage.Op) error {
	err := p.store.Commit(ctx, ops...)
	var conflict *storage.ConflictError
	switch {
	case err == nil, errors.As(err, &conflict):
		return err
	case errors.Is(err, storage.ErrInvalid):
		return err // a fault of ours
	}
	return errors.Join(errOutage, err)
}

// derived returns the ref of a record that is no part of a flow.
func derived(kind storage.Kind, key string) storage.Ref {
	return storage.Ref{Kind: kind, Shard: handle.ShardOf(key), Key: key}
}

// sameOrigin tells whether raw is a path or a URL of the issuer's origin.
func sameOrigin(issuer *url.URL, raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || strings.HasPrefix(raw, "//") || strings.ContainsAny(raw, "\\\r\n\t") || u.Fragment != "" {
		return false
	}
	if u.Scheme == "" && u.Host == "" {
		return strings.HasPrefix(raw, "/")
	}
	return u.Scheme == issuer.Scheme && u.Host == issuer.Host && u.User == nil
}
