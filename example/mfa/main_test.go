package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"golang.org/x/crypto/bcrypt"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// Requests of the application.
var (
	essential = "/app/?" + url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["phr"]}}}`}}.Encode()
	wished    = "/app/?acr_values=phr"
)

// stage is the provider, a browser at it, and a clock.
type stage struct {
	*handlerstest.Browser
	t     *testing.T
	ahead atomic.Int64
}

func start(t *testing.T) *stage {
	t.Helper()
	users, err := newUsers(bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s, origin := &stage{t: t}, ""
	handlerstest.ServeApp(t, func(ctx context.Context, at string) (http.Handler, error) {
		origin = strings.Replace(at, "127.0.0.1", "localhost", 1) // an address has no passkeys
		return build(ctx, origin, users, func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) })
	})
	s.Browser = handlerstest.NewBrowser(t, handlerstest.At(t, origin))
	return s
}

// another is a second browser at the same provider.
func (s *stage) another() *stage {
	return &stage{Browser: handlerstest.NewBrowser(s.t, s.Server), t: s.t}
}

func (s *stage) password(p handlerstest.Page, name, password string) handlerstest.Page {
	return s.Submit(p, url.Values{"do": {"password"}, "username": {name}, "password": {password}})
}

// device is a software authenticator with one passkey.
type device struct {
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	key  virtualwebauthn.Credential
}

func newDevice(t *testing.T, origin string) *device {
	t.Helper()
	for {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] == 0 || point[33] == 0 {
			continue // the authenticator would leave the zero out, RFC 9053 §7.1.1
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return &device{
			virtualwebauthn.RelyingParty{ID: "localhost", Name: "Example", Origin: origin},
			virtualwebauthn.NewAuthenticator(), virtualwebauthn.NewCredentialWithImportedKey(virtualwebauthn.KeyTypeEC2, der),
		}
	}
}

var question = regexp.MustCompile(`data-(?:get|create)="([^"]*)"`)

// asked returns the question to the passkey on a page.
func asked(t *testing.T, p handlerstest.Page) string {
	t.Helper()
	m := question.FindStringSubmatch(p.Want(200).Body)
	if m == nil {
		t.Fatalf("no question to a passkey on %s:\n%s", p.URL, p.Body)
	}
	return html.UnescapeString(m[1])
}

func (d *device) create(t *testing.T, p handlerstest.Page) string {
	t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(asked(t, p))
	if err != nil {
		t.Fatal(err)
	}
	d.auth.Options.UserHandle = []byte(o.UserID)
	return virtualwebauthn.CreateAttestationResponse(d.rp, d.auth, d.key, *o)
}

// get answers with the passkey, whether or not the page allows this one.
func (d *device) get(t *testing.T, p handlerstest.Page) string {
	t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(asked(t, p))
	if err != nil {
		t.Fatal(err)
	}
	d.key.Counter++
	return virtualwebauthn.CreateAssertionResponse(d.rp, d.auth, d.key, *o)
}

func answer(credential string) url.Values {
	return url.Values{"do": {"passkey"}, "credential": {credential}}
}

// enrol signs in by password and adds a passkey.
func (s *stage) enrol(name, password string) *device {
	s.t.Helper()
	s.password(s.Get("/app/?prompt=login"), name, password).Member("access_token")
	d := newDevice(s.t, s.Server.Origin)
	page := s.Get("/account").Want(200, "signed in as "+name, "You have none yet")
	s.Submit(page, url.Values{"credential": {d.create(s.t, page)}}).Want(200, "A passkey on one device")
	return d
}

