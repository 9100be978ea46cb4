// Command mfa is a provider whose sign-in page knows two levels and goes from
// one to the other when an application or an API asks for it.
//
//	acr                      reached by
//	urn:example:acr:basic    the password
//	phr                      a passkey, alone or after the password
//
// phr is the phishing-resistant level of OpenID Connect EAP ACR Values 1.0. The
// methods are told in amr (RFC 8176): pwd, pop for the key, user for the touch,
// mfa where two factors came together. hwk would be a claim about hardware that
// nothing here verifies.
//
// signin.go is the page, account.go adds passkeys to an account, passkeys.go
// keeps users, keys and challenges. The specification of passkeys is WebAuthn,
// which github.com/go-webauthn/webauthn implements.
//
// What is left out: a way back for who has lost the only passkey, such as codes
// that work once, and the same at several servers (challenges).
//
//	go run ./mfa
//
// Sign in as alice with the password wonderland, add a passkey at /account, then
// ask for more by the query of the demo application:
//
//	/app/?claims={"id_token":{"acr":{"essential":true,"values":["phr"]}}}
//
// acr_values=phr is the same as a wish, for a client that an API answered with
// insufficient_user_authentication (RFC 9470), as /transfers does: the page comes
// back, but who has no passkey goes on with less.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/crypto/bcrypt"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

//go:embed static
var static embed.FS

func main() {
	// A passkey belongs to a domain. localhost counts as one, 127.0.0.1 does not.
	addr := flag.String("addr", "localhost:8080", "host and port to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, addr string) error {
	users, err := newUsers(bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	h, err := build(ctx, "http://"+addr, users, time.Now)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("open http://%s/app/ and sign in as alice with the password wonderland\n", addr)
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// site is the sign-in page and the account page.
type site struct {
	p     *handlers.Provider
	keys  *webauthn.WebAuthn
	users *users
	open  *challenges
	tries *middleware.Buckets
	now   func() time.Time
}

func build(ctx context.Context, origin string, users *users, now func() time.Time) (http.Handler, error) {
	issuer, err := url.Parse(origin)
	if err != nil {
		return nil, err
	}
	// Domain and origin come from the configuration, never from a request: what a
	// phishing site collects names another origin, and is refused here.
	keys, err := webauthn.New(&webauthn.Config{
		RPID: issuer.Hostname(), RPDisplayName: "Example", RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
	})
	if err != nil {
		return nil, err
	}
	app, api := demo.App{Issuer: origin, Origin: origin}, origin+"/transfers"
	client := app.Client()
	client.Scope = "openid profile email transfers"
	client.FirstParty = true // consent is another example
	clients, err := clientreg.Static(client)
	if err != nil {
		return nil, err
	}
	p, err := handlers.New(handlers.Config{
		Issuer: origin, Storage: memory.New(), Clients: clients, Users: users, Secrets: [][]byte{demo.Secret()},
		LoginURL:  "/signin",
		ACRValues: []string{acrBasic, acrPasskey},
		APIs:      []handlers.API{{Identifier: api, Name: "Transfers", Scopes: []string{"transfers"}}},
		Scopes:    []handlers.Scope{{Name: "transfers", Title: "Send money"}},
		Now:       now,
	})
	if err != nil {
		return nil, err
	}
	go p.Run(ctx)

	s := &site{p: p, keys: keys, users: users, open: newChallenges(now), tries: middleware.NewBuckets(10, 30*time.Second, now), now: now}
	page := func(h http.HandlerFunc) http.Handler {
		return middleware.SecurityHeaders(middleware.NoStore(middleware.MaxBody(64 << 10)(http.NewCrossOriginProtection().Handler(h))))
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/app/", app.Handler())
	mux.Handle("/signin", page(s.signIn))
	mux.Handle("/account", page(s.account))
	mux.Handle("GET /static/", middleware.SecurityHeaders(http.FileServerFS(static)))
	// The API says what it wants: a token of somebody who used a passkey, RFC 9470.
	mux.Handle("/transfers", middleware.Protect(p, middleware.Rule{Audience: api, Scope: []string{"transfers"}, ACR: []string{acrPasskey}})(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the money is on its way") })))
	return mux, nil
}
