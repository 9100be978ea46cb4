package main

import (
	"context"
	"net/http"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
)

// withProvider serves the service and, under /oidc, its provider.
func withProvider(ctx context.Context, s *service, origin string, store storage.Storage, clients clientreg.Registry, secret []byte) (http.Handler, error) {
	p, err := handlers.New(handlers.Config{
		Issuer: origin + "/oidc", Name: "Notes", Storage: store, Clients: clients,
		Users: accounts{s}, LoginURL: "/signin", Secrets: [][]byte{secret},
	})
	if err != nil {
		return nil, err
	}
	go p.Run(ctx)
	s.onSignOut = p.EndSession // signing out of Notes ends what was issued meanwhile
	mux, notes := http.NewServeMux(), s.Handler()
	mux.Handle("/", notes)
	for _, r := range p.Routes() { // some are outside of /oidc: metadata of an issuer with a path, RFC 8414 §3.1
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.Handle("/signin", middleware.SecurityHeaders(middleware.NoStore(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("interaction") {
			signInFor(p, s, w, r)
		} else {
			notes.ServeHTTP(w, r)
		}
	}))))
	return mux, nil
}

// signInFor is the sign-in page on behalf of an application: the same page, and
// then back to where the application's request was waiting.
func signInFor(p *handlers.Provider, s *service, w http.ResponseWriter, r *http.Request) {
	i, err := p.Interaction(r) // also checks the form's hidden field
	if err != nil {
		p.Fail(w, r, err)
		return
	}
	if r.Method != http.MethodPost {
		drawSignIn(w, i.CSRF(), "")
		return
	}
	u := s.checkPassword(r.FormValue("username"), r.FormValue("password"))
	if u == nil {
		drawSignIn(w, i.CSRF(), "That was not right.")
		return
	}
	i.Login(w, r, s.startSession(w, r, u).login())
}

func (ses *session) login() handlers.Login {
	return handlers.Login{Subject: ses.user.id, At: ses.at, AMR: []string{"pwd"}, SessionID: ses.id}
}

// accounts is the users and sessions of Notes as the kit asks for them.
type accounts struct{ s *service }

// Claims implements handlers.Users.
func (a accounts) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	u := a.s.userByID(subject)
	switch {
	case u == nil:
		return nil, handlers.ErrNoUser
	case u.disabled:
		return nil, handlers.ErrUserDisabled
	}
	return map[string]any{"preferred_username": u.name, "email": u.email}, nil
}

// CurrentLogin implements handlers.SessionSource.
func (a accounts) CurrentLogin(r *http.Request) (*handlers.Login, error) {
	ses := a.s.session(r)
	if ses == nil {
		return nil, nil
	}
	l := ses.login()
	return &l, nil
}

// EndLogin implements handlers.SessionEnder: an application signed the user out.
func (a accounts) EndLogin(w http.ResponseWriter, _ *http.Request, sessionID string) error {
	a.s.endSession(w, sessionID)
	return nil
}
