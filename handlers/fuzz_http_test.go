package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// FuzzTokenBody: whatever the body of a token request is, the answer is a JSON
// error of the catalogue that nobody may store, and nothing is written.
func FuzzTokenBody(f *testing.F) {
	for _, s := range []string{
		"grant_type=authorization_code&code=ac_AAAA&client_id=c", "grant_type=refresh_token&refresh_token=rt_AAAA&client_id=c&scope=a+b",
		"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=dc_A&client_id=c", "grant_type=password&username=a&password=b",
		"client_id=c&client_id=d", "%", "a=b;c=d", "\x00=\xff", "grant_type=client_credentials&client_id=c&client_secret=x", "authorization_details=[]&grant_type=refresh_token&client_id=c",
	} {
		f.Add(s, "application/x-www-form-urlencoded", "")
	}
	f.Add("{}", "application/json", "Basic Yzp4")
	p := bench(f)
	watched := &lastCommit{Storage: memory.New()}
	p.store = watched
	f.Fuzz(func(t *testing.T, body, contentType, auth string) {
		r := httptest.NewRequest("POST", "/token", strings.NewReader(body))
		r.Header["Content-Type"], r.Header["Authorization"] = []string{contentType}, []string{auth}
		w := httptest.NewRecorder()
		p.Token().ServeHTTP(w, r)
		var e struct {
			Code string `json:"error"`
		}
		if w.Code < 400 || w.Code > 499 || json.Unmarshal(w.Body.Bytes(), &e) != nil || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%q: %d %s %v", body, w.Code, w.Body, w.Header())
		}
		known := false
		for _, c := range reasons {
			known = known || c.code == e.Code
		}
		if !known || watched.n != 0 {
			t.Fatalf("%q: error %q, %d commits", body, e.Code, watched.n)
		}
	})
}

// lastCommit counts what is written.
type lastCommit struct {
	storage.Storage
	n int
}

func (s *lastCommit) Commit(ctx context.Context, ops ...storage.Op) error {
	s.n++
	return s.Storage.Commit(ctx, ops...)
}

// FuzzAuthorizeURL: whatever the query and the cookies are, no browser without a
// session gets a code, and it is led nowhere but to the client's redirect URI or
// to a page of ours.
func FuzzAuthorizeURL(f *testing.F) {
	good := "client_id=c&response_type=code&redirect_uri=https%3A%2F%2Fc.example%2Fcb&scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=x"
	for _, s := range []string{
		good, good + "&prompt=none", good + "&response_mode=fragment", good + "&response_mode=form_post&prompt=none", good + "&request=a.b.c", good + "&claims=%7B%7D",
		"client_id=c&redirect_uri=https://c.example/cb.evil.example", "client_id=c&request_uri=urn:ietf:params:oauth:request_uri:AAAA", good + "&redirect_uri=https://evil.example",
		"client_id=c&redirect_uri=https://c.example%2fcb&response_type=token", good + "&state=%0d%0aLocation:%20https://evil.example",
	} {
		f.Add(s, "__Host-idp-00000000-session=se_A")
	}
	f.Fuzz(func(t *testing.T, query, cookie string) {
		p := bench(t) // what it stores must not pile up
		r := &http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: "id.example", Path: "/authorize", RawQuery: query}, Host: "id.example", Header: http.Header{"Cookie": {cookie}}, RemoteAddr: "192.0.2.1:1"}
		w := httptest.NewRecorder()
		p.Authorize().ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
		to := w.Header().Get("Location")
		if to == "" {
			return
		}
		u, err := url.Parse(to)
		if err != nil || strings.ContainsAny(to, "\r\n") {
			t.Fatalf("%q: Location %q", query, to)
		}
		ours := u.Host == "" && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") || u.Scheme == "https" && u.Host == "id.example"
		answer := u.Query()
		if u.Fragment != "" {
			answer, _ = url.ParseQuery(u.EscapedFragment())
		}
		client := strings.HasPrefix(to, "https://c.example/cb?") || strings.HasPrefix(to, "https://c.example/cb#")
		if !ours && !client || answer.Has("code") || client && (answer.Get("error") == "" || answer.Get("iss") != "https://id.example") {
			t.Fatalf("%q leads to %q", query, to)
		}
	})
}

