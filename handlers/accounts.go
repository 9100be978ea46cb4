package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
)

// accounts are the sessions that one browser has. Only the current one answers
// unasked; the others wait until the user chooses one, or until a client names
// one by an ID token. When the current session ends nobody is current: that one
// account leaves must never make another one answer in its place.
type accounts struct {
	all     []*session // in any state, in the cookie's order
	current *session   // alive; nil: nobody
}

// alive returns the sessions that can be chosen, the current one first.
func (a accounts) alive() []*session {
	var alive []*session
	for _, s := range a.all {
		if s.alive {
			alive = append(alive, s)
		}
	}
	return alive
}

// find returns the first session, in any state, that ok says yes to.
func (a accounts) find(ok func(*session) bool) *session {
	for _, s := range a.all {
		if ok(s) {
			return s
		}
	}
	return nil
}

// of returns the living session of a subject, or nil.
func (a accounts) of(subject string) *session {
	return a.find(func(s *session) bool { return s.alive && s.login.Subject == subject })
}

// accounts returns the sessions of a browser: the application's one or, of the
// kit's own, as many as Config.Accounts allows.
func (p *Provider) accounts(ctx context.Context, r *http.Request) (accounts, error) {
	return p.someAccounts(ctx, r, max(p.cfg.Accounts, 1))
}

// currentSession returns who is signed in at the browser, or nil.
func (p *Provider) currentSession(ctx context.Context, r *http.Request) (*session, error) {
	a, err := p.someAccounts(ctx, r, 1)
	return a.current, err
}

func (p *Provider) someAccounts(ctx context.Context, r *http.Request, limit int) (accounts, error) {
	var a accounts
	if src, ok := p.cfg.Users.(SessionSource); ok {
		s, err := p.hostSession(ctx, src, r)
		if err != nil || s == nil {
			return a, err
		}
		a.all = []*session{s}
		if s.alive {
			a.current = s
		}
		return a, nil
	}
	for n, cookie := range strings.SplitN(p.cookie(r, cookieSession), accountSep, maxAccounts+1) {
		if n >= limit {
			break
		}
		key, secret, ok := parseSessionCookie(cookie)
		if !ok || a.find(func(s *session) bool { return s.key == key }) != nil {
			continue
		}
		s, err := p.loadSession(ctx, key)
		if err != nil {
			return accounts{}, err
		}
		if s == nil {
			continue
		}
		sum := sha256.Sum256(secret)
		if subtle.ConstantTimeCompare(sum[:], s.data.Secret) != 1 {
			continue
		}
		s.cookie = cookie
		a.all = append(a.all, s)
		if n == 0 && s.alive {
			a.current = s
		}
	}
	return a, nil
}

const (
	maxAccounts = 8
	accountSep  = "~" // between the sessions of the cookie; an empty first one: nobody is current
)

// setSessions writes the cookie: the current session, nil for nobody, and the
// others that the browser keeps.
func (p *Provider) setSessions(w http.ResponseWriter, current *session, others []*session) {
	var b strings.Builder
	if current != nil {
		b.WriteString(current.cookie)
	}
	for _, s := range others {
		b.WriteString(accountSep + s.cookie)
	}
	p.setCookie(w, cookieSession, b.String())
}

// sessionFor returns the session that answers a request: the account that the
// client names by id_token_hint if it is signed in, else the current one.
// OpenID Connect Core §3.1.2.1.
func (p *Provider) sessionFor(ctx context.Context, r *http.Request, q *authRequest) (*session, error) {
	s, err := p.currentSession(ctx, r)
	if err != nil || p.cfg.Accounts < 2 || !q.Hinted || s != nil && s.login.Subject == q.HintSubject {
		return s, err
	}
	a, err := p.accounts(ctx, r)
	if err != nil {
		return nil, err
	}
	if named := a.of(q.HintSubject); named != nil {
		return named, nil
	}
	return s, nil
}

// canChoose tells whether there is an account that a client's page could offer.
// Where the application keeps the session, its own sign-in page offers what it
// has.
func (p *Provider) canChoose(ctx context.Context, r *http.Request, c *clientreg.Client, s *session) (bool, error) {
	if _, host := p.cfg.Users.(SessionSource); host || s == nil && p.cfg.Accounts < 2 {
		return false, nil
	}
	a, err := p.accounts(ctx, r)
	if err != nil {
		return false, err
	}
	for _, s := range a.alive() {
		err := p.checkUser(ctx, c, s.login.Subject)
		if err == nil {
			return true, nil
		}
		if toError(err).Reason != "grant.user" {
			return false, err
		}
	}
	return false, nil
}
