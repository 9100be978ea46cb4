package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/internal/jose"
	"github.com/idpkit/idpkit/storage"
)

// TestAccessTokenType: nothing but at+jwt is an access token, even with the
// claims of one under our own signature. RFC 9068 §4, RFC 8725 §3.11.
func TestAccessTokenType(t *testing.T) {
	t.Parallel()
	p, ctx := bench(t), context.Background()
	p.cfg.APIs = []API{{Identifier: "https://api.example", Format: "jwt"}}
	g := &grant{rec: &storage.Record{Ref: grantRef(7, "AAAAAAAAAAAAAAAAAAAAAA"), Subject: "s", Client: "c"}}
	good, err := p.mintAccess(ctx, g, []string{"openid"}, []string{"https://api.example"}, nil, p.now())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	key, err := p.keys.Signer(ctx, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	for typ, want := range map[string]bool{"at+jwt": true, "application/at+jwt": true, "JWT": false, "": false, "logout+jwt": false, "client-authentication+jwt": false} {
		raw, err := jose.Sign(ctx, jose.Header{Alg: "ES256", KeyID: key.ID, Type: typ}, key.Signer, claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := p.openAccess(ctx, raw); ok != want || err != nil {
			t.Errorf("typ %q opens: %v %v", typ, ok, err)
		}
	}
}

// TestRequestTokenOnce: a token in the query is refused even beside a good one,
// and one may come by one way only. RFC 6750 §2, RFC 9700 §4.3.2.
func TestRequestTokenOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, header, body, query, want string }{
		{"header", "Bearer abc", "", "", ""},
		{"body", "", "access_token=abc", "", ""},
		{"query", "", "", "access_token=abc", "access.request"},
		{"header and query", "Bearer abc", "", "access_token=abc", "access.request"},
		{"body and query", "", "access_token=abc", "x=1&access_token=abc", "access.request"},
		{"header and body", "Bearer abc", "access_token=abc", "", "access.request"},
		{"twice in the body", "", "access_token=abc&access_token=abc", "", "access.request"},
		{"nowhere", "", "", "", "access.missing"},
	} {
		r := httptest.NewRequest("POST", "/userinfo?"+tt.query, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if tt.header != "" {
			r.Header.Set("Authorization", tt.header)
		}
		got := ""
		token, err := requestToken(r)
		if err != nil {
			got = toError(err).Reason
		}
		if got != tt.want || (token == "abc") != (tt.want == "") {
			t.Errorf("%s: token %q, reason %q, want %q", tt.name, token, got, tt.want)
		}
	}
}
