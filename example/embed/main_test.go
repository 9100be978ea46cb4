package main

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// world is the running service and a browser at it.
func world(t *testing.T) (*service, *handlerstest.Browser) {
	t.Helper()
	s, err := newService(bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return s, handlerstest.NewBrowser(t, handlerstest.ServeApp(t, func(ctx context.Context, origin string) (http.Handler, error) { return buildFor(ctx, s, origin) }))
}

var (
	password = url.Values{"username": {"alice"}, "password": {"wonderland"}}
	allow    = url.Values{"do": {"allow"}, "scope": {"openid", "profile", "email"}, "remember": {"1"}}
)

func userinfo(b *handlerstest.Browser, token string) handlerstest.Page {
	return b.Do(b.Request("GET", "/oidc/userinfo", "", "Authorization", "Bearer "+token))
}

// TestSignInForAnApplication begins at the application, without a session.
func TestSignInForAnApplication(t *testing.T) {
	t.Parallel()
	_, b := world(t)
	page := b.Get("/app/").Want(200, "Sign in to Notes")
	page = b.Submit(page, url.Values{"username": {"alice"}, "password": {"wrong"}}).Want(200, "That was not right.")
	page = b.Submit(page, password).Want(200, "The demo app")
	token := b.Submit(page, allow).Member("access_token")
	userinfo(b, token).Want(200, `"sub":"1001"`, `"preferred_username":"alice"`)
	b.Get("/").Want(200, "Hello alice") // it is the service's own session
}

// TestSessionOfTheService begins at the service: the application asks nothing
// again, unless it insists.
func TestSessionOfTheService(t *testing.T) {
	t.Parallel()
	_, b := world(t)
	b.Submit(b.Get("/signin"), password).Want(200, "Hello alice")
	b.Submit(b.Get("/app/").Want(200, "The demo app"), allow).Member("access_token")
	b.Get("/app/").Member("access_token") // signed in, and the consent is remembered
	page := b.Get("/app/?prompt=login").Want(200, "Sign in to Notes")
	b.Submit(page, password).Member("access_token")
}

// TestSignOut: at the service or at an application, both are left.
func TestSignOut(t *testing.T) {
	t.Parallel()
	_, b := world(t)
	token := b.Submit(b.Submit(b.Get("/app/"), password), allow).Member("access_token")
	b.Submit(b.Get("/").Want(200, "Sign out"), nil).Want(200, `href="/signin"`)
	userinfo(b, token).Want(401)

	answer := b.Submit(b.Get("/app/").Want(200, "Sign in to Notes"), password)
	token = answer.Member("access_token")
	out := "/oidc/logout?" + url.Values{"id_token_hint": {answer.Member("id_token")}, "post_logout_redirect_uri": {b.Server.Origin + "/app/"}}.Encode()
	b.Get(out).Want(200, "Sign in to Notes") // back at the application, which began again
	b.Get("/").Want(200, `href="/signin"`)
	userinfo(b, token).Want(401)
}

// TestDisabledUser is refused everywhere at once.
func TestDisabledUser(t *testing.T) {
	t.Parallel()
	s, b := world(t)
	token := b.Submit(b.Submit(b.Get("/app/"), password), allow).Member("access_token")
	s.mu.Lock()
	s.users["alice"].disabled = true
	s.mu.Unlock()
	userinfo(b, token).Want(401)
	b.Submit(b.Get("/app/?prompt=login"), password).Want(200, "That was not right.")
}

// TestForeignForm: no other site can sign a browser in as somebody else.
func TestForeignForm(t *testing.T) {
	t.Parallel()
	_, b := world(t)
	page := b.Get("/app/").Want(200, "Sign in to Notes")
	b.Do(b.Request("POST", page.URL.String(), password.Encode(), "Content-Type", "application/x-www-form-urlencoded")).Want(400)
	stranger := handlerstest.NewBrowser(t, b.Server)
	stranger.Get(page.URL.String()).Want(400)
	b.Get("/").Want(200, `href="/signin"`)
}

// TestMetadata is found by both rules for an issuer with a path.
func TestMetadata(t *testing.T) {
	t.Parallel()
	_, b := world(t)
	for _, at := range []string{"/oidc/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/oidc"} {
		if issuer := b.Get(at).Want(200).JSON()["issuer"]; issuer != b.Server.Origin+"/oidc" {
			t.Errorf("%s: issuer %v", at, issuer)
		}
	}
}
