package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server is an https server on loopback that counts requests.
type server struct {
	*httptest.Server
	hits atomic.Int64
}

func newServer(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		h(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// clock is a time that only moves when told.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newFetcher(s *server, c *clock) *Fetcher {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return New(Options{AllowLoopback: true, RootCAs: roots, Now: c.now})
}

func write(w http.ResponseWriter, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	io.WriteString(w, body)
}

func TestGet(t *testing.T) {
	t.Parallel()
	const limit = 256 << 10
	secret := newServer(t, func(w http.ResponseWriter, _ *http.Request) { write(w, "application/json", `{"secret":1}`) })
	for _, tt := range []struct {
		name  string
		h     http.HandlerFunc
		types []string
		want  error
	}{
		{"good", func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") }, nil, nil},
		{"good, key set", func(w http.ResponseWriter, r *http.Request) { write(w, "application/jwk-set+json", "{}") }, nil, nil},
		{"good, charset and case", func(w http.ResponseWriter, r *http.Request) { write(w, "Application/JSON; charset=utf-8", "{}") }, nil, nil},
		{"good, empty", func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "") }, nil, nil},
		{"good, asked for", func(w http.ResponseWriter, r *http.Request) { write(w, "application/jwt", "a.b.c") }, []string{"application/jwt"}, nil},
		{"good, largest", func(w http.ResponseWriter, r *http.Request) {
			write(w, "application/json", strings.Repeat(" ", limit))
		}, nil, nil},
		{"request has no surprises", func(w http.ResponseWriter, r *http.Request) {
			for name := range r.Header {
				if name != "Accept" && name != "User-Agent" && name != "Connection" {
					http.Error(w, name, 400)
				}
			}
			if r.Method != "GET" || r.Proto != "HTTP/1.1" || r.ContentLength != 0 ||
				r.Header.Get("Accept") != "application/json, application/jwk-set+json" || r.Header.Get("User-Agent") != "idpkit" {
				http.Error(w, "request", 400)
			}
			write(w, "application/json", "{}")
		}, nil, nil},

		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret.URL, http.StatusFound) }, nil, ErrStatus},
		{"redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, nil, ErrStatus},
		{"redirect to metadata", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusMovedPermanently)
		}, nil, ErrStatus},
		{"redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusPermanentRedirect)
		}, nil, ErrStatus},
		{"Refresh header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Refresh", "0; url="+secret.URL)
			write(w, "application/json", "{}")
		}, nil, nil},
		{"300", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", secret.URL)
			w.WriteHeader(300)
		}, nil, ErrStatus},
		{"304", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, nil, ErrStatus},
		{"201", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(201)
		}, nil, ErrStatus},
		{"204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, nil, ErrStatus},
		{"206", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(206)
		}, nil, ErrStatus},
		{"404", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, nil, ErrStatus},
		{"500", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "{}", 500) }, nil, ErrStatus},

		{"HTML", func(w http.ResponseWriter, r *http.Request) { write(w, "text/html", "{}") }, nil, ErrType},
		{"text", func(w http.ResponseWriter, r *http.Request) { write(w, "text/plain", "{}") }, nil, ErrType},
		{"JSON where a JWT is wanted", func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") }, []string{"application/jwt"}, ErrType},
		{"no type", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "{}")
		}, nil, ErrType},
		{"two types", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = []string{"application/json", "text/html"}
			io.WriteString(w, "{}")
		}, nil, ErrType},
		{"types in a list", func(w http.ResponseWriter, r *http.Request) { write(w, "application/json, text/html", "{}") }, nil, ErrType},
		{"a longer type", func(w http.ResponseWriter, r *http.Request) { write(w, "application/json5", "{}") }, nil, ErrType},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(make([]byte, 10<<20))
			z.Close()
		}, nil, ErrType},

		{"too large", func(w http.ResponseWriter, r *http.Request) {
			write(w, "application/json", strings.Repeat(" ", limit+1))
		}, nil, ErrTooLarge},
		{"too large and says so", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			write(w, "application/json", "{")
		}, nil, ErrTooLarge},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for chunk := make([]byte, 32<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, nil, ErrTooLarge},
		{"shorter than it says", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			write(w, "application/json", "{}")
		}, nil, ErrUnavailable},
		{"large header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			write(w, "application/json", "{}")
		}, nil, ErrUnavailable},
		{"hangs up", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, nil, ErrUnavailable},
		{"no HTTP", func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n")
				conn.Close()
			}
		}, nil, ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.h)
			f := newFetcher(s, newClock())
			body, err := f.Get(t.Context(), s.URL+"/doc", tt.types...)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (err == nil) != (body != nil) {
				t.Errorf("got %d bytes, %v, want %v", len(body), err, tt.want)
			}
			if n := s.hits.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
	t.Cleanup(func() {
		if n := secret.hits.Load(); n != 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
	})
}

