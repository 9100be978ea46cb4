package handlerstest_test

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

var app = clientreg.Client{
	ID: "app", Name: "The App", TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code", "refresh_token"},
	Scope: "openid profile email offline_access",
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	confidential := app
	confidential.TokenEndpointAuthMethod = ""
	post := app
	post.TokenEndpointAuthMethod = "client_secret_post"
	for _, tc := range []struct {
		name   string
		cfg    handlers.Config
		client clientreg.Client
		direct bool
		edit   []string
	}{
		{name: "public", client: app},
		{name: "client_secret_basic", client: confidential},
		{name: "client_secret_post", client: post},
		{name: "not pushed", client: app, direct: true},
		{name: "fixed issuer", cfg: handlers.Config{Issuer: "https://id.example"}, client: app},
		{name: "fixed issuer with port and path", cfg: handlers.Config{Issuer: "https://id.example:8443/oidc"}, client: app},
		{name: "RS256", cfg: handlers.Config{SigningAlgs: []string{"RS256"}}, client: app},
		{name: "form_post", client: app, edit: []string{"response_mode", "form_post"}},
		{name: "fragment", client: app, edit: []string{"response_mode", "fragment"}},
		{name: "no nonce", client: app, edit: []string{"nonce", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.cfg.Users = handlerstest.User{Name: "bob", Password: "builder", Claims: map[string]any{"name": "Bob Builder"}}.Users()
			idp := handlerstest.Serve(t, tc.cfg)
			rp := handlerstest.NewRP(t, idp, tc.client)
			rp.Scope, rp.Direct = "openid profile offline_access", tc.direct
			browser := handlerstest.NewBrowser(t, idp)
			tokens := rp.SignIn(browser, "bob", "builder", append(tc.edit, "prompt", "consent")...)
			if tokens.Subject != "bob" || tokens.ExpiresIn != 10*time.Minute || tokens.Refresh == "" {
				t.Errorf("tokens: %+v", tokens)
			}
			if name := rp.UserInfo(tokens)["name"]; name != "Bob Builder" {
				t.Errorf("name %v", name)
			}
			renewed := rp.Refresh(tokens)
			if renewed.Subject != "bob" || renewed.Refresh == tokens.Refresh {
				t.Errorf("renewed: %+v", renewed)
			}
			rp.Revoke(renewed.Refresh)
			rp.Call("GET", "userinfo_endpoint", renewed.Access).WantError(401, "invalid_token")
			rp.Post("token_endpoint", handlerstest.RefreshRequest(renewed)).WantError(400, "invalid_grant")
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	clock := handlerstest.NewClock(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC))
	idp := handlerstest.Serve(t, handlers.Config{Now: clock.Now})
	rp := handlerstest.NewRP(t, idp, app)
	rp.Scope = "openid offline_access"
	tokens := rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland", "prompt", "consent")
	clock.Advance(tokens.ExpiresIn - time.Second)
	rp.UserInfo(tokens)
	clock.Advance(time.Second)
	e := rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")
	if e.Page.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge")
	}
	tokens = rp.Refresh(tokens)
	clock.Advance(14 * 24 * time.Hour)
	rp.Post("token_endpoint", handlerstest.RefreshRequest(tokens)).WantError(400, "invalid_grant")
	clock.Advance(-14 * 24 * time.Hour)
	if now := clock.Now(); now.Year() != 2031 {
		t.Errorf("the clock shows %v", now)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, app)
	browser := handlerstest.NewBrowser(t, idp)
	page := browser.SignIn(rp.Begin(browser), "alice", "wonderland").Want(200, "The App")
	e := rp.WantError(browser.Submit(page, url.Values{"do": {"deny"}}), "access_denied")
	if e.Status != 303 || e.Description == "" || !strings.Contains(e.Error(), "POST /consent: status 303") {
		t.Errorf("refusal: %v", e)
	}
	rp.WantError(rp.Begin(browser, "prompt", "none"), "consent_required")
	stranger := handlerstest.NewBrowser(t, idp)
	rp.WantError(rp.Begin(stranger, "prompt", "none"), "login_required")
	if p := stranger.Get("/authorize?client_id=nobody").Want(400); p.Err() != nil {
		t.Errorf("an error page is %v", p.Err())
	}
	rp.Post("pushed_authorization_request_endpoint", rp.AuthorizationRequest("response_type", "token")).WantError(400, "unsupported_response_type")

	form := rp.CodeRequest(browser.Submit(rp.Begin(browser), url.Values{"do": {"allow"}}))
	wrong := url.Values{"code_verifier": {strings.Repeat("x", 43)}, "grant_type": form["grant_type"], "code": form["code"], "redirect_uri": form["redirect_uri"]}
	rp.Post("token_endpoint", wrong).WantError(400, "invalid_grant")
	tokens := rp.Tokens(form)
	rp.Post("token_endpoint", form).WantError(400, "invalid_grant")
	rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token") // its code was replayed
}

// customPage has no button do=allow, and a policy of its own.
var customPage = template.Must(template.New("").Parse(`<!doctype html><title>Allow {{.Client.Name}}?</title>
<FORM method=post>{{.CSRF}}
{{range .Asked.Scopes}}<label><input type=checkbox name=scope value='{{.Name}}' checked>{{.Name}}</label>{{end}}
<button name=decision value=no>No</button><button name=decision value="yes &amp; no">Yes</button></FORM>`))

func custom(policy string) handlers.ConsentFunc {
	return func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Security-Policy", policy)
			_ = customPage.Execute(w, i)
		case r.FormValue("decision") == "yes & no":
			i.Approve(w, r, handlers.Approval{Scopes: r.PostForm["scope"]})
		default:
			i.Deny(w, r, nil)
		}
	}
}

