package ui

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// element is one start tag of a page with what stands directly in it.
type element struct {
	name  string
	attr  map[string]string
	text  string
	form  int // which form it stands in, from 1; 0: none
	label bool
}

// parse reads a page as strict XML: no tag is left open and no attribute
// unquoted, whatever was put in.
func parse(t *testing.T, body string) []element {
	t.Helper()
	var all []element
	var open []int
	forms, form, labels := 0, 0, 0
	d := xml.NewDecoder(strings.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			at := min(int(d.InputOffset()), len(body))
			t.Fatalf("%v after %q", err, body[max(0, at-200):at])
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attr: map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			switch e.name {
			case "form":
				forms++
				form = forms
			case "label":
				labels++
			}
			e.form, e.label = form, labels > 0
			open = append(open, len(all))
			all = append(all, e)
		case xml.EndElement:
			switch token.Name.Local {
			case "form":
				form = 0
			case "label":
				labels--
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				all[open[len(open)-1]].text += string(token)
			}
		}
	}
}

// eachPage runs a test for every page in every language.
func eachPage(t *testing.T, test func(*testing.T, sample, *httptest.ResponseRecorder, []element)) {
	for lang := range builtIn() {
		for _, s := range samples() {
			t.Run(lang+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				w := show(Frame{Name: "Example ID", Locales: []string{lang}}, s.draw)
				if got := w.Header().Get("Content-Language"); got != lang {
					t.Fatalf("language %q", got)
				}
				test(t, s, w, parse(t, w.Body.String()))
			})
		}
	}
}

func TestPageStructure(t *testing.T) {
	t.Parallel()
	eachPage(t, func(t *testing.T, s sample, w *httptest.ResponseRecorder, page []element) {
		ids := map[string]int{}
		count := map[string]int{}
		for _, e := range page {
			count[e.name]++
			if id := e.attr["id"]; id != "" {
				ids[id]++
			}
			for name := range e.attr {
				if strings.HasPrefix(name, "on") || name == "style" {
					t.Errorf("<%s %s>: the policy forbids it", e.name, name)
				}
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("id %q %d times", id, n)
			}
		}
		for _, id := range s.ids {
			if ids[id] != 1 {
				t.Errorf("id %q is missing", id)
			}
		}
		if count["h1"] != 1 || count["main"] != 1 || count["title"] != 1 {
			t.Errorf("h1 %d, main %d, title %d", count["h1"], count["main"], count["title"])
		}
		if page[0].attr["lang"] == "" || page[0].attr["dir"] != "ltr" {
			t.Errorf("html %v", page[0].attr)
		}
		if (count["script"] > 0) != (s.name == "form-post") {
			t.Errorf("%d scripts", count["script"])
		}
		if strings.Contains(w.Body.String(), "ZgotmplZ") {
			t.Error("the template engine refused a value")
		}
		if strings.HasPrefix(s.name, "problem") == (w.Code == http.StatusOK) {
			t.Errorf("status %d", w.Code)
		}
	})
}

