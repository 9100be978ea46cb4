// Package ui draws the provider's built-in pages. Each page is a typed view
// handed to a method of [Frame]; the package escapes, translates and sends the
// security headers, and knows nothing of what the answers mean.
//
// Pages are plain HTML forms without script; the one exception is
// [Frame.FormPost], whose single line is allowed by its hash. Everything in a
// view may come from a hostile client or user: text is escaped and freed of
// control and direction characters, and links that are not https (or http to a
// loopback address) are left out.
//
// A button answers in the field "do" with login, allow, deny, logout, stay,
// switch, choose, register, code or revoke. Every form carries the view's CSRF value in the
// field "csrf".
package ui

import (
	"net/http"
	"time"
)

// Frame is what every page of one response shares. The zero value is an
// English page with status 200.
type Frame struct {
	Name       string              // the provider, as people know it; empty: no name is shown
	Locales    []string            // wanted languages as BCP 47 tags, best first; see [Locales]
	Status     int                 // HTTP status; 0: 200, and for Problem a status that fits its kind
	FormAction []string            // CSP form-action sources besides 'self' and https:; see [Frame.Login]
	HSTS       bool                // send Strict-Transport-Security; for an https issuer
	Messages   map[string]Messages // texts by language that replace or extend the built-in ones
}

// Client is an application as it is introduced to people.
type Client struct {
	ID        string
	Name      string // empty: ID is shown
	URI       string
	LogoURI   string // shown as a link, never embedded: the page loads nothing from elsewhere
	PolicyURI string
	TOSURI    string
	Verified  bool // false: registered itself; the page warns
}

// Login asks for username and password (fields "username", "password"; do is
// login, deny, switch or register).
type Login struct {
	Client   Client
	Action   string
	CSRF     string
	Username string // fills the field, e.g. from login_hint
	// Account names the user who signs in again. The form then has no field
	// "username": the handler knows whom it asked.
	Account   string
	CanSwitch bool // offer another account (do=switch); needs Account
	// CanRegister offers to make an account (do=register).
	CanRegister bool
	Problem     string // "", "wrong", "throttled" or "unavailable"; any other is shown as "unavailable"
}

// Choose asks as which of several accounts to go on (field "account"; do is
// choose, switch, register or deny).
type Choose struct {
	Client      Client
	Action      string
	CSRF        string
	Accounts    []Choice
	CanRegister bool // offer to make an account
}

// Choice is one account.
type Choice struct {
	Value string // form value
	Name  string
}

// Scope is one line of a consent page.
type Scope struct {
	Name        string // form value
	Description string // empty: the built-in text for standard scopes, else Name
	Required    bool   // shown as text, not as a choice, and not part of the form
	Known       bool   // granted earlier
}

// Detail is one authorization detail, RFC 9396 §2.
type Detail struct {
	Value string // form value
	Type  string
	Lines []string // what it says, one fact a line
}

// Device describes the other device of a device authorization.
type Device struct {
	UserCode string // to be compared with what the device shows
	Location string // where its request came from, a place or an address; empty: not shown
}

// Consent asks whether the client may have access (fields "scope" and "detail",
// once per box left ticked, and "remember"=1; do is allow, deny or switch).
type Consent struct {
	Client       Client
	Action       string
	CSRF         string
	Account      string
	CanSwitch    bool // offer another account (do=switch)
	Scopes       []Scope
	Claims       []string // names of single claims asked for
	APIs         []string // resource servers, RFC 8707
	Details      []Detail
	Lifetime     time.Duration // of the access, at most; zero: not shown
	RedirectHost string        // where the browser goes afterwards; empty: not shown
	Device       *Device
	Binding      string // binding message of a backchannel request; empty: not shown
	CanRemember  bool   // offer to remember the answer
	Remember     bool   // the box is ticked
}

// DeviceCode asks for the code that a device shows (field "user_code"; do is
// code), RFC 8628 §3.3.
type DeviceCode struct {
	Action   string
	CSRF     string
	UserCode string // fills the field
	Problem  string // "", "wrong", "throttled" or "unavailable"; any other is shown as "unavailable"
}

// DeviceDone ends a device authorization.
type DeviceDone struct {
	Client  Client
	Allowed bool
}

// Logout asks whether to sign out (do is logout or stay).
type Logout struct {
	Client  *Client // who asked; nil: not known
	Action  string
	CSRF    string
	Account string
}

// LoggedOut says that the session has ended or, with Stayed, that it goes on.
type LoggedOut struct {
	Stayed    bool
	Client    *Client
	ReturnURL string // way back to the application; empty: not offered
}

