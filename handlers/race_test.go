package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// crowd is how many requests run at once.
const crowd = 64

// raceRounds is how often each race is run: 25 times, or as often as
// IDPKIT_RACE_ROUNDS says.
func raceRounds() int {
	if n, err := strconv.Atoi(os.Getenv("IDPKIT_RACE_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 25
}

// patient gives requests time on a busy machine: the deadline is not the
// subject of a race.
func patient(c *handlers.Config) { c.Timeout = 2 * time.Minute }

// slow makes every storage call take 1 to 20 ms: in memory races hide.
func (l *lab) slow(seed int) {
	l.flaky.Arm(storagetest.Plan{Latency: storagetest.Random(uint64(seed), time.Millisecond, 20*time.Millisecond)})
}

func (l *lab) fast() { l.flaky.Arm(storagetest.Plan{}) }

// atOnce runs f n times at the same moment and returns the answers.
func atOnce(n int, f func(i int) response) []response {
	out := make([]response, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			out[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return out
}

// codeIn returns the code of a redirect to a client, "" if it has none.
func codeIn(r response) string {
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		return ""
	}
	return u.Query().Get("code")
}

// winners returns the answers that won; every other one must be a clean
// refusal.
func winners(t *testing.T, rs []response, won func(response) bool, refused func(response) bool) []response {
	t.Helper()
	var ws []response
	for _, r := range rs {
		switch {
		case r.Response == nil:
			t.Error("no answer")
		case won(r):
			ws = append(ws, r)
		case r.StatusCode >= 500 || !refused(r):
			t.Errorf("status %d, Location %q, %.200s", r.StatusCode, r.Header.Get("Location"), r.body)
		}
	}
	return ws
}

func is200(r response) bool { return r.StatusCode == 200 }

func isInvalidGrant(r response) bool { return r.StatusCode == 400 && r.str("error") == "invalid_grant" }

// TestAttackR01_code: 64 redemptions of one code at once. One wins; the others
// are replays, so what it won is taken back. RFC 6749 §4.1.2.
func TestAttackR01_code(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("spa", append(offline, "prompt", "consent")...)
	for round := range raceRounds() {
		l.fast()
		code := b.code(request("spa", offline...), "alice")
		before := l.vault.active(t, storage.KindGrant)
		l.slow(round)
		ws := winners(t, atOnce(crowd, func(int) response { return l.redeem("spa", code) }), is200, isInvalidGrant)
		l.fast()
		if len(ws) != 1 {
			t.Fatalf("round %d: %d redemptions won", round, len(ws))
		}
		l.dead("spa", ws[0])
		if after := l.vault.active(t, storage.KindGrant); after != before-1 {
			t.Errorf("round %d: %d grants live, want %d", round, after, before-1)
		}
	}
	l.vault.noOrphans(t)
}

// TestAttackR01_codeWithForeigners: among the crowd only one may have the code;
// the others hold it back for nobody and revoke nothing.
func TestAttackR01_codeWithForeigners(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("spa", append(offline, "prompt", "consent")...)
	for round := range raceRounds() {
		l.fast()
		code := b.code(request("spa", offline...), "alice")
		l.slow(round)
		rs := atOnce(crowd, func(i int) response {
			switch {
			case i == crowd/2:
				return l.redeem("spa", code)
			case i%2 == 0:
				return l.redeem("native", code, "redirect_uri", spaRedirect, "code_verifier", first(pkcePair("spa")))
			}
			return l.redeem("spa", code, "redirect_uri", "https://evil.example/cb")
		})
		l.fast()
		// The wrong redirect_uri of the right client counts as a replay once the
		// code is spent, so only what the winner got may differ.
		ws := winners(t, rs, is200, isInvalidGrant)
		if len(ws) != 1 || ws[0].body != rs[crowd/2].body {
			t.Fatalf("round %d: %d won", round, len(ws))
		}
	}
	l.vault.noOrphans(t)
}

// TestAttackR01_verifierGuesses: a thief of a code cannot search for its
// verifier by trying many at once.
func TestAttackR01_verifierGuesses(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("spa")
	for round := range raceRounds() {
		l.fast()
		code := b.code(request("spa"), "alice")
		l.slow(round)
		guesses := crowd
		if round%2 == 1 {
			guesses = 5 // as many as are allowed one after the other: each must be counted
		}
		ws := winners(t, atOnce(guesses, func(i int) response {
			return l.redeem("spa", code, "code_verifier", fmt.Sprintf("%043d", i))
		}), is200, isInvalidGrant)
		l.fast()
		if len(ws) != 0 {
			t.Fatalf("round %d: a wrong verifier won", round)
		}
		l.redeem("spa", code).wantError(400, "invalid_grant")
	}
}

// TestAttackR02_refresh: 64 uses of one refresh token at once. Whoever is
// answered gets the same successor; there is one branch. RFC 9700 §4.14.
func TestAttackR02_refresh(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"native", "web"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, noLimits, patient)
			l.quick()
			tok := l.signedIn(client, append(offline, "prompt", "consent")...).issue(client, offline...)
			rt := tok.str("refresh_token")
			grants := l.vault.active(t, storage.KindGrant)
			for round := range raceRounds() {
				l.slow(round)
				ws := winners(t, atOnce(crowd, func(int) response { return l.refresh(client, rt) }), is200, isInvalidGrant)
				l.fast()
				if len(ws) != crowd {
					t.Fatalf("round %d: %d of %d were answered", round, len(ws), crowd)
				}
				next := ws[0].str("refresh_token")
				access := map[string]bool{}
				for _, r := range ws {
					if r.str("refresh_token") != next {
						t.Fatalf("round %d: two successors", round)
					}
					access[r.str("access_token")] = true
				}
				if next == rt || len(access) != crowd {
					t.Fatalf("round %d: %d access tokens", round, len(access))
				}
				l.userinfo(ws[round%crowd].str("access_token")).want(200)
				rt = next
			}
			if n := l.vault.active(t, storage.KindGrant); n != grants {
				t.Errorf("%d grants live, want %d", n, grants)
			}
			l.vault.noOrphans(t)
		})
	}
}

