package handlers

import (
	"net/http"

	"github.com/idpkit/idpkit/internal/ui"
)

// AccountPage asks which of the accounts that are signed in at the browser is
// to be used, for prompt=select_account. It serves Pages.Account or the built-in
// page.
func (p *Provider) AccountPage() http.Handler {
	return p.handler(endpoint{name: "account", methods: "GET, POST", serve: p.accountPage, fail: p.failPage})
}

func (p *Provider) accountPage(w http.ResponseWriter, r *http.Request) error {
	i, err := p.Interaction(r)
	if err != nil {
		return err
	}
	if i.Step != string(stepAccount) {
		return wayBack(refuse("interaction.unknown", nil), i)
	}
	if p.cfg.Pages.Account != nil {
		p.cfg.Pages.Account(w, r, i)
		return nil
	}
	if r.Method == http.MethodGet {
		p.drawAccounts(w, i)
		return nil
	}
	switch r.PostForm.Get("do") {
	case "choose":
		i.Choose(w, r, r.PostForm.Get("account"))
		return nil
	case "switch":
		i.SwitchAccount(w, r)
		return nil
	case "register":
		if p.cfg.RegisterURL != "" {
			i.Register(w, r)
			return nil
		}
	case "deny":
		i.Deny(w, r, nil)
		return nil
	}
	return wayBack(refuse("interaction.response", nil), i)
}

func (p *Provider) drawAccounts(w http.ResponseWriter, i *Interaction) {
	v := ui.Choose{Client: viewClient(i.Client, i.Locales), Action: i.action(), CSRF: i.csrf, CanRegister: p.cfg.RegisterURL != ""}
	for _, a := range i.Accounts {
		v.Accounts = append(v.Accounts, ui.Choice{Value: a.Subject, Name: a.Name})
	}
	p.frame(i.Locales, i.f.req.RedirectURI).Choose(w, v)
}