// Every control has a name to be read aloud, every reference leads somewhere,
// and what is wrong is announced and tied to its field.
func TestPagesAreAccessible(t *testing.T) {
	t.Parallel()
	eachPage(t, func(t *testing.T, s sample, w *httptest.ResponseRecorder, page []element) {
		ids, labelled := map[string]bool{}, map[string]bool{}
		alerts, described := 0, 0
		for _, e := range page {
			ids[e.attr["id"]] = true
			if e.name == "label" {
				labelled[e.attr["for"]] = true
			}
			if e.attr["role"] == "alert" {
				alerts++
			}
		}
		for _, e := range page {
			for _, ref := range []string{"aria-describedby", "aria-labelledby", "for", "form"} {
				for id := range strings.FieldsSeq(e.attr[ref]) {
					if !ids[id] {
						t.Errorf("<%s %s=%q> leads nowhere", e.name, ref, id)
					}
				}
			}
			if slices.Contains(strings.Fields(e.attr["aria-describedby"]), "problem") {
				described++
			}
			switch e.name {
			case "input":
				_, hidden := e.attr["hidden"]
				if e.attr["type"] != "hidden" && !hidden && !e.label && !labelled[e.attr["id"]] {
					t.Errorf("input %v has no label", e.attr)
				}
				if e.attr["type"] == "checkbox" && e.attr["disabled"] != "" {
					t.Error("a disabled box looks like a choice")
				}
			case "svg":
				if e.attr["aria-hidden"] != "true" {
					t.Error("a picture without a name")
				}
			}
		}
		if strings.HasSuffix(s.name, "-wrong") || strings.HasSuffix(s.name, "-throttled") {
			if alerts != 1 || described == 0 {
				t.Errorf("%d alerts, tied to %d fields", alerts, described)
			}
		}
	})
}

// Every form is a POST with the CSRF value, and Enter presses the button that
// the page is about.
func TestForms(t *testing.T) {
	t.Parallel()
	eachPage(t, func(t *testing.T, s sample, w *httptest.ResponseRecorder, page []element) {
		first := map[int]string{}
		csrf := map[int]string{}
		apart := 0
		for _, e := range page {
			switch e.name {
			case "form":
				if e.attr["method"] != "post" || e.attr["action"] == "" {
					t.Errorf("form %v", e.attr)
				}
				if e.attr["id"] == "switch" {
					apart = e.form
				}
			case "input":
				if e.attr["name"] == "csrf" {
					csrf[e.form] = e.attr["value"]
				}
			case "button":
				if e.attr["type"] != "submit" {
					t.Errorf("button %v", e.attr)
				}
				if e.attr["id"] == "cancel" && (e.attr["name"] != "do" || e.attr["value"] != "deny") {
					t.Errorf("cancel %v", e.attr)
				}
				if first[e.form] == "" && e.attr["form"] == "" {
					first[e.form] = e.attr["id"]
				}
			}
		}
		for form, id := range first {
			if s.name == "form-post" {
				continue
			}
			if csrf[form] != "token" {
				t.Errorf("form %d: csrf %q", form, csrf[form])
			}
			harmless := []string{"submit-", "revoke-", "choose-", "other-account"} // the last ones have nothing to type in
			if !slices.ContainsFunc(harmless, func(s string) bool { return strings.HasPrefix(id, s) }) {
				t.Errorf("Enter presses %q", id)
			}
		}
		if apart != 0 && csrf[apart] != "token" {
			t.Error("the form of the switch button has no csrf")
		}
	})
}

