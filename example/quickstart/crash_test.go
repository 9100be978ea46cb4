package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers/handlerstest"
)

// stage is what a worker waits for an answer to; whatever it waits for when the
// process dies may have happened or not.
type stage string

const (
	idle           stage = "between two requests"
	pushing        stage = "push"
	signing        stage = "sign-in"
	answering      stage = "answer"
	redeeming      stage = "code"
	refreshing     stage = "refresh"
	revoking       stage = "revocation"
	revokingAccess stage = "revocation of an access token"
	replaying      stage = "replay of a code"
	reusing        stage = "reuse of a refresh token"
	disconnecting  stage = "disconnection"
	loggingOut     stage = "logout"
)

// family is one authorization as its application knows it: only what was
// acknowledged.
type family struct {
	client   party
	verifier string
	uri      string             // where the browser goes
	prompt   bool               // asks for the consent page in any case
	page     *handlerstest.Page // the consent page
	code     string
	redeemed bool
	access   []string
	killed   []string // access tokens that were revoked alone
	refresh  []string // the newest last
	id       string
	login    int // sign-in that it was granted in
	dead     bool
}

// worker is a person and the applications that they use, one request at a time.
type worker struct {
	*visitor
	h       *household
	api     *http.Client
	rand    *rand.Rand
	session bool // the browser was told that it is signed in
	unsure  bool // a sign-in was under way when the process died

	doing    stage
	now      *family // what doing is about
	living   []*family
	dead     []*family // for good
	fresh    int       // the last of dead, not looked at since a restart
	answered []string  // spent request_uris, code or not
	did      map[stage]int
}

// surprise is an answer that a healthy provider does not give.
func surprise(what string, p handlerstest.Page) error {
	return fmt.Errorf("%s: status %d at %s, Location %q: %s", what, p.Status, p.URL, location(p), p)
}

// begin and done frame every request.
func (w *worker) begin(s stage, f *family) { w.doing, w.now = s, f }

func (w *worker) done() { w.did[w.doing]++; w.doing, w.now = idle, nil }

