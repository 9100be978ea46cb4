package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

func severalAccounts(c *handlers.Config) { c.Accounts = 3 }

// trusted is a world where the client "web" needs no consent.
func trusted(t *testing.T, opts ...func(*handlers.Config)) *world {
	w := newWorld(t, opts...)
	w.clients.change("web", func(c *clientreg.Client) { c.FirstParty = true })
	return w
}

// carolToo knows one user more.
type carolToo struct{ *users }

func (u carolToo) Claims(ctx context.Context, subject string, q handlers.ClaimsQuery) (map[string]any, error) {
	if subject == "sub-carol" {
		return map[string]any{"name": "Carol"}, nil
	}
	return u.users.Claims(ctx, subject, q)
}

func (u carolToo) VerifyPassword(ctx context.Context, username, pw string) (handlers.Login, error) {
	if username == "carol" {
		return handlers.Login{Subject: "sub-carol"}, nil
	}
	return u.users.VerifyPassword(ctx, username, pw)
}

// at fails unless a redirect goes to a page of the provider, which it returns.
func (b *browser) at(res response, path string) (page response, self string) {
	b.t.Helper()
	u, q := res.location()
	if u.Path != path {
		b.t.Fatalf("to %s (%s), want %s", u, q.Get("error"), path)
	}
	return b.get(u.String()).want(200), u.String()
}

// press sends the form of a page.
func (b *browser) press(page response, self, do string, more ...string) response {
	b.t.Helper()
	form := url.Values{"csrf": {csrf(page)}, "do": {do}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Add(more[i], more[i+1])
	}
	return b.post(self, form)
}

// choose picks an account on the account page.
func (b *browser) choose(res response, subject string) response {
	b.t.Helper()
	page, self := b.at(res, "/select_account")
	return b.press(page, self, "choose", "account", subject)
}

// subjectOf redeems the code of an answer and returns whose ID token it is.
func (w *world) subjectOf(answer response) string {
	w.t.Helper()
	_, q := answer.location()
	if q.Get("code") == "" {
		w.t.Fatalf("no code: %v", q)
	}
	sub, _ := claims(w.t, w.redeem("web", q.Get("code")).want(200).str("id_token"))["sub"].(string)
	return sub
}

