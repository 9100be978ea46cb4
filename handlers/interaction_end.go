package handlers

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/storage"
)

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

// Choose ends an account page: the user goes on as one of Accounts, which is
// the current account from now on. It writes the response.
func (i *Interaction) Choose(w http.ResponseWriter, r *http.Request, subject string) {
	if !i.once() {
		return
	}
	w, r, cancel := i.ending(w, r)
	defer cancel()
	i.end(w, r, i.choose(w, r, subject))
}

func (i *Interaction) choose(w http.ResponseWriter, r *http.Request, subject string) error {
	if i.Step != string(stepAccount) {
		return refuse("server.fault", errors.New("Choose on a page that is not the account page"))
	}
	s := i.had.of(subject)
	if s == nil { // signed out in another tab meanwhile
		return i.p.ask(w, r, i.f, nil, stepLogin)
	}
	if s != i.had.current {
		others := i.had.alive()
		for n, o := range others {
			if o == s {
				others = append(others[:n:n], others[n+1:]...)
				break
			}
		}
		i.p.setSessions(w, s, others)
	}
	i.f.chosen = true
	return i.p.proceed(w, r, i.f, s)
}

// SwitchAccount ends a page of any kind: somebody else wants to go on. The user
// chooses among the other accounts of the browser or, if there are none, signs
// in. It writes the response.
func (i *Interaction) SwitchAccount(w http.ResponseWriter, r *http.Request) {
	if !i.once() {
		return
	}
	w, r, cancel := i.ending(w, r)
	defer cancel()
	i.f.signedIn, i.f.chosen = false, false
	to := stepLogin
	if i.Step != string(stepAccount) && len(i.had.alive()) > 1 {
		to = stepAccount
	}
	i.end(w, r, i.p.ask(w, r, i.f, nil, to))
}

// Register ends a login or account page: the user has no account yet and goes
// to RegisterURL. It writes the response.
func (i *Interaction) Register(w http.ResponseWriter, r *http.Request) {
	if !i.once() {
		return
	}
	w, r, cancel := i.ending(w, r)
	defer cancel()
	if i.p.cfg.RegisterURL == "" {
		i.end(w, r, refuse("server.fault", errors.New("Register without RegisterURL")))
		return
	}
	i.end(w, r, i.p.ask(w, r, i.f, nil, stepRegister))
}
