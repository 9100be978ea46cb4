package handlerstest

import (
	"context"
	"crypto/subtle"

	"github.com/idpkit/idpkit/handlers"
)

// User is a table of users with one entry, for tests that are not about users.
// Its subject is its name. As a handlers.PasswordVerifier it switches the
// built-in sign-in page on.
type User struct {
	Name     string
	Password string
	Claims   map[string]any // nil: none; not written to
}

type userTable struct{ User }

// Users returns the table.
func (u User) Users() handlers.Users { return userTable{u} }

// Claims implements handlers.Users.
func (u userTable) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	if subject != u.Name {
		return nil, handlers.ErrNoUser
	}
	return u.User.Claims, nil
}

// VerifyPassword implements handlers.PasswordVerifier.
func (u userTable) VerifyPassword(_ context.Context, name, password string) (handlers.Login, error) {
	if name != u.Name || subtle.ConstantTimeCompare([]byte(password), []byte(u.Password)) == 0 {
		return handlers.Login{}, handlers.ErrWrongPassword
	}
	return handlers.Login{Subject: u.Name}, nil
}
