package handlers_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

const markup = `"><script>alert(1)</script>`

// TestAttackA_Client: until client and redirect URI are proven, errors stay on
// a page. RFC 6749 §4.1.2.1.
func TestAttackA_Client(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("post", func(c *clientreg.Client) { c.Disabled = true })
	b := w.victim("web")
	for _, tc := range []struct{ name, query string }{
		{"A01 unknown client_id", request("web", "client_id", "nobody").Encode()},
		{"A01 client_id in other case", request("web", "client_id", "WEB").Encode()},
		{"A01 client_id with a blank", request("web", "client_id", "web ").Encode()},
		{"A01 client_id with a line feed", request("web", "client_id", "web\n").Encode()},
		{"A01 client_id with a look-alike", request("web", "client_id", "wеb").Encode()},
		{"A01 client_id in full width", request("web", "client_id", "ｗｅｂ").Encode()},
		{"A01 client_id is a path", request("web", "client_id", "../web").Encode()},
		{"A01 client_id is a pattern", request("web", "client_id", "*").Encode()},
		{"A01 client_id is long", request("web", "client_id", strings.Repeat("w", 4000)).Encode()},
		{"A01 client_id is a URL", request("web", "client_id", "https://evil.example/").Encode()},
		{"A01 unknown client and another site", request("web", "client_id", "nobody", "redirect_uri", "https://evil.example/cb").Encode()},
		{"A01 unknown client, prompt none", request("web", "client_id", "nobody", "prompt", "none").Encode()},
		{"A01 disabled client", request("post").Encode()},
		{"A01 name in other case", strings.Replace(request("web").Encode(), "client_id", "Client_ID", 1)},
		{"A02 missing client_id", request("web", "client_id", "").Encode()},
		{"A02 empty client_id", with(request("web", "client_id", ""), "client_id=")},
		{"A02 client_id is a blank", with(request("web", "client_id", ""), "client_id=+")},
		{"A02 nothing at all", ""},
		{"A02 only a redirect_uri", url.Values{"redirect_uri": {webRedirect}}.Encode()},
		{"A07 client_id of A and of B", with(request("web"), "client_id=spa")},
		{"A07 client_id of B and of A", "client_id=spa&" + request("web").Encode()},
		{"A07 client_id twice, equal", with(request("web"), "client_id=web")},
		{"A07 client_id and an empty one", with(request("web"), "client_id=")},
		{"A07 client_id and one encoded", with(request("web"), "client%5fid=spa")},
		{"A07 client_id and an unknown one", with(request("web"), "client_id=nobody")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := b.in(t)
			b.get("/authorize?" + tc.query).refusedPage()
			b.send("POST", "/authorize", tc.query+"&").refusedPage()
			if tc.query != "" {
				b.send("POST", "/authorize?client_id=web", tc.query).refusedPage()
				b.send("POST", "/authorize?"+tc.query, request("web").Encode()).refusedPage()
			}
		})
	}
}

