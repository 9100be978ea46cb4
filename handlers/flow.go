package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// flow is one authorization request on its way to an answer.
type flow struct {
	client   *clientreg.Client
	req      *authRequest
	shard    uint16       // of every record of the flow
	par      *storage.Ref // the pushed request; nil: none
	byPAR    bool         // pushed by the client, not posted by the browser
	deadline time.Time    // of the whole sign-in
	device   *deviceRef   // who waits for the answer; nil: the redirect URI

	at       *storage.Ref // the interaction being answered; nil: at the authorization endpoint
	signedIn bool         // the user has authenticated within this flow
	chosen   bool         // the user has chosen an account within this flow
}

// decision is what will be granted.
type decision struct {
	scope      []string
	claims     []string // by name
	details    []json.RawMessage
	decided    bool // by the user on a page, just now
	remembered bool // rests on an earlier consent, to be read again after issuing
	remember   bool // to be remembered once the page is spent
}

// step is what has to happen before a flow can be answered.
type step string

const (
	stepLogin    step = "login"
	stepAccount  step = "select_account"
	stepRegister step = "create"
	stepConsent  step = "consent"
	stepAnswer   step = ""
)

// next decides what a flow needs. It is the one place where prompt, max_age,
// id_token_hint and remembered consent are weighed. OpenID Connect Core
// §3.1.2.3 and §3.1.2.4.
func (p *Provider) next(ctx context.Context, f *flow, s *session) (step, decision, error) {
	q, untouched := f.req, !f.signedIn && !f.chosen
	switch {
	case q.prompt("create") && untouched:
		return stepRegister, decision{}, nil
	case q.prompt("select_account") && untouched,
		s == nil && !q.prompt("login"):
		return stepAccount, decision{}, nil // or, where there is none, signing in
	case s == nil,
		q.prompt("login") && !f.signedIn,
		!f.signedIn && p.tooOld(q, s):
		return stepLogin, decision{}, nil
	case q.HintSubject != "" && q.HintSubject != s.login.Subject:
		if f.signedIn {
			return "", decision{}, refuse("authorize.other_user", nil)
		}
		return stepLogin, decision{}, nil
	}
	if len(q.EssentialACR) > 0 && !slices.Contains(q.EssentialACR, s.login.ACR) {
		if f.signedIn {
			return "", decision{}, refuse("authorize.acr", nil)
		}
		return stepLogin, decision{}, nil
	}
	if !f.signedIn && !q.prompt("none") && p.weaker(s.login.ACR, q.ACRValues) {
		return stepLogin, decision{}, nil // a wish, so the page may answer with less: RFC 9470 §5
	}
	if err := p.checkUser(ctx, f.client, s.login.Subject); err != nil {
		if toError(err).Reason != "grant.user" {
			return "", decision{}, err
		}
		if f.signedIn {
			return "", decision{}, refuse("login.user_disabled", err)
		}
		return stepLogin, decision{}, nil
	}
	all := decision{scope: q.Scope, claims: requestedClaims(q), details: q.Details}
	if q.prompt("consent") || f.device != nil { // RFC 8628 §5.4: nobody's device is connected unseen
		return stepConsent, all, nil
	}
	if f.client.FirstParty && !f.client.Dynamic {
		return stepAnswer, all, nil
	}
	c, _, err := p.remembered(ctx, s.login.Subject, f.client.ID)
	if err != nil {
		return "", decision{}, err
	}
	if !c.covers(q) || !f.assured() {
		return stepConsent, all, nil
	}
	all.remembered = true
	return stepAnswer, all, nil
}

// weaker tells whether a session falls short of every authentication class that
// is wanted and that the application's own sign-in page knows. Signing in again
// at the built-in page would come to the same.
func (p *Provider) weaker(acr string, wanted []string) bool {
	if p.cfg.LoginURL == "" || slices.Contains(wanted, acr) {
		return false
	}
	known := false
	for _, w := range wanted {
		level := slices.Index(p.cfg.ACRValues, w)
		if level >= 0 && level <= slices.Index(p.cfg.ACRValues, acr) {
			return false
		}
		known = known || level >= 0
	}
	return known
}

// assured tells whether somebody vouches that the client is who it says. Whoever
// registers itself, and any program that can claim the redirect URI of a public
// client, is only what the user believes it to be, and asks every time. RFC 8252
// §8.6, RFC 6749 §10.2.
func (f *flow) assured() bool {
	c := f.client
	return !c.Dynamic && (!c.Public() || strings.HasPrefix(f.req.RedirectURI, "https://") || c.AllowLocalhostRedirect)
}

// tooOld tells whether the last authentication is older than max_age allows;
// zero asks for one now.
func (p *Provider) tooOld(q *authRequest, s *session) bool {
	if q.MaxAge == nil {
		return false
	}
	return *q.MaxAge == 0 || p.now().Sub(s.login.At) > time.Duration(*q.MaxAge)*time.Second
}

// proceed takes a flow one step further: to a page or to its answer.
func (p *Provider) proceed(w http.ResponseWriter, r *http.Request, f *flow, s *session) error {
	st, d, err := p.next(r.Context(), f, s)
	if err != nil {
		return err
	}
	if st == stepAnswer {
		return p.answer(w, r, f, s, d)
	}
	if st == stepAccount {
		some, err := p.canChoose(r.Context(), r, f.client, s)
		if err != nil {
			return err
		}
		if !some {
			st = stepLogin
		}
	}
	if f.req.prompt("none") {
		switch st {
		case stepLogin:
			return refuse("authorize.login_required", nil)
		case stepAccount:
			return refuse("authorize.account_required", nil)
		}
		if f.req.HintSubject != "" && !f.req.Hinted {
			// A client that the user never allowed anything must not learn by
			// guessing subjects who is signed in here.
			return refuse("authorize.login_required", nil)
		}
		return refuse("authorize.consent_required", nil)
	}
	return p.ask(w, r, f, s, st)
}