func (w *worker) push(f *family) error {
	w.begin(pushing, f)
	sum := sha256.Sum256([]byte(f.verifier))
	form := url.Values{
		"response_type": {"code"}, "redirect_uri": {f.client.redirect}, "scope": {"openid offline_access profile"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if f.prompt {
		form.Set("prompt", "consent")
	}
	p, err := f.client.ask(w.api, w.issuer+"/par", form)
	if err != nil {
		return err
	}
	var v struct {
		RequestURI string `json:"request_uri"`
	}
	if p.Status != http.StatusCreated || json.Unmarshal([]byte(p.Body), &v) != nil || v.RequestURI == "" {
		return surprise("push", p)
	}
	f.uri = w.issuer + "/authorize?" + url.Values{"client_id": {f.client.id}, "request_uri": {v.RequestURI}}.Encode()
	w.done()
	return nil
}

// authorize takes the browser from the request to the code.
func (w *worker) authorize(f *family) error {
	if f.page == nil {
		w.begin(f.beforeConsent(), f)
		p, err := fetch(w.c, http.MethodGet, f.uri, nil)
		if err != nil {
			return err
		}
		return w.lead(f, p)
	}
	return w.allow(f)
}

// beforeConsent is the stage on the way to the consent page: a remembered consent
// may answer there already.
func (f *family) beforeConsent() stage {
	if f.prompt {
		return signing
	}
	return answering
}

// lead goes on from where the authorization endpoint has led.
func (w *worker) lead(f *family, p handlerstest.Page) error {
	if at(p, "/login") {
		if w.session {
			return surprise("an acknowledged sign-in is forgotten", p)
		}
		w.begin(f.beforeConsent(), f)
		w.unsure = true
		var err error
		if p, err = w.signIn(p); err != nil {
			return err
		}
		if at(p, "/login") && p.Status != http.StatusSeeOther {
			return surprise("the password is not taken", p)
		}
	}
	w.session, w.unsure = true, false
	if hasCode(p) {
		return w.take(f, p)
	}
	if !at(p, "/consent") || !is200(p) {
		return surprise("authorize", p)
	}
	f.page = &p
	w.begin(signing, f)
	w.done()
	return w.allow(f)
}

func (w *worker) allow(f *family) error {
	w.begin(answering, f)
	fields := url.Values{}
	if w.rand.IntN(2) == 0 {
		fields.Set("remember", "1")
	}
	p, err := w.press(*f.page, "allow", fields)
	if err != nil {
		return err
	}
	if !hasCode(p) {
		return surprise("consent", p)
	}
	return w.take(f, p)
}

func (w *worker) take(f *family, p handlerstest.Page) error {
	f.code, f.login = param(p, "code"), w.logins
	w.answered = append(w.answered, f.uri)
	w.done()
	return nil
}

func (w *worker) askToken(f *family, form url.Values) (handlerstest.Page, error) {
	p, err := f.client.ask(w.api, w.issuer+"/token", form)
	if err != nil || !is200(p) {
		return p, err
	}
	var got tokens
	if json.Unmarshal([]byte(p.Body), &got) != nil || got.Access == "" || got.Refresh == "" {
		return p, surprise("token", p)
	}
	f.access, f.refresh = append(f.access, got.Access), append(f.refresh, got.Refresh)
	if got.ID != "" {
		f.id = got.ID
	}
	return p, nil
}

func (w *worker) redeem(f *family) (handlerstest.Page, error) {
	return w.askToken(f, url.Values{"grant_type": {"authorization_code"}, "code": {f.code}, "redirect_uri": {f.client.redirect}, "code_verifier": {f.verifier}})
}

func (w *worker) renew(f *family, token string) (handlerstest.Page, error) {
	return w.askToken(f, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func (w *worker) revoke(f *family, token string) error {
	p, err := f.client.ask(w.api, w.issuer+"/revoke", url.Values{"token": {token}})
	if err == nil && !is200(p) {
		err = surprise("revoke", p)
	}
	return err
}

func (w *worker) userinfo(token string) (handlerstest.Page, error) {
	return fetch(w.api, http.MethodGet, w.issuer+"/userinfo", nil, "Authorization", "Bearer "+token)
}

// finish takes a family from wherever it is to its first tokens.
func (w *worker) finish(f *family) error {
	if f.uri == "" {
		if err := w.push(f); err != nil {
			return err
		}
	}
	if f.code == "" {
		if err := w.authorize(f); err != nil {
			return err
		}
	}
	w.begin(redeeming, f)
	p, err := w.redeem(f)
	if err != nil {
		return err
	}
	if !is200(p) {
		return surprise("redeem", p)
	}
	f.redeemed = true
	w.living = append(w.living, f)
	w.done()
	return nil
}

func (w *worker) refresh(f *family) error {
	w.begin(refreshing, f)
	p, err := w.renew(f, f.refresh[len(f.refresh)-1])
	if err != nil {
		return err
	}
	if !is200(p) {
		return surprise("refresh", p)
	}
	if len(f.access) > 3 {
		f.access = f.access[1:]
	}
	w.done()
	return nil
}

// bury moves families for whose end there is an acknowledgement.
func (w *worker) bury(gone func(*family) bool) {
	w.living = slices.DeleteFunc(w.living, func(f *family) bool {
		if !gone(f) {
			return false
		}
		f.dead = true
		w.dead = append(w.dead, f)
		w.fresh++
		return true
	})
}

func is(f *family) func(*family) bool { return func(o *family) bool { return o == f } }

// end kills a family in the way of the stage. Each way can be tried again.
func (w *worker) end(f *family, how stage) error {
	w.begin(how, f)
	gone := is(f)
	switch how {
	case revoking:
		if err := w.revoke(f, f.refresh[len(f.refresh)-1]); err != nil {
			return err
		}
	case replaying: // RFC 6749 §4.1.2
		if p, err := w.redeem(f); err != nil {
			return err
		} else if !invalidGrant(p) {
			return surprise("a code redeemed again", p)
		}
	case reusing: // RFC 9700 §4.14.2
		if p, err := w.renew(f, f.refresh[0]); err != nil {
			return err
		} else if !invalidGrant(p) {
			return surprise("a spent refresh token", p)
		}
	case disconnecting:
		p, err := fetch(w.c, http.MethodGet, w.issuer+"/account", nil)
		if err == nil && at(p, "/login") && !w.session {
			w.unsure = true
			p, err = w.signIn(p)
		}
		if err != nil {
			return err
		}
		if !at(p, "/account") || !is200(p) {
			return surprise("account page", p)
		}
		w.session, w.unsure = true, false
		if strings.Contains(p.Body, `value="`+f.client.id+`"`) { // else an earlier try has done it
			if p, err = w.press(p, "revoke", url.Values{"grant": {f.client.id}}); err != nil {
				return err
			}
			if !is200(p) || !strings.Contains(p.Body, "no longer has access") {
				return surprise("disconnect", p)
			}
		}
		gone = func(o *family) bool { return o.client.id == f.client.id }
	case loggingOut:
		p, err := fetch(w.c, http.MethodGet, w.issuer+"/logout?"+url.Values{"id_token_hint": {f.id}, "post_logout_redirect_uri": {f.client.redirect}}.Encode(), nil)
		if err != nil {
			return err
		}
		if p.Status != http.StatusSeeOther || !strings.HasPrefix(location(p), f.client.redirect) {
			return surprise("logout", p)
		}
		w.session = false
		gone = func(o *family) bool { return o.client.id == f.client.id && o.login == f.login }
	}
	w.bury(gone)
	w.done()
	return nil
}

func (w *worker) endAccess(f *family, token string) error {
	w.begin(revokingAccess, f)
	f.killed, f.access = append(f.killed, token), slices.DeleteFunc(f.access, func(s string) bool { return s == token })
	if err := w.revoke(f, token); err != nil {
		return err
	}
	w.done()
	return nil
}

// flow is one turn of the load.
func (w *worker) flow() error {
	f := &family{client: w.h.parties[w.rand.IntN(len(w.h.parties))], verifier: random(), prompt: w.rand.IntN(3) > 0}
	if err := w.finish(f); err != nil {
		return err
	}
	for range w.rand.IntN(4) {
		if p, err := w.userinfo(f.access[0]); err != nil {
			return err
		} else if !is200(p) {
			return surprise("userinfo", p)
		}
		if err := w.refresh(f); err != nil {
			return err
		}
	}
	if w.rand.IntN(4) == 0 && len(f.access) > 1 {
		if err := w.endAccess(f, f.access[0]); err != nil {
			return err
		}
	}
	if len(w.living) < 3 {
		return nil
	}
	f = w.living[w.rand.IntN(len(w.living))]
	how := []stage{revoking, revoking, replaying, reusing, disconnecting, loggingOut}[w.rand.IntN(6)]
	if how == reusing && len(f.refresh) < 3 || how == loggingOut && (f.login != w.logins || !w.session) {
		how = revoking
	}
	return w.end(f, how)
}

// settle looks at what was under way when the process died, and brings it to an
// acknowledged end.
func (w *worker) settle() error {
	s, f := w.doing, w.now
	w.doing, w.now = idle, nil
	switch s {
	case idle, pushing: // nothing was promised
		return nil
	case signing, answering:
		if f.page != nil && w.rand.IntN(2) == 0 { // the same form again
			p, err := w.press(*f.page, "allow", nil)
			switch {
			case err != nil:
				return err
			case hasCode(p):
				w.begin(answering, f)
				if err := w.take(f, p); err != nil {
					return err
				}
				return w.finish(f)
			case !spentRequest(p):
				return surprise("the consent form, sent again", p)
			}
			w.answered = append(w.answered, f.uri) // in the same commit
			return nil
		}
		p, err := fetch(w.c, http.MethodGet, f.uri, nil)
		switch {
		case err != nil:
			return err
		case spentRequest(p) && s == answering: // the code was lost
			w.answered = append(w.answered, f.uri)
			return nil
		}
		f.page = nil
		w.begin(f.beforeConsent(), f)
		if w.unsure && !at(p, "/login") { // the cookie had come, the page had not
			w.session = true
		}
		if err := w.lead(f, p); err != nil {
			return err
		}
		return w.finish(f)
	case redeeming:
		p, err := w.redeem(f)
		switch {
		case err != nil:
			return err
		case is200(p):
			f.redeemed = true
			w.living = append(w.living, f)
		case invalidGrant(p): // it was redeemed, so this was a replay
			w.dead, w.fresh = append(w.dead, f), w.fresh+1
		default:
			return surprise("redeem again", p)
		}
		return nil
	case refreshing: // the presented token has a successor or is the current one: it works
		return w.refresh(f)
	case revokingAccess:
		return w.endAccess(f, f.killed[len(f.killed)-1])
	case revoking: // it has happened as a whole or not at all
		me, err := w.userinfo(f.access[len(f.access)-1])
		if err != nil {
			return err
		}
		again, err := w.renew(f, f.refresh[len(f.refresh)-1])
		if err != nil {
			return err
		}
		switch {
		case is200(me) && is200(again):
			return w.end(f, revoking)
		case me.Status == http.StatusUnauthorized && invalidGrant(again):
			w.bury(is(f))
			return nil
		}
		return errors.Join(surprise("half revoked", me), surprise("half revoked", again))
	}
	return w.end(f, s)
}

// check is the oracle: what was acknowledged holds. all: of the whole run, not
// only since the last kill and a sample.
func (w *worker) check(all bool) error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if w.session {
		p, err := fetch(w.c, http.MethodGet, w.issuer+"/account", nil)
		if note(err); err == nil && !at(p, "/account") {
			note(surprise("an acknowledged sign-in is forgotten", p))
		}
	}
	for _, f := range w.living {
		note(w.refresh(f))
		for _, token := range f.access {
			p, err := w.userinfo(token)
			if note(err); err == nil && !is200(p) {
				note(surprise("an acknowledged access token", p))
			}
		}
		for _, token := range f.killed {
			note(w.refused(token))
		}
	}
	for i, f := range w.dead {
		if !all && i < len(w.dead)-w.fresh && w.rand.IntN(len(w.dead)) > 8 {
			continue
		}
		// In this order: each of the later ones would revoke what is still alive.
		for _, token := range slices.Concat(f.access, f.killed) {
			note(w.refused(token))
		}
		if n := len(f.refresh); n > 0 {
			p, err := w.renew(f, f.refresh[n-1])
			if note(err); err == nil && !invalidGrant(p) {
				note(surprise("a revoked refresh token", p))
			}
		}
		p, err := w.redeem(f)
		if note(err); err == nil && !invalidGrant(p) {
			note(surprise("a spent code", p))
		}
	}
	w.fresh = 0
	for i, uri := range w.answered {
		if !all && i < len(w.answered)-8 && w.rand.IntN(len(w.answered)) > 8 {
			continue
		}
		p, err := fetch(w.c, http.MethodGet, uri, nil)
		if note(err); err == nil && !spentRequest(p) {
			note(surprise("a spent request_uri", p))
		}
	}
	return errors.Join(errs...)
}

// account is what follows a restart.
func (w *worker) account(all bool) error {
	if err := w.settle(); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return w.check(all)
}

func (w *worker) refused(access string) error {
	p, err := w.userinfo(access)
	if err == nil && p.Status != http.StatusUnauthorized {
		err = surprise("a revoked access token", p)
	}
	return err
}

// crew are people who use a provider all at once.
type crew struct {
	t       testing.TB
	workers []*worker
	cut     map[stage]int // what they waited for when the kill came
}

func newCrew(t testing.TB, h *household, seed uint64, spy func(http.RoundTripper) http.RoundTripper) *crew {
	c := &crew{t: t, cut: map[stage]int{}}
	for i, name := range h.people {
		w := &worker{visitor: newVisitor(t, h, name, spy), h: h, api: newClient(t, h.issuer, nil, false, spy), doing: idle, did: map[stage]int{}}
		w.rand = rand.New(rand.NewPCG(seed, uint64(i+1)))
		c.workers = append(c.workers, w)
	}
	return c
}

// each has all of them do something at once.
func (c *crew) each(f func(w *worker) error) {
	c.t.Helper()
	errs := make([]error, len(c.workers))
	var wg sync.WaitGroup
	for i, w := range c.workers {
		wg.Go(func() { errs[i] = f(w) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
}

// struck notes what the kill has cut off.
func (c *crew) struck() {
	for _, w := range c.workers {
		c.cut[w.doing]++
		w.c.CloseIdleConnections()
		w.api.CloseIdleConnections()
	}
}

func (c *crew) report() {
	c.t.Helper()
	did, dead, living := map[stage]int{}, 0, 0
	for _, w := range c.workers {
		for s, n := range w.did {
			did[s] += n
		}
		dead, living = dead+len(w.dead), living+len(w.living)
	}
	c.t.Logf("%d families living, %d dead", living, dead)
	for _, s := range slices.Sorted(maps.Keys(did)) {
		c.t.Logf("%-31s %5d acknowledged, %3d cut off by a kill", s, did[s], c.cut[s])
	}
}

// kills is how often something is killed: few times, or as often as IDPKIT_KILLS
// says.
func kills(few int) int {
	if n, err := strconv.Atoi(os.Getenv("IDPKIT_KILLS")); err == nil && n > 0 {
		return n
	}
	return few
}

// TestKill kills the program (SIGKILL) at any moment while four people use it,
// starts it again on the same file, and holds it to what it had acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	address := freePort(t)
	h := newHousehold(t, t.TempDir(), "http://"+address, "debug")
	program := buildProgram(t)

	c := newCrew(t, h, seed, nil)
	each := c.each
	var took []time.Duration
	start := func() *process {
		t.Helper()
		begin := time.Now()
		p := startProcess(t, program, "-config", h.config)
		if err := p.ready(h.issuer); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
		return p
	}
	healthy := func(p *process) {
		t.Helper()
		for _, bad := range []string{"level=ERROR", "DATA RACE", "panic"} {
			if strings.Contains(p.log.String(), bad) {
				t.Fatalf("the program said %s:\n%.4000s", bad, p.log.String())
			}
		}
	}
	stillborn := 0
	for kill := range kills(8) {
		for kill == 0 && stillborn < 3 || chance.IntN(4) == 0 { // killed while it starts
			p := startProcess(t, program, "-config", h.config)
			time.Sleep(time.Duration(chance.IntN(60)) * time.Millisecond)
			p.kill()
			stillborn++
		}
		p := start()
		each(func(w *worker) error { return w.account(false) })
		var dying atomic.Bool
		timer := time.AfterFunc(time.Duration(chance.IntN(400))*time.Millisecond, func() {
			dying.Store(true)
			p.kill()
		})
		each(func(w *worker) error {
			for {
				if err := w.flow(); errors.Is(err, errLost) && dying.Load() {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
		timer.Stop()
		p.kill()
		healthy(p)
		c.struck()
	}
	p := start()
	each(func(w *worker) error { return w.account(true) })
	healthy(p)
	if err := p.stop(); err != nil {
		t.Errorf("asked to end: %v", err)
	}
	whole(t, open(t, h.db))
	left, err := filepath.Glob(h.db + "*")
	if err != nil || len(left) < 2 {
		t.Errorf("files: %v %v", left, err)
	}

	slices.Sort(took)
	t.Logf("%d kills under load, %d during a start", kills(8), stillborn)
	c.report()
	t.Logf("%d starts: ready in %v at best, %v in the middle, %v at worst", len(took), took[0].Round(time.Millisecond), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}
