package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/middleware"
)

// demoAPI is a protected resource that lives beside the provider: it says what
// the access token says. Its audience is the issuer, which is what tokens are
// for when the client names no resource.
func demoAPI(v middleware.Verifier, issuer string, origins []string) http.Handler {
	return middleware.Chain(http.HandlerFunc(me),
		middleware.SecurityHeaders,
		middleware.NoStore,
		// Outside Protect, so that scripts can read the challenge as well.
		middleware.CORS(middleware.CORSOptions{Methods: "GET", Allow: func(_ context.Context, origin string) bool {
			return slices.Contains(origins, origin)
		}}),
		middleware.Protect(v, middleware.Rule{Audience: issuer}),
	)
}

func me(w http.ResponseWriter, r *http.Request) {
	p, ok := middleware.PrincipalFrom(r.Context())
	if !ok {
		http.Error(w, "no principal", http.StatusInternalServerError) // Protect is missing
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Sub      string            `json:"sub"`
		ClientID string            `json:"client_id"`
		Scope    string            `json:"scope"`
		Details  []json.RawMessage `json:"authorization_details,omitempty"`
		Time     time.Time         `json:"time"`
	}{p.Subject, p.ClientID, strings.Join(p.Scope, " "), p.Details, time.Now().UTC().Truncate(time.Second)})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // fails only when nobody listens any more
}

// originsOf lists where the clients' own scripts come from: the origins of
// their redirect URIs.
func originsOf(clients []clientreg.Client) []string {
	var origins []string
	for _, c := range clients {
		for _, raw := range c.RedirectURIs {
			u, err := url.Parse(raw)
			if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
				continue
			}
			if o := u.Scheme + "://" + u.Host; !slices.Contains(origins, o) {
				origins = append(origins, o)
			}
		}
	}
	return origins
}
