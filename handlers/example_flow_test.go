package handlers_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

// stage is a provider with one application and a browser, for examples.
type stage struct {
	*handlerstest.Server
	app     *handlerstest.RP
	browser *handlerstest.Browser
	end     func()
}

func play(cfg handlers.Config) *stage {
	t := newStand()
	s := &stage{Server: handlerstest.Serve(t, cfg), end: t.close}
	s.app = handlerstest.NewRP(t, s.Server, clientreg.Client{
		ID: "app", Name: "The App", TokenEndpointAuthMethod: "none",
		GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid profile offline_access",
	})
	s.browser = handlerstest.NewBrowser(t, s.Server)
	return s
}

// playApp is the same for a provider with pages of its own around it.
func playApp(cfg handlers.Config, pages func(p *handlers.Provider, mux *http.ServeMux)) *stage {
	t := newStand()
	app := clientreg.Client{ID: "app", Name: "The App", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://rp.example/cb"}}
	s := &stage{end: t.close}
	s.Server = handlerstest.ServeApp(t, func(_ context.Context, origin string) (http.Handler, error) {
		clients, err := clientreg.Static(app)
		if err != nil {
			return nil, err
		}
		cfg.Issuer, cfg.Storage, cfg.Clients, cfg.SigningAlgs = origin, memory.New(), clients, []string{"ES256"}
		cfg.Secrets = [][]byte{bytes.Repeat([]byte("from your secret store "), 2)}
		if cfg.Users == nil {
			cfg.Users = handlerstest.User{Name: "alice", Password: "wonderland"}.Users()
		}
		p, err := handlers.New(cfg)
		if err != nil {
			return nil, err
		}
		mux := http.NewServeMux()
		mux.Handle("/", p.Handler())
		pages(p, mux)
		return mux, nil
	})
	s.app = handlerstest.NewRP(t, s.Server, app)
	s.browser = handlerstest.NewBrowser(t, s.Server)
	return s
}

// stand stands in for the *testing.T that examples do not have.
type stand struct {
	testing.TB
	ctx  context.Context
	done []func()
}

func newStand() *stand {
	ctx, cancel := context.WithCancel(context.Background())
	return &stand{ctx: ctx, done: []func(){cancel}}
}

func (s *stand) close() {
	for i := range s.done {
		s.done[len(s.done)-1-i]()
	}
}
func (s *stand) Helper()                      {}
func (s *stand) Context() context.Context     { return s.ctx }
func (s *stand) Cleanup(f func())             { s.done = append(s.done, f) }
func (s *stand) Output() io.Writer            { return io.Discard }
func (s *stand) Fatal(args ...any)            { panic(fmt.Sprintln(args...)) }
func (s *stand) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// A mux of one's own: every endpoint with its pattern.
func ExampleProvider_Routes() {
	s := play(handlers.Config{Issuer: "https://notes.example/oidc", Features: handlers.Features{Introspection: true}})
	defer s.end()
	mux := http.NewServeMux()
	for _, r := range s.Provider.Routes() {
		mux.Handle(r.Pattern, r.Handler)
		if r.Name == "token" || r.Name == "introspect" {
			fmt.Println(r.Name, r.Pattern)
		}
	}
	// Output:
	// token /oidc/token
	// introspect /oidc/introspect
}

// Each endpoint is a handler of its own, to be put where you like. The paths
// are those of Config.Paths, which discovery tells.
func ExampleProvider_Token() {
	s := play(handlers.Config{Accounts: 2, Features: handlers.Features{Introspection: true, Device: true}})
	defer s.end()
	p, mux := s.Provider, http.NewServeMux()
	mux.Handle("/.well-known/openid-configuration", p.Discovery())
	mux.Handle("/jwks", p.JWKS())
	// what applications call
	few := middleware.RateLimit(middleware.NewBuckets(100, time.Second, nil), nil)
	mux.Handle("/par", few(p.PAR()))
	mux.Handle("/token", few(p.Token()))
	mux.Handle("/userinfo", p.UserInfo())
	mux.Handle("/introspect", p.Introspect())
	mux.Handle("/revoke", p.Revoke())
	mux.Handle("/device_authorization", few(p.DeviceAuthorization()))
	// where people come
	mux.Handle("/authorize", p.Authorize())
	mux.Handle("/login", p.LoginPage())
	mux.Handle("/select_account", p.AccountPage())
	mux.Handle("/consent", p.ConsentPage())
	mux.Handle("/device", p.DevicePage())
	mux.Handle("/logout", p.EndSessionEndpoint())

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/token", nil))
	fmt.Println(w.Code, w.Header().Get("Allow"))
	// Output: 405 POST
}

// Maintenance in the background, until the process is told to stop.
func ExampleProvider_Run() {
	s := play(handlers.Config{})
	defer s.end()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Provider.Run(ctx) }()
	stop()
	fmt.Println(<-ended)
	// Output: <nil>
}

