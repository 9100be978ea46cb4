package handlers

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

type nobody struct{}

func (nobody) Claims(context.Context, string, ClaimsQuery) (map[string]any, error) { return nil, nil }
func (nobody) VerifyPassword(context.Context, string, string) (Login, error) {
	return Login{}, ErrWrongPassword
}

// zeros is a source of no randomness: the fuzzer's processes must all mint the
// same values.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// bench is a provider for tests from inside, without a server.
func bench(tb testing.TB) *Provider {
	tb.Helper()
	clients, err := clientreg.Static(clientreg.Client{
		ID: "c", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://c.example/cb"}, Scope: "openid profile",
	})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := New(Config{
		Issuer: "https://id.example", Storage: memory.New(), Clients: clients, Users: nobody{},
		Secrets: [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 2)}, SigningAlgs: []string{"ES256"},
		Rand: zeros{}, Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// FuzzClientAuthentication: whatever the header and the body, readCredentials
// returns one method with an id, or a refusal; and good credentials come back
// as they went in.
func FuzzClientAuthentication(f *testing.F) {
	f.Add("Basic YTpi", "client_id=a", "id", "secret")
	f.Add("Basic", "client_secret=x&client_id=y", "a:b", "p+q %")
	f.Add("basic  Og==", "client_assertion=x", "é", "%41")
	f.Fuzz(func(t *testing.T, header, body, id, secret string) {
		r := httptest.NewRequest("POST", "/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Authorization"] = []string{header}
		fm, err := form.ParseBody(r)
		if err != nil {
			return
		}
		c, err := readCredentials(r, fm)
		if err == nil && (len(c.ids) == 0 || c.ids[0] == "" || c.method == "" || c.method != "none" && len(c.secret) != len(c.ids)) {
			t.Fatalf("half credentials: %+v", c)
		}
		if err != nil && toError(err).Status() >= 500 {
			t.Fatalf("a fault for input: %v", err)
		}
		if id == "" || secret == "" || len(id)+len(secret) > 500 {
			return
		}
		for _, enc := range []string{url.QueryEscape(id) + ":" + url.QueryEscape(secret)} {
			c, err := parseBasic("Basic " + base64.StdEncoding.EncodeToString([]byte(enc)))
			if err != nil {
				t.Fatalf("%q: %v", enc, err)
			}
			if c.ids[len(c.ids)-1] != id || c.secret[len(c.secret)-1] != secret {
				t.Fatalf("%q became %+v", enc, c)
			}
		}
	})
}

// FuzzRequestParameters: whatever is asked, the answer is a request within what
// the client may ask, or a refusal that is no fault of ours.
func FuzzRequestParameters(f *testing.F) {
	p := bench(f)
	c, err := p.client(context.Background(), "c")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("response_type=code&redirect_uri=https://c.example/cb&scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=x")
	f.Add("scope=openid+admin&claims={\"id_token\":{\"sub\":{\"value\":1}}}&max_age=-1&prompt=none+login")
	f.Add("authorization_details=[{}]&resource=a&id_token_hint=a.b.c&response_mode=form_post")
	f.Fuzz(func(t *testing.T, query string) {
		fm, err := form.ParseQuery(query)
		if err != nil {
			return
		}
		to, err := proveRedirect(c, fm)
		if err != nil {
			return
		}
		if to.uri != "https://c.example/cb" {
			t.Fatalf("proved %q", to.uri)
		}
		q, err := p.readRequest(context.Background(), c, to, fm)
		if err != nil {
			if e := toError(err); e.Status() >= 500 || e.Reason == "" {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		if q.Challenge == "" || !within(q.Scope, []string{"openid", "profile"}) || q.RedirectURI != to.uri || q.ClientID != "c" ||
			fm.Get("response_type") != "code" || len(q.Prompt) > 1 && q.prompt("none") {
			t.Fatalf("accepted %+v", q)
		}
	})
}

// FuzzSessionCookie: only what sessionCookie writes parses, in one spelling.
func FuzzSessionCookie(f *testing.F) {
	f.Add(sessionCookie("AAAAAAAAAAAAAAAAAAAAAA", make([]byte, sessionSecretBytes)))
	f.Add("se_.")
	f.Fuzz(func(t *testing.T, v string) {
		key, secret, ok := parseSessionCookie(v)
		if !ok {
			return
		}
		if got := sessionCookie(key, secret); got != v {
			t.Fatalf("%q parses like %q", v, got)
		}
	})
}

// FuzzSealedToken: nothing opens but what was sealed, byte for byte.
func FuzzSealedToken(f *testing.F) {
	p := bench(f)
	g := &grant{rec: &storage.Record{Ref: grantRef(7, "AAAAAAAAAAAAAAAAAAAAAA")}}
	good, err := p.mintAccess(context.Background(), g, []string{"openid"}, []string{"https://id.example"}, nil, p.now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good + "A")
	f.Add(handle.Access + strings.ReplaceAll(good[3:], "A", "\n"))
	f.Fuzz(func(t *testing.T, raw string) {
		if tok, ok, _ := p.openAccess(context.Background(), raw); ok && raw != good {
			t.Fatalf("%q opens to %+v", raw, tok)
		}
	})
}

// FuzzRefreshToken: nothing has our MAC but what we minted.
func FuzzRefreshToken(f *testing.F) {
	p := bench(f)
	good, err := p.newRefresh(grantRef(7, "AAAAAAAAAAAAAAAAAAAAAA"), 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1] + "_")
	f.Add("rt_" + strings.Repeat("\n", len(good)-3))
	f.Fuzz(func(t *testing.T, raw string) {
		if tok, ok := p.parseRefresh(raw); ok && tok.real && raw != good {
			t.Fatalf("%q is real", raw)
		}
	})
}

// FuzzGrantName: a grant's public name parses in one spelling.
func FuzzGrantName(f *testing.F) {
	f.Add(grantName(grantRef(513, "key")))
	f.Add("AAB.")
	f.Fuzz(func(t *testing.T, s string) {
		if ref, ok := parseGrantName(s); ok && grantName(ref) != s {
			t.Fatalf("%q parses like %q", s, grantName(ref))
		}
	})
}

// FuzzAuthorizationDetails: what parses is a list of objects within the limits.
func FuzzAuthorizationDetails(f *testing.F) {
	f.Add(`[{"type":"a","x":[1,2]}]`)
	f.Add(`[[]]`)
	f.Fuzz(func(t *testing.T, raw string) {
		details, err := parseDetails(raw)
		if err == nil && (len(details) == 0 || len(details) > maxDetails) {
			t.Fatalf("%d details", len(details))
		}
		for _, d := range details {
			if d[0] != '{' {
				t.Fatalf("%s is no object", d)
			}
		}
	})
}

// FuzzWithParams: an answer's parameters come back from the URL, and the
// registered part of it keeps its bytes.
func FuzzWithParams(f *testing.F) {
	f.Add("https://c.example/cb", "query", "a b&c=d#e")
	f.Add("https://c.example/cb?x=1", "fragment", "é\"<")
	f.Fuzz(func(t *testing.T, uri, mode, state string) {
		u, err := url.Parse(uri)
		if err != nil || u.Fragment != "" || strings.Contains(uri, "#") || !validText(uri, 2000) || u.Scheme == "" {
			return
		}
		got := withParams(reply{uri: uri, mode: mode}, [][2]string{{"state", state}, {"iss", "https://id.example"}})
		if !strings.HasPrefix(got, uri) {
			t.Fatalf("%q became %q", uri, got)
		}
		rest := got[len(uri)+1:]
		v, err := url.ParseQuery(rest)
		if err != nil || v.Get("state") != state || v.Get("iss") != "https://id.example" || len(v) != 2 {
			t.Fatalf("%q: %v %v", got, v, err)
		}
	})
}

// FuzzReadAssertion: whatever stands in for an assertion, its client is named or
// the request is refused without a fault; and checking it never succeeds.
func FuzzReadAssertion(f *testing.F) {
	f.Add("", "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJjIiwic3ViIjoiYyJ9.AA")
	f.Add("c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjIn0.AA")
	f.Add("c", "..")
	p := bench(f)
	keys := []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	c := &clientreg.Client{ID: "c", TokenEndpointAuthMethod: "private_key_jwt", JWKS: keys}
	f.Fuzz(func(t *testing.T, id, assertion string) {
		body := url.Values{"client_id": {id}, "client_assertion": {assertion}, "client_assertion_type": {assertionType}}.Encode()
		r := httptest.NewRequest("POST", "/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		fm, err := form.ParseBody(r)
		if err != nil {
			return
		}
		cred, err := readCredentials(r, fm)
		switch {
		case err != nil && toError(err).Code != "invalid_client" && assertion != "" && !strings.ContainsRune(assertion, 0):
			t.Fatalf("refused as %v", err)
		case err != nil:
			return
		case assertion != "" && (len(cred.ids) != 1 || cred.ids[0] == "" || cred.method != "private_key_jwt" || id != "" && cred.ids[0] != id):
			t.Fatalf("half credentials: %+v", cred)
		}
		if err := p.checkAssertion(r.Context(), r, c, assertion); err == nil || toError(err).Code != "invalid_client" {
			t.Fatalf("an assertion that nobody signed: %v", err)
		}
	})
}
