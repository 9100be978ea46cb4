package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/pkce"
	"github.com/idpkit/idpkit/internal/strictjson"
)

// authRequest is an authorization request that has passed every check. It is
// what PAR and interactions store; nothing of it is merged with later input.
type authRequest struct {
	ClientID      string            `json:"client_id"`
	RedirectURI   string            `json:"redirect_uri"`
	ResponseMode  string            `json:"response_mode"`
	State         string            `json:"state,omitempty"`
	Nonce         string            `json:"nonce,omitempty"`
	Scope         []string          `json:"scope,omitempty"`
	Challenge     string            `json:"code_challenge,omitempty"`
	Prompt        []string          `json:"prompt,omitempty"`
	Display       string            `json:"display,omitempty"`
	MaxAge        *int64            `json:"max_age,omitempty"` // seconds
	LoginHint     string            `json:"login_hint,omitempty"`
	HintSubject   string            `json:"hint_subject,omitempty"` // sub of a verified id_token_hint, or of the claims parameter
	Hinted        bool              `json:"hinted,omitempty"`       // by an ID token: the client has met this user
	UILocales     []string          `json:"ui_locales,omitempty"`
	ClaimsLocales []string          `json:"claims_locales,omitempty"`
	ACRValues     []string          `json:"acr_values,omitempty"`    // wanted
	EssentialACR  []string          `json:"essential_acr,omitempty"` // one of these, or no answer
	Claims        *claimsParameter  `json:"claims,omitempty"`
	Resources     []string          `json:"resource,omitempty"`
	Details       []json.RawMessage `json:"authorization_details,omitempty"`
}

func (q *authRequest) prompt(v string) bool  { return slices.Contains(q.Prompt, v) }
func (q *authRequest) has(scope string) bool { return slices.Contains(q.Scope, scope) }
func (q *authRequest) reply() reply          { return reply{q.RedirectURI, q.ResponseMode, q.State} }

// reply is the proof that an answer may leave through a redirect: it exists
// only after the client is known and the redirect URI is registered for it.
type reply struct {
	uri   string
	mode  string // query, fragment or form_post
	state string
}

const (
	maxState  = 1 << 10
	maxNonce  = 1 << 10
	maxScopes = 64

	maxResources = 16
	maxValue     = 2 << 10 // of the other parameters
)

// proveRedirect checks the redirect URI and reads what is needed to answer
// through it. RFC 6749 §3.1.2.3, RFC 9700 §2.1.
func proveRedirect(c *clientreg.Client, f form.Form) (reply, error) {
	uri := f.Get("redirect_uri")
	if len(f.All("redirect_uri")) > 1 || uri == "" || !c.MatchRedirectURI(uri) {
		return reply{}, refuse("authorize.redirect_uri", nil)
	}
	to := reply{uri: uri, mode: "query"}
	modes, states := f.All("response_mode"), f.All("state")
	if object := f.Get("request"); object != "" {
		mode, state := answerWanted(object)
		if len(modes) == 0 {
			modes = []string{mode}
		}
		if len(states) == 0 {
			states = []string{state}
		}
	}
	if len(modes) == 1 && usableResponseMode(modes[0], uri) {
		to.mode = modes[0]
	}
	if len(states) == 1 && validText(states[0], maxState) {
		to.state = states[0]
	}
	return to, nil
}

