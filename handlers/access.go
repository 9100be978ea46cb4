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

	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
)

// accessToken is the inside of a sealed access token. It costs no row: what it
// rests on is the grant it names, and it dies with that.
type accessToken struct {
	Shard uint16   `json:"s"`
	Grant string   `json:"g"`
	JTI   string   `json:"j"`
	Scope string   `json:"o,omitempty"`
	Aud   []string `json:"a"`
	Iat   int64    `json:"i"` // Unix milliseconds, to compare with a grant's NotBefore
	Exp   int64    `json:"e"` // Unix seconds
}

const accessPurpose = "access token"

func (p *Provider) sealAccess(g *grant, scope, aud []string, now time.Time) (string, error) {
	jti, err := handle.Random(p.rand, 12)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(accessToken{
		Shard: g.rec.Shard, Grant: g.rec.Key, JTI: jti, Scope: strings.Join(scope, " "), Aud: aud,
		Iat: now.UnixMilli(), Exp: now.Add(p.cfg.TTL.Access).Unix(),
	})
	if err != nil {
		return "", err
	}
	sealed, err := p.seal.Seal(accessPurpose, p.rand, plain)
	return handle.Access + base64.RawURLEncoding.EncodeToString(sealed), err
}

const maxAccessToken = 8 << 10

// openAccess reads a sealed access token, expired ones included.
func (p *Provider) openAccess(raw string) (accessToken, bool) {
	var t accessToken
	if len(raw) > maxAccessToken || !strings.HasPrefix(raw, handle.Access) {
		return t, false
	}
	sealed, ok := handle.Decode(raw[len(handle.Access):])
	if !ok {
		return t, false
	}
	plain, err := p.seal.Open(accessPurpose, sealed)
	if err != nil || json.Unmarshal(plain, &t) != nil {
		return t, false
	}
	return t, true
}

// checkAccess says what a raw access token is worth: what it says and the grant
// it rests on. One read of the storage, and the client from the registry.
func (p *Provider) checkAccess(ctx context.Context, raw string) (accessToken, *grant, error) {
	t, ok := p.openAccess(raw)
	if !ok {
		return t, nil, refuse("access.invalid", nil)
	}
	if p.now().Unix() >= t.Exp {
		return t, nil, refuse("access.expired", nil)
	}
	rec, err := p.get(ctx, grantRef(t.Shard, t.Grant))
	if errors.Is(err, storage.ErrNotFound) {
		return t, nil, refuse("access.revoked", nil)
	}
	if err != nil {
		return t, nil, err
	}
	g, err := readGrant(rec)
	if err != nil {
		return t, nil, err
	}
	iat := time.UnixMilli(t.Iat)
	if rec.State != storage.Active || iat.Before(g.data.NotBefore.Truncate(time.Millisecond)) ||
		slices.ContainsFunc(g.data.Revoked, func(x revokedJTI) bool { return x.JTI == t.JTI }) {
		return t, nil, refuse("access.revoked", nil)
	}
	c, err := p.client(ctx, rec.Client)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "invalid_client" || err == nil && iat.Before(c.NotBefore) {
		return t, nil, refuse("access.revoked", err)
	}
	return t, g, err
}

// VerifyAccess implements middleware.Verifier: it guards APIs that live beside
// the provider, with middleware.Protect.
func (p *Provider) VerifyAccess(ctx context.Context, r *http.Request) (*middleware.Principal, error) {
	raw, err := middleware.BearerToken(r)
	if err != nil {
		return nil, err
	}
	t, g, err := p.checkAccess(ctx, raw)
	if err != nil {
		if e := toError(err); e.Code == "invalid_token" {
			return nil, fmt.Errorf("%w: %s", middleware.ErrInvalidToken, e.Reason)
		}
		return nil, err
	}
	return &middleware.Principal{
		Subject: g.rec.Subject, ClientID: g.rec.Client, GrantID: g.rec.Key,
		Scope: strings.Fields(t.Scope), Audience: t.Aud, AuthTime: g.data.AuthTime, ExpiresAt: time.Unix(t.Exp, 0),
		ACR: g.data.ACR, Details: g.data.Details,
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
