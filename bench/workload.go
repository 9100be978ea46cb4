package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/idpkit/idpkit/bench/internal/world"
)

// workload is one kind of work. Its methods get the worker that does it; several
// workers share nothing but the server.
type workload interface {
	// Name of the row in the table.
	Name() string

	// Prepare does what n calls of Do need. It is not measured.
	Prepare(w *worker, n int) error

	// Do does the work once. An answer that is not right is an error; what takes
	// long to judge is put off, see worker.later.
	Do(w *worker) error
}

// workloads lists all, in the order of the table.
func workloads() []workload {
	return []workload{
		document{"discovery", wellKnown, func(w *worker, a *answer) error { return checkMetadata(w.world.Issuer, a, &endpoints{}) }},
		document{"jwks", "", func(_ *worker, a *answer) error { _, err := checkKeys(a); return err }},
		pushing{"par-public", false},
		pushing{"par-confidential", true},
		credentials{"cc-jwt", true},
		credentials{"cc-opaque", false},
		introspecting{},
		userinfo{},
		redeeming{},
		refreshing{},
		flow{},
	}
}

// times says how much more of a workload is measured: a short one lasts long
// enough then for the collector to run as often as it does.
func times(w workload) int {
	switch w.(type) {
	case redeeming, refreshing, flow:
		return 1
	}
	return 4
}

// document reads a public document.
type document struct {
	name, target string // target empty: the keys
	check        func(*worker, *answer) error
}

func (d document) Name() string               { return d.name }
func (d document) Prepare(*worker, int) error { return nil }
func (d document) Do(w *worker) error {
	target := d.target
	if target == "" {
		target = w.endpoints.JWKS
	}
	a, err := w.conn.do(request{target: target})
	if err != nil {
		return err
	}
	return w.same(a, http.StatusOK, d.check)
}

// same checks an answer in full unless its bytes are those of one that was.
func (w *worker) same(a *answer, status int, check func(*worker, *answer) error) error {
	if a.status == status && w.right != nil && bytes.Equal(a.body, w.right) {
		return nil
	}
	if err := check(w, a); err != nil {
		return err
	}
	w.right = a.body
	return nil
}

// pushing pushes an authorization request, RFC 9126. The last one is followed to
// its code, to see that what was stored is what was pushed.
type pushing struct {
	name         string
	confidential bool
}

func (p pushing) Name() string               { return p.name }
func (p pushing) Prepare(*worker, int) error { return nil }
func (p pushing) Do(w *worker) error {
	s := w.newSignIn(nil)
	if p.confidential {
		s = w.newSignIn(&w.world.Web)
	}
	uri, err := w.push(s)
	if err != nil {
		return err
	}
	w.later = []func() error{func() error {
		s.params = url.Values{"client_id": {s.params.Get("client_id")}, "request_uri": {uri}}
		return w.follow(s)
	}}
	return nil
}

// credentials gets a token on the client's own behalf, RFC 6749 §4.4.
type credentials struct {
	name   string
	signed bool
}

func (c credentials) Name() string               { return c.name }
func (c credentials) Prepare(*worker, int) error { return nil }
func (c credentials) Do(w *worker) error {
	client, target, form := &w.world.Service, w.endpoints.Token, "grant_type=client_credentials&scope="+world.ServiceScope
	if c.signed {
		client, target, form = &w.world.Signed, w.endpoints.Signed, form+"&resource="+url.QueryEscape(w.world.Resource)
	}
	t, err := w.token(target, client, form)
	if err != nil || !c.signed {
		return err
	}
	w.later = append(w.later, func() error {
		var claims struct{ Iss, Sub string }
		if err := w.verifyJWT(t.Access, &claims); err != nil {
			return fmt.Errorf("access token: %w", err)
		}
		if claims.Iss != w.world.Issuer {
			return fmt.Errorf("access token of %q", claims.Iss)
		}
		return nil
	})
	return nil
}

// introspecting asks about access tokens of the asking client, RFC 7662. Several
// in turn, as an API does.
type introspecting struct{}

func (introspecting) Name() string { return "introspection" }

