package middleware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/internal/strictjson"
)

// Introspection guards an API in a process of its own: its Verifier asks the
// provider what an access token is worth, RFC 7662. A token is accepted if the
// provider says active and token_type Bearer, so that no refresh token passes,
// and names no key that the token is bound to (cnf, RFC 7800): that cannot be
// checked here, and whoever stole a bound token must not get in as its bearer.
// The audience is for Rule.Audience to check.
//
// Whatever goes wrong between here and the provider is an outage, which Protect
// answers with 503: the client keeps its token, and nothing is remembered.
//
// How long does a revoked token live? Until the answer to the last question that
// was asked before the revocation is no longer used. With the zero MaxAge that
// is the time which one question takes, at most Timeout; otherwise MaxAge.
type Introspection struct {
	// Endpoint is the provider's introspection_endpoint: https, or http on a
	// loopback host. Redirects are not followed.
	Endpoint string

	// ClientID and ClientSecret authenticate the API itself, by
	// client_secret_basic, RFC 6749 §2.3.1.
	ClientID, ClientSecret string

	// Authenticate stands in for them. It adds to the header or the form of each
	// question what proves who asks, such as client_assertion for
	// private_key_jwt. It is called again for each question, concurrently.
	Authenticate func(ctx context.Context, header http.Header, form url.Values) error

	// Issuer, if set, must be the iss of every answer. It matters where one
	// endpoint answers for several providers.
	Issuer string

	// MaxAge is how long an answer is used again, never past the token's exp; 0:
	// each request asks, and only requests that come at the same time share an
	// answer. 30 s takes most of the load from a provider. At most an hour. That
	// a token is not active is remembered for 5 s at most.
	MaxAge time.Duration

	// Timeout bounds one question. 0: 5 s.
	Timeout time.Duration

	// HTTPClient sends the questions; its CheckRedirect is not used. nil: one
	// without proxy and with at most 64 connections.
	HTTPClient *http.Client

	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

const (
	maxAnswer   = 64 << 10 // bytes of an answer that are read
	maxKept     = 8 << 10  // bytes of an answer that is kept
	answerDepth = 16
)

// Verifier checks the configuration and returns the Verifier for Protect. Keep
// one for all requests: it holds the answers.
func (c Introspection) Verifier() (Verifier, error) {
	bad := func(field, fix string) (Verifier, error) {
		return nil, fmt.Errorf("middleware.Introspection.%s: %s", field, fix)
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "":
		return bad("Endpoint", "is no absolute URL")
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())):
		return bad("Endpoint", "must be https, save on a loopback host: tokens travel there")
	case u.User != nil || u.Fragment != "":
		return bad("Endpoint", "must have no user-info and no fragment")
	case c.Authenticate == nil && (c.ClientID == "" || c.ClientSecret == ""):
		return bad("ClientSecret", "set ClientID and ClientSecret, or Authenticate: the endpoint asks who is asking, RFC 7662 §2.1")
	case c.Authenticate != nil && c.ClientSecret != "":
		return bad("Authenticate", "set either it or ClientSecret")
	case c.MaxAge < 0 || c.MaxAge > time.Hour:
		return bad("MaxAge", "must be between 0 and an hour")
	case c.Timeout < 0:
		return bad("Timeout", "must not be negative")
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	client := http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext, TLSHandshakeTimeout: c.Timeout, MaxResponseHeaderBytes: 16 << 10,
	}}
	if c.HTTPClient != nil {
		client = *c.HTTPClient
	}
	// A redirect would take token and credentials to whomever it names.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &introspector{Introspection: c, client: client, flights: map[tokenKey]*flight{},
		active: map[tokenKey]kept{}, inactive: map[tokenKey]kept{}}, nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// VerifyAccess implements Verifier.
func (v *introspector) VerifyAccess(ctx context.Context, r *http.Request) (*Principal, error) {
	token, err := BearerToken(r)
	if err != nil {
		return nil, err
	}
	a, err := v.answer(ctx, token)
	if err != nil {
		return nil, err
	}
	return v.principal(a)
}