// TestAttackA_RedirectURI: a redirect URI is compared byte by byte, and one that
// is not registered gets nothing: no code, no error, no header.
func TestAttackA_RedirectURI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "native", "spa")
	const web, native = "web", "native"
	loop := "http://127.0.0.1:51004/cb"
	for _, tc := range []struct{ name, client, uri string }{
		{"A03 another origin", web, "https://evil.example/cb"},
		{"A03 another origin, bare", web, "https://evil.example"},
		{"A03 another origin, native", native, "https://evil.example/cb"},
		{"A03 a subdomain", web, "https://x.web.example/cb"},
		{"A03 the parent domain", web, "https://example/cb"},
		{"A04 another client's", web, spaRedirect},
		{"A04 another client's, native to web", native, webRedirect},
		{"A04 another client's, loopback", web, nativeLoopback},
		{"A04 another client's, private scheme", web, "com.example.app:/cb"},
		{"A04 another client's, public", "spa", webRedirect},
		{"A08 omitted", web, ""},
		{"A08 omitted by a public client", native, ""},
		{"A08 a blank", web, " "},
		{"A10 path suffix", web, webRedirect + "/x"},
		{"A10 longer segment", web, webRedirect + "x"},
		{"A10 shorter", web, webRedirect[:len(webRedirect)-1]},
		{"A10 a dot", web, webRedirect + "."},
		{"A10 a blank after", web, webRedirect + " "},
		{"A10 a blank before", web, " " + webRedirect},
		{"A10 an encoded blank", web, webRedirect + "%20"},
		{"A10 a path parameter", web, webRedirect + ";x=1"},
		{"A10 a wildcard", web, "https://web.example/*"},
		{"A10 two URIs in one", web, webRedirect + " https://evil.example/cb"},
		{"A10 two URIs with a comma", web, webRedirect + ",https://evil.example/cb"},
		{"A11 traversal", web, webRedirect + "/../evil"},
		{"A11 traversal back to itself", web, "https://web.example/x/../cb"},
		{"A11 encoded traversal", web, webRedirect + "/%2e%2e/evil"},
		{"A11 encoded slash", web, webRedirect + "/..%2fevil"},
		{"A11 double encoded", web, webRedirect + "/%252e%252e/evil"},
		{"A11 dot segment", web, "https://web.example/./cb"},
		{"A11 with a path parameter", web, webRedirect + "/..;/evil"},
		{"A11 with backslashes", web, webRedirect + `\..\evil`},
		{"A14 path in other case", web, "https://web.example/CB"},
		{"A14 host in other case", web, "https://WEB.example/cb"},
		{"A14 scheme in other case", web, "HTTPS://web.example/cb"},
		{"A14 an encoded letter", web, "https://web.example/%63b"},
		{"A14 an encoded host", web, "https://%77eb.example/cb"},
		{"A14 private scheme in other case", native, "COM.example.app:/cb"},
		{"A16 extra query", web, webRedirect + "?y=1"},
		{"A16 empty query", web, webRedirect + "?"},
		{"A16 more than the registered query", web, webRedirect + "?x=1&y=2"},
		{"A16 other value than registered", web, webRedirect + "?x=2"},
		{"A16 registered query twice", web, webRedirect + "?x=1&x=1"},
		{"A16 registered query encoded", web, webRedirect + "?%78=1"},
		{"A16 ampersand without a question mark", web, webRedirect + "&x=1"},
		{"A16 private scheme with a query", native, "com.example.app:/cb?x=1"},
		{"A17 planted code, state and iss", web, webRedirect + "?code=planted&state=planted&iss=https://evil.example"},
		{"A17 planted beside the registered query", web, webRedirect + "?x=1&code=planted"},
		{"A17 planted error", web, webRedirect + "?error=access_denied"},
		{"A19 trailing slash", web, webRedirect + "/"},
		{"A19 doubled slash", web, "https://web.example//cb"},
		{"A19 private scheme with slashes", native, "com.example.app:///cb"},
		{"A19 private scheme with an authority", native, "com.example.app://cb"},
		{"A21 another port", web, "https://web.example:8443/cb"},
		{"A21 the default port", web, "https://web.example:443/cb"},
		{"A21 an empty port", web, "https://web.example:/cb"},
		{"A22 downgraded to http", web, "http://web.example/cb"},
		{"A22 another scheme", web, "ftp://web.example/cb"},
		{"A23 host suffix", web, "https://web.example.evil.example/cb"},
		{"A23 host suffix without a dot", web, "https://web.exampleevil.example/cb"},
		{"A23 host prefix", web, "https://evil-web.example/cb"},
		{"A23 trailing dot", web, "https://web.example./cb"},
		{"A23 look-alike host", web, "https://wеb.example/cb"},
		{"A23 full width host", web, "https://ｗeb.example/cb"},
		{"A23 ideographic full stop", web, "https://web。example/cb"},
		{"A23 zero width joiner", web, "https://web\u200d.example/cb"},
		{"A24 the good host as user-info", web, "https://web.example@evil.example/cb"},
		{"A24 the good host and port as user-info", web, "https://web.example:443@evil.example/cb"},
		{"A24 encoded at sign", web, "https://web.example%40evil.example/cb"},
		{"A24 backslash before the at sign", web, `https://web.example\@evil.example/cb`},
		{"A24 backslash after the evil host", web, `https://evil.example\@web.example/cb`},
		{"A24 evil host before a hash", web, "https://evil.example#@web.example/cb"},
		{"A24 evil host before a question mark", web, "https://evil.example?@web.example/cb"},
		{"A24 evil host before a slash", web, "https://evil.example/@web.example/cb"},
		{"A24 two at signs", web, "https://a@evil.example@web.example/cb"},
		{"A24 encoded dot", web, "https://web.example%2eevil.example/cb"},
		{"A24 brackets", web, "https://[web.example]@evil.example/cb"},
		{"A26 user-info on the right host", web, "https://user@web.example/cb"},
		{"A26 user and password", web, "https://user:secret@web.example/cb"},
		{"A26 empty user-info", web, "https://@web.example/cb"},
		{"A26 an empty pair", web, "https://:@web.example/cb"},
		{"A26 a fragment", web, webRedirect + "#x"},
		{"A26 an empty fragment", web, webRedirect + "#"},
		{"A26 a fragment with a code", web, webRedirect + "#code=planted"},
		{"A26 an encoded fragment", web, webRedirect + "%23x"},
		{"A31 CR LF and a header", web, webRedirect + "\r\nSet-Cookie: injected=1"},
		{"A31 CR LF alone", web, webRedirect + "\r\n"},
		{"A31 LF", web, webRedirect + "\nInjected: 1"},
		{"A31 CR", web, webRedirect + "\rInjected: 1"},
		{"A31 CR LF inside", web, "https://web.example/\r\ncb"},
		{"A31 CR LF before", web, "\r\n" + webRedirect},
		{"A31 encoded once more", web, webRedirect + "%0d%0aInjected:%201"},
		{"A31 a tab", web, webRedirect + "\t"},
		{"A31 a tab inside", web, "https://web.exam\tple/cb"},
		{"A31 letters that narrow to CR LF", web, webRedirect + "嘊嘍Injected: 1"},
		{"A31 line separators", web, webRedirect + "\u2028\u0085Injected: 1"},
		{"A31 vertical tab and form feed", web, webRedirect + "\v\f"},
		{"A31 DEL", web, webRedirect + "\x7f"},
		{"A34 javascript", web, "javascript:alert(1)"},
		{"A34 javascript in other case", web, "JaVaScRiPt:alert(1)"},
		{"A34 javascript with the good host", web, "javascript://web.example/cb%0aalert(1)"},
		{"A34 javascript with a tab", web, "java\tscript:alert(1)"},
		{"A34 javascript after a blank", web, " javascript:alert(1)"},
		{"A34 javascript after a control", web, "\x01javascript:alert(1)"},
		{"A34 javascript, native", native, "javascript:alert(1)"},
		{"A34 vbscript", web, "vbscript:msgbox(1)"},
		{"A35 data", web, "data:text/html,<script>alert(1)</script>"},
		{"A35 data in base64", web, "data:text/html;base64,PHNjcmlwdD4="},
		{"A35 data, native", native, "data:text/html,x"},
		{"A35 blob", web, "blob:https://web.example/cb"},
		{"A35 file", web, "file:///etc/passwd"},
		{"A35 about", web, "about:blank"},
		{"A35 view-source", web, "view-source:" + webRedirect},
		{"A36 scheme-relative", web, "//web.example/cb"},
		{"A36 scheme-relative, evil", web, "//evil.example/cb"},
		{"A36 absolute path", web, "/cb"},
		{"A36 relative", web, "cb"},
		{"A36 three slashes", web, "///evil.example/cb"},
		{"A36 backslashes", web, `\\evil.example\cb`},
		{"A36 slash and backslash", web, `/\evil.example/cb`},
		{"A36 scheme without slashes", web, "https:web.example/cb"},
		{"A36 scheme with one slash", web, "https:/web.example/cb"},
		{"A36 scheme with three slashes", web, "https:///web.example/cb"},
		{"A36 backslashes after the scheme", web, `https:\\web.example/cb`},
		{"A36 a query alone", web, "?code=x"},
		{"A36 out of band", native, "urn:ietf:wg:oauth:2.0:oob"},
		{"A42 loopback host suffix", native, "http://127.0.0.1.evil.example:51004/cb"},
		{"A42 loopback host suffix, port first", native, "http://127.0.0.1:51004.evil.example/cb"},
		{"A42 loopback host prefix", native, "http://evil.127.0.0.1:51004/cb"},
		{"A42 longer address", native, "http://127.0.0.11:51004/cb"},
		{"A42 another loopback address", native, "http://127.0.0.2:51004/cb"},
		{"A42 localhost", native, "http://localhost:51004/cb"},
		{"A42 localhost suffix", native, "http://localhost.evil.example:51004/cb"},
		{"A42 IPv6 loopback that is not registered", native, "http://[::1]:51004/cb"},
		{"A42 mapped address", native, "http://[::ffff:127.0.0.1]:51004/cb"},
		{"A42 short address", native, "http://127.1:51004/cb"},
		{"A42 address as a number", native, "http://2130706433:51004/cb"},
		{"A42 hexadecimal address", native, "http://0x7f.0.0.1:51004/cb"},
		{"A42 octal address", native, "http://0177.0.0.1:51004/cb"},
		{"A42 any address", native, "http://0.0.0.0:51004/cb"},
		{"A42 address with a dot", native, "http://127.0.0.1.:51004/cb"},
		{"A42 encoded address", native, "http://127%2e0.0.1:51004/cb"},
		{"A42 full width address", native, "http://１２７.0.0.1:51004/cb"},
		{"A43 loopback as user-info", native, "http://127.0.0.1:51004@evil.example/cb"},
		{"A43 loopback as user-info, no port", native, "http://127.0.0.1@evil.example/cb"},
		{"A43 loopback as user-info with a port after", native, "http://127.0.0.1:1@evil.example:51004/cb"},
		{"A43 user-info before loopback", native, "http://evil.example@127.0.0.1:51004/cb"},
		{"A43 empty user-info", native, "http://@127.0.0.1:51004/cb"},
		{"A43 backslash", native, `http://127.0.0.1:51004\@evil.example/cb`},
		{"A43 hash", native, "http://evil.example#@127.0.0.1:51004/cb"},
		{"A43 at sign in the port", native, "http://127.0.0.1:51004%40evil.example/cb"},
		{"A46 another path", native, "http://127.0.0.1:51004/other"},
		{"A46 trailing slash", native, loop + "/"},
		{"A46 path suffix", native, loop + "x"},
		{"A46 no path", native, "http://127.0.0.1:51004"},
		{"A46 traversal", native, "http://127.0.0.1:51004/x/../cb"},
		{"A46 doubled slash", native, "http://127.0.0.1:51004//cb"},
		{"A46 path in other case", native, "http://127.0.0.1:51004/CB"},
		{"A46 encoded letter", native, "http://127.0.0.1:51004/%63b"},
		{"A46 blank", native, loop + " "},
		{"A46 CR LF", native, loop + "\r\nInjected: 1"},
		{"A46 empty port", native, "http://127.0.0.1:/cb"},
		{"A46 port zero", native, "http://127.0.0.1:0/cb"},
		{"A46 port too high", native, "http://127.0.0.1:65536/cb"},
		{"A46 port with a leading zero", native, "http://127.0.0.1:051004/cb"},
		{"A46 port with a sign", native, "http://127.0.0.1:+51004/cb"},
		{"A46 negative port", native, "http://127.0.0.1:-1/cb"},
		{"A46 two ports", native, "http://127.0.0.1:1:51004/cb"},
		{"A46 port in full width", native, "http://127.0.0.1:５１００４/cb"},
		{"A46 port of letters", native, "http://127.0.0.1:http/cb"},
		{"A46 port with a blank", native, "http://127.0.0.1:51004 /cb"},
		{"A48 https", native, "https://127.0.0.1:51004/cb"},
		{"A48 https without a port", native, "https://127.0.0.1/cb"},
		{"A48 scheme in other case", native, "HTTP://127.0.0.1:51004/cb"},
		{"A48 scheme-relative", native, "//127.0.0.1:51004/cb"},
		{"A48 web socket", native, "ws://127.0.0.1:51004/cb"},
		{"A50 extra query", native, loop + "?x=1"},
		{"A50 empty query", native, loop + "?"},
		{"A50 fragment", native, loop + "#x"},
		{"A50 empty fragment", native, loop + "#"},
		{"A50 planted code", native, loop + "?code=planted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := b.in(t)
			q := request(tc.client, "redirect_uri", tc.uri)
			if tc.client != "spa" {
				b.get("/authorize?" + q.Encode()).refusedPage()
				b.post("/authorize", q).refusedPage()
				// A09: no error leaves through it either, in no mode.
				for _, edit := range [][2]string{
					{"prompt", "none"}, {"response_mode", "fragment"}, {"response_mode", "form_post"}, {"response_type", "bogus"}, {"scope", "admin"}, {"request", "x"},
				} {
					b.get("/authorize?" + request(tc.client, "redirect_uri", tc.uri, edit[0], edit[1]).Encode()).refusedPage()
				}
			}
			res := w.in(t).pushAs(q)
			res.wantError(400, "invalid_request")
			if strings.Contains(res.body, "request_uri\"") {
				t.Errorf("something was stored: %s", res.body)
			}
		})
	}
}

