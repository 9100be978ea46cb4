package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/clientreg"
)

// Users answers from the application's own table of users. It is asked at
// every authorization, at every token request for a user and at UserInfo, so
// that a disabled user is refused everywhere at once. Methods are called
// concurrently.
type Users interface {
	// Claims returns what is known about subject. The kit keeps only the claims
	// that q names, and q names only what the configuration offers to clients. Errors: ErrNoUser,
	// ErrUserDisabled; any other error counts as an outage and is answered 503.
	Claims(ctx context.Context, subject string, q ClaimsQuery) (map[string]any, error)
}

// Errors of Users and PasswordVerifier.
var (
	ErrNoUser        = errors.New("handlers: no such user")
	ErrUserDisabled  = errors.New("handlers: user is disabled")
	ErrWrongPassword = errors.New("handlers: wrong user name or password")
)

// ClaimsQuery says what is wanted and for which place.
type ClaimsQuery struct {
	Client  *clientreg.Client
	Scope   []string // granted scopes
	Claims  []string // names of the claims that may be released
	Locales []string // claims_locales, best first; may be empty
	For     ClaimsUse
}

// ClaimsUse names the place that claims are for.
type ClaimsUse string

// Places that claims are for. ForCheck asks only whether the user exists and is
// enabled.
const (
	ForCheck    ClaimsUse = "check"
	ForIDToken  ClaimsUse = "id_token"
	ForUserInfo ClaimsUse = "userinfo"
	ForPage     ClaimsUse = "page" // the name shown on the consent page
)

// PasswordVerifier on Users switches the built-in login page on. It returns
// ErrWrongPassword for an unknown name and for a wrong password alike, after
// the same work; ErrUserDisabled is shown only to who knows the password.
type PasswordVerifier interface {
	VerifyPassword(ctx context.Context, username, password string) (Login, error)
}

// SessionSource on Users makes the kit use the application's own login session
// instead of one of its own.
type SessionSource interface {
	// CurrentLogin tells who is signed in at the browser, or nil. Login.SessionID
	// is required: it stays the same as long as the session lives. So is
	// Login.At: when the user proved who it is.
	CurrentLogin(r *http.Request) (*Login, error)
}

// SessionEnder on Users lets the end_session endpoint end the application's own
// session. With a SessionSource and without it, New refuses that endpoint.
type SessionEnder interface {
	EndLogin(w http.ResponseWriter, r *http.Request, sessionID string) error
}

// Login says who signed in, when and how.
type Login struct {
	Subject   string    // 1 to 255 bytes, never reassigned (OpenID Connect Core §2)
	At        time.Time // zero: now
	ACR       string    // OpenID Connect Core §2; empty: none
	AMR       []string  // RFC 8176; empty: none
	SessionID string    // only with SessionSource: the application's session
}
