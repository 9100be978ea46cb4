package handlers_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// A trial is one request that can be made again, and what must hold after it.
type trial struct {
	do    func() response
	won   func(response) bool
	many  bool                 // winning again is no double-spend
	heals bool                 // after the fault has gone, a retry must win
	check func(won []response) // the oracle; won holds every success
	blind bool                 // the oracle does not hold for a storage that forgot a row
}

type faultFlow struct {
	name    string
	opts    func(*handlers.Config) // nil: the defaults
	prepare func(l *lab) trial
}

// faults are the ways in which a call of the storage goes wrong. definite ones
// never happened; after the others nobody knows.
var faults = []struct {
	name  string
	fault storagetest.Fault
	hangs bool // until the request's deadline
	gone  bool // no fault of the infrastructure: the record is not there
}{
	{name: "error", fault: storagetest.Fail(storage.ErrUnavailable)},
	{name: "driver error", fault: storagetest.Fail(errors.New("driver: bad connection"))},
	{name: "canceled", fault: storagetest.Fail(context.Canceled)},
	{name: "deadline", fault: storagetest.Fail(context.DeadlineExceeded)},
	{name: "commit, then error", fault: storagetest.CommitThenError},
	{name: "canceled midway", fault: storagetest.CancelMid},
	{name: "commit, then panic", fault: storagetest.CommitThenPanic},
	{name: "hang", fault: storagetest.Hang, hangs: true},
	{name: "commit, then hang", fault: storagetest.CommitThenHang, hangs: true},
	{name: "not found", fault: storagetest.Fail(storage.ErrNotFound), gone: true},
	{name: "nil, nil", fault: storagetest.Skip, gone: false},
}

// redirectError returns the error code of a redirect to the client, "" if the
// answer is none.
func redirectError(r response) string {
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil || r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(u.String(), spaOrigin+"/") && !strings.HasPrefix(u.String(), webRedirect) {
		return ""
	}
	return u.Query().Get("error")
}

// TestFaults puts every fault at every storage call of every flow and holds the
// answer, a retry and the rows against the invariants of SECURITY.md §3: one
// success at most (I1), what was handed out works (I2), nothing else does (I3),
// a replay or a revocation that was answered is complete (I4, I5), a fault is
// told as a fault (I6, I7), a retry is safe (I8), no call of the storage outlives
// the answer (I9), nothing inside shows (I10).
func TestFaults(t *testing.T) {
	t.Parallel()
	var points atomic.Int64
	over := faultStorage(t)
	t.Cleanup(func() {
		if n := points.Load(); !t.Failed() && n < 1500 {
			t.Errorf("%d fault points, want at least 1500", n)
		} else {
			t.Logf("%d fault points over %T", n, over)
		}
	})
	for _, flow := range allFaultFlows() {
		t.Run(flow.name, func(t *testing.T) {
			t.Parallel()
			points.Add(int64(flow.run(t, faultStorage(t), nil)))
		})
	}
}

func allFaultFlows() []faultFlow {
	return slices.Concat(faultFlows(), deviceFaults(), apiFaults(), accountFaults(), hostFaults())
}

// faultLab is a lab whose provider can be made hasty.
type faultLab struct {
	*lab
	calls *inflight
	short *handlers.Provider // gives up soon
	front func(http.Handler) http.Handler
}

// hurry says whether the next request meets a storage that hangs.
func (l *faultLab) hurry(on bool) {
	p := l.p
	if l.hasty = on; on {
		p = l.short
	}
	h := p.Handler()
	if l.front != nil {
		h = l.front(h)
	}
	l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hurried{}, on)))
	}))
}

// hurried says in a request's context whether its storage hangs.
type hurried struct{}

const haste = 60 * time.Millisecond

