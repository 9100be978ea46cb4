package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
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
		s.askBoth(w, i, http.StatusOK, "")
	default:
		s.begin(w, r, i, http.StatusOK, "")
	}
}

// begin draws the first question that this browser has to answer.
func (s *site) begin(w http.ResponseWriter, r *http.Request, i *handlers.Interaction, status int, problem string) {
	u, before, err := s.stepUp(r, i)
	switch {
	case err != nil:
		s.p.Fail(w, r, err)
	case u != nil: // the password of this session may be old: the key's own PIN or finger has to do
		s.askPasskey(w, i, u, before, protocol.VerificationRequired, problem)
	default:
		s.askBoth(w, i, status, problem)
	}
}

// stepUp returns who is signed in and lacks nothing but the passkey, and how
// that one signed in; nil: both steps are needed.
func (s *site) stepUp(r *http.Request, i *handlers.Interaction) (*user, []string, error) {
	l, err := s.p.CurrentLogin(r)
	if err != nil || l == nil {
		return nil, nil, err
	}
	again := slices.Contains(i.Prompt, "login") || i.MaxAge != nil && s.now().Sub(l.At) >= *i.MaxAge
	if !wantsPasskey(i) || l.ACR == acrPasskey || again {
		return nil, nil, nil
	}
	u := s.users.bySubject(l.Subject)
	if u == nil || !s.users.hasPasskey(u) {
		return nil, nil, nil
	}
	return u, l.AMR, nil
}

// wantsPasskey: the page is not told which of the values is essential, so the
// strongest one counts.
func wantsPasskey(i *handlers.Interaction) bool { return slices.Contains(i.ACRValues, acrPasskey) }

func (s *site) byPassword(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	name := r.PostForm.Get("username")
	key := "password " + middleware.RemoteAddr(r).String() + " " + name
	if s.throttled(w, r, i, key) {
		return
	}
	u := s.users.checkPassword(name, r.PostForm.Get("password"))
	if u == nil {
		s.askBoth(w, i, http.StatusOK, "Wrong name or password.")
		return
	}
	s.tries.Undo(r.Context(), key)
	amr := []string{"pwd"}
	if wantsPasskey(i) && s.users.hasPasskey(u) {
		// The password is the second factor to the key, which need not verify the user.
		s.askPasskey(w, i, u, amr, protocol.VerificationPreferred, "")
		return
	}
	// Without a passkey this is all there is. If the client insists on more, the
	// kit tells it so: unmet_authentication_requirements.
	i.Login(w, r, handlers.Login{Subject: u.subject, ACR: acrBasic, AMR: amr})
}

func (s *site) byPasskey(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
	if s.throttled(w, r, i, "passkey "+i.ID) {
		return
	}
	c := s.open.take(i.ID) // whatever comes of it, this challenge is spent
	if c == nil {
		s.begin(w, r, i, http.StatusOK, "That took too long. Please try again.")
		return
	}
	u, verified, err := s.users.verify(s.keys, c, []byte(r.PostForm.Get("credential")))
	if err != nil {
		s.begin(w, r, i, http.StatusOK, "That passkey was not accepted.") // after a password: from the start
		return
	}
	amr := append(slices.Clone(c.before), "pop", "user")
	if verified || slices.Contains(c.before, "pwd") {
		amr = append(amr, "mfa")
	}
	slices.Sort(amr)
	acr := acrPasskey
	if !wantsPasskey(i) && slices.Contains(i.ACRValues, acrBasic) {
		acr = acrBasic // the stronger proof covers the weaker one, and the client knows only that
	}
	i.Login(w, r, handlers.Login{Subject: u.subject, ACR: acr, AMR: slices.Compact(amr)})
}

// throttled counts a try, and draws the page if there were too many.
func (s *site) throttled(w http.ResponseWriter, r *http.Request, i *handlers.Interaction, key string) bool {
	ok, wait := s.tries.Allow(r.Context(), key)
	if !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		s.askBoth(w, i, http.StatusTooManyRequests, fmt.Sprintf("Too many tries. Please wait %d seconds.", wait/time.Second+1))
	}
	return !ok
}

// askBoth asks for a password, or for any passkey that verifies its user.
func (s *site) askBoth(w http.ResponseWriter, i *handlers.Interaction, status int, problem string) {
	options, session, err := s.keys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		http.Error(w, "please try again", http.StatusInternalServerError)
		return
	}
	s.open.put(i.ID, challenge{session: *session})
	draw(w, "signin", status, view{I: i, Options: options.Response, Problem: problem})
}

// askPasskey asks for a passkey of u, who was proven before.
func (s *site) askPasskey(w http.ResponseWriter, i *handlers.Interaction, u *user, before []string, uv protocol.UserVerificationRequirement, problem string) {
	options, session, err := s.users.question(s.keys, u, uv)
	if err != nil {
		http.Error(w, "please try again", http.StatusInternalServerError)
		return
	}
	s.open.put(i.ID, challenge{session: *session, user: u, before: before})
	draw(w, "passkey", http.StatusOK, view{I: i, Name: u.name, Options: options.Response, Problem: problem})
}
