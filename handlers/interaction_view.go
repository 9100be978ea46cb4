package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/clientreg"
)

// Interaction is an authorization request that waits for a person. The page it
// belongs to ends it once, with Login, ApproveAll, Approve or Deny. It is bound
// to the browser that began it and, on the consent page, to the session that
// was signed in then.
//
// A page may be a script of the issuer's origin: it gets the interaction by
// json.Marshal, sends the csrf value as X-CSRF-Token, and with
// "Accept: application/json" the methods answer with JSON that says where to
// go, see spa.go.
type Interaction struct {
	ID        string            // names it in the page's URL
	Step      string            // "login", "select_account", "create" or "consent"
	Client    *clientreg.Client // not to be modified
	Account   Account           // who is signed in; zero: nobody
	Accounts  []Account         // to choose from, on the account page; the current one first
	LoginHint string            // as the client sent it: show it, do not trust it
	Locales   []string          // wanted languages, best first: ui_locales, then Accept-Language
	ACRValues []string          // wanted, best first
	// EssentialACR: one of these has to be reached, or the client gets an error.
	EssentialACR []string
	// Subject is the user whom the client means, by id_token_hint or the claims
	// parameter; signing in as somebody else is an error. Empty: any.
	Subject string
	// Current is the login that a sign-in page may build upon, for a second step;
	// nil: the user has to authenticate from the start.
	Current *Login
	MaxAge  *time.Duration // nil: not asked for
	Prompt  []string
	Display string // page, popup, touch or wap: the page's wanted form; may be empty. OpenID Connect Core §3.1.2.1
	Asked   Asked
	Device  *Device // who asks instead of this browser, RFC 8628: show it; nil: nobody

	p     *Provider
	f     *flow
	s     *session
	had   accounts
	csrf  string
	tried *string // user name of the last Try
	ended bool

	stranger bool // was counted as a page for somebody who has not signed in
}

// Device is another device that waits for the user's answer. The page shows
// the code, so that the user can compare it with the device's. RFC 8628 §3.3.1.
type Device struct {
	UserCode string `json:"user_code"`         // as the device shows it: "WDJB-MJHT"
	Addr     string `json:"address,omitempty"` // that its request came from; may be empty
	Place    string `json:"place,omitempty"`   // that address as Config.Place names it, else the address
}

// Account is the signed-in user as pages show it.
type Account struct {
	Subject string `json:"subject"`
	Name    string `json:"name"` // claim name, preferred_username or email; else the subject
}

// Asked is what the client wants.
type Asked struct {
	Scopes  []AskedScope  `json:"scopes"`
	Claims  []string      `json:"claims"` // asked for by name, OpenID Connect Core §5.5
	APIs    []API         `json:"apis"`
	Details []AskedDetail `json:"details"`

	// Lifetime is how long the access lasts at most without asking again; what
	// users take back ends before. In JSON: lifetime, in seconds.
	Lifetime time.Duration `json:"-"`
}

// MarshalJSON adds lifetime.
func (a Asked) MarshalJSON() ([]byte, error) {
	type plain Asked
	return json.Marshal(struct {
		plain
		Lifetime int64 `json:"lifetime"`
	}{plain(a), int64(a.Lifetime / time.Second)})
}

// AskedScope is a scope on a consent page.
type AskedScope struct {
	Name        string `json:"name"`
	Title       string `json:"title"` // the name if the configuration has none
	Description string `json:"description"`
	Required    bool   `json:"required"` // granted with every approval: openid
	Known       bool   `json:"known"`    // allowed before
}

// AskedDetail is an authorization detail on a consent page, RFC 9396.
type AskedDetail struct {
	Type  string          `json:"type"`
	Lines []string        `json:"lines"` // what it allows, in words
	Raw   json.RawMessage `json:"raw"`
}

// Approval lists what a user allows of what was asked. What it does not list is
// not granted; listing more than was asked is refused. The APIs that were asked
// for come with every approval. A script may send it as JSON.
type Approval struct {
	Scopes   []string          `json:"scopes"`   // openid needs no mention
	Claims   []string          `json:"claims"`   // of Asked.Claims
	Details  []json.RawMessage `json:"details"`  // each within one that was asked for
	Remember bool              `json:"remember"` // do not ask again for these scopes and APIs; see CanRemember
}