// A planned change of signing keys: the new one is published before it signs.
func ExampleProvider_RotateKeys() {
	s := play(handlers.Config{})
	defer s.end()
	keys := func() int {
		var set struct{ Keys []json.RawMessage }
		s.browser.Get("/jwks").Decode(&set)
		return len(set.Keys)
	}
	fmt.Println(keys())
	fmt.Println(s.Provider.RotateKeys(context.Background()))
	fmt.Println(keys())
	// Output:
	// 1
	// <nil>
	// 2
}

// Learn at start which clients ask for something that is not served.
func ExampleProvider_Serves() {
	s := play(handlers.Config{})
	defer s.end()
	fmt.Println(s.Provider.Serves(&clientreg.Client{ID: "bank", DPoPBoundAccessTokens: true}))
	// Output: handlers: client "bank": dpop_bound_access_tokens asks for what this provider does not serve
}

// An API beside the provider is guarded by it.
func ExampleProvider_VerifyAccess() {
	s := play(handlers.Config{})
	defer s.end()
	guard := middleware.Protect(s.Provider, middleware.Rule{Audience: s.Issuer, Scope: []string{"openid"}})
	api := guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := middleware.PrincipalFrom(r.Context())
		fmt.Println("hello", who.Subject)
	}))

	tokens := s.app.SignIn(s.browser, "alice", "wonderland")
	r := httptest.NewRequest("GET", "/notes", nil)
	r.Header.Set("Authorization", "Bearer "+tokens.Access)
	api.ServeHTTP(httptest.NewRecorder(), r)
	// Output: hello alice
}

var signInPage = template.Must(template.New("").Parse(`<!doctype html><title>Sign in</title><p>{{.Problem}}</p>
<form method="post">{{.Hidden}}<input name="username"><input name="password" type="password"><button>Sign in</button></form>`))

// A sign-in page of one's own.
func ExampleProvider_Interaction() {
	users := map[string]string{"alice": "wonderland"} // yours holds hashes
	s := playApp(handlers.Config{LoginURL: "/signin"}, func(p *handlers.Provider, mux *http.ServeMux) {
		mux.HandleFunc("/signin", func(w http.ResponseWriter, r *http.Request) {
			i, err := p.Interaction(r)
			if err != nil {
				p.Fail(w, r, err)
				return
			}
			w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; "+i.FormAction())
			page := map[string]any{"Hidden": i.CSRF(), "Problem": ""}
			if r.Method != http.MethodPost {
				_ = signInPage.Execute(w, page)
				return
			}
			name, password := r.PostFormValue("username"), r.PostFormValue("password")
			if i.Try(r, name) > 0 { // too many attempts
				page["Problem"] = "Please wait."
			} else if want, ok := users[name]; ok && want == password {
				i.Login(w, r, handlers.Login{Subject: name, AMR: []string{"pwd"}})
				return
			} else {
				i.Failed(r)
				page["Problem"] = "That was not right."
			}
			_ = signInPage.Execute(w, page)
		})
	})
	defer s.end()

	page := s.app.Begin(s.browser)
	page = s.browser.SignIn(page, "alice", "guess").Want(200, "That was not right.")
	page = s.browser.SignIn(page, "alice", "wonderland")
	fmt.Println(page.URL.Path)
	fmt.Println(s.browser.Get("/signin").Status) // without a request that waits
	// Output:
	// /consent
	// 400
}

