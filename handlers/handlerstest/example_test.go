package handlerstest_test

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// A sign-in is five lines of a test.
func ExampleRP_SignIn() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
	browser := handlerstest.NewBrowser(t, idp)
	tokens := rp.SignIn(browser, "alice", "wonderland")
	claims := rp.UserInfo(tokens)

	fmt.Println(claims["sub"])
	// Output: alice
}

// A test of a consent page of your own sees what people see.
func ExampleRP_Finish() {
	page := template.Must(template.New("").Parse(`<title>Allow {{.Client.Name}}?</title><form method="post">{{.CSRF}}
{{range .Asked.Scopes}}<label><input type="checkbox" name="scope" value="{{.Name}}" checked>{{.Name}}</label>{{end}}
<button name="decision" value="yes">Yes</button> <button name="decision" value="no">No</button></form>`))
	consent := handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self' https:")
			_ = page.Execute(w, i)
		case r.FormValue("decision") == "yes":
			i.Approve(w, r, handlers.Approval{Scopes: r.PostForm["scope"]})
		default:
			i.Deny(w, r, handlers.ErrAccessDenied)
		}
	})

	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{Consent: consent})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", Name: "The App", TokenEndpointAuthMethod: "none"})
	rp.Scope = "openid profile email"
	browser := handlerstest.NewBrowser(t, idp)

	p := browser.SignIn(rp.Begin(browser), "alice", "wonderland").Want(200, "Allow The App?")
	e := rp.WantError(browser.Submit(p, url.Values{"decision": {"no"}}), "access_denied")
	fmt.Println(e.Code)

	p = rp.Begin(browser).Want(200, "Allow The App?") // signed in, and nothing is remembered
	tokens := rp.Finish(browser.Submit(p, url.Values{"decision": {"yes"}, "scope": {"openid", "email"}}))
	fmt.Println(tokens.Scope)
	// Output:
	// access_denied
	// [openid email]
}

// What expires does so when the test says.
func ExampleClock() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	clock := handlerstest.NewClock(time.Time{})
	idp := handlerstest.Serve(t, handlers.Config{Now: clock.Now})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
	tokens := rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland")

	clock.Advance(tokens.ExpiresIn)
	e := rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	fmt.Println(tokens.ExpiresIn, e.Status, e.Code)
	// Output: 10m0s 401 invalid_token
}

// A request that is to be refused is a good one, changed.
func ExamplePage_WantError() {
	t, end := exampleT() // in your test: its *testing.T
	defer end()

	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none"})
	form := rp.AuthorizationRequest("redirect_uri", "https://evil.example/cb")
	e := rp.Post("pushed_authorization_request_endpoint", form).WantError(400, "invalid_request")
	fmt.Println(e.Description)
	// Output: redirect_uri is missing or not registered for the client
}

// example is a test that prints its failure.
type example struct {
	testing.TB
	ctx  context.Context
	done []func()
}

func exampleT() (t testing.TB, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	e := &example{ctx: ctx, done: []func(){cancel}}
	return e, func() {
		for i := range e.done {
			e.done[len(e.done)-1-i]()
		}
	}
}

func (e *example) Helper()                           {}
func (e *example) Context() context.Context          { return e.ctx }
func (e *example) Cleanup(f func())                  { e.done = append(e.done, f) }
func (e *example) Output() io.Writer                 { return io.Discard }
func (e *example) Fatal(args ...any)                 { panic(strings.TrimSpace(fmt.Sprintln(args...))) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