// ring is a few access tokens, used in turn.
type ring struct {
	tokens []string
	next   int
}

const ringSize = 4

func (r *ring) take() string {
	r.next++
	return r.tokens[r.next%len(r.tokens)]
}

func (w *worker) ring() error {
	r := &ring{}
	for range ringSize {
		t, err := w.signedIn()
		if err != nil {
			return err
		}
		r.tokens = append(r.tokens, t.Access)
	}
	w.state = r
	return nil
}

func (introspecting) Prepare(w *worker, _ int) error { return w.ring() }
func (introspecting) Do(w *worker) error {
	a, err := w.post(w.endpoints.Introspect, &w.world.Web, "token="+url.QueryEscape(w.state.(*ring).take()))
	if err != nil {
		return err
	}
	var res struct {
		Active  bool    `json:"active"`
		Subject string  `json:"sub"`
		Client  string  `json:"client_id"`
		Exp     float64 `json:"exp"`
	}
	if err := a.json(http.StatusOK, &res); err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	if !res.Active || res.Subject != w.world.User.Subject || res.Client != w.world.Web.ID || res.Exp == 0 {
		return fmt.Errorf("introspection: %s", a.body)
	}
	return nil
}

// userinfo reads the user's claims, OpenID Connect Core §5.3.
type userinfo struct{}

func (userinfo) Name() string                   { return "userinfo" }
func (userinfo) Prepare(w *worker, _ int) error { return w.ring() }
func (userinfo) Do(w *worker) error             { return w.userinfo(w.state.(*ring).take()) }

func (w *worker) userinfo(access string) error {
	a, err := w.conn.do(request{target: w.endpoints.UserInfo, auth: "Bearer " + access})
	if err != nil {
		return err
	}
	return w.same(a, http.StatusOK, func(w *worker, a *answer) error {
		var res struct{ Sub, Name, Email string }
		if err := a.json(http.StatusOK, &res); err != nil {
			return fmt.Errorf("userinfo: %w", err)
		}
		if u := w.world.User; res.Sub != u.Subject || res.Name != u.Name || res.Email != u.Email {
			return fmt.Errorf("userinfo: %s", a.body)
		}
		return nil
	})
}

// redeeming exchanges authorization codes: access, refresh and ID token.
type redeeming struct{}

func (redeeming) Name() string { return "code" }
func (redeeming) Prepare(w *worker, n int) error {
	codes := make([]*signIn, n)
	for i := range codes {
		codes[i] = w.newSignIn(&w.world.Web)
		if err := w.authorize(codes[i]); err != nil {
			return err
		}
	}
	w.state = codes
	return nil
}
func (redeeming) Do(w *worker) error {
	codes := w.state.([]*signIn)
	if len(codes) == 0 {
		return errors.New("no code is left")
	}
	w.state = codes[1:]
	_, err := w.redeem(codes[0])
	return err
}

// refreshing follows one refresh chain, each token from the one before.
type refreshing struct{}

func (refreshing) Name() string { return "refresh" }
func (refreshing) Prepare(w *worker, _ int) error {
	t, err := w.signedIn()
	w.state = t
	return err
}
func (refreshing) Do(w *worker) error {
	t, err := w.refresh(&w.world.Web, w.state.(*tokens).Refresh)
	w.state = t
	return err
}

// signedIn goes the whole way to tokens, through the sign-in page if need be.
func (w *worker) signedIn() (*tokens, error) {
	s := w.newSignIn(&w.world.Web)
	if err := w.authorize(s); err != nil {
		return nil, err
	}
	return w.redeem(s)
}

// flow is a whole sign-in of a user whose browser has a session: PAR, authorize,
// token, userinfo. Without PAR the request goes in the URL.
type flow struct{}

func (flow) Name() string { return "flow" }
func (flow) Prepare(w *worker, _ int) error {
	_, err := w.signedIn()
	return err
}
func (flow) Do(w *worker) error {
	s := w.newSignIn(&w.world.Web)
	s.withoutPassword = true
	if err := w.authorize(s); err != nil {
		return err
	}
	t, err := w.redeem(s)
	if err != nil {
		return err
	}
	return w.userinfo(t.Access)
}