// TestSelectAccount: with several accounts in one browser the user chooses, and
// the choice lasts.
func TestSelectAccount(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	b.code(request("web"), "alice")
	b.code(request("web", "prompt", "login"), "bob")
	if got := w.subjectOf(b.begin(request("web"))); got != "sub-bob" {
		t.Fatalf("current is %s, want whoever signed in last", got)
	}
	page, _ := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if i, j := strings.Index(page.body, "Bob"), strings.Index(page.body, "Alice"); i < 0 || j < i {
		t.Errorf("the page does not list Bob, who is current, and then Alice:\n%s", page.body)
	}
	if got := w.subjectOf(b.choose(b.begin(request("web", "prompt", "select_account")), "sub-alice")); got != "sub-alice" {
		t.Errorf("chose alice, got %s", got)
	}
	if got := w.subjectOf(b.begin(request("web", "prompt", "none"))); got != "sub-alice" {
		t.Errorf("afterwards current is %s", got)
	}
	t.Run("another account signs in", func(t *testing.T) {
		page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		res := b.press(page, self, "switch")
		if got := w.subjectOf(b.signIn(res, "bob")); got != "sub-bob" {
			t.Errorf("signed in as bob, got %s", got)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		b.press(page, self, "deny").wantRedirectError(webRedirect, "access_denied")
	})
	t.Run("consent follows the choice", func(t *testing.T) {
		res := b.choose(b.begin(request("web", "prompt", "select_account consent")), "sub-alice")
		page, self := b.at(res, "/consent")
		if !strings.Contains(page.body, "Alice") {
			t.Error("the consent page is not Alice's")
		}
		if got := w.subjectOf(b.press(page, self, "allow")); got != "sub-alice" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("choosing is not signing in", func(t *testing.T) {
		res := b.choose(b.begin(request("web", "prompt", "select_account login")), "sub-alice")
		b.at(res, "/login")
		w.clock.add(10e9)
		res = b.choose(b.begin(request("web", "prompt", "select_account", "max_age", "5")), "sub-alice")
		b.at(res, "/login")
	})
	t.Run("who is not signed in cannot be chosen", func(t *testing.T) {
		for _, subject := range []string{"sub-carol", "", "alice", "sub-alice "} {
			b.at(b.choose(b.begin(request("web", "prompt", "select_account")), subject), "/login")
		}
	})
	t.Run("each page answers once", func(t *testing.T) {
		page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		b.press(page, self, "choose", "account", "sub-bob").location()
		b.press(page, self, "choose", "account", "sub-alice").wantPage()
		b.press(page, self, "fly").wantPage()
	})
	t.Run("not another browser's", func(t *testing.T) {
		page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		other := w.browser()
		other.code(request("web"), "alice")
		other.press(page, self, "choose", "account", "sub-alice").wantPage()
	})
	t.Run("without its token", func(t *testing.T) {
		_, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		b.post(self, url.Values{"do": {"choose"}, "account": {"sub-alice"}}).wantPage()
	})
}

// TestSelectAccountOfOne: the default is one account at a time.
func TestSelectAccountOfOne(t *testing.T) {
	t.Parallel()
	w := trusted(t)
	b := w.browser()
	b.at(b.begin(request("web", "prompt", "select_account")), "/login") // nobody to choose
	b.code(request("web"), "alice")
	page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	res := b.press(page, self, "switch")
	if got := w.subjectOf(b.signIn(res, "bob")); got != "sub-bob" {
		t.Fatalf("got %s", got)
	}
	page, _ = b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Alice") {
		t.Error("Alice is still there")
	}
	b.at(b.choose(b.begin(request("web", "prompt", "select_account")), "sub-alice"), "/login")
}

// TestAccountsAreLimited: whoever signs in beyond the limit signs the one out who
// was current longest ago.
func TestAccountsAreLimited(t *testing.T) {
	t.Parallel()
	w := trusted(t, func(c *handlers.Config) { c.Accounts, c.Users = 2, carolToo{c.Users.(*users)} })
	b := w.browser()
	token := w.redeem("web", b.code(request("web"), "alice")).want(200).str("access_token")
	b.code(request("web", "prompt", "login"), "bob")
	w.userinfo(token).want(200)
	b.code(request("web", "prompt", "login"), "carol")
	w.userinfo(token).want(401)
	page, _ := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Alice") || !strings.Contains(page.body, "Bob") || !strings.Contains(page.body, "Carol") {
		t.Errorf("wrong accounts:\n%s", page.body)
	}
	// A cookie that names more is not believed.
	w.restart(func(c *handlers.Config) { c.Accounts = 1 })
	page, _ = b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Bob") {
		t.Error("a second account although one is allowed")
	}
}

// TestSignedInAgainAmongSeveral: the account keeps its session under a new
// cookie, the old one is worth nothing, and the others stay.
func TestSignedInAgainAmongSeveral(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	first := claims(t, w.redeem("web", b.code(request("web"), "alice")).want(200).str("id_token"))
	b.code(request("web", "prompt", "login"), "bob")
	root, _ := url.Parse(w.srv.URL)
	old := b.c.Jar.Cookies(root)
	again := claims(t, w.redeem("web", b.code(request("web", "prompt", "login"), "alice")).want(200).str("id_token"))
	if first["sid"] != again["sid"] {
		t.Error("the account got a second session")
	}
	thief := w.browser()
	thief.c.Jar.SetCookies(root, old)
	page, _ := thief.at(thief.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Alice") {
		t.Error("the cookie from before the new sign-in still opens Alice's session")
	}
	page, _ = b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Count(page.body, "Alice") != 1 || !strings.Contains(page.body, "Bob") {
		t.Errorf("wrong accounts:\n%s", page.body)
	}
}

// TestDisabledAccountsAreNotOffered: nor do they open when chosen all the same.
func TestDisabledAccountsAreNotOffered(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	b.code(request("web"), "alice")
	b.code(request("web", "prompt", "login"), "bob")
	w.users.disable("sub-alice", true)
	page, self := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
	if strings.Contains(page.body, "Alice") || !strings.Contains(page.body, "Bob") {
		t.Errorf("wrong accounts:\n%s", page.body)
	}
	b.at(b.press(page, self, "choose", "account", "sub-alice"), "/login")
	w.users.disable("sub-bob", true)
	b.at(b.begin(request("web", "prompt", "select_account")), "/login")
	w.users.fail(errTest)
	b.begin(request("web", "prompt", "select_account")).want(503)
}

