package middleware

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Limiter counts. Allow tells whether one more event of key may happen now and,
// if not, when to ask again. It must be safe for concurrent use and, if it asks a
// service that is down, decide for itself. Buckets is one.
type Limiter interface {
	Allow(ctx context.Context, key string) (ok bool, retryAfter time.Duration)
}

// RateLimit answers 429 with Retry-After, RFC 6585 §4, to what l does not
// allow. key names whom a request is counted for, "" for nobody; nil counts by
// network: the IPv4 address, or the /64 of an IPv6 one, which is what a single
// customer commonly gets. Peers without an address share one count.
func RateLimit(l Limiter, key func(*http.Request) string) Func {
	if key == nil {
		key = network
	}
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if k := key(r); k != "" {
				if ok, wait := l.Allow(r.Context(), k); !ok {
					w.Header().Set("Retry-After", retryAfter(wait))
					fail(w, http.StatusTooManyRequests, `{"error":"temporarily_unavailable","error_description":"Too many requests."}`)
					return
				}
			}
			h.ServeHTTP(w, r)
		})
	}
}

func network(r *http.Request) string {
	a := RemoteAddr(r)
	bits := 64
	if a.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}

// retryAfter is in whole seconds, rounded up, at least one.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
