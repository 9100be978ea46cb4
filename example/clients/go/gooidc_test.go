package clients

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// app is an application as go-oidc and x/oauth2 document it.
type app struct {
	t        *testing.T
	ctx      context.Context
	provider *oidc.Provider
	oauth2.Config
}

func (p *provider) app(t *testing.T, id, secret string, style oauth2.AuthStyle) *app {
	t.Helper()
	ctx := t.Context()
	op, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t, ctx, op, oauth2.Config{
		ClientID: id, ClientSecret: secret, Endpoint: op.Endpoint(), RedirectURL: callback,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}}
	a.Endpoint.AuthStyle = style
	return a
}

// authorize returns the code and the verifier that belongs to it.
func (a *app) authorize(b *browser, options ...oauth2.AuthCodeOption) (code, verifier string) {
	a.t.Helper()
	verifier = oauth2.GenerateVerifier()
	options = append(options, oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce"), oauth2.SetAuthURLParam("prompt", "consent"))
	q := b.signIn(a.AuthCodeURL("state", options...)).Query()
	if q.Get("state") != "state" || q.Get("code") == "" {
		a.t.Fatalf("answer: %v", q)
	}
	return q.Get("code"), verifier
}

// tokens signs alice in.
func (a *app) tokens(b *browser, options ...oauth2.AuthCodeOption) *oauth2.Token {
	a.t.Helper()
	code, verifier := a.authorize(b, options...)
	token, err := a.Exchange(a.ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		a.t.Fatal(err)
	}
	return token
}

// renew uses a refresh token.
func (a *app) renew(refresh string) (*oauth2.Token, error) {
	return a.TokenSource(a.ctx, &oauth2.Token{RefreshToken: refresh}).Token()
}

// idToken verifies the ID token.
func (a *app) idToken(token *oauth2.Token) *oidc.IDToken {
	a.t.Helper()
	raw, _ := token.Extra("id_token").(string)
	id, err := a.provider.VerifierContext(a.ctx, &oidc.Config{ClientID: a.ClientID}).Verify(a.ctx, raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *app) userInfo(token *oauth2.Token) error {
	_, err := a.provider.UserInfo(a.ctx, oauth2.StaticTokenSource(token))
	return err
}

// post asks an endpoint that the libraries have no function for.
func (p *provider) post(t *testing.T, path string, form url.Values) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, p.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape("web+app"), url.QueryEscape(secret))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// wantRefused wants an error response of the token endpoint.
func wantRefused(t *testing.T, what string, err error, code string) {
	t.Helper()
	var e *oauth2.RetrieveError
	if !errors.As(err, &e) || e.ErrorCode != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestGoOIDC(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, c := range []struct {
		name, id, secret string
		style            oauth2.AuthStyle
	}{
		{"basic", "web+app", secret, oauth2.AuthStyleInHeader},
		{"basic found out", "web+app", secret, oauth2.AuthStyleAutoDetect},
		{"basic with percent signs", "percent", percentSecret, oauth2.AuthStyleInHeader},
		{"post", "post", secret, oauth2.AuthStyleInParams},
		// Its first try is Basic, which the client is not registered for.
		{"post found out", "post", secret, oauth2.AuthStyleAutoDetect},
		// Its first try is Basic with an empty secret.
		{"public found out", "native", "", oauth2.AuthStyleAutoDetect},
		{"public", "native", "", oauth2.AuthStyleInParams},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := p.app(t, c.id, c.secret, c.style)
			offline := c.id != "percent"
			switch c.id {
			case "native":
				a.RedirectURL = "http://127.0.0.1:4321/callback"
			case "percent":
				a.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
			}
			token := a.tokens(p.browser(t))
			id := a.idToken(token)
			if id.Subject != "alice" || id.Nonce != "nonce" {
				t.Errorf("ID token: %+v", id)
			}
			if err := id.VerifyAccessToken(token.AccessToken); err != nil && id.AccessTokenHash != "" {
				t.Error(err)
			}
			info, err := a.provider.UserInfo(a.ctx, oauth2.StaticTokenSource(token))
			if err != nil {
				t.Fatal(err)
			}
			if info.Subject != "alice" || info.Email != "alice@example.com" || !info.EmailVerified {
				t.Errorf("UserInfo: %+v", info)
			}
			if !offline {
				return
			}
			renewed, err := a.renew(token.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			if renewed.RefreshToken == token.RefreshToken || renewed.AccessToken == token.AccessToken {
				t.Error("a refresh gave the same tokens")
			}
			if err := a.userInfo(renewed); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGoOIDCRefusals(t *testing.T) {
	t.Parallel()
	p := start(t)
	web, post := p.app(t, "web+app", secret, oauth2.AuthStyleInHeader), p.app(t, "post", secret, oauth2.AuthStyleInParams)
	ctx := t.Context()

	t.Run("verifier and replay", func(t *testing.T) {
		code, verifier := web.authorize(p.browser(t))
		_, err := web.Exchange(ctx, code, oauth2.VerifierOption(oauth2.GenerateVerifier()))
		wantRefused(t, "a wrong verifier", err, "invalid_grant")
		_, err = web.Exchange(ctx, code)
		wantRefused(t, "no verifier", err, "invalid_grant")
		token, err := web.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		_, err = web.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		wantRefused(t, "a replay", err, "invalid_grant")
		if web.userInfo(token) == nil {
			t.Error("the token outlives the replay of its code")
		}
		_, err = web.renew(token.RefreshToken)
		wantRefused(t, "the refresh token of a replayed code", err, "invalid_grant")
	})
	t.Run("foreign client", func(t *testing.T) {
		code, verifier := web.authorize(p.browser(t))
		_, err := post.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		wantRefused(t, "the code of another client", err, "invalid_grant")
		token, err := web.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("a foreign client burned the code: %v", err)
		}
		_, err = post.renew(token.RefreshToken)
		wantRefused(t, "the refresh token of another client", err, "invalid_grant")
		if _, err := web.renew(token.RefreshToken); err != nil {
			t.Errorf("a foreign client burned the refresh token: %v", err)
		}
	})
	t.Run("redirect URI", func(t *testing.T) {
		code, verifier := web.authorize(p.browser(t))
		_, err := web.Exchange(ctx, code, oauth2.VerifierOption(verifier), oauth2.SetAuthURLParam("redirect_uri", "https://rp.example/other"))
		wantRefused(t, "another redirect_uri", err, "invalid_grant")
	})
	t.Run("secret", func(t *testing.T) {
		code, verifier := web.authorize(p.browser(t))
		for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
			wrong := p.app(t, "web+app", strings.ReplaceAll(secret, "+", " "), style)
			_, err := wrong.Exchange(ctx, code, oauth2.VerifierOption(verifier))
			wantRefused(t, "a wrong secret", err, "invalid_client")
		}
		if _, err := web.Exchange(ctx, code, oauth2.VerifierOption(verifier)); err != nil {
			t.Errorf("a wrong secret burned the code: %v", err)
		}
	})
	t.Run("denied", func(t *testing.T) {
		b := p.browser(t)
		to := b.answer(b.Get(web.AuthCodeURL("state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "consent"))), "deny").Leaves
		if to == nil || to.Query().Get("error") != "access_denied" || to.Query().Get("state") != "state" {
			t.Errorf("answer: %v", to)
		}
	})
	t.Run("no challenge", func(t *testing.T) {
		if to := p.browser(t).Get(web.AuthCodeURL("state")).Leaves; to == nil || to.Query().Get("error") != "invalid_request" {
			t.Errorf("answer: %v", to)
		}
	})
	t.Run("ID token", func(t *testing.T) {
		raw, _ := web.tokens(p.browser(t)).Extra("id_token").(string)
		verify := func(c *oidc.Config, raw string) error {
			_, err := web.provider.VerifierContext(ctx, c).Verify(ctx, raw)
			return err
		}
		if verify(&oidc.Config{ClientID: "post"}, raw) == nil {
			t.Error("taken by another client")
		}
		var expired *oidc.TokenExpiredError
		late := func() time.Time { return time.Now().Add(11 * time.Minute) }
		if err := verify(&oidc.Config{ClientID: "web+app", Now: late}, raw); !errors.As(err, &expired) {
			t.Errorf("an ID token after eleven minutes: %v", err)
		}
		parts := strings.Split(raw, ".")
		parts[2] = strings.Repeat("A", len(parts[2]))
		if verify(&oidc.Config{ClientID: "web+app"}, strings.Join(parts, ".")) == nil {
			t.Error("taken with a wrong signature")
		}
	})
	t.Run("access token", func(t *testing.T) {
		token := web.tokens(p.browser(t))
		changed := *token
		changed.AccessToken = changed.AccessToken[:len(changed.AccessToken)-6] + "AAAAAA"
		if err := web.userInfo(&changed); err == nil || !strings.HasPrefix(err.Error(), "401") {
			t.Errorf("UserInfo with a tampered token: %v", err)
		}
		if status, body := p.post(t, "/revoke", url.Values{"token": {token.RefreshToken}}); status != http.StatusOK {
			t.Errorf("revoke: %d %s", status, body)
		}
		if err := web.userInfo(token); err == nil || !strings.HasPrefix(err.Error(), "401") {
			t.Errorf("UserInfo with a revoked token: %v", err)
		}
	})
}

func TestGoOIDCExpiry(t *testing.T) {
	t.Parallel()
	p := start(t, "code: 60s", "code: 1s", "access: 10m", "access: 1s")
	web := p.app(t, "web+app", secret, oauth2.AuthStyleInHeader)
	b := p.browser(t)
	token := web.tokens(b)
	code, verifier := web.authorize(b)
	for late := time.Now().Add(time.Second); time.Now().Before(late); {
		time.Sleep(100 * time.Millisecond) // the provider is another process: no clock to turn
	}
	if err := web.userInfo(token); err == nil || !strings.HasPrefix(err.Error(), "401") {
		t.Errorf("UserInfo with an expired token: %v", err)
	}
	_, err := web.Exchange(web.ctx, code, oauth2.VerifierOption(verifier))
	wantRefused(t, "an expired code", err, "invalid_grant")
	if renewed, err := web.TokenSource(web.ctx, token).Token(); err != nil || renewed.AccessToken == token.AccessToken {
		t.Errorf("the library renews by itself: %v", err)
	}
}

func TestOAuth2ClientCredentials(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleAutoDetect, oauth2.AuthStyleInHeader} {
		c := clientcredentials.Config{
			ClientID: "machine", ClientSecret: secret, TokenURL: p.issuer + "/token", Scopes: []string{"api"}, AuthStyle: style,
			EndpointParams: url.Values{"resource": {"https://jwt.example/"}},
		}
		token, err := c.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The resource server verifies the JWT under the provider's keys.
		op, err := oidc.NewProvider(t.Context(), p.issuer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := op.Verifier(&oidc.Config{ClientID: "https://jwt.example/"}).Verify(t.Context(), token.AccessToken); err != nil {
			t.Errorf("JWT access token: %v", err)
		}
		if _, err := op.Verifier(&oidc.Config{ClientID: "https://api.example/"}).Verify(t.Context(), token.AccessToken); err == nil {
			t.Error("a JWT access token is taken by another API")
		}
		c.EndpointParams = url.Values{"resource": {"https://unknown.example/"}}
		_, err = c.Token(t.Context())
		wantRefused(t, "an unknown resource", err, "invalid_target")
		c.EndpointParams, c.ClientSecret = nil, secret[1:]
		_, err = c.Token(t.Context())
		wantRefused(t, "a wrong secret", err, "invalid_client")
	}
}

func TestOAuth2Device(t *testing.T) {
	t.Parallel()
	p := start(t)
	tv := p.app(t, "tv", "", oauth2.AuthStyleInParams)
	tv.Scopes = []string{oidc.ScopeOpenID, "profile", oidc.ScopeOfflineAccess}
	ask := func(answer string) (*oauth2.DeviceAuthResponse, error) {
		d, err := tv.DeviceAuth(tv.ctx)
		if err != nil {
			t.Fatal(err)
		}
		b := p.browser(t)
		b.answer(b.Submit(b.Get(d.VerificationURIComplete), url.Values{"do": {"code"}}), answer)
		d.Interval = 1 // the first poll need not wait
		_, err = tv.DeviceAccessToken(tv.ctx, d)
		return d, err
	}
	d, err := ask("allow")
	if err != nil {
		t.Fatal(err)
	}
	_, err = tv.DeviceAccessToken(tv.ctx, d)
	wantRefused(t, "a replay", err, "invalid_grant")
	_, err = ask("deny")
	wantRefused(t, "a denial", err, "access_denied")
}
