package main

import (
	"embed"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/idpkit/idpkit/handlers"
)

//go:embed static
var static embed.FS

// consentScript is the same page as a single-page application of the issuer's
// origin. All three requests go to the page's own URL, which names the
// interaction:
//
//	GET                              the application, static/index.html
//	GET, Accept: application/json    what is asked, with the csrf value
//	POST, X-CSRF-Token: csrf value   the answer; comes back as {"location": …}
func consentScript(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	switch {
	case r.Method == http.MethodPost:
		answerScript(w, r, i)
	case strings.HasPrefix(r.Header.Get("Accept"), "application/json"):
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(i)
	default:
		w.Header().Set("Content-Security-Policy", scriptPolicy)
		w.Header().Set("Vary", "Accept")
		http.ServeFileFS(w, r, static, "static/index.html")
	}
}

// scriptPolicy allows what the application is made of and nothing else: no
// inline script, and no script, style or connection of another origin.
const scriptPolicy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"

func answerScript(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	var answer struct {
		Allow bool `json:"allow"`
		handlers.Approval
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&answer); err != nil {
		http.Error(w, "the answer is no JSON", http.StatusBadRequest)
		return
	}
	if !answer.Allow {
		i.Deny(w, r, nil)
		return
	}
	i.Approve(w, r, answer.Approval)
}
