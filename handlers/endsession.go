package handlers

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/ui"
	"github.com/idpkit/idpkit/storage"
)

// EndSessionEndpoint is the logout endpoint, OpenID Connect RP-Initiated Logout
// §2. When the hint is an ID token of the very session at the browser, it signs
// out at once; otherwise it asks.
func (p *Provider) EndSessionEndpoint() http.Handler {
	return p.handler(endpoint{name: "end_session", methods: "GET, POST", serve: p.logout, fail: p.failPage})
}

// logoutRequest is what a logout request proves.
type logoutRequest struct {
	client   *clientreg.Client // nil: not known
	hint     string            // the ID token
	hinted   bool              // the client is known by an ID token, not only by name
	subject  string            // of the hint
	sid      string            // of the hint
	redirect string            // registered for the client
	state    string
	locales  []string
}

func (p *Provider) logout(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, answer, err := logoutParams(r)
	if err != nil {
		return err
	}
	q, err := p.readLogout(ctx, r, f)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost && answer == "" {
		// A POST from the client's site carries no Lax cookies; a GET does.
		query := f.Encode()
		if len(query) > form.MaxQuery {
			return refuse("request.too_large", nil)
		}
		seeOther(w, p.path(p.cfg.Paths.EndSession)+"?"+query)
		return nil
	}
	had, err := p.accounts(ctx, r)
	if err != nil {
		return err
	}
	if s := had.find(q.names); s != nil {
		return p.finishLogout(w, r, had, []*session{s}, q)
	}
	here := had.alive()
	if len(here) == 0 { // what an earlier try left half done is done again
		return p.finishLogout(w, r, had, had.all, q)
	}
	browser, err := p.bindBrowser(w, r)
	if err != nil {
		return err
	}
	page := here[0].key
	if answer == "" {
		return p.askLogout(w, r, here, q, p.csrfToken("logout", page, browser))
	}
	if err := p.checkForm(r, "logout", page, browser); err != nil {
		return err
	}
	if answer == "logout" { // whoever leaves a shared computer means every account
		return p.finishLogout(w, r, had, had.all, q)
	}
	return p.stay(w, r, q)
}

// names tells whether the hint is an ID token of this very session.
func (q *logoutRequest) names(s *session) bool {
	return q.client != nil && q.sid != "" && q.subject == s.login.Subject && q.sid == s.sid(q.client.ID)
}

