package ui

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
)

//go:embed templates
var templateFiles embed.FS

//go:embed style.css
var style string

// formPostScript is the whole content of the only script element. The policy
// allows exactly these bytes.
const formPostScript = "document.forms[0].submit()"

// templates holds one set per page: the shared parts and the page's own
// blocks. A mistake in them is a mistake of this package, found by any test.
var templates = sync.OnceValue(func() map[string]*template.Template {
	shared := template.Must(template.ParseFS(templateFiles, "templates/shared/*.html"))
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	sets := make(map[string]*template.Template, len(files))
	for _, file := range files {
		set := template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, file))
		sets[strings.TrimSuffix(path.Base(file), ".html")] = set
	}
	return sets
})

// page is what the templates see. Its methods are their vocabulary.
type page struct {
	V      any     // the view
	Client *Client // nil where no client is known
	Wide   bool    // a list rather than a question
	Failed bool    // the title says so first, because it is what is read aloud first
	Name   string
	Nonce  string
	Script template.JS

	postTo string // action of a form_post page
	speech
}

// Style is the one stylesheet.
func (page) Style() template.CSS { return template.CSS(style) }

// Link returns the URL if it is safe to offer and "" otherwise.
func (page) Link(raw string) string { return webLink(raw) }

// SiteLink is Link that also takes a path of this site.
func (page) SiteLink(raw string) string { return siteLink(raw) }

// Text cleans a stranger's text for display.
func (page) Text(s string) string { return cleanText(s, maxText) }

// App is the client's name as shown.
func (p page) App() string { return p.AppName(p.Client) }

// AppName is any client's name as shown.
func (p page) AppName(c *Client) string {
	if c == nil {
		return p.Plain("client.unnamed")
	}
	for _, s := range []string{c.Name, c.ID} {
		if s = cleanText(s, maxName); s != "" {
			return s
		}
	}
	return p.Plain("client.unnamed")
}

// Initial is the first letter of a name, for its tile.
func (page) Initial(s string) string { return initial(s) }

// ISO is a time for machines.
func (page) ISO(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Loopback says whether the host is this device.
func (page) Loopback(host string) bool { return loopbackHost(host) }

// render writes a page. It is executed into memory first, so that a failure
// cannot leave half a page with a good status.
func (f Frame) render(w http.ResponseWriter, name string, p page) {
	p.Name = cleanText(f.Name, maxName)
	p.Nonce = rand.Text()
	p.speech = choose(f.Locales, f.Messages)
	h := w.Header()
	f.headers(h, p)
	var buf bytes.Buffer
	err := templates()[name].ExecuteTemplate(&buf, "page", p)
	if err != nil || name == "form_post" && formTarget(p.postTo) == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("This page cannot be shown.\n"))
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", p.Lang)
	if f.Status != 0 {
		w.WriteHeader(f.Status)
	}
	// A value in a wrong encoding would make a browser guess; it would read the
	// replacement character anyway.
	_, _ = w.Write(bytes.ToValidUTF8(buf.Bytes(), []byte("\ufffd"))) // fails only when nobody listens any more
}

func (f Frame) headers(h http.Header, p page) {
	csp := "default-src 'none'"
	if p.Script != "" {
		sum := sha256.Sum256([]byte(p.Script))
		csp += "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	csp += "; style-src 'nonce-" + p.Nonce + "'; img-src 'self' data:; " + f.formAction(p.postTo) + "; base-uri 'none'; frame-ancestors 'none'"

	h.Set("Content-Security-Policy", csp)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	if f.HSTS {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// FormPolicy is the form-action directive of the pages' policy, for a page of
// the application's own.
func (f Frame) FormPolicy() string { return f.formAction("") }

func (f Frame) formAction(postTo string) string {
	targets := f.FormAction
	if postTo != "" {
		targets = append(targets[:len(targets):len(targets)], formTarget(postTo))
	}
	policy := "form-action 'self' https:"
	for _, t := range targets {
		if s := formSource(t, postTo != ""); s != "" {
			policy += " " + s
		}
	}
	return policy
}

var (
	schemeSource = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:$`)
	hostSource   = regexp.MustCompile(`^https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
)

// formSource returns the CSP source for a form-action entry, or "" if the
// entry is none: a stray space or semicolon would write policy.
func formSource(s string, anyHost bool) string {
	if schemeSource.MatchString(s) {
		switch strings.TrimSuffix(s, ":") {
		case "http", "https", "javascript", "data", "blob", "filesystem", "vbscript", "about", "file":
			return ""
		}
		return s
	}
	if !hostSource.MatchString(s) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || !anyHost && !(u.Scheme == "http" && loopbackHost(u.Hostname())) {
		return ""
	}
	if strings.Contains(s, "[") {
		// The grammar of a source has no IPv6 address, and a browser ignores one
		// (Content Security Policy Level 3 §2.3.1). Only the scheme is left.
		return u.Scheme + ":"
	}
	return s
}

// formTarget returns the origin of an http or https URL, "" for others.
func formTarget(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// webLink returns raw if it is https, or http to this device, and else "".
func webLink(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return ""
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopbackHost(u.Hostname()) {
		return u.String()
	}
	return ""
}

// siteLink also lets a path through. Browsers read \ as /, and //host as
// another site.
func siteLink(raw string) string {
	if strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") && !strings.ContainsAny(raw, "\\\t\r\n") {
		return raw
	}
	return webLink(raw)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