// Consent is a page that asks the user. The kit has loaded the interaction and,
// on POST, checked that the form is this browser's. The page ends the
// interaction or draws itself (again). It must be safe for concurrent use.
type Consent interface {
	ServeConsent(w http.ResponseWriter, r *http.Request, i *Interaction)
}

// ConsentFunc makes a function a Consent.
type ConsentFunc func(w http.ResponseWriter, r *http.Request, i *Interaction)

// ServeConsent calls f.
func (f ConsentFunc) ServeConsent(w http.ResponseWriter, r *http.Request, i *Interaction) { f(w, r, i) }

// describe fills in what pages show.
func (p *Provider) describe(ctx context.Context, i *Interaction) error {
	var err error
	if i.s != nil {
		if i.Account, _, err = p.account(ctx, i, i.s); err != nil {
			return err
		}
	}
	if i.Step == string(stepAccount) {
		for _, s := range i.had.alive() {
			a, usable, err := p.account(ctx, i, s)
			if err != nil {
				return err
			}
			if usable {
				i.Accounts = append(i.Accounts, a)
			}
		}
	}
	if i.Step != string(stepConsent) {
		return nil
	}
	known, _, err := p.remembered(ctx, i.Account.Subject, i.Client.ID)
	if err != nil {
		return err
	}
	q := i.f.req
	for _, name := range q.Scope {
		s := p.scope(name)
		if s == nil {
			continue
		}
		i.Asked.Scopes = append(i.Asked.Scopes, AskedScope{
			Name: name, Title: firstOf(s.Title, name), Description: s.Description,
			Required: name == "openid", Known: slices.Contains(known.Scope, name),
		})
	}
	i.Asked.Claims = requestedClaims(q)
	i.Asked.Lifetime = p.cfg.TTL.Access
	if q.has("offline_access") {
		i.Asked.Lifetime = p.cfg.TTL.Refresh
	}
	for _, r := range q.Resources {
		if a := p.api(r); a != nil {
			i.Asked.APIs = append(i.Asked.APIs, *a)
		}
	}
	for _, raw := range q.Details {
		d := AskedDetail{Type: detailName(raw), Raw: raw}
		t := p.detailType(d.Type)
		if t == nil {
			return refuse("authorize.details", errors.New("the type is no longer configured"))
		}
		if d.Lines, err = t.Describe(ctx, raw, i.Locales); err != nil {
			return err
		}
		i.Asked.Details = append(i.Asked.Details, d)
	}
	return nil
}

// account is a session as pages show it, and whether its user can go on.
func (p *Provider) account(ctx context.Context, i *Interaction, s *session) (a Account, usable bool, err error) {
	a = Account{s.login.Subject, s.login.Subject}
	names := []string{"name", "preferred_username", "email"}
	claims, err := p.cfg.Users.Claims(ctx, a.Subject, ClaimsQuery{Client: i.Client, Locales: i.Locales, For: ForPage, Claims: names})
	gone := errors.Is(err, ErrNoUser) || errors.Is(err, ErrUserDisabled)
	if err != nil && !gone {
		return a, false, refuse("users.outage", err)
	}
	for _, n := range names {
		if s, ok := claims[n].(string); ok && s != "" {
			a.Name = s
			break
		}
	}
	return a, !gone, nil
}

// CSRF is the hidden form field that a page must send back.
func (i *Interaction) CSRF() template.HTML {
	return template.HTML(`<input type="hidden" name="csrf" value="` + template.HTMLEscapeString(i.csrf) + `">`)
}

// CanRemember tells whether Approval.Remember has an effect: payments and other
// details are decided every time, and so is a device, and a client whose
// identity nobody can assure.
func (i *Interaction) CanRemember() bool {
	return len(i.Asked.Details) == 0 && i.Device == nil && i.f.assured()
}

// FormAction is the form-action directive that a page needs in its
// Content-Security-Policy: a browser checks every hop of a redirect, up to the
// client's redirect URI.
func (i *Interaction) FormAction() string {
	return i.p.frame(i.Locales, i.f.req.RedirectURI).FormPolicy()
}

// CSRFToken is the value of that field, for a page that sends X-CSRF-Token.
func (i *Interaction) CSRFToken() string { return i.csrf }