// is checks acr and amr of the ID token that the application shows.
func is(t *testing.T, p handlerstest.Page, acr string, amr ...string) {
	t.Helper()
	token, _ := p.Want(200).JSON()["id_token"].(string)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no ID token: %s", p.Body)
	}
	var claims struct {
		Subject string   `json:"sub"`
		ACR     string   `json:"acr"`
		AMR     []string `json:"amr"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil || claims.Subject != "1001" || claims.ACR != acr || !slices.Equal(claims.AMR, amr) {
		t.Fatalf("%v; acr %q, want %q; amr %q, want %q; sub %q", err, claims.ACR, acr, claims.AMR, amr, claims.Subject)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	page := s.Get("/app/").Want(200, "to go on to The demo app", `src="/static/passkey.js"`)
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'; script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	for _, file := range []string{"/static/passkey.js", "/static/style.css"} {
		s.Get(file).Want(200)
	}
	d := s.enrol("alice", "wonderland")

	t.Run("password where nobody asks for more", func(t *testing.T) {
		is(t, s.password(s.Get("/app/?prompt=login"), "alice", "wonderland"), acrBasic, "pwd")
	})
	t.Run("password, then passkey", func(t *testing.T) {
		b := s.another()
		second := b.password(b.Get(wished), "alice", "wonderland").Want(200, "make sure that you are alice")
		is(t, b.Submit(second, answer(d.get(t, second))), acrPasskey, "mfa", "pop", "pwd", "user")
	})
	t.Run("passkey alone", func(t *testing.T) {
		b := s.another()
		page := b.Get(essential)
		is(t, b.Submit(page, answer(d.get(t, page))), acrPasskey, "mfa", "pop", "user")
	})
	t.Run("passkey where less is asked", func(t *testing.T) {
		b := s.another()
		page := b.Get("/app/?claims=" + url.QueryEscape(`{"id_token":{"acr":{"essential":true,"value":"`+acrBasic+`"}}}`))
		is(t, b.Submit(page, answer(d.get(t, page))), acrBasic, "mfa", "pop", "user")
	})
	t.Run("a key without PIN is a second step", func(t *testing.T) {
		b := s.another()
		touch := *d
		touch.auth.Options.UserNotVerified = true
		second := b.password(b.Get(essential), "alice", "wonderland")
		is(t, b.Submit(second, answer(touch.get(t, second))), acrPasskey, "mfa", "pop", "pwd", "user")
		d.key.Counter = touch.key.Counter
	})
	t.Run("cancelled", func(t *testing.T) {
		b := s.another()
		b.Submit(b.Get(essential), url.Values{"do": {"cancel"}}).Want(200, "access_denied")
	})
}

// TestStepUp is RFC 9470: the API names what it wants, the application asks the
// provider for it, and the page asks the user for what is missing only.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	d := s.enrol("alice", "wonderland")
	scope := url.Values{"scope": {"openid transfers"}, "resource": {s.Server.Origin + "/transfers"}}
	call := func(p handlerstest.Page) handlerstest.Page {
		return s.Do(s.Request(http.MethodPost, "/transfers", "", "Authorization", "Bearer "+p.Member("access_token")))
	}

	weak := s.Get("/app/?" + scope.Encode()) // signed in by password
	refused := call(weak).Want(401, "insufficient_user_authentication")
	m := regexp.MustCompile(`acr_values="([^"]*)"`).FindStringSubmatch(refused.Header.Get("WWW-Authenticate"))
	if m == nil {
		t.Fatalf("challenge %q", refused.Header.Get("WWW-Authenticate"))
	}

	s.Get(wished).Want(200, "Confirm with your passkey") // nothing is demanded, but the page can do it
	is(t, s.Get(wished+"&prompt=none"), acrBasic, "pwd") // where there is no page, less will do

	scope.Set("claims", `{"id_token":{"acr":{"essential":true,"values":["`+m[1]+`"]}}}`)
	again := "/app/?" + scope.Encode()
	page := s.Get(again).Want(200, "Confirm with your passkey", "make sure that you are alice")
	if strings.Contains(page.Body, `name="password"`) {
		t.Errorf("asked for the password again:\n%s", page.Body)
	}
	t.Run("the passkey verifies the user, whose password is old", func(t *testing.T) {
		touch := *d
		touch.auth.Options.UserNotVerified = true
		page = s.Submit(page, answer(touch.get(t, page))).Want(200, "was not accepted")
	})
	d.key.Counter++
	strong := s.Submit(page, answer(d.get(t, page)))
	is(t, strong, acrPasskey, "mfa", "pop", "pwd", "user")
	call(strong).Want(200, "on its way")
	call(weak).Want(401) // a token does not grow
	is(t, s.Get(again), acrPasskey, "mfa", "pop", "pwd", "user")

	t.Run("both steps where the sign-in is too old", func(t *testing.T) {
		s.password(s.Get("/app/?prompt=login"), "alice", "wonderland").Member("access_token")
		s.Get(essential).Want(200, "Confirm with your passkey")
		s.Get(essential+"&max_age=0").Want(200, `name="password"`)
		s.Get(essential+"&prompt=login").Want(200, `name="password"`)
	})
	t.Run("somebody else may sign in", func(t *testing.T) {
		s.Submit(s.Get(essential), url.Values{"do": {"other"}}).Want(200, `name="password"`)
	})
	t.Run("another user is asked for", func(t *testing.T) {
		bob := `"sub":{"value":"1002"}`
		s.Get("/app/?claims="+url.QueryEscape(`{"id_token":{`+bob+`}}`)).Want(200, `name="password"`) // no passkey is asked for
		page := s.Get(essential)
		is(t, s.Submit(page, answer(d.get(t, page))), acrPasskey, "mfa", "pop", "pwd", "user")
		s.Get("/app/?claims="+url.QueryEscape(`{"id_token":{`+bob+`,"acr":{"essential":true,"value":"phr"}}}`)).Want(200, `name="password"`) // alice has shown hers
		s.password(s.Get("/app/?prompt=login"), "alice", "wonderland").Member("access_token")
	})
	t.Run("without a page", func(t *testing.T) {
		s.Get(essential+"&prompt=none").Want(200, "login_required")
	})
}

