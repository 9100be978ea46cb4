package handlerstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

var service = clientreg.Client{ID: "job", GrantTypes: []string{"client_credentials", "authorization_code", "refresh_token"}, Scope: "openid offline_access reports"}

// The life of tokens: refreshed, asked about, taken back, signed out.
func ExampleRP_Refresh() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{Features: handlers.Features{Introspection: true}, Scopes: []handlers.Scope{{Name: "reports"}}})
	rp := handlerstest.NewRP(t, idp, service).In(t) // In: the same for a subtest
	rp.Scope = "openid offline_access"
	browser := handlerstest.NewBrowser(t, idp).In(t)
	tokens := rp.SignIn(browser, "alice", "wonderland", "prompt", "consent")
	spent := handlerstest.RefreshRequest(tokens)
	tokens = rp.Refresh(tokens)
	tokens = rp.Refresh(tokens)
	rp.Post("token_endpoint", spent).WantError(400, "invalid_grant") // reuse: everything is dead
	fmt.Println(rp.Introspect(tokens.Access)["active"])

	tokens = rp.SignIn(browser, "alice", "wonderland")
	rp.Revoke(tokens.Refresh)
	fmt.Println(rp.Introspect(tokens.Refresh)["active"])
	fmt.Println(rp.LogOut(browser, tokens).Status)
	// Output:
	// false
	// false
	// 200
}

// A client on its own behalf, at a provider that runs already.
func ExampleRP_ClientCredentials() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{Features: handlers.Features{ClientCredentials: true}, Scopes: []handlers.Scope{{Name: "reports"}}})
	known := handlerstest.NewRP(t, idp, service)

	rp := handlerstest.NewRP(t, handlerstest.At(t, idp.Issuer), known.Client) // another process, say
	rp.Secret, rp.Scope = known.Secret, "reports"
	fmt.Println(rp.ClientCredentials().Scope)
	// Output: [reports]
}

// A television: codes, a person at a browser, tokens.
func ExampleRP_Connect() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	clock := handlerstest.NewClock(time.Time{})
	idp := handlerstest.Serve(t, handlers.Config{Now: clock.Now, Features: handlers.Features{Device: true}})
	tv := handlerstest.NewRP(t, idp, clientreg.Client{
		ID: "tv", TokenEndpointAuthMethod: "none", GrantTypes: []string{"urn:ietf:params:oauth:grant-type:device_code"},
	})
	codes := tv.Device()
	tv.Post("token_endpoint", codes.Poll()).WantError(400, "authorization_pending")
	clock.Advance(codes.Interval)
	tokens := tv.Connect(handlerstest.NewBrowser(t, idp), codes, "alice", "wonderland")
	fmt.Println(tv.UserInfo(tokens)["sub"])
	// Output: alice
}

// Every step by hand, for tests of what happens between.
func ExampleRP_CodeRequest() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	people := handlerstest.User{Name: "bob", Password: "builder", Claims: map[string]any{"name": "Bob"}}
	idp := handlerstest.Serve(t, handlers.Config{Users: people.Users()})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
	browser := handlerstest.NewBrowser(t, idp)

	page := browser.Get(rp.AuthorizationURL("prompt", "login"))
	if form, err := page.Form(nil); err == nil {
		fmt.Println(form.Values.Has("password"))
	}
	page = browser.SignIn(page, "bob", "builder")
	browser.Forge(page, url.Values{"csrf": {"guess"}}).Want(400)
	answer := browser.Submit(page, url.Values{"do": {"allow"}})
	fmt.Println(answer.Err() == nil, rp.Answer(answer).Has("code"))
	tokens := rp.Tokens(rp.CodeRequest(answer))
	fmt.Println(tokens.Claims["sub"])
	// Output:
	// true
	// true true
	// bob
}

// An application of which the provider is a part, and its pages.
func ExampleServeApp() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.ServeApp(t, func(_ context.Context, origin string) (http.Handler, error) {
		mux := http.NewServeMux() // yours, with the provider
		mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": origin, "token_endpoint": origin + "/token"})
		})
		mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"language": r.Header.Get("Accept-Language"), "method": r.Method})
		})
		return mux, nil
	})
	fmt.Println(idp.Metadata(t)["token_endpoint"] == idp.Origin+"/token")

	b := handlerstest.NewBrowser(t, idp)
	page := b.Do(b.Request("GET", "/hello", "", "Accept-Language", "de")).Want(200)
	fmt.Println(page.Member("language"), page.JSON()["method"])
	_, err := b.Send(b.Request("GET", "/hello", ""))
	fmt.Println(err)
	// Output:
	// true
	// de GET
	// <nil>
}

// A page that is a script: JSON there and back, then wherever the answer leads.
func ExampleBrowser_Fetch() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{Consent: handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		if r.Method == http.MethodPost {
			i.ApproveAll(w, r, false)
			return
		}
		w.Header().Set("X-CSRF-Token", i.CSRFToken())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(i)
	})})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
	browser := handlerstest.NewBrowser(t, idp)

	page := browser.SignIn(rp.Begin(browser), "alice", "wonderland")
	var asked struct {
		Step string `json:"step"`
	}
	page.Decode(&asked)
	answer := browser.Fetch("POST", page.URL.String(), map[string]any{}, "X-CSRF-Token", page.Header.Get("X-CSRF-Token"))
	tokens := rp.Finish(browser.Follow(answer))
	fmt.Println(asked.Step, tokens.Scope)
	// Output: consent [openid]
}
