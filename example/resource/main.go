// Command resource guards an API with access tokens, in two ways.
//
// At /notes the API lives in the provider's process: middleware.Protect asks the
// provider itself. At /remote/notes the same API knows the provider only by its
// address and asks by introspection, as a process of its own would:
// middleware.Introspection. The rule is one: audience and scope.
//
//	go run ./resource
//
// The demo application asks for a token by its query, with RESOURCE one of the
// two addresses:
//
//	/app/?scope=openid+notes:read&resource=RESOURCE
package main

import (
	"context"
	"net/http"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

func main() { demo.Serve(build) }

func build(ctx context.Context, origin string) (http.Handler, error) {
	app := demo.App{Issuer: origin, Origin: origin}
	client := app.Client()
	client.Scope = "openid profile email notes:read notes:write"
	secret, hash := clientreg.NewSecret()
	clients, err := clientreg.Static(client, clientreg.Client{
		ID: "remote-notes", GrantTypes: []string{"client_credentials"}, Secrets: []clientreg.ClientSecret{{Hash: hash}},
	})
	if err != nil {
		return nil, err
	}
	here, remote := origin+"/notes", origin+"/remote/notes"
	scopes := []string{"notes:read", "notes:write"}
	p, err := handlers.New(handlers.Config{
		Issuer: origin, Storage: memory.New(), Clients: clients, Users: demo.Users{}, Secrets: [][]byte{demo.Secret()},
		Scopes: []handlers.Scope{{Name: "notes:read", Title: "Read your notes"}, {Name: "notes:write", Title: "Write notes"}},
		APIs: []handlers.API{
			{Identifier: here, Name: "Notes", Scopes: scopes},
			{Identifier: remote, Name: "Remote notes", Scopes: scopes, Clients: []string{"remote-notes"}}, // who may introspect
		},
		Features: handlers.Features{Introspection: true},
	})
	if err != nil {
		return nil, err
	}
	remotely, err := middleware.Introspection{
		Endpoint: origin + "/introspect", ClientID: "remote-notes", ClientSecret: secret,
		MaxAge: 0, // a revocation is seen at once; 30 s would spare the provider most of the questions
	}.Verifier()
	if err != nil {
		return nil, err
	}
	go p.Run(ctx)
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/app/", app.Handler())
	mux.Handle("/notes", notes(p, here))
	mux.Handle("/remote/notes", notes(remotely, remote))
	return mux, nil
}