func TestAttackA05_RedirectURITwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	evil := "redirect_uri=" + url.QueryEscape("https://evil.example/cb")
	for name, query := range map[string]string{
		"good then evil":    with(request("web"), evil),
		"evil then good":    evil + "&" + request("web").Encode(),
		"two good ones":     with(request("web"), "redirect_uri="+url.QueryEscape(webRedirect)),
		"two registered":    with(request("web"), "redirect_uri="+url.QueryEscape(webRedirect+"?x=1")),
		"good and empty":    with(request("web"), "redirect_uri="),
		"empty then good":   "redirect_uri=&" + request("web").Encode(),
		"name encoded":      with(request("web"), strings.Replace(evil, "_", "%5F", 1)),
		"in an error":       with(request("web", "response_type", "bogus"), evil),
		"with prompt=none":  with(request("web", "prompt", "none"), evil),
		"beside a pushed":   url.Values{"client_id": {"spa"}, "request_uri": {w.push(request("spa"))}}.Encode() + "&" + evil + "&" + evil,
		"with a semicolon":  with(request("web", "redirect_uri", ""), "redirect_uri="+webRedirect+";"+evil),
		"as an array":       with(request("web", "redirect_uri", ""), "redirect_uri[]="+webRedirect),
		"with a null after": with(request("web", "redirect_uri", ""), "redirect_uri="+webRedirect+"%00"),
	} {
		t.Run("A05 "+name, func(t *testing.T) {
			b := b.in(t)
			b.get("/authorize?" + query).refusedPage()
			b.send("POST", "/authorize", query).refusedPage()
		})
	}
}

func TestAttackA09_PromptNoneIsNoOpenRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, b := range map[string]*browser{"stranger": w.browser(), "signed in": w.victim("web")} {
		t.Run("A09 "+name, func(t *testing.T) {
			for _, prompt := range []string{"none", "none login", "bogus", "login", ""} {
				q := request("web", "redirect_uri", "https://evil.example/cb", "prompt", prompt)
				b.in(t).get("/authorize?" + q.Encode()).refusedPage()
				b.in(t).post("/authorize", q).refusedPage()
			}
		})
	}
}

// TestAttackA41_AnyLoopbackPort is the positive control of A42 to A50.
func TestAttackA41_AnyLoopbackPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("native", func(c *clientreg.Client) { c.RedirectURIs = append(c.RedirectURIs, "http://[::1]/six") })
	w.clients.change("web", func(c *clientreg.Client) {
		c.AllowLocalhostRedirect, c.RedirectURIs = true, []string{"http://127.0.0.1:8080/cb", webRedirect}
	})
	b := w.victim("native", "web")
	for _, uri := range []string{
		"http://127.0.0.1:1/cb", "http://127.0.0.1:80/cb", "http://127.0.0.1:51004/cb", "http://127.0.0.1:65535/cb", nativeLoopback,
		"http://[::1]:51004/six", "http://[::1]/six", "com.example.app:/cb",
	} {
		t.Run("A41 "+uri, func(t *testing.T) {
			w := w.in(t)
			res := b.in(t).get("/authorize?" + request("native", "redirect_uri", uri).Encode())
			u, q := res.location()
			if !strings.HasPrefix(u.String(), uri+"?code=") {
				t.Fatalf("the code went to %s", u)
			}
			for _, other := range []string{"http://127.0.0.1:2/cb", "http://[::1]:2/six", ""} {
				w.redeem("native", q.Get("code"), "redirect_uri", other).wantError(400, "invalid_grant")
			}
			w.redeem("native", q.Get("code"), "redirect_uri", uri).want(200)
		})
	}
	for _, uri := range []string{"http://127.0.0.1:8081/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb", "http://localhost:8080/cb"} {
		t.Run("A41 not for a web client "+uri, func(t *testing.T) {
			b.in(t).get("/authorize?" + request("web", "redirect_uri", uri).Encode()).refusedPage()
		})
	}
	t.Run("A41 registered literally for a web client", func(t *testing.T) {
		if u, q := b.in(t).get("/authorize?" + request("web", "redirect_uri", "http://127.0.0.1:8080/cb").Encode()).location(); q.Get("code") == "" {
			t.Errorf("no code: %s", u)
		}
	})
}