// TestNoPasskey: who has none cannot be asked for it.
func TestNoPasskey(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.password(s.Get(essential), "alice", "wonderland").Want(200, "unmet_authentication_requirements")
	is(t, s.password(s.Get(wished+"&prompt=login"), "alice", "wonderland"), acrBasic, "pwd")
	s.Get(essential).Want(200, `name="password"`) // signed in, and nothing to step up with
}

// TestRefused: what does not sign in. Each case ends on a page that asks again.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	alice := s.enrol("alice", "wonderland")
	bob := s.another().enrol("bob", "builder")
	second := func(t *testing.T, b *stage) handlerstest.Page {
		return b.password(b.Get(essential), "alice", "wonderland").Want(200, "Confirm with your passkey")
	}
	const asksAgain = `name="password"`

	for name, try := range map[string]func(t *testing.T, b *stage) handlerstest.Page{
		"no answer": func(t *testing.T, b *stage) handlerstest.Page { return b.Submit(second(t, b), answer("")) },
		"no JSON":   func(t *testing.T, b *stage) handlerstest.Page { return b.Submit(second(t, b), answer("{")) },
		"the second step first": func(t *testing.T, b *stage) handlerstest.Page {
			return b.Submit(b.Get(essential), answer(`{"id":"AA","rawId":"AA","type":"public-key","response":{}}`))
		},
		"an unknown step": func(t *testing.T, b *stage) handlerstest.Page {
			return b.Forge(b.Get(essential), url.Values{"do": {"finish"}, "username": {"alice"}, "subject": {"1001"}})
		},
		"of another user": func(t *testing.T, b *stage) handlerstest.Page {
			page := second(t, b)
			return b.Submit(page, answer(bob.get(t, page)))
		},
		"of another user with the right handle": func(t *testing.T, b *stage) handlerstest.Page {
			page, forged := second(t, b), *bob
			forged.auth.Options.UserHandle = alice.auth.Options.UserHandle
			return b.Submit(page, answer(forged.get(t, page)))
		},
		"of an unknown user": func(t *testing.T, b *stage) handlerstest.Page {
			page, forged := b.Get(essential), *bob
			forged.auth.Options.UserHandle = []byte("nobody")
			return b.Submit(page, answer(forged.get(t, page)))
		},
		"from another origin": func(t *testing.T, b *stage) handlerstest.Page {
			page, phished := second(t, b), *alice
			phished.rp.Origin = "https://localhost.evil.example"
			return b.Submit(page, answer(phished.get(t, page)))
		},
		"from another port": func(t *testing.T, b *stage) handlerstest.Page {
			page, phished := second(t, b), *alice
			phished.rp.Origin = "http://localhost:1"
			return b.Submit(page, answer(phished.get(t, page)))
		},
		"for another domain": func(t *testing.T, b *stage) handlerstest.Page {
			page, phished := second(t, b), *alice
			phished.rp.ID = "evil.example"
			return b.Submit(page, answer(phished.get(t, page)))
		},
		"without user verification, alone": func(t *testing.T, b *stage) handlerstest.Page {
			page, touch := b.Get(essential), *alice
			touch.auth.Options.UserNotVerified = true
			return b.Submit(page, answer(touch.get(t, page)))
		},
		"without a touch": func(t *testing.T, b *stage) handlerstest.Page {
			page, absent := second(t, b), *alice
			absent.auth.Options.UserNotPresent = true
			return b.Submit(page, answer(absent.get(t, page)))
		},
		"signed by another key": func(t *testing.T, b *stage) handlerstest.Page {
			page, forged := second(t, b), *alice
			forged.key.Key = bob.key.Key
			return b.Submit(page, answer(forged.get(t, page)))
		},
		"to the question of another interaction": func(t *testing.T, b *stage) handlerstest.Page {
			stolen, own := second(t, s.another()), second(t, b)
			return b.Submit(own, answer(alice.get(t, stolen)))
		},
		"to the question before": func(t *testing.T, b *stage) handlerstest.Page {
			first := b.Get(essential)
			early := alice.get(t, first)
			return b.Submit(b.password(first, "alice", "wonderland"), answer(early))
		},
		"too late": func(t *testing.T, b *stage) handlerstest.Page {
			page := second(t, b)
			late := alice.get(t, page)
			s.ahead.Add(int64(challengeTTL))
			return b.Submit(page, answer(late)).Want(200, "took too long")
		},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the counter of a key
			s.ahead.Add(int64(time.Minute)) // who tries so often is held back
			b := s.another()
			try(t, b).Want(200, asksAgain)
			b.Get("/account").Want(200, "Sign in</a> first") // nobody is
			alice.key.Counter++
		})
	}

	t.Run("at another browser", func(t *testing.T) {
		page := second(t, s.another())
		s.another().Submit(page, answer(alice.get(t, page))).Want(400, "invalid_request")
	})
	t.Run("twice", func(t *testing.T) {
		b := s.another()
		page := second(t, b)
		once := alice.get(t, page)
		is(t, b.Submit(page, answer(once)), acrPasskey, "mfa", "pop", "pwd", "user")
		b.Submit(page, answer(once)).Want(400) // the kit: this interaction has ended
		third := s.another()
		third.Submit(second(t, third), answer(once)).Want(200, asksAgain)
	})
	t.Run("a question is spent by a wrong answer", func(t *testing.T) {
		b := s.another()
		page := second(t, b)
		right := alice.get(t, page)
		b.Submit(page, answer("{}")).Want(200, "was not accepted")
		b.Submit(page, answer(right)).Want(200, asksAgain)
	})
}

