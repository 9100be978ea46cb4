package handlerstest_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// A sign-in is five lines of a test.
func ExampleRP_SignIn() {
	_ = func(t *testing.T) {
		idp := handlerstest.Serve(t, handlers.Config{})
		rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
		browser := handlerstest.NewBrowser(t, idp)
		tokens := rp.SignIn(browser, "alice", "wonderland")
		if rp.UserInfo(tokens)["sub"] != "alice" {
			t.Error("somebody else has signed in")
		}
	}
	// Output:
}

// A test of a consent page of your own sees what people see.
func ExampleRP_Finish() {
	_ = func(t *testing.T, consent handlers.Consent) {
		idp := handlerstest.Serve(t, handlers.Config{Consent: consent})
		rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", Name: "The App", TokenEndpointAuthMethod: "none"})
		rp.Scope = "openid email"
		browser := handlerstest.NewBrowser(t, idp)

		page := browser.SignIn(rp.Begin(browser), "alice", "wonderland").Want(200, "Allow The App?")
		rp.WantError(browser.Submit(page, url.Values{"do": {"deny"}}), "access_denied")

		page = rp.Begin(browser)
		tokens := rp.Finish(browser.Submit(page, url.Values{"do": {"allow"}, "scope": {"openid"}}))
		t.Logf("granted: %v", tokens.Scope)
	}
	// Output:
}

// What expires does so when the test says.
func ExampleClock() {
	_ = func(t *testing.T) {
		clock := handlerstest.NewClock(time.Time{})
		idp := handlerstest.Serve(t, handlers.Config{Now: clock.Now})
		rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
		tokens := rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland")
		clock.Advance(tokens.ExpiresIn)
		rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	}
	// Output:
}
