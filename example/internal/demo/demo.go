// Package demo holds what every example needs and none is about: a user, an
// application that signs in, and a server.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

// Users is a table of users with one entry: alice, whose password is
// wonderland. A real one compares hashes and looks the user up.
type Users struct{}

// Alice is the subject of alice.
const Alice = "1001"

// Claims implements handlers.Users.
func (Users) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	if subject != Alice {
		return nil, handlers.ErrNoUser
	}
	return map[string]any{"name": "Alice", "email": "alice@example.org", "email_verified": true}, nil
}

// VerifyPassword implements handlers.PasswordVerifier: it switches the built-in
// sign-in page on.
func (Users) VerifyPassword(_ context.Context, username, password string) (handlers.Login, error) {
	if username != "alice" || password != "wonderland" {
		return handlers.Login{}, handlers.ErrWrongPassword
	}
	return handlers.Login{Subject: Alice}, nil
}

// Secret draws a secret for Config.Secrets. It is forgotten when the process
// ends, and with it whatever was issued: a real provider keeps it.
func Secret() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// Serve serves what build returns on a loopback port until the process is told
// to end. origin is the scheme, host and port that browsers see.
func Serve(build func(ctx context.Context, origin string) (http.Handler, error)) {
	const addr = "127.0.0.1:8080"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	h, err := build(ctx, "http://"+addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("open http://%s/app/ and sign in as alice with the password wonderland\n", addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