func TestOwnConsentPage(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{Consent: custom("default-src 'none'; form-action 'self' https:")})
	rp := handlerstest.NewRP(t, idp, app)
	rp.Scope = "openid profile email"
	browser := handlerstest.NewBrowser(t, idp)
	page := browser.SignIn(rp.Begin(browser), "alice", "wonderland").Want(200, "Allow The App?")
	rp.WantError(browser.Submit(page, nil), "access_denied") // the first button

	tokens := rp.Finish(browser.Submit(rp.Begin(browser), url.Values{"decision": {"yes & no"}, "scope": {"openid", "email"}}))
	if !slices.Equal(tokens.Scope, []string{"openid", "email"}) {
		t.Errorf("scope %q", tokens.Scope)
	}
	rp.Consent = url.Values{"decision": {"yes & no"}}
	if tokens = rp.SignIn(browser, "alice", "wonderland"); len(tokens.Scope) != 0 && len(tokens.Scope) != 3 {
		t.Errorf("scope %q", tokens.Scope)
	}
}

// TestScript: a consent page that speaks JSON.
func TestScript(t *testing.T) {
	t.Parallel()
	page := handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(i)
			return
		}
		var answer struct{ Allow bool }
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			http.Error(w, err.Error(), 400)
		} else if !answer.Allow {
			i.Deny(w, r, nil)
		} else {
			i.ApproveAll(w, r, false)
		}
	})
	idp := handlerstest.Serve(t, handlers.Config{Consent: page})
	rp := handlerstest.NewRP(t, idp, app)
	browser := handlerstest.NewBrowser(t, idp)
	at := browser.SignIn(rp.Begin(browser), "alice", "wonderland").URL.String()
	answer := func(allow bool) handlerstest.Page {
		csrf := browser.Fetch("GET", at, nil).Want(200).Member("csrf")
		return browser.Follow(browser.Fetch("POST", at, map[string]any{"allow": allow}, "X-CSRF-Token", csrf))
	}
	rp.WantError(answer(false), "access_denied")
	for _, mode := range []string{"query", "form_post"} {
		at = rp.Begin(browser, "response_mode", mode).URL.String()
		rp.Finish(answer(true))
	}
	browser.Fetch("GET", at, nil).WantError(400, "invalid_request") // it has been answered
}

func TestDeviceAndMachine(t *testing.T) {
	t.Parallel()
	clock := handlerstest.NewClock(time.Time{})
	idp := handlerstest.Serve(t, handlers.Config{
		Now: clock.Now, Features: handlers.Features{Device: true, ClientCredentials: true, Introspection: true},
		Scopes: []handlers.Scope{{Name: "api", Title: "Call the API"}},
	})
	tv := handlerstest.NewRP(t, idp, clientreg.Client{
		ID: "tv", TokenEndpointAuthMethod: "none", GrantTypes: []string{"urn:ietf:params:oauth:grant-type:device_code"}, Scope: "openid profile",
	})
	d := tv.Device()
	if d.Interval != 5*time.Second || d.ExpiresIn != 10*time.Minute || d.UserCode == "" || d.URI != idp.Issuer+"/device" {
		t.Errorf("device: %+v", d)
	}
	tv.Post("token_endpoint", d.Poll()).WantError(400, "authorization_pending")
	tv.Post("token_endpoint", d.Poll()).WantError(400, "slow_down")
	clock.Advance(2 * d.Interval)
	if tokens := tv.Connect(handlerstest.NewBrowser(t, idp), d, "alice", "wonderland"); tokens.Subject != "alice" {
		t.Errorf("tokens: %+v", tokens)
	}

	machine := handlerstest.NewRP(t, idp, clientreg.Client{ID: "machine", GrantTypes: []string{"client_credentials"}, Scope: "api"})
	machine.Scope = "api"
	tokens := machine.ClientCredentials()
	if m := machine.Introspect(tokens.Access); m["active"] != true || m["scope"] != "api" {
		t.Errorf("introspection: %v", m)
	}
	machine.Revoke(tokens.Access)
	if m := machine.Introspect(tokens.Access); m["active"] != false {
		t.Errorf("introspection of a revoked token: %v", m)
	}
	machine.Post("token_endpoint", url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}).WantError(400, "invalid_scope")
}

