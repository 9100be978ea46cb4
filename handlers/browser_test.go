package handlers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// response is an answer, read whole.
type response struct {
	t testing.TB
	*http.Response
	body string
}

func (r response) json() map[string]any {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		r.t.Fatalf("%s %s: status %d, no JSON: %q", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.body)
	}
	return m
}

// str returns a member of a JSON answer.
func (r response) str(name string) string {
	r.t.Helper()
	s, _ := r.json()[name].(string)
	return s
}

// want fails the test unless the status is the one given.
func (r response) want(status int) response {
	r.t.Helper()
	if r.StatusCode != status {
		r.t.Fatalf("%s %s: status %d, want %d; Location %q; body %.600s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, r.Header.Get("Location"), r.body)
	}
	return r
}

// wantError fails unless the answer is a JSON error.
func (r response) wantError(status int, code string) response {
	r.t.Helper()
	r.want(status)
	if got := r.str("error"); got != code {
		r.t.Fatalf("%s %s: error %q, want %q: %s", r.Request.Method, r.Request.URL.Path, got, code, r.body)
	}
	if cc := r.Header.Get("Cache-Control"); cc != "no-store" {
		r.t.Errorf("Cache-Control %q on an error", cc)
	}
	return r
}

// location returns where a redirect goes, and its parameters from query or fragment.
func (r response) location() (*url.URL, url.Values) {
	r.t.Helper()
	r.want(http.StatusSeeOther)
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	if u.Fragment != "" {
		if q, err = url.ParseQuery(u.EscapedFragment()); err != nil {
			r.t.Fatal(err)
		}
	}
	return u, q
}

// wantRedirectError fails unless the answer is an error at the client.
func (r response) wantRedirectError(uri, code string) url.Values {
	r.t.Helper()
	u, q := r.location()
	if !strings.HasPrefix(u.String(), uri) || q.Get("error") != code || q.Has("code") {
		r.t.Fatalf("redirect to %s, want error %s at %s", u, code, uri)
	}
	return q
}

// wantPage fails unless the answer is an error page that leads nowhere.
func (r response) wantPage() response {
	r.t.Helper()
	if r.StatusCode < 400 || r.StatusCode > 499 || r.Header.Get("Location") != "" {
		r.t.Fatalf("status %d, Location %q, want an error page", r.StatusCode, r.Header.Get("Location"))
	}
	return r
}

// browser keeps cookies and follows no redirect.
type browser struct {
	w *world
	t testing.TB
	c *http.Client
}

func (w *world) browser() *browser {
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if tr := w.srv.Client().Transport; tr != nil {
		c.Transport = tr
	}
	return &browser{w: w, t: w.t, c: c}
}

func (b *browser) do(r *http.Request) response {
	b.t.Helper()
	res, err := b.c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response{b.t, res, string(body)}
}

func (b *browser) get(raw string) response {
	b.t.Helper()
	r, err := http.NewRequest("GET", b.w.abs(raw), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) post(raw string, form url.Values) response {
	b.t.Helper()
	r, err := http.NewRequest("POST", b.w.abs(raw), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// bare is a browser that keeps no cookies.
func (w *world) bare() *browser {
	b := w.browser()
	b.c.Jar = nil
	return b
}

// abs makes a path a URL of the server; other URLs pass.
func (w *world) abs(raw string) string {
	if strings.HasPrefix(raw, "/") {
		return w.srv.URL + raw
	}
	return raw
}

// call sends a form to an endpoint as a client: no cookies.
func (w *world) call(path string, form url.Values, header ...string) response {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.abs(path), strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.bare().do(r)
}

func (w *world) getWith(path string, header ...string) response {
	w.t.Helper()
	r, err := http.NewRequest("GET", w.abs(path), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	return w.bare().do(r)
}

// basic is an Authorization header.
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// verifier and its challenge, different for each seed.
func pkcePair(seed string) (verifier, challenge string) {
	sum := sha256.Sum256([]byte("verifier " + seed))
	verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	c := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(c[:])
}

// request is a good authorization request of a client; edit changes it:
// pairs of name and value, an empty value removes.
func request(client string, edit ...string) url.Values {
	redirect := map[string]string{"spa": spaRedirect, "web": webRedirect, "post": "https://post.example/cb",
		"native": "http://127.0.0.1:51004/cb", "nopkce": "https://old.example/cb", "m2m": webRedirect}[client]
	_, challenge := pkcePair(client)
	q := url.Values{
		"client_id": {client}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"openid profile"},
		"state": {"state-1"}, "nonce": {"nonce-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(edit); i += 2 {
		if edit[i+1] == "" {
			q.Del(edit[i])
		} else {
			q.Set(edit[i], edit[i+1])
		}
	}
	return q
}

// auth is how a client authenticates: form values and headers.
func auth(client string) (url.Values, []string) {
	switch client {
	case "web", "nopkce", "m2m":
		return url.Values{}, []string{"Authorization", basic(client, webSecret)}
	case "post":
		return url.Values{"client_id": {client}, "client_secret": {postSecret}}, nil
	}
	return url.Values{"client_id": {client}}, nil
}

// push sends a request to PAR and returns the request_uri.
func (w *world) push(q url.Values) string {
	w.t.Helper()
	form, header := auth(q.Get("client_id"))
	for k, v := range q {
		if k != "client_id" || header == nil {
			form[k] = v
		}
	}
	return w.call("/par", form, header...).want(http.StatusCreated).str("request_uri")
}

// begin opens the authorization endpoint, by PAR where the client must.
func (b *browser) begin(q url.Values) response {
	b.t.Helper()
	if q.Get("client_id") == "spa" {
		uri := b.w.push(q)
		return b.get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {uri}}.Encode())
	}
	return b.get("/authorize?" + q.Encode())
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf reads the hidden field of a page.
func csrf(page response) string {
	m := csrfField.FindStringSubmatch(page.body)
	if m == nil {
		page.t.Fatalf("no csrf field in the page (status %d): %.400s", page.StatusCode, page.body)
	}
	return m[1]
}

// signIn fills in the login page that a redirect leads to.
func (b *browser) signIn(res response, user string) response {
	b.t.Helper()
	u, _ := res.location()
	if u.Path != b.w.path("/login") {
		b.t.Fatalf("redirect to %s, want the login page", u)
	}
	page := b.get(u.String()).want(200)
	return b.post(u.String(), url.Values{"csrf": {csrf(page)}, "username": {user}, "password": {password}, "do": {"login"}})
}

// path puts the issuer's path before an endpoint's.
func (w *world) path(p string) string {
	u, err := url.Parse(w.issuer)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Path + p
}

// allow fills in the consent page that a redirect leads to: everything, not
// remembered, unless edit says otherwise.
func (b *browser) allow(res response, edit ...string) response {
	b.t.Helper()
	u, _ := res.location()
	if u.Path != b.w.path("/consent") {
		b.t.Fatalf("redirect to %s, want the consent page", u)
	}
	page := b.get(u.String()).want(200)
	form := url.Values{"csrf": {csrf(page)}, "do": {"allow"}}
	for _, name := range []string{"scope", "detail"} {
		for _, m := range regexp.MustCompile(`name="`+name+`" value="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
			form.Add(name, m[1])
		}
	}
	for i := 0; i+1 < len(edit); i += 2 {
		form.Del(edit[i])
		if edit[i+1] != "" {
			form[edit[i]] = strings.Fields(edit[i+1])
		}
	}
	return b.post(u.String(), form)
}

// code drives a request to its code: login and consent as needed.
func (b *browser) code(q url.Values, user string) string {
	b.t.Helper()
	res := b.begin(q)
	for range 3 {
		u, params := res.location()
		switch u.Path {
		case b.w.path("/login"):
			res = b.signIn(res, user)
		case b.w.path("/consent"):
			res = b.allow(res)
		default:
			if params.Get("code") == "" {
				b.t.Fatalf("no code: %s", u)
			}
			return params.Get("code")
		}
	}
	b.t.Fatal("the sign-in does not end")
	return ""
}

// redeem exchanges a code.
func (w *world) redeem(client, code string, edit ...string) response {
	w.t.Helper()
	verifier, _ := pkcePair(client)
	form, header := auth(client)
	form.Set("grant_type", "authorization_code")
	form.Set("code", code)
	form.Set("code_verifier", verifier)
	form.Set("redirect_uri", request(client).Get("redirect_uri"))
	for i := 0; i+1 < len(edit); i += 2 {
		if edit[i+1] == "" {
			form.Del(edit[i])
		} else {
			form.Set(edit[i], edit[i+1])
		}
	}
	return w.call("/token", form, header...)
}

// refresh uses a refresh token.
func (w *world) refresh(client, token string, edit ...string) response {
	w.t.Helper()
	form, header := auth(client)
	form.Set("grant_type", "refresh_token")
	form.Set("refresh_token", token)
	for i := 0; i+1 < len(edit); i += 2 {
		form.Set(edit[i], edit[i+1])
	}
	return w.call("/token", form, header...)
}

func (w *world) userinfo(access string) response {
	w.t.Helper()
	return w.getWith("/userinfo", "Authorization", "Bearer "+access)
}

func (w *world) revokeToken(client, token string) response {
	w.t.Helper()
	form, header := auth(client)
	form.Set("token", token)
	return w.call("/revoke", form, header...)
}

// tokens runs a whole sign-in of a new browser with offline_access.
func (w *world) tokens(client string, edit ...string) (*browser, response) {
	w.t.Helper()
	b := w.browser()
	q := request(client, append([]string{"scope", "openid profile offline_access", "prompt", "consent"}, edit...)...)
	return b, w.redeem(client, b.code(q, "alice")).want(200)
}

// claims decodes the payload of a JWT without verifying it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// jwtHeader decodes the header of a JWT.
func jwtHeader(t testing.TB, token string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
