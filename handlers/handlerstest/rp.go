package handlerstest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
)

// RP is a relying party: a client with authorization code, PKCE and pushed
// requests, which verifies what it gets. It has no address; its redirect URI is
// where browsers stop. It belongs to the test it was made in; set its fields
// before its first request.
type RP struct {
	// Client is the client as it is registered.
	Client clientreg.Client

	// Secret authenticates the client by its method, client_secret_basic or
	// client_secret_post. NewRP knows that of a client it has registered; set it
	// for a client that was there before.
	Secret string

	// Authenticate replaces that, for other methods: it adds what proves the
	// client to a request before it is sent. client_id is in form already.
	Authenticate func(endpoint string, form url.Values, h http.Header)

	// RedirectURI is the first one of Client.
	RedirectURI string

	// Scope is what is asked for. Empty: openid.
	Scope string

	// Direct sends authorization requests by the browser instead of pushing them.
	Direct bool

	// Origin makes the relying party a script of that origin: requests carry it,
	// and an answer that the browser would keep from the script fails the test.
	Origin string

	// Consent is what SignIn answers to a consent page. nil: the button do=allow,
	// which the built-in page has.
	Consent url.Values

	t       testing.TB
	server  *Server
	mu      *sync.Mutex
	pending map[string]request // by state
}

// request is an authorization request under way.
type request struct {
	state, nonce, verifier, redirect string
}

// NewRP returns a relying party. If Serve made the server and its configuration
// has no client of that ID, the client is registered, with a secret if its
// method needs one and it has none; a redirect URI it lacks is
// https://rp.example/cb. At other servers c says how the client is registered.
func NewRP(t testing.TB, s *Server, c clientreg.Client) *RP {
	t.Helper()
	rp := &RP{t: t, server: s, mu: &sync.Mutex{}, pending: map[string]request{}}
	if s.clients != nil {
		if len(c.RedirectURIs) == 0 && c.HasGrantType("authorization_code") {
			c.RedirectURIs = []string{"https://rp.example/cb"}
		}
		known, err := s.clients.add(t.Context(), c)
		if err != nil {
			t.Fatalf("client %q: %v", c.ID, err)
		}
		if err := s.Provider.Serves(&known.Client); err != nil {
			t.Fatal(err)
		}
		c, rp.Secret = known.Client, known.secret
	}
	rp.Client = c
	if len(c.RedirectURIs) > 0 {
		rp.RedirectURI = c.RedirectURIs[0]
	}
	for _, raw := range slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs) {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		s.stop(u)
	}
	return rp
}

// In returns the same relying party for a subtest.
func (rp *RP) In(t testing.TB) *RP {
	c := *rp
	c.t = t
	return &c
}

// SignIn signs a person in from the first request to tokens: it fills in the
// sign-in page if there is one, see Browser.SignIn, and the consent page if
// there is one, see Consent. For pages between, use Begin and Finish. edit
// changes the authorization request as in Begin.
func (rp *RP) SignIn(b *Browser, username, password string, edit ...string) *Tokens {
	rp.t.Helper()
	return rp.Finish(rp.walk(b, rp.Begin(b, edit...), username, password))
}

// walk goes from a first page through sign-in and consent, where they are asked
// for.
func (rp *RP) walk(b *Browser, p Page, username, password string) Page {
	rp.t.Helper()
	if p.Leaves == nil && p.asksPassword() {
		p = b.SignIn(p, username, password)
		if p.Leaves == nil && p.asksPassword() {
			rp.t.Fatalf("the sign-in page is shown again: %s", p)
		}
	}
	if p.Leaves != nil {
		return p
	}
	consent := rp.Consent
	if consent == nil {
		consent = url.Values{"do": {"allow"}}
	}
	return b.Submit(p, consent)
}

// Begin sends an authorization request and opens the browser with it, which comes
// from the site of the redirect URI. It returns where that leads: a sign-in page, a consent page, an error page, or the answer
// if nothing is asked. edit changes the request: pairs of name and value, an
// empty value removes.
func (rp *RP) Begin(b *Browser, edit ...string) Page {
	rp.t.Helper()
	return rp.open(b, rp.AuthorizationURL(edit...))
}