// TestCopiedKey: a counter that goes back closes the key.
func TestCopiedKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	d := s.enrol("alice", "wonderland")
	for n, counter := range []uint32{10, 5, 100} { // then 11, 6, 101
		d.key.Counter = counter
		b := s.another()
		page := b.Get(essential)
		got := b.Submit(page, answer(d.get(t, page)))
		if n == 0 {
			got.Member("access_token")
		} else {
			got.Want(200, "was not accepted")
		}
	}
}

// TestChallenges: of many answers to one question at the same time one counts.
func TestChallenges(t *testing.T) {
	t.Parallel()
	cs := newChallenges(time.Now)
	for range 100 {
		cs.put("a", challenge{})
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if cs.take("a") != nil {
					taken.Add(1)
				}
			})
		}
		wg.Wait()
		if n := taken.Load(); n != 1 {
			t.Fatalf("%d answers counted", n)
		}
	}
	cs.now = func() time.Time { return time.Now().Add(challengeTTL) }
	cs.all["old"] = challenge{expires: time.Now()}
	cs.put("b", challenge{})
	if len(cs.all) != 1 {
		t.Errorf("kept %d questions, of which one is open", len(cs.all))
	}
}

func TestTries(t *testing.T) {
	t.Parallel()
	s := start(t)
	page := s.Get("/app/")
	for range 10 {
		page = s.password(page, "alice", "looking-glass").Want(200, "Wrong name or password.")
	}
	if wait := s.password(page, "alice", "wonderland").Want(429, "Too many tries").Header.Get("Retry-After"); wait == "" {
		t.Error("no Retry-After")
	}
	s.password(page, "bob", "builder").Member("access_token") // another name, another count

	page = s.Get("/app/?prompt=login")
	for range 10 {
		page = s.Submit(page, answer("{}")).Want(200, "was not accepted")
	}
	s.Submit(page, answer("{}")).Want(429, "Too many tries")
}

