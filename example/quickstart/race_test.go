package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/replicas/fleet"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// crowd is how many requests run at once.
const crowd = 64

// raceRounds is how often each race is run: few times, or as often as
// IDPKIT_RACE_ROUNDS says.
func raceRounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("IDPKIT_RACE_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return few
}

// arena is one storage with fsync on, one or more providers on it, each with
// connections of its own and storage calls that take 1 to 10 ms longer, and the
// proxy of example/replicas before them.
type arena struct {
	*household
	*engine
	t         *testing.T
	log       *syncBuffer
	flaky     []*storagetest.FlakyStorage
	providers []*handlers.Provider
	addresses []string     // of the providers
	who       *visitor     // signed in, with a remembered consent for every client
	c         *http.Client // follows no redirect, has who's cookies
	spent     int          // codes got while the arena was set up

	rounds int
}

func newArena(t *testing.T, engineName string, replicas int) *arena {
	t.Helper()
	dir := t.TempDir()
	front := httptest.NewUnstartedServer(nil)
	a := &arena{t: t, log: &syncBuffer{}, household: newHousehold(t, dir, "http://"+front.Listener.Addr().String(), "info"), engine: newEngine(t, engineName, dir)}
	cfg, err := load(options{config: a.config})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secrets(cfg.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	for range replicas {
		a.join(cfg, keys)
	}
	proxy := fleet.NewProxy(a.addresses...)
	for i := range replicas {
		proxy.In(i)
	}
	front.Config.Handler = proxy
	front.Start()
	t.Cleanup(front.Close)

	a.who = newVisitor(t, a.household, "alice", nil)
	a.c = newClient(t, a.issuer, a.who.c.Jar, false, nil)
	for _, c := range a.parties {
		a.consent(c)
	}
	return a
}

// patience is a limiter that lets everything happen.
type patience struct{}

func (patience) Allow(context.Context, string) (bool, time.Duration) { return true, 0 }

// join starts one more provider.
func (a *arena) join(cfg *config, keys [][]byte) {
	a.t.Helper()
	store, err := a.engine.open()
	if err != nil {
		a.t.Fatal(err)
	}
	flaky := storagetest.Flaky(store, storagetest.Plan{})
	own, secret := newAccountClient(cfg.Issuer, cfg.Name)
	log := slog.New(slog.NewTextHandler(a.log, nil))
	pc, err := cfg.provider(flaky, keys, log, own)
	if err != nil {
		a.t.Fatal(err)
	}
	pc.Timeout, pc.Limiter = hangGuard, patience{} // neither deadlines nor limits are the subject of a race
	pc.Clients = clientreg.Chain(pc.Clients, clientreg.Stored(flaky))
	p, err := handlers.New(pc)
	if err != nil {
		a.t.Fatal(err)
	}
	srv := httptest.NewServer((&server{cfg: cfg, log: log, provider: p}).routes(pc, secret))
	a.t.Cleanup(srv.Close)
	a.flaky, a.providers, a.addresses = append(a.flaky, flaky), append(a.providers, p), append(a.addresses, srv.Listener.Addr().String())
}

// consent gets a code with the consent page, and has the decision remembered.
func (a *arena) consent(c party) {
	a.t.Helper()
	p, err := fetch(a.who.c, http.MethodGet, a.push(c, random()), nil)
	if err == nil && at(p, "/login") {
		p, err = a.who.signIn(p)
	}
	if err == nil {
		p, err = a.who.press(p, "allow", url.Values{"remember": {"1"}})
	}
	if err != nil || param(p, "code") == "" {
		a.t.Fatalf("%s: status %d, Location %q, %v", c.id, p.Status, location(p), err)
	}
	a.spent++
}

// rows counts the rows of a kind in a state.
func (a *arena) rows(kind storage.Kind, state storage.State) int {
	a.t.Helper()
	n, err := a.count(kind, state)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// slow arms the latency of a round, fast takes it off.
func (a *arena) slow(round int) {
	for i, f := range a.flaky {
		f.Arm(storagetest.Plan{Latency: storagetest.Random(uint64(round*len(a.flaky)+i), time.Millisecond, 10*time.Millisecond)})
	}
}

func (a *arena) fast() {
	for _, f := range a.flaky {
		f.Arm(storagetest.Plan{})
	}
}

// codeRequest asks for a code.
func (a *arena) codeRequest(c party, verifier string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type": {"code"}, "redirect_uri": {c.redirect}, "scope": {"openid offline_access profile api"}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
}

// push pushes a request and returns the URL for the browser.
func (a *arena) push(c party, verifier string, more ...string) string {
	a.t.Helper()
	form := a.codeRequest(c, verifier)
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	p, err := c.ask(a.c, a.issuer+"/par", form)
	if err != nil || p.Status != http.StatusCreated {
		a.t.Fatalf("par: %d %s %v", p.Status, p.Body, err)
	}
	var v struct {
		RequestURI string `json:"request_uri"`
	}
	decode(a.t, p.Body, &v)
	return a.issuer + "/authorize?" + url.Values{"client_id": {c.id}, "request_uri": {v.RequestURI}}.Encode()
}

// code gets a code by the session and the remembered consent.
func (a *arena) code(c party, verifier string) string {
	a.t.Helper()
	p, err := fetch(a.c, http.MethodGet, a.push(c, verifier), nil)
	if err != nil || param(p, "code") == "" {
		a.t.Fatalf("authorize: %d %q %v", p.Status, location(p), err)
	}
	return param(p, "code")
}

func (a *arena) redeem(c party, code, verifier string) (handlerstest.Page, error) {
	return c.ask(a.c, a.issuer+"/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}})
}

func (a *arena) refresh(c party, token string) (handlerstest.Page, error) {
	return c.ask(a.c, a.issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// race runs f in a crowd on the slow storage and returns the answers that won;
// every other one must be a clean refusal.
func (a *arena) race(round int, f func(i int) (handlerstest.Page, error), won, refused func(handlerstest.Page) bool) (ws []handlerstest.Page) {
	a.t.Helper()
	a.slow(round)
	defer a.fast()
	pages, errs := atOnce(crowd, f)
	for i, p := range pages {
		switch {
		case errs[i] != nil:
			a.t.Errorf("round %d: %v", round, errs[i])
		case won(p):
			ws = append(ws, p)
		case p.Status >= 500 || !refused(p):
			a.t.Errorf("round %d: status %d, Location %q, %.200s", round, p.Status, location(p), p.Body)
		}
	}
	return ws
}

func is200(p handlerstest.Page) bool { return p.Status == http.StatusOK }

func hasCode(p handlerstest.Page) bool { return param(p, "code") != "" }

// arenas runs a race on SQLite in front of one provider and, half as often, of
// two on the same file, and on PostgreSQL and a Redis Cluster in front of three.
func arenas(t *testing.T, race func(t *testing.T, a *arena)) {
	arenasOf(t, raceRounds(10), raceRounds(3), race)
}

// arenasOf has few rounds on SQLite, and so many on a server.
func arenasOf(t *testing.T, onFile, onServer int, race func(t *testing.T, a *arena)) {
	for _, c := range []struct {
		engine    string
		providers int
		rounds    int
	}{
		{"sqlite", 1, onFile},
		{"sqlite", 2, max(1, onFile/2)},
		{"postgres", 3, onServer},
		{"redis", 3, onServer},
	} {
		t.Run(fmt.Sprintf("%s/providers=%d", c.engine, c.providers), func(t *testing.T) {
			t.Parallel()
			a := newArena(t, c.engine, c.providers)
			a.rounds = c.rounds
			begin := time.Now()
			race(t, a)
			t.Logf("%d rounds in %v", a.rounds, time.Since(begin).Round(time.Millisecond))
			if err := a.whole(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the providers said:\n%.4000s", a.log.String())
			}
		})
	}
}

// TestRaceCode: 64 redemptions of one code at once. One wins, and since the
// others are replays, what it won is taken back. RFC 6749 §4.1.2.
func TestRaceCode(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		for round := range a.rounds {
			c, verifier := a.parties[round%len(a.parties)], random()
			code := a.code(c, verifier)
			ws := a.race(round, func(int) (handlerstest.Page, error) { return a.redeem(c, code, verifier) }, is200, invalidGrant)
			if len(ws) != 1 {
				t.Fatalf("round %d: %d redemptions won", round, len(ws))
			}
			var got tokens
			decode(t, ws[0].Body, &got)
			if p, err := a.refresh(c, got.Refresh); err != nil || !invalidGrant(p) {
				t.Errorf("round %d: the family of a replayed code: %d %v", round, p.Status, err)
			}
		}
		if n := a.rows(storage.KindCode, storage.Consumed); n != a.rounds {
			t.Errorf("%d codes spent, want %d", n, a.rounds)
		}
		if live, dead := a.rows(storage.KindGrant, storage.Active), a.rows(storage.KindGrant, storage.Consumed); live != a.spent || dead != a.rounds {
			t.Errorf("%d grants live and %d dead, want %d and %d", live, dead, a.spent, a.rounds)
		}
	})
}

// TestRaceRequestURI: one pushed request, opened 64 times at once by a browser
// with a session and a remembered consent. RFC 9126 §7.3.
func TestRaceRequestURI(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		for round := range a.rounds {
			c, verifier := a.parties[round%len(a.parties)], random()
			var more []string
			if round%2 == 1 {
				more = []string{"prompt", "none"}
			}
			u := a.push(c, verifier, more...)
			ws := a.race(round, func(int) (handlerstest.Page, error) { return fetch(a.c, http.MethodGet, u, nil) }, hasCode, spentRequest)
			if len(ws) != 1 {
				t.Fatalf("round %d: %d codes", round, len(ws))
			}
			if p, err := a.redeem(c, param(ws[0], "code"), verifier); err != nil || !is200(p) {
				t.Errorf("round %d: the code: %d %s %v", round, p.Status, p.Body, err)
			}
		}
		a.balance(a.rounds)
	})
}

// TestRaceConsent: one consent form, sent 64 times at once.
func TestRaceConsent(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		for round := range a.rounds {
			c, verifier := a.parties[round%len(a.parties)], random()
			p, err := fetch(a.who.c, http.MethodGet, a.push(c, verifier, "prompt", "consent"), nil)
			if err != nil {
				t.Fatal(err)
			}
			f, err := p.Form(do("allow"))
			if err != nil {
				t.Fatal(err)
			}
			ws := a.race(round, func(i int) (handlerstest.Page, error) {
				mine := maps.Clone(f.Values)
				if i%3 == 0 {
					mine.Set("remember", "1")
				}
				return fetch(a.c, http.MethodPost, f.Action.String(), mine, "Origin", a.issuer)
			}, hasCode, spentRequest)
			if len(ws) != 1 {
				t.Fatalf("round %d: %d codes", round, len(ws))
			}
			if p, err := a.redeem(c, param(ws[0], "code"), verifier); err != nil || !is200(p) {
				t.Errorf("round %d: the code: %d %s %v", round, p.Status, p.Body, err)
			}
		}
		a.balance(a.rounds)
	})
}

