package handlers

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/idpkit/idpkit/internal/ui"
)

// ConsentPage serves Config.Consent, or the built-in consent page.
func (p *Provider) ConsentPage() http.Handler {
	return p.handler(endpoint{name: "consent", methods: "GET, POST", serve: p.consentPage, fail: p.failPage})
}

func (p *Provider) consentPage(w http.ResponseWriter, r *http.Request) error {
	i, err := p.Interaction(r)
	if err != nil {
		return err
	}
	if i.Step != string(stepConsent) {
		return wayBack(refuse("interaction.unknown", nil), i)
	}
	if p.cfg.Consent != nil {
		p.cfg.Consent.ServeConsent(w, r, i)
		return nil
	}
	if r.Method == http.MethodGet {
		p.drawConsent(w, i)
		return nil
	}
	switch r.PostForm.Get("do") {
	case "allow":
		a := Approval{Scopes: r.PostForm["scope"], Claims: i.claimsOf(r.PostForm["scope"]), Remember: r.PostForm.Get("remember") == "1"}
		for _, v := range r.PostForm["detail"] {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 || n >= len(i.Asked.Details) {
				return wayBack(refuse("interaction.response", nil), i)
			}
			a.Details = append(a.Details, json.RawMessage(i.Asked.Details[n].Raw))
		}
		i.Approve(w, r, a)
		return nil
	case "deny":
		i.Deny(w, r, nil)
		return nil
	case "switch":
		i.SwitchAccount(w, r)
		return nil
	}
	return wayBack(refuse("interaction.response", nil), i)
}

// claimsOf returns the claims asked for by name that go with the scopes allowed:
// a claim that a refused scope would have released is refused with it.
func (i *Interaction) claimsOf(allowed []string) []string {
	var claims []string
	for _, name := range i.Asked.Claims {
		refused := slices.ContainsFunc(i.f.req.Scope, func(s string) bool {
			sc := i.p.scope(s)
			return sc != nil && !slices.Contains(allowed, s) && slices.Contains(sc.Claims, name)
		})
		if !refused {
			claims = append(claims, name)
		}
	}
	return claims
}

func (p *Provider) drawConsent(w http.ResponseWriter, i *Interaction) {
	v := ui.Consent{
		Client: viewClient(i.Client, i.Locales), Action: i.action(), CSRF: i.csrf, Account: i.Account.Name,
		CanSwitch: p.cfg.LoginURL == "", Claims: i.Asked.Claims, CanRemember: i.CanRemember(), Remember: true,
		Lifetime: i.Asked.Lifetime,
	}
	if u, err := url.Parse(i.f.req.RedirectURI); err == nil {
		v.RedirectHost = u.Host
	}
	if i.Device != nil {
		v.Device = &ui.Device{UserCode: i.Device.UserCode, Location: i.Device.Place}
	}
	for _, s := range i.Asked.Scopes {
		if s.Title == s.Name {
			s.Title = "" // the page has texts for the standard scopes
		}
		v.Scopes = append(v.Scopes, ui.Scope{Name: s.Name, Description: firstOf(s.Title, s.Description), Required: s.Required, Known: s.Known})
	}
	for _, a := range i.Asked.APIs {
		v.APIs = append(v.APIs, firstOf(a.Name, a.Identifier))
	}
	for n, d := range i.Asked.Details {
		view := ui.Detail{Value: strconv.Itoa(n), Type: d.Type}
		if len(d.Lines) > 0 {
			view.Type, view.Lines = d.Lines[0], d.Lines[1:]
		}
		v.Details = append(v.Details, view)
	}
	p.frame(i.Locales, i.f.req.RedirectURI).Consent(w, v)
}
