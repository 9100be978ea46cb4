package handlers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
)

// signedIn tells whether prompt=none finds a session.
func (b *browser) signedIn() bool {
	b.t.Helper()
	_, v := b.begin(request("web", "prompt", "none")).location()
	return v.Get("error") != "login_required"
}

func TestSessionLifetimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	b.code(request("web"), "alice")
	w.clock.add(23 * time.Hour)
	if !b.signedIn() {
		t.Fatal("ended before the idle lifetime")
	}
	w.clock.add(23 * time.Hour) // the visit in between moved the limit
	if !b.signedIn() {
		t.Fatal("a visit did not move the idle limit")
	}
	for range 13 {
		w.clock.add(23 * time.Hour)
		b.signedIn()
	}
	if b.signedIn() {
		t.Error("alive beyond the absolute lifetime")
	}
	c := w.browser()
	c.code(request("web"), "alice")
	w.clock.add(24 * time.Hour)
	if c.signedIn() {
		t.Error("alive beyond the idle lifetime")
	}
}

// TestSessionGoesOnAtReauthentication: same user, same session, new cookie.
func TestSessionGoesOnAtReauthentication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	first := claims(t, w.redeem("web", b.code(request("web"), "alice")).want(200).str("id_token"))
	root, _ := url.Parse(w.srv.URL)
	old := b.c.Jar.Cookies(root)
	w.clock.add(time.Hour)
	second := claims(t, w.redeem("web", b.code(request("web", "prompt", "login", "max_age", "1000"), "alice")).want(200).str("id_token"))
	if first["sid"] != second["sid"] || second["auth_time"] == nil {
		t.Errorf("sid %v, then %v; auth_time %v", first["sid"], second["sid"], second["auth_time"])
	}
	thief := w.browser()
	thief.c.Jar.SetCookies(root, old)
	if thief.signedIn() {
		t.Error("the cookie from before the new sign-in still works")
	}
	if !b.signedIn() {
		t.Error("the new cookie does not work")
	}
}

// TestAnotherUserReplacesTheSession: what was issued in the first one dies,
// offline grants excepted.
func TestAnotherUserReplacesTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	online := w.redeem("web", b.code(request("web"), "alice")).want(200)
	offline := w.redeem("web", b.code(request("web", "scope", "openid offline_access", "prompt", "consent"), "alice")).want(200)
	b.code(request("web", "prompt", "login"), "bob")
	w.userinfo(online.str("access_token")).want(401)
	w.refresh("web", offline.str("refresh_token")).want(200)
}

// hostUsers has a login session of its own, kept in a cookie "host".
type hostUsers struct {
	*users
	mu    sync.Mutex
	at    time.Time
	ended []string
}