// TestAttackA_Refusals: a request that fails a check is told so at the client's
// URI, by every way in and in every response mode.
func TestAttackA_Refusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clients.change("m2m", func(c *clientreg.Client) { c.RedirectURIs = []string{webRedirect} })
	b := w.victim("web", "native", "spa", "nopkce")
	const (
		bad    = "invalid_request"
		badRT  = "unsupported_response_type"
		badSc  = "invalid_scope"
		unauth = "unauthorized_client"
	)
	short := strings.Repeat("a", 42)
	for _, tc := range []struct {
		name, client string
		edit         []string // as for request
		raw, code    string
	}{
		{"A51 response_type missing", "web", []string{"response_type", ""}, "", bad},
		{"A51 response_type empty", "web", []string{"response_type", ""}, "response_type=", bad},
		{"A52 unknown", "web", []string{"response_type", "bogus"}, "", badRT},
		{"A52 other case", "web", []string{"response_type", "Code"}, "", badRT},
		{"A52 a blank after", "web", []string{"response_type", "code "}, "", badRT},
		{"A52 a blank before", "web", []string{"response_type", " code"}, "", badRT},
		{"A52 twice in one", "web", []string{"response_type", "code code"}, "", badRT},
		{"A52 none", "web", []string{"response_type", "none"}, "", badRT},
		{"A52 a tab", "web", []string{"response_type", "code\t"}, "", badRT},
		{"A52 a comma", "web", []string{"response_type", "code,token"}, "", badRT},
		{"A53 token", "web", []string{"response_type", "token"}, "", badRT},
		{"A53 token by a public client", "native", []string{"response_type", "token"}, "", badRT},
		{"A53 id_token", "web", []string{"response_type", "id_token"}, "", badRT},
		{"A53 id_token token", "web", []string{"response_type", "id_token token"}, "", badRT},
		{"A54 code token", "web", []string{"response_type", "code token"}, "", badRT},
		{"A54 code id_token", "web", []string{"response_type", "code id_token"}, "", badRT},
		{"A54 id_token code", "web", []string{"response_type", "id_token code"}, "", badRT},
		{"A54 code id_token token", "web", []string{"response_type", "code id_token token"}, "", badRT},
		{"A55 public client without a challenge", "native", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A55 public client with a method alone", "native", []string{"code_challenge", ""}, "", bad},
		{"A55 public client with an empty challenge", "native", []string{"code_challenge", ""}, "code_challenge=", bad},
		{"A55 public client, pushed", "spa", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A56 confidential client without a challenge", "web", []string{"code_challenge", "", "code_challenge_method", ""}, "", bad},
		{"A56 confidential client without a nonce", "web", []string{"code_challenge", "", "code_challenge_method", "", "nonce", ""}, "", bad},
		{"A56 excused client without openid", "nopkce", []string{"code_challenge", "", "code_challenge_method", "", "scope", "profile"}, "", bad},
		{"A56 excused client with a method alone", "nopkce", []string{"code_challenge", ""}, "", bad},
		{"A57 plain", "web", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 plain by a public client", "native", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 plain by an excused client", "nopkce", []string{"code_challenge_method", "plain"}, "", bad},
		{"A57 s256", "web", []string{"code_challenge_method", "s256"}, "", bad},
		{"A57 S256 and a blank", "web", []string{"code_challenge_method", "S256 "}, "", bad},
		{"A57 S512", "web", []string{"code_challenge_method", "S512"}, "", bad},
		{"A57 none", "web", []string{"code_challenge_method", "none"}, "", bad},
		{"A58 no method", "web", []string{"code_challenge_method", ""}, "", bad},
		{"A58 an empty method", "web", []string{"code_challenge_method", ""}, "code_challenge_method=", bad},
		{"A58 no method, excused client", "nopkce", []string{"code_challenge_method", ""}, "", bad},
		{"A58 no method, public client", "native", []string{"code_challenge_method", ""}, "", bad},
		{"A59 too short", "web", []string{"code_challenge", "abc"}, "", bad},
		{"A59 42 characters", "web", []string{"code_challenge", short}, "", bad},
		{"A59 44 characters", "web", []string{"code_challenge", short + "aa"}, "", bad},
		{"A59 128 characters", "web", []string{"code_challenge", strings.Repeat("a", 128)}, "", bad},
		{"A59 padded", "web", []string{"code_challenge", short + "A="}, "", bad},
		{"A59 standard base64", "web", []string{"code_challenge", "+/" + short[:40] + "A"}, "", bad},
		{"A59 stray bits", "web", []string{"code_challenge", short + "B"}, "", bad},
		{"A59 a line feed", "web", []string{"code_challenge", short + "A\n"}, "", bad},
		{"A59 dots as in a verifier", "web", []string{"code_challenge", short[:41] + ".A"}, "", bad},
		{"A67 none and login", "web", []string{"prompt", "none login"}, "", bad},
		{"A67 none and consent", "web", []string{"prompt", "consent none"}, "", bad},
		{"A67 none and select_account", "web", []string{"prompt", "none select_account"}, "", bad},
		{"A67 none in other case", "web", []string{"prompt", "NONE"}, "", bad},
		{"A67 none and an unknown one", "web", []string{"prompt", "none create"}, "", bad},
		{"A67 with a comma", "web", []string{"prompt", "none,login"}, "", bad},
		{"A71 unknown", "web", []string{"response_mode", "bogus"}, "", bad},
		{"A71 other case", "web", []string{"response_mode", "Query"}, "", bad},
		{"A71 web_message", "web", []string{"response_mode", "web_message"}, "", bad},
		{"A71 jwt, not switched on", "web", []string{"response_mode", "query.jwt"}, "", bad},
		{"A71 two", "web", []string{"response_mode", "query fragment"}, "", bad},
		{"A71 form_post and a blank", "web", []string{"response_mode", "form_post "}, "", bad},
		{"A71 form_post to a private scheme", "native", []string{"response_mode", "form_post", "redirect_uri", "com.example.app:/cb"}, "", bad},
		{"A73 no JSON", "web", []string{"claims", "{"}, "", bad},
		{"A73 an array", "web", []string{"claims", "[]"}, "", bad},
		{"A73 null", "web", []string{"claims", "null"}, "", bad},
		{"A73 a string", "web", []string{"claims", `"x"`}, "", bad},
		{"A73 id_token is an array", "web", []string{"claims", `{"id_token":[]}`}, "", bad},
		{"A73 a claim is a number", "web", []string{"claims", `{"userinfo":{"email":5}}`}, "", bad},
		{"A73 duplicate members", "web", []string{"claims", `{"id_token":{"sub":{"value":"a"},"sub":{"value":"b"}}}`}, "", bad},
		{"A73 duplicate members by escape", "web", []string{"claims", `{"id_token":{"sub":null,"su\u0062":{"value":"b"}}}`}, "", bad},
		{"A73 too deep", "web", []string{"claims", `{"id_token":` + strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 31)}, "", bad},
		{"A73 two documents", "web", []string{"claims", `{}{}`}, "", bad},
		{"A73 sub is no string", "web", []string{"claims", `{"id_token":{"sub":{"value":5}}}`}, "", bad},
		{"A73 many claims", "web", []string{"claims", `{"id_token":{` + manyClaims(70) + `}}`}, "", bad},
		{"A75 beyond the registration", "web", []string{"scope", "openid admin root urn:evil"}, "", badSc},
		{"A75 known, not registered", "web", []string{"scope", "openid phone"}, "", badSc},
		{"A75 configured, not registered", "native", []string{"scope", "openid api"}, "", badSc},
		{"A75 other case", "web", []string{"scope", "openid PROFILE"}, "", badSc},
		{"A75 a wildcard", "web", []string{"scope", "openid *"}, "", badSc},
		{"A75 a tab", "web", []string{"scope", "openid\tprofile"}, "", badSc},
		{"A75 a line feed", "web", []string{"scope", "openid\nprofile"}, "", badSc},
		{"A75 a comma", "web", []string{"scope", "openid,profile"}, "", badSc},
		{"A75 a no-break space", "web", []string{"scope", "openid\u00a0profile"}, "", badSc},
		{"A75 a quote", "web", []string{"scope", `openid "`}, "", badSc},
		{"A75 two blanks", "web", []string{"scope", "openid  profile"}, "", badSc},
		{"A75 none at all", "web", []string{"scope", ""}, "", badSc},
		{"A75 too long a value", "web", []string{"scope", "openid " + strings.Repeat("a", 300)}, "", badSc},
		{"A76 client without the code grant", "m2m", []string{"scope", "api"}, "", unauth},
		{"A76 client without the code grant, prompt none", "m2m", []string{"scope", "api", "prompt", "none"}, "", unauth},
		{"A91 hint is no token", "web", []string{"id_token_hint", "x"}, "", bad},
		{"A96 max_age is no number", "web", []string{"max_age", "-1"}, "", bad},
		{"A96 max_age has a sign", "web", []string{"max_age", "+1"}, "", bad},
		{"A96 max_age is a fraction", "web", []string{"max_age", "1.5"}, "", bad},
		{"A96 max_age overflows", "web", []string{"max_age", "99999999999999999999"}, "", bad},
		{"A96 max_age in other digits", "web", []string{"max_age", "１"}, "", bad},
		{"A96 nonce with a control", "web", []string{"nonce", "a\nb"}, "", bad},
		{"A96 nonce too long", "web", []string{"nonce", strings.Repeat("n", 1025)}, "", bad},
		{"A96 login_hint with a control", "web", []string{"login_hint", "a\r\nb"}, "", bad},
		{"A96 login_hint too long", "web", []string{"login_hint", strings.Repeat("n", 3000)}, "", bad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := b.in(t)
			q := request(tc.client, tc.edit...)
			uri := q.Get("redirect_uri")
			if tc.client != "spa" {
				b.get("/authorize?"+with(q, tc.raw)).refusedAt(uri, tc.code)
				b.send("POST", "/authorize", with(q, tc.raw)).refusedAt(uri, tc.code)
				if !q.Has("response_mode") {
					for _, mode := range []string{"query", "fragment", "form_post"} {
						res := b.get("/authorize?" + with(q, tc.raw+"&response_mode="+mode))
						res.refusedAt(uri, tc.code)
						if u, _ := url.Parse(res.Header.Get("Location")); (u.Fragment != "") != (mode == "fragment") || (res.StatusCode == 200) != (mode == "form_post") {
							t.Errorf("mode %s: answered by status %d at %s", mode, res.StatusCode, u)
						}
					}
				}
			}
			w.in(t).pushAs(q).wantError(400, tc.code)
		})
	}
}

func manyClaims(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf(`"c%d":null`, i))
	}
	return strings.Join(s, ",")
}

// TestAttackA75_WhatIsRegistered: a registry that does not validate cannot make
// a scope out of what is none, and the number of values is bounded.
func TestAttackA75_WhatIsRegistered(t *testing.T) {
	t.Parallel()
	var names []string
	w := newWorld(t, func(c *handlers.Config) {
		for i := range 70 {
			names = append(names, fmt.Sprintf("s%d", i))
			c.Scopes = append(c.Scopes, handlers.Scope{Name: names[i]})
		}
	})
	w.clients.change("web", func(c *clientreg.Client) {
		c.FirstParty, c.Scope = true, `openid q"uote back\slash tab	bed ünï `+strings.Repeat("l", 300)+" "+strings.Join(names, " ")
	})
	b := w.browser()
	b.signIn(b.begin(request("web", "scope", "openid")), "alice")
	for name, scope := range map[string]string{
		"a quote": `openid q"uote`, "a backslash": `openid back\slash`, "a tab": "openid tab\tbed", "letters beyond ASCII": "openid ünï",
		"a long value": "openid " + strings.Repeat("l", 300), "65 values": "openid " + strings.Join(names[:64], " "),
	} {
		t.Run("A75 "+name, func(t *testing.T) {
			b.in(t).get("/authorize?"+request("web", "scope", scope).Encode()).refusedAt(webRedirect, "invalid_scope")
		})
	}
	t.Run("A75 64 values, control", func(t *testing.T) {
		if _, q := b.in(t).begin(request("web", "scope", "openid "+strings.Join(names[:63], " "))).location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
	})
	t.Run("A75 known to the client, not to the provider", func(t *testing.T) {
		w.clients.change("web", func(c *clientreg.Client) { c.Scope = "openid admin root urn:evil" })
		tok := w.in(t).redeem("web", b.in(t).code(request("web", "scope", "openid admin root urn:evil"), "alice")).want(200)
		if tok.str("scope") != "openid" {
			t.Errorf("granted %q", tok.str("scope"))
		}
	})
}

