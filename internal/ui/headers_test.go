package ui

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var nonces = regexp.MustCompile(`nonce-([A-Z2-7]{26})'`)

func TestHeadersOfEveryPage(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"Content-Type":                 "text/html; charset=utf-8",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
		"Cache-Control":                "no-store",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Strict-Transport-Security":    "",
	}
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := show(Frame{}, s.draw)
			for name, value := range want {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			if got := w.Header().Get("Permissions-Policy"); !strings.Contains(got, "camera=()") || strings.Contains(got, "self") {
				t.Errorf("Permissions-Policy: %q", got)
			}

			csp := w.Header().Get("Content-Security-Policy")
			match := nonces.FindStringSubmatch(csp)
			if match == nil || !strings.Contains(w.Body.String(), `<style nonce="`+match[1]+`">`) {
				t.Fatalf("nonce: %q", csp)
			}
			script, form := "", ""
			if s.name == "form-post" {
				_, rest, _ := strings.Cut(w.Body.String(), "<script>")
				bytes, _, ok := strings.Cut(rest, "</script>")
				if !ok {
					t.Fatal("no script")
				}
				sum := sha256.Sum256([]byte(bytes))
				script = "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
				form = " https://shop.example"
			}
			policy := "default-src 'none'" + script + "; style-src 'nonce-" + match[1] + "'; img-src 'self' data:; form-action 'self' https:" + form + "; base-uri 'none'; frame-ancestors 'none'"
			if csp != policy {
				t.Errorf("policy %q\nwant   %q", csp, policy)
			}

			again := nonces.FindStringSubmatch(show(Frame{}, s.draw).Header().Get("Content-Security-Policy"))
			if again[1] == match[1] {
				t.Error("the nonce is not fresh")
			}
			if got := show(Frame{HSTS: true}, s.draw).Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
				t.Errorf("HSTS %q", got)
			}
		})
	}
}

// A browser checks every hop of the redirect that follows a form. The sources
// come from client metadata, so each could try to write policy.
func TestFormAction(t *testing.T) {
	t.Parallel()
	tests := []struct{ source, want string }{
		{"http://127.0.0.1:8400", " http://127.0.0.1:8400"},
		{"http://localhost:3000", " http://localhost:3000"},
		{"http://127.0.0.1", " http://127.0.0.1"},
		{"http://[::1]:8400", " http:"},
		{"com.example.app:", " com.example.app:"},
		{"http://evil.example", ""},
		{"http://127.0.0.1.evil.example", ""},
		{"http://[2001:db8::1]:8400", ""},
		{"https://shop.example", ""},
		{"https:", ""},
		{"http:", ""},
		{"javascript:", ""},
		{"data:", ""},
		{"*", ""},
		{"'unsafe-inline'", ""},
		{"http://127.0.0.1:8400; script-src *", ""},
		{"http://127.0.0.1:8400 *", ""},
		{"http://127.0.0.1:8400,", ""},
		{"http://127.0.0.1:8400/cb", ""},
		{"http://user@127.0.0.1:8400", ""},
		{"http://127.0.0.1:8400\nX-Evil: 1", ""},
		{"com.example.app:\n", ""},
		{"com.example.app:/cb", ""},
		{"", ""},
	}
	for _, test := range tests {
		t.Run(test.source, func(t *testing.T) {
			t.Parallel()
			f := Frame{FormAction: []string{test.source}}
			csp := show(f, func(f Frame, w http.ResponseWriter) { f.Consent(w, Consent{}) }).Header().Get("Content-Security-Policy")
			if want := "; form-action 'self' https:" + test.want + "; base-uri 'none'"; !strings.Contains(csp, want) {
				t.Errorf("%q is not in %q", want, csp)
			}
		})
	}
}

func TestFormPostTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		action string
		want   string // "": the page is refused
	}{
		{"https://shop.example/cb?x=1", " https://shop.example"},
		{"https://shop.example:8443/cb", " https://shop.example:8443"},
		{"http://127.0.0.1:8400/cb", " http://127.0.0.1:8400"},
		{"http://[::1]:8400/cb", " http:"},
		{"com.example.app:/cb", ""},
		{"javascript:alert(1)", ""},
		{"data:text/html,x", ""},
		{"/cb", ""},
		{"", ""},
		{"https:///cb", ""},
		{"https://shop.example;script-src */", ""},
		{"https://shop.example *", ""},
	}
	for _, test := range tests {
		t.Run(test.action, func(t *testing.T) {
			t.Parallel()
			w := show(Frame{}, func(f Frame, w http.ResponseWriter) {
				f.FormPost(w, FormPost{Action: test.action, Params: [][2]string{{"code", "secret"}}})
			})
			if test.want == "" {
				if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
				return
			}
			csp := w.Header().Get("Content-Security-Policy")
			if want := "; form-action 'self' https:" + test.want + "; "; !strings.Contains(csp, want) {
				t.Errorf("%q is not in %q", want, csp)
			}
		})
	}
}

func TestFormActionIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	sources := make([]string, 1, 4)
	sources[0] = "com.example.app:"
	f := Frame{FormAction: sources}
	show(f, func(f Frame, w http.ResponseWriter) { f.FormPost(w, FormPost{Action: "https://shop.example/cb"}) })
	if extra := sources[:2][1]; extra != "" {
		t.Errorf("the caller's array now holds %q", extra)
	}
}
