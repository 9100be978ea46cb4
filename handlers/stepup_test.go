package handlers_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

// levels is a provider with a sign-in page of its own that reaches the class
// asked for in the field "acr" of its form.
func levels(t *testing.T) (w *world, last func() handlers.Interaction) {
	t.Helper()
	var seen handlers.Interaction
	w = trusted(t, func(c *handlers.Config) {
		c.LoginURL, c.ACRValues = "/own", []string{"one", "two", "three"}
	})
	mux := http.NewServeMux()
	mux.Handle("/", w.p.Handler())
	mux.HandleFunc("/own", func(rw http.ResponseWriter, r *http.Request) {
		i, err := w.p.Interaction(r)
		if err != nil {
			w.p.Fail(rw, r, err)
			return
		}
		seen = *i
		if r.Method == http.MethodGet {
			rw.Write([]byte(i.CSRF()))
			return
		}
		i.Login(rw, r, handlers.Login{Subject: r.PostForm.Get("sub"), ACR: r.PostForm.Get("acr")})
	})
	w.serve(mux)
	return w, func() handlers.Interaction { return seen }
}

// own fills in that page.
func (b *browser) own(res response, sub, acr string) response {
	b.t.Helper()
	page, self := b.at(res, "/own")
	return b.post(self, url.Values{"csrf": {csrf(page)}, "sub": {sub}, "acr": {acr}})
}

// TestStepUpByWish: acr_values bring the page back for a session that falls
// short of them all, once. RFC 9470 §5.
func TestStepUpByWish(t *testing.T) {
	t.Parallel()
	w, last := levels(t)
	b := w.browser()
	b.own(b.begin(request("web")), "sub-alice", "two")
	for _, c := range []struct {
		wish string
		page bool
	}{
		{"three", true}, {"one", false}, {"two", false}, {"three one", false}, {"three two", false}, {"unheard-of", false}, {"unheard-of three", true}, {"", false},
	} {
		u, q := b.begin(request("web", "acr_values", c.wish)).location()
		if page := u.Path == "/own"; page != c.page || !page && q.Get("code") == "" {
			t.Errorf("acr_values=%s: to %s, want the page: %v", c.wish, u, c.page)
		}
		if _, q := b.begin(request("web", "acr_values", c.wish, "prompt", "none")).location(); q.Get("code") == "" {
			t.Errorf("acr_values=%s with prompt=none: %v", c.wish, q)
		}
	}
	// A wish that is not met is answered all the same, and the client sees what
	// it got.
	_, q := b.own(b.begin(request("web", "acr_values", "three")), "sub-alice", "one").location()
	if acr := claims(t, w.redeem("web", q.Get("code")).want(200).str("id_token"))["acr"]; acr != "one" {
		t.Errorf("acr %v", acr)
	}
	if i := last(); !slices.Equal(i.ACRValues, []string{"three"}) || i.EssentialACR != nil {
		t.Errorf("the page is told %v, %v", i.ACRValues, i.EssentialACR)
	}
}

