package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/internal/jose"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
)

// accessToken is the inside of an access token, sealed or JWT. It costs no row:
// what it rests on is the grant it names, and it dies with that.
type accessToken struct {
	Shard  uint16   `json:"s"`
	Grant  string   `json:"g"`
	Client string   `json:"c,omitempty"` // of a token on the client's own behalf, whose grant may have no row
	JTI    string   `json:"j"`
	Scope  string   `json:"o,omitempty"`
	Aud    []string `json:"a"`
	// Details names the grant's or holds narrowed ones; absent: all the grant's.
	Details tokenDetails `json:"d,omitzero"`
	Iat     int64        `json:"i"` // Unix milliseconds, to compare with a grant's NotBefore
	Exp     int64        `json:"e"` // Unix seconds
}

const (
	accessPurpose = "access token"
	accessType    = "at+jwt" // RFC 9068 §2.1
)

// mintAccess makes an access token in the format of the APIs it is for.
func (p *Provider) mintAccess(ctx context.Context, g *grant, scope, aud []string, details tokenDetails, now time.Time) (string, error) {
	jti, err := handle.Random(p.rand, 12)
	if err != nil {
		return "", err
	}
	t := accessToken{
		Shard: g.rec.Shard, Grant: g.rec.Key, JTI: jti, Scope: strings.Join(scope, " "), Aud: aud, Details: details,
		Iat: now.UnixMilli(), Exp: now.Add(p.cfg.TTL.Access).Unix(),
	}
	if g.own() {
		t.Client = g.rec.Client
	}
	format, err := p.format(aud)
	if err != nil {
		return "", err
	}
	token := ""
	if format == "jwt" {
		token, err = p.signAccess(ctx, g, t)
	} else if details.inline() > maxInlineDetail {
		return "", refuse("token.details_size", nil)
	} else {
		token, err = p.sealAccess(t)
	}
	if err == nil && len(token) > maxAccessToken {
		return "", refuse("token.too_large", nil)
	}
	return token, err
}

// format of the tokens for an audience. One token has one format.
func (p *Provider) format(aud []string) (string, error) {
	format := ""
	for _, a := range aud {
		f := "opaque"
		if api := p.api(a); api != nil && api.Format != "" {
			f = api.Format
		}
		if format != "" && f != format {
			return "", refuse("token.formats", nil)
		}
		format = f
	}
	return format, nil
}

func (p *Provider) sealAccess(t accessToken) (string, error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	sealed, err := p.seal.Seal(accessPurpose, p.rand, plain)
	return handle.Access + base64.RawURLEncoding.EncodeToString(sealed), err
}

// accessClaims is a JWT access token, RFC 9068 §2.2. Grant names the kit's
// grant, so that a check with the kit sees revocation.
type accessClaims struct {
	Issuer   string            `json:"iss"`
	Subject  string            `json:"sub"`
	Audience []string          `json:"aud"`
	Client   string            `json:"client_id"`
	Exp      int64             `json:"exp"`
	Iat      int64             `json:"iat"`
	JTI      string            `json:"jti"`
	Scope    string            `json:"scope,omitempty"`
	AuthTime int64             `json:"auth_time,omitempty"`
	ACR      string            `json:"acr,omitempty"`
	AMR      []string          `json:"amr,omitempty"`
	Details  []json.RawMessage `json:"authorization_details,omitempty"`
	Grant    string            `json:"grant"`
	Own      bool              `json:"own,omitempty"`
	IatMilli int64             `json:"iat_ms"`
}