// TestNobodyTakesThePlaceOfWhoLeft: when the current account signs out or its
// session ends, no other account answers unasked.
func TestNobodyTakesThePlaceOfWhoLeft(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	alice := w.redeem("web", b.code(request("web"), "alice")).want(200)
	bob := w.redeem("web", b.code(request("web", "prompt", "login"), "bob")).want(200)
	b.get("/logout?" + url.Values{"id_token_hint": {bob.str("id_token")}}.Encode()).want(200)
	w.userinfo(bob.str("access_token")).want(401)
	w.userinfo(alice.str("access_token")).want(200)
	b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "account_selection_required")
	page, _ := b.at(b.begin(request("web")), "/select_account")
	if strings.Contains(page.body, "Bob") {
		t.Error("Bob is offered although he has signed out")
	}
	b.at(b.begin(request("web", "prompt", "login")), "/login")
	if got := w.subjectOf(b.choose(b.begin(request("web")), "sub-alice")); got != "sub-alice" {
		t.Errorf("got %s", got)
	}
	// One that is not current leaves: the current one stays.
	b.code(request("web", "prompt", "login"), "bob")
	b.get("/logout?" + url.Values{"id_token_hint": {alice.str("id_token")}}.Encode()).want(200)
	w.userinfo(alice.str("access_token")).want(401)
	if got := w.subjectOf(b.begin(request("web", "prompt", "none"))); got != "sub-bob" {
		t.Errorf("current is %s", got)
	}
}

// TestLogoutOfAllAccounts: without a hint the page names every account, and ends
// them all.
func TestLogoutOfAllAccounts(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	alice := w.redeem("web", b.code(request("web"), "alice")).want(200)
	bob := w.redeem("web", b.code(request("web", "prompt", "login"), "bob")).want(200)
	page := b.get("/logout").want(200)
	if !strings.Contains(page.body, "Bob, Alice") {
		t.Errorf("the page does not say who signs out:\n%s", page.body)
	}
	b.press(page, "/logout", "logout").want(200)
	for _, token := range []string{alice.str("access_token"), bob.str("access_token")} {
		w.userinfo(token).want(401)
	}
	b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "login_required")
}

// TestHintFindsTheAccount: a client that names its user by an ID token gets that
// user, if signed in, whoever is current.
func TestHintFindsTheAccount(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	hint := w.redeem("web", b.code(request("web"), "alice")).want(200).str("id_token")
	b.code(request("web", "prompt", "login"), "bob")
	if got := w.subjectOf(b.begin(request("web", "prompt", "none", "id_token_hint", hint))); got != "sub-alice" {
		t.Errorf("got %s", got)
	}
	res := b.begin(request("web", "prompt", "consent", "id_token_hint", hint))
	page, self := b.at(res, "/consent")
	if got := w.subjectOf(b.press(page, self, "allow")); got != "sub-alice" {
		t.Errorf("after consent: got %s", got)
	}
	if got := w.subjectOf(b.begin(request("web", "prompt", "none"))); got != "sub-bob" {
		t.Errorf("the hint made %s current", got)
	}
	b.get("/logout?" + url.Values{"id_token_hint": {hint}}.Encode()).want(200)
	b.begin(request("web", "prompt", "none", "id_token_hint", hint)).wantRedirectError(webRedirect, "login_required")
}

// TestCookieOfAccounts: doubled, foreign and broken names in the cookie open
// nothing, and a long cookie costs no more reads than accounts are allowed.
func TestCookieOfAccounts(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	b.code(request("web"), "alice")
	root, _ := url.Parse(w.srv.URL)
	i := slices.IndexFunc(b.c.Jar.Cookies(root), func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "session") })
	own := b.c.Jar.Cookies(root)[i]
	for _, value := range []string{
		own.Value + "~" + own.Value, own.Value + "~", own.Value + "~~~", own.Value + "~x~" + strings.Repeat("~", 100), own.Value + strings.Repeat("~"+own.Value, 20),
	} {
		b.c.Jar.SetCookies(root, []*http.Cookie{{Name: own.Name, Value: value, Path: "/"}})
		page, _ := b.at(b.begin(request("web", "prompt", "select_account")), "/select_account")
		if n := strings.Count(page.body, "Alice"); n != 1 {
			t.Errorf("%.40s…: %d accounts", value, n)
		}
	}
	for _, value := range []string{"~" + own.Value, "x~" + own.Value} { // nobody is current
		b.c.Jar.SetCookies(root, []*http.Cookie{{Name: own.Name, Value: value, Path: "/"}})
		b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "account_selection_required")
	}
}