// finishEnded repeats the end of sessions that were marked as ended. When what
// came after the mark failed they have left grants behind.
func (p *Provider) finishEnded(ctx context.Context, r *http.Request, had accounts) error {
	for _, s := range had.all {
		if s.ended {
			if err := p.endSession(ctx, r, s.key, s.login.Subject, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// logoutParams reads the client's request, in the query or in a body, and the
// answer to our own page, which is a body beside the request in the query.
func logoutParams(r *http.Request) (f form.Form, answer string, err error) {
	if r.Method == http.MethodGet {
		f, err = form.ParseQuery(r.URL.RawQuery)
	} else if f, err = form.ParseBody(r); err == nil {
		if answer = f.Get("do"); answer != "" {
			r.PostForm = url.Values{"csrf": f.All("csrf")}
			f, err = form.ParseQuery(r.URL.RawQuery)
		} else if r.URL.RawQuery != "" {
			return f, "", refuse("request.query", nil)
		}
	}
	if err != nil {
		return f, "", formError(err)
	}
	if f.Repeated() != "" {
		return f, "", refuse("request.repeated", nil)
	}
	return f, answer, nil
}

// readLogout checks the request before anything is shown or ended.
// RP-Initiated Logout §2 and §3.
func (p *Provider) readLogout(ctx context.Context, r *http.Request, f form.Form) (logoutRequest, error) {
	q := logoutRequest{locales: wantedLocales(nil, r)}
	if ls := f.Get("ui_locales"); ls != "" && validText(ls, maxValue) {
		q.locales = wantedLocales([]string{ls}, r)
	}
	id := f.Get("client_id")
	if hint := f.Get("id_token_hint"); hint != "" {
		t, err := p.readHint(ctx, hint)
		if err != nil {
			if toError(err).Code == "temporarily_unavailable" {
				return q, err
			}
			return q, refuse("logout.hint", err)
		}
		aud := t.Audience()
		if id != "" && !slices.Contains(aud, id) {
			return q, refuse("logout.client", nil)
		}
		if id == "" {
			id = aud[0]
		}
		q.hint, q.hinted, q.subject = hint, true, t.Subject()
		q.sid, _ = t.String("sid")
	}
	if id != "" {
		c, err := p.client(ctx, id)
		if err != nil {
			if toError(err).Code == "invalid_client" {
				return q, refuse("logout.client", err)
			}
			return q, err
		}
		q.client = c
	}
	uri := f.Get("post_logout_redirect_uri")
	if uri == "" {
		return q, nil
	}
	if q.client == nil || !q.client.MatchPostLogoutRedirectURI(uri) {
		return q, refuse("logout.redirect_uri", nil)
	}
	q.redirect = uri
	if s := f.Get("state"); validText(s, maxState) {
		q.state = s
	}
	return q, nil
}

// finishLogout ends sessions on the server, then at the browser, which keeps
// its other accounts.
func (p *Provider) finishLogout(w http.ResponseWriter, r *http.Request, had accounts, ending []*session, q logoutRequest) error {
	ctx := r.Context()
	for _, s := range ending {
		byClient := ""
		if q.hinted && q.client != nil && q.subject == s.login.Subject {
			byClient = q.client.ID
		}
		if err := p.endSession(ctx, r, s.key, s.login.Subject, byClient); err != nil {
			return err
		}
	}
	if err := p.revokeHinted(ctx, r, q); err != nil {
		return err
	}
	e, host := p.cfg.Users.(SessionEnder)
	for _, s := range ending {
		if host {
			if err := e.EndLogin(w, r, s.login.SessionID); err != nil {
				return refuse("users.outage", err)
			}
		}
	}
	if len(had.all) > 0 {
		current := had.current
		if slices.Contains(ending, current) {
			current = nil
		}
		p.setSessions(w, current, slices.DeleteFunc(had.alive(), func(s *session) bool { return s == current || slices.Contains(ending, s) }))
	}
	return p.loggedOut(w, r, q)
}

// revokeHinted ends what the hint's client still has of the hint's session,
// when that session is no longer at this browser: whoever signs out at the
// application means its tokens too.
func (p *Provider) revokeHinted(ctx context.Context, r *http.Request, q logoutRequest) error {
	if !q.hinted || q.client == nil || q.sid == "" {
		return nil
	}
	return p.eachGrant(ctx, storage.Query{Kind: storage.KindGrant, Subject: q.subject, Client: q.client.ID}, func(g *grant) error {
		if g.data.SID != q.sid {
			return nil
		}
		return p.endGrant(ctx, r, g, Event{Reason: "logout"})
	})
}

// stay goes back to the client, or says that nothing has changed.
func (p *Provider) stay(w http.ResponseWriter, r *http.Request, q logoutRequest) error {
	if q.redirect != "" {
		return p.loggedOut(w, r, q)
	}
	p.showLoggedOut(w, r, q, true)
	return nil
}

// loggedOut goes back to the client, or says that the session has ended.
func (p *Provider) loggedOut(w http.ResponseWriter, r *http.Request, q logoutRequest) error {
	if q.redirect != "" {
		to := reply{uri: q.redirect, mode: "query"}
		var params [][2]string
		if q.state != "" {
			params = [][2]string{{"state", q.state}}
		}
		seeOther(w, withParams(to, params))
		return nil
	}
	p.showLoggedOut(w, r, q, false)
	return nil
}

func (p *Provider) showLoggedOut(w http.ResponseWriter, r *http.Request, q logoutRequest, stayed bool) {
	if p.cfg.Pages.Logout != nil {
		state := "signed_out"
		if stayed {
			state = "stayed"
		}
		p.cfg.Pages.Logout(w, r, LogoutPage{State: state, Client: q.client, Locales: q.locales})
		return
	}
	v := ui.LoggedOut{Stayed: stayed}
	if q.client != nil {
		c := viewClient(q.client, q.locales)
		v.Client, v.ReturnURL = &c, q.client.ClientURI
	}
	p.frame(q.locales, "").LoggedOut(w, v)
}

func (p *Provider) askLogout(w http.ResponseWriter, r *http.Request, here []*session, q logoutRequest, csrf string) error {
	var names []string
	for _, s := range here {
		a, _, err := p.account(r.Context(), &Interaction{Locales: q.locales}, s)
		if err != nil {
			return err
		}
		names = append(names, a.Name)
	}
	v := ui.Logout{Action: p.path(p.cfg.Paths.EndSession), CSRF: csrf, Account: strings.Join(names, ", ")}
	if q.client != nil {
		c := viewClient(q.client, q.locales)
		v.Client = &c
		again := url.Values{"client_id": {q.client.ID}}
		if q.hint != "" {
			again.Set("id_token_hint", q.hint)
		}
		if q.redirect != "" {
			again.Set("post_logout_redirect_uri", q.redirect)
		}
		if q.state != "" {
			again.Set("state", q.state)
		}
		v.Action += "?" + again.Encode()
	}
	if p.cfg.Pages.Logout != nil {
		p.cfg.Pages.Logout(w, r, LogoutPage{"ask", q.client, v.Account, v.Action, v.CSRF, q.locales})
		return nil
	}
	p.frame(q.locales, q.redirect).Logout(w, v)
	return nil
}