func (p *Provider) signAccess(ctx context.Context, g *grant, t accessToken) (string, error) {
	alg := p.keys.Algorithms()[0]
	key, err := p.keys.Signer(ctx, alg)
	if err != nil {
		return "", refuse("keys.outage", err)
	}
	details, _ := t.Details.in(g)
	c := accessClaims{
		Issuer: p.cfg.Issuer, Subject: g.subject(), Audience: t.Aud, Client: g.rec.Client, Exp: t.Exp, Iat: t.Iat / 1000, JTI: t.JTI,
		Scope: t.Scope, ACR: g.data.ACR, AMR: g.data.AMR, Details: details, Grant: grantName(g.rec.Ref), Own: g.own(), IatMilli: t.Iat,
	}
	if !g.own() {
		c.AuthTime = g.data.AuthTime.Unix()
	}
	token, err := jose.Sign(ctx, jose.Header{Alg: alg, KeyID: key.ID, Type: accessType}, key.Signer, c)
	if err != nil {
		return "", refuse("keys.outage", err)
	}
	return token, nil
}

const maxAccessToken = 8 << 10 // bytes; a header of 16 KiB holds it with room to spare

// openAccess reads an access token of ours, sealed or JWT, expired ones
// included. ok is false for anything else; an error is an outage.
func (p *Provider) openAccess(ctx context.Context, raw string) (t accessToken, ok bool, err error) {
	switch {
	case len(raw) > maxAccessToken:
		return t, false, nil
	case strings.HasPrefix(raw, handle.Access):
		t, ok = p.unsealAccess(raw)
		return t, ok, nil
	case strings.Count(raw, ".") == 2:
		return p.verifyAccess(ctx, raw)
	}
	return t, false, nil
}

func (p *Provider) unsealAccess(raw string) (accessToken, bool) {
	var t accessToken
	sealed, ok := handle.Decode(raw[len(handle.Access):])
	if !ok {
		return t, false
	}
	plain, err := p.seal.Open(accessPurpose, sealed)
	if err != nil || decode(plain, &t) != nil {
		return t, false
	}
	return t, true
}

// verifyAccess reads a JWT access token. Its typ keeps ID tokens out, RFC 9068 §4.
func (p *Provider) verifyAccess(ctx context.Context, raw string) (accessToken, bool, error) {
	keys, err := p.ownKeys(ctx)
	if err != nil {
		return accessToken{}, false, err
	}
	tok, err := jose.Verify(raw, keys, p.keys.Algorithms())
	if err != nil || !tok.Header.IsType(accessType) || tok.Issuer() != p.cfg.Issuer {
		return accessToken{}, false, nil
	}
	var c accessClaims
	if json.Unmarshal(tok.Payload, &c) != nil {
		return accessToken{}, false, nil
	}
	ref, ok := parseGrantName(c.Grant)
	t := accessToken{Shard: ref.Shard, Grant: ref.Key, JTI: c.JTI, Scope: c.Scope, Aud: c.Audience, Iat: c.IatMilli, Exp: c.Exp, Details: tokenDetails{}}
	for _, d := range c.Details {
		t.Details = append(t.Details, d)
	}
	if c.Own {
		t.Client = c.Client
	}
	return t, ok, nil
}

// checkAccess says what a raw access token is worth: what it says, the grant it
// rests on and the client it was issued to. One read of the storage, and one of
// the registry.
func (p *Provider) checkAccess(ctx context.Context, raw string) (accessToken, *grant, *clientreg.Client, error) {
	t, ok, err := p.openAccess(ctx, raw)
	if err != nil {
		return t, nil, nil, err
	}
	if !ok {
		return t, nil, nil, refuse("access.invalid", nil)
	}
	if p.now().Unix() >= t.Exp {
		return t, nil, nil, refuse("access.expired", nil)
	}
	g, err := p.tokenGrant(ctx, t)
	if err != nil {
		return t, nil, nil, err
	}
	iat := time.UnixMilli(t.Iat)
	if g.rec.State != storage.Active || iat.Before(g.data.NotBefore.Truncate(time.Millisecond)) ||
		slices.ContainsFunc(g.data.Revoked, func(x revokedJTI) bool { return x.JTI == t.JTI }) {
		return t, nil, nil, refuse("access.revoked", nil)
	}
	details, ok := t.Details.in(g)
	if !ok {
		return t, nil, nil, refuse("access.invalid", nil)
	}
	t.Details = details
	c, err := p.client(ctx, g.rec.Client)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "invalid_client" || err == nil && iat.Before(c.NotBefore) {
		return t, nil, nil, refuse("access.revoked", err)
	}
	return t, g, c, err
}