func (u *hostUsers) CurrentLogin(r *http.Request) (*handlers.Login, error) {
	c, err := r.Cookie("host")
	if err != nil {
		return nil, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return &handlers.Login{Subject: "sub-" + c.Value, At: u.at, SessionID: "host-" + c.Value, ACR: "urn:two", AMR: []string{"otp"}}, nil
}

func (u *hostUsers) EndLogin(w http.ResponseWriter, _ *http.Request, id string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = append(u.ended, id)
	http.SetCookie(w, &http.Cookie{Name: "host", MaxAge: -1, Path: "/"})
	return nil
}

// TestSessionSource: the application's own session signs in, and logout ends it.
func TestSessionSource(t *testing.T) {
	t.Parallel()
	u := &hostUsers{users: newUsers()}
	w := newWorld(t, func(c *handlers.Config) { c.Users, c.LoginURL = u, "/own-login" })
	u.at = w.clock.Now()
	mux := http.NewServeMux()
	mux.Handle("/", w.p.Handler())
	mux.HandleFunc("/own-login", func(rw http.ResponseWriter, r *http.Request) {
		i, err := w.p.Interaction(r)
		if err != nil {
			w.p.Fail(rw, r, err)
			return
		}
		if r.Method == http.MethodGet {
			rw.Write([]byte(i.CSRF()))
			return
		}
		u.mu.Lock()
		u.at = w.clock.Now()
		u.mu.Unlock()
		http.SetCookie(rw, &http.Cookie{Name: "host", Value: "alice", Path: "/"})
		i.Login(rw, r, handlers.Login{Subject: "sub-alice", SessionID: "host-alice", ACR: "urn:two"})
	})
	w.serve(mux)

	b := w.browser()
	login, _ := b.begin(request("web")).location()
	if login.Path != "/own-login" {
		t.Fatalf("went to %s", login)
	}
	res := b.post(login.String(), url.Values{"csrf": {csrf(b.get(login.String()))}})
	_, v := b.allow(res).location()
	tok := w.redeem("web", v.Get("code")).want(200)
	if c := claims(t, tok.str("id_token")); c["acr"] != "urn:two" {
		t.Errorf("ID token %v", c)
	}
	if u, _ := b.begin(request("web", "prompt", "login")).location(); u.Path != "/own-login" {
		t.Errorf("prompt=login went to %s", u)
	}
	w.clock.add(time.Minute)
	if u, _ := b.begin(request("web", "max_age", "30")).location(); u.Path != "/own-login" {
		t.Errorf("max_age went to %s", u)
	}
	out := b.get("/logout?" + url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://web.example/bye"}}.Encode())
	if u, _ := out.location(); u.Host != "web.example" {
		t.Errorf("logout went to %s", u)
	}
	if len(u.ended) != 1 || u.ended[0] != "host-alice" {
		t.Errorf("ended %v", u.ended)
	}
	w.userinfo(tok.str("access_token")).want(401)

	// The application's own logout.
	u.at = w.clock.Now()
	b2 := w.browser()
	root, _ := url.Parse(w.srv.URL)
	b2.c.Jar.SetCookies(root, []*http.Cookie{{Name: "host", Value: "bob", Path: "/"}})
	_, v = b2.allow(b2.begin(request("web"))).location()
	tok = w.redeem("web", v.Get("code")).want(200)
	if err := w.p.EndSession(context.Background(), "host-bob"); err != nil {
		t.Fatal(err)
	}
	w.userinfo(tok.str("access_token")).want(401)
	if b2.signedIn() {
		t.Error("a session that was ended signs in")
	}
}

// TestVerifyAccess guards an API beside the provider.
func TestVerifyAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, tok := w.tokens("web", "scope", "openid api offline_access")
	api := middleware.Protect(w.p, middleware.Rule{Audience: w.issuer, Scope: []string{"api"}, Now: w.clock.Now})(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, _ := middleware.PrincipalFrom(r.Context())
		rw.Write([]byte(p.Subject + " " + p.ClientID + " " + strings.Join(p.Scope, ",")))
	}))
	call := func(token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/api", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		return rec
	}
	if rec := call(tok.str("access_token")); rec.Code != 200 || rec.Body.String() != "sub-alice web openid,api,offline_access" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for name, bad := range map[string]string{"none": "", "ID token": tok.str("id_token"), "refresh token": tok.str("refresh_token"), "cut": tok.str("access_token")[:80]} {
		if rec := call(bad); rec.Code != 401 {
			t.Errorf("%s: %d", name, rec.Code)
		}
	}
	narrow := w.refresh("web", tok.str("refresh_token"), "scope", "openid").want(200)
	if rec := call(narrow.str("access_token")); rec.Code != 403 {
		t.Errorf("without the scope: %d", rec.Code)
	}
	w.clock.add(10 * time.Minute)
	if rec := call(tok.str("access_token")); rec.Code != 401 {
		t.Errorf("expired: %d", rec.Code)
	}
}