// answerWanted reads from a request object how its refusal reaches the client:
// OpenID Connect Core §3.1.2.6 wants the state back, and a client that waits
// for a form does not look at a query. That no signature is verified gives
// nobody anything, for both may stand in the query too.
func answerWanted(object string) (mode, state string) {
	var in struct {
		ResponseMode string `json:"response_mode"`
		State        string `json:"state"`
	}
	parts := strings.Split(object, ".")
	if len(parts) != 3 {
		return "", ""
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil || strictjson.Unmarshal(payload, &in, 8) != nil {
		return "", ""
	}
	return in.ResponseMode, in.State
}

// readRequest runs every check of an authorization request, the same at PAR
// and at the authorization endpoint, in the order in which they are listed.
func (p *Provider) readRequest(ctx context.Context, c *clientreg.Client, to reply, f form.Form) (*authRequest, error) {
	q := &authRequest{ClientID: c.ID, RedirectURI: to.uri, ResponseMode: to.mode, State: to.state}
	for _, check := range []func(context.Context, *clientreg.Client, form.Form, *authRequest) error{
		checkOnce,
		checkUnsupported,
		checkResponseType,
		checkResponseMode,
		checkState,
		checkNonce,
		checkPKCE,
		p.checkScope,
		p.checkPrompt,
		checkMaxAge,
		checkTexts,
		p.checkClaims,
		p.checkResource,
		p.checkDetails,
		p.checkHint,
	} {
		if err := check(ctx, c, f, q); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// checkOnce: parameters must not be sent twice. RFC 6749 §3.1.
func checkOnce(_ context.Context, _ *clientreg.Client, f form.Form, _ *authRequest) error {
	if f.Repeated("resource") != "" {
		return refuse("request.repeated", nil)
	}
	return nil
}

// checkUnsupported names what is not served instead of ignoring it.
// OpenID Connect Core §3.1.2.6.
func checkUnsupported(_ context.Context, _ *clientreg.Client, f form.Form, _ *authRequest) error {
	switch {
	case f.Get("request") != "":
		return refuse("authorize.request", nil)
	case f.Get("request_uri") != "":
		return refuse("authorize.request_uri", nil)
	case f.Get("registration") != "":
		return refuse("authorize.registration", nil)
	}
	return nil
}

// checkResponseType: code only. RFC 6749 §4.1.1, RFC 9700 §2.1.2.
func checkResponseType(_ context.Context, c *clientreg.Client, f form.Form, _ *authRequest) error {
	switch rt := f.Get("response_type"); {
	case rt == "":
		return refuse("authorize.no_response_type", nil)
	case rt != "code":
		return refuse("authorize.response_type", nil)
	case !c.HasResponseType("code"):
		return refuse("authorize.client_type", nil)
	case !c.HasGrantType("authorization_code"):
		return refuse("authorize.grant_type", nil)
	}
	return nil
}

// usableResponseMode tells whether an answer can reach the URI in that mode: a
// form cannot be posted to a private-use scheme.
func usableResponseMode(mode, uri string) bool {
	switch mode {
	case "query", "fragment":
		return true
	case "form_post":
		return strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://")
	}
	return false
}

// checkResponseMode: OAuth 2.0 Multiple Response Types §2.1, Form Post §2.
func checkResponseMode(_ context.Context, _ *clientreg.Client, f form.Form, q *authRequest) error {
	if m := f.Get("response_mode"); m != "" && !usableResponseMode(m, q.RedirectURI) {
		return refuse("authorize.response_mode", nil)
	}
	return nil
}

// checkState: echoed byte for byte, so bounded. RFC 6749 §4.1.1.
func checkState(_ context.Context, _ *clientreg.Client, f form.Form, _ *authRequest) error {
	if !validText(f.Get("state"), maxState) {
		return refuse("authorize.state", nil)
	}
	return nil
}

// checkNonce: OpenID Connect Core §3.1.2.1.
func checkNonce(_ context.Context, _ *clientreg.Client, f form.Form, q *authRequest) error {
	if q.Nonce = f.Get("nonce"); !validText(q.Nonce, maxNonce) {
		return refuse("authorize.nonce", nil)
	}
	return nil
}

// checkPKCE: S256 for every client. RFC 7636 §4.3, RFC 9700 §2.1.1.
func checkPKCE(_ context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	q.Challenge = f.Get("code_challenge")
	method := f.Get("code_challenge_method")
	switch {
	case q.Challenge == "" && method == "" && c.AllowNoPKCE && !c.Public() && slices.Contains(strings.Fields(f.Get("scope")), "openid"):
		return nil // the nonce of the ID token stands in, RFC 9700 §2.1.1
	case q.Challenge == "":
		return refuse("authorize.no_challenge", nil)
	case method != "S256":
		return refuse("authorize.challenge_method", nil)
	case !pkce.ValidChallenge(q.Challenge):
		return refuse("authorize.challenge", nil)
	}
	return nil
}

// checkScope: RFC 6749 §3.3. A value that the client is not registered for is
// refused; one that the provider does not know is dropped, as OpenID Connect
// Core §3.1.2.1 asks.
func (p *Provider) checkScope(_ context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	for _, s := range strings.Split(f.Get("scope"), " ") {
		switch {
		case s == "" && f.Get("scope") == "":
			continue
		case !validScope(s) || len(q.Scope) >= maxScopes:
			return refuse("authorize.scope", nil)
		case slices.Contains(q.Scope, s):
			continue
		case !c.AllowsScope(s):
			return refuse("authorize.scope_client", nil)
		case p.scope(s) == nil:
			continue
		}
		q.Scope = append(q.Scope, s)
	}
	if q.has("offline_access") && !c.HasGrantType("refresh_token") {
		// OpenID Connect Core §11 wants it ignored; saying nothing has cost
		// users of other providers days.
		p.cfg.Log.Warn("offline_access dropped", "client", c.ID, "reason", "the client's grant_types lack refresh_token")
		q.Scope = slices.DeleteFunc(q.Scope, func(s string) bool { return s == "offline_access" })
	}
	if len(q.Scope) == 0 && f.Get("authorization_details") == "" {
		return refuse("authorize.scope", nil)
	}
	return nil
}

// prompts lists the values of prompt that can be served. Making an account
// needs a page of the application's.
func (p *Provider) prompts() []string {
	all := []string{"none", "login", "consent", "select_account"}
	if p.cfg.RegisterURL != "" {
		all = append(all, "create")
	}
	return all
}

// checkPrompt: OpenID Connect Core §3.1.2.1; Initiating User Registration §4,
// where create contradicts what asks for an account that is there.
func (p *Provider) checkPrompt(_ context.Context, _ *clientreg.Client, f form.Form, q *authRequest) error {
	for _, v := range strings.Fields(f.Get("prompt")) {
		if !slices.Contains(p.prompts(), v) {
			return refuse("authorize.prompt", nil)
		}
		if !slices.Contains(q.Prompt, v) {
			q.Prompt = append(q.Prompt, v)
		}
	}
	if q.prompt("none") && len(q.Prompt) > 1 || q.prompt("create") && (q.prompt("login") || q.prompt("select_account")) {
		return refuse("authorize.prompt", nil)
	}
	return nil
}

// checkMaxAge: OpenID Connect Core §3.1.2.1; default_max_age of Registration §2.
func checkMaxAge(_ context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	s := f.Get("max_age")
	if s == "" {
		if c.DefaultMaxAge != nil {
			v := int64(*c.DefaultMaxAge)
			q.MaxAge = &v
		}
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 32)
	if err != nil || v < 0 || s[0] == '+' || s[0] == '-' {
		return refuse("authorize.max_age", nil)
	}
	q.MaxAge = &v
	return nil
}

// checkTexts reads the parameters that only pass through.
func checkTexts(_ context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	for _, name := range []string{"login_hint", "ui_locales", "claims_locales", "acr_values", "display"} {
		if !validText(f.Get(name), maxValue) {
			return refuse("authorize.parameter", errors.New(name))
		}
	}
	q.LoginHint = f.Get("login_hint")
	if d := f.Get("display"); slices.Contains([]string{"page", "popup", "touch", "wap"}, d) {
		q.Display = d
	}
	q.UILocales = strings.Fields(f.Get("ui_locales"))
	q.ClaimsLocales = strings.Fields(f.Get("claims_locales"))
	q.ACRValues = strings.Fields(f.Get("acr_values"))
	if len(q.ACRValues) == 0 {
		q.ACRValues = slices.Clone(c.DefaultACRValues)
	}
	return nil
}

// checkResource: RFC 8707 §2.
func (p *Provider) checkResource(_ context.Context, _ *clientreg.Client, f form.Form, q *authRequest) error {
	for _, r := range f.All("resource") {
		if p.api(r) == nil || len(q.Resources) >= maxResources {
			return refuse("authorize.resource", nil)
		}
		if !slices.Contains(q.Resources, r) {
			q.Resources = append(q.Resources, r)
		}
	}
	return nil
}

// checkHint: an ID token of ours for this client, expired or not. OpenID
// Connect Core §3.1.2.1.
func (p *Provider) checkHint(ctx context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	hint := f.Get("id_token_hint")
	if hint == "" {
		return nil
	}
	t, err := p.readHint(ctx, hint)
	if err != nil {
		return err
	}
	if !slices.Contains(t.Audience(), c.ID) {
		return refuse("authorize.hint", errors.New("another client's ID token"))
	}
	if q.HintSubject != "" && q.HintSubject != t.Subject() {
		return refuse("authorize.hint", errors.New("the claims parameter names another user"))
	}
	q.HintSubject, q.Hinted = t.Subject(), true
	return nil
}

// api returns the configured resource, or nil.
func (p *Provider) api(identifier string) *API {
	for i := range p.cfg.APIs {
		if p.cfg.APIs[i].Identifier == identifier {
			return &p.cfg.APIs[i]
		}
	}
	return nil
}

// validText tells whether s is short enough and free of control characters.
// Valid UTF-8 without NUL is the form parser's promise.
func validText(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// validScope: scope-token of RFC 6749 §3.3.
func validScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// formError bridges the form parser's errors.
func formError(err error) error {
	switch {
	case errors.Is(err, form.ErrTooLarge):
		return refuse("request.too_large", err)
	case errors.Is(err, form.ErrMediaType), errors.Is(err, form.ErrEncoding):
		return refuse("request.media_type", err)
	}
	if errors.Is(err, form.ErrTooMany) || errors.Is(err, form.ErrMalformed) {
		return refuse("request.malformed", err)
	}
	return err // a middleware has read the body: a fault of ours
}
