package handlers_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
)

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
