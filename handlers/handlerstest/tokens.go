package handlerstest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/internal/jose"
)

// Tokens is a token response, RFC 6749 §5.1, with the ID token verified.
type Tokens struct {
	Access    string
	Type      string // Bearer, as the provider spells it
	ExpiresIn time.Duration
	Refresh   string   // empty: none
	Scope     []string // nil: what was asked for
	ID        string   // empty: none
	Subject   string   // of the ID token
	Claims    map[string]any
	Details   []map[string]any // authorization_details, RFC 9396 §7

	nonce string
}

// Tokens sends a token request as this client. It fails the test unless tokens
// come, and unless the ID token, if there is one, passes OpenID Connect Core
// §3.1.3.7: the signature by the provider's published keys, issuer, audience,
// times by the server's clock, the nonce of the request, and the hash of the
// access token.
func (rp *RP) Tokens(form url.Values) *Tokens {
	rp.t.Helper()
	want := expected{}
	rp.mu.Lock()
	for _, r := range rp.pending {
		if r.verifier == form.Get("code_verifier") {
			want.nonce = r.nonce
		}
	}
	rp.mu.Unlock()
	return rp.tokens(form, want)
}

// expected is what an ID token must say beyond what they all must.
type expected struct {
	nonce   string
	renewed bool   // a refreshed one need not repeat the nonce, OpenID Connect Core §12.2
	subject string // "": any
}

func (rp *RP) tokens(form url.Values, want expected) *Tokens {
	rp.t.Helper()
	p := rp.Post("token_endpoint", form)
	if e := p.Err(); e != nil {
		rp.t.Fatalf("%s is refused: %v", form.Get("grant_type"), e)
	}
	t, err := parseTokens(p.Want(http.StatusOK))
	if err != nil {
		rp.t.Fatalf("%v: %s", err, p)
	}
	t.nonce, t.Subject = want.nonce, want.subject
	if t.ID == "" && slices.Contains(t.Scope, "openid") { // OpenID Connect Core §3.1.3.3
		rp.t.Fatalf("the scope is %q, and there is no ID token: %s", t.Scope, p)
	}
	if t.ID != "" {
		if err := rp.verify(t, want); err != nil {
			rp.t.Fatalf("the ID token is not valid: %v: %s", err, p)
		}
	}
	return t
}

func parseTokens(p Page) (*Tokens, error) {
	if cc := p.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") { // RFC 6749 §5.1
		return nil, fmt.Errorf("tokens with Cache-Control %q", cc)
	}
	var v struct {
		Access    string           `json:"access_token"`
		Type      string           `json:"token_type"`
		ExpiresIn int64            `json:"expires_in"`
		Refresh   string           `json:"refresh_token"`
		Scope     *string          `json:"scope"`
		ID        string           `json:"id_token"`
		Details   []map[string]any `json:"authorization_details"`
	}
	if err := json.Unmarshal([]byte(p.Body), &v); err != nil {
		return nil, err
	}
	if v.Access == "" || v.Type == "" {
		return nil, errors.New("no access_token or token_type")
	}
	t := &Tokens{
		Access: v.Access, Type: v.Type, ExpiresIn: time.Duration(v.ExpiresIn) * time.Second,
		Refresh: v.Refresh, ID: v.ID, Details: v.Details,
	}
	if v.Scope != nil {
		t.Scope = strings.Fields(*v.Scope)
	}
	return t, nil
}

// verify checks the ID token and reads its claims, OpenID Connect Core
// §3.1.3.7.
func (rp *RP) verify(t *Tokens, want expected) error {
	rp.t.Helper()
	meta := rp.server.Metadata(rp.t)
	var algs []string
	if alg := rp.Client.IDTokenSignedResponseAlg; alg != "" {
		algs = []string{alg}
	} else {
		list, _ := meta["id_token_signing_alg_values_supported"].([]any)
		for _, a := range list {
			if s, ok := a.(string); ok {
				algs = append(algs, s)
			}
		}
	}
	uri, _ := meta["jwks_uri"].(string)
	keys, err := jose.ParseKeySet(rp.server.read(rp.t, uri))
	if err != nil {
		return fmt.Errorf("%s: %w", uri, err)
	}
	token, err := jose.Verify(t.ID, keys, algs)
	if err != nil {
		return err
	}
	if err := judge(token, rp.server.Issuer, rp.Client.ID, want, rp.server.Now()); err != nil {
		return err
	}
	if h, ok := token.Claims["at_hash"]; ok && h != jose.AtHash(token.Header.Alg, t.Access) {
		return fmt.Errorf("at_hash %v is not of the access token", h)
	}
	t.Subject, t.Claims = token.Subject(), token.Claims
	return nil
}