// A page beside the provider that greets whoever is signed in.
func ExampleProvider_CurrentLogin() {
	s := playApp(handlers.Config{}, func(p *handlers.Provider, mux *http.ServeMux) {
		mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
			login, err := p.CurrentLogin(r)
			switch {
			case err != nil:
				http.Error(w, "try again", http.StatusServiceUnavailable)
			case login == nil:
				fmt.Fprint(w, "nobody")
			default:
				fmt.Fprint(w, login.Subject)
			}
		})
	})
	defer s.end()
	fmt.Println(s.browser.Get("/me").Body)
	s.app.SignIn(s.browser, "alice", "wonderland")
	fmt.Println(s.browser.Get("/me").Body)
	// Output:
	// nobody
	// alice
}

// host is an application that has sessions already: here one, of alice.
type host struct {
	handlers.Users
	since time.Time
}

func (h host) CurrentLogin(*http.Request) (*handlers.Login, error) {
	return &handlers.Login{Subject: "alice", At: h.since, SessionID: "session-1"}, nil
}

func (host) EndLogin(http.ResponseWriter, *http.Request, string) error { return nil }

// The application's own sign-out ends what was issued in its session.
func ExampleProvider_EndSession() {
	alice := handlerstest.User{Name: "alice"}.Users()
	var idp *handlers.Provider
	s := playApp(handlers.Config{Users: host{alice, time.Now()}, LoginURL: "/signin"}, func(p *handlers.Provider, _ *http.ServeMux) { idp = p })
	defer s.end()
	tokens := s.app.SignIn(s.browser, "alice", "")
	fmt.Println(s.app.Call("GET", "userinfo_endpoint", tokens.Access).Status)
	fmt.Println(idp.EndSession(context.Background(), "session-1"))
	fmt.Println(s.app.Call("GET", "userinfo_endpoint", tokens.Access).Status)
	// Output:
	// 200
	// <nil>
	// 401
}

