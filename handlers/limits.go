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

// limiters are the buckets that hold guessing back. What succeeded does not
// count: a Limiter with an Undo method, as middleware.Buckets has, gets its
// token back.
type limiters struct {
	client   middleware.Limiter // failed client authentications, per client
	stranger middleware.Limiter // secrets of clients that do not exist, per address
	secret   middleware.Limiter // chosen client secrets tried, per client and address
	login    middleware.Limiter // passwords tried, per user name and address
	loginAll middleware.Limiter // passwords tried, per address
	userCode middleware.Limiter // user codes tried, per address and per user
	par      middleware.Limiter // requests pushed by public clients, per client and address
}

func newLimiters(c *Config) limiters {
	if c.Limiter != nil {
		return limiters{c.Limiter, c.Limiter, c.Limiter, c.Limiter, c.Limiter, c.Limiter, c.Limiter}
	}
	return limiters{
		client:   middleware.NewBuckets(128, time.Second, c.Now),
		stranger: middleware.NewBuckets(30, time.Second, c.Now),
		secret:   middleware.NewBuckets(128, time.Second, c.Now),
		login:    middleware.NewBuckets(10, 30*time.Second, c.Now),
		loginAll: middleware.NewBuckets(100, 3*time.Second, c.Now),
		userCode: middleware.NewBuckets(10, time.Minute, c.Now),
		par:      middleware.NewBuckets(1000, 50*time.Millisecond, c.Now),
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
			p.emit(ctx, r, Event{Name: "limit.hit", Reason: name})
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
