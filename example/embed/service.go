package main

import (
	"context"
	"crypto/rand"
	"html/template"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// service is Notes as it was: users, sessions and pages of its own. For the
// provider it got two things, the parameter hidden of drawSignIn and onSignOut.
type service struct {
	mu       sync.Mutex
	users    map[string]*user    // by name
	sessions map[string]*session // by the value of the cookie
	nobody   []byte              // a hash like the users', of a password that nobody knows

	onSignOut func(ctx context.Context, sessionID string) error
}

type user struct {
	id, name, email string
	password        []byte // bcrypt
	disabled        bool
}

type session struct {
	id   string // names it; the cookie is another value
	user *user
	at   time.Time // of the sign-in
}

const cookieName = "notes"

// newService hashes passwords at the cost of bcrypt.
func newService(cost int) (*service, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte("wonderland"), cost)
	if err != nil {
		return nil, err
	}
	nobody, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	if err != nil {
		return nil, err
	}
	return &service{
		users:     map[string]*user{"alice": {id: "1001", name: "alice", email: "alice@example.org", password: hash}},
		sessions:  map[string]*session{},
		nobody:    nobody,
		onSignOut: func(context.Context, string) error { return nil },
	}, nil
}

// Handler serves the pages of Notes.
func (s *service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /signin", func(w http.ResponseWriter, _ *http.Request) { drawSignIn(w, "", "") })
	mux.HandleFunc("POST /signin", s.signIn)
	mux.HandleFunc("POST /signout", s.signOut)
	return http.NewCrossOriginProtection().Handler(mux)
}

func (s *service) home(w http.ResponseWriter, r *http.Request) {
	name := ""
	if ses := s.session(r); ses != nil {
		name = ses.user.name
	}
	_ = homePage.Execute(w, name)
}

func (s *service) signIn(w http.ResponseWriter, r *http.Request) {
	u := s.checkPassword(r.FormValue("username"), r.FormValue("password"))
	if u == nil {
		drawSignIn(w, "", "That was not right.")
		return
	}
	s.startSession(w, r, u)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *service) signOut(w http.ResponseWriter, r *http.Request) {
	if ses := s.session(r); ses != nil {
		if err := s.onSignOut(r.Context(), ses.id); err != nil {
			http.Error(w, "please try again", http.StatusServiceUnavailable)
			return
		}
		s.endSession(w, ses.id)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// checkPassword returns nil unless the password is right. A real service also
// bounds how often it is asked.
func (s *service) checkPassword(name, password string) *user {
	s.mu.Lock()
	u, hash := s.users[name], s.nobody // an unknown name costs as much as a wrong password
	if u != nil && !u.disabled {
		hash = u.password
	}
	s.mu.Unlock()
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return nil
	}
	return u
}

// userByID returns a copy of the user's row, or nil.
func (s *service) userByID(id string) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if u.id == id {
			row := *u
			return &row
		}
	}
	return nil
}

// startSession replaces the browser's session by a new one.
func (s *service) startSession(w http.ResponseWriter, r *http.Request, u *user) *session {
	secret, ses := rand.Text(), &session{id: rand.Text(), user: u, at: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, err := r.Cookie(cookieName); err == nil {
		delete(s.sessions, c.Value)
	}
	s.sessions[secret] = ses
	// A real service is at https: then it is Secure too.
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return ses
}

// session returns the browser's session, or nil.
func (s *service) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[c.Value]
}

func (s *service) endSession(w http.ResponseWriter, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret, ses := range s.sessions {
		if ses.id == id {
			delete(s.sessions, secret)
		}
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
}

// drawSignIn draws the page with hidden inside its form.
func drawSignIn(w http.ResponseWriter, hidden template.HTML, problem string) {
	_ = signInPage.Execute(w, map[string]any{"Hidden": hidden, "Problem": problem})
}

var signInPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Sign in to Notes</title>
<h1>Sign in to Notes</h1><p>{{.Problem}}</p>
<form method="post">{{.Hidden}}
<label>Name <input name="username" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form>`))

var homePage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Notes</title>
<h1>Notes</h1>{{if .}}<p>Hello {{.}}</p><form method="post" action="/signout"><button>Sign out</button></form>
{{else}}<a href="/signin">Sign in</a>{{end}}`))