func TestLogOut(t *testing.T) {
	t.Parallel()
	client := app
	client.PostLogoutRedirectURIs = []string{"https://rp.example/bye"}
	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, client)
	browser := handlerstest.NewBrowser(t, idp)
	tokens := rp.SignIn(browser, "alice", "wonderland")
	if p := rp.LogOut(browser, tokens); p.Leaves == nil || p.Leaves.Host != "rp.example" {
		t.Errorf("logout: %s", p)
	}
	rp.WantError(rp.Begin(browser, "prompt", "none"), "login_required")
	rp.Call("GET", "userinfo_endpoint", tokens.Access).WantError(401, "invalid_token")

	tokens = rp.SignIn(browser, "alice", "wonderland")
	rp.Client.PostLogoutRedirectURIs = nil
	rp.LogOut(browser, tokens).Want(200, "signed out")
}

// TestRegistry: clients that the configuration has are used as they are.
func TestRegistry(t *testing.T) {
	t.Parallel()
	secret, hash := clientreg.NewSecret()
	known, err := clientreg.Static(clientreg.Client{
		ID: "web", RedirectURIs: []string{"https://web.example/cb?a=b"}, Secrets: []clientreg.ClientSecret{{Hash: hash}}, Scope: "openid",
	})
	if err != nil {
		t.Fatal(err)
	}
	idp := handlerstest.Serve(t, handlers.Config{Clients: known})
	rp := handlerstest.NewRP(t, idp, clientreg.Client{ID: "web"})
	rp.Secret = secret
	if rp.RedirectURI != "https://web.example/cb?a=b" {
		t.Errorf("redirect URI %s", rp.RedirectURI)
	}
	browser := handlerstest.NewBrowser(t, idp)
	rp.SignIn(browser, "alice", "wonderland")
	rp.Secret = "wrong"
	rp.Post("token_endpoint", url.Values{"grant_type": {"refresh_token"}}).WantError(401, "invalid_client")

	rp.Authenticate = func(_ string, form url.Values, h http.Header) {
		h.Del("Authorization")
		form.Set("client_secret", secret)
	}
	rp.Post("token_endpoint", url.Values{"grant_type": {"refresh_token"}}).WantError(401, "invalid_client") // not its method

	again := handlerstest.NewRP(t, idp, app)
	other := handlerstest.NewRP(t, idp, app) // is the same client
	if again.Client.ID != other.Client.ID {
		t.Error("two clients of one ID")
	}
	other.SignIn(browser, "alice", "wonderland")
}

// TestOrigin: a relying party that is a script sees what CORS lets it see.
func TestOrigin(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, app)
	rp.Origin = "https://rp.example"
	rp.UserInfo(rp.SignIn(handlerstest.NewBrowser(t, idp), "alice", "wonderland"))
}

// TestServeApp: an application around a provider, whose pages are at the same
// origin as the relying party's redirect URI.
func TestServeApp(t *testing.T) {
	t.Parallel()
	idp := handlerstest.ServeApp(t, appAt("/oidc"))
	idp.Issuer += "/oidc"
	client := app
	client.RedirectURIs = []string{idp.Origin + "/cb"}
	rp := handlerstest.NewRP(t, idp, client)
	browser := handlerstest.NewBrowser(t, idp)
	browser.Get("/").Want(200, "the application")
	tokens := rp.SignIn(browser, "alice", "wonderland")
	rp.Call("GET", "/api", tokens.Access).Want(200, "alice")
	rp.Call("GET", "/api", "nonsense").Want(401)

	there := handlerstest.At(t, idp.Issuer)
	rp = handlerstest.NewRP(t, there, client)
	rp.SignIn(handlerstest.NewBrowser(t, there), "alice", "wonderland")
}

func TestSubtests(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{})
	rp := handlerstest.NewRP(t, idp, app)
	browser := handlerstest.NewBrowser(t, idp)
	rp.SignIn(browser, "alice", "wonderland")
	for _, name := range []string{"one", "two", "three"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rp, browser := rp.In(t), browser.In(t)
			rp.Finish(browser.Submit(rp.Begin(browser, "prompt", "consent").Want(200), url.Values{"do": {"allow"}}))
		})
	}
}

