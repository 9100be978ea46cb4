package main

import (
	"fmt"
	"net/http"

	"github.com/idpkit/idpkit/middleware"
)

// notes is an API: reading and writing need a scope each, and both need a token
// that was issued for this API and no other. Who verifies the token, and where,
// makes no difference to it.
func notes(v middleware.Verifier, audience string) http.Handler {
	needs := func(scope string, h http.HandlerFunc) http.Handler {
		return middleware.Protect(v, middleware.Rule{Audience: audience, Scope: []string{scope}})(h)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", needs("notes:read", func(w http.ResponseWriter, r *http.Request) {
		who, _ := middleware.PrincipalFrom(r.Context()) // Protect let it pass, so there is one
		if who.ByClient() {                             // asked first: a user's identifier could be equal to a client's
			fmt.Fprintf(w, "all notes, for application %s itself\n", who.ClientID)
			return
		}
		fmt.Fprintf(w, "the notes of user %s, for application %s\n", who.Subject, who.ClientID)
	}))
	mux.Handle("POST /", needs("notes:write", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	}))
	return mux
}
