package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/idpkit/idpkit/clientreg"
)

// App is an application that signs people in at a provider: authorization code
// with PKCE, as any OpenID Connect library does it. It lives beside the provider
// only so that an example is one program.
//
//	/app/    begins; its query is added to the authorization request
//	/app/cb  takes the answer, redeems the code and shows what it got, as JSON
type App struct {
	Issuer string // of the provider
	Origin string // scheme, host and port of the application
}

// Client is the application's registration.
func (a App) Client() clientreg.Client {
	return clientreg.Client{
		ID: "app", Name: "The demo app", ClientURI: "https://app.example", TokenEndpointAuthMethod: "none",
		RedirectURIs:           []string{a.Origin + "/app/cb"},
		PostLogoutRedirectURIs: []string{a.Origin + "/app/"},
		AllowLocalhostRedirect: true, // the example listens on a loopback address, without TLS
	}
}

// Handler serves the application.
func (a App) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /app/{$}", a.begin)
	mux.HandleFunc("GET /app/cb", a.answer)
	return mux
}

const transaction = "app" // cookie: what the browser must bring back

func (a App) begin(w http.ResponseWriter, r *http.Request) {
	verifier := rand.Text() + rand.Text()
	http.SetCookie(w, &http.Cookie{Name: transaction, Value: verifier, Path: "/app/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	challenge := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"app"}, "response_type": {"code"}, "redirect_uri": {a.Origin + "/app/cb"}, "scope": {"openid profile email"},
		"state": {state(verifier)}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	for name, values := range r.URL.Query() {
		q[name] = values
	}
	http.Redirect(w, r, a.Issuer+"/authorize?"+q.Encode(), http.StatusSeeOther)
}

// state is bound to the browser that began, RFC 6749 §10.12.
func state(verifier string) string {
	sum := sha256.Sum256([]byte("state " + verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (a App) answer(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	verifier, err := r.Cookie(transaction)
	if err != nil || q.Get("state") != state(verifier.Value) || q.Get("iss") != a.Issuer { // RFC 9207 §2.4
		http.Error(w, "not an answer to what this browser asked", http.StatusBadRequest)
		return
	}
	if q.Has("error") {
		show(w, map[string]any{"error": q.Get("error")})
		return
	}
	res, err := http.PostForm(a.Issuer+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {q.Get("code")},
		"redirect_uri": {a.Origin + "/app/cb"}, "code_verifier": {verifier.Value},
	})
	if err != nil {
		http.Error(w, "the provider does not answer", http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	var tokens map[string]any
	if err := json.NewDecoder(res.Body).Decode(&tokens); err != nil {
		http.Error(w, "the provider's answer is no JSON", http.StatusBadGateway)
		return
	}
	show(w, tokens)
}

// show is for the demonstration: an application keeps its tokens to itself.
func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // fails only when nobody listens any more
}