// judge checks the claims of a token whose signature is verified.
func judge(token *jose.Token, issuer, client string, want expected, now time.Time) error {
	azp, hasAZP := token.Claims["azp"]
	exp, hasExp := token.ExpiresAt()
	iat, hasIat := token.IssuedAt()
	nonce, hasNonce := token.Claims["nonce"]
	switch {
	case token.Issuer() != issuer:
		return fmt.Errorf("iss %q, want %q", token.Issuer(), issuer)
	case token.Subject() == "":
		return errors.New("no sub")
	case want.subject != "" && token.Subject() != want.subject:
		return fmt.Errorf("sub %q, and before it was %q", token.Subject(), want.subject)
	case !slices.Contains(token.Audience(), client):
		return fmt.Errorf("aud %q, want %q", token.Audience(), client)
	case hasAZP && azp != client, len(token.Audience()) > 1 && !hasAZP:
		return fmt.Errorf("azp %v, want %q", azp, client)
	case !hasExp || !now.Before(exp):
		return fmt.Errorf("exp %v, and it is %v", token.Claims["exp"], now.Unix())
	case !hasIat || iat.After(now.Add(time.Second)): // iat may be rounded
		return fmt.Errorf("iat %v, and it is %v", token.Claims["iat"], now.Unix())
	case hasNonce && nonce != want.nonce, !hasNonce && want.nonce != "" && !want.renewed:
		return fmt.Errorf("nonce %v, want %q", nonce, want.nonce)
	}
	return nil
}

// Refresh uses the refresh token. An ID token that comes must be of the same
// subject, OpenID Connect Core §12.2.
func (rp *RP) Refresh(t *Tokens) *Tokens {
	rp.t.Helper()
	return rp.tokens(RefreshRequest(t), expected{t.nonce, true, t.Subject})
}

// RefreshRequest is the token request that Refresh sends.
func RefreshRequest(t *Tokens) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}}
}

// ClientCredentials gets tokens on the client's own behalf, RFC 6749 §4.4, for
// Scope if it is set. edit changes the request as in Begin.
func (rp *RP) ClientCredentials(edit ...string) *Tokens {
	rp.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if rp.Scope != "" {
		form.Set("scope", rp.Scope)
	}
	return rp.Tokens(change(form, edit))
}

// UserInfo returns the claims of the UserInfo endpoint. sub must be that of the
// ID token, OpenID Connect Core §5.3.2.
func (rp *RP) UserInfo(t *Tokens) map[string]any {
	rp.t.Helper()
	p := rp.Call(http.MethodGet, "userinfo_endpoint", t.Access)
	claims := p.Want(http.StatusOK).JSON()
	if sub := claims["sub"]; sub != t.Subject {
		rp.t.Fatalf("sub %v, and that of the ID token is %q: %s", sub, t.Subject, p)
	}
	return claims
}

// Introspect asks about a token of either kind, RFC 7662 §2, and returns the
// answer. The client must be confidential.
func (rp *RP) Introspect(token string) map[string]any {
	rp.t.Helper()
	return rp.Post("introspection_endpoint", url.Values{"token": {token}}).Want(http.StatusOK).JSON()
}

// Revoke takes a token of either kind back, RFC 7009 §2.
func (rp *RP) Revoke(token string) {
	rp.t.Helper()
	rp.Post("revocation_endpoint", url.Values{"token": {token}}).Want(http.StatusOK)
}

// LogOut sends the browser to the logout endpoint with the ID token as hint and
// returns where it ends, OpenID Connect RP-Initiated Logout §2. If the client
// has a post-logout redirect URI, the browser must come back there with the
// state, unless a page asks first: Page.Leaves is nil then.
func (rp *RP) LogOut(b *Browser, t *Tokens) Page {
	rp.t.Helper()
	q := url.Values{"id_token_hint": {t.ID}, "client_id": {rp.Client.ID}}
	back := ""
	if uris := rp.Client.PostLogoutRedirectURIs; len(uris) > 0 {
		back = uris[0]
		q.Set("post_logout_redirect_uri", back)
		q.Set("state", rand.Text())
	}
	p := rp.open(b, rp.endpoint("end_session_endpoint")+"?"+q.Encode())
	if p.Leaves == nil {
		return p.Want(http.StatusOK)
	}
	if !strings.HasPrefix(p.Leaves.String(), back) || p.Leaves.Query().Get("state") != q.Get("state") {
		rp.t.Fatalf("logout leads elsewhere than %q with state %q: %s", back, q.Get("state"), p)
	}
	return p
}
