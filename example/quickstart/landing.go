package main

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
)

//go:embed landing.html
var landingHTML string

// landingPage is what the template shows. Everything comes from the
// configuration, nothing from the request.
type landingPage struct {
	Name, Issuer, Base, JWKS, Logout, Nonce string
	Account, API                            bool
	Clients                                 []clientreg.Client
}

// landing says what runs here.
func landing(cfg *config, routes []handlers.Route) http.Handler {
	t := template.Must(template.New("landing").Parse(landingHTML))
	v := landingPage{Name: cfg.Name, Issuer: cfg.Issuer, Account: cfg.Features.Account, API: cfg.Features.DemoAPI}
	if v.Name == "" {
		v.Name = "OpenID provider"
	}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		v.Base = u.EscapedPath()
	}
	for _, r := range routes {
		switch r.Name {
		case "jwks":
			v.JWKS = r.Pattern
		case "end_session":
			v.Logout = r.Pattern
		}
	}
	const many = 20
	if v.Clients = cfg.clients; len(v.Clients) > many {
		v.Clients = v.Clients[:many]
	}
	return middleware.SecurityHeaders(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		page := v
		page.Nonce = rand.Text()
		var b bytes.Buffer
		if err := t.Execute(&b, page); err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+page.Nonce+"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(b.Bytes()) // fails only when nobody listens any more
	}))
}
