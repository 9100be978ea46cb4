package handlerstest

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
)

// jar is a browser's cookies with their SameSite, which net/http/cookiejar keeps
// and does not heed: a session cookie that is Strict is not there when somebody
// comes from an application of another site. RFC 6265bis §5.7.3.
type jar struct {
	*cookiejar.Jar
	mu   *sync.Mutex
	same map[string]http.SameSite // by host and name
}

func newJar() (*jar, error) {
	j, err := cookiejar.New(nil)
	return &jar{j, &sync.Mutex{}, map[string]http.SameSite{}}, err
}

// SetCookies implements http.CookieJar.
func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	for _, c := range cookies {
		j.same[u.Hostname()+" "+c.Name] = c.SameSite
	}
	j.mu.Unlock()
	j.Jar.SetCookies(u, cookies)
}

// foreign is what of the jar goes along with a navigation that another site
// begins.
type foreign struct {
	*jar
	post bool
}

// Cookies implements http.CookieJar.
func (f foreign) Cookies(u *url.URL) []*http.Cookie {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sent []*http.Cookie
	for _, c := range f.Jar.Cookies(u) {
		if s := f.same[u.Hostname()+" "+c.Name]; s == http.SameSiteStrictMode || f.post && s != http.SameSiteNoneMode {
			continue
		}
		sent = append(sent, c)
	}
	return sent
}