// balance compares the rows with the successes: each has its code, spent, and
// its grant, living; nobody else left any.
func (a *arena) balance(successes int) {
	a.t.Helper()
	for _, w := range []struct {
		kind  storage.Kind
		state storage.State
		want  int
	}{
		{storage.KindGrant, storage.Active, a.spent + successes},
		{storage.KindGrant, storage.Consumed, 0},
		{storage.KindCode, storage.Active, a.spent},
		{storage.KindCode, storage.Consumed, successes},
		{storage.KindPAR, storage.Active, 0},
	} {
		if n := a.rows(w.kind, w.state); n != w.want {
			a.t.Errorf("%d rows of kind %s in state %d, want %d", n, w.kind, w.state, w.want)
		}
	}
}

// TestRaceRefresh: 64 uses of one refresh token at once. Whoever is answered
// gets the same successor: there is one branch. RFC 9700 §4.14.
func TestRaceRefresh(t *testing.T) {
	t.Parallel()
	arenas(t, func(t *testing.T, a *arena) {
		c, verifier := a.parties[1], random()
		p, err := a.redeem(c, a.code(c, verifier), verifier)
		if err != nil || !is200(p) {
			t.Fatalf("token: %d %s %v", p.Status, p.Body, err)
		}
		var now tokens
		decode(t, p.Body, &now)
		answered := 0
		for round := range a.rounds {
			old := now.Refresh
			ws := a.race(round, func(int) (handlerstest.Page, error) { return a.refresh(c, old) }, is200, invalidGrant)
			if len(ws) == 0 {
				t.Fatalf("round %d: nobody was answered", round)
			}
			answered += len(ws)
			next := map[string]bool{}
			for _, w := range ws {
				decode(t, w.Body, &now)
				next[now.Refresh] = true
			}
			if len(next) != 1 || next[old] || now.Refresh == "" {
				t.Fatalf("round %d: %d successors", round, len(next))
			}
		}
		t.Logf("%d of %d were answered", answered, a.rounds*crowd)
		a.balance(1)
	})
}