// appAt mounts a provider below a path, with an API beside it.
func appAt(path string) func(context.Context, string) (http.Handler, error) {
	return func(_ context.Context, o string) (http.Handler, error) {
		client := app
		client.RedirectURIs, client.AllowLocalhostRedirect = []string{o + "/cb"}, true
		clients, err := clientreg.Static(client)
		if err != nil {
			return nil, err
		}
		p, err := handlers.New(handlers.Config{
			Issuer: o + path, Clients: clients, Storage: memory.New(), Secrets: [][]byte{[]byte("32 bytes that are good for tests only")},
			Users: handlerstest.User{Name: "alice", Password: "wonderland"}.Users(), SigningAlgs: []string{"ES256"},
		})
		if err != nil {
			return nil, err
		}
		mux := http.NewServeMux()
		mux.Handle(path+"/", p.Handler())
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the application")) })
		mux.Handle("/api", middleware.Protect(p, middleware.Rule{Audience: o + path})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, _ := middleware.PrincipalFrom(r.Context())
			_, _ = w.Write([]byte(who.Subject))
		})))
		return mux, nil
	}
}

// TestSameSite: cookies of pages of one's own are there or not as in a browser.
func TestSameSite(t *testing.T) {
	t.Parallel()
	names := func(p handlerstest.Page) string {
		s := strings.Fields(p.Want(200).Body)
		slices.Sort(s)
		return strings.Join(s, " ")
	}
	idp := handlerstest.ServeApp(t, func(context.Context, string) (http.Handler, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/set", func(w http.ResponseWriter, _ *http.Request) {
			for name, s := range map[string]http.SameSite{"strict": http.SameSiteStrictMode, "lax": http.SameSiteLaxMode, "unset": 0, "none": http.SameSiteNoneMode} {
				http.SetCookie(w, &http.Cookie{Name: name, Value: "x", SameSite: s})
			}
			_, _ = w.Write([]byte(`<form action=/see method=post></form>`))
		})
		mux.HandleFunc("/see", func(w http.ResponseWriter, r *http.Request) {
			for _, c := range r.Cookies() {
				_, _ = w.Write([]byte(c.Name + " "))
			}
		})
		mux.Handle("/go", http.RedirectHandler("/see", http.StatusTemporaryRedirect))
		return mux, nil
	})
	b := handlerstest.NewBrowser(t, idp)
	page := b.Get("/set")
	for name, tc := range map[string]struct {
		page handlerstest.Page
		want string
	}{
		"typed":                   {b.Get("/see"), "lax none strict unset"},
		"form":                    {b.Submit(page, nil), "lax none strict unset"},
		"script":                  {b.Fetch("GET", "/see", nil), "lax none strict unset"},
		"link of another site":    {b.Do(b.Request("GET", "/go", "", "Sec-Fetch-Site", "cross-site")), "lax none unset"},
		"form of another site":    {b.Do(b.Request("POST", "/go", "a=b", "Sec-Fetch-Site", "cross-site")), "none"},
		"forged":                  {b.Forge(page, nil, "Sec-Fetch-Site", "cross-site"), "lax none strict unset"},
		"in a subtest's hands":    {b.In(t).Get("/see"), "lax none strict unset"},
		"of a browser of its own": {handlerstest.NewBrowser(t, idp).Get("/see"), ""},
	} {
		if got := names(tc.page); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// elsewhere is a registry that keeps its secrets to itself, and one client.
type elsewhere struct{}

func (elsewhere) Client(_ context.Context, id string) (*clientreg.Client, error) {
	if id != "web" {
		return nil, clientreg.ErrNotFound
	}
	return &clientreg.Client{ID: id, RedirectURIs: []string{"https://web.example/cb"}, Scope: "openid"}, nil
}

func (elsewhere) VerifySecret(_ context.Context, _ *clientreg.Client, presented string) (bool, error) {
	return presented == "open sesame, said the cave", nil
}

// TestSecretsElsewhere: a registry judges the secrets of its clients, and not
// those of the test's.
func TestSecretsElsewhere(t *testing.T) {
	t.Parallel()
	idp := handlerstest.Serve(t, handlers.Config{Clients: elsewhere{}})
	browser := handlerstest.NewBrowser(t, idp)
	web := handlerstest.NewRP(t, idp, clientreg.Client{ID: "web"})
	web.Secret = "open sesame, said the cave"
	web.SignIn(browser, "alice", "wonderland")
	handlerstest.NewRP(t, idp, clientreg.Client{ID: "own", Scope: "openid"}).SignIn(browser, "alice", "wonderland")
}
