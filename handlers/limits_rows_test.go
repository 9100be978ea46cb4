package handlers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// ten allows ten of each key and gives back what succeeded.
type ten struct {
	mu   sync.Mutex
	used map[string]int
}

func (f *ten) Allow(_ context.Context, key string) (bool, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used[key] >= 10 {
		return false, time.Second
	}
	f.used[key]++
	return true, 0
}

func (f *ten) Undo(_ context.Context, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used[key]--
}

func tenOnly(c *handlers.Config) { c.Limiter = &ten{used: map[string]int{}} }

// TestRowsOfStrangersAreBounded: whatever somebody without an account sends, the
// rows it leaves behind are counted.
func TestRowsOfStrangersAreBounded(t *testing.T) {
	t.Parallel()
	const tries, most = 50, 10
	t.Run("a request posted to the authorization endpoint", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, tenOnly)
		for range tries {
			l.browser().post(l.path("/authorize"), request("web"))
		}
		if n := l.vault.active(t, storage.KindPAR); n > most {
			t.Errorf("%d rows", n)
		}
	})
	t.Run("one user code entered again and again", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, tenOnly, func(c *handlers.Config) { c.Features.Device = true })
		l.devices()
		code := l.device("tv").want(200).str("user_code")
		b := l.browser()
		for range tries {
			b.enter(code)
		}
		if n := l.vault.active(t, storage.KindInteraction); n > most {
			t.Errorf("%d rows", n)
		}
	})
}
