package handlers

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
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
	Remember bool              `json:"remember"` // do not ask again for these scopes; see CanRemember
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

// Errors of Interaction. Fail shows the page that goes with each.
var (
	ErrNoInteraction = &Error{Code: "invalid_request", Reason: "interaction.missing"}
	ErrExpired       = &Error{Code: "invalid_request", Reason: "interaction.expired"}
	ErrCompleted     = &Error{Code: "invalid_request", Reason: "interaction.done"}
	ErrOtherBrowser  = &Error{Code: "invalid_request", Reason: "interaction.browser"}
	ErrCSRF          = &Error{Code: "invalid_request", Reason: "interaction.csrf"}
)

// interactionData is the record of an interaction.
type interactionData struct {
	Step     step        `json:"step"`
	Request  authRequest `json:"request"`
	Browser  string      `json:"browser"`           // digest of the browser-binding cookie
	Session  string      `json:"session,omitempty"` // consent: who was signed in
	PAR      string      `json:"par,omitempty"`     // key of the pushed request
	SignedIn bool        `json:"signed_in,omitempty"`
	Chosen   bool        `json:"chosen,omitempty"`
	Device   *deviceRef  `json:"device,omitempty"`
	Deadline time.Time   `json:"deadline"`
}

// ask stores the flow as an interaction and sends the browser to its page.
// Coming from another page, it spends that one in the same Commit.
func (p *Provider) ask(w http.ResponseWriter, r *http.Request, f *flow, s *session, st step) error {
	browser, err := p.bindBrowser(w, r)
	if err != nil {
		return err
	}
	id, err := handle.New(handle.Interaction, f.shard, p.rand)
	if err != nil {
		return err
	}
	d := interactionData{Step: st, Request: *f.req, Browser: browser, SignedIn: f.signedIn, Chosen: f.chosen, Device: f.device, Deadline: f.deadline}
	if s != nil {
		d.Session = s.key
	}
	if f.par != nil {
		d.PAR = f.par.Key
	}
	data, err := encodeJSON(d)
	if err != nil {
		return err
	}
	if len(data) > storage.MaxData {
		return refuse("request.too_large", nil)
	}
	ops := []storage.Op{storage.Insert(storage.Record{
		Ref:    storage.Ref{Kind: storage.KindInteraction, Shard: f.shard, Key: handle.Key(id)},
		Client: f.client.ID, ExpiresAt: f.deadline.Add(time.Minute), Data: data,
	})}
	if f.at != nil {
		ops = append(ops, storage.Consume(*f.at))
	}
	if f.par != nil {
		ops = append(ops, storage.Check(*f.par))
	}
	if f.device != nil {
		ops = append(ops, storage.Check(derived(storage.KindUserCode, f.device.UserCode)))
	}
	if strangers(s) {
		if wait := p.limit(r, "authorize", ""); wait > 0 {
			return tooMany(wait)
		}
	}
	if err := p.commit(r.Context(), ops...); err != nil {
		return spent(err)
	}
	seeOther(w, p.page(st, id))
	return nil
}

// strangers tells whether a page is for somebody who has not signed in: anybody
// can have such pages made, so they are counted until they end. That a device
// waits for the answer changes nothing: one user code can be entered many times.
func strangers(s *session) bool { return s == nil }

