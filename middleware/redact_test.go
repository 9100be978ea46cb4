package middleware

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/internal/handle"
)

const (
	jws     = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
	hidden  = "hunter2-Xq9" // a secret of no known shape
	blanked = "[redacted]"
)

func newHandle(t testing.TB, prefix string) string {
	t.Helper()
	h, err := handle.New(prefix, 7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ExampleRedact() {
	out := slog.NewTextHandler(exampleOut{}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New(Redact(out))
	log.Info("got https://app.example/cb?code=4711&iss=x", "user", "alice", "refresh_token", "abc", "status", 200)
	// Output:
	// level=INFO msg="got https://app.example/cb?code=[redacted]&iss=x" user=alice refresh_token=[redacted] status=200
}

type exampleOut struct{}

func (exampleOut) Write(b []byte) (int, error) { fmt.Print(string(b)); return len(b), nil }

func TestRedactText(t *testing.T) {
	t.Parallel()
	at := newHandle(t, handle.Access)
	par := newHandle(t, handle.PAR)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"an ordinary message: nothing to see, 3 = 3", "an ordinary message: nothing to see, 3 = 3"},
		{"took at_" + "the_end_of_the_day_nothing_was_found_there", "took at_the_end_of_the_day_nothing_was_found_there"},
		{"get " + at + " now", "get at_[redacted] now"},
		{"x" + at, "xat_[redacted]"},
		{par, handle.PAR + blanked},
		{strings.ToUpper(handle.PAR) + "abc", strings.ToUpper(handle.PAR) + blanked},
		{"jws " + jws + ".", "jws [redacted]"},
		{"jwe " + jws + ".a.b, x", "jwe [redacted], x"},
		{"eyJust a word", "eyJust a word"},
		{"Authorization: Bearer abc.DEF-1234", "Authorization: [redacted]"},
		{"sent bearer abc.DEF-1234 there", "sent bearer [redacted] there"},
		{"sent Basic YWxpY2U6cHc= there", "sent Basic [redacted] there"},
		{"bearer authentication failed", "bearer authentication failed"},
		{"https://op.example/cb?code=abc&state=def#x", "https://op.example/cb?code=[redacted]&state=[redacted]#x"},
		{"/cb?c%6Fde=abc", "/cb?c%6Fde=[redacted]"},
		{"/cb?next=%2Fcb%3Fcode%3Dabc%26x%3D1&y=2", "/cb?next=%2Fcb%3Fcode%3D[redacted]&y=2"},
		{"/cb?next=%252Fcb%253Fcode%253Dabc", "/cb?next=%252Fcb%253Fcode%253D[redacted]"},
		{"/" + strings.Repeat("a%20", 40) + "%26code%3Dabc", "/" + strings.Repeat("a%20", 40) + "%26code%3D[redacted]"},
		{"/cb?CODE=abc", "/cb?CODE=[redacted]"},
		{"/cb?code=&x=1", "/cb?code=&x=1"},
		{"/cb?scope=openid", "/cb?scope=openid"},
		{"grant_type=password&username=a&password=p%26q", "grant_type=password&username=a&password=[redacted]"},
		{`password="two words" x`, `password="[redacted]" x`},
		{`{"access_token":"abc","scope":"x"}`, `{"access_token":"[redacted]","scope":"x"}`},
		{`{"access_token": "a\"b","scope":"x"}`, `{"access_token": "[redacted]","scope":"x"}`},
		{`body "{\"access_token\":\"abc\",\"x\":1}"`, `body "{\"access_token\":\"[redacted]\",\"x\":1}"`},
		{`{"code":401}`, `{"code":401}`},
		{"Cookie: a=b; c=d\nAccept: x", "Cookie: [redacted]\nAccept: x"},
		{"unknown code: x", "unknown code: x"},
		{"dial postgres://app:pw@db.example/x: refused", "dial postgres://app:[redacted]@db.example/x: refused"},
		{"http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"},
		{"code=[redacted] token: [redacted]", "code=[redacted] token: [redacted]"},
	} {
		got := redactText(tt.in)
		if got != tt.want {
			t.Errorf("%q\n became %q\n want   %q", tt.in, got, tt.want)
		}
		if again := redactText(got); again != got {
			t.Errorf("%q became %q the second time", got, again)
		}
	}
}

// TestRedactTextIsLinear: no text makes a log line expensive. A megabyte of each
// would take minutes if the work grew by the square.
func TestRedactTextIsLinear(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"at_", "eyJ", "eyJa", "a=", "%25", "%3D", "code%3D", " :", `":`, `\":"`, "://", "://a:b@", "Bearer ", "code=", "password:\n", "_", "=", ":"} {
		_ = redactText(strings.Repeat(s, 1<<20/len(s)))
	}
}