// Whoever never finishes costs the timeout and no more.
func TestSlow(t *testing.T) {
	t.Parallel()
	// A handler that returned would end its answer, perhaps just in time.
	wait := func(r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	for name, h := range map[string]http.HandlerFunc{
		"header": func(w http.ResponseWriter, r *http.Request) { wait(r) },
		"body": func(w http.ResponseWriter, r *http.Request) {
			write(w, "application/json", "{")
			w.(http.Flusher).Flush()
			wait(r)
		},
		"trickle": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					io.WriteString(w, " ")
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					wait(r)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, h)
			roots := x509.NewCertPool()
			roots.AddCert(s.Certificate())
			f := New(Options{AllowLoopback: true, RootCAs: roots, Timeout: 100 * time.Millisecond})
			if body, err := f.Get(t.Context(), s.URL); !errors.Is(err, ErrUnavailable) || body != nil {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() { // accepts and says nothing
			defer close(closed)
			conn, err := l.Accept()
			if err == nil {
				io.Copy(io.Discard, conn) // until the fetcher closes
				conn.Close()
			}
		}()
		f := New(Options{AllowLoopback: true, Timeout: 100 * time.Millisecond})
		if body, err := f.Get(t.Context(), "https://"+l.Addr().String()); !errors.Is(err, ErrUnavailable) || body != nil {
			t.Errorf("got %q, %v", body, err)
		}
		<-closed // the connection does not outlive the fetch
		l.Close()
	})
	t.Run("lookup", func(t *testing.T) {
		t.Parallel()
		f := New(Options{Timeout: 50 * time.Millisecond})
		f.lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
		if body, err := f.Get(t.Context(), "https://rp.example/"); !errors.Is(err, ErrUnavailable) || body != nil {
			t.Errorf("got %q, %v", body, err)
		}
	})
	t.Run("first address", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") })
		f := newFetcher(s, newClock())
		f.lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("2606:2800:220:1::1"), netip.MustParseAddr("93.184.216.34")}, nil
		}
		f.dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			if addr.Addr().Is6() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
		}
		if body, err := f.Get(t.Context(), "https://example.com/"); err != nil || string(body) != "{}" {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") })
	to := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}
	public := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	for _, tt := range []struct {
		name, url string
		trusted   bool
		want      error
	}{
		{"good", "https://example.com/a", true, nil},
		{"name of another host", "https://other.example/a", true, ErrUnavailable},
		{"unknown authority", "https://example.com/a", false, ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := New(Options{RootCAs: x509.NewCertPool()})
			if tt.trusted {
				f = newFetcher(s, newClock())
			}
			f.lookup, f.dial = public, to
			if _, err := f.Get(t.Context(), tt.url); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// The proxy of the environment would resolve names by itself.
func TestNoProxy(t *testing.T) {
	hit := make(chan struct{}, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} }))
	defer proxy.Close()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	f := New(Options{})
	dialled := ""
	f.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	f.dial = func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
		dialled = addr.String()
		return nil, errors.New("nobody there")
	}
	if _, err := f.Get(t.Context(), "https://rp.example/"); !errors.Is(err, ErrUnavailable) || dialled != "93.184.216.34:443" {
		t.Errorf("dialled %q, %v", dialled, err)
	}
	if f.client.Transport.(*http.Transport).Proxy != nil || len(hit) != 0 {
		t.Error("the proxy is used")
	}
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, 5 * time.Minute},
		{[]string{""}, 5 * time.Minute},
		{[]string{"public"}, 5 * time.Minute},
		{[]string{"max-age=600"}, 10 * time.Minute},
		{[]string{"public, Max-Age=600, must-revalidate"}, 10 * time.Minute},
		{[]string{`max-age="600"`}, 10 * time.Minute},
		{[]string{"public", "max-age=600"}, 10 * time.Minute},
		{[]string{"max-age=0"}, time.Minute},
		{[]string{"max-age=59"}, time.Minute},
		{[]string{"max-age=86400"}, time.Hour},
		{[]string{"max-age=99999999999999999999999"}, time.Hour},
		{[]string{"max-age=-1"}, time.Minute},
		{[]string{"max-age=soon"}, time.Minute},
		{[]string{"max-age"}, time.Minute},
		{[]string{"no-store"}, time.Minute},
		{[]string{"max-age=600, no-cache"}, time.Minute},
		{[]string{"s-maxage=600"}, 5 * time.Minute},
	} {
		if got := timeToLive(http.Header{"Cache-Control": tt.header}); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.header, got, tt.want)
		}
	}
}

// step asks once and says what must come of it.
type step struct {
	after   time.Duration // since the step before
	refresh bool
	fail    bool // the server is down from now on
	up      bool // the server is up again
	want    string
	err     error
	hits    int64 // so far
}