// Interaction returns the interaction of a page's request. Unless that is a GET
// it also checks that the form was drawn for this browser: its csrf field (or
// the X-CSRF-Token header), and that no other site sent it. Show errors with
// Fail.
func (p *Provider) Interaction(r *http.Request) (*Interaction, error) {
	bounded, cancel := p.finishing(r) // a copy: the page wants the form that checkForm reads in r
	defer cancel()
	i, err := p.loadInteraction(bounded.Context(), r)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet { // HEAD as well: a page that takes it for a POST must not be fooled
		if err := p.checkForm(r, "interaction", i.ID, p.browser(r)); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (p *Provider) loadInteraction(ctx context.Context, r *http.Request) (*Interaction, error) {
	q, err := form.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, formError(err)
	}
	id := q.Get("interaction")
	if id == "" || len(q.All("interaction")) > 1 {
		return nil, refuse("interaction.missing", nil)
	}
	shard, ok := handle.Parse(handle.Interaction, id)
	if !ok {
		return nil, refuse("interaction.unknown", nil)
	}
	ref := storage.Ref{Kind: storage.KindInteraction, Shard: shard, Key: handle.Key(id)}
	rec, err := p.get(ctx, ref)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse("interaction.expired", nil)
	}
	if err != nil {
		return nil, err
	}
	var d interactionData
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return nil, err
	}
	browser := p.browser(r)
	if !hmac.Equal([]byte(browser), []byte(d.Browser)) || browser == "" {
		return nil, refuse("interaction.browser", nil)
	}
	c, err := p.client(ctx, d.Request.ClientID)
	if err != nil {
		return nil, err
	}
	f := &flow{client: c, req: &d.Request, shard: shard, deadline: d.Deadline, at: &ref, signedIn: d.SignedIn, chosen: d.Chosen, device: d.Device}
	if d.PAR != "" {
		f.par = &storage.Ref{Kind: storage.KindPAR, Shard: shard, Key: d.PAR}
	}
	i := &Interaction{
		ID: id, Step: string(d.Step), Client: c, LoginHint: d.Request.LoginHint, ACRValues: d.Request.ACRValues,
		EssentialACR: d.Request.EssentialACR, Subject: d.Request.HintSubject,
		Locales: wantedLocales(d.Request.UILocales, r), Prompt: d.Request.Prompt, Display: d.Request.Display, p: p, f: f,
		csrf: p.csrfToken("interaction", id, browser),
	}
	switch {
	case rec.State != storage.Active:
		return nil, wayBack(refuse("interaction.done", nil), i)
	case !p.now().Before(d.Deadline):
		return nil, wayBack(refuse("interaction.expired", nil), i)
	case d.Device == nil && !c.MatchRedirectURI(d.Request.RedirectURI):
		return nil, refuse("authorize.redirect_uri", nil)
	}
	if d.Device != nil {
		if i.Device, err = p.showDevice(ctx, d.Device, i.Locales); err != nil {
			return nil, wayBack(err, i)
		}
	}
	if d.Request.MaxAge != nil {
		age := time.Duration(*d.Request.MaxAge) * time.Second
		i.MaxAge = &age
	}
	if i.had, err = p.accounts(ctx, r); err != nil {
		return nil, err
	}
	i.s, i.stranger = i.had.current, d.Session == ""
	asked := i.had.find(func(s *session) bool { return s.alive && s.key == d.Session })
	switch { // whoever was asked answers, current or not
	case asked != nil:
		i.s = asked
	case d.Step == stepConsent:
		return nil, wayBack(refuse("interaction.session", nil), i)
	}
	if asked != nil && d.Step == stepLogin && !f.req.prompt("login") && !p.tooOld(f.req, asked) &&
		(f.req.HintSubject == "" || f.req.HintSubject == asked.login.Subject) && p.checkUser(ctx, c, asked.login.Subject) == nil {
		l := asked.login
		i.Current = &l
	}
	if err := p.describe(ctx, i); err != nil {
		return nil, err
	}
	return i, nil
}

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

// Login ends a login or registration page: l has just authenticated at this
// browser. It writes the response. Where Users is a SessionSource the application has started its
// own session before.
func (i *Interaction) Login(w http.ResponseWriter, r *http.Request, l Login) {
	if i.once() {
		w, r, cancel := i.ending(w, r)
		defer cancel()
		i.end(w, r, i.login(w, r, l))
	}
}

func (i *Interaction) login(w http.ResponseWriter, r *http.Request, l Login) error {
	if i.Step != string(stepLogin) && i.Step != string(stepRegister) {
		return refuse("server.fault", errors.New("Login on a page where nobody signs in"))
	}
	if err := checkLogin(l); err != nil {
		return err
	}
	ctx, p := r.Context(), i.p
	if err := p.commit(ctx, storage.Check(*i.f.at)); err != nil {
		return spent(err) // before a session is made for nothing
	}
	if l.At.IsZero() {
		l.At = p.now()
	}
	s := &session{key: hostSessionKey(l.SessionID), login: l}
	s.salt = s.key
	if _, host := p.cfg.Users.(SessionSource); !host {
		if err := p.finishEnded(ctx, r, i.had); err != nil {
			return err
		}
		var err error
		if s, err = p.startSession(ctx, w, r, i.had, l); err != nil {
			return err
		}
	} else if l.SessionID == "" {
		return refuse("server.fault", errors.New("Login.SessionID is required with a SessionSource"))
	}
	p.emit(ctx, r, Event{Name: "login.succeeded", ClientID: i.Client.ID, Subject: l.Subject, Session: s.key})
	if i.stranger {
		p.uncount(r, "authorize", "")
	}
	if i.tried != nil {
		p.uncount(r, "login", *i.tried)
	}
	i.f.signedIn = true
	return p.proceed(w, r, i.f, s)
}

