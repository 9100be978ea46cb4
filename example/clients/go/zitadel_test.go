package clients

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// relyingParty is made as the library's example does.
func (p *provider) relyingParty(t *testing.T, id, secret, redirect string, options ...rp.Option) rp.RelyingParty {
	t.Helper()
	key := []byte("a cookie key of thirty-two bytes")
	cookies := httphelper.NewCookieHandler(key, key, httphelper.WithUnsecure())
	party, err := rp.NewRelyingPartyOIDC(t.Context(), p.issuer, id, secret, redirect, []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
		append([]rp.Option{
			rp.WithCookieHandler(cookies), rp.WithPKCE(cookies), rp.WithVerifierOpts(rp.WithIssuedAtOffset(5 * time.Second)), rp.WithSigningAlgsFromDiscovery(),
		}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return party
}

// signer reads the key from PEM.
func (p *provider) signer(t *testing.T) (text []byte, signer rp.SignerFromKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return text, rp.SignerFromKeyAndKeyID(text, "k")
}

type tokens = oidc.Tokens[*oidc.IDTokenClaims]

// signInByHandlers runs the library's own login and callback handlers, and returns
// what its callback gets, or what it answered.
func signInByHandlers(t *testing.T, b *browser, party rp.RelyingParty, change func(*url.URL)) (*tokens, *oidc.UserInfo, string) {
	t.Helper()
	login := httptest.NewRecorder()
	rp.AuthURLHandler(func() string { return "state" }, party, rp.WithPromptURLParam("consent"))(login, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/login", nil))
	to := b.signIn(login.Header().Get("Location"))
	if change != nil {
		change(to)
	}
	r := httptest.NewRequest(http.MethodGet, to.String(), nil)
	for _, c := range login.Result().Cookies() {
		r.AddCookie(c)
	}
	var got *tokens
	var info *oidc.UserInfo
	answer := httptest.NewRecorder()
	rp.CodeExchangeHandler(rp.UserinfoCallback(func(_ http.ResponseWriter, _ *http.Request, t *tokens, _ string, _ rp.RelyingParty, i *oidc.UserInfo) {
		got, info = t, i
	}), party)(answer, r)
	return got, info, answer.Body.String()
}

func TestZitadel(t *testing.T) {
	t.Parallel()
	p := start(t)
	const native = "http://127.0.0.1:4321/callback"
	for _, c := range []struct {
		name, id, secret, redirect string
		style                      oauth2.AuthStyle
	}{
		{"basic", "web+app", secret, callback, oauth2.AuthStyleInHeader},
		{"post", "post", secret, callback, oauth2.AuthStyleInParams},
		{"post found out", "post", secret, callback, oauth2.AuthStyleAutoDetect},
		{"public found out", "native", "", native, oauth2.AuthStyleAutoDetect},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			party := p.relyingParty(t, c.id, c.secret, c.redirect, rp.WithAuthStyle(c.style))
			b := p.browser(t)
			got, info, text := signInByHandlers(t, b, party, nil)
			if got == nil {
				t.Fatal(text)
			}
			if got.IDTokenClaims.Subject != "alice" || info.Email != "alice@example.com" {
				t.Errorf("%+v %+v", got.IDTokenClaims, info)
			}
			renewed, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, got.RefreshToken, "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rp.Userinfo[*oidc.UserInfo](ctx, renewed.AccessToken, renewed.TokenType, "alice", party); err != nil {
				t.Error(err)
			}
			if err := rp.RevokeToken(ctx, party, renewed.RefreshToken, "refresh_token"); err != nil {
				t.Error(err)
			}
			if _, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, renewed.RefreshToken, "", ""); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
				t.Errorf("a revoked refresh token: %v", err)
			}
			if _, err := rp.Userinfo[*oidc.UserInfo](ctx, renewed.AccessToken, renewed.TokenType, "alice", party); err == nil {
				t.Error("UserInfo with a revoked token")
			}
			// The library has no browser when it ends the session: the answer is
			// the page that asks, or the way back.
			if _, err := rp.EndSession(ctx, party, got.IDToken, "", "bye", "", nil); err != nil {
				t.Errorf("logout: %v", err)
			}
		})
	}
	t.Run("refusals", func(t *testing.T) {
		ctx := t.Context()
		web, post := p.relyingParty(t, "web+app", secret, callback, rp.WithAuthStyle(oauth2.AuthStyleInHeader)), p.relyingParty(t, "post", secret, callback, rp.WithAuthStyle(oauth2.AuthStyleInParams))
		if got, _, text := signInByHandlers(t, p.browser(t), web, func(u *url.URL) {
			q := u.Query()
			q.Set("state", "other")
			u.RawQuery = q.Encode()
		}); got != nil || !strings.Contains(text, "state") {
			t.Errorf("another state: %q", text)
		}
		verifier := oauth2.GenerateVerifier()
		code := p.browser(t).signIn(rp.AuthURL("state", web, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier)))).Query().Get("code")
		exchange := func(party rp.RelyingParty, verifier string) error {
			_, err := rp.CodeExchange[*oidc.IDTokenClaims](ctx, code, party, rp.WithCodeVerifier(verifier))
			return err
		}
		wantRefused(t, "a wrong verifier", exchange(web, oauth2.GenerateVerifier()), "invalid_grant")
		wantRefused(t, "a foreign client", exchange(post, verifier), "invalid_grant")
		if err := exchange(web, verifier); err != nil {
			t.Error(err)
		}
		wantRefused(t, "a replay", exchange(web, verifier), "invalid_grant")
	})
}

