package handlers

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
)

// Config describes a provider. The zero value of every optional field is the
// safe default. What weakens the provider has a name that begins with Allow,
// Insecure or No.
type Config struct {
	// Issuer is the provider's identity and the base of every URL it prints:
	// https, no query or fragment, no trailing slash; http only on a loopback
	// host. OpenID Connect Discovery §3, RFC 8414 §2.
	Issuer string `validate:"required"`

	// Name of the provider as people know it, shown on the built-in pages. May be
	// empty.
	Name string

	// Storage keeps everything that must not be lost or spent twice.
	Storage storage.Storage `validate:"required"`

	// Clients knows the clients.
	Clients clientreg.Registry `validate:"required"`

	// Users answers from the application's user table.
	Users Users `validate:"required"`

	// Secrets seal tokens, cookies and stored keys: at least one, each of at
	// least 32 random bytes. The first seals, all open. To rotate, add the new
	// one as second everywhere, then make it first, then remove the old one.
	Secrets [][]byte `validate:"required,min=1,dive,min=32"`

	// Keys signs ID tokens. nil: rotating keys of SigningAlgs, kept in Storage,
	// sealed under Secrets.
	Keys KeySource

	// SigningAlgs are the algorithms of the rotating keys: ES256, RS256, PS256,
	// EdDSA. Default: ES256 and RS256. A client that names no
	// id_token_signed_response_alg gets RS256 if it is in the list, as OpenID
	// Connect Registration §2 says, else the first.
	SigningAlgs []string `validate:"dive,oneof=ES256 RS256 PS256 EdDSA"`

	// LoginURL is the application's own sign-in page, of the issuer's origin: a
	// path or an absolute URL. Empty: the built-in page, for which Users must be
	// a PasswordVerifier.
	LoginURL string

	// RegisterURL is the application's own page where people make an account, of
	// the issuer's origin: a path or an absolute URL. Like a sign-in page it ends
	// the interaction with Login. Empty: prompt=create is refused.
	RegisterURL string

	// Accounts is how many people may be signed in at one browser at a time; they
	// choose at prompt=select_account. 0 or 1: signing in as somebody else signs
	// the first one out, which suits shared computers. At most 8. Where Users is a
	// SessionSource this is the application's matter.
	Accounts int `validate:"min=0,max=8"`

	// Consent draws the consent page. nil: the built-in page.
	Consent Consent

	// Place names an address for people ("Berlin, Germany"), in the best of the
	// wanted languages: the page that confirms a device says where its request
	// came from, RFC 8628 §5.4. nil or an empty answer: the address itself is
	// shown. It must be fast and safe for concurrent use.
	Place func(ctx context.Context, addr netip.Addr, locales []string) string

	// Pages replaces the other built-in pages.
	Pages Pages

	// Scopes that clients may ask for, with their texts. The scopes of OpenID
	// Connect (openid, profile, email, address, phone, offline_access) are there
	// already; an entry of the same name replaces the text.
	Scopes []Scope `validate:"dive"`

	// Claims that clients may ask for by name beyond those that a scope releases,
	// OpenID Connect Core §5.5.
	Claims []string

	// APIs are the resources of RFC 8707 that tokens can be issued for.
	APIs []API `validate:"dive"`

	// Details are the types of authorization_details that clients may ask for,
	// RFC 9396.
	Details []DetailType

	// Features switches on what is not part of signing in.
	Features Features

	// ACRValues are the authentication classes that Login.ACR may name, weakest
	// first, announced as acr_values_supported. A client that wishes for a stronger
	// one than the session has is sent to LoginURL; one that demands a class
	// (essential acr) gets that very one or an error. OpenID Connect Core §5.5.1.1,
	// RFC 9470 §5.
	ACRValues []string

	// RequirePAR refuses authorization requests that were not pushed, RFC 9126 §5.
	RequirePAR bool

	// LogoutEndsOffline makes logout revoke offline grants of the session too.
	LogoutEndsOffline bool

	// DisableEndSession does not serve the end_session endpoint.
	DisableEndSession bool

	// Paths of the endpoints below the issuer's path.
	Paths Paths

	// TTL holds the lifetimes.
	TTL TTL

	// Policy sees every authorization and token request after the protocol's
	// checks. It may refuse; it cannot allow what the checks refused.
	Policy Policy

	// Limiter holds guessing of passwords, client secrets and user codes back.
	// nil: buckets in memory, which count per process.
	Limiter middleware.Limiter

	// Events receives what happened, in the request's goroutine. It must be fast.
	Events func(context.Context, Event)

	// Log receives one record per refused request and per fault. nil: discarded.
	Log *slog.Logger

	// Timeout bounds one request's work, all storage calls together.
	// 0: 5 s.
	Timeout time.Duration `validate:"min=0"`

	// Now is the clock. nil: time.Now.
	Now func() time.Time

	// InsecureFetchLoopback lets the provider read the clients' key sets from
	// loopback addresses too. Only for tests and the conformance suite: in
	// production whoever registers a client could reach what listens there.
	// Certificates are verified all the same.
	InsecureFetchLoopback bool

	// Rand is the source of randomness. nil: crypto/rand. Only tests set it.
	Rand io.Reader
}

