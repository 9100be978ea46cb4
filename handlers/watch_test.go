package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/handlers"
)

// watch looks for secrets in what every provider of this package's tests logs
// (at debug level), emits and answers errors with, in the whole test run. The
// search by value, with every secret that went by, is TestAttackH11_secrets;
// this one goes by shape and sees all the rest.
type watch struct {
	mu    sync.Mutex
	found []string
}

// secretShape is a handle, a JWT, a user code, a secret that the tests chose, or
// an Authorization header with credentials in it.
var secretShape = regexp.MustCompile(
	`(?:\b|_)(?:ac|ix|se|rt|at|dc)_[A-Za-z0-9_-]{40,}` +
		`|urn:ietf:params:oauth:request_uri:[A-Za-z0-9_-]{20,}` +
		`|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*` +
		`|\b[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b` +
		`|(?i:\b(?:Basic|Bearer|DPoP) )[A-Za-z0-9._~+/-]*[A-Z0-9][A-Za-z0-9._~+/-]{12,}` +
		`|` + regexp.QuoteMeta(webSecret) + `|` + regexp.QuoteMeta(postSecret) + `|` + regexp.QuoteMeta(url.QueryEscape(postSecret)) +
		`|` + password)

func (w *watch) look(where, text string) {
	for _, s := range secretShape.FindAllString(text, -1) {
		w.mu.Lock()
		w.found = append(w.found, fmt.Sprintf("%s: %q in %.300q", where, s, text))
		w.mu.Unlock()
	}
}

// take returns what was found and forgets it.
func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.found
	w.found = nil
	return found
}

// report fails the test for what was found in it. It runs when the server is
// closed, so that nobody writes any more.
func (w *watch) report(t testing.TB) {
	for i, s := range w.take() {
		if i == 3 {
			t.Error("and so on")
			return
		}
		t.Error("seen by the watch: " + s)
	}
}

// event also holds every event against its entry in the catalogue.
func (w *watch) event(e handlers.Event) {
	w.look("event", fmt.Sprintf("%+v", e))
	outcome, always, ok := handlers.EventKind(e.Name)
	fields := map[string]string{"client": e.ClientID, "subject": e.Subject, "session": e.Session, "grant": e.Grant, "addr": e.Addr, "reason": e.Reason}
	missing := ""
	for _, f := range strings.Fields(always) {
		if fields[f] == "" {
			missing += " " + f
		}
	}
	if !ok || e.Outcome != outcome || e.At.IsZero() || missing != "" {
		w.mu.Lock()
		w.found = append(w.found, fmt.Sprintf("event %+v is not as in the catalogue; missing:%s", e, missing))
		w.mu.Unlock()
	}
}

// answers watches what h says of errors. A page of status 400 holds what its
// form sends back, so only what a machine reads is looked at.
func (w *watch) answers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: rw}
		h.ServeHTTP(a, r)
		w.look("challenge", strings.Join(rw.Header()["Www-Authenticate"], "\n"))
		if u, err := url.Parse(rw.Header().Get("Location")); err == nil && u.Query().Has("error") {
			w.look("redirected error", u.Query().Get("error")+" "+u.Query().Get("error_description"))
		}
		if a.status >= 400 && strings.HasPrefix(rw.Header().Get("Content-Type"), "application/json") {
			w.look("error", a.body.String())
		}
	})
}

type answer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status >= 400 {
		a.body.Write(b)
	}
	return a.ResponseWriter.Write(b)
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// TestWatchBites plants a secret of each shape in each place that is watched.
func TestWatchBites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser()
	tok := w.redeem("web", b.code(request("web", "scope", "openid offline_access"), "alice")).want(200)
	if found := w.watch.take(); len(found) > 0 {
		t.Fatal(found) // an ordinary sign-in is silent
	}
	par := w.call("/par", request("spa")).want(201)
	shapes := map[string]string{
		"access token": tok.str("access_token"), "refresh token": tok.str("refresh_token"), "ID token": tok.str("id_token"),
		"request_uri": par.str("request_uri"), "code": b.code(request("web"), "alice"), "user code": "BCDF-GHJK", "password": password,
		"client secret": webSecret, "other client secret": url.QueryEscape(postSecret), "header": basic("web", webSecret), "bearer": "Bearer 0123456789abcdef",
	}
	for name, s := range shapes {
		// An application's own error carries it into the log.
		w.users.fail(errors.New("select failed for " + s))
		w.getWith("/userinfo", "Authorization", "Bearer "+tok.str("access_token")).want(503)
		if len(w.watch.take()) == 0 {
			t.Errorf("%s: not found in the log", name)
		}
		e := handlers.Event{Name: "login.failed", Outcome: "refused", At: w.clock.Now(), ClientID: "web", Addr: "192.0.2.1"}
		w.events.add(context.Background(), e)
		if found := w.watch.take(); len(found) > 0 {
			t.Error(found)
		}
		e.Reason = s
		w.events.add(context.Background(), e)
		if len(w.watch.take()) == 0 {
			t.Errorf("%s: not found in an event", name)
		}
		for where, h := range map[string]http.HandlerFunc{
			"error": func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(400)
				_, _ = rw.Write([]byte(`{"error_description":"` + s + `"}`))
			},
			"challenge": func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("WWW-Authenticate", `Bearer error_description="`+s+`"`)
			},
			"redirected error": func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://app.example/cb?"+url.Values{"error": {"x"}, "error_description": {s}}.Encode(), http.StatusSeeOther)
			},
		} {
			w.watch.answers(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if len(w.watch.take()) == 0 {
				t.Errorf("%s: not found in the %s", name, where)
			}
		}
	}
	w.users.fail(nil)
	var got recordingTB
	for _, e := range []handlers.Event{{Name: "made.up", At: w.clock.Now()}, {Name: "key.rotated", Outcome: "success", At: w.clock.Now()}} {
		w.events.add(context.Background(), e)
	}
	w.watch.report(&got)
	if got.errors != 2 {
		t.Error("what was found fails nobody")
	}
}

// recordingTB counts what a test would fail for.
type recordingTB struct {
	testing.TB
	errors int
}

func (r *recordingTB) Error(...any) { r.errors++ }
