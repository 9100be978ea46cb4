package handlerstest

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Browser is a person's: it keeps cookies and follows redirects. It never goes
// to another origin than the provider's: where it would, it stops, and the page
// says so in Leaves. It runs no script, loads no image or style, and knows HTML
// as far as forms go.
//
// A browser belongs to the test it was made in. Send may be used by several
// goroutines, the other methods by the test's own.
type Browser struct {
	// Server is where the browser is.
	Server *Server

	t   testing.TB
	jar *jar
}

// NewBrowser returns a browser without cookies.
func NewBrowser(t testing.TB, s *Server) *Browser {
	t.Helper()
	jar, err := newJar()
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{s, t, jar}
}

// In returns the same browser, with its cookies, for a subtest.
func (b *Browser) In(t testing.TB) *Browser { return &Browser{b.Server, t, b.jar} }

// newClient follows no redirect: Browser does.
func newClient(s *Server, jar http.CookieJar) *http.Client {
	return &http.Client{Jar: jar, Transport: s.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Page is where a browser ended, or the answer to one request.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string

	// Leaves is where the browser would go next, at another origin or at the
	// redirect URI of a relying party; nil: it stays at URL. Posted is what a form
	// would carry there; nil: a redirect or link.
	Leaves *url.URL
	Posted url.Values

	t     testing.TB
	steps []string // how the browser came here
}

// String describes the page for a message: how the browser came there, and the
// body, shortened.
func (p Page) String() string {
	s := strings.Join(p.steps, ", then ")
	if p.Leaves != nil {
		s += ", leaving to " + p.Leaves.String()
	}
	if b := short(p.Body); b != "" {
		s += "\n" + b
	}
	return s
}

var notText = regexp.MustCompile(`(?s)<(style|svg|script)\b.*?</(style|svg|script)>|\n\s*`)

// short is a body without what nobody reads.
func short(body string) string {
	body = strings.TrimSpace(notText.ReplaceAllString(body, "\n"))
	if len(body) > 3000 {
		body = body[:3000] + "…"
	}
	return body
}

// maxRedirects is where browsers give up as well.
const maxRedirects = 20

// Send sends a request and follows redirects. A request with Sec-Fetch-Site:
// cross-site carries only those cookies that SameSite lets through. The errors
// are those of the connection and of redirects that lead nowhere.
func (b *Browser) Send(r *http.Request) (Page, error) { return b.send(r, nil) }

// send follows redirects as long as may, if it is not nil, allows them.
func (b *Browser) send(r *http.Request, may func(*url.URL) error) (Page, error) {
	var steps []string
	client := newClient(b.Server, b.jar)
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		client.Jar = foreign{b.jar, r.Method != http.MethodGet}
	}
	for range maxRedirects {
		p, err := roundTrip(client, r)
		if err != nil {
			return Page{}, err
		}
		steps = append(steps, p.steps...)
		p.t, p.steps = b.t, steps
		location := p.Header.Get("Location")
		switch p.Status {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			location = ""
		}
		if location == "" {
			return p, nil
		}
		to, err := p.URL.Parse(location)
		if err != nil {
			return p, fmt.Errorf("%s: Location: %w", p, err)
		}
		if may != nil {
			if err := may(to); err != nil {
				return p, fmt.Errorf("%s\n%w", p, err)
			}
		}
		if b.Server.away(to) {
			p.Leaves = to
			return p, nil
		}
		next, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to.String(), nil)
		if err != nil {
			return p, err
		}
		if p.Status >= http.StatusTemporaryRedirect && r.Method != http.MethodGet {
			next.Method = r.Method
			if r.GetBody != nil {
				if next.Body, err = r.GetBody(); err != nil {
					return p, err
				}
				next.ContentLength, next.GetBody = r.ContentLength, r.GetBody
			}
		}
		next.Header = r.Header.Clone()
		if next.Method == http.MethodGet {
			next.Header.Del("Content-Type")
			next.Header.Del("Origin")
		}
		r = next
	}
	return Page{}, fmt.Errorf("more than %d redirects: %s", maxRedirects, strings.Join(steps, ", then "))
}

