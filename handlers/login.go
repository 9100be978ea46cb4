package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/idpkit/idpkit/internal/ui"
)

// LoginPage is the built-in sign-in page. It needs Users to be a
// PasswordVerifier.
func (p *Provider) LoginPage() http.Handler {
	return p.handler(endpoint{name: "login", methods: "GET, POST", serve: p.loginPage, fail: p.failPage})
}

func (p *Provider) loginPage(w http.ResponseWriter, r *http.Request) error {
	i, err := p.Interaction(r)
	if err != nil {
		return err
	}
	if i.Step != string(stepLogin) {
		return wayBack(refuse("interaction.unknown", nil), i)
	}
	if r.Method == http.MethodGet {
		p.drawLogin(w, i, i.LoginHint, "")
		return nil
	}
	switch r.PostForm.Get("do") {
	case "login":
		return p.tryPassword(w, r, i)
	case "deny":
		i.Deny(w, r, nil)
		return nil
	case "register":
		if p.cfg.RegisterURL != "" {
			i.Register(w, r)
			return nil
		}
	}
	return wayBack(refuse("interaction.response", nil), i)
}

func (p *Provider) tryPassword(w http.ResponseWriter, r *http.Request, i *Interaction) error {
	v, ok := p.cfg.Users.(PasswordVerifier)
	if !ok {
		return refuse("server.fault", errors.New("Users is no PasswordVerifier"))
	}
	name, password := r.PostForm.Get("username"), r.PostForm.Get("password")
	if wait := i.Try(r, name); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		p.drawLogin(w, i, name, "throttled")
		return nil
	}
	l, err := v.VerifyPassword(r.Context(), name, password)
	switch {
	case errors.Is(err, ErrWrongPassword), errors.Is(err, ErrNoUser):
		i.Failed(r)
		p.drawLogin(w, i, name, "wrong")
		return nil
	case errors.Is(err, ErrUserDisabled):
		if i.once() {
			i.end(w, r, refuse("login.user_disabled", err))
		}
		return nil
	case err != nil:
		return wayBack(refuse("users.outage", err), i)
	}
	if l.AMR == nil {
		l.AMR = []string{"pwd"}
	}
	i.Login(w, r, l)
	return nil
}

func (p *Provider) drawLogin(w http.ResponseWriter, i *Interaction, username, problem string) {
	f := p.frame(i.Locales, i.f.req.RedirectURI)
	switch problem {
	case "throttled":
		f.Status = http.StatusTooManyRequests
	case "wrong":
		f.Status = http.StatusOK // a form to be filled in again, as browsers' password managers expect
	}
	f.Login(w, ui.Login{
		Client: viewClient(i.Client, i.Locales), Action: i.action(), CSRF: i.csrf, Username: username, Problem: problem,
		CanRegister: p.cfg.RegisterURL != "",
	})
}

// action is where a page's form goes: to the page itself.
func (i *Interaction) action() string {
	return i.p.page(step(i.Step), i.ID)
}

// page is the URL of a step's page for an interaction.
func (p *Provider) page(st step, id string) string {
	page := p.loginURL
	switch st {
	case stepConsent:
		page = p.path(p.cfg.Paths.Consent)
	case stepAccount:
		page = p.path(p.cfg.Paths.Account)
	case stepRegister:
		page = p.cfg.RegisterURL
	}
	sep := "?"
	if strings.Contains(page, "?") {
		sep = "&"
	}
	return page + sep + "interaction=" + url.QueryEscape(id)
}