// run puts every fault at every call of one flow and returns how many points
// that were. front stands before the provider; nil: nothing.
func (flow faultFlow) run(t testing.TB, store storage.Storage, front func(http.Handler) http.Handler) (points int) {
	l := &faultLab{calls: &inflight{}, front: front}
	opts := []func(*handlers.Config){noLimits, patient, func(c *handlers.Config) { l.calls.Storage, c.Storage = c.Storage, l.calls }}
	if flow.opts != nil {
		opts = append(opts, flow.opts)
	}
	l.lab = newLabOver(t, store, opts...)
	cfg := l.cfg
	cfg.Timeout = haste
	var err error
	if l.short, err = handlers.New(cfg); err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{true, false} { // keys are in memory from here on
		l.hurry(on)
		res := l.getWith("/jwks")
		for n := 0; res.StatusCode != 200 && n < 100; n++ { // in a hurry, on a busy machine
			res = l.getWith("/jwks")
		}
		res.want(200)
	}
	// One clean run says how many calls there are.
	tr := flow.prepare(l.lab)
	l.flaky.Arm(storagetest.Plan{})
	res := tr.do()
	calls := l.flaky.Calls()
	if !tr.won(res) {
		t.Fatalf("without a fault: status %d, Location %q, %.300s", res.StatusCode, res.Header.Get("Location"), res.body)
	}
	tr.check([]response{res})
	if len(calls) == 0 {
		t.Fatal("the flow does not touch the storage")
	}
	at := "the run without a fault"
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("at %s", at)
		}
	})
	for k := 1; k <= len(calls); k++ {
		for _, f := range faults {
			if (f.gone || f.name == "nil, nil") && calls[k-1].Method != "Get" {
				continue // no answer that the contract allows, or one that lies
			}
			points++
			tr := flow.prepare(l.lab)
			l.hurry(f.hangs)
			l.flaky.Arm(storagetest.Plan{Faults: map[int]storagetest.Fault{k: f.fault}})
			res := tr.do()
			left := l.calls.n.Load()
			l.flaky.Arm(storagetest.Plan{})
			l.hurry(false)
			where := flow.name + ", call " + itoa(k) + " (" + calls[k-1].Method + "), " + f.name
			at = where

			if left != 0 { // I9
				t.Errorf("%s: %d calls of the storage outlive the answer", where, left)
			}
			if m := leak(res.body); m != "" { // I10
				t.Errorf("%s: the answer says %q", where, m)
			}
			var won []response
			if tr.won(res) {
				won = append(won, res)
			}
			if !f.gone && len(won) == 0 { // I6, I7
				e := redirectError(res)
				if res.StatusCode != 500 && res.StatusCode != 503 && e != "server_error" && e != "temporarily_unavailable" {
					t.Errorf("%s: status %d, Location %q: %.200s", where, res.StatusCode, res.Header.Get("Location"), res.body)
				}
				if res.StatusCode == 503 && res.Header.Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After", where)
				}
				if res.StatusCode >= 500 && res.Header.Get("Location") != "" {
					t.Errorf("%s: a fault leads to %q", where, res.Header.Get("Location"))
				}
			}
			// A success stands as it is: a retry would mend what it did not do. One of a
			// storage that forgot a row says nothing yet.
			first := len(won) > 0 && !f.gone
			for range 2 { // I8
				if first || len(won) > 0 && !tr.many {
					break
				}
				again := tr.do()
				if again.StatusCode >= 500 {
					t.Errorf("%s: the retry: status %d", where, again.StatusCode)
				}
				if tr.won(again) {
					won = append(won, again)
				}
			}
			if len(won) == 0 && tr.heals && !f.gone {
				t.Errorf("%s: no retry won", where)
			}
			if !f.gone || !tr.blind {
				tr.check(won)
			}
			if len(won) > 0 && !tr.many && tr.won(tr.do()) { // I1
				t.Errorf("%s: two successes", where)
			}
			l.onlyDelivered(where)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	l.vault.noOrphans(t)
	return points
}

// inflight counts the calls that are under way.
type inflight struct {
	storage.Storage
	n atomic.Int64
}

func (s *inflight) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	s.n.Add(1)
	defer s.n.Add(-1)
	return s.Storage.Get(ctx, ref)
}

func (s *inflight) Commit(ctx context.Context, ops ...storage.Op) error {
	s.n.Add(1)
	defer s.n.Add(-1)
	return s.Storage.Commit(ctx, ops...)
}

func (s *inflight) Find(ctx context.Context, q storage.Query) (storage.Page, error) {
	s.n.Add(1)
	defer s.n.Add(-1)
	return s.Storage.Find(ctx, q)
}

func (s *inflight) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	s.n.Add(1)
	defer s.n.Add(-1)
	return s.Storage.Purge(ctx, before, limit)
}

