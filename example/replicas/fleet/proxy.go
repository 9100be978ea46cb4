// Package fleet runs copies of a provider, each a process of its own, behind a
// reverse proxy, and replaces them one after the other without losing a request.
package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
)

// maxBody is more than a provider reads of a request.
const maxBody = 1 << 20

// Proxy hands requests to backends in turn. It sends a request again only if no
// backend has seen it: whether a code was redeemed before the connection broke
// the proxy cannot know.
type Proxy struct {
	reverse   httputil.ReverseProxy
	transport http.Transport

	mu       sync.Mutex
	changed  sync.Cond // a backend came in, or has one request less
	backends []*backend
	turn     int
	retried  int
}

type backend struct {
	address string
	in      bool // gets requests
	busy    int  // requests under way
}

// NewProxy returns a proxy before backends at these addresses. None gets
// requests before In.
func NewProxy(addresses ...string) *Proxy {
	p := &Proxy{}
	p.changed.L = &p.mu
	p.transport.MaxIdleConnsPerHost = 64
	for _, a := range addresses {
		p.backends = append(p.backends, &backend{address: a})
	}
	p.reverse = httputil.ReverseProxy{
		Transport: roundTrip(p.send),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.SetXForwarded() // and nothing of what the client claims of the kind
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "bad gateway", http.StatusBadGateway)
		},
	}
	return p
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ServeHTTP hands a request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	p.reverse.ServeHTTP(w, r)
}

func (p *Proxy) send(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		b := p.take(r.Context(), try > 0)
		if b == nil {
			return nil, context.Cause(r.Context())
		}
		out := r.Clone(r.Context())
		out.URL.Host = b.address
		// Always a body, if an empty one: a Transport sends a GET without one again
		// when its connection breaks, and a GET too can spend something.
		out.Body = io.NopCloser(bytes.NewReader(body))
		res, err := p.transport.RoundTrip(out)
		if err == nil {
			res.Body = &counted{ReadCloser: res.Body, done: sync.OnceFunc(func() { p.give(b) })}
			return res, nil
		}
		p.give(b)
		var op *net.OpError
		if unseen := errors.As(err, &op) && op.Op == "dial"; !unseen || try == 2*len(p.backends) {
			return nil, err
		}
	}
}

// take returns the next backend, and waits for one if there is none.
func (p *Proxy) take(ctx context.Context, again bool) *backend {
	defer context.AfterFunc(ctx, p.changed.Broadcast)()
	p.mu.Lock()
	defer p.mu.Unlock()
	if again {
		p.retried++
	}
	for ctx.Err() == nil {
		for range p.backends {
			b := p.backends[p.turn%len(p.backends)]
			p.turn++
			if b.in {
				b.busy++
				return b
			}
		}
		p.changed.Wait()
	}
	return nil
}

func (p *Proxy) give(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.busy--
	p.changed.Broadcast()
}

// counted is an answer; its request is under way until it is read.
type counted struct {
	io.ReadCloser
	done func()
}

func (c *counted) Close() error { defer c.done(); return c.ReadCloser.Close() }

// In gives the backend with this number requests from now on.
func (p *Proxy) In(n int) { p.set(n, true) }

// Out gives it none, and returns when those under way are answered.
func (p *Proxy) Out(n int) {
	p.set(n, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.backends[n].busy > 0 {
		p.changed.Wait()
	}
	p.transport.CloseIdleConnections()
}

func (p *Proxy) set(n int, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backends[n].in = in
	p.changed.Broadcast()
}

// Retried returns how often a request was handed to the next backend, since the
// one before did not listen.
func (p *Proxy) Retried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retried
}