func TestCache(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		down  bool // at first
		steps []step
	}{
		{"fresh for its time", false, []step{
			{want: "1", hits: 1},
			{after: 10*time.Minute - 1, want: "1", hits: 1},
			{after: 1, want: "2", hits: 2},
		}},
		{"stale while the server is down", false, []step{
			{want: "1", hits: 1},
			{after: 10 * time.Minute, fail: true, want: "1", hits: 2},
			{after: 59 * time.Second, want: "1", hits: 2}, // not asked again within a minute
			{after: time.Second, want: "1", hits: 3},
			{after: time.Minute, up: true, want: "4", hits: 4},
		}},
		{"stale for a day only", false, []step{
			{want: "1", hits: 1},
			{after: 10*time.Minute + 24*time.Hour - 1, fail: true, want: "1", hits: 2},
			{after: 1, err: ErrStatus, hits: 2},
			{after: time.Minute, err: ErrStatus, hits: 3},
		}},
		{"an error is kept for a minute", true, []step{
			{err: ErrStatus, hits: 1},
			{after: 59 * time.Second, up: true, err: ErrStatus, hits: 1},
			{refresh: true, err: ErrStatus, hits: 1},
			{after: time.Second, want: "2", hits: 2},
		}},
		{"refreshed once a minute at most", false, []step{
			{want: "1", hits: 1},
			{refresh: true, want: "1", hits: 1},
			{after: 59 * time.Second, refresh: true, want: "1", hits: 1},
			{after: time.Second, refresh: true, want: "2", hits: 2},
			{refresh: true, want: "2", hits: 2},
			{after: 9 * time.Minute, want: "2", hits: 2},
			{after: time.Minute, want: "3", hits: 3},
		}},
		{"a refresh that fails loses nothing", false, []step{
			{want: "1", hits: 1},
			{after: time.Minute, refresh: true, fail: true, want: "1", hits: 2},
			{after: time.Minute, want: "1", hits: 2},
			{refresh: true, up: true, want: "3", hits: 3},
		}},
		{"a clock set back freezes nothing", false, []step{
			{want: "1", hits: 1},
			{after: -48 * time.Hour, want: "2", hits: 2},
			{after: time.Minute, refresh: true, want: "3", hits: 3},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var down atomic.Bool
			down.Store(tt.down)
			var s *server
			s = newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if down.Load() {
					http.Error(w, "down", http.StatusServiceUnavailable)
					return
				}
				w.Header().Set("Cache-Control", "max-age=600")
				write(w, "application/json", fmt.Sprint(s.hits.Load()))
			})
			c := newClock()
			f := newFetcher(s, c)
			for i, st := range tt.steps {
				c.add(st.after)
				if st.fail || st.up {
					down.Store(st.fail)
				}
				get := f.Get
				if st.refresh {
					get = f.Refresh
				}
				body, err := get(t.Context(), s.URL)
				if string(body) != st.want || !errors.Is(err, st.err) || (err == nil) != (st.err == nil) || s.hits.Load() != st.hits {
					t.Fatalf("step %d: got %q, %v, %d requests; want %+v", i, body, err, s.hits.Load(), st)
				}
			}
		})
	}
}

// A page of another type or size with status 200 is a failure too, and does not
// take the place of a good document.
func TestStaleOnBadAnswers(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]http.HandlerFunc{
		"type":  func(w http.ResponseWriter, r *http.Request) { write(w, "text/html", "<html>") },
		"size":  func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", strings.Repeat(" ", 1<<20)) },
		"abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *server
			s = newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if s.hits.Load() > 1 {
					bad(w, r)
					return
				}
				write(w, "application/json", "good")
			})
			c := newClock()
			f := newFetcher(s, c)
			for range 2 {
				if body, err := f.Get(t.Context(), s.URL); err != nil || string(body) != "good" {
					t.Fatalf("got %q, %v", body, err)
				}
				c.add(time.Hour)
			}
			if s.hits.Load() != 2 {
				t.Errorf("%d requests", s.hits.Load())
			}
		})
	}
}