// TestAttackR02_reuse: a spent refresh token among uses of the living one: the
// family dies, and nobody keeps a branch of it.
func TestAttackR02_reuse(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("native", append(offline, "prompt", "consent")...)
	for round := range raceRounds() {
		l.fast()
		old := b.issue("native", offline...)
		mid := l.refresh("native", old.str("refresh_token")).want(200)
		now := l.refresh("native", mid.str("refresh_token")).want(200)
		l.slow(round)
		rs := atOnce(crowd/4, func(i int) response {
			if i%4 == 0 {
				return l.refresh("native", old.str("refresh_token"))
			}
			return l.refresh("native", now.str("refresh_token"))
		})
		l.fast()
		ws := winners(t, rs, is200, isInvalidGrant)
		for i, r := range rs {
			if i%4 == 0 && is200(r) {
				t.Fatalf("round %d: a spent token was answered", round)
			}
		}
		for _, r := range append(ws, old, mid, now) {
			l.dead("native", r)
		}
	}
}

// TestAttackR02_noGrace: without grace one request wins, and the others are
// reuse.
func TestAttackR02_noGrace(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient, func(c *handlers.Config) { c.TTL.Grace = handlers.NoGrace })
	b := l.signedIn("native", append(offline, "prompt", "consent")...)
	for round := range raceRounds() {
		l.fast()
		tok := b.issue("native", offline...)
		l.slow(round)
		ws := winners(t, atOnce(crowd/4, func(int) response { return l.refresh("native", tok.str("refresh_token")) }), is200, isInvalidGrant)
		l.fast()
		if len(ws) > 1 {
			t.Fatalf("round %d: %d won", round, len(ws))
		}
		for _, r := range append(ws, tok) {
			l.dead("native", r)
		}
	}
}

// isSpent is how a browser is told that a request was answered elsewhere.
func isSpent(r response) bool {
	if r.StatusCode == 400 && r.Header.Get("Location") == "" {
		return true
	}
	u, err := url.Parse(r.Header.Get("Location"))
	return err == nil && r.StatusCode == 303 && u.Query().Get("error") == "invalid_request_uri" && !u.Query().Has("code")
}

