// Package handlerstest tests providers that are built with the kit: your users,
// your storage, your sign-in and consent pages. A sign-in, from the application's
// first request to a verified ID token, is five lines:
//
//	idp := handlerstest.Serve(t, handlers.Config{Users: users, Consent: page})
//	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
//	browser := handlerstest.NewBrowser(t, idp)
//	tokens := rp.SignIn(browser, "alice", "wonderland")
//	claims := rp.UserInfo(tokens)
//
// # Parts
//
// [Serve] makes a provider of a Config and fills in what the test does not care
// for. [ServeApp] serves a whole application around a provider, and [At] is one
// that runs already.
//
// [RP] is a relying party. It has no address: the browser stops where its
// redirect URI begins and brings the answer back. It verifies everything that a
// relying party has to: state, iss, nonce, the ID token under the published
// keys, the subject of UserInfo.
//
// [Browser] is a person's. It keeps cookies, follows redirects and fills in
// forms, and it does what a browser does where tests without one pass and people
// are stuck: it obeys form-action of the pages' Content-Security-Policy, through
// every redirect, and SameSite of cookies when the application sends it over.
//
// [Clock] is for Config.Now: tokens expire when the test says so.
//
// # Pages of your own
//
// SignIn finds any form that asks for a password, and presses do=allow on the
// consent page. Set RP.Consent if your page has other buttons, or take the steps
// one by one and look at what the page shows:
//
//	page := browser.SignIn(rp.Begin(browser), "alice", "wonderland")
//	page.Want(200, "Allow The App?")
//	tokens := rp.Finish(browser.Submit(page, url.Values{"decision": {"yes"}, "scope": {"openid", "email"}}))
//
// A page that is a script speaks JSON, which [Browser.Fetch] sends and
// [Browser.Follow] follows:
//
//	csrf := browser.Fetch("GET", page.URL.String(), nil).Member("csrf")
//	answer := browser.Fetch("POST", page.URL.String(), map[string]any{"allow": true}, "X-CSRF-Token", csrf)
//	tokens := rp.Finish(browser.Follow(answer))
//
// # Refusals
//
// [RP.Post] sends whatever the test likes and returns whatever comes.
// [Page.WantError] wants an error response, [RP.WantError] an error at the
// redirect URI; both return it as an [Error].
//
//	form := handlerstest.RefreshRequest(tokens)
//	clock.Advance(15 * 24 * time.Hour)
//	rp.Post("token_endpoint", form).WantError(400, "invalid_grant")
//	rp.WantError(browser.Submit(page, url.Values{"do": {"deny"}}), "access_denied")
//
// # How it fails
//
// Every failure ends the test by Fatalf and names the requests that led there,
// their status, and the body. A Server may be shared by parallel tests; browsers
// and relying parties belong to the test that made them, and In takes them into
// a subtest. Nothing is kept between tests.
package handlerstest