// TestAttackA_Repeated: no parameter may be sent twice, RFC 6749 §3.1, not even
// with an equal or an empty value.
func TestAttackA_Repeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for id, names := range map[string][]string{
		"A62": {"state"},
		"A63": {"scope"},
		"A05": {"response_type", "response_mode", "nonce", "code_challenge", "code_challenge_method", "prompt", "max_age", "login_hint",
			"claims", "id_token_hint", "authorization_details", "x_unknown"},
	} {
		for _, name := range names {
			q := request("web")
			own := q.Get(name)
			if own == "" {
				own = "query"
			}
			for what, raw := range map[string]string{
				"other value":    name + "=" + url.QueryEscape(own) + "&" + name + "=evil",
				"equal value":    name + "=" + url.QueryEscape(own) + "&" + name + "=" + url.QueryEscape(own),
				"empty value":    name + "=" + url.QueryEscape(own) + "&" + name + "=",
				"two empty ones": name + "=&" + name,
				"encoded name":   name + "=" + url.QueryEscape(own) + "&" + fmt.Sprintf("%%%02x", name[0]) + name[1:] + "=evil",
			} {
				t.Run(id+" duplicate "+name+", "+what, func(t *testing.T) {
					t.Parallel()
					b, w := b.in(t), w.in(t)
					query := with(request("web", name, ""), raw)
					b.get("/authorize?" + query).refusedPage()
					b.send("POST", "/authorize", query).refusedPage()
					query = with(request("web", name, "", "client_id", ""), raw)
					w.browser().send("POST", "/par", query, "Authorization", basic("web", webSecret)).wantError(400, "invalid_request")
				})
			}
		}
	}
}

// TestAttackA76_NeverForMachines: a client of client_credentials alone gets no
// code, whatever it has registered.
func TestAttackA76_NeverForMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	t.Run("A76 no redirect URI", func(t *testing.T) {
		b.in(t).get("/authorize?" + request("m2m", "scope", "api").Encode()).refusedPage()
	})
	w.clients.change("m2m", func(c *clientreg.Client) {
		c.RedirectURIs, c.FirstParty = []string{webRedirect}, true
	})
	t.Run("A76 with a redirect URI", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	w.clients.change("m2m", func(c *clientreg.Client) { c.GrantTypes = append(c.GrantTypes, "refresh_token") })
	t.Run("A76 with the refresh grant", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	w.clients.change("m2m", func(c *clientreg.Client) { c.ResponseTypes = []string{"code"} })
	t.Run("A76 with the response type", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("m2m", "scope", "api").Encode()).refusedAt(webRedirect, "unauthorized_client")
		w.in(t).pushAs(request("m2m", "scope", "api")).wantError(400, "unauthorized_client")
	})
	w.clients.change("web", func(c *clientreg.Client) { c.ResponseTypes = []string{"id_token"} })
	t.Run("A54 code is not registered", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("web").Encode()).refusedAt(webRedirect, "unauthorized_client")
	})
	t.Run("A54 registered, and not served", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("web", "response_type", "id_token").Encode()).refusedAt(webRedirect, "unsupported_response_type")
	})
}

// TestAttackA_Silent: prompt=none shows nothing and gives nothing to whom the
// user has not given it. OpenID Connect Core §3.1.2.6.
func TestAttackA_Silent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa")
	none := func(t *testing.T, b *browser, q url.Values, code string) {
		t.Helper()
		q.Set("prompt", "none")
		for _, mode := range []string{"query", "fragment", "form_post"} {
			q.Set("response_mode", mode)
			res := b.in(t).begin(q)
			res.refusedAt(q.Get("redirect_uri"), code)
			if len(res.Cookies()) > 0 {
				t.Errorf("cookies were set: %v", res.Cookies())
			}
		}
		// By POST the cookies come with the second request.
		if q.Get("client_id") != "spa" {
			u, _ := b.in(t).post("/authorize", q).location()
			b.in(t).get(u.String()).refusedAt(q.Get("redirect_uri"), code)
		}
	}
	t.Run("A77 no session", func(t *testing.T) { none(t, w.browser(), request("web"), "login_required") })
	t.Run("A77 no session, pushed", func(t *testing.T) { none(t, w.browser(), request("spa"), "login_required") })
	t.Run("A77 a made-up session", func(t *testing.T) {
		stranger := w.browser()
		for _, c := range b.cookies() {
			forged := *c
			forged.Value = "se_" + strings.Repeat("A", len(c.Value)-3)
			stranger.plant(&forged)
		}
		none(t, stranger, request("web"), "login_required")
	})
	t.Run("A82 iss in the error", func(t *testing.T) {
		res := w.in(t).browser().get("/authorize?" + request("web", "prompt", "none", "state", "").Encode())
		_, q := res.location()
		res.issuedBy(q)
		if q.Has("state") {
			t.Errorf("a state that was not sent: %v", q)
		}
	})
	t.Run("A78 never asked", func(t *testing.T) { none(t, b, request("post", "scope", "openid"), "consent_required") })
	t.Run("A78 more than was allowed", func(t *testing.T) {
		none(t, b, request("web", "scope", "openid profile email"), "consent_required")
	})
	t.Run("A78 offline_access on top", func(t *testing.T) {
		none(t, b, request("web", "scope", "openid offline_access"), "consent_required")
	})
	t.Run("A78 a claim on top", func(t *testing.T) {
		none(t, b, request("web", "claims", `{"userinfo":{"email":null}}`), "consent_required")
	})
	t.Run("A78 authorization details", func(t *testing.T) {
		none(t, b, request("spa", "authorization_details", `[{"type":"payment","amount":5}]`), "consent_required")
	})
	t.Run("A78 withdrawn", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		if err := w.p.Grants().Withdraw(t.Context(), "sub-alice", "web"); err != nil {
			t.Fatal(err)
		}
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A78 another user's consent", func(t *testing.T) {
		w := newWorld(t)
		w.victim("web")
		b := w.browser()
		b.signIn(b.begin(request("post", "scope", "openid")), "bob")
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A78 consent is too old", func(t *testing.T) {
		w := newWorld(t, func(c *handlers.Config) { c.TTL.Consent = time.Hour })
		b := w.victim("web")
		w.clock.add(time.Hour)
		none(t, b, request("web"), "consent_required")
	})
	t.Run("A79 max_age", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		none(t, b, request("web", "max_age", "0"), "login_required") // in the very second of the login
		w.clock.add(2 * time.Second)
		none(t, b, request("web", "max_age", "1"), "login_required")
		none(t, b, request("web", "max_age", "0"), "login_required")
		if _, q := b.in(t).begin(request("web", "max_age", "2", "prompt", "none")).location(); q.Get("code") == "" {
			t.Error("a session within max_age got no code")
		}
		// Signing in again makes it young; using it does not.
		if u, _ := b.in(t).begin(request("web", "max_age", "1")).location(); u.Path != "/login" {
			t.Errorf("without prompt it goes to %s", u)
		}
		five := 5
		w.clients.change("web", func(c *clientreg.Client) { c.DefaultMaxAge = &five })
		w.clock.add(4 * time.Second)
		none(t, b, request("web"), "login_required")
	})
	t.Run("A79 the session is too old", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		w.clock.add(24 * time.Hour)
		none(t, b, request("web"), "login_required")
	})
	t.Run("A79 the session is used and too old all the same", func(t *testing.T) {
		w := newWorld(t)
		b := w.victim("web")
		for range 14*2 - 1 {
			w.clock.add(12 * time.Hour)
			if _, q := b.in(t).begin(request("web", "prompt", "none")).location(); q.Get("code") == "" {
				t.Fatalf("the session ended early: %v", q)
			}
		}
		w.clock.add(12 * time.Hour)
		none(t, b, request("web"), "login_required")
	})
}

func TestAttackA80_PromptLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa")
	for _, prompt := range []string{"login", "login consent", "select_account", "login select_account"} {
		for _, client := range []string{"web", "spa"} {
			t.Run("A80 "+prompt+", "+client, func(t *testing.T) {
				b := b.in(t)
				res := b.begin(request(client, "prompt", prompt))
				u, _ := res.location()
				if u.Path != "/login" {
					t.Fatalf("to %s, want the login page", u)
				}
				page := b.get(u.String()).want(200)
				if !strings.Contains(page.body, `type="password"`) {
					t.Error("no login form")
				}
				// Nothing but the password leads on.
				for _, form := range []url.Values{
					{"do": {"login"}}, {"do": {"allow"}}, {"do": {"login"}, "username": {"alice"}, "password": {"wrong"}}, {},
				} {
					form.Set("csrf", csrf(page))
					b.post(u.String(), form).noCode()
				}
				b.get("/consent?" + u.RawQuery).refusedPage()
			})
		}
	}
	t.Run("A80 POST", func(t *testing.T) {
		b := b.in(t)
		self, _ := b.post("/authorize", request("web", "prompt", "login")).location()
		if u, _ := b.get(self.String()).location(); u.Path != "/login" {
			t.Errorf("to %s, want the login page", u)
		}
	})
	t.Run("A80 after the login the flow goes on", func(t *testing.T) {
		b := b.in(t)
		if _, q := b.signIn(b.begin(request("web", "prompt", "login")), "alice").location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
	})
}

