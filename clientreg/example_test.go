package clientreg_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/storage/memory"
)

func ExampleStatic() {
	clients, err := clientreg.Static(clientreg.Client{
		ID:                      "app",
		TokenEndpointAuthMethod: "none",
		RedirectURIs:            []string{"https://localhost:4207"},
		GrantTypes:              []string{"authorization_code", "refresh_token"},
		Scope:                   "openid profile offline_access",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, _ := clients.Client(context.Background(), "app")
	fmt.Println(c.MatchRedirectURI("https://localhost:4207"), c.MatchRedirectURI("https://localhost:4207/"))
	// Output: true false
}

func ExampleParseJSON() {
	_, _, err := clientreg.ParseJSON([]byte(`[
		{"client_id": "app", "redirect_uris": ["http://app.example/cb"], "token_endpoint_auth_method": "none"},
		{"client_id": "job", "grant_types": ["client_credentials"], "client_secret": "short"}
	]`))
	fmt.Println(err)
	// Output:
	// client "app": redirect_uris[0] is http: use https; a native client may use http://127.0.0.1 and http://[::1]
	// client "job": client_secret is too short or too long: use 12 to 1024 bytes, best a generated secret (NewSecret)
}

func ExampleLint() {
	c := clientreg.Client{
		ID: "app", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"},
		Scope: "openid offline_access",
	}
	for _, w := range clientreg.Lint(&c) {
		fmt.Println(w)
	}
	// Output:
	// client "app": grant_types: the client may ask for offline_access but has no refresh_token grant: the scope is dropped and it gets no refresh tokens
}

// The clients of a file, then those that registered themselves, the latter
// looked up at most once in ten seconds.
func ExampleChain() {
	fromFile, err := clientreg.Static()
	if err != nil {
		fmt.Println(err)
		return
	}
	registered := clientreg.Stored(memory.New())
	clients := clientreg.Chain(fromFile, clientreg.Cached(registered, 10*time.Second, nil))
	_, err = clients.Client(context.Background(), "nobody")
	_, writes := clients.(clientreg.Writer)
	fmt.Println(errors.Is(err, clientreg.ErrNotFound), writes)
	// Output: true true
}
