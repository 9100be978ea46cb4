package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/internal/ui"
	"github.com/idpkit/idpkit/middleware"
)

const (
	accountPath     = "/account"
	accountCallback = "/account/callback"
)

// account is the page where users see which applications have access, and take
// it away. It signs users in like any other application, as a client of the
// provider, and then asks the provider whose session this is.
type account struct {
	p       *handlers.Provider
	users   handlers.Users
	clients clientreg.Registry
	issuer  string
	name    string
	base    string // path of the issuer
	cookies string // prefix of cookie names
	secure  bool
	secret  string // of the client
	csrfKey []byte
	titles  map[string]string // of the configured scopes
	origins *http.CrossOriginProtection
}

func newAccount(cfg *config, p *handlers.Provider, pc handlers.Config, secret string) *account {
	a := &account{
		p: p, users: pc.Users, clients: pc.Clients, issuer: cfg.Issuer, name: cfg.Name,
		cookies: "account-", secure: strings.HasPrefix(cfg.Issuer, "https:"),
		secret: secret, csrfKey: derive(pc.Secrets[0], "csrf of the account page"),
		titles: map[string]string{}, origins: http.NewCrossOriginProtection(),
	}
	for _, sc := range cfg.Scopes {
		a.titles[sc.Name] = sc.Title
	}
	if a.secure {
		a.cookies = "__Host-account-"
	}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		a.base = u.EscapedPath()
		// The proxy in front may have another idea of the host.
		_ = a.origins.AddTrustedOrigin(u.Scheme + "://" + u.Host)
	}
	return a
}

func (a *account) page() http.Handler {
	return middleware.Chain(http.HandlerFunc(a.servePage), middleware.SecurityHeaders, middleware.NoStore, middleware.MaxBody(16<<10))
}

func (a *account) servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		a.problem(w, r, "method")
		return
	}
	who, name, err := a.signedIn(r)
	switch {
	case err != nil:
		a.problem(w, r, "unavailable")
	case who == nil && r.Method == http.MethodPost:
		a.problem(w, r, "expired")
	case who == nil:
		a.signIn(w, r)
	case r.Method == http.MethodPost:
		a.disconnect(w, r, who)
	default:
		a.list(w, r, who, name)
	}
}

// signedIn returns who is signed in at the browser, nil if nobody is or the
// user is gone or disabled, and the name to show.
func (a *account) signedIn(r *http.Request) (*handlers.Login, string, error) {
	l, err := a.p.CurrentLogin(r)
	if err != nil || l == nil {
		return nil, "", err
	}
	claims, err := a.users.Claims(r.Context(), l.Subject, handlers.ClaimsQuery{Claims: []string{"name", "preferred_username"}, For: handlers.ForPage})
	switch {
	case errors.Is(err, handlers.ErrNoUser), errors.Is(err, handlers.ErrUserDisabled):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	}
	for _, n := range []string{"name", "preferred_username"} {
		if s, ok := claims[n].(string); ok && s != "" {
			return l, s, nil
		}
	}
	return l, l.Subject, nil
}

// list draws the page: one entry a client, whatever the number of times that
// the user signed in to it.
func (a *account) list(w http.ResponseWriter, r *http.Request, who *handlers.Login, name string) {
	v := ui.Account{Account: name, Action: a.base + accountPath, CSRF: a.csrf(a.browser(w, r), who.Subject)}
	if id := a.cookie(r, "done"); id != "" {
		a.setCookie(w, "done", "", -1)
		v.Revoked = a.introduce(r.Context(), id).Name
	}
	after := ""
	for {
		grants, next, err := a.p.Grants().List(r.Context(), handlers.Filter{Subject: who.Subject}, after, 0)
		if err != nil {
			a.problem(w, r, "unavailable")
			return
		}
		for _, g := range grants {
			if g.ClientID != accountClient {
				v.Grants = a.merge(r.Context(), v.Grants, g)
			}
		}
		if after = next; after == "" {
			break
		}
	}
	slices.SortFunc(v.Grants, func(x, y ui.Grant) int { return strings.Compare(x.Client.Name, y.Client.Name) })
	a.frame(r).Account(w, v)
}

func (a *account) merge(ctx context.Context, list []ui.Grant, g handlers.Grant) []ui.Grant {
	i := slices.IndexFunc(list, func(o ui.Grant) bool { return o.ID == g.ClientID })
	if i < 0 {
		i = len(list)
		list = append(list, ui.Grant{ID: g.ClientID, Client: a.introduce(ctx, g.ClientID), Since: g.CreatedAt})
	}
	e := &list[i]
	if g.CreatedAt.Before(e.Since) {
		e.Since = g.CreatedAt
	}
	if g.UsedAt.After(e.LastUsed) {
		e.LastUsed = g.UsedAt
	}
	for _, s := range g.Scope {
		if !slices.ContainsFunc(e.Scopes, func(o ui.Scope) bool { return o.Name == s }) {
			e.Scopes = append(e.Scopes, ui.Scope{Name: s, Description: a.titles[s]})
		}
	}
	return list
}

// introduce returns what is known of a client; one that is gone keeps its id.
func (a *account) introduce(ctx context.Context, id string) ui.Client {
	c, err := a.clients.Client(ctx, id)
	if err != nil {
		return ui.Client{ID: id, Name: id, Verified: true}
	}
	v := ui.Client{ID: c.ID, Name: c.Name, URI: c.ClientURI, Verified: !c.Dynamic}
	if v.Name == "" {
		v.Name = c.ID
	}
	return v
}