// onlyDelivered is I3: every living refresh chain ends in a token that somebody
// was given.
func (l *lab) onlyDelivered(where string) {
	l.t.Helper()
	given := map[string]bool{}
	for v, what := range l.spy.all() {
		if what == "refresh_token" {
			sum := sha256.Sum256([]byte(v))
			given[base64.StdEncoding.EncodeToString(sum[:])] = true
		}
	}
	for _, g := range l.vault.rows(l.t, storage.KindGrant) {
		var d struct {
			Refresh *struct {
				Digest string `json:"digest"`
			} `json:"refresh"`
		}
		if err := json.Unmarshal(g.Data, &d); err != nil {
			l.t.Fatal(err)
		}
		if g.State == storage.Active && d.Refresh != nil && !given[d.Refresh.Digest] {
			l.t.Errorf("%s: a living refresh token was never delivered", where)
		}
	}
}

// lives is I2: what was handed out works.
func (l *lab) lives(client string, tok response) {
	l.t.Helper()
	l.userinfo(tok.str("access_token")).want(200)
	if rt := tok.str("refresh_token"); rt != "" {
		l.refresh(client, rt).want(200)
	}
}

// appUsers has login sessions of its own: the cookie "app" is alice's.
type appUsers struct{ *users }

func (appUsers) CurrentLogin(r *http.Request) (*handlers.Login, error) {
	c, err := r.Cookie("app")
	if err != nil {
		return nil, nil
	}
	return &handlers.Login{Subject: "sub-alice", SessionID: c.Value, At: time.Now()}, nil
}

func (appUsers) EndLogin(w http.ResponseWriter, _ *http.Request, _ string) error {
	http.SetCookie(w, &http.Cookie{Name: "app", MaxAge: -1, Path: "/"})
	return nil
}