// TestInteractionTellsThePage: what a sign-in page may build upon, whom it is
// for, and what must be reached.
func TestInteractionTellsThePage(t *testing.T) {
	t.Parallel()
	w, last := levels(t)
	b := w.browser()
	b.at(b.begin(request("web")), "/own")
	if i := last(); i.Current != nil {
		t.Errorf("nobody has signed in: %+v", i.Current)
	}
	_, q := b.own(b.begin(request("web")), "sub-alice", "one").location()
	hint := w.redeem("web", q.Get("code")).want(200).str("id_token")
	essential := `{"id_token":{"acr":{"essential":true,"values":["two"]}}}`
	b.at(b.begin(request("web", "claims", essential)), "/own")
	if i := last(); i.Current == nil || i.Current.Subject != "sub-alice" || i.Current.ACR != "one" || !slices.Equal(i.EssentialACR, []string{"two"}) || i.Subject != "" {
		t.Errorf("step-up: %+v, %v, %q", i.Current, i.EssentialACR, i.Subject)
	}
	b.at(b.begin(request("web", "claims", essential, "id_token_hint", hint)), "/own")
	if i := last(); i.Current == nil || i.Subject != "sub-alice" {
		t.Errorf("step-up of a user who is named: %+v, %q", i.Current, i.Subject)
	}
	w.clock.add(time.Minute)
	for name, edit := range map[string][]string{
		"prompt=login": {"prompt", "login"}, "max_age": {"max_age", "30", "claims", essential}, "max_age=0": {"max_age", "0"},
	} {
		b.at(b.begin(request("web", edit...)), "/own")
		if i := last(); i.Current != nil {
			t.Errorf("%s: may build upon %+v", name, i.Current)
		}
	}
	b.own(b.begin(request("web", "prompt", "login")), "sub-bob", "one")
	b.at(b.begin(request("web", "id_token_hint", hint)), "/own")
	if i := last(); i.Current != nil || i.Subject != "sub-alice" {
		t.Errorf("somebody else is signed in: %+v, %q", i.Current, i.Subject)
	}
	w.users.disable("sub-bob", true)
	b.at(b.begin(request("web", "claims", essential)), "/own")
	if i := last(); i.Current != nil {
		t.Errorf("a disabled user: %+v", i.Current)
	}
}

// TestOwnPageIsLimited: a sign-in page of the application's own holds guessing
// back as the built-in one does.
func TestOwnPageIsLimited(t *testing.T) {
	t.Parallel()
	w := trusted(t, func(c *handlers.Config) { c.LoginURL = "/own" })
	mux := http.NewServeMux()
	mux.Handle("/", w.p.Handler())
	mux.HandleFunc("/own", func(rw http.ResponseWriter, r *http.Request) {
		i, err := w.p.Interaction(r)
		if err != nil {
			w.p.Fail(rw, r, err)
			return
		}
		switch wait := i.Try(r, "alice"); {
		case wait > 0:
			if wait > time.Minute || wait%time.Second != 0 {
				t.Errorf("wait %v", wait)
			}
			rw.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Query().Has("wrong"):
			i.Failed(r)
			rw.Write(nil)
		default:
			i.Login(rw, r, handlers.Login{Subject: "sub-alice"})
		}
	})
	w.serve(mux)
	for range 15 { // right ones do not count
		w.browser().follow(request("web")).location()
	}
	b := w.browser()
	u, _ := b.begin(request("web")).location()
	for n := range 11 {
		want := http.StatusOK
		if n == 10 {
			want = http.StatusTooManyRequests
		}
		b.get(u.String() + "&wrong").want(want)
	}
	if n := w.events.count("login.failed"); n != 10 {
		t.Errorf("%d events", n)
	}
}

// follow opens the page that a request leads to.
func (b *browser) follow(q url.Values) response {
	b.t.Helper()
	u, _ := b.begin(q).location()
	return b.get(u.String())
}

// TestStepUpHoldsUntilConsent: an essential acr is judged again when the user
// allows, for the session may have gone on under a weaker sign-in meanwhile.
func TestStepUpHoldsUntilConsent(t *testing.T) {
	t.Parallel()
	w, _ := levels(t)
	b := w.browser()
	q := request("web", "prompt", "login consent", "claims", `{"id_token":{"acr":{"essential":true,"value":"three"}}}`)
	res := b.own(b.begin(q), "sub-alice", "three")
	page, self := b.at(res, "/consent")
	b.own(b.begin(request("web", "prompt", "login")), "sub-alice", "one")
	ans := b.press(page, self, "allow")
	_, v := ans.location()
	if v.Get("code") != "" {
		t.Errorf("acr %v for an essential three", claims(t, w.redeem("web", v.Get("code")).want(200).str("id_token"))["acr"])
	}
}
