package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/bench/internal/world"
)

// fixed is a server whose CPU time is known.
type fixed struct{ reads atomic.Int32 }

func (f *fixed) cpu() (time.Duration, error) {
	return time.Duration(f.reads.Add(1)) * time.Second, nil
}
func (f *fixed) rss() (int64, error) { return 3 << 20, nil }

// scripted is a workload that fails where it is told to.
type scripted struct {
	prepare, do, later error
	at                 int32 // the call of Do that fails, from 1
	calls              *atomic.Int32
}

func (scripted) Name() string                     { return "scripted" }
func (s scripted) Prepare(w *worker, _ int) error { return s.prepare }
func (s scripted) Do(w *worker) error {
	if s.calls.Add(1) == s.at && s.do != nil {
		return s.do
	}
	if s.later != nil {
		w.later = append(w.later, func() error { return s.later })
	}
	return nil
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	calls := &atomic.Int32{}
	f, err := measure(t.Context(), &site{}, &fixed{}, scripted{calls: calls}, load{count: 40, warm: 8, workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 48 {
		t.Errorf("%d calls, want 8 before and 40 while the clock runs", n)
	}
	if f.cpu != time.Second/40 || f.rss != 3<<20 || f.rate <= 0 || f.p50 > f.p99 {
		t.Errorf("%+v", f)
	}
}

// TestErrorVoids: an error in whatever phase leaves no figure.
func TestErrorVoids(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong answer")
	for name, w := range map[string]scripted{
		"prepare":           {prepare: wrong},
		"warm up":           {do: wrong, at: 2},
		"first":             {do: wrong, at: 9},
		"last":              {do: wrong, at: 48},
		"judged afterwards": {later: wrong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.calls = &atomic.Int32{}
			f, err := measure(t.Context(), &site{}, &fixed{}, w, load{count: 40, warm: 8, workers: 4})
			if !errors.Is(err, wrong) || f != (figure{}) {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := measure(ctx, &site{}, &fixed{}, scripted{calls: &atomic.Int32{}}, load{count: 4, warm: 1, workers: 2}); !errors.Is(err, context.Canceled) || f != (figure{}) {
		t.Errorf("%+v, %v", f, err)
	}
}

func sample() *results {
	r := &results{workloads: []string{"a", "b"}, targets: []string{floorName, "kit", "peer"}, lacks: map[[2]string]string{{"b", "peer"}: "no b"}, cells: map[[2]string]*cell{}}
	add := func(workload, target string, micros ...float64) {
		for _, m := range micros {
			r.cell(workload, target).add(figure{cpu: time.Duration(m * 1000), rate: 10, p50: time.Millisecond, p99: 2 * time.Millisecond, rss: 1 << 20}, nil)
		}
	}
	add("a", floorName, 100, 120, 80)
	add("a", "kit", 110, 130, 120)
	add("a", "peer", 300, 310)
	add("b", floorName, 50)
	add("b", "kit", 60)
	return r
}

func TestRatio(t *testing.T) {
	t.Parallel()
	r := sample()
	if med, low := r.ratio("a", "kit"); med != 1.2 || low != 110.0/80 {
		t.Errorf("median %v, least %v", med, low)
	}
	if med, _ := r.ratio("a", floorName); med != 1 {
		t.Errorf("the floor to itself: %v", med)
	}
	if med, _ := r.ratio("b", "peer"); !math.IsNaN(med) {
		t.Errorf("nothing measured: %v", med)
	}
}

// TestReport: what is missing and what failed are said, not left out.
func TestReport(t *testing.T) {
	t.Parallel()
	r := sample()
	r.cell("a", "peer").add(figure{}, errors.New("status 500\nof all things"))
	var b strings.Builder
	r.write(&b)
	out := b.String()
	for _, want := range []string{
		"| a | 100.0 | 1.00 (1.00) | 1.20 (1.38) | error |",
		"| b | 50.0 | 1.00 (1.00) | 1.20 (1.20) | – (no b) |",
		"* peer, a: status 500 of all things",
		"| a | kit | 120.0 | 110.0 | 10 | 1.00 | 2.00 | 1 |",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "| a | peer |") {
		t.Errorf("figures of a run with an error:\n%s", out)
	}
	r.cell("b", floorName).add(figure{}, errors.New("gone"))
	b.Reset()
	if r.write(&b); !strings.Contains(b.String(), "| b | – | error | – | – (no b) |") {
		t.Errorf("a ratio to a floor that failed:\n%s", b.String())
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	name := func(s string) string { return s }
	all := []string{"a", "b", "c"}
	for list, want := range map[string]int{"": 3, "b": 1, "c,a": 2} {
		if got, err := choose(list, all, name); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	if _, err := choose("a,x", all, name); err == nil {
		t.Error("an unknown name")
	}
}

// TestCPUTime: the clock that is read is the one that /proc shows in ticks.
func TestCPUTime(t *testing.T) {
	t.Parallel()
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 50_000_000 {
		n += i & 1
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after <= before || n != 25_000_000 {
		t.Errorf("%v, then %v, %v", before, after, err)
	}
	if m, err := rss(os.Getpid()); err != nil || m < 1<<20 {
		t.Errorf("%d bytes, %v", m, err)
	}
	if _, err := cpuTime(1 << 22); err == nil {
		t.Error("the CPU time of a process that is not there")
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	page := `<p>x</p><form method="post" action="/login?a=1&amp;b=2"><input type="hidden" name="csrf" value="a&quot;b"/>
		<input name="username" type="text"><INPUT type=password name='password'><input type="checkbox" name="remember">
		<button name="do" value="login">Go</button><button name="do" value="deny">No</button></form><form></form>`
	q, err := fill("/here", []byte(page), world.User{Username: "alice", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if q.target != "/login?a=1&b=2" || q.form != "csrf=a%22b&do=login&password=secret&username=alice" || !q.page {
		t.Errorf("%+v", q)
	}
	if q, err := fill("/here", []byte(`<form></form>`), world.User{}); err != nil || q.target != "/here" {
		t.Errorf("%+v, %v", q, err)
	}
	if _, err := fill("/here", []byte(`nothing`), world.User{}); err == nil {
		t.Error("a page without a form")
	}
}

// TestWrongAnswers: what each check takes for wrong.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	var status int
	var body, contentType string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	s := &site{world: newWorld().At(strings.TrimPrefix(srv.URL, "http://")), endpoints: endpoints{
		JWKS: "/jwks", Token: "/token", Signed: "/token", PAR: "/par", Introspect: "/introspect", UserInfo: "/userinfo",
	}}
	type state = any
	tokenAnswer := func(access string) string {
		return `{"access_token":"` + access + `","token_type":"Bearer","expires_in":600}`
	}
	for _, tt := range []struct {
		name string
		work workload
		with state
		code int
		body string
		ct   string
		ok   bool
	}{
		{"another issuer", workloads()[0], nil, 200, `{"issuer":"https://evil.example","authorization_endpoint":"a","token_endpoint":"b","jwks_uri":"c"}`, "", false},
		{"no keys", workloads()[1], nil, 200, `{"keys":[]}`, "", false},
		{"status", credentials{"", false}, nil, 201, tokenAnswer("x"), "", false},
		{"not JSON by its type", credentials{"", false}, nil, 200, tokenAnswer("x"), "text/plain", false},
		{"right", credentials{"", false}, nil, 200, tokenAnswer("x"), "", true},
		{"no token", credentials{"", false}, nil, 200, tokenAnswer(""), "", false},
		{"no JWT", credentials{"", true}, nil, 200, tokenAnswer("a.b.c"), "", false},
		{"no request_uri", pushing{"", false}, nil, 201, `{"expires_in":60}`, "", false},
		{"no lifetime", pushing{"", false}, nil, 201, `{"request_uri":"urn:x"}`, "", false},
		{"inactive", introspecting{}, &ring{tokens: []string{"x"}}, 200, `{"active":false}`, "", false},
		{"another user", userinfo{}, &ring{tokens: []string{"x"}}, 200, `{"sub":"1","name":"Eve","email":"eve@example.com"}`, "", false},
		{"no codes left", redeeming{}, []*signIn{}, 200, "", "", false},
	} {
		status, body, contentType = tt.code, tt.body, "application/json"
		if tt.ct != "" {
			contentType = tt.ct
		}
		w := newWorker(s)
		w.state = tt.with
		err := tt.work.Do(w)
		if err == nil {
			err = w.verify()
		}
		w.conn.close()
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	status, body = 200, tokenAnswer("same")
	w := newWorker(s)
	defer w.conn.close()
	if err := (credentials{}).Do(w); err != nil {
		t.Fatal(err)
	}
	if (credentials{}).Do(w) == nil {
		t.Error("the same token twice")
	}
}
