package handlers

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/fetch"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/internal/jose"
	"github.com/idpkit/idpkit/storage"
)

// Client assertions: private_key_jwt, RFC 7523 §2.2 and §3 with the stricter
// audience of rfc7523bis, OpenID Connect Core §9.

// assertionType is the only client_assertion_type, RFC 7523 §2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// assertionLife is how long an assertion may live, from either end: exp is at
	// most so far ahead, iat at most so far back.
	assertionLife = 5 * time.Minute

	// assertionSkew is how much the client's clock may be ahead of ours. Clients
	// exist that use up the five minutes by default.
	assertionSkew = time.Minute

	maxJTI = 256 // bytes
)

// assertionAlgs are taken from a client that registered no
// token_endpoint_auth_signing_alg. HS256 and none do not exist in internal/jose.
func assertionAlgs() []string {
	return []string{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}
}

// newFetcher makes the one way out of the provider. roots nil: the system's.
func newFetcher(c *Config, roots *x509.CertPool) *fetch.Fetcher {
	return fetch.New(fetch.Options{AllowLoopback: c.InsecureFetchLoopback, RootCAs: roots, Now: c.Now})
}

// readAssertion reads an assertion as the way in which a request authenticates.
// Many clients send no client_id beside it: the subject then says whose keys to
// look for, and no more. RFC 7521 §4.2.
func readAssertion(f form.Form) (credentials, error) {
	id, assertion := f.Get("client_id"), f.Get("client_assertion")
	if f.Get("client_assertion_type") != assertionType || assertion == "" {
		return credentials{}, refuse("assertion.type", nil)
	}
	if id == "" {
		_, sub, err := jose.Peek(assertion)
		if err != nil {
			return credentials{}, assertionError(err)
		}
		if sub == "" {
			return credentials{}, refuse("assertion.subject", nil)
		}
		id = sub
	}
	return credentials{method: "private_key_jwt", ids: []string{id}, assertion: assertion}, nil
}

// checkAssertion authenticates a client. Its last step spends the jti, so that
// an assertion that is refused for anything else stays good; whatever the
// request goes on to spend comes after.
func (p *Provider) checkAssertion(ctx context.Context, r *http.Request, c *clientreg.Client, assertion string) error {
	t, err := p.verifyAssertion(ctx, c, assertion)
	if err != nil {
		return err
	}
	if err := p.checkAssertionClaims(r, c, t); err != nil {
		return err
	}
	return p.spendAssertion(ctx, r, c, t.ID())
}

// verifyAssertion checks the signature under the client's keys. When they are
// at a URL and none of them fits, they are read anew, which fetch does once a
// minute at most: the client may have made a new key since.
func (p *Provider) verifyAssertion(ctx context.Context, c *clientreg.Client, assertion string) (*jose.Token, error) {
	algs := assertionAlgs()
	if alg := c.TokenEndpointAuthSigningAlg; alg != "" {
		algs = []string{alg}
	}
	if len(c.JWKS) > 0 {
		return verifyUnder(c.JWKS, assertion, algs)
	}
	set, err := p.fetch.Get(ctx, c.JWKSURI)
	if err != nil {
		// Not an outage of ours: no other request, and no repeated one, fails
		// for it. The client sees that it could not be authenticated, and the
		// log says why; why would tell a stranger about our network.
		return nil, refuse("assertion.keys", err)
	}
	t, err := verifyUnder(set, assertion, algs)
	if err == nil || !slices.Contains([]string{"assertion.keys", "assertion.key", "assertion.signature"}, toError(err).Reason) {
		return t, err
	}
	newer, fetchErr := p.fetch.Refresh(ctx, c.JWKSURI)
	if fetchErr != nil || bytes.Equal(newer, set) {
		return nil, err
	}
	return verifyUnder(newer, assertion, algs)
}

// verifyUnder checks the signature under the keys of a set.
func verifyUnder(set []byte, assertion string, algs []string) (*jose.Token, error) {
	keys, err := jose.ParseKeySet(set)
	if err != nil {
		return nil, refuse("assertion.keys", err)
	}
	t, err := jose.Verify(assertion, keys, algs)
	if err != nil {
		return nil, assertionError(err)
	}
	return t, nil
}