// TestAttackA_Answer looks at the redirect that carries the code.
func TestAttackA_Answer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "spa", "native")
	for _, tc := range []struct {
		name, client, uri string
		edit              []string
	}{
		{"query", "web", webRedirect, nil},
		{"query after a registered query", "web", webRedirect + "?x=1", []string{"redirect_uri", webRedirect + "?x=1"}},
		{"fragment", "web", webRedirect, []string{"response_mode", "fragment"}},
		{"form_post", "web", webRedirect, []string{"response_mode", "form_post"}},
		{"form_post to loopback", "native", "http://127.0.0.1:51004/cb", []string{"response_mode", "form_post"}},
		{"pushed", "spa", spaRedirect, nil},
		{"pushed, fragment", "spa", spaRedirect, []string{"response_mode", "fragment"}},
		{"pushed, form_post", "spa", spaRedirect, []string{"response_mode", "form_post"}},
		{"private scheme", "native", "com.example.app:/cb", []string{"redirect_uri", "com.example.app:/cb"}},
	} {
		for _, state := range []string{
			"s", "state 1+2", `"'<>&%25%zz+`, "ünïcødé 日本語 \U0001f600", "a=b&code=planted&iss=evil#f?g;h", "%0d%0aInjected: 1", "\u2028\u00a0",
			strings.Repeat("s", 1024), `</script><script>alert(1)</script>`, "${jndi:x}{{.}}", "e\u0301", "\ufeffx",
		} {
			t.Run(fmt.Sprintf("A81 A83 A85 A86 %s, state %.12q", tc.name, state), func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				res := b.begin(request(tc.client, append(tc.edit, "state", state)...))
				res.harmless()
				target, q := res.answered()
				if want, _, _ := strings.Cut(tc.uri, "?"); target != want {
					t.Errorf("answered at %s", target)
				}
				res.issuedBy(q)
				for _, k := range []string{"code", "state", "iss"} {
					if len(q[k]) != 1 {
						t.Errorf("%s %d times", k, len(q[k]))
					}
				}
				if q.Get("state") != state {
					t.Errorf("state %q, want %q", q.Get("state"), state)
				}
				if strings.HasSuffix(tc.uri, "?x=1") && !strings.HasPrefix(res.Header.Get("Location"), tc.uri+"&code=") {
					t.Errorf("the registered query changed: %s", res.Header.Get("Location"))
				}
				// A83: an error echoes it as well.
				_, q = w.in(t).browser().begin(request(tc.client, append(tc.edit, "state", state, "prompt", "none")...)).answered()
				if s := q["state"]; len(s) != 1 || s[0] != state || q.Get("error") != "login_required" {
					t.Errorf("in an error: %v", q)
				}
			})
		}
	}
	for name, state := range map[string]string{"too long": strings.Repeat("s", 1025), "a line feed": "a\nb", "CR LF": "a\r\nInjected: 1", "a tab": "a\tb", "DEL": "\x7f"} {
		t.Run("A83 "+name, func(t *testing.T) {
			for _, mode := range []string{"query", "fragment", "form_post"} {
				res := b.in(t).begin(request("web", "state", state, "response_mode", mode))
				res.harmless()
				if target, q := res.answered(); target != webRedirect || q.Get("error") != "invalid_request" || q.Has("state") || q.Has("code") {
					t.Errorf("answered at %s: %v", target, q)
				}
			}
			w.in(t).pushAs(request("web", "state", state)).wantError(400, "invalid_request")
		})
		t.Run("A83 in a request object, "+name, func(t *testing.T) {
			in, err := json.Marshal(map[string]string{"state": state, "response_mode": "fragment"})
			if err != nil {
				t.Fatal(err)
			}
			object := "e30." + base64.RawURLEncoding.EncodeToString(in) + ".e30"
			res := b.in(t).begin(request("web", "state", "", "request", object))
			res.harmless()
			if target, q := res.answered(); target != webRedirect || q.Get("error") != "request_not_supported" || q.Has("state") || q.Has("code") {
				t.Errorf("answered at %s: %v", target, q)
			}
		})
	}
}

// TestAttackA84_NoRepeatedPOST walks every hop: none repeats a POST elsewhere.
func TestAttackA84_NoRepeatedPOST(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hop := func(t *testing.T, res response) response {
		t.Helper()
		res.want(303)
		if res.Header.Get("Cache-Control") != "no-store" || res.body != "" {
			t.Errorf("%s: Cache-Control %q, body %q", res.Request.URL, res.Header.Get("Cache-Control"), res.body)
		}
		return res
	}
	follow := func(b *browser, res response) response {
		u, _ := res.location()
		return b.get(u.String())
	}
	t.Run("A84 login and consent", func(t *testing.T) {
		b := w.in(t).browser()
		self := hop(t, b.post("/authorize", request("web")))
		login := hop(t, follow(b, self))
		consent := hop(t, b.signIn(login, "alice"))
		if _, q := hop(t, b.allow(consent)).location(); q.Get("code") == "" {
			t.Errorf("no code: %v", q)
		}
		out := hop(t, b.post("/logout", url.Values{"client_id": {"web"}, "post_logout_redirect_uri": {"https://web.example/bye"}}))
		page := follow(b, out).want(200)
		hop(t, b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}))
	})
	t.Run("A84 denied and switched", func(t *testing.T) {
		b := w.in(t).browser()
		consent := hop(t, b.signIn(hop(t, b.begin(request("web"))), "alice"))
		u, _ := consent.location()
		login := hop(t, b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"switch"}}))
		u, _ = login.location()
		hop(t, b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"deny"}})).wantRedirectError(webRedirect, "access_denied")
	})
	t.Run("A84 refused", func(t *testing.T) {
		hop(t, w.in(t).browser().post("/authorize", request("web", "response_type", "token")))
	})
	t.Run("A84 the page posts itself", func(t *testing.T) {
		// form_post is an answer by page, after a GET; the POST to the client is
		// the browser's own.
		b := w.in(t).browser()
		res := b.allow(b.signIn(b.begin(request("web", "response_mode", "form_post")), "alice")).want(200)
		if target, q := res.answered(); target != webRedirect || q.Get("code") == "" {
			t.Errorf("answered at %s: %v", target, q)
		}
	})
}

func TestAttackA88_FormPostPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web", "native")
	for name, res := range map[string]response{
		"code":     b.begin(request("web", "response_mode", "form_post")),
		"error":    b.begin(request("web", "response_mode", "form_post", "scope", "admin")),
		"none":     w.browser().begin(request("web", "response_mode", "form_post", "prompt", "none")),
		"loopback": b.begin(request("native", "response_mode", "form_post")),
	} {
		t.Run("A88 "+name, func(t *testing.T) {
			res.want(200)
			csp := policy(t, res)
			for _, bad := range []string{"unsafe", "*", "data:", "http:", "strict-dynamic"} {
				if strings.Contains(csp["script-src"], bad) {
					t.Errorf("script-src %s", csp["script-src"])
				}
			}
			if csp["default-src"] != "'none'" || csp["base-uri"] != "'none'" || csp["frame-ancestors"] != "'none'" {
				t.Errorf("policy %v", csp)
			}
			_, rest, ok := strings.Cut(res.body, "<script>")
			script, _, _ := strings.Cut(rest, "</script>")
			sum := sha256.Sum256([]byte(script))
			if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !ok || csp["script-src"] != want {
				t.Errorf("script-src %s, want %s", csp["script-src"], want)
			}
			if strings.Count(res.body, "<script") != 1 || strings.Contains(res.body, "onload=") {
				t.Error("more script than the one line")
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers %v", res.Header)
			}
		})
	}
}

// policy reads a Content-Security-Policy.
func policy(t testing.TB, res response) map[string]string {
	t.Helper()
	all := res.Header["Content-Security-Policy"]
	if len(all) != 1 {
		t.Fatalf("%d policies", len(all))
	}
	m := map[string]string{}
	for _, d := range strings.Split(all[0], ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
		if _, twice := m[name]; twice {
			t.Errorf("directive %s twice: a browser reads the first", name)
		}
		m[name] = value
	}
	return m
}

func TestAttackA89_Methods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, method := range []string{"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "Post", "QUERY"} {
		for _, path := range []string{"/authorize", "/login", "/consent", "/logout"} {
			t.Run("A89 "+method+" "+path, func(t *testing.T) {
				b := b.in(t)
				for _, res := range []response{
					b.send(method, path+"?"+request("web").Encode(), ""),
					b.send(method, path, request("web").Encode()),
				} {
					res.wantPage().noCode()
					if res.StatusCode != 405 || res.Header.Get("Allow") != "GET, POST" {
						t.Errorf("status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
					}
					if strings.Contains(res.body, "html") || len(res.Cookies()) > 0 {
						t.Errorf("body %q, cookies %v", res.body, res.Cookies())
					}
				}
			})
		}
	}
	// A method in a header or a field is none.
	t.Run("A89 override", func(t *testing.T) {
		b := b.in(t)
		b.send("PUT", "/authorize?"+request("web").Encode(), "", "X-HTTP-Method-Override", "GET").want(405)
		b.send("HEAD", "/authorize?"+with(request("web"), "_method=GET"), "").want(405)
	})
	if n := w.events.count("code.issued"); n != 2 {
		t.Errorf("%d codes were issued, want the victim's own two", n)
	}
}