// TestAttackR05_requestURI: one pushed request, opened 64 times at once by a
// browser with a session and a remembered consent. RFC 9126 §7.3.
func TestAttackR05_requestURI(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("spa")
	for round := range raceRounds() {
		l.fast()
		edit := []string{"state", "s"}
		if round%2 == 1 {
			edit = append(edit, "prompt", "none")
		}
		uri := l.push(request("spa", edit...))
		before := l.vault.active(t, storage.KindGrant)
		l.slow(round)
		ws := winners(t, atOnce(crowd, func(int) response {
			return b.get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode())
		}), func(r response) bool { return codeIn(r) != "" }, isSpent)
		l.fast()
		if len(ws) != 1 {
			t.Fatalf("round %d: %d codes", round, len(ws))
		}
		if n := l.vault.active(t, storage.KindGrant); n != before+1 {
			t.Errorf("round %d: %d grants, want %d", round, n, before+1)
		}
		l.redeem("spa", codeIn(ws[0])).want(200)
	}
	l.vault.noOrphans(t)
}

// TestAttackR07_consent: one consent form, sent 64 times at once; with answers
// that contradict each other too.
func TestAttackR07_consent(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("spa")
	for round := range raceRounds() {
		l.fast()
		// With a pushed request beside the page, which is spent too, and without.
		client := []string{"spa", "native"}[round/2%2]
		u, _ := b.begin(request(client, "prompt", "consent")).location()
		token := csrf(b.get(u.String()).want(200))
		before := l.vault.active(t, storage.KindGrant)
		mixed := round%2 == 1
		l.slow(round)
		rs := atOnce(crowd, func(i int) response {
			form := url.Values{"csrf": {token}, "do": {"allow"}, "scope": {"profile"}}
			if i%3 == 0 {
				form.Set("remember", "1")
			}
			if mixed && i%2 == 0 {
				form.Set("do", "deny")
			}
			return b.post(u.String(), form)
		})
		l.fast()
		denied := func(r response) bool {
			v, err := url.Parse(r.Header.Get("Location"))
			return err == nil && v.Query().Get("error") == "access_denied"
		}
		ws := winners(t, rs, func(r response) bool { return codeIn(r) != "" || denied(r) }, isSpent)
		if len(ws) != 1 || !mixed && denied(ws[0]) {
			t.Fatalf("round %d: %d answers", round, len(ws))
		}
		want := before
		if code := codeIn(ws[0]); code != "" {
			l.redeem(client, code).want(200)
			want++
		}
		if n := l.vault.active(t, storage.KindGrant); n != want {
			t.Errorf("round %d: %d grants, want %d", round, n, want)
		}
	}
	l.vault.noOrphans(t)
}

// TestAttackR08_login: one login form, sent many times at once, leads on once.
func TestAttackR08_login(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	for round := range raceRounds() {
		l.fast()
		b := l.browser()
		u, _ := b.begin(request("spa")).location()
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "username": {"alice"}, "password": {password}, "do": {"login"}}
		l.slow(round)
		ws := winners(t, atOnce(crowd/4, func(int) response { return b.post(u.String(), form) }), func(r response) bool { return r.StatusCode == 303 }, isSpent)
		l.fast()
		if len(ws) != 1 {
			t.Fatalf("round %d: %d logins led on", round, len(ws))
		}
	}
}