func TestSecretName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"token", "access_token", "refreshToken", "X-Access-Token", "id_token", "tokens", "code", "code_verifier", "client_secret", "Password",
		"new_password", "authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "cookies", "id_token_hint", "assertion", "client_assertion",
		"user_code", "device_code", "request_uri", "secret", "Secrets", "state", "nonce", "csrf", "DPoP", "private_key", "apiKey", "otp",
		"interaction", "subject_token", "credentials", "registration_access_token", "authorization_code",
	} {
		if secretName(name) == open {
			t.Errorf("%s is open", name)
		}
	}
	for _, name := range []string{
		"", "client", "client_id", "subject", "session", "grant", "reason", "scope", "error", "cause", "route", "params", "id", "token_type",
		"status_code", "sqlstate", "country_code", "authorization_details", "key", "kid", "request", "response_type", "grant_type", "expires_in",
		strings.Repeat("x", 100) + "token",
	} {
		if secretName(name) != open {
			t.Errorf("%s is secret", name)
		}
	}
}

type lazy struct{ s string }

func (l lazy) LogValue() slog.Value {
	return slog.GroupValue(slog.String("password", l.s), slog.String("x", "shown"))
}

type loop struct{}

func (l loop) LogValue() slog.Value { return slog.AnyValue(l) }

type stringer struct{ s string }

func (s *stringer) String() string { return "token=" + s.s }

type nested struct {
	Name   string
	Secret string
	Inner  []map[string]any `json:"inner"`
}

type badMarshal struct{}

func (badMarshal) MarshalJSON() ([]byte, error) { return nil, errors.New("password=" + hidden) }

type deepError struct{ token string }

func (e *deepError) Error() string { return "refresh_token=" + e.token + " refused" }