// forgeries are tokens that look like the one given and are none.
func forgeries(t testing.TB, w *world, genuine string) map[string]string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	head, c := jwtHeader(t, genuine), claims(t, genuine)
	parts := strings.Split(genuine, ".")
	make := func(head, claims map[string]any) string {
		h, err1 := json.Marshal(head)
		p, err2 := json.Marshal(claims)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		return enc(h) + "." + enc(p)
	}
	edit := func(m map[string]any, kv ...any) map[string]any {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i+1 < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(input string) string {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + enc(append(r.FillBytes(make32()), s.FillBytes(make32())...))
	}
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]any{"kty": "EC", "crv": "P-256", "x": enc(pub[1:33]), "y": enc(pub[33:])}
	hs := func(secret []byte) string {
		input := make(map[string]any{"alg": "HS256", "kid": head["kid"]}, c)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + enc(m.Sum(nil))
	}
	jwks := w.getWith("/jwks").want(200)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edInput := make(map[string]any{"alg": "EdDSA", "kid": head["kid"]}, c)
	return map[string]string{
		"alg none":                  make(map[string]any{"alg": "none"}, c) + ".",
		"alg none with a kid":       make(edit(head, "alg", "none"), c) + ".",
		"alg None":                  make(map[string]any{"alg": "None"}, c) + ".",
		"alg none with a signature": make(map[string]any{"alg": "none"}, c) + "." + parts[2],
		"alg empty":                 make(map[string]any{"alg": ""}, c) + "." + parts[2],
		"no alg":                    make(map[string]any{"kid": head["kid"]}, c) + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"two parts":                 parts[0] + "." + parts[1],
		"HS256 under the JWKS":      hs([]byte(jwks.body)),
		"HS256 under the kid":       hs([]byte(fmt.Sprint(head["kid"]))),
		"HS256 under nothing":       hs(nil),
		"tampered subject":          make(head, edit(c, "sub", "sub-bob")) + "." + parts[2],
		"tampered sid":              make(head, edit(c, "sid", "x")) + "." + parts[2],
		"tampered header":           make(edit(head, "typ", "JWT"), c) + "." + parts[2],
		"a foreign key":             sign(make(head, c)),
		"a foreign key, no kid":     sign(make(map[string]any{"alg": "ES256"}, c)),
		"a foreign key, EdDSA":      edInput + "." + enc(ed25519.Sign(ed, []byte(edInput))),
		"a foreign key in jwk":      sign(make(map[string]any{"alg": "ES256", "jwk": own}, c)),
		"a foreign key at jku":      sign(make(map[string]any{"alg": "ES256", "jku": "https://evil.example/jwks"}, c)),
		"a foreign key, issuer":     sign(make(head, edit(c, "iss", "https://evil.example"))),
		"an unknown kid":            make(edit(head, "kid", "../../x"), c) + "." + parts[2],
		"crit":                      make(edit(head, "crit", []string{"x"}, "x", 1), c) + "." + parts[2],
		"a zero signature":          parts[0] + "." + parts[1] + "." + enc(append(make32(), make32()...)),
		"a blank after":             genuine + " ",
		"a fourth part":             genuine + ".x",
		"JSON serialization":        `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"garbage":                   "garbage",
		"too large":                 strings.Repeat("a", 5000) + "." + parts[1] + "." + parts[2],
	}
}

func make32() []byte { return make([]byte, 32) }

// sameKeys is a key that a test gives to two issuers.
func sameKeys(t testing.TB) func(*handlers.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := handlers.StaticKeys(handlers.SigningKey{ID: "k", Alg: "ES256", Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *handlers.Config) { c.Keys = keys }
}

// twin returns an ID token for the same client and user, signed by the same key
// for another issuer.
func twin(t testing.TB, w *world) string {
	t.Helper()
	other := newWorld(t, func(c *handlers.Config) { c.Keys = w.cfg.Keys })
	_, tok := other.tokens("web")
	return tok.str("id_token")
}

// TestAttackA91_ForgedHint: an id_token_hint that is not ours opens nothing and
// is no oracle either.
func TestAttackA91_ForgedHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sameKeys(t))
	b, tok := w.tokens("web", "prompt", "")
	b.allow(b.begin(request("web")), "remember", "1")
	genuine := tok.str("id_token")
	forged := forgeries(t, w, genuine)
	forged["an access token"] = tok.str("access_token")
	forged["a refresh token"] = tok.str("refresh_token")
	_, other := w.tokens("post", "scope", "openid")
	forged["another client's"] = other.str("id_token")
	foreign := newWorld(t)
	_, theirs := foreign.tokens("web")
	forged["another issuer's"] = theirs.str("id_token")
	for name, hint := range forged {
		t.Run("A91 "+name, func(t *testing.T) {
			w.in(t).browser().get("/authorize?"+request("web", "prompt", "none", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			b.in(t).get("/authorize?"+request("web", "prompt", "none", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			b.in(t).get("/authorize?"+request("web", "id_token_hint", hint).Encode()).refusedAt(webRedirect, "invalid_request")
			w.in(t).pushAs(request("web", "id_token_hint", hint)).wantError(400, "invalid_request")
		})
	}
	t.Run("A91 another issuer's with the same keys", func(t *testing.T) {
		// Keys of a KMS may serve several issuers; iss tells their tokens apart.
		b.in(t).get("/authorize?"+request("web", "prompt", "none", "id_token_hint", twin(t, w)).Encode()).refusedAt(webRedirect, "invalid_request")
	})
	t.Run("A91 genuine without a session", func(t *testing.T) {
		w.in(t).browser().get("/authorize?"+request("web", "prompt", "none", "id_token_hint", genuine).Encode()).refusedAt(webRedirect, "login_required")
	})
	t.Run("A91 genuine of another user", func(t *testing.T) {
		bob := w.in(t).browser()
		w.in(t).redeem("web", bob.code(request("web"), "bob")).want(200)
		bob.get("/authorize?"+request("web", "prompt", "none", "id_token_hint", genuine).Encode()).refusedAt(webRedirect, "login_required")
		bob.get("/authorize?"+request("web", "prompt", "none", "claims", `{"id_token":{"sub":{"value":"sub-alice"}}}`).Encode()).refusedAt(webRedirect, "login_required")
	})
	t.Run("A91 genuine, control", func(t *testing.T) {
		for _, age := range []time.Duration{0, 11 * time.Minute} { // a hint may be expired
			w.clock.add(age)
			if _, q := b.in(t).begin(request("web", "prompt", "none", "id_token_hint", genuine)).location(); q.Get("code") == "" {
				t.Errorf("no code: %v", q)
			}
		}
	})
}

func TestAttackA93_Oversized(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	huge := strings.Repeat("x", 256<<10)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("p%d=1", i))
	}
	for _, tc := range []struct {
		name   string
		res    func(b *browser) response
		status int
	}{
		{"state of 256 KiB", func(b *browser) response { return b.get("/authorize?" + request("web", "state", huge).Encode()) }, 413},
		{"query of 300 KiB", func(b *browser) response {
			return b.get("/authorize?" + with(request("web"), "pad="+huge+huge[:44<<10]))
		}, 413},
		{"query of 9 KiB", func(b *browser) response { return b.get("/authorize?" + with(request("web"), "pad="+huge[:9<<10])) }, 413},
		{"state of 256 KiB by POST", func(b *browser) response { return b.post("/authorize", request("web", "state", huge)) }, 413},
		{"state of 256 KiB to PAR", func(b *browser) response { return b.w.pushAs(request("web", "state", huge)) }, 413},
		{"100 parameters", func(b *browser) response { return b.get("/authorize?" + with(request("web"), strings.Join(many, "&"))) }, 400},
		{"100 parameters by POST", func(b *browser) response {
			return b.send("POST", "/authorize", with(request("web"), strings.Join(many, "&")))
		}, 400},
		{"a long name", func(b *browser) response { return b.get("/authorize?" + with(request("web"), huge[:200]+"=1")) }, 400},
		{"interaction of 7 KiB", func(b *browser) response { return b.get("/login?interaction=" + huge[:7<<10]) }, 400},
		{"interaction of 256 KiB", func(b *browser) response { return b.get("/consent?interaction=" + huge) }, 413},
		{"logout state of 256 KiB", func(b *browser) response { return b.get("/logout?state=" + huge) }, 413},
		{"logout POST of 256 KiB", func(b *browser) response { return b.post("/logout", url.Values{"state": {huge}}) }, 413},
		{"compressed", func(b *browser) response {
			return b.send("POST", "/authorize", request("web").Encode(), "Content-Encoding", "gzip")
		}, 415},
		{"multipart", func(b *browser) response {
			return b.send("POST", "/authorize", request("web").Encode(), "Content-Type", "multipart/form-data; boundary=x")
		}, 415},
		{"JSON", func(b *browser) response {
			return b.send("POST", "/authorize", "{}", "Content-Type", "application/json")
		}, 415},
	} {
		t.Run("A93 "+tc.name, func(t *testing.T) {
			res := tc.res(b.in(t)).want(tc.status)
			if res.Header.Get("Location") != "" || len(res.body) > 16<<10 {
				t.Errorf("Location %q, body of %d bytes", res.Header.Get("Location"), len(res.body))
			}
		})
	}
	t.Run("A93 alive", func(t *testing.T) {
		w := w.in(t)
		w.redeem("web", b.in(t).code(request("web"), "alice")).want(200)
	})
	t.Run("A93 a login form of 256 KiB", func(t *testing.T) {
		b := w.in(t).browser()
		u, _ := b.begin(request("web")).location()
		res := b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()))}, "do": {"login"}, "username": {huge}, "password": {huge}})
		res.refusedPage()
	})
}

func TestAttackA96_BrokenEncodings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "prompt", "claims", "login_hint",
		"ui_locales", "request_uri", "id_token_hint", "authorization_details", "x_unknown",
	} {
		for _, v := range []string{
			"%00", "a%00b", "%ff", "%c0%af", "%ed%a0%80", "%f4%90%80%80", "%zz", "%", "%4", "%u0041", "\xff", "%E2%82", "a%",
		} {
			t.Run("A96 "+name+" "+url.QueryEscape(v), func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				query := with(request("web", name, ""), name+"="+v)
				b.get("/authorize?" + query).refusedPage()
				b.send("POST", "/authorize", query).refusedPage()
				w.in(t).browser().send("POST", "/par", query, "Authorization", basic("web", webSecret)).wantError(400, "invalid_request")
			})
		}
	}
	for _, target := range []string{
		"/login?interaction=%00", "/login?interaction=%ff", "/consent?interaction=%zz", "/login?%zz", "/logout?state=%00", "/logout?id_token_hint=%ff",
		"/logout?client_id=%00", "/login?interaction=ix_%2e%2e%2f", "/login?interaction=ix_" + strings.Repeat("A", 51), "/login?interaction=a&interaction=b",
		"/login", "/consent", "/login?interaction=", "/login?interaction=ac_" + strings.Repeat("A", 51),
	} {
		t.Run("A96 "+target, func(t *testing.T) { b.in(t).get(target).refusedPage() })
	}
	t.Run("A96 cookies", func(t *testing.T) {
		b := b.in(t)
		names := b.cookies()
		for _, v := range []string{"", "x", "se_", "se_" + strings.Repeat("A", 22) + "." + strings.Repeat("A", 43), "se_" + strings.Repeat("=", 66), strings.Repeat("A", 43), strings.Repeat("A", 4000), "%00", `"q"`} {
			for _, c := range names {
				w.in(t).getWith("/authorize?"+request("web", "prompt", "none").Encode(), "Cookie", c.Name+"="+v).refusedAt(webRedirect, "login_required")
			}
		}
	})
}

// TestAttackA96_LineFeedsInHandles: Go's base64 skips line feeds, so a handle of
// the right length may decode to less, and a longer one to the same.
func TestAttackA96_LineFeedsInHandles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, tok := w.tokens("native")
	rt, at := tok.str("refresh_token"), tok.str("access_token")
	code := w.victim("native").code(request("native"), "alice")
	uri := w.push(request("spa"))
	for _, lf := range []string{"\n", "\r", "\r\n"} {
		within := func(s string, at, n int) string { // the same length
			return s[:at] + strings.Repeat(lf, n) + s[at+n*len(lf):]
		}
		beside := func(s string) []string {
			return []string{within(s, len(s)-20, 4), within(s, len(s)-48, 20), s[:len(s)-9] + lf + s[len(s)-9:], s + lf, lf + s}
		}
		for n, s := range beside(rt) {
			t.Run(fmt.Sprintf("A96 refresh token %q %d", lf, n), func(t *testing.T) {
				w.in(t).refresh("native", s).wantError(400, "invalid_grant")
				w.in(t).revokeToken("native", s).want(200)
			})
		}
		for n, s := range beside(at) {
			t.Run(fmt.Sprintf("A96 access token %q %d", lf, n), func(t *testing.T) {
				w.in(t).call("/userinfo", url.Values{"access_token": {s}}).want(401)
				w.in(t).revokeToken("native", s).want(200)
			})
		}
		for n, s := range beside(code) {
			t.Run(fmt.Sprintf("A96 code %q %d", lf, n), func(t *testing.T) {
				w.in(t).redeem("native", s).wantError(400, "invalid_grant")
			})
		}
		for n, s := range beside(uri) {
			t.Run(fmt.Sprintf("A96 request_uri %q %d", lf, n), func(t *testing.T) {
				w.in(t).browser().get("/authorize?" + url.Values{"client_id": {"spa"}, "request_uri": {s}}.Encode()).refusedPage()
			})
		}
	}
	w.userinfo(at).want(200) // what was revoked was another spelling
	w.redeem("native", code).want(200)
	w.refresh("native", rt).want(200)
}

func TestAttackA97_ErrorPagesEscape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, payload := range []string{markup, `<img src=x onerror=alert(1)>`, `'-alert(1)-'`, "{{alert(1)}}", `javascript:alert(1)`, "\u2028<svg/onload=alert(1)>", "＜script＞alert(1)"} {
		for _, name := range []string{
			"client_id", "redirect_uri", "response_type", "response_mode", "scope", "prompt", "nonce", "code_challenge_method", "max_age", "ui_locales",
			"request", "request_uri", "claims", "id_token_hint", "resource", "authorization_details", "registration", payload,
		} {
			t.Run("A97 "+name+" "+payload, func(t *testing.T) {
				t.Parallel()
				b := b.in(t)
				for _, res := range []response{
					b.get("/authorize?" + request("web", name, payload).Encode()),
					b.get("/authorize?" + request("web", name, payload, "client_id", "nobody"+payload).Encode()),
					b.get("/authorize?" + request("web", name, payload, "response_mode", "form_post").Encode()),
					b.post("/authorize", request("web", name, payload, "redirect_uri", "https://evil.example")),
					b.get("/login?" + url.Values{name: {payload}, "interaction": {payload}}.Encode()),
				} {
					res.harmless()
					if strings.Contains(res.body, payload) || strings.Contains(res.body, "alert(1)") {
						t.Errorf("%s: the page holds the input: %.200s", res.Request.URL, res.body)
					}
				}
			})
		}
	}
}

func TestAttackA98_LoginHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, payload := range []string{
		markup, `" autofocus onfocus=alert(1) x="`, `'><svg onload=alert(1)>`, "</input><script>alert(1)</script>", "&quot;&gt;&lt;script&gt;", "<!--", "\u202ecod.exe", "{{.CSRF}}",
	} {
		for _, name := range []string{"login_hint", "ui_locales", "acr_values", "display", "claims_locales"} {
			t.Run("A98 "+name+" "+payload, func(t *testing.T) {
				b := w.in(t).browser()
				for _, client := range []string{"web", "spa"} {
					u, _ := b.begin(request(client, name, payload)).location()
					page := b.get(u.String()).want(200)
					noMarkup(t, page, payload)
					if name == "login_hint" && strings.Contains(payload, "script") && !strings.Contains(page.body, "script") {
						t.Error("the hint is not shown at all: nothing was tested")
					}
					// Typed by hand it comes back the same way.
					again := b.post(u.String(), url.Values{"csrf": {csrf(page)}, "do": {"login"}, "username": {payload}, "password": {"x"}}).want(200)
					noMarkup(t, again, payload)
				}
			})
		}
	}
}

// noMarkup fails if a page of the kit holds script or a stranger's markup.
func noMarkup(t testing.TB, page response, payload string) {
	t.Helper()
	if strings.ContainsAny(payload, `<>"'`) && strings.Contains(page.body, payload) {
		t.Errorf("the page holds %q as it is", payload)
	}
	for _, s := range []string{"<script", "<svg onload", "<img", " onfocus=", " onload=", " onerror=", "javascript:", "\u202e", "<!--"} {
		if strings.Contains(strings.ReplaceAll(page.body, html.EscapeString(payload), ""), s) {
			t.Errorf("the page holds %q", s)
		}
	}
	page.harmless()
	if strings.Contains(policy(t, page)["script-src"]+policy(t, page)["default-src"], "unsafe") {
		t.Errorf("policy %v", policy(t, page))
	}
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", page.Header.Get("Content-Type"))
	}
}
