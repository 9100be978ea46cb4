package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile values, each an attempt to leave the place it is put in.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><script>alert(1)</script>`,
	`' onmouseover='alert(1)`,
	`" autofocus onfocus="alert(1)`,
	"` onmouseover=alert(1) x=`",
	`</style><script>alert(1)</script>`,
	`</title><img src=x onerror=alert(1)>`,
	`</noscript></form><form action="https://evil.example">`,
	`javascript:alert(1)`,
	"java\tscript:alert(1)",
	`data:text/html,<script>alert(1)</script>`,
	`vbscript:msgbox(1)`,
	`//evil.example/x`,
	`/\evil.example`,
	`http://evil.example/`,
	`https://user:password@evil.example/`,
	`{{.CSRF}}{name}{client}`,
	`<!-- `, `-->`, `<![CDATA[`, `]]>`, `&lt;script&gt;`, `&#x3c;script&#x3e;`, `%3Cscript%3E`,
	"a\x00b\xffc\xc0\xaf",
	"\u202egnirts\u202c \u2066isolated\u2069",
	strings.Repeat("A", 5000),
}

// fillStrings sets every string in v, however deep, and makes every list two long.
func fillStrings(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fillStrings(v.Field(i), s)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillStrings(v.Elem(), s)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillStrings(v.Index(i), s)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillStrings(v.Index(i), s)
		}
	case reflect.Bool:
		v.SetBool(true)
	}
}

// filled returns one page of each kind with s in every field.
func filled(s string) map[string]func(Frame, http.ResponseWriter) {
	var login Login
	var consent Consent
	var code DeviceCode
	var device DeviceDone
	var logout Logout
	var out LoggedOut
	var problem Problem
	var post FormPost
	var account Account
	var choose Choose
	for _, v := range []any{&login, &consent, &code, &device, &logout, &out, &problem, &post, &account, &choose} {
		fillStrings(reflect.ValueOf(v).Elem(), s)
	}
	post.Action = "https://shop.example/cb" // proven before; TestFormPostTarget has the others
	verifiedLogin := login
	verifiedLogin.Account = ""
	strange := consent
	strange.Client.Verified = false
	return map[string]func(Frame, http.ResponseWriter){
		"login":       func(f Frame, w http.ResponseWriter) { f.Login(w, verifiedLogin) },
		"login again": func(f Frame, w http.ResponseWriter) { f.Login(w, login) },
		"consent":     func(f Frame, w http.ResponseWriter) { f.Consent(w, consent) },
		"unverified":  func(f Frame, w http.ResponseWriter) { f.Consent(w, strange) },
		"device code": func(f Frame, w http.ResponseWriter) { f.DeviceCode(w, code) },
		"device done": func(f Frame, w http.ResponseWriter) { f.DeviceDone(w, device) },
		"logout":      func(f Frame, w http.ResponseWriter) { f.Logout(w, logout) },
		"logged out":  func(f Frame, w http.ResponseWriter) { f.LoggedOut(w, out) },
		"problem":     func(f Frame, w http.ResponseWriter) { f.Problem(w, problem) },
		"form post":   func(f Frame, w http.ResponseWriter) { f.FormPost(w, post) },
		"choose":      func(f Frame, w http.ResponseWriter) { f.Choose(w, choose) },
		"account":     func(f Frame, w http.ResponseWriter) { f.Account(w, account) },
	}
}

// outline is a page without its values.
func outline(page []element) string {
	var b strings.Builder
	for _, e := range page {
		names := make([]string, 0, len(e.attr))
		for name := range e.attr {
			names = append(names, name)
		}
		fmt.Fprintln(&b, e.name, len(names), e.form)
	}
	return b.String()
}

// Whatever stands in whatever field, the page has the elements and attributes
// that it has with a harmless word there (A97, A98, B17, L06).
func TestHostileValuesDoNotChangeThePage(t *testing.T) {
	t.Parallel()
	plain := filled("harmless")
	for _, s := range hostile {
		t.Run(fmt.Sprintf("%.30q", s), func(t *testing.T) {
			t.Parallel()
			for name, draw := range filled(s) {
				f := Frame{Name: s, Locales: []string{s, "de"}, FormAction: []string{s}}
				w := show(f, draw)
				page := parse(t, w.Body.String())
				want := outline(parse(t, show(Frame{Name: "harmless"}, plain[name]).Body.String()))
				if got := outline(page); got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
				}
				for _, e := range page {
					if link, ok := e.attr["href"]; ok && link != "data:," {
						t.Errorf("%s: a link to %q", name, link)
					}
					if action, ok := e.attr["action"]; ok && !harmlessAction(action) {
						t.Errorf("%s: a form for %q", name, action)
					}
					if e.attr["src"] != "" {
						t.Errorf("%s: <%s> loads %q", name, e.name, e.attr["src"])
					}
					if strings.ContainsAny(e.text, "\u202e\u202c\u2066\u2069\x00") {
						t.Errorf("%s: <%s> shows %q", name, e.name, e.text)
					}
				}
				for header, values := range w.Header() {
					for _, v := range values {
						if strings.Contains(v, "evil") || strings.Contains(v, "alert") || strings.ContainsAny(v, "\r\n\x00") {
							t.Errorf("%s: header %s: %q", name, header, v)
						}
					}
				}
			}
		})
	}
}

