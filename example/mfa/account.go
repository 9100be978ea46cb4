package main

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"time"
)

// account is where people add passkeys. A new passkey opens the account for
// good, so it takes a sign-in of just now, and one with a passkey where there is
// one already: a password alone adds only the first.
func (s *site) account(w http.ResponseWriter, r *http.Request) {
	l, err := s.p.CurrentLogin(r)
	if err != nil {
		s.p.Fail(w, r, err)
		return
	}
	if l == nil {
		draw(w, "account", view{})
		return
	}
	u := s.users.bySubject(l.Subject)
	if u == nil {
		http.Error(w, "this account is gone", http.StatusForbidden)
		return
	}
	v := view{Name: u.name, Passkeys: s.users.passkeys(u)}
	if s.now().Sub(l.At) > 10*time.Minute || len(v.Passkeys) > 0 && l.ACR != acrPasskey {
		if r.Method == http.MethodPost {
			v.status = http.StatusForbidden
		}
		draw(w, "account", v)
		return
	}
	key := "account " + u.subject
	if r.Method == http.MethodPost {
		c := s.open.take(key)
		if c != nil && s.users.add(s.keys, u, c, []byte(r.PostFormValue("credential"))) == nil {
			http.Redirect(w, r, "/account", http.StatusSeeOther)
			return
		}
		v.Problem = "That passkey was not accepted. Please try again."
	}
	options, session, err := s.users.offer(s.keys, u)
	if err != nil {
		http.Error(w, "please try again", http.StatusInternalServerError)
		return
	}
	s.open.put(key, challenge{session: *session, user: u})
	v.Options = options.Response
	draw(w, "account", v)
}

// view is what the pages show.
type view struct {
	I        any // *handlers.Interaction: client and hidden field
	Name     string
	Passkeys []passkey
	Options  any // the question to the passkey, for the script; nil: none
	Problem  string

	status int // 0: 200
}

//go:embed page.html
var pageHTML string

var pages = template.Must(template.New("").Funcs(template.FuncMap{"json": func(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}}).Parse(pageHTML))

func draw(w http.ResponseWriter, name string, v view) {
	// The script is a file of this origin, and nothing else runs. form-action
	// covers where the answer leads: the redirect URI.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "+
		"form-action 'self' https: http://localhost:*")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(cmp.Or(v.status, http.StatusOK))
	_ = pages.ExecuteTemplate(w, name, v) // fails only when nobody listens any more
}