// Try counts an attempt to sign in as username, for a sign-in page of the
// application's own. It returns how long to wait before the attempt may be
// made, 0: now. Login on the same Interaction gives it back.
func (i *Interaction) Try(r *http.Request, username string) time.Duration {
	if wait := i.p.limit(r, "login", username); wait > 0 {
		return time.Duration(wait) * time.Second
	}
	i.tried = &username
	return 0
}

// Failed reports that the attempt was wrong.
func (i *Interaction) Failed(r *http.Request) {
	i.p.emit(r.Context(), r, Event{Name: "login.failed", ClientID: i.Client.ID})
}

// ApproveAll ends a consent page: the user allows everything that was asked.
// It writes the response.
func (i *Interaction) ApproveAll(w http.ResponseWriter, r *http.Request, remember bool) {
	if i.once() {
		w, r, cancel := i.ending(w, r)
		defer cancel()
		i.end(w, r, i.approve(w, r, decision{scope: i.f.req.Scope, claims: requestedClaims(i.f.req), details: i.f.req.Details, decided: true}, remember))
	}
}

// Approve ends a consent page: the user allows exactly what a lists. It writes
// the response.
func (i *Interaction) Approve(w http.ResponseWriter, r *http.Request, a Approval) {
	if !i.once() {
		return
	}
	w, r, cancel := i.ending(w, r)
	defer cancel()
	d, err := i.narrow(r.Context(), a)
	if err == nil {
		err = i.approve(w, r, d, a.Remember)
	}
	i.end(w, r, err)
}

// narrow checks an approval against what was asked.
func (i *Interaction) narrow(ctx context.Context, a Approval) (decision, error) {
	q := i.f.req
	if !within(a.Scopes, q.Scope) || !within(a.Claims, requestedClaims(q)) {
		return decision{}, refuse("consent.wider", errors.New("a scope or claim was not asked for"))
	}
	d := decision{claims: a.Claims, details: a.Details, decided: true}
	for _, s := range q.Scope { // in the order asked, each once
		if s == "openid" || slices.Contains(a.Scopes, s) {
			d.scope = append(d.scope, s)
		}
	}
	if len(d.scope)+len(d.details) == 0 {
		return decision{}, refuse("consent.empty", nil)
	}
	return d, i.p.narrowDetails(ctx, q.Details, a.Details)
}

func (i *Interaction) approve(w http.ResponseWriter, r *http.Request, d decision, remember bool) error {
	if i.Step != string(stepConsent) || i.s == nil {
		return refuse("server.fault", errors.New("Approve on a page that is not the consent page"))
	}
	// The session may have gone on under a weaker sign-in since the page was drawn.
	if e := i.f.req.EssentialACR; len(e) > 0 && !slices.Contains(e, i.s.login.ACR) {
		return refuse("authorize.acr", nil)
	}
	d.remember = remember && i.f.device == nil && i.f.assured()
	return i.p.answer(w, r, i.f, i.s, d)
}

// Deny ends a page of either kind: the user refuses. why may be nil, which
// means ErrAccessDenied. It writes the response.
func (i *Interaction) Deny(w http.ResponseWriter, r *http.Request, why *Error) {
	if !i.once() {
		return
	}
	w, r, cancel := i.ending(w, r)
	defer cancel()
	e := refuse("consent.denied", nil)
	if i.Step != string(stepConsent) {
		e = refuse("login.cancelled", nil)
	}
	if why != nil && why.Code != e.Code {
		e = why
	}
	i.p.emit(r.Context(), r, Event{Name: "consent.denied", ClientID: i.Client.ID, Subject: i.Account.Subject, Session: i.sessionKey(), Reason: e.Reason})
	i.end(w, r, e)
}

func (i *Interaction) sessionKey() string {
	if i.s == nil {
		return ""
	}
	return i.s.key
}

// ending prepares the answer of a page's last request.
func (i *Interaction) ending(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	bounded, cancel := i.p.finishing(r)
	return forScript(w, r), bounded, cancel
}

// once tells whether the page may still end the interaction. A second answer in
// one request is a fault of the page; the response belongs to the first.
func (i *Interaction) once() bool {
	if i.ended {
		i.p.cfg.Log.Error("the page ended the interaction twice; the second answer was dropped", "client", i.Client.ID, "step", i.Step)
		return false
	}
	i.ended = true
	return true
}

// end sends the error of a page: to the client if it is an answer, to the
// browser otherwise.
func (i *Interaction) end(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	if err = i.p.failFlow(w, r, i.f, err); err != nil {
		i.p.Fail(w, r, wayBack(err, i))
	}
}

// Fail shows the error page for an error of Interaction.
func (p *Provider) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e := toError(err)
	p.logRefusal(r, "interaction", e)
	p.failPage(w, r, e)
}
