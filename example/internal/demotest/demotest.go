// Package demotest walks the examples as a person at a browser does.
package demotest

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Serve serves what build returns on a free port until the test ends, and
// returns a browser whose relative addresses begin there.
func Serve(t testing.TB, build func(ctx context.Context, origin string) (http.Handler, error)) *Browser {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	origin := "http://" + s.Listener.Addr().String()
	h, err := build(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = h
	s.Start()
	t.Cleanup(s.Close)
	return New(t, origin)
}

// Browser keeps cookies and follows redirects.
type Browser struct {
	t      testing.TB
	Origin string
	client *http.Client
}

// New returns a browser without cookies.
func New(t testing.TB, origin string) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t, origin, &http.Client{Jar: jar}}
}

// Page is where the browser ended.
type Page struct {
	t      testing.TB
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
}

// Do sends a request.
func (b *Browser) Do(r *http.Request) Page {
	b.t.Helper()
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return Page{b.t, res.Request.URL, res.StatusCode, res.Header, string(body)}
}

// Request makes a request to a path of the origin or to an absolute URL. Headers
// come in pairs of name and value.
func (b *Browser) Request(method, at, body string, header ...string) *http.Request {
	b.t.Helper()
	if strings.HasPrefix(at, "/") {
		at = b.Origin + at
	}
	r, err := http.NewRequest(method, at, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// Get opens a page.
func (b *Browser) Get(at string) Page {
	b.t.Helper()
	return b.Do(b.Request(http.MethodGet, at, ""))
}

var (
	form   = regexp.MustCompile(`(?s)<form[^>]*method="post"[^>]*>`)
	action = regexp.MustCompile(`action="([^"]*)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// Submit sends the page's form: its hidden fields and what fields says.
func (b *Browser) Submit(p Page, fields url.Values) Page {
	b.t.Helper()
	tag := form.FindString(p.Body)
	if tag == "" {
		b.t.Fatalf("no form on %s, status %d:\n%s", p.URL, p.Status, p.Body)
	}
	to := p.URL
	if m := action.FindStringSubmatch(tag); m != nil {
		var err error
		if to, err = p.URL.Parse(html.UnescapeString(m[1])); err != nil {
			b.t.Fatal(err)
		}
	}
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(p.Body, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	for name, values := range fields {
		v[name] = values
	}
	return b.Do(b.Request(http.MethodPost, to.String(), v.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", b.Origin, "Sec-Fetch-Site", "same-origin"))
}

// SignIn answers the built-in sign-in page as alice.
func (b *Browser) SignIn(p Page) Page {
	b.t.Helper()
	return b.Submit(p, url.Values{"do": {"login"}, "username": {"alice"}, "password": {"wonderland"}})
}

// Want fails the test unless the page has the status and all the texts.
func (p Page) Want(status int, texts ...string) Page {
	p.t.Helper()
	if p.Status != status {
		p.t.Fatalf("%s: status %d, want %d:\n%s", p.URL, p.Status, status, p.Body)
	}
	for _, s := range texts {
		if !strings.Contains(p.Body, s) {
			p.t.Fatalf("%s lacks %q:\n%s", p.URL, s, p.Body)
		}
	}
	return p
}

// JSON decodes the page.
func (p Page) JSON() map[string]any {
	p.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(p.Body), &v); err != nil {
		p.t.Fatalf("%s: %v:\n%s", p.URL, err, p.Body)
	}
	return v
}

// Token returns the access token that the application shows at the end.
func (p Page) Token() string {
	p.t.Helper()
	token, _ := p.Want(http.StatusOK).JSON()["access_token"].(string)
	if token == "" {
		p.t.Fatalf("%s: no access token:\n%s", p.URL, p.Body)
	}
	return token
}
