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
	login    middleware.Limiter // passwords tried, per user name and address
	loginAll middleware.Limiter // passwords tried, per address
}

func newLimiters(c *Config) limiters {
	if c.Limiter != nil {
		return limiters{c.Limiter, c.Limiter, c.Limiter}
	}
	return limiters{
		client:   middleware.NewBuckets(128, time.Second, c.Now),
		login:    middleware.NewBuckets(10, 30*time.Second, c.Now),
		loginAll: middleware.NewBuckets(100, 3*time.Second, c.Now),
	}
}

// limit takes from a bucket. It returns the seconds to wait, 0: go on.
func (p *Provider) limit(r *http.Request, bucket, key string) int {
	ctx, addr := r.Context(), network(middleware.RemoteAddr(r))
	ok, wait := true, time.Duration(0)
	switch bucket {
	case "client":
		ok, wait = p.limits.client.Allow(ctx, "client "+key)
	case "login":
		if ok, wait = p.limits.loginAll.Allow(ctx, "login "+addr); ok {
			ok, wait = p.limits.login.Allow(ctx, "login "+addr+" "+strings.ToLower(key))
		}
	}
	if ok {
		return 0
	}
	p.emit(ctx, r, Event{Name: "limit.hit", Reason: bucket})
	return max(1, int((wait+time.Second-1)/time.Second))
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

// uncount gives back what limit took for a password that was right.
func (p *Provider) uncount(r *http.Request, key string) {
	ctx, addr := r.Context(), network(middleware.RemoteAddr(r))
	undo := func(l middleware.Limiter, key string) {
		if u, ok := l.(interface {
			Undo(ctx context.Context, key string)
		}); ok {
			u.Undo(ctx, key)
		}
	}
	undo(p.limits.loginAll, "login "+addr)
	undo(p.limits.login, "login "+addr+" "+strings.ToLower(key))
}

func tooMany(seconds int) *Error {
	e := refuse("request.rate", nil)
	e.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	e.status = http.StatusTooManyRequests
	return e
}
