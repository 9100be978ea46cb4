package handlers

import (
	"encoding/base64"
	"net/http"

	"github.com/idpkit/idpkit/internal/handle"
)

// Cookies. RFC 6265bis §4.1.3.2 for the __Host- prefix.

const (
	cookieSession = "session"
	cookieBrowser = "browser"
)

func (p *Provider) setCookie(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{
		Name: p.cookies + name, Value: value, Path: "/",
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// cookie returns the value of a cookie that was sent exactly once.
func (p *Provider) cookie(r *http.Request, name string) string {
	cs := r.CookiesNamed(p.cookies + name)
	if len(cs) != 1 {
		return ""
	}
	return cs[0].Value
}

// sessionCookie is how a browser names a session and proves that it is its own.
func sessionCookie(key string, secret []byte) string {
	return handle.Session + key + "." + base64.RawURLEncoding.EncodeToString(secret)
}

// parseSessionCookie splits what sessionCookie made.
func parseSessionCookie(v string) (key string, secret []byte, ok bool) {
	enc := base64.RawURLEncoding
	keyLen := enc.EncodedLen(sessionKeyBytes)
	if len(v) != len(handle.Session)+keyLen+1+enc.EncodedLen(sessionSecretBytes) ||
		v[:len(handle.Session)] != handle.Session || v[len(handle.Session)+keyLen] != '.' {
		return "", nil, false
	}
	key = v[len(handle.Session):][:keyLen]
	if b, ok := handle.Decode(key); !ok || len(b) != sessionKeyBytes {
		return "", nil, false
	}
	secret, ok = handle.Decode(v[len(handle.Session)+keyLen+1:])
	return key, secret, ok && len(secret) == sessionSecretBytes
}

// browser returns the digest of the browser-binding cookie, or "".
func (p *Provider) browser(r *http.Request) string {
	v := p.cookie(r, cookieBrowser)
	if b, ok := handle.Decode(v); !ok || len(b) != sessionSecretBytes {
		return ""
	}
	return handle.Key(v)
}

// bindBrowser returns the digest of the browser-binding cookie and sets one if
// the browser has none.
func (p *Provider) bindBrowser(w http.ResponseWriter, r *http.Request) (string, error) {
	if b := p.browser(r); b != "" {
		return b, nil
	}
	v, err := handle.Random(p.rand, sessionSecretBytes)
	if err != nil {
		return "", err
	}
	p.setCookie(w, cookieBrowser, v)
	return handle.Key(v), nil
}

// csrfToken is bound to one page, one thing on it and one browser.
func (p *Provider) csrfToken(page, id, browser string) string {
	mac := p.seal.MAC(csrfPurpose, []byte(handle.DerivedKey(page, id, browser)))
	return base64.RawURLEncoding.EncodeToString(mac)
}

const csrfPurpose = "csrf"

// checkForm refuses a form that another site sent or that was drawn for
// another browser. It reads the body as form values, for the page to use.
func (p *Provider) checkForm(r *http.Request, page, id, browser string) error {
	if err := p.csrf.Check(r); err != nil {
		return refuse("request.cross_site", err)
	}
	got := r.Header.Get("X-CSRF-Token")
	if got == "" {
		r.Body = http.MaxBytesReader(nil, r.Body, 64<<10)
		if err := r.ParseForm(); err != nil {
			return refuse("request.malformed", err)
		}
		got = r.PostForm.Get("csrf")
	}
	mac, ok := handle.Decode(got)
	if !ok || !p.seal.VerifyMAC(csrfPurpose, []byte(handle.DerivedKey(page, id, browser)), mac) {
		return refuse("interaction.csrf", nil)
	}
	return nil
}
