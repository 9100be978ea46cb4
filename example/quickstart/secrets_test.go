package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"index/suffixarray"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/handlers/handlerstest"
	"github.com/idpkit/idpkit/internal/handle"
)

// ledger is a transport that writes down every secret that passes, with what it
// is.
type ledger struct {
	base http.RoundTripper
	mu   *sync.Mutex
	seen map[string]string // secret → what it is
}

func newLedger() *ledger { return &ledger{mu: &sync.Mutex{}, seen: map[string]string{}} }

// over is the same ledger over a transport.
func (l *ledger) over(base http.RoundTripper) http.RoundTripper {
	return &ledger{base, l.mu, l.seen}
}

func (l *ledger) note(what, value string) {
	if len(value) < 8 { // chance would find it
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[value] == "" {
		l.seen[value] = what
	}
}

// secretParams are the names under which secrets travel.
var secretParams = []string{
	"code", "interaction", "request_uri", "code_verifier", "client_secret", "password", "csrf",
	"refresh_token", "access_token", "id_token",
}

func (l *ledger) values(v url.Values) {
	for _, name := range secretParams {
		for _, s := range v[name] {
			l.note(name, s)
		}
	}
}

func (l *ledger) cookie(c *http.Cookie) {
	switch name := strings.TrimPrefix(c.Name, "account-"); name {
	case "done": // the id of a client, which is no secret
		return
	case "signin": // the request's state and its verifier; the state is no secret
		if b, err := base64.RawURLEncoding.DecodeString(c.Value); err == nil {
			_, verifier, _ := strings.Cut(string(b), ".")
			l.note("code_verifier", verifier)
		}
	case "browser":
		if b, err := base64.RawURLEncoding.DecodeString(c.Value); err == nil && name != c.Name {
			l.note("cookie "+c.Name+", inside", string(b))
		}
	}
	l.note("cookie "+c.Name, c.Value)
}

func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	l.values(r.URL.Query())
	if r.GetBody != nil {
		rc, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			return nil, err
		}
		if v, err := url.ParseQuery(string(b)); err == nil {
			l.values(v)
		}
	}
	if _, secret, ok := r.BasicAuth(); ok {
		l.note("client_secret", secret)
	}
	res, err := l.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	for _, c := range res.Cookies() {
		l.cookie(c)
	}
	if u, err := url.Parse(res.Header.Get("Location")); err == nil {
		l.values(u.Query())
	}
	for _, m := range csrfField.FindAllSubmatch(body, -1) {
		l.note("csrf", string(m[1]))
	}
	var answer map[string]any
	if json.Unmarshal(body, &answer) == nil {
		for _, name := range secretParams {
			if s, ok := answer[name].(string); ok {
				l.note(name, s)
			}
		}
	}
	return res, nil
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

// randomParts returns the bytes in a secret that nobody can guess, decoded: not
// its prefix, and not what names a record.
func randomParts(secret string) [][]byte {
	enc := base64.RawURLEncoding
	body := secret
	for _, prefix := range []string{handle.Code, handle.PAR, handle.Interaction, handle.Session, handle.Refresh, handle.Access} {
		body = strings.TrimPrefix(body, prefix)
	}
	if parts := strings.Split(body, "."); len(parts) == 3 {
		body = parts[2] // the claims of an ID token are no secret, the signature proves them
	}
	if strings.HasPrefix(secret, handle.Session) {
		_, body, _ = strings.Cut(body, ".") // before the dot is the record's name
	}
	b, err := enc.DecodeString(body)
	if err != nil {
		return nil
	}
	if state, verifier, ok := bytes.Cut(b, []byte(".")); ok && len(state) == len(random()) && len(verifier) == len(state) {
		return [][]byte{verifier} // of the account page's cookie
	}
	const head, id, sequence, entropy = 2, 16, 4, 32 // bytes of a refresh token; of the others head and entropy
	switch {
	case strings.HasPrefix(secret, handle.Refresh):
		return [][]byte{b, b[head+id+sequence:][:entropy], b[head+id+sequence+entropy:]}
	case strings.HasPrefix(secret, handle.Access):
		return [][]byte{b, b[4:], b[4:28], b[28:60]} // key id, nonce, sealed
	case len(b) == head+entropy+4:
		return [][]byte{b, b[head:][:entropy]}
	}
	return [][]byte{b}
}