// harmlessAction says whether a form could run a script. Where it posts to is
// the caller's word.
func harmlessAction(action string) bool {
	u, err := url.Parse(action)
	return err == nil && (u.Scheme == "" || u.Scheme == "https" || u.Scheme == "http")
}

func TestLinks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw       string
		web, site bool
	}{
		{"https://shop.example", true, true},
		{"https://shop.example/terms?lang=de#top", true, true},
		{"http://127.0.0.1:8400/done", true, true},
		{"http://localhost:3000", true, true},
		{"http://[::1]:8400/", true, true},
		{"/authorize?client_id=x", false, true},
		{"", false, false},
		{"terms.html", false, false},
		{"//evil.example", false, false},
		{`/\evil.example`, false, false},
		{"/\t/evil.example", false, false},
		{"http://shop.example", false, false},
		{"http://127.0.0.1.evil.example", false, false},
		{"https:///path", false, false},
		{"https:shop.example", false, false},
		{"https://shop.example@evil.example/", false, false},
		{"javascript:alert(1)", false, false},
		{"JavaScript://shop.example/%0aalert(1)", false, false},
		{" javascript:alert(1)", false, false},
		{"\x01javascript:alert(1)", false, false},
		{"data:text/html,x", false, false},
		{"blob:https://shop.example/x", false, false},
		{"com.example.app:/cb", false, false},
		{"https://shop.example/\x00", false, false},
	}
	for _, test := range tests {
		if got := webLink(test.raw) != ""; got != test.web {
			t.Errorf("webLink(%q) = %v", test.raw, got)
		}
		if got := siteLink(test.raw) != ""; got != test.site {
			t.Errorf("siteLink(%q) = %v", test.raw, got)
		}
	}
}

// The application's links are offered, open nothing back, and load nothing.
func TestClientLinks(t *testing.T) {
	t.Parallel()
	w := show(Frame{}, func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Client: shop}) })
	want := map[string]bool{shop.URI: true, shop.LogoURI: true, shop.PolicyURI: true, shop.TOSURI: true}
	for _, e := range parse(t, w.Body.String()) {
		if e.name == "img" {
			t.Error("a picture from elsewhere")
		}
		if e.name == "a" {
			if e.attr["rel"] != "noopener noreferrer" {
				t.Errorf("rel %q", e.attr["rel"])
			}
			delete(want, e.attr["href"])
		}
	}
	if len(want) > 0 {
		t.Errorf("not offered: %v", want)
	}
}

func TestCleanText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"plain", "Example Shop", "Example Shop"},
		{"other scripts", "עברית العربية 日本語 ไทย", "עברית العربية 日本語 ไทย"},
		{"joiners", "क्\u200dष می\u200cخواهم", "क्\u200dष می\u200cخواهم"},
		{"spaces", "  a \t\r\n\u00a0\u2003b\u2028c  ", "a b c"},
		{"controls", "a\x00\x07\x1b[31mb\x7f\u0085c", "a[31mb c"},
		{"direction", "\u202eevil\u202c \u2067x\u2069 \u200fy\u061c", "evil x y"},
		{"invisible", "pay\u200bpal\ufeff\u2060\u00ad", "paypal"},
		{"blank letters", "\u3164\u115f\u2800", ""},
		{"broken UTF-8", "a\xff\xc0b", "ab"},
		{"private use", "a\ue000\U000f0000b", "ab"},
		{"tags", "a\U000e0041b", "ab"},
		{"marks", "e" + strings.Repeat("\u0301", 50) + "x", "e\u0301\u0301\u0301x"},
		{"long", strings.Repeat("ä", 90), strings.Repeat("ä", 80) + "…"},
		{"just fits", strings.Repeat("ä", 80), strings.Repeat("ä", 80)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := cleanText(test.in, maxName); got != test.want {
				t.Errorf("%q: got %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestNamelessClient(t *testing.T) {
	t.Parallel()
	for c, want := range map[Client]string{
		{ID: "shop"}:                             "shop",
		{ID: "shop", Name: " \u200b\u202e"}:      "shop",
		{ID: "\u3164"}:                           "An application without a name",
		{}:                                       "An application without a name",
		{ID: "x", Name: "Bank\u202e", URI: "x:"}: "Bank",
	} {
		body := show(Frame{}, func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Client: c}) }).Body.String()
		if !strings.Contains(body, "to continue to <bdi>"+want+"</bdi>") {
			t.Errorf("%q is not introduced as %q", c.Name, want)
		}
	}
}

func FuzzCleanText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cleanText(s, maxName)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxName+2 {
			t.Fatalf("%q", got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.IsSpace(r) && r != ' ' {
				t.Fatalf("%q holds %U", got, r)
			}
		}
		if strings.TrimSpace(got) != got || strings.Contains(got, "  ") {
			t.Fatalf("%q", got)
		}
		if again := cleanText(got, maxText); again != got {
			t.Fatalf("%q, then %q", got, again)
		}
	})
}
