package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/idpkit/idpkit/middleware"
)

// introspection is a middleware.Verifier for an API in a process of its own: it
// asks the provider about every token, RFC 7662 §2, and so sees a revocation at
// once.
type introspection struct {
	endpoint         string // introspection_endpoint of the provider's metadata
	clientID, secret string // of the API itself, see handlers.API.Clients
	client           *http.Client
}

func newIntrospection(endpoint, clientID, secret string) *introspection {
	return &introspection{endpoint, clientID, secret, &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // tokens go nowhere else
	}}
}

// VerifyAccess implements middleware.Verifier.
func (v *introspection) VerifyAccess(ctx context.Context, r *http.Request) (*middleware.Principal, error) {
	token, err := middleware.BearerToken(r)
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(v.clientID), url.QueryEscape(v.secret)) // RFC 6749 §2.3.1
	res, err := v.client.Do(req)
	if err != nil {
		return nil, err // an outage: Protect answers 503, and the client keeps its token
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("introspection: status %d", res.StatusCode)
	}
	var t struct {
		Active    bool              `json:"active"`
		TokenType string            `json:"token_type"`
		Subject   string            `json:"sub"`
		ClientID  string            `json:"client_id"`
		Scope     string            `json:"scope"`
		Audience  []string          `json:"aud"`
		Exp       int64             `json:"exp"`
		AuthTime  int64             `json:"auth_time"`
		ACR       string            `json:"acr"`
		Details   []json.RawMessage `json:"authorization_details"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&t); err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	if !t.Active || !strings.EqualFold(t.TokenType, "Bearer") { // a refresh token has no type
		return nil, middleware.ErrInvalidToken
	}
	p := &middleware.Principal{
		Subject: t.Subject, ClientID: t.ClientID, Scope: strings.Fields(t.Scope), Audience: t.Audience,
		ExpiresAt: time.Unix(t.Exp, 0), ACR: t.ACR, Details: t.Details,
	}
	if t.AuthTime != 0 {
		p.AuthTime = time.Unix(t.AuthTime, 0)
	}
	return p, nil
}
