package handlers_test

import (
	"encoding/base64"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
)

// unsigned is a request object without a signature.
func unsigned(header, payload string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "."
}

// TestAttackO_request: request objects are not supported, and are refused by
// name rather than ignored. OpenID Connect Core §3.1.2.6, RFC 9101 §6.
func TestAttackO_request(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quick()
	b := w.signedIn("web") // whatever gets through gets its code at once
	for _, c := range []struct{ name, object string }{
		{"O01 unsigned", unsigned(`{"alg":"none"}`, `{"client_id":"web","redirect_uri":"https://evil.example/cb"}`)},
		{"O02 foreign key", unsigned(`{"alg":"ES256","kid":"x"}`, `{"client_id":"web"}`) + "c2ln"},
		{"O04 embedded jwk", unsigned(`{"alg":"ES256","jwk":{"kty":"EC"}}`, `{"client_id":"web"}`) + "c2ln"},
		{"O05 expired", unsigned(`{"alg":"ES256"}`, `{"client_id":"web","exp":1}`) + "c2ln"},
		{"O06 audience of another server", unsigned(`{"alg":"ES256"}`, `{"aud":"https://evil.example"}`) + "c2ln"},
		{"O07 issuer of another client", unsigned(`{"alg":"ES256"}`, `{"iss":"spa"}`) + "c2ln"},
		{"O08 another client_id inside", unsigned(`{"alg":"ES256"}`, `{"client_id":"spa"}`) + "c2ln"},
		{"O09 nested request", unsigned(`{"alg":"ES256"}`, `{"request":"e30.e30."}`) + "c2ln"},
		{"O15 other parameters inside", unsigned(`{"alg":"ES256"}`, `{"scope":"openid","redirect_uri":"https://web.example/cb?x=1","state":"inner"}`) + "c2ln"},
		{"O10 encrypted", "e30.e30.e30.e30.e30"},
		{"O11 garbage", "<script>alert(1)</script>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, b := w.in(t), b.in(t)
			q := b.get("/authorize?"+request("web", "request", c.object).Encode()).clean().wantRedirectError(webRedirect+"?error", "request_not_supported")
			if q.Get("state") != "state-1" || q.Get("iss") != w.issuer {
				t.Errorf("%v", q)
			}
			b.post("/authorize", request("web", "request", c.object)).clean().wantRedirectError(webRedirect+"?error", "request_not_supported")
			// Without what only the object would hold there is nowhere to answer.
			b.get("/authorize?" + request("web", "request", c.object, "redirect_uri", "").Encode()).clean().wantPage()
			form, header := auth("web")
			form.Set("request", c.object)
			w.call("/par", form, header...).clean().wantError(400, "invalid_request") // no redirect_uri outside
			form = request("web", "request", c.object, "client_id", "")
			w.call("/par", form, header...).clean().wantError(400, "request_not_supported")
		})
	}
	// The refusal reaches a client that put everything into the object.
	for _, c := range []struct {
		name, payload, state string
		kv                   []string
		form                 bool
	}{
		{"state and mode inside", `{"state":"inner","response_mode":"form_post"}`, "inner", []string{"state", ""}, true},
		{"the mode inside", `{"state":"inner","response_mode":"form_post"}`, "state-1", nil, true},
		{"what is outside comes first", `{"state":"inner","response_mode":"form_post"}`, "state-1", []string{"response_mode", "query"}, false},
		{"another mode", `{"state":"inner","response_mode":"cookie"}`, "inner", []string{"state", ""}, false},
		{"control characters", `{"state":"a\u0000b","response_mode":"query\n"}`, "", []string{"state", ""}, false},
		{"a long state", `{"state":"` + strings.Repeat("s", 1<<10+1) + `"}`, "", []string{"state", ""}, false},
		{"other types", `{"state":1,"response_mode":["form_post"]}`, "", []string{"state", ""}, false},
		{"twice", `{"state":"a","state":"b","response_mode":"form_post"}`, "", []string{"state", ""}, false},
		{"markup", `{"state":"\"><script>alert(1)</script>","response_mode":"form_post"}`, `"><script>alert(1)</script>`, []string{"state", ""}, true},
		{"deep", `{"state":"a","x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, "", []string{"state", ""}, false},
	} {
		t.Run("O15 "+c.name, func(t *testing.T) {
			out := b.in(t).get("/authorize?" + request("web", append(c.kv, "request", unsigned(`{"alg":"none"}`, c.payload))...).Encode()).clean()
			if c.form {
				state := html.EscapeString(c.state)
				if out.StatusCode != 200 || !strings.Contains(out.body, `value="request_not_supported"`) || !strings.Contains(out.body, `value="`+state+`"`) {
					t.Fatalf("status %d, want a form with %s:\n%s", out.StatusCode, state, out.body)
				}
				return
			}
			if q := out.wantRedirectError(webRedirect+"?error", "request_not_supported"); q.Get("state") != c.state {
				t.Errorf("state %q, want %q", q.Get("state"), c.state)
			}
		})
	}
	t.Run("O12 registration parameter", func(t *testing.T) {
		b.in(t).get("/authorize?"+request("web", "registration", "{}").Encode()).clean().wantRedirectError(webRedirect+"?error", "registration_not_supported")
	})
	t.Run("O16 request and request_uri together", func(t *testing.T) {
		b := b.in(t)
		b.get("/authorize?"+request("web", "request", "e30.e30.", "request_uri", "https://web.example/r").Encode()).clean().wantRedirectError(webRedirect+"?error", "invalid_request")
		uri := w.in(t).push(request("web"))
		b.get("/authorize?" + request("web", "request", "e30.e30.", "request_uri", uri).Encode()).clean().wantPage()
		if _, q := b.get("/authorize?" + url.Values{"client_id": {"web"}, "request_uri": {uri}}.Encode()).location(); q.Get("code") == "" {
			t.Error("the refused request spent the reference")
		}
	})
}

// TestAttackO17_H13_noFetch: a request_uri is never fetched, nor any URL of a
// client. RFC 9101 §10.4.
func TestAttackO17_H13_noFetch(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer trap.Close()
	_, port, err := net.SplitHostPort(trap.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.quick()
	w.clients.change("web", func(c *clientreg.Client) {
		c.JWKSURI, c.LogoURI, c.ClientURI, c.SectorIdentifierURI = trap.URL+"/jwks", trap.URL+"/logo", trap.URL, trap.URL+"/sector"
		c.RequestURIs = []string{trap.URL + "/r"}
	})
	b := w.signedIn("web")
	for _, uri := range []string{
		trap.URL + "/r", trap.URL + "/x", "http://localhost:" + port + "/r", "http://[::1]:" + port + "/r", "http://0.0.0.0:" + port + "/r", "http://2130706433:" + port,
		"http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "gopher://127.0.0.1:" + port + "/x", "https://evil.example/r.jwt",
		"//evil.example", "urn:example:x", "urn:ietf:params:oauth:request_uri", "javascript:alert(1)", "data:,x", "x", " ",
	} {
		b.get("/authorize?"+request("web", "request_uri", uri).Encode()).clean().wantRedirectError(webRedirect+"?error", "request_uri_not_supported")
		b.get("/authorize?" + url.Values{"client_id": {"web"}, "request_uri": {uri}}.Encode()).clean().wantPage()
	}
	b.get("/authorize?" + request("web", "request_uri", "urn:ietf:params:oauth:request_uri:x").Encode()).clean().wantPage()
	b.begin(request("web", "prompt", "consent")).want(303)
	w.refresh("web", b.issue("web", "prompt", "").str("access_token")).wantError(400, "invalid_grant")
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went out", n)
	}
	w.alive()
}