// open opens a page of the provider from the relying party's: a website has one,
// a native application none.
func (rp *RP) open(b *Browser, at string) Page {
	rp.t.Helper()
	from, err := url.Parse(rp.RedirectURI)
	if err != nil {
		rp.t.Fatal(err)
	}
	to, err := url.Parse(at)
	if err != nil {
		rp.t.Fatal(err)
	}
	if from.Scheme != "https" && from.Hostname() != to.Hostname() {
		return b.open(at, "none")
	}
	return b.open(at, site(from, to))
}

// AuthorizationURL is where Begin sends the browser.
func (rp *RP) AuthorizationURL(edit ...string) string {
	rp.t.Helper()
	form := rp.AuthorizationRequest(edit...)
	at := rp.endpoint("authorization_endpoint") + "?"
	if rp.Direct {
		return at + form.Encode()
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	rp.Post("pushed_authorization_request_endpoint", form).Want(http.StatusCreated).Decode(&pushed)
	return at + url.Values{"client_id": {rp.Client.ID}, "request_uri": {pushed.RequestURI}}.Encode()
}

// AuthorizationRequest makes a new authorization request, with fresh state,
// nonce and code verifier, whose answer this relying party will know. edit is as
// in Begin, which sends it; a test that wants it refused pushes it:
//
//	form := rp.AuthorizationRequest("response_type", "token")
//	rp.Post("pushed_authorization_request_endpoint", form).WantError(400, "unsupported_response_type")
func (rp *RP) AuthorizationRequest(edit ...string) url.Values {
	r := request{state: rand.Text(), nonce: rand.Text(), verifier: rand.Text() + rand.Text(), redirect: rp.RedirectURI}
	challenge := sha256.Sum256([]byte(r.verifier))
	form := url.Values{
		"client_id": {rp.Client.ID}, "response_type": {"code"}, "redirect_uri": {r.redirect}, "scope": {rp.scope()},
		"state": {r.state}, "nonce": {r.nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	change(form, edit)
	r.state, r.nonce, r.redirect = form.Get("state"), form.Get("nonce"), form.Get("redirect_uri")
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.pending[r.state] = r
	return form
}

// change sets and removes parameters: pairs of name and value, an empty value
// removes.
func change(form url.Values, edit []string) url.Values {
	for i := 0; i+1 < len(edit); i += 2 {
		if edit[i+1] == "" {
			form.Del(edit[i])
		} else {
			form.Set(edit[i], edit[i+1])
		}
	}
	return form
}

func (rp *RP) scope() string {
	if rp.Scope == "" {
		return "openid"
	}
	return rp.Scope
}

// Answer checks that the browser brings an answer to a request of this relying
// party, a code or an error, and returns it: at the redirect URI, no parameter
// twice, with the request's state, RFC 6749 §4.1.2, and with the issuer,
// RFC 9207 §2.4.
func (rp *RP) Answer(p Page) url.Values {
	rp.t.Helper()
	q, _, err := rp.checkAnswer(p)
	if err != nil {
		rp.t.Fatalf("%v: %s", err, p)
	}
	return q
}

func (rp *RP) checkAnswer(p Page) (url.Values, request, error) {
	if p.Leaves == nil { // an answer by form_post waits for a script or a press
		if f, err := p.Form(nil); err == nil && rp.server.away(f.Action) {
			p.Leaves, p.Posted = f.Action, f.Values
		}
	}
	if p.Leaves == nil {
		return nil, request{}, errors.New("the browser has not come back to the relying party")
	}
	q := p.answer()
	for name, values := range q {
		if len(values) > 1 {
			return nil, request{}, fmt.Errorf("parameter %s is there %d times", name, len(values))
		}
	}
	rp.mu.Lock()
	r, ok := rp.pending[q.Get("state")]
	rp.mu.Unlock()
	if !ok {
		return nil, request{}, fmt.Errorf("state %q is of no request of this relying party", q.Get("state"))
	}
	want, err := url.Parse(r.redirect)
	if err != nil {
		return nil, request{}, err
	}
	if bare(p.Leaves) != bare(want) {
		return nil, request{}, fmt.Errorf("the answer goes to %s, want %s", bare(p.Leaves), r.redirect)
	}
	for name, values := range want.Query() {
		if p.Leaves.Query().Get(name) != values[0] {
			return nil, request{}, fmt.Errorf("the answer lacks %s of the redirect URI", name)
		}
	}
	if iss := q.Get("iss"); iss != rp.server.Issuer {
		return nil, request{}, fmt.Errorf("iss %q, want %q", iss, rp.server.Issuer)
	}
	if q.Has("code") == q.Has("error") {
		return nil, request{}, errors.New("the answer must be a code or an error")
	}
	return q, r, nil
}

// WantError fails the test unless the answer that the browser brings is an error
// with the code. Everything else about it is checked as by Answer.
func (rp *RP) WantError(p Page, code string) *Error {
	rp.t.Helper()
	q := rp.Answer(p)
	if q.Get("error") != code {
		rp.t.Fatalf("error %q, want %q: %s", q.Get("error"), code, p)
	}
	return &Error{p.Status, code, q.Get("error_description"), p}
}

// CodeRequest checks the answer and returns the token request that redeems its
// code. Finish sends it; a test that wants it refused changes it first:
//
//	form := rp.CodeRequest(page)
//	form.Set("code_verifier", "of somebody else")
//	rp.Post("token_endpoint", form).WantError(400, "invalid_grant")
func (rp *RP) CodeRequest(p Page) url.Values {
	rp.t.Helper()
	q, r, err := rp.checkAnswer(p)
	if err != nil {
		rp.t.Fatalf("%v: %s", err, p)
	}
	if q.Has("error") {
		rp.t.Fatalf("the answer is %s (%s): %s", q.Get("error"), q.Get("error_description"), p)
	}
	return url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {r.redirect}, "code_verifier": {r.verifier}}
}

// Finish redeems the code that the browser brings and verifies what comes.
func (rp *RP) Finish(p Page) *Tokens {
	rp.t.Helper()
	return rp.Tokens(rp.CodeRequest(p))
}

// Post sends a form to an endpoint as this client, and returns the answer,
// whatever it is. The endpoint is its name in the metadata, such as
// "token_endpoint", a path of the origin, or an absolute URL.
func (rp *RP) Post(endpoint string, form url.Values) Page {
	rp.t.Helper()
	at := rp.endpoint(endpoint)
	form = maps.Clone(form)
	if form == nil {
		form = url.Values{}
	}
	h := http.Header{"Content-Type": {asForm}, "Accept": {"application/json"}}
	switch method := rp.Client.AuthMethod(); {
	case rp.Authenticate != nil:
		form.Set("client_id", rp.Client.ID)
		rp.Authenticate(at, form, h)
	case method == "none":
		form.Set("client_id", rp.Client.ID)
	case method == "client_secret_post":
		form.Set("client_id", rp.Client.ID)
		form.Set("client_secret", rp.Secret)
	case method == "client_secret_basic":
		form.Del("client_id")
		r := http.Request{Header: h}
		r.SetBasicAuth(url.QueryEscape(rp.Client.ID), url.QueryEscape(rp.Secret)) // RFC 6749 §2.3.1
	default:
		rp.t.Fatalf("client %q: set Authenticate for %s", rp.Client.ID, method)
	}
	r := newRequest(rp.t, rp.server, http.MethodPost, at, form.Encode())
	r.Header = h
	return rp.send(r)
}

// Call sends a request with an access token, RFC 6750 §2.1, to an endpoint as in
// Post, such as an API of yours beside the provider, and returns the answer.
func (rp *RP) Call(method, endpoint, access string) Page {
	rp.t.Helper()
	return rp.send(newRequest(rp.t, rp.server, method, rp.endpoint(endpoint), "", "Authorization", "Bearer "+access, "Accept", "application/json"))
}

func (rp *RP) send(r *http.Request) Page {
	rp.t.Helper()
	if rp.Origin != "" {
		r.Header.Set("Origin", rp.Origin)
	}
	p, err := roundTrip(newClient(rp.server, nil), r)
	if err != nil {
		rp.t.Fatal(err)
	}
	p.t = rp.t
	if allowed := p.Header.Get("Access-Control-Allow-Origin"); rp.Origin != "" && allowed != rp.Origin && allowed != "*" {
		rp.t.Fatalf("a browser keeps the answer from a script of %s: Access-Control-Allow-Origin %q: %s", rp.Origin, allowed, p)
	}
	return p
}

// endpoint returns the URL of an endpoint.
func (rp *RP) endpoint(name string) string {
	rp.t.Helper()
	if strings.Contains(name, "/") {
		return name
	}
	u, _ := rp.server.Metadata(rp.t)[name].(string)
	if u == "" {
		rp.t.Fatalf("the metadata name no %s: is it switched on?", name)
	}
	return u
}