// answer issues the authorization code: one Commit that spends the page, spends
// the pushed request and inserts grant and code, or does nothing. A device has
// its user code spent instead, and fetches its answer at the token endpoint.
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, f *flow, s *session, d decision) error {
	ctx := r.Context()
	if p.cfg.Policy != nil {
		if err := p.cfg.Policy(ctx, Decision{"authorize", f.client, s.login.Subject, d.scope, r}); err != nil {
			err = policyError(err)
			p.emit(ctx, r, Event{Name: "consent.denied", ClientID: f.client.ID, Subject: s.login.Subject, Session: s.key, Reason: toError(err).Reason})
			return err
		}
	}
	g, err := p.newGrant(f, s, d)
	if err != nil {
		return err
	}
	code, ops := "", append(f.spend(), storage.Insert(*g.rec))
	if f.device == nil {
		var op storage.Op
		if code, op, err = p.newCode(f, g); err != nil {
			return err
		}
		ops = append(ops, op)
	}
	if err := p.commit(ctx, ops...); err != nil {
		return spent(err)
	}
	if d.decided {
		p.emit(ctx, r, Event{Name: "consent.given", ClientID: f.client.ID, Subject: s.login.Subject, Session: s.key, Grant: g.rec.Key})
		err = p.remember(ctx, s.login.Subject, f, d)
	}
	if err == nil {
		err = p.recheck(ctx, g)
	}
	if err != nil {
		e := toError(err)
		if err := p.revokeGrant(ctx, r, g.rec.Ref, Event{Subject: g.rec.Subject, ClientID: g.rec.Client, Reason: e.Reason}); err != nil {
			return err
		}
		f.par, f.at = nil, nil // spent, and this is their answer
		if f.device != nil {
			f.device.UserCode = ""
			if e.Status() >= 500 { // the same for the device
				return p.denyDevice(w, r, f, e)
			}
		} else if e.Status() >= 500 { // a reload would find nothing to go on with
			return p.sendError(w, r, f.req.reply(), e)
		}
		return refuse("authorize.login_required", e)
	}
	if f.device != nil {
		return p.approveDevice(w, r, f, g)
	}
	p.emit(ctx, r, Event{Name: "code.issued", ClientID: f.client.ID, Subject: g.rec.Subject, Grant: g.rec.Key, Session: s.key})
	return p.send(w, r, f.req.reply(), [][2]string{{"code", code}})
}

// spend returns the ops that make sure a flow is answered once.
func (f *flow) spend() []storage.Op {
	var ops []storage.Op
	if f.at != nil {
		ops = append(ops, storage.Consume(*f.at))
	}
	if f.par != nil {
		ops = append(ops, storage.Consume(*f.par))
	}
	if f.device != nil && f.device.UserCode != "" {
		ops = append(ops, storage.Consume(derived(storage.KindUserCode, f.device.UserCode)))
	}
	return ops
}

// spent turns the conflict of a second answer into what the browser is told.
func spent(err error) error {
	var conflict *storage.ConflictError
	if errors.As(err, &conflict) && (errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrNotFound)) {
		switch conflict.Op.Record.Kind {
		case storage.KindPAR:
			return refuse("par.used", err)
		case storage.KindUserCode:
			return refuse("device.answered", err)
		}
		return refuse("interaction.done", err)
	}
	return err
}

func policyError(err error) error {
	var e *Error
	switch {
	case isOutage(err):
		return err
	case errors.As(err, &e) && e.Code != "":
		c := *e
		if c.Reason == "" {
			c.Reason, c.Description = "policy.refused", firstOf(c.Description, reasons["policy.refused"].description)
		}
		return &c
	}
	return refuse("policy.refused", err)
}

// tokenPolicyError is policyError in the words of RFC 6749 §5.2.
func tokenPolicyError(err error) error {
	err = policyError(err)
	if e := toError(err); e.Code == "access_denied" {
		return refuse("policy.token", err)
	}
	return err
}

// codeData is the record of an authorization code.
type codeData struct {
	RedirectURI string    `json:"redirect_uri"`
	Challenge   string    `json:"code_challenge,omitempty"`
	Nonce       string    `json:"nonce,omitempty"`
	Expires     time.Time `json:"expires"`
	Misses      int       `json:"misses,omitempty"` // wrong verifiers so far
}

// newCode mints an authorization code for a grant. The record outlives the
// tokens that the code is redeemed for, so that a replay is seen.
func (p *Provider) newCode(f *flow, g *grant) (string, storage.Op, error) {
	code, err := handle.New(handle.Code, f.shard, p.rand)
	if err != nil {
		return "", storage.Op{}, err
	}
	now := p.now()
	data, err := json.Marshal(codeData{f.req.RedirectURI, f.req.Challenge, f.req.Nonce, now.Add(p.cfg.TTL.Code), 0})
	return code, storage.Insert(storage.Record{
		Ref:    storage.Ref{Kind: storage.KindCode, Shard: f.shard, Key: handle.Key(code)},
		Client: f.client.ID, Subject: g.rec.Subject, Grant: g.rec.Key,
		ExpiresAt: now.Add(p.cfg.TTL.Code + max(p.cfg.TTL.Access, 10*time.Minute)),
		Data:      data,
	}), err
}

// within tells whether every element of sub is in all.
func within(sub, all []string) bool {
	for _, s := range sub {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}