// assertionError gives what internal/jose refuses its reason.
func assertionError(err error) *Error {
	switch {
	case errors.Is(err, jose.ErrAlgorithm):
		return refuse("assertion.algorithm", err)
	case errors.Is(err, jose.ErrKey):
		return refuse("assertion.key", err)
	case errors.Is(err, jose.ErrSignature):
		return refuse("assertion.signature", err)
	}
	return refuse("assertion.malformed", err)
}

// checkAssertionClaims checks what a verified assertion says, RFC 7523 §3 (1) to
// (7).
func (p *Provider) checkAssertionClaims(r *http.Request, c *clientreg.Client, t *jose.Token) error {
	// Access tokens, request objects, DPoP proofs: whatever else is signed with
	// the same key has another type, RFC 8725 §3.11.
	if h := t.Header; h.Type != "" && !h.IsType("JWT") && !h.IsType("client-authentication+jwt") {
		return refuse("assertion.typ", nil)
	}
	if t.Issuer() != c.ID || t.Subject() != c.ID {
		return refuse("assertion.subject", nil)
	}
	if !p.meansUs(r, c, t) {
		return refuse("assertion.audience", nil)
	}
	now := p.now()
	exp, ok := t.ExpiresAt()
	switch {
	case !ok:
		return refuse("assertion.no_exp", nil)
	case !now.Before(exp):
		return refuse("assertion.expired", nil)
	case exp.After(now.Add(assertionLife + assertionSkew)):
		return refuse("assertion.lifetime", nil)
	}
	if iat, ok := t.IssuedAt(); ok && (iat.Before(now.Add(-assertionLife)) || iat.After(now.Add(assertionSkew))) {
		return refuse("assertion.iat", nil)
	}
	if nbf, ok := t.NotBefore(); ok && nbf.After(now.Add(assertionSkew)) {
		return refuse("assertion.nbf", nil)
	}
	if jti := t.ID(); jti == "" || len(jti) > maxJTI {
		return refuse("assertion.jti", nil)
	}
	return nil
}

// meansUs judges the audience. Only the issuer, alone and as a string, names one
// server and no other (rfc7523bis §3): whoever runs a server that the client
// also uses may have told it our token endpoint's URL as its own. Clients with
// AllowAssertionAudience may still send what was usual before.
func (p *Provider) meansUs(r *http.Request, c *clientreg.Client, t *jose.Token) bool {
	if aud, ok := t.String("aud"); ok && aud == p.cfg.Issuer {
		return true
	}
	aud := t.Audience()
	if !c.AllowAssertionAudience || len(aud) != 1 {
		return false
	}
	// The host is never the request's.
	called := p.issuerURL.Scheme + "://" + p.issuerURL.Host + r.URL.EscapedPath()
	return aud[0] == p.cfg.Issuer || aud[0] == p.url(p.cfg.Paths.Token) || aud[0] == called
}

// spendAssertion takes the jti of a client, at whatever endpoint, once.
//
// When the storage fails the mark may have been written all the same: the
// answer is 503, and the same assertion sent again may be a replay. Clients
// make an assertion for each request, OpenID Connect Core §9.
func (p *Provider) spendAssertion(ctx context.Context, r *http.Request, c *clientreg.Client, jti string) error {
	err := p.commit(ctx, storage.Insert(storage.Record{
		Ref: derived(storage.KindReplay, handle.DerivedKey("assertion", c.ID, jti)),
		// Longer than any clock of ours takes the assertion: its life and the
		// client's skew from now on, and as much skew between our own clocks.
		ExpiresAt: p.now().Add(assertionLife + 2*assertionSkew),
	}))
	if errors.Is(err, storage.ErrExists) {
		p.emit(ctx, r, Event{Name: "assertion.replayed", ClientID: c.ID})
		return refuse("assertion.replayed", nil)
	}
	return err
}
