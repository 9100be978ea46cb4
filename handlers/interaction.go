package handlers

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

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
