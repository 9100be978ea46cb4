package handlers

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/idpkit/idpkit/middleware"
)

// limiters are the buckets that hold guessing and flooding back. What succeeded
// does not count: a Limiter with an Undo method, as middleware.Buckets has, gets
// its token back. With no Config.Limiter, which would get the same keys:
//
//	name       counts                                per                          burst  then one in
//	client     failed client authentications         client                         128  1 s
//	stranger   secrets of clients that do not exist  network                         30  1 s
//	secret     chosen client secrets tried           client and network             128  1 s
//	par        requests and device authorizations    client and network            1000  50 ms
//	           of public clients, and requests that
//	           browsers post, whoever the client is
//	login      passwords tried                       user name and network           10  30 s
//	           passwords tried                       network                        100  3 s
//	user_code  user codes tried                      network, and signed-in user     10  3 min
//	authorize  sign-ins begun and not ended          network                       3000  40 ms
//
// A network is an IPv4 /24 or an IPv6 /56: what one attacker has many addresses
// of, and a whole office behind one. So authorize is wide: it bounds the rows
// that somebody without any account can make (some 48,000 in the half hour that
// an interaction lives), and since a sign-in that ends is given back, an office
// is held back only by what its people leave lying. Refresh tokens, codes and
// device codes have 256 random bits; guessing them needs no limit. What a device
// polls too often is slowed down by its own row, RFC 8628 §3.5.
type limiters struct {
	client, stranger, secret, par, login, loginAll, userCode, authorize middleware.Limiter
}

func newLimiters(c *Config) limiters {
	if l := c.Limiter; l != nil {
		return limiters{l, l, l, l, l, l, l, l}
	}
	return limiters{
		client:    middleware.NewBuckets(128, time.Second, c.Now),
		stranger:  middleware.NewBuckets(30, time.Second, c.Now),
		secret:    middleware.NewBuckets(128, time.Second, c.Now),
		par:       middleware.NewBuckets(1000, 50*time.Millisecond, c.Now),
		login:     middleware.NewBuckets(10, 30*time.Second, c.Now),
		loginAll:  middleware.NewBuckets(100, 3*time.Second, c.Now),
		userCode:  middleware.NewBuckets(10, 3*time.Minute, c.Now),
		authorize: middleware.NewBuckets(3000, 40*time.Millisecond, c.Now),
	}
}

// bucket is one limiter and the key under which an attempt counts there.
type bucket struct {
	middleware.Limiter
	key string
}

// buckets lists where an attempt counts: name says of what, key by whom.
func (p *Provider) buckets(r *http.Request, name, key string) []bucket {
	addr := network(middleware.RemoteAddr(r))
	switch name {
	case "client":
		return []bucket{{p.limits.client, "client " + key}}
	case "stranger":
		return []bucket{{p.limits.stranger, "stranger " + addr}}
	case "secret":
		return []bucket{{p.limits.secret, "secret " + key + " " + addr}}
	case "par":
		return []bucket{{p.limits.par, "par " + key + " " + addr}}
	case "authorize":
		return []bucket{{p.limits.authorize, "authorize " + addr}}
	case "login":
		return []bucket{{p.limits.loginAll, "login " + addr}, {p.limits.login, "login " + addr + " " + strings.ToLower(key)}}
	case "user_code":
		b := []bucket{{p.limits.userCode, "user_code " + addr}}
		if key != "" {
			b = append(b, bucket{p.limits.userCode, "user_code of " + key})
		}
		return b
	}
	return nil
}

// limit takes from the buckets. It returns the seconds to wait, 0: go on.
func (p *Provider) limit(r *http.Request, name, key string) int {
	ctx := r.Context()
	for _, b := range p.buckets(r, name, key) {
		if ok, wait := b.Allow(ctx, b.key); !ok {
			e := Event{Name: "limit.hit", Reason: name}
			switch name {
			case "secret", "par": // an id that is no client's may be a secret in the wrong place
				e.ClientID = key
			case "user_code":
				e.Subject = key
			}
			p.emit(ctx, r, e)
			return max(1, int((wait+time.Second-1)/time.Second))
		}
	}
	return 0
}

// network is the part of an address that one attacker cannot change at will.
func network(a netip.Addr) string {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	if pre, err := a.Prefix(bits); err == nil {
		return pre.String()
	}
	return ""
}

// uncount gives back what limit took for a guess that was right.
func (p *Provider) uncount(r *http.Request, name, key string) {
	for _, b := range p.buckets(r, name, key) {
		if u, ok := b.Limiter.(interface {
			Undo(ctx context.Context, key string)
		}); ok {
			u.Undo(r.Context(), b.key)
		}
	}
}

func tooMany(seconds int) *Error {
	e := refuse("request.rate", nil)
	e.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	e.status = http.StatusTooManyRequests
	return e
}