// The library's own assertions live an hour, which the provider refuses; these
// are made with its function for less, as an application can give them.
func TestZitadelAssertion(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := t.Context()
	_, signer := p.signer(t)
	sign, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	assertion := func(life time.Duration, aud ...string) string {
		s, err := client.SignedJWTProfileAssertion("assertion-endpoint", aud, life, sign)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// The issuer stands in a list, which is not the strict form.
	for id, good := range map[string]bool{"assertion": false, "assertion-endpoint": true} {
		party := p.relyingParty(t, id, "", callback, rp.WithAuthStyle(oauth2.AuthStyleInParams))
		party.OAuthConfig().Scopes = []string{"api"}
		own, err := client.SignedJWTProfileAssertion(id, []string{p.issuer}, time.Minute, sign)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rp.ClientCredentials(ctx, party, url.Values{"client_assertion": {own}, "client_assertion_type": {oidc.ClientAssertionTypeJWTAssertion}})
		if good && err != nil {
			t.Error(err)
		} else if !good {
			wantRefused(t, "the issuer in a list", err, "invalid_client")
		}
	}
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		party := p.relyingParty(t, "assertion-endpoint", "", callback, rp.WithJWTProfile(signer), rp.WithAuthStyle(style))
		verifier := oauth2.GenerateVerifier()
		code := p.browser(t).signIn(rp.AuthURL("state", party, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier)), rp.WithPrompt("consent"))).Query().Get("code")
		exchange := func(assertion string) (*tokens, error) {
			return rp.CodeExchange[*oidc.IDTokenClaims](ctx, code, party, rp.WithCodeVerifier(verifier), rp.WithClientAssertionJWT(assertion))
		}
		_, err := exchange(assertion(time.Minute, "https://other.example"))
		wantRefused(t, "an assertion for another audience", err, "invalid_client")
		_, err = exchange(assertion(-time.Minute, p.issuer))
		wantRefused(t, "an expired assertion", err, "invalid_client")
		_, err = exchange(assertion(time.Hour, p.issuer))
		wantRefused(t, "an assertion good for an hour", err, "invalid_client")
		got, err := exchange(assertion(time.Minute, p.issuer))
		if err != nil {
			t.Fatal(err)
		}
		once := assertion(time.Minute, p.issuer+"/token")
		const kind = oidc.ClientAssertionTypeJWTAssertion
		renewed, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, got.RefreshToken, once, kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, renewed.RefreshToken, once, kind); err == nil || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("an assertion used again: %v", err)
		}
	}
}

func TestZitadelResourceServer(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := t.Context()
	machine := p.relyingParty(t, "machine", secret, "", rp.WithAuthStyle(oauth2.AuthStyleInHeader))
	machine.OAuthConfig().Scopes = []string{"api"}
	token, err := rp.ClientCredentials(ctx, machine, url.Values{"resource": {"https://api.example/"}})
	if err != nil {
		t.Fatal(err)
	}
	introspect := func(id, token string) bool {
		t.Helper()
		server, err := rs.NewResourceServerClientCredentials(ctx, p.issuer, id, secret)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, server, token)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Active
	}
	if !introspect("invoices", token.AccessToken) {
		t.Error("not active for its resource server")
	}
	if introspect("web+app", token.AccessToken) {
		t.Error("active for another client")
	}
	if introspect("invoices", token.AccessToken+"x") {
		t.Error("active when tampered with")
	}
}

func TestZitadelDevice(t *testing.T) {
	t.Parallel()
	p := start(t)
	tv := p.relyingParty(t, "tv", "", "", rp.WithAuthStyle(oauth2.AuthStyleInParams))
	poll := func(answer string) (*oidc.AccessTokenResponse, error) {
		d, err := rp.DeviceAuthorization(t.Context(), []string{"openid", "profile"}, tv, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := p.browser(t)
		b.answer(b.Submit(b.Get(d.VerificationURIComplete), url.Values{"do": {"code"}}), answer)
		return rp.DeviceAccessToken(t.Context(), d.DeviceCode, 100*time.Millisecond, tv)
	}
	got, err := poll("allow")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rp.VerifyTokens[*oidc.IDTokenClaims](t.Context(), got.AccessToken, got.IDToken, tv.IDTokenVerifier()); err != nil {
		t.Error(err)
	}
	if _, err := poll("deny"); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("denied: %v", err)
	}
}
