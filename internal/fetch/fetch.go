// Package fetch reads documents from URLs that somebody else chose: key sets,
// request objects, sector identifiers, client metadata. It is the only way out
// of the kit.
//
// Whoever names a URL must not be able to reach what only this host can reach.
// So: https with certificates verified, names without tricks, and the address
// checked when it is dialled, after the name was resolved, so that a name that
// changes its address in between (DNS rebinding) gains nothing. No redirects, no
// proxy of the environment, no cookies, no compression.
//
// And nobody may use this host to flood another, or be hurt by one that is slow:
// a URL is fetched at most once a minute, once at a time however many ask, with
// bounds on time, size, entries and connections; an answer that was good is kept
// for a while when later ones fail.
package fetch

import (
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Why a fetch fails. The errors wrap the cause for the log; none is for a
// client's eyes, because the difference between them maps a network.
var (
	ErrURL         = errors.New("fetch: URL refused")
	ErrBlocked     = errors.New("fetch: address refused") // the name stands for no public address
	ErrUnavailable = errors.New("fetch: no answer")       // DNS, TCP, TLS, HTTP or time
	ErrStatus      = errors.New("fetch: status is not 200")
	ErrType        = errors.New("fetch: content type refused")
	ErrTooLarge    = errors.New("fetch: too large")
)

const (
	minTTL     = time.Minute
	defaultTTL = 5 * time.Minute
	maxTTL     = time.Hour

	// pause is the least time between two fetches of a URL, failed or not.
	pause = time.Minute

	// maxStale is how long after its end a good answer still serves when no
	// newer one can be had.
	maxStale = 24 * time.Hour

	maxEntries    = 1024
	maxCacheBytes = 32 << 20
	maxParallel   = 32
)

// Options of a Fetcher. The zero value is the one for production.
type Options struct {
	AllowLoopback bool             // also dial 127.0.0.0/8 and ::1; for tests and development
	RootCAs       *x509.CertPool   // nil: those of the system
	Timeout       time.Duration    // of one fetch from DNS to the last byte; 0: 3 s
	MaxBytes      int64            // of a body; 0: 256 KiB
	Now           func() time.Time // nil: time.Now
}

// Fetcher fetches and caches. It is safe for concurrent use and needs no
// closing: between fetches it holds no connection and no goroutine.
type Fetcher struct {
	loopback bool
	timeout  time.Duration
	maxBytes int64
	now      func() time.Time
	client   *http.Client
	slots    chan struct{} // one element a running fetch

	// The ways to the network, exchanged in tests.
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

	mu      sync.Mutex
	entries map[string]*list.Element // of *entry
	used    *list.List               // the latest first
	bytes   int64                    // of all bodies
}

// New returns a Fetcher.
func New(o Options) *Fetcher {
	f := &Fetcher{
		loopback: o.AllowLoopback,
		timeout:  o.Timeout,
		maxBytes: o.MaxBytes,
		now:      o.Now,
		slots:    make(chan struct{}, maxParallel),
		entries:  make(map[string]*list.Element),
		used:     list.New(),
	}
	if f.timeout <= 0 {
		f.timeout = 3 * time.Second
	}
	if f.maxBytes <= 0 {
		f.maxBytes = 256 << 10
	}
	if f.now == nil {
		f.now = time.Now
	}
	f.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	dialer := &net.Dialer{KeepAlive: -1, Control: f.control}
	f.dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", addr.String())
	}
	f.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            f.dialContext,
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f
}

// Get returns the document at an https URL, from the cache while it is fresh:
// for the max-age of its Cache-Control between a minute and an hour, or 5
// minutes. When it cannot be had anew the last good one serves for 24 hours
// more; without one the error is kept for a minute. The media type must be one
// of contentTypes; none given means application/json and
// application/jwk-set+json.
//
// A fetch that has begun is finished within the timeout although its caller
// goes away: others may wait for it, and hanging up must not be a way to fetch
// more often.
func (f *Fetcher) Get(ctx context.Context, rawURL string, contentTypes ...string) ([]byte, error) {
	return f.get(ctx, rawURL, contentTypes, false)
}

// Refresh is Get past the cache, for a document that turns out not to hold what
// it should, such as a key by its kid. A URL that was fetched within the last
// minute is not fetched again: the answer is then that of Get.
func (f *Fetcher) Refresh(ctx context.Context, rawURL string, contentTypes ...string) ([]byte, error) {
	return f.get(ctx, rawURL, contentTypes, true)
}

// Check tells whether Get would look at the URL at all; the name is not
// resolved. ErrURL or ErrBlocked.
func (f *Fetcher) Check(rawURL string) error {
	_, err := f.parse(rawURL)
	return err
}

// entry is what is known of one URL. The zero value knows nothing.
type entry struct {
	key     string
	body    []byte    // the last good one; nil: none
	expires time.Time // of body
	next    time.Time // no fetch before
	err     error     // of the last fetch
	flight  chan struct{}
}