// Problem is a page for what cannot go on.
type Problem struct {
	// Kind chooses the text: request, client, redirect, expired, completed,
	// other_browser, csrf, cookies, unavailable, server, logout, method. Any
	// other is shown as server.
	Kind       string
	ID         string // request id, for support
	Code       string // error code of the protocol
	ReturnURL  string // way back to the application; empty: not offered
	ReturnName string // name of the application
	RestartURL string // starts anew; https, loopback or a path of this site
}

// FormPost sends the parameters on to the client by POST, OAuth 2.0 Form Post
// Response Mode §2. Action is an http or https URL already proven to be the
// client's. No parameter may be called "submit".
type FormPost struct {
	Action string
	Params [][2]string
}

// Grant is one connected application.
type Grant struct {
	ID       string // form value
	Client   Client
	Scopes   []Scope // Required and Known do not matter here
	Since    time.Time
	LastUsed time.Time // zero: not shown
}

// Account lists connected applications; each can be disconnected (field
// "grant"; do is revoke).
type Account struct {
	Account string
	Action  string
	CSRF    string
	Grants  []Grant
	Revoked string // name of the application just disconnected; empty: none
}

// Login writes the sign-in page. Frame.FormAction has to name where the answer
// redirects to unless that is https: a browser checks every hop. An entry is a
// loopback origin such as "http://127.0.0.1:8400" or a private scheme such as
// "com.example.app:"; anything else is left out.
func (f Frame) Login(w http.ResponseWriter, v Login) {
	v.Problem = oneOf(v.Problem, "unavailable", "", "wrong", "throttled")
	f.render(w, "login", page{Client: &v.Client, V: v, Failed: v.Problem != ""})
}

// Choose writes the page that asks for an account. See [Frame.Login] on
// Frame.FormAction.
func (f Frame) Choose(w http.ResponseWriter, v Choose) {
	f.render(w, "choose", page{Client: &v.Client, V: v})
}

// Consent writes the page that asks for consent. See [Frame.Login] on
// Frame.FormAction.
func (f Frame) Consent(w http.ResponseWriter, v Consent) {
	f.render(w, "consent", page{Client: &v.Client, V: v})
}

// DeviceCode writes the page where the code of a device is entered.
func (f Frame) DeviceCode(w http.ResponseWriter, v DeviceCode) {
	v.Problem = oneOf(v.Problem, "unavailable", "", "wrong", "throttled")
	f.render(w, "device_code", page{V: v, Failed: v.Problem != ""})
}

// DeviceDone writes the page that sends the user back to the device.
func (f Frame) DeviceDone(w http.ResponseWriter, v DeviceDone) {
	f.render(w, "device_done", page{Client: &v.Client, V: v})
}

// Logout writes the page that asks whether to sign out.
func (f Frame) Logout(w http.ResponseWriter, v Logout) {
	f.render(w, "logout", page{Client: v.Client, V: v})
}

// LoggedOut writes the page shown after sign-out.
func (f Frame) LoggedOut(w http.ResponseWriter, v LoggedOut) {
	f.render(w, "logged_out", page{Client: v.Client, V: v})
}

// Problem writes an error page. Without a Status it is 400, or 405, 500 or 503
// where the kind says so.
func (f Frame) Problem(w http.ResponseWriter, v Problem) {
	v.Kind = oneOf(v.Kind, "server", problemKinds[:]...)
	if f.Status == 0 {
		switch v.Kind {
		case "method":
			f.Status = http.StatusMethodNotAllowed
		case "server":
			f.Status = http.StatusInternalServerError
		case "unavailable":
			f.Status = http.StatusServiceUnavailable
		default:
			f.Status = http.StatusBadRequest
		}
	}
	f.render(w, "problem", page{V: v, Failed: true})
}

// FormPost writes a page that posts itself, or waits for its button where
// scripts are off.
func (f Frame) FormPost(w http.ResponseWriter, v FormPost) {
	f.render(w, "form_post", page{V: v, Script: formPostScript, postTo: v.Action})
}

// Account writes the list of connected applications.
func (f Frame) Account(w http.ResponseWriter, v Account) {
	f.render(w, "account", page{V: v, Wide: true})
}

var problemKinds = [...]string{
	"request", "client", "redirect", "expired", "completed", "other_browser",
	"csrf", "cookies", "unavailable", "server", "logout", "method",
}

func oneOf(s, otherwise string, known ...string) string {
	for _, k := range known {
		if s == k {
			return s
		}
	}
	return otherwise
}