func TestFieldsAndButtons(t *testing.T) {
	t.Parallel()
	tests := []struct {
		page string
		want []string // name=value of what can be sent, in order
	}{
		{"login", []string{"csrf=token", "username=", "password=", "do=login", "do=deny"}},
		{"login-wrong", []string{"csrf=token", "username=alice", "password=", "do=login", "do=deny"}},
		{"login-again", []string{"csrf=token", "do=switch", "password=", "do=login", "do=deny", "csrf=token"}},
		{"login-register", []string{"csrf=token", "username=", "password=", "do=login", "do=deny", "do=register"}},
		{"choose", []string{"csrf=token", "account=a", "do=choose", "csrf=token", "account=b", "do=choose", "csrf=token", "do=switch", "do=register", "do=deny"}},
		{"consent", []string{"csrf=token", "scope=profile", "scope=email", "scope=orders:write", "remember=1", "do=allow", "do=deny"}},
		{"consent-full", []string{"csrf=token", "do=switch", "scope=profile", "scope=email", "scope=orders:write", "detail=0", "detail=1", "remember=1", "do=allow", "do=deny", "csrf=token"}},
		{"consent-unverified", []string{"csrf=token", "scope=profile", "scope=email", "scope=orders:write", "do=allow", "do=deny"}},
		{"device-code", []string{"csrf=token", "user_code=", "do=code"}},
		{"logout", []string{"csrf=token", "do=logout", "do=stay"}},
		{"account", []string{"csrf=token", "grant=g1", "do=revoke", "csrf=token", "grant=g2", "do=revoke"}},
		{"form-post", []string{"code=abc", "state=x<y"}},
	}
	all := samples()
	for _, test := range tests {
		t.Run(test.page, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(all, func(s sample) bool { return s.name == test.page })
			var got []string
			for _, e := range parse(t, show(Frame{}, all[i].draw).Body.String()) {
				if name := e.attr["name"]; name != "" && (e.name == "input" || e.name == "button") {
					got = append(got, name+"="+e.attr["value"])
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// The texts that scripts of a conformance suite look for.
func TestFixedTexts(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			body := show(Frame{}, s.draw).Body.String()
			for prefix, want := range map[string]string{"login": "Sign in", "problem": "cannot continue", "logged-out": "signed out", "problem-logout": "cannot sign you out"} {
				is := strings.HasPrefix(s.name, prefix)
				if s.name == "problem-logout" && prefix == "problem" {
					is = false
				}
				if is != strings.Contains(body, want) {
					t.Errorf("%q is on the page: %v", want, !is)
				}
			}
		})
	}
}

func TestPagesSayWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	all := samples()
	tests := map[string][]string{
		"consent":            {"<bdi>Example Shop</bdi> asks for access", "Know who you are here", "Place orders in your name", "Required", "Allowed before", "go to <bdi>shop.example</bdi>", "Signed in as <bdi>alice@example.com</bdi>"},
		"consent-full":       {"Date of birth", "tax_id", "https://api.shop.example", "€123.50 to Merchant A", "payment_initiation"},
		"consent-unverified": {"Unverified application", "application on this device (<bdi>127.0.0.1</bdi>)"},
		"login":              {"continue to <bdi>Example Shop</bdi>"},
		"login-unverified":   {"Unverified application", "<bdi>Photo Printer</bdi> registered itself"},
		"consent-device":     {"WDJB-MJHT", "from <bdi>Hamburg</bdi>"},
		"consent-binding":    {"W4-8821"},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(all, func(s sample) bool { return s.name == name })
			body := show(Frame{}, all[i].draw).Body.String()
			for _, text := range want {
				if !strings.Contains(body, text) {
					t.Errorf("%q is missing in\n%s", text, body[strings.Index(body, "<body>"):])
				}
			}
			if verified := !strings.HasSuffix(name, "-unverified"); verified == strings.Contains(body, "Unverified") {
				t.Errorf("warning: %v", !verified)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kind   string
		status int
		want   int
	}{
		{"request", 0, 400}, {"client", 0, 400}, {"logout", 0, 400}, {"method", 0, 405}, {"server", 0, 500}, {"unavailable", 0, 503},
		{"no such kind", 0, 500}, {"expired", 410, 410}, {"request", 200, 200},
	}
	for _, test := range tests {
		w := show(Frame{Status: test.status}, func(f Frame, w http.ResponseWriter) { f.Problem(w, Problem{Kind: test.kind}) })
		if w.Code != test.want {
			t.Errorf("%s, %d: status %d, want %d", test.kind, test.status, w.Code, test.want)
		}
	}
	if w := show(Frame{Status: 429}, func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Problem: "throttled"}) }); w.Code != 429 {
		t.Errorf("login: status %d", w.Code)
	}
}

func TestUnknownProblemIsShownAsOutage(t *testing.T) {
	t.Parallel()
	body := show(Frame{}, func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Problem: "wrong_password"}) }).Body.String()
	if !strings.Contains(body, "not possible at the moment") || !strings.Contains(body, "<title>Error: Sign in</title>") {
		t.Error(body)
	}
}
