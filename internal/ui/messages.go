package ui

import (
	"cmp"
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Messages are the texts of one language by key. A text is plain, never HTML;
// {name} stands for a value. The keys are those of messages/en.json. Keys that
// are missing are taken from the built-in texts of the language, then from
// English.
type Messages map[string]string

// Another language is one more file here, named by its tag in lower case.
//
//go:embed messages
var messageFiles embed.FS

const fallback = "en"

var builtIn = sync.OnceValue(func() map[string]Messages {
	files, err := fs.Glob(messageFiles, "messages/*.json")
	if err != nil {
		panic(err)
	}
	all := make(map[string]Messages, len(files))
	for _, file := range files {
		data, err := fs.ReadFile(messageFiles, file)
		if err != nil {
			panic(err)
		}
		var m Messages
		if err := json.Unmarshal(data, &m); err != nil {
			panic("ui: " + file + ": " + err.Error())
		}
		all[strings.TrimSuffix(path.Base(file), ".json")] = m
	}
	return all
})

// speech is the language of one page.
type speech struct {
	Lang  string
	texts []Messages // first one that has the key wins
}

// choose matches the wanted languages by lookup, RFC 4647 §3.4: each tag is
// shortened from its end until it fits. Without a match it is English.
func choose(wanted []string, extra map[string]Messages) speech {
	lang := fallback
	known := func(tag string) bool { return extra[tag] != nil || builtIn()[tag] != nil }
search:
	for _, tag := range wanted {
		for tag = strings.ToLower(tag); tag != ""; tag = shorten(tag) {
			if known(tag) {
				lang = tag
				break search
			}
		}
	}
	return speech{Lang: lang, texts: []Messages{extra[lang], builtIn()[lang], builtIn()[fallback]}}
}

// shorten drops the last subtag, and a single letter that would then be last.
func shorten(tag string) string {
	i := strings.LastIndexByte(tag, '-')
	if i < 0 {
		return ""
	}
	if tag = tag[:i]; i >= 2 && tag[i-2] == '-' {
		tag = tag[:i-2]
	}
	return tag
}

// Locales returns the languages a user wants, best first: ui_locales (tags
// separated by spaces, OpenID Connect Core §3.1.2.1), then Accept-Language by
// quality (RFC 9110 §12.5.4). Excess and malformed parts are ignored.
func Locales(uiLocales, acceptLanguage string) []string {
	const most = 16
	type ranged struct {
		tag string
		q   float64
	}
	var accepted []ranged
	for part := range strings.SplitSeq(acceptLanguage, ",") {
		if len(accepted) == most {
			break
		}
		tag, params, _ := strings.Cut(part, ";")
		r := ranged{tag: strings.TrimSpace(tag), q: 1}
		if name, value, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				continue
			}
			r.q = q
		}
		if languageTag(r.tag) && r.q > 0 && r.q <= 1 {
			accepted = append(accepted, r)
		}
	}
	slices.SortStableFunc(accepted, func(a, b ranged) int { return cmp.Compare(b.q, a.q) })

	var tags []string
	for tag := range strings.FieldsSeq(uiLocales) {
		if languageTag(tag) && len(tags) < most {
			tags = append(tags, tag)
		}
	}
	for _, r := range accepted {
		tags = append(tags, r.tag)
	}
	return tags
}

// languageTag says whether s has the shape of a tag; "*" has not.
func languageTag(s string) bool {
	if s == "" || len(s) > 35 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Has says whether there is a text for the key.
func (s speech) Has(key string) bool { return s.text(key) != "" }

func (s speech) text(key string) string {
	for _, m := range s.texts {
		if t := m[key]; t != "" {
			return t
		}
	}
	return ""
}

// T is the text for HTML. Pairs are names and values; a value is isolated from
// the direction of the text around it.
func (s speech) T(key string, pairs ...string) template.HTML {
	return template.HTML(fill(s.text(key), template.HTMLEscapeString, func(v string) string {
		return "<bdi>" + template.HTMLEscapeString(v) + "</bdi>"
	}, pairs))
}

// Span is a length of time in words, rounded up; "" for none.
func (s speech) Span(d time.Duration) string {
	unit, name := time.Minute, "minute"
	switch {
	case d <= 0:
		return ""
	case d >= 48*time.Hour:
		unit, name = 24*time.Hour, "day"
	case d >= 2*time.Hour:
		unit, name = time.Hour, "hour"
	}
	n := int64((d + unit - 1) / unit)
	if n != 1 {
		name += "s"
	}
	return s.Plain("span."+name, "n", strconv.FormatInt(n, 10))
}

// Plain is the text for titles and attributes.
func (s speech) Plain(key string, pairs ...string) string {
	same := func(v string) string { return v }
	return fill(s.text(key), same, same, pairs)
}

// fill replaces {name} by its value, once: a value is never searched again.
func fill(text string, literal, value func(string) string, pairs []string) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(text, '{')
		shut := strings.IndexByte(text, '}')
		if open < 0 || shut < open {
			break
		}
		b.WriteString(literal(text[:open]))
		name := text[open+1 : shut]
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				b.WriteString(value(pairs[i+1]))
			}
		}
		text = text[shut+1:]
	}
	b.WriteString(literal(text))
	return b.String()
}

// Title is the text of the title element.
func (p page) Title(key string, pairs ...string) string {
	title := p.Plain(key, pairs...)
	if p.Failed {
		title = p.Plain("title.error", "title", title)
	}
	if p.Name != "" {
		title = p.Plain("title.site", "title", title, "site", p.Name)
	}
	return title
}

// ScopeText describes a scope.
func (p page) ScopeText(s Scope) string {
	if d := cleanText(s.Description, maxText); d != "" {
		return d
	}
	if d := p.Plain("scope." + s.Name); d != "" {
		return d
	}
	return cleanText(s.Name, maxText)
}

// ClaimText describes a claim.
func (p page) ClaimText(name string) string {
	if d := p.Plain("claim." + name); d != "" {
		return d
	}
	return cleanText(name, maxText)
}

// DetailText names a type of authorization details. The built-in texts know
// none; an embedder adds the key "detail." and the type.
func (p page) DetailText(typ string) string {
	if d := p.Plain("detail." + typ); d != "" {
		return d
	}
	return cleanText(typ, maxText)
}

// Date is a day as people write it.
func (p page) Date(t time.Time) string {
	return p.Plain("date", "day", strconv.Itoa(t.Day()), "year", strconv.Itoa(t.Year()),
		"month", p.Plain("month."+strconv.Itoa(int(t.Month()))))
}
