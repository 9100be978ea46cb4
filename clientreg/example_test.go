package clientreg_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// A drawn secret, shown once and kept as its hash.
func ExampleNewSecret() {
	secret, hash := clientreg.NewSecret()
	clients, err := clientreg.Static(clientreg.Client{
		ID: "job", GrantTypes: []string{"client_credentials"}, Scope: "reports",
		Secrets: []clientreg.ClientSecret{{Hash: hash}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, _ := clients.Client(context.Background(), "job")
	fmt.Println(len(secret), c.AuthMethod(), c.Secrets[0].Hash != secret)
	// Output: 43 client_secret_basic true
}

// A secret that somebody chose. A short one is refused.
func ExampleHashSecret() {
	hash, err := clientreg.HashSecret("correct horse battery staple")
	fmt.Println(strings.HasPrefix(hash, "$argon2id$"), err)
	_, err = clientreg.HashSecret("hunter2")
	fmt.Println(err != nil)
	// Output:
	// true <nil>
	// true
}

// What a client may do, defaults included.
func ExampleClient() {
	c := clientreg.Client{
		ID: "tv", Name: "TV", ApplicationType: "native", TokenEndpointAuthMethod: "none",
		GrantTypes: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{"http://127.0.0.1/cb"},
		PostLogoutRedirectURIs: []string{"http://127.0.0.1/bye"},
		Extra:                  map[string]json.RawMessage{"client_name#de": json.RawMessage(`"Fernseher"`)},
	}
	fmt.Println(c.Validate(), c.Public(), c.Native())
	fmt.Println(c.HasGrantType("refresh_token"), c.HasGrantType("client_credentials"), c.HasResponseType("code"))
	fmt.Println(c.ScopeList(), c.AllowsScope("offline_access"))
	fmt.Println(c.MatchRedirectURI("http://127.0.0.1:49152/cb"), c.MatchPostLogoutRedirectURI("http://127.0.0.1:49152/"))
	fmt.Println(c.LocalizedName("fr", "de-AT"))
	// Output:
	// <nil> true true
	// true false true
	// [openid profile email address phone] false
	// true false
	// Fernseher
}

// Every mistake at once, each with field, rule and fix.
func ExampleClient_Validate() {
	c := clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb#x"}, Scope: "a  b"}
	fmt.Println(c.Validate())
	// Output:
	// client "app": redirect_uris[0] has a fragment: register the complete URI as the client sends it
	// client "app": scope is not a list of scope values: give up to 64 values of printable ASCII without quotes and backslashes, with single spaces between them
}

// What a stranger registers gets none of the kit's own members.
func ExampleClient_Untrusted() {
	c := clientreg.Client{ID: "x", FirstParty: true, AllowNoPKCE: true}
	c.Untrusted()
	fmt.Println(c.FirstParty, c.AllowNoPKCE, c.Dynamic)
	// Output: false false true
}

// What a stranger is told of a client has no hash in it.
func ExampleClient_Metadata() {
	_, hash := clientreg.NewSecret()
	c := clientreg.Client{ID: "app", RedirectURIs: []string{"https://app.example/cb"}, Secrets: []clientreg.ClientSecret{{Hash: hash}}}
	told, err := c.Metadata()
	fmt.Println(string(told), err)
	// Output: {"client_id":"app","redirect_uris":["https://app.example/cb"]} <nil>
}

// A change is made on a copy, and only if nobody else was faster.
func ExampleStored() {
	ctx, clients := context.Background(), clientreg.Stored(memory.New())
	app := clientreg.Client{ID: "app", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}}
	fmt.Println(clients.Create(ctx, &app))

	c, err := clients.Client(ctx, "app")
	if err != nil {
		fmt.Println(err)
		return
	}
	other := c.Clone()
	c.Name = "The App"
	fmt.Println(clients.Update(ctx, c, c.Version))
	fmt.Println(errors.Is(clients.Update(ctx, other, other.Version), clientreg.ErrConflict))
	// Output:
	// <nil>
	// <nil>
	// true
}
