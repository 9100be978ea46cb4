package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Principal is what a verified access token says. Do not change it: handlers of
// one request share it.
type Principal struct {
	Subject   string // the user; the client itself where ByClient is true
	ClientID  string
	GrantID   string // the authorization the token belongs to
	Scope     []string
	Audience  []string
	AuthTime  time.Time // when the user signed in; zero if nobody did: a Verifier for users sets it
	ExpiresAt time.Time // of the token
	ACR       string
	Claims    map[string]any
	Details   []json.RawMessage // authorization_details, RFC 9396
}

// ByClient tells whether the client speaks for itself, RFC 6749 §4.4, and no
// user stands behind the token. Ask it before Subject is taken for a user: a
// user's identifier may be equal to a client's, and then only the time of the
// sign-in, which every token of a user has, tells them apart.
func (p *Principal) ByClient() bool {
	return p.AuthTime.IsZero() && (p.Subject == "" || p.Subject == p.ClientID)
}

// Verifier finds out whom a request's access token speaks for. It wraps
// ErrNoToken, ErrInvalidRequest or ErrInvalidToken where the request is at fault.
// Any other error is an outage: the client is told to come again, and keeps its
// token. It must be safe for concurrent use.
type Verifier interface {
	VerifyAccess(ctx context.Context, r *http.Request) (*Principal, error)
}

// Rule is what a resource demands of a token beyond being valid.
type Rule struct {
	// Audience must be among the token's audiences, RFC 9068 §4. Without it a
	// token that a user gave to one API would open every other.
	Audience string

	// AllowAnyAudience permits an empty Audience.
	AllowAnyAudience bool

	// Scope lists values that the token must all have.
	Scope []string

	// ACR lists authentication contexts of which the token must have one, RFC 9470.
	ACR []string

	// MaxAge bounds the time since the user signed in, RFC 9470. 0: no bound.
	MaxAge time.Duration

	// ResourceMetadata is the URL that challenges point clients to, RFC 9728 §5.1.
	ResourceMetadata string

	// Log receives why a request was refused, which its client is not told: an
	// outage as an error, all else at debug level. The text of a Verifier's error
	// goes there as it is. nil: discarded.
	Log *slog.Logger

	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

type principalKey struct{}

// PrincipalFrom returns the principal of a request that Protect let pass.
func PrincipalFrom(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(*Principal)
	return p, ok
}

// Protect lets requests pass whose access token v accepts and rule admits, and
// answers the others with the challenge of RFC 6750 §3 or RFC 9470 §3. It panics
// if the rule has no Audience and does not say that this is meant.
func Protect(v Verifier, rule Rule) Func {
	if v == nil {
		panic("middleware.Protect: the Verifier is nil")
	}
	if rule.Audience == "" && !rule.AllowAnyAudience {
		panic("middleware.Protect: Rule.Audience is empty: name the API's identifier, or set AllowAnyAudience to accept tokens issued for other APIs")
	}
	rule.Log = orDiscard(rule.Log)
	if rule.Now == nil {
		rule.Now = time.Now
	}
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := v.VerifyAccess(r.Context(), r)
			if err == nil && p == nil {
				err = errors.New("no principal") // a faulty Verifier; certainly not a permission
			}
			if err == nil {
				err = rule.check(p)
			}
			if err != nil {
				rule.refuse(w, r, err)
				return
			}
			serve(context.WithValue(r.Context(), principalKey{}, p), h, w, r)
		})
	}
}

var (
	errScope  = errors.New("insufficient scope")
	errStepUp = errors.New("insufficient user authentication")
)

func (rule *Rule) check(p *Principal) error {
	now := rule.Now()
	if !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt) {
		return ErrInvalidToken
	}
	if rule.Audience != "" && !slices.Contains(p.Audience, rule.Audience) {
		return ErrInvalidToken
	}
	for _, s := range rule.Scope {
		if !slices.Contains(p.Scope, s) {
			return errScope
		}
	}
	if len(rule.ACR) > 0 && !slices.Contains(rule.ACR, p.ACR) {
		return errStepUp
	}
	if rule.MaxAge > 0 {
		age := now.Sub(p.AuthTime)
		if p.AuthTime.IsZero() || age > rule.MaxAge || age < -time.Minute {
			return errStepUp
		}
	}
	return nil
}

// refuse answers in the order of RFC 6750 §3.1, then RFC 9470 §3.
func (rule *Rule) refuse(w http.ResponseWriter, r *http.Request, err error) {
	challenge := `Bearer realm="api"`
	add := func(name, value string) {
		challenge += ", " + name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	}
	status, code := http.StatusUnauthorized, ""
	switch {
	case errors.Is(err, ErrNoToken): // a client that did not know is told no error
	case errors.Is(err, ErrInvalidRequest):
		status, code = http.StatusBadRequest, "invalid_request"
	case errors.Is(err, ErrInvalidToken):
		code = "invalid_token"
	case errors.Is(err, errScope):
		status, code = http.StatusForbidden, "insufficient_scope"
	case errors.Is(err, errStepUp):
		code = "insufficient_user_authentication"
	default:
		rule.log(r, slog.LevelError, err)
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, `{"error":"temporarily_unavailable"}`)
		return
	}
	rule.log(r, slog.LevelDebug, err)
	body := ""
	if code != "" {
		add("error", code)
		body = `{"error":"` + code + `"}`
	}
	switch code {
	case "", "insufficient_scope":
		if len(rule.Scope) > 0 {
			add("scope", strings.Join(rule.Scope, " "))
		}
	case "insufficient_user_authentication":
		if len(rule.ACR) > 0 {
			add("acr_values", strings.Join(rule.ACR, " "))
		}
		if rule.MaxAge > 0 {
			add("max_age", strconv.FormatInt(int64(rule.MaxAge/time.Second), 10))
		}
	}
	if rule.ResourceMetadata != "" {
		add("resource_metadata", rule.ResourceMetadata)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, status, body)
}

func (rule *Rule) log(r *http.Request, level slog.Level, err error) {
	rule.Log.LogAttrs(r.Context(), level, "access refused", slog.String("id", RequestID(r.Context())), slog.String("route", r.Pattern),
		slog.String("audience", rule.Audience), slog.String("remote", addrText(r)), slog.String("cause", err.Error()))
}