// An account page: what did alice allow, and take one back.
func ExampleGrants_Revoke() {
	s := play(handlers.Config{})
	defer s.end()
	ctx := context.Background()
	tokens := s.app.SignIn(s.browser, "alice", "wonderland")

	grants, _, err := s.Provider.Grants().List(ctx, handlers.Filter{Subject: "alice"}, "", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range grants {
		fmt.Println(g.ClientID, g.Scope)
		fmt.Println(s.Provider.Grants().Revoke(ctx, "bob", g.ID)) // not his
		fmt.Println(s.Provider.Grants().Revoke(ctx, "alice", g.ID))
	}
	fmt.Println(s.app.Call("GET", "userinfo_endpoint", tokens.Access).Status)
	// Output:
	// app [openid]
	// handlers: no such grant
	// <nil>
	// 401
}

// Everything that users allowed a client, when the client goes.
func ExampleGrants_RevokeAll() {
	s := play(handlers.Config{})
	defer s.end()
	s.app.SignIn(s.browser, "alice", "wonderland")
	// Take it out of your registry first; then:
	n, err := s.Provider.Grants().RevokeAll(context.Background(), handlers.Filter{ClientID: "app"})
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// A user is disabled, or a password has leaked: signed out everywhere.
func ExampleGrants_RevokeSubject() {
	s := play(handlers.Config{})
	defer s.end()
	s.app.SignIn(s.browser, "alice", "wonderland")
	// Mark the user as disabled in your table first, so that Users.Claims
	// returns ErrUserDisabled; then:
	fmt.Println(s.Provider.Grants().RevokeSubject(context.Background(), "alice"))
	fmt.Println(s.app.Begin(s.browser).URL.Path)
	// Output:
	// <nil>
	// /login
}

// The user does not want an application any more: it asks again.
func ExampleGrants_Withdraw() {
	s := play(handlers.Config{})
	defer s.end()
	s.app.Consent = url.Values{"do": {"allow"}, "remember": {"1"}}
	s.app.SignIn(s.browser, "alice", "wonderland")
	fmt.Println(s.app.Begin(s.browser).Leaves != nil) // remembered: straight back to the application
	fmt.Println(s.Provider.Grants().Withdraw(context.Background(), "alice", "app"))
	fmt.Println(s.app.Begin(s.browser).URL.Path)
	// Output:
	// true
	// <nil>
	// /consent
}

// consentPage draws a page with the buttons yes and no, and whatever else a
// browser can be told to send.
func consentPage(answer func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction)) handlers.Consent {
	return handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		if r.Method == http.MethodPost {
			answer(w, r, i)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; "+i.FormAction())
		fmt.Fprint(w, `<!doctype html><title>Allow?</title><form method="post">`, i.CSRF(), `<button name="do" value="yes">Yes</button>
<button name="do" value="no">No</button></form>`)
	})
}

// Less than was asked, and not to be asked again.
func ExampleInteraction_Approve() {
	s := play(handlers.Config{Consent: consentPage(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		fmt.Println(i.Client.Name, "asks for", len(i.Asked.Scopes), "scopes")
		i.Approve(w, r, handlers.Approval{Scopes: []string{"openid"}, Remember: i.CanRemember()})
	})})
	defer s.end()
	s.app.Scope, s.app.Consent = "openid profile", url.Values{"do": {"yes"}}
	fmt.Println(s.app.SignIn(s.browser, "alice", "wonderland").Scope)
	// Output:
	// The App asks for 2 scopes
	// [openid]
}

// All of it, this time only.
func ExampleInteraction_ApproveAll() {
	s := play(handlers.Config{Consent: consentPage(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		i.ApproveAll(w, r, false)
	})})
	defer s.end()
	s.app.Scope, s.app.Consent = "openid profile", url.Values{"do": {"yes"}}
	fmt.Println(s.app.SignIn(s.browser, "alice", "wonderland").Scope)
	// Output: [openid profile]
}

// No. The application is told access_denied.
func ExampleInteraction_Deny() {
	s := play(handlers.Config{Consent: consentPage(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		i.Deny(w, r, handlers.ErrAccessDenied)
	})})
	defer s.end()
	page := s.browser.SignIn(s.app.Begin(s.browser), "alice", "wonderland")
	fmt.Println(s.app.WantError(s.browser.Submit(page, url.Values{"do": {"no"}}), "access_denied").Code)
	// Output: access_denied
}

// "This is not me": the page gives the request to somebody else.
func ExampleInteraction_SwitchAccount() {
	s := play(handlers.Config{Consent: consentPage(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		fmt.Println("not", i.Account.Name)
		i.SwitchAccount(w, r)
	})})
	defer s.end()
	page := s.browser.SignIn(s.app.Begin(s.browser), "alice", "wonderland")
	fmt.Println(s.browser.Submit(page, url.Values{"do": {"no"}}).URL.Path)
	// Output:
	// not alice
	// /login
}

