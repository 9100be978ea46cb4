package handlers

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/ui"
	"github.com/idpkit/idpkit/middleware"
)

// frame is what all built-in pages share. The redirect URI is where the
// answer to the page's form may end: a browser checks every hop of it against
// form-action.
func (p *Provider) frame(locales []string, redirectURI string) ui.Frame {
	f := ui.Frame{Name: p.cfg.Name, Locales: locales, HSTS: p.secure}
	if u, err := url.Parse(redirectURI); err == nil && redirectURI != "" {
		switch {
		case u.Scheme == "http":
			f.FormAction = []string{originOf(redirectURI)}
		case u.Scheme != "https":
			f.FormAction = []string{u.Scheme + ":"}
		}
	}
	return f
}

// wantedLocales lists the languages of a request, best first.
func wantedLocales(uiLocales []string, r *http.Request) []string {
	return ui.Locales(strings.Join(uiLocales, " "), r.Header.Get("Accept-Language"))
}

// viewClient is the client as pages introduce it.
func viewClient(c *clientreg.Client, locales []string) ui.Client {
	return ui.Client{
		ID: c.ID, Name: c.LocalizedName(locales...), URI: c.ClientURI, LogoURI: c.LogoURI,
		PolicyURI: c.PolicyURI, TOSURI: c.TosURI, Verified: !c.Dynamic,
	}
}

// back is the way from an error page to the application.
type back struct {
	client  *clientreg.Client
	url     string
	locales []string
}

// wayBack adds to an error where the user may go from its page.
func wayBack(err error, i *Interaction) *Error {
	c := *toError(err)
	home := firstOf(i.Client.InitiateLoginURI, i.Client.ClientURI)
	if home == "" { // the application's own site, if it has one
		home = originOf(i.f.req.RedirectURI)
	}
	c.back = &back{i.Client, home, i.Locales}
	return &c
}

// problemKinds says which text an error page shows. Reasons that are not
// listed show that the request was wrong.
var problemKinds = map[string]string{
	"authorize.client":       "client",
	"client.disabled":        "client",
	"authorize.redirect_uri": "redirect",
	"interaction.missing":    "expired",
	"interaction.unknown":    "expired",
	"interaction.expired":    "expired",
	"interaction.session":    "expired",
	"par.unknown":            "expired",
	"par.expired":            "expired",
	"par.used":               "completed",
	"interaction.done":       "completed",
	"device.answered":        "completed",
	"interaction.browser":    "other_browser",
	"interaction.csrf":       "csrf",
	"request.cross_site":     "csrf",
	"logout.hint":            "logout",
	"logout.client":          "logout",
	"logout.redirect_uri":    "logout",
}

// failPage shows an error to the person at the browser.
func (p *Provider) failPage(w http.ResponseWriter, r *http.Request, e *Error) {
	if s, ok := forScript(w, r).(spaWriter); ok {
		p.failJSON(s.ResponseWriter, r, e)
		return
	}
	v := ui.Problem{Kind: problemKinds[e.Reason], Code: e.Code, ID: middleware.RequestID(r.Context())}
	switch {
	case e.Code == "temporarily_unavailable":
		v.Kind = "unavailable"
	case e.Code == "server_error":
		v.Kind = "server"
	case v.Kind == "":
		v.Kind = "request"
	}
	locales := wantedLocales(strings.Fields(r.URL.Query().Get("ui_locales")), r)
	if e.back != nil {
		locales = e.back.locales
		c := viewClient(e.back.client, locales)
		v.ReturnName, v.ReturnURL = c.Name, e.back.url
	}
	for k, h := range e.header {
		w.Header()[k] = h
	}
	f := p.frame(locales, "")
	if f.Status = e.Status(); f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden {
		f.Status = http.StatusBadRequest // no challenge goes with a page
	}
	if p.cfg.Pages.Error != nil {
		p.cfg.Pages.Error(w, r, ErrorPage{f.Status, v.Kind, e.Code, v.ID, v.ReturnName, v.ReturnURL, locales})
		return
	}
	f.Problem(w, v)
}

// Pages replaces built-in pages other than sign-in and consent. A page writes
// the status it is given, and its own security headers: those that every answer
// has are set, among them a policy that allows no styles, images or scripts.
// Pages are called concurrently.
type Pages struct {
	Error  func(http.ResponseWriter, *http.Request, ErrorPage)
	Logout func(http.ResponseWriter, *http.Request, LogoutPage)

	// Account asks which of Interaction.Accounts to use, and ends the interaction
	// with Choose, SwitchAccount, Register or Deny, like a consent page.
	Account func(http.ResponseWriter, *http.Request, *Interaction)
}

// ErrorPage is shown where an error cannot be sent to the client.
type ErrorPage struct {
	Status     int      // to be written
	Kind       string   // request, client, redirect, expired, completed, other_browser, csrf, unavailable, server or logout
	Code       string   // of the protocol
	ID         string   // of the request, for support; empty without middleware.Log
	ReturnName string   // the application, if it is known
	ReturnURL  string   // the way back to it; may be empty
	Locales    []string // wanted languages, best first
}

// LogoutPage asks whether to sign out, or says what became of it.
type LogoutPage struct {
	State   string            // ask, signed_out or stayed
	Client  *clientreg.Client // who asked; nil: not known. Not to be modified
	Account string            // who is signed in; several names with commas between
	Action  string            // where the form posts to, with do=logout or do=stay
	CSRF    string            // its field csrf
	Locales []string
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// formPost answers by a page that posts itself to the client.
func (p *Provider) formPost(w http.ResponseWriter, r *http.Request, action string, params [][2]string) {
	if s, ok := w.(spaWriter); ok {
		s.post(action, params)
		return
	}
	p.frame(wantedLocales(nil, r), action).FormPost(w, ui.FormPost{Action: action, Params: params})
}
