// Command embed is an existing service that became an OpenID provider.
//
// service.go is the service as it was, with its own mux, users, sign-in page and
// session cookie. provider.go adds the provider under /oidc: users are asked
// from the service's table (handlers.Users), whoever is signed in to the service
// is signed in for applications too (handlers.SessionSource), and signing out at
// either place signs out at both (handlers.SessionEnder, Provider.EndSession).
//
//	go run ./embed
package main

import (
	"context"
	"net/http"

	"golang.org/x/crypto/bcrypt"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/storage/memory"
)

func main() { demo.Serve(build) }

func build(ctx context.Context, origin string) (http.Handler, error) {
	s, err := newService(bcrypt.DefaultCost)
	if err != nil {
		return nil, err
	}
	return buildFor(ctx, s, origin)
}

func buildFor(ctx context.Context, s *service, origin string) (http.Handler, error) {
	app := demo.App{Issuer: origin + "/oidc", Origin: origin}
	clients, err := clientreg.Static(app.Client())
	if err != nil {
		return nil, err
	}
	// Memory and a new secret at every start, for the demonstration.
	h, err := withProvider(ctx, s, origin, memory.New(), clients, demo.Secret())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.Handle("/app/", app.Handler())
	return mux, nil
}
