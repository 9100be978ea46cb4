package ui

import (
	"io/fs"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func TestLanguagesSayTheSame(t *testing.T) {
	t.Parallel()
	english := builtIn()[fallback]
	for lang, m := range builtIn() {
		if lang != strings.ToLower(lang) {
			t.Errorf("%s: the file's name must be lower case to be found", lang)
		}
		for key, text := range english {
			if m[key] == "" {
				t.Errorf("%s: %q is missing", lang, key)
			}
			want, got := placeholder.FindAllString(text, -1), placeholder.FindAllString(m[key], -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q has %v, English has %v", lang, key, got, want)
			}
		}
		for key, text := range m {
			if english[key] == "" {
				t.Errorf("%s: %q is not an English key", lang, key)
			}
			if strings.ContainsAny(text, "<>&\n") {
				t.Errorf("%s: %q: a text is plain, not HTML", lang, key)
			}
		}
	}
}

// Every key that a template or the code asks for exists, and every key that
// exists is asked for.
func TestEveryMessageIsUsed(t *testing.T) {
	t.Parallel()
	literal := regexp.MustCompile(`\b(?:T|Plain|Title) ?\(?"([a-z0-9_.]+)"`)
	family := regexp.MustCompile(`(?:\bPlain\(|\(print )"([a-z_.]+\.)"`)
	used, families := map[string]bool{}, map[string]bool{}
	collect := func(source string) {
		for _, m := range family.FindAllStringSubmatch(source, -1) {
			families[m[1]] = true
		}
		for _, m := range literal.FindAllStringSubmatch(source, -1) {
			if !strings.HasSuffix(m[1], ".") {
				used[m[1]] = true
			}
		}
	}
	files, err := fs.Glob(os.DirFS("."), "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "templates/shared/page.html", "templates/shared/parts.html", "render.go", "messages.go") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		collect(string(source))
	}
	if len(used) < 50 || len(families) < 5 {
		t.Fatalf("found only %d keys and %d families", len(used), len(families))
	}

	english := builtIn()[fallback]
	for key := range used {
		if english[key] == "" {
			t.Errorf("%q is asked for and does not exist", key)
		}
	}
	for key := range english {
		prefix := key[:strings.LastIndexByte(key, '.')+1]
		if !used[key] && !families[prefix] {
			t.Errorf("%q is never asked for", key)
		}
	}
	for _, kind := range problemKinds {
		if english["problem."+kind] == "" {
			t.Errorf("no text for problem %q", kind)
		}
	}
	for _, problem := range []string{"wrong", "throttled", "unavailable"} {
		if english["login.problem."+problem] == "" || english["device.problem."+problem] == "" {
			t.Errorf("no text for %q", problem)
		}
	}
}

func TestGermanPages(t *testing.T) {
	t.Parallel()
	f := Frame{Locales: []string{"de-AT"}}
	for want, draw := range map[string]func(Frame, http.ResponseWriter){
		"weiter zu <bdi>Example Shop</bdi>":                 func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Client: shop}) },
		"<title>Zugriff für Example Shop erlauben?</title>": func(f Frame, w http.ResponseWriter) { f.Consent(w, Consent{Client: shop}) },
		"Sie sind abgemeldet":                               func(f Frame, w http.ResponseWriter) { f.LoggedOut(w, LoggedOut{}) },
		"Wir können Sie nicht abmelden":                     func(f Frame, w http.ResponseWriter) { f.Problem(w, Problem{Kind: "logout"}) },
		"Seit <bdi>5. März 2026</bdi>": func(f Frame, w http.ResponseWriter) {
			f.Account(w, Account{Grants: []Grant{{Client: shop, Since: noon}}})
		},
	} {
		if body := show(f, draw).Body.String(); !strings.Contains(body, want) || !strings.Contains(body, `<html lang="de"`) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestLanguageLookup(t *testing.T) {
	t.Parallel()
	tests := []struct {
		wanted []string
		want   string
	}{
		{nil, "en"},
		{[]string{"de"}, "de"},
		{[]string{"de-AT"}, "de"},
		{[]string{"DE-Latn-CH-1996"}, "de"},
		{[]string{"de-x-private"}, "de"},
		{[]string{"fr-CA", "de-DE", "en"}, "de"},
		{[]string{"en-GB", "de"}, "en"},
		{[]string{"fr", "it"}, "en"},
		{[]string{"den", "d", "-", "*", ""}, "en"},
		{[]string{"../de", "de\x00"}, "en"},
		{[]string{"pt-BR"}, "pt"},
	}
	extra := map[string]Messages{"pt": {"login.title": "Entrar"}}
	for _, test := range tests {
		if got := choose(test.wanted, extra).Lang; got != test.want {
			t.Errorf("%q: %q, want %q", test.wanted, got, test.want)
		}
	}
	if got := shorten("zh-Hant-x-a"); got != "zh-Hant" {
		t.Errorf("RFC 4647 §3.4: a single letter stays: %q", got)
	}
}

func TestLocales(t *testing.T) {
	t.Parallel()
	tests := []struct {
		ui, accept string
		want       []string
	}{
		{"", "", nil},
		{"de-AT fr", "en;q=0.8, it", []string{"de-AT", "fr", "it", "en"}},
		{"", "da, en-gb;q=0.8, en;q=0.7", []string{"da", "en-gb", "en"}},
		{"", "en;q=0.2,de; q=0.9 ,*;q=0.1", []string{"de", "en"}},
		{"", "en;q=0, de;q=2, fr;q=x, it;q=NaN, es;q=-1", nil},
		{"<script> de", "\"><b>", []string{"de"}},
		{strings.Repeat("de ", 100), strings.Repeat("en,", 100), append(slices.Repeat([]string{"de"}, 16), slices.Repeat([]string{"en"}, 16)...)},
		{strings.Repeat("x", 36), "", nil},
	}
	for _, test := range tests {
		if got := Locales(test.ui, test.accept); !slices.Equal(got, test.want) {
			t.Errorf("%.40q, %.40q: got %q, want %q", test.ui, test.accept, got, test.want)
		}
	}
}

func FuzzLocales(f *testing.F) {
	f.Add("de-AT fr", "en;q=0.8, it")
	f.Add("", "*;q=0.5,;;=,de;q")
	f.Fuzz(func(t *testing.T, ui, accept string) {
		tags := Locales(ui, accept)
		if len(tags) > 32 {
			t.Fatal(len(tags))
		}
		for _, tag := range tags {
			if !languageTag(tag) {
				t.Fatalf("%q", tag)
			}
		}
		choose(tags, nil)
	})
}

// An embedder's texts come first, are escaped like everything else, and need
// not be complete.
func TestOwnMessages(t *testing.T) {
	t.Parallel()
	f := Frame{Locales: []string{"nl-BE"}, Messages: map[string]Messages{
		"nl": {"login.title": "Aanmelden <b>&", "login.lead": "{client}: {nothing}", "scope.orders": "Bestellen", "dir": ""},
		"en": {"detail.payment": "A payment"},
	}}
	before := maps.Clone(builtIn()["en"])
	body := show(f, func(f Frame, w http.ResponseWriter) { f.Login(w, Login{Client: Client{Name: "{client} <i>"}}) }).Body.String()
	for _, want := range []string{`<html lang="nl" dir="ltr">`, "<h1>Aanmelden &lt;b&gt;&amp;</h1>", "<bdi>{client} &lt;i&gt;</bdi>: </p>", ">Username<"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	f.Locales = nil
	body = show(f, func(f Frame, w http.ResponseWriter) { f.Consent(w, Consent{Details: []Detail{{Type: "payment"}}}) }).Body.String()
	if !strings.Contains(body, "<bdi>A payment</bdi>") {
		t.Error("the type of the detail is not named")
	}
	if !maps.Equal(before, builtIn()["en"]) {
		t.Error("the built-in texts have changed")
	}
}

func TestUnbalancedBraces(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a {x} b": "a 1 b", "{x}{x}": "11", "{": "{", "}": "}", "a } {x}": "a } {x}", "{x": "{x", "": "",
	} {
		s := speech{texts: []Messages{{"k": text}}}
		if got := s.Plain("k", "x", "1"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	p := page{speech: choose(nil, nil)}
	for month := time.January; month <= time.December; month++ {
		if got, want := p.Date(time.Date(2026, month, 9, 0, 0, 0, 0, time.UTC)), "9 "+month.String()+" 2026"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	en, de := choose(nil, nil), choose([]string{"de"}, nil)
	for d, want := range map[time.Duration][2]string{
		0: {"", ""}, -time.Hour: {"", ""}, time.Second: {"1 minute", "1 Minute"}, 10 * time.Minute: {"10 minutes", "10 Minuten"},
		90*time.Minute + 1: {"91 minutes", "91 Minuten"}, 2 * time.Hour: {"2 hours", "2 Stunden"}, 47*time.Hour + 1: {"48 hours", "48 Stunden"},
		48 * time.Hour: {"2 days", "2 Tagen"}, 90 * 24 * time.Hour: {"90 days", "90 Tagen"},
	} {
		if got := en.Span(d); got != want[0] {
			t.Errorf("%v: %q, want %q", d, got, want[0])
		}
		if got := de.Span(d); got != want[1] {
			t.Errorf("%v: %q, want %q", d, got, want[1])
		}
	}
}