// roundTrip sends one request and reads the whole answer.
func roundTrip(c *http.Client, r *http.Request) (Page, error) {
	res, err := c.Do(r.Clone(r.Context())) // Do writes the cookies into the request
	if err != nil {
		return Page{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return Page{}, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return Page{
		URL: r.URL, Status: res.StatusCode, Header: res.Header, Body: string(body),
		steps: []string{fmt.Sprintf("%s %s: status %d", r.Method, r.URL.Path, res.StatusCode)},
	}, nil
}

// Do is Send for a request that must be answered.
func (b *Browser) Do(r *http.Request) Page {
	b.t.Helper()
	return b.must(b.Send(r))
}

func (b *Browser) must(p Page, err error) Page {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// Request makes a request to a path of the origin or to an absolute URL. Headers
// come in pairs of name and value.
func (b *Browser) Request(method, at, body string, header ...string) *http.Request {
	b.t.Helper()
	return newRequest(b.t, b.Server, method, at, body, header...)
}

func newRequest(t testing.TB, s *Server, method, at, body string, header ...string) *http.Request {
	t.Helper()
	if strings.HasPrefix(at, "/") {
		at = s.Origin + at
	}
	r, err := http.NewRequestWithContext(t.Context(), method, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

const (
	asDocument = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	asForm     = "application/x-www-form-urlencoded"
)

// Get opens a page as if its address was typed: a path of the origin or an
// absolute URL.
func (b *Browser) Get(at string) Page {
	b.t.Helper()
	return b.open(at, "none")
}

func (b *Browser) open(at, site string) Page {
	b.t.Helper()
	return b.Do(b.Request(http.MethodGet, at, "", "Accept", asDocument, "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate"))
}

// Submit fills in a form of the page, see Page.Form, and sends it as a browser
// does: with Origin and Sec-Fetch-Site, and only if the Content-Security-Policy of
// the page lets it go there and follow the redirects. It does not look at
// required, pattern and the like.
func (b *Browser) Submit(p Page, fields url.Values) Page {
	b.t.Helper()
	f, err := p.Form(fields)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, p)
	}
	may := func(to *url.URL) error {
		if !mayPost(p.Header, p.URL, to) {
			return fmt.Errorf("a browser would not send the form of %s to %s: Content-Security-Policy: %s",
				p.URL.Path, originOf(to), strings.Join(p.Header.Values("Content-Security-Policy"), ", "))
		}
		return nil
	}
	if err := may(f.Action); err != nil {
		b.t.Fatal(err)
	}
	if f.Method == http.MethodGet {
		f.Action.RawQuery = f.Values.Encode()
	}
	if b.Server.away(f.Action) {
		p.Leaves = f.Action
		if f.Method == http.MethodPost {
			p.Posted = f.Values
		}
		return p
	}
	if f.Method == http.MethodGet {
		return b.must(b.send(b.Request(f.Method, f.Action.String(), "", "Accept", asDocument, "Sec-Fetch-Site", site(p.URL, f.Action), "Sec-Fetch-Mode", "navigate"), may))
	}
	return b.must(b.send(b.Request(f.Method, f.Action.String(), f.Values.Encode(), "Content-Type", asForm, "Accept", asDocument,
		"Origin", originOf(p.URL), "Sec-Fetch-Site", site(p.URL, f.Action), "Sec-Fetch-Mode", "navigate"), may))
}

// Forge sends the page's first form, with its hidden fields and with whatever
// fields says, be it on the page or not, and asks no policy: what somebody sends
// who does not keep to the page. Headers come in pairs of name and value, such as
// the Origin of another site. All cookies go along, as old browsers have it.
func (b *Browser) Forge(p Page, fields url.Values, header ...string) Page {
	b.t.Helper()
	f, err := p.Form(nil)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, p)
	}
	maps.Copy(f.Values, fields)
	r := b.Request(http.MethodPost, f.Action.String(), f.Values.Encode(), append([]string{"Content-Type", asForm, "Accept", asDocument,
		"Origin", originOf(p.URL), "Sec-Fetch-Site", site(p.URL, f.Action), "Sec-Fetch-Mode", "navigate"}, header...)...)
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		for _, c := range b.jar.Cookies(r.URL) {
			if !slices.ContainsFunc(foreign{b.jar, true}.Cookies(r.URL), func(o *http.Cookie) bool { return o.Name == c.Name }) {
				r.AddCookie(c)
			}
		}
	}
	return b.Do(r)
}

// site is the Sec-Fetch-Site of a request from one page to another. Sites are
// not told from origins: their difference is made by a list of domains.
func site(from, to *url.URL) string {
	if originOf(from) == originOf(to) {
		return "same-origin"
	}
	return "cross-site"
}

// SignIn fills in the first form of the page that asks for a password, the
// built-in one or yours: its password, and the text field before it if there is
// one to be filled in.
func (b *Browser) SignIn(p Page, username, password string) Page {
	b.t.Helper()
	for _, f := range readForms(p.Body) {
		fields := url.Values{}
		name := ""
		for _, c := range f.controls {
			switch c.kind {
			case "", "text", "email", "tel":
				if len(fields) == 0 && c.name != "" {
					name = c.name
				}
			case "password":
				if len(fields) == 0 && c.name != "" {
					fields.Set(c.name, password)
				}
			}
		}
		if len(fields) == 0 {
			continue
		}
		if name != "" {
			fields.Set(name, username)
		}
		return b.Submit(p, fields)
	}
	b.t.Fatalf("no form on the page asks for a password:\n%s", p)
	return Page{}
}

// asksPassword tells whether SignIn can fill the page in.
func (p Page) asksPassword() bool {
	for _, f := range readForms(p.Body) {
		for _, c := range f.controls {
			if c.kind == "password" {
				return true
			}
		}
	}
	return false
}