// tokenGrant returns the grant that a token rests on.
func (p *Provider) tokenGrant(ctx context.Context, t accessToken) (*grant, error) {
	rec, err := p.get(ctx, grantRef(t.Shard, t.Grant))
	switch {
	case errors.Is(err, storage.ErrNotFound) && t.Client != "":
		g := clientGrant(t.Client)
		if g.rec.Key != t.Grant {
			return nil, refuse("access.invalid", nil)
		}
		return g, nil
	case errors.Is(err, storage.ErrNotFound):
		return nil, refuse("access.revoked", nil)
	case err != nil:
		return nil, err
	}
	return readGrant(rec)
}

// VerifyAccess implements middleware.Verifier: it guards APIs that live beside
// the provider, with middleware.Protect. It does not ask Users: after disabling
// a user, Grants().RevokeAll makes the tokens that are out useless at once.
func (p *Provider) VerifyAccess(ctx context.Context, r *http.Request) (*middleware.Principal, error) {
	raw, err := middleware.BearerToken(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	t, g, _, err := p.checkAccess(ctx, raw)
	if err != nil {
		if e := toError(err); e.Code == "invalid_token" {
			return nil, fmt.Errorf("%w: %s", middleware.ErrInvalidToken, e.Reason)
		}
		return nil, err
	}
	return &middleware.Principal{
		Subject: g.subject(), ClientID: g.rec.Client, GrantID: g.rec.Key,
		Scope: strings.Fields(t.Scope), Audience: t.Aud, AuthTime: g.data.AuthTime, ExpiresAt: time.Unix(t.Exp, 0),
		ACR: g.data.ACR, Details: t.Details,
	}, nil
}

// requestToken reads the access token of a request to a resource of ours: the
// Authorization header or, for POST, the form body; one of them, once.
// RFC 6750 §2.1, §2.2. The query is no place for it (RFC 9700 §4.3.2).
func requestToken(r *http.Request) (string, error) {
	if r.URL.RawQuery != "" {
		if q, err := form.ParseQuery(r.URL.RawQuery); err != nil || len(q.All("access_token")) > 0 {
			return "", refuse("access.request", err)
		}
	}
	header, err := middleware.BearerToken(r)
	if errors.Is(err, middleware.ErrInvalidRequest) {
		return "", refuse("access.request", err)
	}
	if err != nil && !errors.Is(err, middleware.ErrNoToken) {
		return "", refuse("access.invalid", err)
	}
	inBody := ""
	if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "" {
		f, err := form.ParseBody(r)
		if err != nil {
			return "", formError(err)
		}
		if f.Repeated() != "" {
			return "", refuse("access.request", nil)
		}
		inBody = f.Get("access_token")
	}
	switch {
	case header != "" && inBody != "":
		return "", refuse("access.request", nil)
	case header+inBody == "":
		return "", refuse("access.missing", nil)
	}
	return header + inBody, nil
}

// failBearer writes the challenge of RFC 6750 §3. A request without a token
// gets no error code.
func (p *Provider) failBearer(w http.ResponseWriter, r *http.Request, e *Error) {
	for k, v := range e.header {
		w.Header()[k] = v
	}
	challenge := `Bearer realm="userinfo"`
	if e.Reason == "access.missing" {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if e.Status() < 500 {
		challenge += `, error="` + e.Code + `", error_description="` + e.Description + `"`
		if e.Code == "insufficient_scope" {
			challenge += `, scope="openid"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	p.failJSON(w, r, e)
}