// TestGrants: list, revoke, withdraw.
func TestGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	b, tok := w.tokens("web")
	_, other := w.tokens("spa")
	if _, v := b.allow(b.begin(request("web")), "remember", "1").location(); v.Get("code") == "" {
		t.Fatal("no code")
	}
	list, next, err := w.p.Grants().List(ctx, handlers.Filter{Subject: "sub-alice"}, "", 0)
	if err != nil || next != "" || len(list) != 3 {
		t.Fatalf("%v %q %v", list, next, err)
	}
	for _, g := range list {
		if g.ClientID == "web" && g.Offline {
			if err := w.p.Grants().Revoke(ctx, "sub-bob", g.ID); err != handlers.ErrNoGrant {
				t.Errorf("somebody else revoked it: %v", err)
			}
			if err := w.p.Grants().Revoke(ctx, "sub-alice", g.ID); err != nil {
				t.Error(err)
			}
		}
	}
	w.refresh("web", tok.str("refresh_token")).wantError(400, "invalid_grant")
	w.userinfo(tok.str("access_token")).want(401)
	if u, _ := b.begin(request("web")).location(); u.Path != "/consent" {
		t.Errorf("the consent was not forgotten: %s", u)
	}
	w.refresh("spa", other.str("refresh_token")).want(200)
	if err := w.p.Grants().Withdraw(ctx, "sub-alice", "spa"); err != nil {
		t.Fatal(err)
	}
	w.userinfo(other.str("access_token")).want(401)
	for _, id := range []string{"", "x", "AAA.x", "AAA", "!!!.abc"} {
		if err := w.p.Grants().Revoke(ctx, "", id); err != handlers.ErrNoGrant {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestLogoutWithoutASession: the application signs out when the session at the
// provider has long ended; its tokens die all the same.
func TestLogoutWithoutASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, tok := w.tokens("web")
	_, other := w.tokens("web") // another browser's
	w.clock.add(25 * time.Hour)
	res := b.get("/logout?" + url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://web.example/bye"}}.Encode())
	if u, _ := res.location(); u.Host != "web.example" {
		t.Errorf("went to %s", u)
	}
	w.refresh("web", tok.str("refresh_token")).wantError(400, "invalid_grant")
	w.refresh("web", other.str("refresh_token")).want(200)
}

// TestStaySignedIn: the answer to the question says what is so.
func TestStaySignedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	b.code(request("web"), "alice")
	page := b.get("/logout").want(200)
	res := b.post("/logout", url.Values{"do": {"stay"}, "csrf": {csrf(page)}}).want(200)
	if strings.Contains(res.body, "signed out") || !strings.Contains(res.body, "still signed in") || !b.signedIn() {
		t.Errorf("%s", res.body)
	}
	res = b.post("/logout", url.Values{"do": {"logout"}, "csrf": {csrf(page)}}).want(200)
	if !strings.Contains(res.body, "signed out") || b.signedIn() {
		t.Error("not signed out")
	}
}

// TestHintAfterRotation: an ID token is a hint long after its key has gone.
func TestHintAfterRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, tok := w.tokens("web")
	if err := w.p.RotateKeys(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the session is used now and then
		w.clock.add(20 * time.Hour)
		b.signedIn()
	}
	kid, _ := jwtHeader(t, tok.str("id_token"))["kid"].(string)
	if _, published := w.kids()[kid]; published {
		t.Fatal("the key is still published")
	}
	w.restart()
	res := b.get("/logout?" + url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://web.example/bye"}}.Encode())
	if u, _ := res.location(); u.Host != "web.example" {
		t.Errorf("went to %s", u)
	}
	if b.signedIn() {
		t.Error("the session lives")
	}
}

// TestFormsOutliveANewSecret: a page drawn before a secret became the first is
// answered after it.
func TestFormsOutliveANewSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	u, _ := b.begin(request("web")).location()
	page := b.get(u.String())
	w.restart(func(c *handlers.Config) {
		c.Secrets = [][]byte{[]byte("0123456789abcdef0123456789abcdef"), c.Secrets[0]}
	})
	res := b.post(u.String(), url.Values{"csrf": {csrf(page)}, "username": {"alice"}, "password": {password}, "do": {"login"}})
	if u, _ := res.location(); u.Path != "/consent" {
		t.Errorf("went to %s", u)
	}
}

// TestRevokeAllOfAClient: also what it has on its own behalf, and it goes on.
func TestRevokeAllOfAClient(t *testing.T) {
	t.Parallel()
	w := machines(t)
	ctx := context.Background()
	active := func(tok response) bool { return w.introspect("m2m", tok.str("access_token")).json()["active"] == true }
	one := w.clientToken("m2m").want(200)
	if _, err := w.p.Grants().RevokeAll(ctx, handlers.Filter{ClientID: "m2m"}); err != nil {
		t.Fatal(err)
	}
	if active(one) {
		t.Error("a token of before lives")
	}
	w.clock.add(time.Second)
	two := w.clientToken("m2m").want(200)
	if !active(two) {
		t.Error("the client does not go on")
	}
	if _, err := w.p.Grants().RevokeAll(ctx, handlers.Filter{ClientID: "m2m"}); err != nil {
		t.Fatal(err)
	}
	w.clock.add(9 * time.Minute)
	if _, err := w.store.Purge(ctx, w.clock.Now(), 1000); err != nil {
		t.Fatal(err)
	}
	if active(one) || active(two) {
		t.Error("revived by a purge")
	}
}
