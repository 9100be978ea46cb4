package middleware

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)} }

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

func TestBuckets(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := NewBuckets(3, time.Second, c.now)
	take := func(key string, want bool, wantWait time.Duration) {
		t.Helper()
		if ok, wait := b.Allow(t.Context(), key); ok != want || wait != wantWait {
			t.Errorf("%s at %v: %v %v, want %v %v", key, c.now(), ok, wait, want, wantWait)
		}
	}
	for range 3 {
		take("a", true, 0)
	}
	take("a", false, time.Second)
	take("a", false, time.Second) // asking costs nothing
	take("b", true, 0)            // another key
	c.add(400 * time.Millisecond)
	take("a", false, 600*time.Millisecond)
	c.add(600 * time.Millisecond)
	take("a", true, 0)
	take("a", false, time.Second)
	c.add(time.Hour) // never more than the burst
	for range 3 {
		take("a", true, 0)
	}
	take("a", false, time.Second)
	c.add(-24 * time.Hour) // the clock is set back
	take("a", false, time.Second)
	c.add(time.Second)
	take("a", true, 0)
}

func TestBucketsExtremes(t *testing.T) {
	t.Parallel()
	c := newClock()
	for _, tt := range []struct {
		burst int
		every time.Duration
		want  int // of ten
	}{{0, time.Second, 1}, {-5, time.Second, 1}, {1, 0, 10}, {1, -time.Second, 10}, {1, 1 << 62, 1}, {5, 1 << 62, 5}, {1 << 62, 1 << 62, 10}} {
		b := NewBuckets(tt.burst, tt.every, c.now)
		got := 0
		for range 10 {
			ok, wait := b.Allow(t.Context(), "k")
			if ok {
				got++
			}
			if ok == (wait > 0) {
				t.Errorf("%+v: %v with %v", tt, ok, wait)
			}
		}
		if got != tt.want {
			t.Errorf("%+v: %d passed", tt, got)
		}
	}
	if ok, _ := NewBuckets(1, time.Hour, nil).Allow(t.Context(), ""); !ok {
		t.Error("real clock")
	}
}

// A flood of fresh keys stays within the bound and does not free the key that
// is being held back.
func TestBucketsBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := NewBuckets(10, time.Minute, c.now)
	for range 10 {
		b.Allow(t.Context(), "victim")
	}
	for i := range 2 * maxBuckets {
		if ok, _ := b.Allow(t.Context(), fmt.Sprint(i)); !ok {
			t.Fatal("a fresh key was refused")
		}
	}
	if len(b.full) > maxBuckets {
		t.Errorf("%d keys", len(b.full))
	}
	if ok, _ := b.Allow(t.Context(), "victim"); ok {
		t.Error("the flood freed the key that was held back")
	}
}

func TestBucketsRace(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := NewBuckets(100, time.Hour, c.now)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if ok, _ := b.Allow(context.Background(), "k"); ok {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 100 {
		t.Errorf("%d passed, want 100", passed.Load())
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := RateLimit(NewBuckets(1, 1500*time.Millisecond, c.now), nil)(http.HandlerFunc(ok))
	get := func(peer string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		peer string
		want int
	}{
		{"203.0.113.7:1", 200},
		{"203.0.113.7:2", 429}, // another port
		{"[::ffff:203.0.113.7]:1", 429},
		{"203.0.113.8:1", 200},
		{"[2001:db8:0:1::1]:1", 200},
		{"[2001:db8:0:1:ffff::2]:1", 429}, // the same /64
		{"[2001:db8:0:2::1]:1", 200},
		{"@", 200},
		{"", 429}, // no address: one count for all
	} {
		w := get(tt.peer)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.peer, w.Code, tt.want)
		}
		if tt.want == 429 && (w.Header().Get("Retry-After") != "2" || w.Header().Get("Cache-Control") != "no-store" ||
			!strings.Contains(w.Body.String(), "temporarily_unavailable")) {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
	}
	c.add(2 * time.Second)
	if w := get("203.0.113.7:1"); w.Code != 200 {
		t.Errorf("after Retry-After: %d", w.Code)
	}
	nobody := RateLimit(NewBuckets(1, time.Hour, c.now), func(*http.Request) string { return "" })(http.HandlerFunc(ok))
	for range 3 {
		if w := do(nobody, "GET", "/"); w.Code != 200 {
			t.Error("an empty key was counted")
		}
	}
}