// TestAccount: who may add a passkey.
func TestAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Get("/account").Want(200, "Sign in</a> first")
	d := s.enrol("alice", "wonderland")
	post := func(credential string) handlerstest.Page {
		return s.Do(s.Request(http.MethodPost, "/account", url.Values{"credential": {credential}}.Encode(),
			"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"))
	}

	// The password does not add a second one.
	page := s.Get("/account").Want(200, "with the one you have")
	if question.MatchString(page.Body) {
		t.Errorf("offers to add a passkey:\n%s", page.Body)
	}
	post("{}").Want(403)
	second := s.password(s.Get("/app/?prompt=login&acr_values=phr"), "alice", "wonderland")
	s.Submit(second, answer(d.get(t, second))).Member("access_token")

	page = s.Get("/account")
	for name, spoil := range map[string]func(*device){
		"from another origin": func(d *device) { d.rp.Origin = "https://evil.example" },
		"for another domain":  func(d *device) { d.rp.ID = "evil.example" },
		"known already":       func(n *device) { n.key.ID = d.key.ID },
		"without a touch":     func(d *device) { d.auth.Options.UserNotPresent = true },
	} {
		bad := newDevice(t, s.Server.Origin)
		spoil(bad)
		if page = post(bad.create(t, page)).Want(200); !strings.Contains(page.Body, "was not accepted") {
			t.Errorf("%s: %s", name, page.Body)
		}
	}
	created := newDevice(t, s.Server.Origin).create(t, page)
	cross := s.Do(s.Request(http.MethodPost, "/account", url.Values{"credential": {created}}.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"))
	cross.Want(403)
	if got := post(created).Want(200); strings.Count(got.Body, `class="passkey"`) != 2 {
		t.Errorf("not added: %s", got.Body)
	}
	post(created).Want(200, "was not accepted") // once
	page = s.Get("/account")
	post(newDevice(t, s.Server.Origin).create(t, page)+strings.Repeat(" ", 64<<10)).Want(200, "was not accepted")

	page = s.Get("/account")
	late := newDevice(t, s.Server.Origin).create(t, page)
	s.ahead.Add(int64(challengeTTL))
	page = post(late).Want(200, "was not accepted")
	s.ahead.Add(int64(challengeTTL) + int64(time.Second))
	post(newDevice(t, s.Server.Origin).create(t, page)).Want(403, "sign in again") // the sign-in is ten minutes old
}