// TestRaceRevocation: whatever is issued while something is revoked is dead
// once the revoker has been told that it is done, or was never issued.
func TestRaceRevocation(t *testing.T) {
	t.Parallel()
	const issuers = 8
	type setup struct {
		b    *browser
		tok  response // a family of the client, with a refresh token
		code string   // not yet redeemed
	}
	revokers := map[string]struct {
		do   func(l *lab, s setup) error
		undo func(l *lab) // brings the world back, so that dead means dead
	}{
		"logout": {func(l *lab, s setup) error {
			u, _ := s.b.get("/logout?" + url.Values{"id_token_hint": {s.tok.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}}.Encode()).location()
			if u.Path != "/bye" {
				return fmt.Errorf("logout went to %s", u)
			}
			return nil
		}, nil},
		"withdrawal": {func(l *lab, _ setup) error {
			return l.p.Grants().Withdraw(context.Background(), "sub-alice", "spa")
		}, nil},
		"user disabled": {func(l *lab, _ setup) error {
			l.users.disable("sub-alice", true)
			_, err := l.p.Grants().RevokeAll(context.Background(), handlers.Filter{Subject: "sub-alice"})
			return err
		}, func(l *lab) { l.users.disable("sub-alice", false) }},
		"client deleted": {func(l *lab, _ setup) error {
			l.clients.delete("spa")
			_, err := l.p.Grants().RevokeAll(context.Background(), handlers.Filter{ClientID: "spa"})
			return err
		}, func(l *lab) {
			for _, c := range testClients(l.t) {
				if c.ID == "spa" {
					l.clients.put(c)
				}
			}
		}},
	}
	works := map[string]func(l *lab, s setup, i int) response{
		"authorize": func(l *lab, s setup, i int) response {
			edit := offline
			if i%2 == 1 {
				edit = nil
			}
			q := request("spa", edit...)
			form, _ := auth("spa")
			for k, v := range q {
				form[k] = v
			}
			par := l.call("/par", form)
			if par.StatusCode != 201 {
				return par
			}
			return s.b.get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {par.str("request_uri")}}.Encode())
		},
		"redeem": func(l *lab, s setup, i int) response {
			if i > 0 {
				return response{}
			}
			return l.redeem("spa", s.code)
		},
		"refresh": func(l *lab, s setup, _ int) response { return l.refresh("spa", s.tok.str("refresh_token")) },
	}
	rounds := raceRounds()
	for rname, rv := range revokers {
		for wname, work := range works {
			t.Run(rname+" against "+wname, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, noLimits, patient)
				for round := range rounds {
					l.fast()
					s := setup{b: l.signedIn("spa", append(offline, "prompt", "consent")...)}
					s.tok = s.b.issue("spa", offline...)
					s.code = s.b.code(request("spa", offline...), "alice")
					plain := s.b.issue("spa")
					l.slow(round)
					var err error
					rs := atOnce(issuers+1, func(i int) response {
						if i == issuers {
							time.Sleep(time.Duration(round%5) * 8 * time.Millisecond) // not always first
							err = rv.do(l, s)
							return response{}
						}
						return work(l, s, i)
					})
					l.fast()
					if err != nil {
						t.Fatal(err)
					}
					if rv.undo != nil {
						rv.undo(l)
					}
					for _, r := range rs {
						switch {
						case r.Response == nil:
						case r.StatusCode >= 500:
							t.Errorf("round %d: status %d %s", round, r.StatusCode, r.body)
						case codeIn(r) != "":
							if got := l.redeem("spa", codeIn(r)); got.StatusCode != 400 {
								t.Fatalf("round %d: a code outlived its revocation: status %d", round, got.StatusCode)
							}
						case r.StatusCode == http.StatusOK:
							if got := l.userinfo(r.str("access_token")); got.StatusCode != 401 {
								t.Fatalf("round %d: an access token outlived its revocation: status %d", round, got.StatusCode)
							}
							if got := l.refresh("spa", r.str("refresh_token")); got.StatusCode != 400 {
								t.Fatalf("round %d: a refresh token outlived its revocation: status %d", round, got.StatusCode)
							}
						}
					}
					l.dead("spa", s.tok)
					l.dead("spa", plain)
				}
				l.vault.noOrphans(t)
			})
		}
	}
}

// TestRaceRevokeToken: the client revokes its refresh token while it is being
// rotated. RFC 7009 §2.1.
func TestRaceRevokeToken(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits, patient)
	b := l.signedIn("native", append(offline, "prompt", "consent")...)
	for round := range raceRounds() {
		l.fast()
		tok := b.issue("native", offline...)
		l.slow(round)
		rs := atOnce(9, func(i int) response {
			switch {
			case i < 8:
				return l.refresh("native", tok.str("refresh_token"))
			case round%2 == 0:
				return l.revokeToken("native", tok.str("refresh_token"))
			}
			return l.revokeToken("native", tok.str("access_token"))
		})
		l.fast()
		if rs[8].StatusCode != 200 {
			t.Fatalf("round %d: revocation: status %d", round, rs[8].StatusCode)
		}
		l.userinfo(tok.str("access_token")).want(401)
		for _, r := range winners(t, rs[:8], is200, isInvalidGrant) {
			if round%2 == 0 {
				l.dead("native", r)
				continue
			}
			l.userinfo(r.str("access_token")).want(200) // the others live on
		}
	}
}

// put stores a client as it is.
func (r *registry) put(c clientreg.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m[c.ID] = c
}