func faultFlows() []faultFlow {
	var sessions atomic.Int64
	wins := func(code string) func(response) bool {
		return func(r response) bool { return redirectError(r) == code }
	}
	hasCode := func(r response) bool { return codeIn(r) != "" }
	is303to := func(path string) func(response) bool {
		return func(r response) bool {
			u, err := url.Parse(r.Header.Get("Location"))
			return err == nil && r.StatusCode == 303 && u.Path == path && u.Query().Get("interaction") != ""
		}
	}
	codeWorks := func(l *lab) func([]response) {
		return func(won []response) {
			for _, r := range won {
				l.lives("spa", l.redeem("spa", codeIn(r)).want(200))
			}
		}
	}
	nothing := func([]response) {}
	front := func(uri string) string {
		return "/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode()
	}
	// shared browsers of a lab, so that a point costs few requests
	signedIn := func() func(l *lab) *browser {
		var b *browser
		return func(l *lab) *browser {
			if b == nil {
				b = l.signedIn("spa", append(offline, "prompt", "consent")...)
			}
			return b
		}
	}
	page := func(l *lab, b *browser, res response, form url.Values) func() response {
		u, _ := res.location()
		form.Set("csrf", csrf(b.get(u.String()).want(200)))
		return func() response { return b.post(u.String(), form) }
	}
	flows := []faultFlow{}
	add := func(name string, prepare func(b func(*lab) *browser, l *lab) trial) {
		b := signedIn()
		flows = append(flows, faultFlow{name: name, prepare: func(l *lab) trial { return prepare(b, l) }})
	}

	add("push", func(_ func(*lab) *browser, l *lab) trial {
		return trial{do: func() response { return l.call("/par", request("spa")) }, won: func(r response) bool { return r.StatusCode == 201 }, many: true, heals: true,
			check: func(won []response) {
				for _, r := range won {
					l.browser().get(front(r.str("request_uri"))).want(303)
				}
			}}
	})
	add("authorize", func(b func(*lab) *browser, l *lab) trial {
		br, uri := b(l), l.push(request("spa", offline...))
		return trial{do: func() response { return br.get(front(uri)) }, won: hasCode, check: codeWorks(l)}
	})
	add("authorize, idle session", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		l.clock.add(2 * time.Hour) // the session is touched
		l.getWith("/jwks").want(200)
		uri := l.push(request("spa", offline...))
		return trial{do: func() response { return br.get(front(uri)) }, won: hasCode, check: codeWorks(l)}
	})
	add("authorize without a session", func(_ func(*lab) *browser, l *lab) trial {
		br, uri := l.browser(), l.push(request("spa"))
		return trial{do: func() response { return br.get(front(uri)) }, won: is303to("/login"), many: true, heals: true, check: nothing}
	})
	add("authorize, prompt none", func(_ func(*lab) *browser, l *lab) trial {
		br, uri := l.browser(), l.push(request("spa", "prompt", "none"))
		return trial{do: func() response { return br.get(front(uri)) }, won: wins("login_required"), check: nothing}
	})
	add("authorize by POST", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		return trial{do: func() response { return br.post("/authorize", request("native")) },
			won: func(r response) bool { return strings.Contains(r.Header.Get("Location"), "request_uri=urn") }, many: true, heals: true, check: nothing}
	})
	add("login page", func(_ func(*lab) *browser, l *lab) trial {
		br := l.browser()
		u, _ := br.begin(request("spa")).location()
		return trial{do: func() response { return br.get(u.String()) }, won: is200, many: true, heals: true, check: nothing}
	})
	add("login", func(_ func(*lab) *browser, l *lab) trial {
		br := l.browser()
		do := page(l, br, br.begin(request("spa", "prompt", "consent")), url.Values{"username": {"alice"}, "password": {password}, "do": {"login"}})
		return trial{do: do, won: is303to("/consent"), check: func(won []response) {
			for _, r := range won {
				l.lives("spa", l.redeem("spa", codeIn(br.allow(r))).want(200))
			}
		}}
	})
	add("login, second user", func(_ func(*lab) *browser, l *lab) trial {
		br := l.signedIn("spa", append(offline, "prompt", "consent")...)
		plain := br.issue("spa")
		do := page(l, br, br.begin(request("spa", "prompt", "login")), url.Values{"username": {"bob"}, "password": {password}, "do": {"login"}})
		return trial{do: do, won: is303to("/consent"), blind: true, check: func(won []response) {
			if len(won) > 0 { // alice's session is over, and what was given in it
				l.userinfo(plain.str("access_token")).want(401)
			}
		}}
	})
	add("consent page", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		u, _ := br.begin(request("spa", "prompt", "consent")).location()
		return trial{do: func() response { return br.get(u.String()) }, won: is200, many: true, heals: true, check: nothing}
	})
	add("consent", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		do := page(l, br, br.begin(request("spa", append(offline, "prompt", "consent")...)), url.Values{"do": {"allow"}, "scope": {"profile", "offline_access"}})
		return trial{do: do, won: hasCode, check: codeWorks(l)}
	})
	add("consent, remembered", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		do := page(l, br, br.begin(request("spa", append(offline, "prompt", "consent")...)), url.Values{"do": {"allow"}, "scope": {"profile", "offline_access"}, "remember": {"1"}})
		return trial{do: do, won: hasCode, check: codeWorks(l)}
	})
	add("deny", func(b func(*lab) *browser, l *lab) trial {
		br := b(l)
		grants := l.vault.active(l.t, storage.KindGrant)
		do := page(l, br, br.begin(request("spa", "prompt", "consent")), url.Values{"do": {"deny"}})
		return trial{do: do, won: wins("access_denied"), check: func([]response) {
			if n := l.vault.active(l.t, storage.KindGrant); n != grants {
				l.t.Errorf("a denial made %d grants", n-grants)
			}
		}}
	})
	add("redeem", func(b func(*lab) *browser, l *lab) trial {
		code := b(l).code(request("spa", offline...), "alice")
		return trial{do: func() response { return l.redeem("spa", code) }, won: is200, check: func(won []response) {
			for _, r := range won {
				l.lives("spa", r)
				l.redeem("spa", code).wantError(400, "invalid_grant") // I4
				l.dead("spa", r)
			}
		}}
	})
	add("wrong verifier", func(b func(*lab) *browser, l *lab) trial {
		code := b(l).code(request("spa", offline...), "alice")
		return trial{do: func() response { return l.redeem("spa", code, "code_verifier", strings.Repeat("a", 43)) }, won: isInvalidGrant, many: true, heals: true,
			check: func(won []response) {
				if len(won) < 4 {
					l.lives("spa", l.redeem("spa", code).want(200)) // the code is not burnt
				}
			}}
	})
	add("code replay", func(b func(*lab) *browser, l *lab) trial {
		code := b(l).code(request("spa", offline...), "alice")
		tok := l.redeem("spa", code).want(200)
		return trial{do: func() response { return l.redeem("spa", code) }, won: isInvalidGrant, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 {
				l.dead("spa", tok) // I4
			}
		}}
	})
	add("refresh", func(b func(*lab) *browser, l *lab) trial {
		tok := b(l).issue("spa", offline...)
		return trial{do: func() response { return l.refresh("spa", tok.str("refresh_token")) }, won: is200, many: true, heals: true, check: func(won []response) {
			for _, r := range won {
				if r.str("refresh_token") != won[0].str("refresh_token") { // I1
					l.t.Error("two successors")
				}
				l.userinfo(r.str("access_token")).want(200)
			}
			if len(won) > 0 {
				l.lives("spa", won[0])
			}
		}}
	})
	add("refresh reuse", func(b func(*lab) *browser, l *lab) trial {
		one := b(l).issue("spa", offline...)
		two := l.refresh("spa", one.str("refresh_token")).want(200)
		three := l.refresh("spa", two.str("refresh_token")).want(200)
		return trial{do: func() response { return l.refresh("spa", one.str("refresh_token")) }, won: isInvalidGrant, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 {
				l.dead("spa", three) // I4
			}
		}}
	})
	add("userinfo", func(b func(*lab) *browser, l *lab) trial {
		tok := b(l).issue("spa", offline...)
		return trial{do: func() response { return l.userinfo(tok.str("access_token")) }, won: is200, many: true, heals: true, check: func([]response) { l.lives("spa", tok) }}
	})
	for _, what := range []string{"refresh_token", "access_token"} {
		add("revoke "+what, func(b func(*lab) *browser, l *lab) trial {
			tok := b(l).issue("spa", offline...)
			return trial{do: func() response { return l.revokeToken("spa", tok.str(what)) }, won: is200, many: true, heals: true, check: func(won []response) {
				if len(won) == 0 {
					return
				}
				l.userinfo(tok.str("access_token")).want(401) // I5
				if what == "refresh_token" {
					l.dead("spa", tok)
				} else {
					l.refresh("spa", tok.str("refresh_token")).want(200)
				}
			}}
		})
	}
	add("logout", func(_ func(*lab) *browser, l *lab) trial {
		br := l.signedIn("spa", append(offline, "prompt", "consent")...)
		tok, plain := br.issue("spa", offline...), br.issue("spa")
		q := url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}}.Encode()
		return trial{do: func() response { return br.get("/logout?" + q) },
			won: func(r response) bool { return strings.HasPrefix(r.Header.Get("Location"), "https://app.example/bye") }, many: true, heals: true,
			check: func(won []response) {
				if len(won) > 0 { // I5
					l.dead("spa", plain)
					l.dead("spa", tok)
					br.begin(request("spa", "prompt", "none")).wantRedirectError(spaRedirect, "login_required")
				}
			}}
	})
	add("logout page", func(_ func(*lab) *browser, l *lab) trial {
		br := l.signedIn("spa", append(offline, "prompt", "consent")...)
		plain := br.issue("spa")
		form := url.Values{"csrf": {csrf(br.get("/logout").want(200))}, "do": {"logout"}}
		return trial{do: func() response { return br.post("/logout", form) }, won: is200, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 {
				l.dead("spa", plain)
			}
		}}
	})
	add("logout, session of the application", func(_ func(*lab) *browser, l *lab) trial {
		br := l.browser()
		root, _ := url.Parse(l.srv.URL)
		id, _ := pkcePair(itoa(int(sessions.Add(1))))
		br.c.Jar.SetCookies(root, []*http.Cookie{{Name: "app", Value: id, Path: "/"}})
		_, v := br.allow(br.begin(request("spa", append(offline, "prompt", "consent")...))).location()
		tok := l.redeem("spa", v.Get("code")).want(200)
		_, v = br.allow(br.begin(request("spa", "prompt", "consent"))).location()
		plain := l.redeem("spa", v.Get("code")).want(200)
		q := url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}}.Encode()
		return trial{do: func() response { return br.get("/logout?" + q) },
			won: func(r response) bool { return strings.HasPrefix(r.Header.Get("Location"), "https://app.example/bye") }, many: true, heals: true,
			check: func(won []response) {
				if len(won) > 0 { // I5
					l.dead("spa", plain)
					l.dead("spa", tok)
					for _, c := range br.c.Jar.Cookies(root) {
						if c.Name == "app" {
							l.t.Error("the application's session goes on")
						}
					}
				}
			}}
	})
	flows[len(flows)-1].opts = func(c *handlers.Config) { c.Users, c.LoginURL = appUsers{newUsers()}, "/own-login" }
	return flows
}
