package handlers_test

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage/memory"
)

// people is a table of users, here with one entry.
type people struct{}

func (people) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	if subject != "1" {
		return nil, handlers.ErrNoUser
	}
	return map[string]any{"name": "Alice", "email": "alice@example.org"}, nil
}

func (people) VerifyPassword(_ context.Context, username, password string) (handlers.Login, error) {
	if username != "alice" || password != "wonderland" { // yours compares hashes
		return handlers.Login{}, handlers.ErrWrongPassword
	}
	return handlers.Login{Subject: "1"}, nil
}

// A whole provider.
func ExampleNew() {
	clients, err := clientreg.Static(clientreg.Client{
		ID: "app", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}, Scope: "openid profile",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := handlers.New(handlers.Config{
		Issuer:  "https://id.example",
		Storage: memory.New(),
		Clients: clients,
		Users:   people{},
		Secrets: [][]byte{bytes.Repeat([]byte("from your secret store "), 2)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequest("GET", "/.well-known/openid-configuration", nil))
	fmt.Println(rec.Code, rec.Header().Get("Content-Type"))
	// Output: 200 application/json
}

// New reports every mistake with its field, rule, fix and ID.
func ExampleConfigError() {
	_, err := handlers.New(handlers.Config{
		Issuer: "https://id.example/", Storage: memory.New(), Users: people{}, Secrets: [][]byte{[]byte("short")},
	})
	fmt.Println(err)
	// Output:
	// config: Clients: is required. Set it. [IDP100]
	// config: Secrets[0]: must hold at least 32 bytes of random. Make one: openssl rand -base64 32, and decode it. [IDP101]
	// config: Issuer: must not end in a slash. Remove the slash: clients compare the issuer byte by byte. [IDP113]
}

// A consent page of your own is one function and one template.
func ExampleConsentFunc() {
	page := template.Must(template.New("").Parse(`<!doctype html><title>Allow {{.Client.Name}}?</title>
<form method="post">{{.CSRF}}
{{range .Asked.Scopes}}<label><input type="checkbox" name="scope" value="{{.Name}}" checked>{{.Name}}</label>{{end}}
<button name="do" value="allow">Allow</button> <button name="do" value="deny">Deny</button></form>`))

	consent := handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
		switch {
		case r.Method != http.MethodPost:
			page.Execute(w, i)
		case r.FormValue("do") == "allow":
			i.Approve(w, r, handlers.Approval{Scopes: r.PostForm["scope"], Remember: true})
		default:
			i.Deny(w, r, handlers.ErrAccessDenied)
		}
	})
	_ = handlers.Config{Consent: consent}
	// Output:
}