// answer is RFC 7662 §2.2. Requests share it and do not change it.
type answer struct {
	Active    *bool             `json:"active"`
	TokenType string            `json:"token_type"`
	TokenUse  string            `json:"token_use"` // not of the RFC: some say here what no token_type says
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	ClientID  string            `json:"client_id"`
	Scope     string            `json:"scope"`
	Audience  oneOrMany         `json:"aud"`
	Exp       *float64          `json:"exp"`
	Nbf       *float64          `json:"nbf"`
	AuthTime  *float64          `json:"auth_time"` // RFC 9470 §6.2
	ACR       string            `json:"acr"`
	Details   []json.RawMessage `json:"authorization_details"` // RFC 9396 §9.2
	Cnf       json.RawMessage   `json:"cnf"`
	body      []byte            // all of an active one
}

// oneOrMany is aud: a string, or a list of them.
type oneOrMany []string

func (a *oneOrMany) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = make([]string, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

var errAnswer = errors.New("introspection: malformed answer")

// parseAnswer is strict: an answer that two parsers would read in two ways
// opens nothing.
func parseAnswer(body []byte) (*answer, error) {
	var a answer
	if err := strictjson.Unmarshal(body, &a, answerDepth); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if a.Active == nil {
		return nil, fmt.Errorf("%w: active is missing", errAnswer)
	}
	for _, t := range [...]*float64{a.Exp, a.Nbf, a.AuthTime} {
		if t != nil && (*t < 0 || *t > 1<<40) {
			return nil, fmt.Errorf("%w: a time out of range", errAnswer)
		}
	}
	if !*a.Active {
		return &answer{Active: a.Active}, nil // nothing else of it counts
	}
	a.body = body
	return &a, nil
}

// principal checks an answer against the clock and the configuration. Each
// request gets a principal of its own, so that no handler can change another's.
func (v *introspector) principal(a *answer) (*Principal, error) {
	refuse := func(why string) (*Principal, error) {
		return nil, fmt.Errorf("%w: %s", ErrInvalidToken, why)
	}
	now := v.Now()
	switch {
	case !*a.Active:
		return refuse("not active")
	case !strings.EqualFold(a.TokenType, "Bearer") || a.TokenUse != "" && a.TokenUse != "access_token":
		return refuse("not a bearer access token")
	case len(a.Cnf) > 0 && !bytes.Equal(a.Cnf, []byte("null")):
		return refuse("bound to a key")
	case v.Issuer != "" && a.Issuer != v.Issuer:
		return refuse("of another issuer")
	case a.Exp != nil && !now.Before(numericDate(a.Exp)):
		return refuse("expired")
	case a.Nbf != nil && numericDate(a.Nbf).After(now.Add(time.Minute)): // a minute: the provider, whose clock counts, has checked it
		return refuse("not valid yet")
	}
	p := &Principal{
		Subject: a.Subject, ClientID: a.ClientID, Scope: strings.Fields(a.Scope), Audience: slices.Clone(a.Audience),
		AuthTime: numericDate(a.AuthTime), ExpiresAt: numericDate(a.Exp), ACR: a.ACR,
	}
	for _, d := range a.Details {
		p.Details = append(p.Details, bytes.Clone(d))
	}
	if err := json.Unmarshal(a.body, &p.Claims); err != nil {
		return nil, errAnswer
	}
	return p, nil
}

// numericDate is RFC 7519 §2; absent is the zero time.
func numericDate(t *float64) time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Unix(int64(math.Floor(*t)), 0)
}

// ask puts the question, RFC 7662 §2.1.
func (v *introspector) ask(ctx context.Context, token string) (_ []byte, err error) {
	// A panic of foreign code on this goroutine would end the process.
	defer func() {
		if recover() != nil {
			err = errors.New("introspection: panic in Authenticate or HTTPClient")
		}
	}()
	header := http.Header{"Accept": {"application/json"}}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if v.Authenticate != nil {
		if err := v.Authenticate(ctx, header, form); err != nil {
			// Not wrapped: whatever it says, it is no verdict on the token.
			return nil, fmt.Errorf("introspection: Authenticate: %v", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	if v.Authenticate == nil {
		req.SetBasicAuth(url.QueryEscape(v.ClientID), url.QueryEscape(v.ClientSecret))
	}
	res, err := v.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("introspection: status %d", res.StatusCode)
	}
	if media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, errors.New("introspection: the answer is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("introspection: %w", err)
	case len(body) > maxAnswer:
		return nil, errors.New("introspection: the answer is longer than 64 KiB")
	}
	return body, nil
}
