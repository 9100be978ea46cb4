package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// tokensOf redeems a code of the client that it gets by the session.
func (a *arena) tokensOf(c party) (got tokens) {
	a.t.Helper()
	verifier := random()
	p, err := a.redeem(c, a.code(c, verifier), verifier)
	if err != nil || !is200(p) {
		a.t.Fatalf("token: %d %s %v", p.Status, p.Body, err)
	}
	decode(a.t, p.Body, &got)
	return got
}

// dead is an error unless every replica refuses both tokens.
func (a *arena) dead(c party, got tokens) error {
	for i, address := range a.addresses {
		base := "http://" + address
		p, err := fetch(a.c, http.MethodGet, base+"/userinfo", nil, "Authorization", "Bearer "+got.Access)
		if err != nil || p.Status != http.StatusUnauthorized {
			return fmt.Errorf("replica %d takes the access token: %d %v", i, p.Status, err)
		}
		p, err = c.ask(a.c, base+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh}})
		if err != nil || p.Status != http.StatusBadRequest && p.Status != http.StatusUnauthorized {
			return fmt.Errorf("replica %d takes the refresh token: %d %v", i, p.Status, err)
		}
	}
	return nil
}

// TestReplayEverywhere: a replay at one replica ends the family at each, from
// the answer on. RFC 6749 §4.1.2, RFC 9700 §4.14.2.
func TestReplayEverywhere(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		c := a.parties[0]
		for round := range a.rounds {
			verifier := random()
			code := a.code(c, verifier)
			first, err := a.redeem(c, code, verifier)
			if err != nil || !is200(first) {
				t.Fatalf("token: %d %v", first.Status, err)
			}
			var one, two tokens
			decode(t, first.Body, &one)
			two = one
			for range 2 {
				p, err := a.refresh(c, two.Refresh)
				if err != nil || !is200(p) {
					t.Fatalf("refresh: %d %v", p.Status, err)
				}
				decode(t, p.Body, &two)
			}
			var p handlerstest.Page
			if round%2 == 0 {
				p, err = a.redeem(c, code, verifier)
			} else {
				p, err = a.refresh(c, one.Refresh)
			}
			if err != nil || !invalidGrant(p) {
				t.Fatalf("round %d: replay: %d %s %v", round, p.Status, p.Body, err)
			}
			if err := a.dead(c, two); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
	})
}