// TestPromptCreate: the application's own page makes the account and signs the
// user in. Initiating User Registration §4.
func TestPromptCreate(t *testing.T) {
	t.Parallel()
	w := trusted(t)
	b := w.browser()
	b.begin(request("web", "prompt", "create")).wantRedirectError(webRedirect, "invalid_request")
	var offered string
	w.restart(func(c *handlers.Config) { c.RegisterURL = "/join?theme=dark" })
	mux := http.NewServeMux()
	mux.Handle("/", w.p.Handler())
	mux.HandleFunc("/join", func(rw http.ResponseWriter, r *http.Request) {
		i, err := w.p.Interaction(r)
		if err != nil {
			w.p.Fail(rw, r, err)
			return
		}
		offered = i.Step
		switch r.PostFormValue("do") {
		case "join":
			i.Login(rw, r, handlers.Login{Subject: "sub-alice"})
		case "have":
			i.SwitchAccount(rw, r)
		default:
			rw.Write([]byte(string(i.CSRF())))
		}
	})
	w.serve(mux)
	if p, _ := w.getWith("/.well-known/openid-configuration").json()["prompt_values_supported"].([]any); !slices.Contains(p, "create") {
		t.Errorf("prompt_values_supported %v", p)
	}
	page, self := b.at(b.begin(request("web", "prompt", "create")), "/join")
	if offered != "create" || !strings.Contains(self, "theme=dark") {
		t.Errorf("step %q at %s", offered, self)
	}
	if got := w.subjectOf(b.press(page, self, "join")); got != "sub-alice" {
		t.Errorf("got %s", got)
	}
	// Somebody is signed in now: the page is shown all the same, and whoever has
	// an account goes to the sign-in page.
	page, self = b.at(b.begin(request("web", "prompt", "create")), "/join")
	if got := w.subjectOf(b.signIn(b.press(page, self, "have"), "bob")); got != "sub-bob" {
		t.Errorf("got %s", got)
	}
	for _, prompt := range []string{"create none", "create login", "select_account create"} {
		b.begin(request("web", "prompt", prompt)).wantRedirectError(webRedirect, "invalid_request")
	}
	// The built-in sign-in page leads there.
	page, self = b.at(b.begin(request("web", "prompt", "login")), "/login")
	if !strings.Contains(page.body, `value="register"`) {
		t.Error("the sign-in page does not offer to make an account")
	}
	b.at(b.press(page, self, "register"), "/join")
	w.restart(func(c *handlers.Config) { c.RegisterURL = "" })
	page, self = b.at(b.begin(request("web", "prompt", "login")), "/login")
	b.press(page, self, "register").wantPage()
}

// TestSubjectsCannotBeGuessed: a client that nobody allowed anything does not
// learn by the claims parameter who is signed in, current or not.
func TestSubjectsCannotBeGuessed(t *testing.T) {
	t.Parallel()
	w := trusted(t, severalAccounts)
	b := w.browser()
	b.code(request("web"), "alice")
	b.code(request("web", "prompt", "login"), "bob")
	for _, sub := range []string{"sub-alice", "sub-bob", "sub-carol"} {
		claims := `{"id_token":{"sub":{"value":"` + sub + `"}}}`
		b.begin(request("spa", "prompt", "none", "claims", claims)).wantRedirectError(spaRedirect, "login_required")
		_, q := b.begin(request("web", "prompt", "none", "claims", claims)).location()
		if current := sub == "sub-bob"; (q.Get("code") != "") != current {
			t.Errorf("%s: %v", sub, q) // a client that is allowed gets its current user, and no other
		}
	}
}