// disconnect takes away what the user allowed one client.
func (a *account) disconnect(w http.ResponseWriter, r *http.Request, who *handlers.Login) {
	if r.URL.RawQuery != "" || r.ParseForm() != nil {
		a.problem(w, r, "request")
		return
	}
	want := a.csrf(a.cookie(r, "browser"), who.Subject)
	if a.origins.Check(r) != nil || a.cookie(r, "browser") == "" || !hmac.Equal([]byte(r.PostForm.Get("csrf")), []byte(want)) {
		a.problem(w, r, "csrf")
		return
	}
	id := r.PostForm.Get("grant")
	if r.PostForm.Get("do") != "revoke" || id == "" {
		a.problem(w, r, "request")
		return
	}
	if err := a.p.Grants().Withdraw(r.Context(), who.Subject, id); err != nil {
		a.problem(w, r, "unavailable")
		return
	}
	// A cookie, not a query: nobody else can make the page say so.
	a.setCookie(w, "done", id, 60)
	seeOther(w, r, a.base+accountPath)
}

// signInCookie is how long a sign-in may take, in seconds.
const signInCookie = 1800

// signIn sends the browser to the authorization endpoint with a pushed request,
// as any confidential client would.
func (a *account) signIn(w http.ResponseWriter, r *http.Request) {
	state, verifier := random(), random()
	sum := sha256.Sum256([]byte(verifier))
	push := url.Values{
		"response_type": {"code"}, "redirect_uri": {a.issuer + accountCallback}, "scope": {"openid"}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	if err := a.post(r.Context(), a.p.PAR(), push, http.StatusCreated, &pushed); err != nil {
		a.problem(w, r, "unavailable")
		return
	}
	a.setCookie(w, "signin", state+"."+verifier, signInCookie)
	q := url.Values{"client_id": {accountClient}, "request_uri": {pushed.RequestURI}}
	seeOther(w, r, a.authorize()+"?"+q.Encode())
}

// authorize is the path of the authorization endpoint.
func (a *account) authorize() string {
	for _, r := range a.p.Routes() {
		if r.Name == "authorize" {
			return r.Pattern
		}
	}
	return a.base + "/authorize"
}

func (a *account) callback() http.Handler {
	return middleware.Chain(http.HandlerFunc(a.serveCallback), middleware.SecurityHeaders, middleware.NoStore)
}

func (a *account) serveCallback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		a.problem(w, r, "method")
		return
	}
	q := r.URL.Query()
	state, verifier, _ := strings.Cut(a.cookie(r, "signin"), ".")
	switch {
	case state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(q.Get("state"))) != 1:
		a.problem(w, r, "other_browser")
		return
	case q.Get("iss") != a.issuer:
		a.problem(w, r, "request")
		return
	}
	a.setCookie(w, "signin", "", -1)
	if q.Get("error") == "access_denied" {
		seeOther(w, r, a.base+"/")
		return
	}
	redeem := url.Values{
		"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {a.issuer + accountCallback}, "code_verifier": {verifier},
	}
	if err := a.post(r.Context(), a.p.Token(), redeem, http.StatusOK, nil); err != nil {
		a.problem(w, r, "expired")
		return
	}
	who, _, err := a.signedIn(r)
	switch {
	case err != nil:
		a.problem(w, r, "unavailable")
		return
	case who == nil: // sending it round again would never end
		a.problem(w, r, "cookies")
		return
	}
	// The page needs to know who it is, and no tokens.
	if _, err := a.p.Grants().RevokeAll(r.Context(), handlers.Filter{Subject: who.Subject, ClientID: accountClient}); err != nil {
		a.problem(w, r, "unavailable")
		return
	}
	seeOther(w, r, a.base+accountPath)
}

// post sends a form to an endpoint of the provider as the page's client.
func (a *account) post(ctx context.Context, endpoint http.Handler, form url.Values, want int, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.issuer, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.URL.RawQuery = ""
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(accountClient, a.secret)
	res := call(endpoint, r)
	if res.status != want {
		return fmt.Errorf("status %d", res.status)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal([]byte(res.body.String()), into)
}

func (a *account) frame(r *http.Request) ui.Frame {
	return ui.Frame{Name: a.name, Locales: ui.Locales(r.URL.Query().Get("ui_locales"), r.Header.Get("Accept-Language")), HSTS: a.secure}
}

func (a *account) problem(w http.ResponseWriter, r *http.Request, kind string) {
	a.frame(r).Problem(w, ui.Problem{Kind: kind, ID: middleware.RequestID(r.Context()), RestartURL: a.base + accountPath})
}

// csrf is the value of a form drawn for this browser and this user.
func (a *account) csrf(browser, subject string) string {
	mac := hmac.New(sha256.New, a.csrfKey)
	mac.Write([]byte(browser + "\n" + subject))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// browser returns the random value that names the browser, a new one if it has none.
func (a *account) browser(w http.ResponseWriter, r *http.Request) string {
	if v := a.cookie(r, "browser"); v != "" {
		return v
	}
	v := random()
	a.setCookie(w, "browser", v, 0)
	return v
}

func (a *account) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookies + name, Value: base64.RawURLEncoding.EncodeToString([]byte(value)), Path: "/", MaxAge: maxAge,
		Secure: a.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns the value of a cookie that was sent once, else "".
func (a *account) cookie(r *http.Request, name string) string {
	cs := r.CookiesNamed(a.cookies + name)
	if len(cs) != 1 {
		return ""
	}
	v, err := base64.RawURLEncoding.DecodeString(cs[0].Value)
	if err != nil {
		return ""
	}
	return string(v)
}

func random() string { return rand.Text() + rand.Text() } // 260 bits, and the length that a code_verifier needs

func seeOther(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, path, http.StatusSeeOther)
}
