// Package world is what every server of the benchmark is told at its start: who
// its clients are and who its user is. It travels as JSON in an environment
// variable, so that a server in any language can read it.
package world

import (
	"encoding/json"
	"fmt"
	"os"
)

// Env is the name of the environment variable.
const Env = "BENCH_WORLD"

// World is the set-up, the same for every target but for Listen and Issuer.
type World struct {
	Listen      string `json:"listen"`       // host and port
	Issuer      string `json:"issuer"`       // http on that host and port
	RedirectURI string `json:"redirect_uri"` // of App and Web; nobody ever goes there
	Resource    string `json:"resource"`     // the audience of JWT access tokens
	User        User   `json:"user"`
	App         Client `json:"app"`     // public: authorization code with PKCE, refresh
	Web         Client `json:"web"`     // confidential: the same, and introspection of its own tokens
	Service     Client `json:"service"` // confidential: client_credentials, opaque access tokens
	Signed      Client `json:"signed"`  // confidential: client_credentials, JWT access tokens
}

// User is the only one there is.
type User struct {
	Subject  string `json:"sub"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// Client is one client. A confidential one uses client_secret_basic.
type Client struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"` // 256 random bits in base64url
	Hash   string `json:"hash,omitempty"`   // of the secret, as the kit keeps it
}

// Scopes that are asked for: of a user, and by a client for itself.
const (
	UserScope    = "openid profile email offline_access"
	ServiceScope = "read"
)

// At returns the world of the target that listens at host:port.
func (w World) At(listen string) World {
	w.Listen, w.Issuer = listen, "http://"+listen
	return w
}

// String returns the value of the environment variable.
func (w World) String() string {
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // strings only
	}
	return string(b)
}

// Read returns the world that the environment holds.
func Read() (World, error) {
	var w World
	if err := json.Unmarshal([]byte(os.Getenv(Env)), &w); err != nil {
		return w, fmt.Errorf("%s: %w", Env, err)
	}
	return w, nil
}
