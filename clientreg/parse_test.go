package clientreg

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/internal/secret"
)

const generated = "oX9-3fK_aQ2LrT7vBn5YwZ0sEd8Hc1MjUiGk4PpVq6R"

func TestParseJSON(t *testing.T) {
	t.Parallel()
	clients, warnings, err := ParseJSON([]byte(` [
		{"client_id": "spa", "client_name": "App", "client_name#de": "Anwendung", "token_endpoint_auth_method": "none",
		 "redirect_uris": ["https://localhost:4207"], "grant_types": ["authorization_code", "refresh_token"],
		 "scope": "openid offline_access", "require_pushed_authorization_requests": true, "first_party": true},
		{"client_id": "web", "client_secret": "` + generated + `", "client_secret_expires_at": 1893456000,
		 "redirect_uris": ["https://app.example/cb"], "scope": "openid", "redirect_url": "https://typo.example", "registration_access_token": "x"},
		{"client_id": "m2m", "client_secret": "correct horse battery staple", "client_secret_expires_at": 0, "grant_types": ["client_credentials"], "scope": "api",
		 "secrets": [{"hash": "` + hash + `"}]}
	] `))
	if err != nil || len(clients) != 3 {
		t.Fatal(clients, err)
	}
	spa, web, m2m := clients[0], clients[1], clients[2]
	if !spa.RequirePAR || !spa.FirstParty || spa.LocalizedName("de") != "Anwendung" || !spa.Public() || !spa.MatchRedirectURI("https://localhost:4207") {
		t.Errorf("%+v", spa)
	}
	h := secret.NewHasher(0)
	for _, s := range []struct {
		name, hash, secret, form string
	}{
		{"generated", web.Secrets[0].Hash, generated, "$sha256$"},
		{"chosen", m2m.Secrets[1].Hash, "correct horse battery staple", "$argon2id$"},
	} {
		if ok, err := h.Verify(t.Context(), s.hash, s.secret); !ok || err != nil || !strings.HasPrefix(s.hash, s.form) {
			t.Errorf("%s: %s: %v, %v", s.name, s.hash, ok, err)
		}
	}
	if !web.Secrets[0].Expires.Equal(time.Unix(1893456000, 0)) || !m2m.Secrets[1].Expires.IsZero() || m2m.Secrets[0].Hash != hash {
		t.Errorf("%+v %+v", web.Secrets, m2m.Secrets)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.Client+" "+w.Field)
	}
	if want := []string{"spa redirect_uris[0]", "spa first_party", "web redirect_url", "web registration_access_token"}; !slices.Equal(got, want) {
		t.Errorf("warnings %v\nwant %v", got, want)
	}
	if _, err := Static(clients...); err != nil {
		t.Error(err)
	}
}

// TestParseJSONReportsAll: every mistake by client, field and rule.
func TestParseJSONReportsAll(t *testing.T) {
	t.Parallel()
	clients, warnings, err := ParseJSON([]byte(`[
		{"client_id": "a", "client_secret": "short", "redirect_uris": ["http://a.example/"], "grant_types": "authorization_code"},
		{"client_id": "b", "client_secret": "short", "redirect_uris": ["http://a.example/", "https://a.example/#x"]},
		{"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "none"},
		{"client_id": "b", "token_endpoint_auth_method": "none", "redirect_uris": ["https://a.example/"], "client_secret": "` + generated + `"},
		17,
		{"client_id": 5},
		{"client_id": "c", "client_secret": 5},
		{"client_id": "d", "client_secret": "` + generated + `", "token_endpoint_auth_method": "client_secret_jwt", "redirect_uris": ["https://a.example/"]},
		{"client_id": "e", "client_secret_expires_at": 5, "token_endpoint_auth_method": "none", "redirect_uris": ["https://a.example/"]},
		{"client_id": "f", "client_secret": "` + generated + `", "client_secret_expires_at": 900000000000000, "redirect_uris": ["https://a.example/"]},
		{"client_id": "g", "client_secret": "", "redirect_uris": ["https://a.example/"]},
		{"Client_ID": "h"},
		null
	]`))
	if clients != nil || warnings != nil || err == nil {
		t.Fatal(clients, warnings, err)
	}
	var got []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		e, ok := err.(*MetadataError)
		if !ok || e.Fix == "" {
			t.Fatalf("%#v", err)
		}
		got = append(got, e.Client+": "+e.Field+" "+e.Rule)
	}
	want := []string{
		"a: grant_types has the wrong type",
		"b: client_secret is too short or too long",
		"b: redirect_uris[1] has a fragment",
		"b: redirect_uris[0] is http",
		"#3: client_id is missing",
		"b: secrets has a secret that a client without authentication cannot keep",
		"b: client_id is another client's too",
		"#5: document cannot be read: clientreg: not a JSON object",
		"#6: client_id has the wrong type",
		"c: client_secret or client_secret_expires_at has the wrong type",
		"c: redirect_uris is missing",
		"d: client_secret is in clear, and client_secret_jwt needs a sealed one",
		"e: client_secret_expires_at stands without client_secret",
		"f: secrets[0].expires is out of range",
		"g: client_secret is too short or too long",
		"#12: Client_ID differs from a known member in case only",
		"#13: document cannot be read: clientreg: not a JSON object",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(err.Error(), generated) || strings.Contains(err.Error(), "short\"") {
		t.Errorf("a secret is in the error: %v", err)
	}
}

func TestParseJSONRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"empty": "", "null": "null", "object": `{"client_id":"a"}`, "string": `"a"`, "trailing": `[] []`, "comment": `[] // x`,
		"byte order mark": "\ufeff[]", "duplicate": `[{"client_id":"a","client_id":"a"}]`, "UTF-8": "[{\"client_id\":\"\xff\"}]",
		"deep": strings.Repeat("[", 20) + strings.Repeat("]", 20), "cut": `[{"client_id":"a"}`,
	} {
		clients, warnings, err := ParseJSON([]byte(data))
		if err == nil || clients != nil || warnings != nil {
			t.Errorf("%s: %v, %v, %v", name, clients, warnings, err)
		}
	}
	if clients, warnings, err := ParseJSON([]byte("[]")); err != nil || len(clients) != 0 || len(warnings) != 0 {
		t.Errorf("no clients: %v, %v, %v", clients, warnings, err)
	}
}

func TestHashSecret(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ secret, form string }{
		{"", ""},
		{"elevenchars", ""},
		{strings.Repeat("x", 1025), ""},
		{"twelve chars", "$argon2id$"},
		{"correct-horse-battery-staple-correct-horse", "$argon2id$"},
		{"Correct-Horse-Battery-Staple-2026-Correct", "$argon2id$"},
		{"web-secret-web-secret-web-secret-web-secret", "$argon2id$"},
		{strings.Repeat("aB1", 20), "$argon2id$"},
		{strings.Repeat("0", 64), "$argon2id$"},
		{"oX9-3fK_aQ2LrT7vBn5YwZ0sEd8Hc1M", "$argon2id$"}, // 31 characters
		{"oX9-3fK_aQ2LrT7vBn5YwZ0 Ed8Hc1MjUiGk4PpVq6R", "$argon2id$"},
		{generated, "$sha256$"},
		{"8f14e45fceea167a5a36dedd4bea2543f1e2d3c4b5a69788", "$sha256$"},
	} {
		h, err := HashSecret(tc.secret)
		if (err != nil) != (tc.form == "") || !strings.HasPrefix(h, tc.form) {
			t.Errorf("%q: %q, %v", tc.secret, h, err)
		}
		if err != nil && len(tc.secret) > 0 && strings.Contains(err.Error(), tc.secret) {
			t.Errorf("the secret is in %v", err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	s, h := NewSecret()
	if ok, err := secret.NewHasher(0).Verify(t.Context(), h, s); !ok || err != nil || len(s) != 43 {
		t.Errorf("%d characters, %v, %v", len(s), ok, err)
	}
	quick := 0
	for range 200 {
		if s, _ := NewSecret(); looksGenerated(s) {
			quick++
		}
	}
	if quick < 190 {
		t.Errorf("only %d of 200 generated secrets look generated", quick)
	}
}

// TestExample keeps the file that the documentation shows alive.
func TestExample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/clients.json")
	if err != nil {
		t.Fatal(err)
	}
	clients, warnings, err := ParseJSON(data)
	if err != nil || len(clients) == 0 {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("%s", w)
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`[{"client_id":"a","client_secret":"` + generated + `","redirect_uris":["https://a.example/"]}]`))
	f.Add([]byte(`[{"client_id":"a"},{"client_id":"a"},null,1]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		clients, _, err := ParseJSON(data)
		if err != nil {
			if clients != nil {
				t.Error("clients together with an error")
			}
			return
		}
		if _, err := Static(clients...); err != nil {
			t.Errorf("what ParseJSON took Static does not: %v", err)
		}
	})
}