// needles returns every spelling in which a leak of the secret could be read.
func needles(secret string) [][]byte {
	list := [][]byte{[]byte(secret), []byte(url.QueryEscape(secret))}
	add := func(b []byte) {
		list = append(list, b, []byte(hex.EncodeToString(b)), bytes.ToUpper([]byte(hex.EncodeToString(b))))
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 3 { // within a longer text in base64
				text := enc.EncodeToString(append(make([]byte, shift), b...))
				list = append(list, []byte(text[4:len(text)-2]))
			}
		}
	}
	add([]byte(secret))
	for _, b := range randomParts(secret) {
		if len(b) < 12 {
			continue // chance
		}
		add(b)
		for half := b; len(half) >= 16; half = half[8:] { // a part of it
			list = append(list, half[:16])
		}
	}
	return list
}

// haystack is bytes in which secrets are looked for.
type haystack struct {
	name  string
	index *suffixarray.Index
	size  int
}

func newHaystack(name string, b []byte) haystack { return haystack{name, suffixarray.New(b), len(b)} }

func (h haystack) holds(needle []byte) bool { return len(h.index.Lookup(needle, 1)) > 0 }

// search fails the test for every secret that is there.
func (h haystack) search(t *testing.T, secrets map[string]string) {
	t.Helper()
	hits := map[string]int{}
	for secret, what := range secrets {
		if slices.ContainsFunc(needles(secret), h.holds) {
			hits[what]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(hits)) {
		t.Errorf("%s holds %d secrets of kind %s", h.name, hits[what], what)
	}
}

// TestNoSecrets uses everything that the program has, then looks for every
// secret that was issued or used, and for the secret file's content, in the
// bytes of the database, its log and its index, and in the program's log.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	h := newHousehold(t, t.TempDir(), "http://"+freePort(t), "debug")
	program := buildProgram(t)
	seen := newLedger()
	run := func(end func(*process)) []haystack {
		t.Helper()
		p := startProcess(t, program, "-config", h.config)
		if err := p.ready(h.issuer); err != nil {
			t.Fatal(err)
		}
		for _, name := range h.people[:3] {
			useAll(t, h, name, seen)
		}
		var stacks []haystack
		read := func(when string) {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if b, err := os.ReadFile(h.db + suffix); err == nil {
					stacks = append(stacks, newHaystack("the database"+suffix+" "+when, b))
				} else if !os.IsNotExist(err) || when == "killed" {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		end(p)
		when := "closed"
		if p.err != nil {
			when = "killed" // the log and the index are left
		}
		read(when)
		return append(stacks, newHaystack("the log", []byte(p.log.String())))
	}
	stacks := run((*process).kill)
	stacks = append(stacks, run(func(p *process) {
		if err := p.stop(); err != nil {
			t.Errorf("asked to end: %v", err)
		}
	})...)

	for _, name := range h.people {
		seen.note("password", h.password(name))
	}
	for _, c := range h.parties {
		seen.note("client_secret", c.secret)
	}
	sealing, err := readSecrets(h.db + ".secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sealing {
		seen.note("secret file", base64.RawURLEncoding.EncodeToString(s))
	}
	seen.note("key in the clear", "PRIVATE KEY")

	// The search itself works: what may be there is found.
	kinds := map[string]int{}
	found := map[string]int{}
	for secret, what := range seen.seen {
		kinds[what]++
		for _, s := range stacks {
			if s.holds([]byte(handle.Key(secret))) {
				found[what]++
				break
			}
		}
	}
	for _, what := range []string{"code", "request_uri", "interaction"} {
		if found[what] == 0 {
			t.Errorf("the database holds no digest of a %s", what)
		}
	}
	for _, what := range append([]string{"secret file", "cookie account-signin", "cookie account-browser", "cookie account-browser, inside"}, secretParams...) {
		if kinds[what] == 0 {
			t.Errorf("the run saw no %s", what)
		}
	}
	for _, s := range stacks {
		want := "kind" // the schema
		switch {
		case s.name == "the log":
			want = "route=/token"
		case strings.Contains(s.name, "-wal"):
			want = "grant"
		case strings.Contains(s.name, "-shm"):
			want = ""
		}
		if want != "" && !s.holds([]byte(want)) {
			t.Errorf("%s holds not even %q", s.name, want)
		}
		s.search(t, seen.seen)
	}
	var total int
	for _, what := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%4d × %s", kinds[what], what)
		total += kinds[what]
	}
	for _, s := range stacks {
		t.Logf("%d secrets looked for in %s, %d bytes", total, s.name, s.size)
	}
}

// useAll has one person and all applications do what can be done, right and
// wrong.
func useAll(t *testing.T, h *household, name string, seen *ledger) {
	t.Helper()
	v := newVisitor(t, h, name, seen.over)
	api := newClient(t, h.issuer, nil, false, seen.over)
	must := func(p handlerstest.Page, err error) func(status int) handlerstest.Page {
		t.Helper()
		return func(status int) handlerstest.Page {
			t.Helper()
			if err != nil || p.Status != status {
				t.Fatalf("status %d, want %d, at %s, Location %q: %.300s %v", p.Status, status, p.URL, location(p), p.Body, err)
			}
			return p
		}
	}
	get := func(c *http.Client, path string, header ...string) (handlerstest.Page, error) {
		return fetch(c, http.MethodGet, h.issuer+path, nil, header...)
	}
	request := func(c party, verifier string, more ...string) url.Values {
		sum := sha256.Sum256([]byte(verifier))
		form := url.Values{
			"response_type": {"code"}, "redirect_uri": {c.redirect}, "scope": {"openid offline_access profile email api"}, "state": {"s"}, "nonce": {"n"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		}
		for i := 0; i+1 < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	push := func(c party, verifier string, more ...string) string {
		t.Helper()
		p := must(c.ask(api, h.issuer+"/par", request(c, verifier, more...)))(201)
		var pushed struct {
			RequestURI string `json:"request_uri"`
		}
		decode(t, p.Body, &pushed)
		return "/authorize?" + url.Values{"client_id": {c.id}, "request_uri": {pushed.RequestURI}}.Encode()
	}
	token := func(c party, form ...string) (handlerstest.Page, error) {
		v := url.Values{}
		for i := 0; i+1 < len(form); i += 2 {
			v.Set(form[i], form[i+1])
		}
		return c.ask(api, h.issuer+"/token", v)
	}

	for i, c := range h.parties {
		verifier := random()
		front := push(c, verifier, "prompt", "consent")
		p := must(get(v.c, front))(200)
		if at(p, "/login") {
			right := v.password
			for _, wrong := range []string{"a-mistyped-password-" + random(), "another " + random()} {
				v.password = wrong
				p = must(v.signIn(p))(200)
			}
			v.password = right
			// The password in the field of the name.
			p = must(v.press(p, "login", url.Values{"username": {right}, "password": {"x"}}))(200)
			p = must(v.signIn(p))(200)
		}
		done := must(v.press(p, "allow", url.Values{"remember": {"1"}}))(303)
		must(v.press(p, "allow", nil))(400)
		must(get(v.c, front))(303) // spent
		code := param(done, "code")
		redeem := func(verifier string) (handlerstest.Page, error) {
			return token(c, "grant_type", "authorization_code", "code", code, "redirect_uri", c.redirect, "code_verifier", verifier)
		}
		must(redeem(random()))(400)
		var first, second tokens
		decode(t, must(redeem(verifier))(200).Body, &first)
		must(get(api, "/userinfo", "Authorization", "Bearer "+first.Access))(200)
		must(get(api, "/api/me", "Authorization", "Bearer "+first.Access))(200)
		for range 2 { // rotated, then repeated within the grace
			decode(t, must(token(c, "grant_type", "refresh_token", "refresh_token", first.Refresh))(200).Body, &second)
		}
		must(token(h.parties[(i+1)%3], "grant_type", "refresh_token", "refresh_token", second.Refresh))(400)
		must(c.ask(api, h.issuer+"/revoke", url.Values{"token": {second.Access}}))(200)
		must(get(api, "/api/me", "Authorization", "Bearer "+second.Access))(401)

		// What the remembered consent answers; by a POST from a form as well.
		again := random()
		quick := must(get(v.c, push(c, again, "prompt", "none", "id_token_hint", first.ID)))(303)
		code = param(quick, "code")
		must(redeem(again))(200)
		must(redeem(again))(400) // a replay
		if c.secret != "" {
			must(fetch(v.c, http.MethodPost, h.issuer+"/authorize", withClient(request(c, random()), c.id)))(303)
			must(get(v.c, "/authorize?"+withClient(request(c, random(), "prompt", "login"), c.id).Encode()))(200)
			wrong := c
			wrong.secret = "not the secret " + random()
			must(wrong.ask(api, h.issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {second.Refresh}}))(401)
		}
		denied := must(get(v.c, push(c, random(), "prompt", "consent")))(200)
		must(v.press(denied, "deny", nil))(303)

		// Secrets where they do not belong.
		for _, s := range []string{code, second.Refresh, second.Access, first.ID, verifier, c.secret} {
			e := url.QueryEscape(s)
			for _, path := range []string{"/token?code=" + e, "/userinfo?access_token=" + e, "/authorize?client_id=" + e, "/authorize?" + e + "=1", "/" + e,
				"/login?interaction=" + e, "/consent?interaction=" + e, "/logout?id_token_hint=" + e, "/authorize?client_id=" + c.id + "&request_uri=" + e} {
				if s == first.ID && strings.HasPrefix(path, "/logout") {
					continue // that is where it belongs, and it would end the family
				}
				if p, err := get(api, path); err != nil || p.Status >= 500 {
					t.Fatalf("status %d, %v", p.Status, err)
				}
			}
			for _, field := range []string{"grant_type", "code", "refresh_token", "redirect_uri", "scope", "resource", "client_id", s} {
				p, err := fetch(api, http.MethodPost, h.issuer+"/token", url.Values{"client_id": {c.id}, "grant_type": {"authorization_code"}, field: {s}},
					"Authorization", "Bearer "+strings.TrimSpace(s), "Origin", "https://"+e+".example", "User-Agent", s, "X-Forwarded-For", s)
				if err != nil || p.Status >= 500 {
					t.Fatalf("status %d, %v", p.Status, err)
				}
			}
		}
		if i == 0 { // reuse
			decode(t, must(token(c, "grant_type", "refresh_token", "refresh_token", second.Refresh))(200).Body, &second)
			must(token(c, "grant_type", "refresh_token", "refresh_token", first.Refresh))(400)
			continue
		}
		if i == 1 {
			must(c.ask(api, h.issuer+"/revoke", url.Values{"token": {second.Refresh}}))(200)
			must(token(c, "grant_type", "refresh_token", "refresh_token", second.Refresh))(400)
			continue
		}
		account := must(get(v.c, "/account"))(200)
		must(v.press(account, "revoke", url.Values{"grant": {c.id}}))(200)
		must(get(v.c, "/logout?"+url.Values{"id_token_hint": {first.ID}, "post_logout_redirect_uri": {c.redirect}}.Encode()))(303)
		in := must(get(v.c, "/account"))(200)
		account = must(v.signIn(in))(200)
		if !at(account, "/account") {
			t.Fatalf("signed in at %s", account.URL)
		}
		asked := must(get(v.c, "/logout"))(200)
		if _, err := asked.Form(do("logout")); err == nil {
			must(v.press(asked, "logout", nil))
		}
	}
}

func withClient(form url.Values, id string) url.Values {
	form.Set("client_id", id)
	return form
}

// Each spelling of a leak is found.
func TestNeedles(t *testing.T) {
	t.Parallel()
	code, err := handle.New(handle.Code, 7, handle.Source(nil))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(code, handle.Code))
	if err != nil {
		t.Fatal(err)
	}
	middle := raw[2:34]
	for name, leak := range map[string]string{
		"raw":            "x" + code + "x",
		"without prefix": "x" + strings.TrimPrefix(code, handle.Code) + "x",
		"decoded":        "x" + string(raw) + "x",
		"random part":    "x" + string(middle) + "x",
		"half of it":     "x" + string(middle[12:]) + "x",
		"hex":            fmt.Sprintf("x%xx", middle),
		"in base64":      base64.StdEncoding.EncodeToString([]byte(`{"code":"` + code + `"}`)),
		"base64, again":  base64.StdEncoding.EncodeToString(append([]byte("ab"), middle...)),
	} {
		h := newHaystack(name, []byte(leak))
		if !slices.ContainsFunc(needles(code), h.holds) {
			t.Errorf("%s: not found", name)
		}
	}
	if h := newHaystack("digest", []byte(handle.Key(code))); slices.ContainsFunc(needles(code), h.holds) {
		t.Error("a digest is taken for a leak")
	}
}