func (f *Fetcher) get(ctx context.Context, rawURL string, types []string, force bool) ([]byte, error) {
	u, err := f.parse(rawURL)
	if err != nil {
		return nil, err
	}
	if len(types) == 0 {
		types = []string{"application/json", "application/jwk-set+json"}
	}
	key := rawURL + "\n" + strings.Join(types, "\n")

	f.mu.Lock()
	e := f.entry(key)
	now := f.now()
	// A clock that was set back must not freeze an entry: hence the upper bounds.
	fresh := e.body != nil && now.Before(e.expires) && e.expires.Sub(now) <= maxTTL
	tooSoon := now.Before(e.next) && e.next.Sub(now) <= pause
	switch {
	case fresh && !force, e.flight == nil && tooSoon:
		defer f.mu.Unlock()
		return e.answer(now)
	case e.flight == nil:
		e.flight = make(chan struct{})
		e.next = now.Add(pause)
		go f.fly(context.WithoutCancel(ctx), e, u, types)
	}
	flight := e.flight
	f.mu.Unlock()

	select {
	case <-flight:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return e.answer(f.now())
}

// answer is the body if it may serve, else the error of the last fetch.
func (e *entry) answer(now time.Time) ([]byte, error) {
	if e.body != nil && now.Before(e.expires.Add(maxStale)) {
		return bytes.Clone(e.body), nil
	}
	if e.err == nil {
		return nil, fmt.Errorf("%w: expired", ErrUnavailable)
	}
	return nil, e.err
}

// fly fetches once and stores what came of it.
func (f *Fetcher) fly(ctx context.Context, e *entry, u *url.URL, types []string) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	body, ttl, err := f.fetch(ctx, u, types)

	f.mu.Lock()
	defer f.mu.Unlock()
	e.err = err
	if err == nil {
		f.bytes += int64(len(body) - len(e.body))
		e.body, e.expires = body, f.now().Add(ttl)
	}
	close(e.flight)
	e.flight = nil
	f.evict()
}

// entry finds or makes the entry of a key and marks it used.
func (f *Fetcher) entry(key string) *entry {
	if el, ok := f.entries[key]; ok {
		f.used.MoveToFront(el)
		return el.Value.(*entry)
	}
	e := &entry{key: key}
	f.entries[key] = f.used.PushFront(e)
	f.evict()
	return e
}

// evict drops the entries that were not used for longest. Those in flight stay,
// so that single flight holds; the semaphore and the timeout bound them.
func (f *Fetcher) evict() {
	for el := f.used.Back(); el != nil && (f.used.Len() > maxEntries || f.bytes > maxCacheBytes); {
		e, prev := el.Value.(*entry), el.Prev()
		if e.flight == nil && el != f.used.Front() {
			f.bytes -= int64(len(e.body))
			f.used.Remove(el)
			delete(f.entries, e.key)
		}
		el = prev
	}
}

// fetch reads a document from the network.
func (f *Fetcher) fetch(ctx context.Context, u *url.URL, types []string) (body []byte, ttl time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrURL, err)
	}
	req.Header.Set("Accept", strings.Join(types, ", "))
	header, body, err := f.do(req)
	if err != nil {
		return nil, 0, err
	}
	if !typeIn(header, types) {
		return nil, 0, ErrType
	}
	return body, timeToLive(header), nil
}

// do sends a request and reads an answer with status 200 to its end.
func (f *Fetcher) do(req *http.Request) (http.Header, []byte, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-req.Context().Done():
		return nil, nil, fmt.Errorf("%w: too many fetches at once", ErrUnavailable)
	}
	req.Header.Set("User-Agent", "idpkit")
	resp, err := f.client.Do(req)
	if err != nil {
		if errors.Is(err, ErrBlocked) {
			return nil, nil, fmt.Errorf("%w: %s", ErrBlocked, req.URL.Host)
		}
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK: // a redirect too
		return nil, nil, fmt.Errorf("%w: %d", ErrStatus, resp.StatusCode)
	case len(resp.Header["Content-Encoding"]) > 0:
		return nil, nil, fmt.Errorf("%w: compressed", ErrType)
	case resp.ContentLength > f.maxBytes:
		return nil, nil, ErrTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, f.maxBytes+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case int64(len(body)) > f.maxBytes:
		return nil, nil, ErrTooLarge
	}
	if body == nil {
		body = []byte{}
	}
	return resp.Header, body, nil
}

func typeIn(header http.Header, types []string) bool {
	values := header["Content-Type"]
	if len(values) != 1 {
		return false
	}
	got, _, err := mime.ParseMediaType(values[0])
	return err == nil && slices.Contains(types, got)
}

// timeToLive reads Cache-Control (RFC 9111 §5.2.2). The bounds hold whatever it
// says: no-store would make every request a fetch.
func timeToLive(header http.Header) time.Duration {
	ttl := defaultTTL
	for _, value := range header["Cache-Control"] {
		for directive := range strings.SplitSeq(value, ",") {
			name, arg, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return minTTL
			case "max-age":
				seconds, err := strconv.ParseUint(strings.Trim(arg, `"`), 10, 31)
				if err != nil {
					if !errors.Is(err, strconv.ErrRange) {
						return minTTL // RFC 9111 §4.2.1: what is not understood is stale
					}
					seconds = uint64(maxTTL / time.Second)
				}
				ttl = min(max(time.Duration(seconds)*time.Second, minTTL), maxTTL)
			}
		}
	}
	return ttl
}