// An account page of one's own, and a link to make an account.
func ExampleInteraction_Choose() {
	s := play(handlers.Config{Accounts: 2, RegisterURL: "/join", Pages: handlers.Pages{
		Account: func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
			switch {
			case r.Method != http.MethodPost:
				w.Header().Set("Content-Security-Policy", "default-src 'none'; "+i.FormAction())
				fmt.Fprint(w, `<form method="post">`, i.CSRF())
				for _, a := range i.Accounts {
					fmt.Fprintf(w, `<button name="as" value="%s">%s</button>`, template.HTMLEscapeString(a.Subject), template.HTMLEscapeString(a.Name))
				}
				fmt.Fprint(w, `<button name="as" value="">I am new here</button></form>`)
			case r.PostFormValue("as") == "":
				i.Register(w, r)
			default:
				i.Choose(w, r, r.PostFormValue("as"))
			}
		},
	}})
	defer s.end()
	s.app.SignIn(s.browser, "alice", "wonderland")
	page := s.app.Begin(s.browser, "prompt", "select_account").Want(200, "alice", "I am new here")
	fmt.Println(s.browser.Submit(page, url.Values{"as": {"alice"}}).Leaves != nil) // back to the application
	fmt.Println(s.browser.Submit(s.app.Begin(s.browser, "prompt", "select_account"), url.Values{"as": {""}}).URL.Path)
	// Output:
	// true
	// /join
}

// A page that is a script gets the interaction as JSON, and sends the CSRF
// token in a header.
func ExampleInteraction_MarshalJSON() {
	s := play(handlers.Config{Consent: handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		if r.Method == http.MethodPost { // with X-CSRF-Token
			i.ApproveAll(w, r, false)
			return
		}
		w.Header().Set("X-CSRF-Token", i.CSRFToken())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(i)
	})})
	defer s.end()
	page := s.browser.SignIn(s.app.Begin(s.browser), "alice", "wonderland")
	var asked struct {
		Client struct {
			Name string `json:"client_name"`
		} `json:"client"`
		Asked handlers.Asked `json:"asked"`
	}
	page.Decode(&asked)
	fmt.Println(asked.Client.Name, asked.Asked.Scopes[0].Name)
	answer := s.browser.Fetch("POST", page.URL.String(), nil, "X-CSRF-Token", page.Header.Get("X-CSRF-Token"), "Accept", "application/json")
	fmt.Println(answer.Status)
	// Output:
	// The App openid
	// 200
}

// Keys of your own, from a KMS or an HSM behind a crypto.Signer.
func ExampleStaticKeys() {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "2026-11", Alg: "ES256", Signer: signer})
	if err != nil {
		fmt.Println(err)
		return
	}
	s := play(handlers.Config{Keys: keys})
	defer s.end()
	var set struct{ Keys []struct{ Kid, Alg string } }
	s.browser.Get("/jwks").Decode(&set)
	fmt.Println(set.Keys)
	// Output: [{2026-11 ES256}]
}

// An alarm for what must not happen.
func ExampleEventNames() {
	fmt.Println(handlers.EventNames()["refresh.reused"])
	cfg := handlers.Config{Events: func(_ context.Context, e handlers.Event) {
		if e.Name == "refresh.reused" || e.Name == "code.reused" {
			fmt.Println("alarm:", e.Name, e.ClientID)
		}
	}}
	s := play(cfg)
	defer s.end()
	page := s.browser.SignIn(s.app.Begin(s.browser), "alice", "wonderland")
	form := s.app.CodeRequest(s.browser.Submit(page, url.Values{"do": {"allow"}}))
	s.app.Tokens(form)
	s.app.Post("token_endpoint", form).WantError(400, "invalid_grant")
	// Output:
	// a spent refresh token came again; its grant was revoked
	// alarm: code.reused app
}

// What went wrong with a page.
func ExampleError() {
	s := play(handlers.Config{})
	defer s.end()
	_, err := s.Provider.Interaction(httptest.NewRequest("GET", "/signin", nil))
	var e *handlers.Error
	if errors.As(err, &e) {
		fmt.Println(errors.Is(err, handlers.ErrNoInteraction), e.Status(), e.Reason)
	}
	// Output: true 400 interaction.missing
}