// TestRedact puts a secret into every kind of value and looks for it in what
// text and JSON handlers write. What is no secret must come through.
func TestRedact(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequest("POST", "/cb?code="+hidden+"&x=1", strings.NewReader("password="+hidden))
	req.Header.Set("Authorization", "Bearer "+hidden)
	req.Header.Set("Cookie", "session="+hidden)
	u := &url.URL{Scheme: "https", Host: "shown.example", Path: "/cb", RawQuery: "state=" + hidden + "&x=1", User: url.UserPassword("u", hidden)}
	at := newHandle(t, handle.Refresh)
	deep := slog.String("password", hidden)
	for range 40 {
		deep = slog.Group("g", deep)
	}
	var none *stringer
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want string // must be there
	}{
		{"attribute", func(l *slog.Logger) { l.Info("m", "password", hidden, "a", "shown") }, "shown"},
		{"message", func(l *slog.Logger) { l.Info("got code=" + hidden + " shown") }, "shown"},
		{"handle", func(l *slog.Logger) { l.Info("m", "x", "shown "+at) }, "rt_[redacted]"},
		{"number", func(l *slog.Logger) { l.Info("m", "otp", 734921) }, blanked},
		{"code of an error", func(l *slog.Logger) { l.Info("m", "code", 404) }, "404"},
		{"flag, time, duration", func(l *slog.Logger) {
			l.Info("m", "token", true, "access_token", time.Unix(1, 0).UTC(), "refresh_token", 90*time.Second)
		}, "1970-01-01T00:00:01"},
		{"nothing", func(l *slog.Logger) { l.Info("m", "token", "", "secret", nil) }, "token"},
		{"With", func(l *slog.Logger) { l.With("client_secret", hidden, "a", "shown").Info("m") }, "shown"},
		{"WithGroup", func(l *slog.Logger) {
			l.WithGroup("g").With("token", hidden).Info("m", "password", hidden, "a", "shown")
		}, "shown"},
		{"WithGroup of a secret", func(l *slog.Logger) {
			l.WithGroup("credentials").With("a", hidden).WithGroup("x").Info("m", "b", hidden, "c", 734921)
		}, blanked},
		{"empty group", func(l *slog.Logger) { l.WithGroup("").Info("m", "token", hidden, "a", "shown") }, "shown"},
		{"group", func(l *slog.Logger) { l.Info("m", slog.Group("g", "token", hidden, "a", "shown")) }, "shown"},
		{"inline group", func(l *slog.Logger) { l.Info("m", slog.Group("", "token", hidden, "a", "shown")) }, "shown"},
		{"group of a secret", func(l *slog.Logger) { l.Info("m", slog.Group("cookie", "a", hidden), "x", "shown") }, "shown"},
		{"deep groups", func(l *slog.Logger) { l.Info("m", deep) }, blanked},
		{"LogValuer", func(l *slog.Logger) { l.Info("m", "who", lazy{hidden}) }, "shown"},
		{"LogValuer in With", func(l *slog.Logger) { l.With("who", lazy{hidden}).Info("m") }, "shown"},
		{"LogValuer of a secret", func(l *slog.Logger) { l.Info("m", "token", lazy{hidden}) }, blanked},
		{"endless LogValuer", func(l *slog.Logger) { l.Info("m", "who", loop{}) }, "LogValue"},
		{"header", func(l *slog.Logger) { l.Info("m", "h", req.Header) }, "Authorization"},
		{"values", func(l *slog.Logger) { l.Info("m", "form", url.Values{"password": {hidden}, "username": {"shown"}}) }, "shown"},
		{"request", func(l *slog.Logger) { l.Info("m", "r", req) }, "POST"},
		{"URL", func(l *slog.Logger) { l.Info("m", "u", u) }, "shown"},
		{"URL value", func(l *slog.Logger) { l.Info("m", "u", *u) }, "shown"},
		{"URL text", func(l *slog.Logger) { l.Info("m", "u", "https://shown.example/?token="+hidden) }, "shown"},
		{"error", func(l *slog.Logger) {
			l.Info("m", "err", &url.Error{Op: "Get", URL: "https://shown.example/?code=" + hidden, Err: io.EOF})
		}, "shown"},
		{"wrapped error", func(l *slog.Logger) { l.Info("m", "err", fmt.Errorf("shown: %w", &deepError{hidden})) }, "shown"},
		{"joined errors", func(l *slog.Logger) { l.Info("m", "err", errors.Join(io.EOF, &deepError{hidden})) }, "EOF"},
		{"bytes", func(l *slog.Logger) { l.Info("m", "b", []byte("shown token="+hidden)) }, "shown"},
		{"binary", func(l *slog.Logger) { l.Info("m", "b", []byte("\xff"+hidden)) }, "12 bytes"},
		{"raw JSON", func(l *slog.Logger) { l.Info("m", "b", json.RawMessage(`{"token":"`+hidden+`","a":"shown"}`)) }, "shown"},
		{"struct", func(l *slog.Logger) {
			l.Info("m", "s", nested{"shown", hidden, []map[string]any{{"code": hidden, "otp": 734921, "deep": []any{"password=" + hidden}}}})
		}, "shown"},
		{"pointer", func(l *slog.Logger) { l.Info("m", "s", &nested{Name: "shown", Secret: hidden}) }, "shown"},
		{"map key", func(l *slog.Logger) { l.Info("m", "s", map[string]int{"shown " + at: 1}) }, "shown"},
		{"stringer", func(l *slog.Logger) { l.Info("m", "s", &stringer{hidden}) }, blanked},
		{"nil stringer", func(l *slog.Logger) { l.Info("m", "s", none, "a", "shown") }, "shown"},
		{"text", func(l *slog.Logger) { l.Info("m", "addr", netip.MustParseAddr("192.0.2.1")) }, "192.0.2.1"},
		{"marshaller that fails", func(l *slog.Logger) { l.Info("m", "s", badMarshal{}, "a", "shown") }, "shown"},
		{"function", func(l *slog.Logger) { l.Info("m", "f", func() {}) }, "func()"},
		{"list of secrets", func(l *slog.Logger) { l.Info("m", "tokens", []string{hidden, hidden}) }, blanked},
		{"bad key", func(l *slog.Logger) { l.Info("m", []any{"password=" + hidden}...) }, blanked},
		{"secret for a key", func(l *slog.Logger) { l.WithGroup("g "+at).Info("m", "k "+at, "shown") }, "shown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for format, h := range map[string]func(io.Writer) slog.Handler{
				"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, &slog.HandlerOptions{AddSource: true}) },
				"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
			} {
				var b bytes.Buffer
				tt.log(slog.New(Redact(h(&b))))
				got := b.String()
				for _, s := range []string{hidden, url.QueryEscape(hidden), at, at[3:], "734921"} {
					if strings.Contains(got, s) {
						t.Errorf("%s: %s", format, got)
					}
				}
				if !strings.Contains(got, tt.want) {
					t.Errorf("%s: %s lacks %s", format, got, tt.want)
				}
			}
		})
	}
	if body, _ := io.ReadAll(req.Body); string(body) != "password="+hidden || req.Header.Get("Authorization") == "" {
		t.Error("the request was changed")
	}
}

