package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

const (
	acrBasic   = "urn:example:acr:basic"
	acrPasskey = "phr"
)

// signIn is the page at Config.LoginURL. The kit has found the request that
// waits, made sure that this browser began it and, on POST, that the form is
// ours. Only i.Login signs anybody in, and only byPassword and byPasskey call it,
// each with what it has just verified: no request of its own finishes a sign-in.
func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	i, err := s.p.Interaction(r)
	if err != nil {
		s.p.Fail(w, r, err)
		return
	}
	do := ""
	if r.Method == http.MethodPost {
		do = r.PostForm.Get("do")
	}
	switch do {
	case "password":
		s.byPassword(w, r, i)
	case "passkey":
		s.byPasskey(w, r, i)
	case "cancel":
		i.Deny(w, r, nil)
	case "other": // not the one who is signed in
		s.ask(w, i, challenge{}, view{})
	default:
		s.begin(w, r, i, "")
	}
}

// begin draws the first question that this browser has to answer.
func (s *site) begin(w http.ResponseWriter, r *http.Request, i *handlers.Interaction, problem string) {
	s.ask(w, i, s.stepUp(i), view{Problem: problem})
}

// stepUp asks who is signed in, if that one lacks nothing but the passkey; else
// it asks anybody.
func (s *site) stepUp(i *handlers.Interaction) challenge {
	l := i.Current
	if l == nil || l.ACR == acrPasskey || !wants(i, acrPasskey) {
		return challenge{}
	}
	u := s.users.bySubject(l.Subject)
	if u == nil || !s.users.hasPasskey(u) {
		return challenge{}
	}
	return challenge{user: u, before: l.AMR}
}

// wants tells whether the client asks for a class: what it insists on counts
// more than what it wishes for.
func wants(i *handlers.Interaction, acr string) bool {
	if len(i.EssentialACR) > 0 {
		return slices.Contains(i.EssentialACR, acr)
	}
	return slices.Contains(i.ACRValues, acr)
}

func (s *site) byPassword(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	name := r.PostForm.Get("username")
	if s.throttled(w, i, i.Try(r, name)) {
		return
	}
	u := s.users.checkPassword(name, r.PostForm.Get("password"))
	if u == nil {
		i.Failed(r)
		s.ask(w, i, challenge{}, view{Name: name, Problem: "Wrong name or password."})
		return
	}
	amr := []string{"pwd"}
	if wants(i, acrPasskey) && s.users.hasPasskey(u) {
		s.ask(w, i, challenge{user: u, before: amr, touch: true}, view{})
		return
	}
	// Without a passkey this is all there is. If the client insists on more, the
	// kit tells it so: unmet_authentication_requirements.
	i.Login(w, r, handlers.Login{Subject: u.subject, ACR: acrBasic, AMR: amr})
}

func (s *site) byPasskey(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	if _, wait := s.tries.Allow(r.Context(), i.ID); s.throttled(w, i, wait) {
		return
	}
	c := s.open.take(i.ID) // whatever comes of it, this challenge is spent
	if c == nil {
		s.begin(w, r, i, "That took too long. Please try again.")
		return
	}
	u, verified, err := s.users.verify(s.keys, c, []byte(r.PostForm.Get("credential")))
	if err != nil {
		s.begin(w, r, i, "That passkey was not accepted.") // after a password: from the start
		return
	}
	amr := append(slices.Clone(c.before), "pop", "user")
	if verified || slices.Contains(c.before, "pwd") {
		amr = append(amr, "mfa")
	}
	slices.Sort(amr)
	acr := acrPasskey
	if !wants(i, acrPasskey) && wants(i, acrBasic) {
		acr = acrBasic // the stronger proof covers the weaker one, and the client knows only that
	}
	i.Login(w, r, handlers.Login{Subject: u.subject, ACR: acr, AMR: slices.Compact(amr)})
}

// throttled draws the page if there were too many tries.
func (s *site) throttled(w http.ResponseWriter, i *handlers.Interaction, wait time.Duration) bool {
	if wait > 0 {
		seconds := int(wait/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		s.ask(w, i, challenge{}, view{status: http.StatusTooManyRequests, Problem: fmt.Sprintf("Too many tries. Please wait %d seconds.", seconds)})
	}
	return wait > 0
}

// ask draws the page with a question to a passkey, from now on the only one that
// this interaction answers. Where anybody may answer, a password will do too.
func (s *site) ask(w http.ResponseWriter, i *handlers.Interaction, c challenge, v view) {
	options, err := s.users.question(s.keys, &c)
	if err != nil {
		http.Error(w, "please try again", http.StatusInternalServerError)
		return
	}
	s.open.put(i.ID, c)
	page := "signin"
	if c.user != nil {
		page, v.Name = "passkey", c.user.name
	}
	v.I, v.Options = i, options.Response
	draw(w, page, v)
}