// TestRaceRevocation: whatever is issued while something is revoked is dead once
// the revoker has been told that it is done, or was never issued.
func TestRaceRevocation(t *testing.T) {
	t.Parallel()
	const issuers = 8
	type setup struct {
		c        party
		family   tokens
		code     string // not yet redeemed
		verifier string
	}
	revokers := []struct {
		name string
		do   func(a *arena, s setup) error
	}{
		{"revocation", func(a *arena, s setup) error {
			p, err := s.c.ask(a.c, a.issuer+"/revoke", url.Values{"token": {s.family.Refresh}})
			if err == nil && !is200(p) {
				err = surprise("revoke", p)
			}
			return err
		}},
		{"logout", func(a *arena, s setup) error {
			p, err := fetch(a.c, http.MethodGet, a.issuer+"/logout?"+url.Values{"id_token_hint": {s.family.ID}, "post_logout_redirect_uri": {s.c.redirect}}.Encode(), nil)
			if err == nil && !strings.HasPrefix(location(p), s.c.redirect) {
				err = surprise("logout", p)
			}
			return err
		}},
		{"withdrawal", func(a *arena, s setup) error {
			p, err := fetch(a.who.c, http.MethodGet, a.issuer+"/account", nil)
			if err != nil {
				return err
			}
			if p, err = a.who.press(p, "revoke", url.Values{"grant": {s.c.id}}); err == nil && !strings.Contains(p.Body, "no longer has access") {
				err = surprise("disconnect", p)
			}
			return err
		}},
		{"deletion", func(a *arena, s setup) error {
			if err := clientreg.Stored(a.flaky[0]).Delete(context.Background(), s.c.id); err != nil {
				return err
			}
			_, err := a.providers[len(a.providers)-1].Grants().RevokeAll(context.Background(), handlers.Filter{ClientID: s.c.id})
			return err
		}},
	}
	works := []struct {
		name string
		do   func(a *arena, s setup, i int) (handlerstest.Page, error)
	}{
		{"refresh", func(a *arena, s setup, _ int) (handlerstest.Page, error) { return a.refresh(s.c, s.family.Refresh) }},
		{"redeem", func(a *arena, s setup, i int) (handlerstest.Page, error) {
			if i > 0 { // a second one would be a replay
				return fetch(a.c, http.MethodGet, a.issuer+"/jwks", nil)
			}
			return a.redeem(s.c, s.code, s.verifier)
		}},
		{"authorize", func(a *arena, s setup, _ int) (handlerstest.Page, error) {
			p, err := s.c.ask(a.c, a.issuer+"/par", a.codeRequest(s.c, s.verifier))
			if err != nil || p.Status != http.StatusCreated {
				return p, err
			}
			var v struct {
				RequestURI string `json:"request_uri"`
			}
			if err := json.Unmarshal([]byte(p.Body), &v); err != nil {
				return p, err
			}
			return fetch(a.c, http.MethodGet, a.issuer+"/authorize?"+url.Values{"client_id": {s.c.id}, "request_uri": {v.RequestURI}}.Encode(), nil)
		}},
	}
	arenasOf(t, 2, raceRounds(1), func(t *testing.T, a *arena) {
		for round := range a.rounds {
			for _, rv := range revokers {
				for _, work := range works {
					if rv.name == "revocation" && work.name != "refresh" {
						continue // of one family; others live on
					}
					s := setup{c: a.newcomer(), verifier: random()}
					a.consent(s.c)
					s.family, s.code = a.tokensOf(s.c), a.code(s.c, s.verifier)
					a.slow(round)
					var revoked error
					var rs [issuers]handlerstest.Page
					var errs [issuers]error
					var all sync.WaitGroup
					all.Go(func() {
						time.Sleep(time.Duration(round%5) * 8 * time.Millisecond) // not always first
						revoked = rv.do(a, s)
					})
					for i := range issuers {
						all.Go(func() { rs[i], errs[i] = work.do(a, s, i) })
					}
					all.Wait()
					a.fast()
					what := fmt.Sprintf("round %d: %s against %s", round, rv.name, work.name)
					if revoked != nil {
						t.Fatalf("%s: %v", what, revoked)
					}
					if err := a.dead(s.c, s.family); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					for i, p := range rs {
						var got tokens
						switch {
						case errs[i] != nil || p.Status >= 500:
							t.Errorf("%s: %d %s %v", what, p.Status, p.Body, errs[i])
							continue
						case hasCode(p):
							won, err := a.redeem(s.c, param(p, "code"), s.verifier)
							if err != nil || won.Status != http.StatusBadRequest && won.Status != http.StatusUnauthorized {
								t.Errorf("%s: a code outlived it: %d %v", what, won.Status, err)
							}
							continue
						case !is200(p) || work.name == "authorize" || at(p, "/jwks"):
							continue
						}
						decode(t, p.Body, &got)
						if err := a.dead(s.c, got); err != nil {
							t.Errorf("%s: issued meanwhile: %v", what, err)
						}
					}
					if rv.name == "deletion" { // nothing is left for the client's id
						if p, err := a.redeem(s.c, s.code, s.verifier); err != nil || p.Status != http.StatusUnauthorized {
							t.Errorf("%s: the client is still served: %d %v", what, p.Status, err)
						}
					}
					if t.Failed() {
						return
					}
				}
			}
		}
		t.Logf("%d pairs", a.rounds*(len(revokers)*len(works)-2))
	})
}

// newcomer registers a client that can be deleted.
func (a *arena) newcomer() party {
	a.t.Helper()
	c := party{id: "app-" + random(), redirect: "https://newcomer.example/cb"}
	err := clientreg.Stored(a.flaky[0]).Create(context.Background(), &clientreg.Client{
		ID: c.id, Name: "Newcomer", TokenEndpointAuthMethod: "none", RedirectURIs: []string{c.redirect}, PostLogoutRedirectURIs: []string{c.redirect},
		GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid offline_access profile email api", RequirePAR: true,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}