func TestRedactEnabled(t *testing.T) {
	t.Parallel()
	h := Redact(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if h.Enabled(t.Context(), slog.LevelInfo) || !h.WithGroup("a").WithAttrs(nil).Enabled(t.Context(), slog.LevelWarn) {
		t.Error("the level is not the inner handler's")
	}
}

// FuzzRedact: a handle and a token are found in any surroundings, and what has
// been redacted once stays as it is.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"", "code=", "Bearer ", `{"token":"`, "https://u:", "%3D", "password='", "eyJ", "at_", "Cookie: ", "urn:ietf:params:oauth:request_uri:", `\"code\":\"`} {
		f.Add(s, s)
		f.Add("x "+s, "&y=1")
	}
	secrets := []string{jws}
	for _, p := range []string{handle.Code, handle.PAR, handle.Interaction, handle.Session, handle.Refresh, handle.Access, handle.Device} {
		secrets = append(secrets, newHandle(f, p))
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, s := range secrets {
			body := s[len(s)-20:]
			if s == jws {
				body = s[:20]
			}
			if got := redactText(before + s + after); strings.Contains(got, body) {
				t.Fatalf("%q in %q", s, got)
			}
		}
		once := redactText(before + after)
		if len(once) > 11*len(before+after) {
			t.Fatalf("%d bytes became %d", len(before+after), len(once))
		}
		var b bytes.Buffer
		slog.New(Redact(slog.NewJSONHandler(&b, nil))).Info(before, after, before, "h", http.Header{before: {after}})
		if !json.Valid(b.Bytes()) {
			t.Fatalf("%s", &b)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	for name, h := range map[string]slog.Handler{
		"off": slog.NewJSONHandler(io.Discard, nil), "on": Redact(slog.NewJSONHandler(io.Discard, nil)),
	} {
		b.Run(name, func(b *testing.B) {
			log := slog.New(h).With("service", "login")
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("id", "0011223344556677"), slog.String("method", "POST"),
					slog.String("route", "POST /token"), slog.Int("status", 200), slog.Int64("bytes", 1234), slog.Duration("duration", time.Millisecond),
					slog.String("remote", "2001:db8::1"), slog.String("cause", "storage: the database is away: dial tcp 192.0.2.1:5432: connection refused"))
			}
		})
	}
}