// FuzzRequestToken: an access token comes from the header or the body, never
// from the query or from two places, and as it was sent.
func FuzzRequestToken(f *testing.F) {
	f.Add("Bearer abc", "", "")
	f.Add("bearer abc", "access_token=abc", "")
	f.Add("", "access_token=abc", "x=1")
	f.Add("", "", "access_token=abc")
	f.Add("Bearer  a b", "access_token=&access_token=b", "%61ccess_token=x")
	f.Fuzz(func(t *testing.T, header, body, query string) {
		r := httptest.NewRequest("POST", "/userinfo", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Authorization"] = []string{header}
		token, err := requestToken(r)
		if err != nil {
			if e := toError(err); token != "" || e.Code != "invalid_request" && e.Code != "invalid_token" {
				t.Fatalf("%q and %v", token, err)
			}
			return
		}
		inBody, _ := form.ParseQuery(body)
		fromHeader, fromBody := strings.HasSuffix(header, token) && len(header) > len(token), inBody.Get("access_token") == token
		q, _ := url.ParseQuery(query)
		if token == "" || !fromHeader && !fromBody || q.Get("access_token") != "" {
			t.Fatalf("token %q from %q, %q, %q", token, header, body, query)
		}
	})
}

// FuzzNarrowScope: what comes out lies within what was granted, and is what was
// asked for.
func FuzzNarrowScope(f *testing.F) {
	f.Add("openid profile offline_access", "openid")
	f.Add("openid", "openid openid\tprofile")
	f.Add("a", " ")
	f.Add("", "a")
	f.Fuzz(func(t *testing.T, granted, asked string) {
		g := strings.Fields(granted)
		scope, err := narrowScope(g, asked)
		wider := slices.ContainsFunc(strings.Fields(asked), func(s string) bool { return !slices.Contains(g, s) })
		if (err != nil) != wider {
			t.Fatalf("%q of %q: %v", asked, granted, err)
		}
		want := strings.Fields(asked)
		if asked == "" {
			want = g
		}
		if err == nil && !slices.Equal(scope, want) {
			t.Fatalf("%q of %q became %q", asked, granted, scope)
		}
	})
}

// FuzzClaimsParameter: what is kept of a claims parameter are claims that a
// scope of the client offers, or that the kit itself sets, and reads back the
// same from a record.
func FuzzClaimsParameter(f *testing.F) {
	for _, s := range []string{
		`{"userinfo":{"name":null,"email":{"essential":true}},"id_token":{"auth_time":{"essential":true},"acr":{"values":["a","b"]},"sub":{"value":"x"}}}`,
		`{"id_token":{"sub":{"value":1}}}`, `{"userinfo":[]}`, `{"userinfo":{"password_hash":null,"name":{"essential":"yes"}}}`, `{"USERINFO":{"name":null}}`, `{"x":{}}`, `null`, `{"id_token":null}`,
	} {
		f.Add(s)
	}
	p := bench(f)
	c := &clientreg.Client{ID: "c", Scope: "openid profile"}
	may := map[string]bool{}
	for _, s := range c.ScopeList() {
		for _, n := range p.scope(s).Claims {
			may[n] = true
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		fm, err := form.ParseQuery(url.Values{"claims": {raw}}.Encode())
		if err != nil {
			return
		}
		var q authRequest
		if err := p.checkClaims(context.Background(), c, fm, &q); err != nil {
			if e := toError(err); e.Status() >= 500 {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		for _, use := range []ClaimsUse{ForIDToken, ForUserInfo} {
			for _, n := range q.Claims.names(use) {
				if !may[n] && !protectedClaim(n) {
					t.Fatalf("%q: %q is kept", raw, n)
				}
			}
		}
		b, err := json.Marshal(q.Claims)
		if err != nil {
			t.Fatal(err)
		}
		var back *claimsParameter
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); string(again) != string(b) {
			t.Fatalf("%s became %s", b, again)
		}
	})
}

// FuzzSignedAccess: a JWT access token opens only when it says what was signed,
// and an ID token never does. RFC 9068 §4.
func FuzzSignedAccess(f *testing.F) {
	p := bench(f)
	p.cfg.APIs = []API{{Identifier: "https://api.example", Format: "jwt"}}
	ctx := context.Background()
	g := &grant{rec: &storage.Record{Ref: grantRef(7, "AAAAAAAAAAAAAAAAAAAAAA"), Subject: "s", Client: "c"}}
	good, err := p.mintAccess(ctx, g, []string{"openid"}, []string{"https://api.example"}, nil, p.now())
	if err != nil {
		f.Fatal(err)
	}
	want, ok, err := p.openAccess(ctx, good)
	if !ok || err != nil {
		f.Fatal(ok, err)
	}
	c, err := p.client(ctx, "c")
	if err != nil {
		f.Fatal(err)
	}
	id, err := p.idToken(ctx, g, issue{client: c}, good, p.now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(id)
	f.Add(good[:len(good)-2])
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(good, ".")[1] + ".")
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok, err := p.openAccess(ctx, raw)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := mustJSON(t, got), mustJSON(t, want); ok && a != b {
			t.Fatalf("%q opens to %s", raw, a)
		}
	})
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