func TestCacheKeepsContentTypesApart(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") })
	f := newFetcher(s, newClock())
	if _, err := f.Get(t.Context(), s.URL, "application/json"); err != nil {
		t.Fatal(err)
	}
	if body, err := f.Get(t.Context(), s.URL, "application/jwt"); !errors.Is(err, ErrType) || body != nil {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestBodiesAreCopies(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { write(w, "application/json", "{}") })
	f := newFetcher(s, newClock())
	for range 2 {
		body, err := f.Get(t.Context(), s.URL)
		if err != nil || string(body) != "{}" {
			t.Fatalf("got %q, %v", body, err)
		}
		copy(body, "xx")
	}
}

// A thousand callers, one request (S41).
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	const callers = 1000
	release := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		write(w, "application/json", "{}")
	})
	c := newClock()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	f := New(Options{AllowLoopback: true, RootCAs: roots, Now: c.now, Timeout: time.Minute})
	var started, done sync.WaitGroup
	var good atomic.Int64
	for i := range callers {
		started.Add(1)
		done.Go(func() {
			get := f.Get
			if i%2 == 0 {
				get = f.Refresh
			}
			started.Done()
			if body, err := get(t.Context(), s.URL); err == nil && string(body) == "{}" {
				good.Add(1)
			}
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	if good.Load() != callers || s.hits.Load() != 1 {
		t.Errorf("%d good answers, %d requests", good.Load(), s.hits.Load())
	}
}

// Hanging up ends the wait and not the fetch: asking and hanging up is no way to
// send requests to somebody.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		write(w, "application/json", "{}")
	})
	c := newClock()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	f := New(Options{AllowLoopback: true, RootCAs: roots, Now: c.now, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if body, err := f.Get(ctx, s.URL); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) || body != nil {
		t.Errorf("got %q, %v", body, err)
	}
	close(release)
	for range 3 {
		if body, err := f.Get(t.Context(), s.URL); err != nil || string(body) != "{}" {
			t.Errorf("got %q, %v", body, err)
		}
	}
	if s.hits.Load() != 1 {
		t.Errorf("%d requests", s.hits.Load())
	}
}

// A fresh document is served while somebody waits for a newer one.
func TestFreshDuringRefresh(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	var s *server
	s = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if s.hits.Load() == 2 {
			close(arrived)
			<-release
		}
		write(w, "application/json", fmt.Sprint(s.hits.Load()))
	})
	c := newClock()
	f := newFetcher(s, c)
	f.timeout = time.Minute
	if _, err := f.Get(t.Context(), s.URL); err != nil {
		t.Fatal(err)
	}
	c.add(time.Minute)
	refreshed := make(chan string)
	go func() {
		body, _ := f.Refresh(t.Context(), s.URL)
		refreshed <- string(body)
	}()
	<-arrived
	if body, err := f.Get(t.Context(), s.URL); err != nil || string(body) != "1" {
		t.Errorf("meanwhile: %q, %v", body, err)
	}
	close(release)
	if got := <-refreshed; got != "2" {
		t.Errorf("refreshed: %q", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := New(Options{Now: c.now})
	f.lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	for i := range maxEntries + 50 {
		if _, err := f.Get(t.Context(), fmt.Sprintf("https://rp.example/%d", i)); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.entries) != maxEntries || f.used.Len() != maxEntries {
		t.Errorf("%d entries, %d in the list", len(f.entries), f.used.Len())
	}
	if _, ok := f.entries["https://rp.example/0\napplication/json\napplication/jwk-set+json"]; ok {
		t.Error("the oldest is still there")
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte(" "), 200<<10)
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(large)
	})
	f := newFetcher(s, newClock())
	fits := maxCacheBytes / len(large)
	for i := range fits + 5 {
		if _, err := f.Get(t.Context(), fmt.Sprintf("%s/%d", s.URL, i)); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.entries) != fits || f.bytes != int64(fits*len(large)) {
		t.Errorf("%d entries of %d bytes in all, want %d", len(f.entries), f.bytes, fits)
	}
}

// Slow strangers occupy slots for their timeout; the others wait their turn and
// do not open more connections.
func TestParallelFetchesAreBounded(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 3*maxParallel), make(chan struct{})
	var now, most atomic.Int64
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		arrived <- struct{}{}
		<-release
		now.Add(-1)
		write(w, "application/json", "{}")
	})
	f := newFetcher(s, newClock())
	f.timeout = time.Minute
	var wg sync.WaitGroup
	for i := range 3 * maxParallel {
		wg.Go(func() {
			if _, err := f.Get(t.Context(), fmt.Sprintf("%s/%d", s.URL, i)); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxParallel {
		<-arrived
	}
	close(release)
	wg.Wait()
	if most.Load() != maxParallel {
		t.Errorf("%d fetches at once", most.Load())
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	f := New(Options{Timeout: 20 * time.Millisecond})
	for range maxParallel {
		f.slots <- struct{}{}
	}
	if body, err := f.Get(t.Context(), "https://rp.example/"); !errors.Is(err, ErrUnavailable) || body != nil {
		t.Errorf("got %q, %v", body, err)
	}
}

// watched tells when a connection is closed.
type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// Nothing stays open between fetches.
func TestConnectionIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "keep-alive")
		write(w, "application/json", "{}")
	})
	f := newFetcher(s, newClock())
	conn := &watched{closed: make(chan struct{})}
	f.dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		var err error
		conn.Conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
		return conn, err
	}
	if _, err := f.Get(t.Context(), s.URL); err != nil {
		t.Fatal(err)
	}
	<-conn.closed
}