// Fetch sends a request as a script of the provider's origin does, with Accept:
// application/json, and follows no redirect. body is sent as JSON, and a
// json.RawMessage as it is, good or bad; nil: none. Headers come in pairs of name
// and value.
func (b *Browser) Fetch(method, at string, body any, header ...string) Page {
	b.t.Helper()
	h := []string{"Accept", "application/json", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}
	text, raw := body.(json.RawMessage)
	if body != nil {
		if !raw {
			var err error
			if text, err = json.Marshal(body); err != nil {
				b.t.Fatal(err)
			}
		}
		h = append(h, "Content-Type", "application/json", "Origin", b.Server.Origin)
	}
	p, err := roundTrip(newClient(b.Server, b.jar), b.Request(method, at, string(text), append(h, header...)...))
	p.t = b.t
	return b.must(p, err)
}

// Follow goes where the answer to a script says, the contract of pages that are
// scripts: {"location": "https://…"} opens a page, {"action": "https://…",
// "params": {…}} posts a form.
func (b *Browser) Follow(p Page) Page {
	b.t.Helper()
	var next struct {
		Location string
		Action   string
		Params   map[string]string
	}
	p.Want(http.StatusOK).Decode(&next)
	to, err := p.URL.Parse(next.Location + next.Action)
	if err != nil || (next.Location == "") == (next.Action == "") {
		b.t.Fatalf("the answer names neither location nor action: %s", p)
	}
	if next.Action == "" && !b.Server.away(to) {
		return b.Get(to.String())
	}
	p.Leaves = to
	if next.Action != "" {
		p.Posted = url.Values{}
		for name, value := range next.Params {
			p.Posted.Set(name, value)
		}
	}
	return p
}

// Want fails the test unless the page has the status and holds all the texts,
// as they are in its source or as people read them: &#39; is an apostrophe too.
func (p Page) Want(status int, texts ...string) Page {
	p.t.Helper()
	if p.Status != status {
		p.t.Fatalf("status %d, want %d: %s", p.Status, status, p)
	}
	for _, s := range texts {
		if !strings.Contains(p.Body, s) && !strings.Contains(html.UnescapeString(p.Body), s) {
			p.t.Fatalf("%q is not on the page: %s", s, p)
		}
	}
	return p
}

// JSON decodes the page, which must be an object.
func (p Page) JSON() map[string]any {
	p.t.Helper()
	var m map[string]any
	p.Decode(&m)
	return m
}

// Member returns a text of the page, which must be an object that has it under
// the name.
func (p Page) Member(name string) string {
	p.t.Helper()
	s, _ := p.JSON()[name].(string)
	if s == "" {
		p.t.Fatalf("no text %q: %s", name, p)
	}
	return s
}

// Decode decodes the page, which must be JSON, into what v points to.
func (p Page) Decode(v any) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.Body), v); err != nil {
		p.t.Fatalf("%v: %s", err, p)
	}
}

// Error is a refusal by the provider, RFC 6749 §4.1.2.1 and §5.2.
type Error struct {
	Status      int // of the answer; that of the redirect for one at the redirect URI
	Code        string
	Description string
	Page        Page // where it was found
}

// Error says which request was refused and how.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s): %s", e.Code, e.Description, e.Page) }

// Err returns the refusal that the page is, as JSON or on its way to a redirect
// URI, and nil if it is none. An error page in HTML, which carries no code for a
// client, is none.
func (p Page) Err() *Error {
	e := &Error{Status: p.Status, Page: p}
	if p.Leaves != nil {
		q := p.answer()
		e.Code, e.Description = q.Get("error"), q.Get("error_description")
	} else {
		var m struct {
			Code        string `json:"error"`
			Description string `json:"error_description"`
		}
		if p.Status < 400 || json.Unmarshal([]byte(p.Body), &m) != nil {
			return nil
		}
		e.Code, e.Description = m.Code, m.Description
	}
	if e.Code == "" {
		return nil
	}
	return e
}

// answer returns the parameters of an answer to a redirect URI: posted, in the
// fragment or in the query.
func (p Page) answer() url.Values {
	switch {
	case p.Leaves == nil:
		return nil
	case p.Posted != nil:
		return p.Posted
	case p.Leaves.Fragment != "":
		if q, err := url.ParseQuery(p.Leaves.EscapedFragment()); err == nil {
			return q
		}
	}
	return p.Leaves.Query()
}

// WantError fails the test unless the page is a JSON refusal with the status and
// the code.
func (p Page) WantError(status int, code string) *Error {
	p.t.Helper()
	e := p.Err()
	if e == nil || p.Leaves != nil {
		p.t.Fatalf("no error response, want status %d and %s: %s", status, code, p)
	} else if e.Status != status || e.Code != code {
		p.t.Fatalf("status %d and %s, want %d and %s: %s", e.Status, e.Code, status, code, p)
	}
	return e
}
