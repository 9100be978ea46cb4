// Command consent is a provider with a consent page of its own, twice: as a
// template with a form (page.go, page.html) and as a script that speaks JSON
// (script.go, static). Both show scopes, single claims and authorization details
// (RFC 9396, payment.go), and let the user allow all, allow less, refuse and be
// remembered.
//
//	go run ./consent            the form
//	go run ./consent -script    the script
//
// Ask for more by the query of the demo application:
//
//	/app/?scope=openid+email&authorization_details=[{"type":"payment","to":"Hatter","limit":"50"}]
package main

import (
	"context"
	"flag"
	"net/http"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage/memory"
)

func main() {
	script := flag.Bool("script", false, "draw the page by a script")
	flag.Parse()
	page := handlers.ConsentFunc(consentPage)
	if *script {
		page = consentScript
	}
	demo.Serve(func(ctx context.Context, origin string) (http.Handler, error) { return build(ctx, origin, page) })
}

func build(ctx context.Context, origin string, page handlers.Consent) (http.Handler, error) {
	app := demo.App{Issuer: origin, Origin: origin}
	client := app.Client()
	client.AuthorizationDetailsTypes = []string{"payment"}
	clients, err := clientreg.Static(client)
	if err != nil {
		return nil, err
	}
	p, err := handlers.New(handlers.Config{
		Issuer: origin, Storage: memory.New(), Clients: clients, Users: demo.Users{}, Secrets: [][]byte{demo.Secret()},
		Consent: page,
		Details: []handlers.DetailType{payment{}},
		Claims:  []string{"name"},
		Scopes: []handlers.Scope{ // the standard ones have no texts of their own
			{Name: "openid", Title: "know who you are"},
			{Name: "profile", Title: "read your profile"},
			{Name: "email", Title: "read your e-mail address"},
		},
	})
	if err != nil {
		return nil, err
	}
	go p.Run(ctx)
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/app/", app.Handler())
	mux.Handle("GET /static/", middleware.SecurityHeaders(http.FileServerFS(static)))
	return mux, nil
}