// Paths are the endpoints' paths below the issuer's path. Each begins with a
// slash; empty means the default given here.
type Paths struct {
	Authorize  string // /authorize
	PAR        string // /par
	Token      string // /token
	UserInfo   string // /userinfo
	JWKS       string // /jwks
	Revoke     string // /revoke
	Introspect string // /introspect
	EndSession string // /logout
	Login      string // /login, the built-in page
	Consent    string // /consent
	Account    string // /select_account

	DeviceAuthorization string // /device_authorization, RFC 8628 §3.1
	Device              string // /device: where people enter a device's code, RFC 8628 §3.3
}

// TTL holds lifetimes. Zero means the default given here; a negative value is
// refused.
type TTL struct {
	Code        time.Duration // 60 s; at most 10 min. RFC 6749 §4.1.2
	PAR         time.Duration // 60 s; 5 s to 600 s. RFC 9126 §2.2
	Interaction time.Duration // 30 min: the whole sign-in, from the authorization request
	Access      time.Duration // 10 min; at most 24 h
	ID          time.Duration // 10 min
	RefreshIdle time.Duration // 14 days: a refresh token unused for so long is dead
	Refresh     time.Duration // 90 days: the absolute life of a refresh chain
	Session     time.Duration // 14 days: the absolute life of a browser session
	SessionIdle time.Duration // 24 h
	Consent     time.Duration // 365 days: how long a remembered consent lasts
	KeyRotation time.Duration // 90 days between signing keys
	Device      time.Duration // 10 min: device and user codes; 1 to 30 min. RFC 8628 §3.2

	// Grace is how long a refresh token is answered again with the same
	// successor while that one was never used. 0: 60 s; NoGrace: never.
	Grace time.Duration
}

// NoGrace switches the grace of refresh tokens off.
const NoGrace time.Duration = -1

// Scope is a scope value with the text that the consent page shows.
type Scope struct {
	Name        string   `validate:"required"` // RFC 6749 §3.3
	Title       string   // "Read your invoices"; empty: the name
	Description string   // one more sentence; may be empty
	Claims      []string // claims that the scope releases at UserInfo
}

// API is a resource that tokens can be issued for, RFC 8707.
type API struct {
	Identifier string   `validate:"required" json:"identifier"` // absolute URI without fragment: the token's audience
	Name       string   `json:"name"`                           // for the consent page
	Scopes     []string `json:"-"`                              // scopes that mean something there; empty: all

	// Format of its access tokens: "opaque", the default, or "jwt", RFC 9068. The
	// provider signs a JWT and cannot take it back where only its signature is
	// checked; middleware.Protect with the provider sees revocation.
	Format string `validate:"omitempty,oneof=opaque jwt" json:"-"`

	// Clients that may introspect its tokens: the resource servers, RFC 7662 §4.
	Clients []string `json:"-"`
}

// Features are endpoints and grants that are not served unless switched on.
type Features struct {
	ClientCredentials bool // RFC 6749 §4.4: clients on their own behalf
	Introspection     bool // RFC 7662
	Device            bool // RFC 8628: devices without a browser
}

// Policy refuses by returning an error; an *Error goes to the client as it is,
// any other one as access_denied. It must be safe for concurrent use.
type Policy func(ctx context.Context, d Decision) error

// Decision is what a Policy is asked.
type Decision struct {
	Endpoint string // "authorize" or "token"
	Client   *clientreg.Client
	Subject  string
	Scope    []string
	Request  *http.Request
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	t := &c.TTL
	const day = 24 * time.Hour
	def(&t.Code, time.Minute)
	def(&t.PAR, time.Minute)
	def(&t.Interaction, 30*time.Minute)
	def(&t.Access, 10*time.Minute)
	def(&t.ID, 10*time.Minute)
	def(&t.RefreshIdle, 14*day)
	def(&t.Refresh, 90*day)
	def(&t.Session, 14*day)
	def(&t.SessionIdle, day)
	def(&t.Consent, 365*day)
	def(&t.KeyRotation, 90*day)
	def(&t.Device, 10*time.Minute)
	def(&t.Grace, time.Minute)
	def(&c.Timeout, 5*time.Second)
	if t.Grace == NoGrace {
		t.Grace = 0
	}
	path := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	p := &c.Paths
	path(&p.Authorize, "/authorize")
	path(&p.PAR, "/par")
	path(&p.Token, "/token")
	path(&p.UserInfo, "/userinfo")
	path(&p.JWKS, "/jwks")
	path(&p.Revoke, "/revoke")
	path(&p.Introspect, "/introspect")
	path(&p.EndSession, "/logout")
	path(&p.Login, "/login")
	path(&p.Consent, "/consent")
	path(&p.Account, "/select_account")
	path(&p.DeviceAuthorization, "/device_authorization")
	path(&p.Device, "/device")
	if len(c.SigningAlgs) == 0 {
		c.SigningAlgs = []string{"ES256", "RS256"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}
