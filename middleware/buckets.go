package middleware

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// maxBuckets bounds the memory of a Buckets to about 4 MiB.
const maxBuckets = 1 << 16

// Buckets is a Limiter in memory: a token bucket for each key. It holds at most
// 65536 keys; when more are active, those nearest to a full bucket are forgotten
// first, so a flood of new keys does not free one that is being held back. It is
// for one process: several servers behind a balancer each count for themselves.
type Buckets struct {
	burst, every time.Duration // burst: the time that a whole bucket takes to fill
	now          func() time.Time
	start        time.Time
	seed         maphash.Seed

	mu   sync.Mutex
	full map[uint64]time.Duration // hash of a key: when its bucket is full again, after start
}

// NewBuckets returns buckets of burst tokens, at least one, each of which gains
// a token every so often; every = 0 does not limit. now is the clock; nil is
// time.Now.
func NewBuckets(burst int, every time.Duration, now func() time.Time) *Buckets {
	if now == nil {
		now = time.Now
	}
	burst, every = max(burst, 1), max(every, 0)
	const year = 365 * 24 * time.Hour
	if every > year/time.Duration(burst) { // keep the sums far from overflow
		every = year / time.Duration(burst)
	}
	return &Buckets{burst: every * time.Duration(burst), every: every, now: now, start: now(),
		seed: maphash.MakeSeed(), full: map[uint64]time.Duration{}}
}

// Allow takes a token of the key's bucket. When there is none it says how long
// the next one takes and changes nothing.
func (b *Buckets) Allow(_ context.Context, key string) (ok bool, retryAfter time.Duration) {
	hash := maphash.String(b.seed, key) // keys come from clients: fixed size, and collisions not to be chosen
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now().Sub(b.start)
	full, known := b.full[hash]
	if full > now+b.burst { // the clock was set back: hold the key no longer than an empty bucket
		full = now + b.burst
		b.full[hash] = full
	}
	full = max(full, now) + b.every
	if wait := full - now - b.burst; wait > 0 {
		return false, wait
	}
	if !known && len(b.full) >= maxBuckets {
		b.forget()
	}
	b.full[hash] = full
	return true, 0
}

// Undo gives back a token that Allow took, for what turned out not to count.
func (b *Buckets) Undo(_ context.Context, key string) {
	hash := maphash.String(b.seed, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	if full, known := b.full[hash]; known {
		b.full[hash] = full - b.every
	}
}

// forget drops the fullest of a few buckets; map iteration begins anywhere.
func (b *Buckets) forget() {
	var victim uint64
	n := 0
	for hash, full := range b.full {
		if n == 0 || full < b.full[victim] {
			victim = hash
		}
		if n++; n == 8 {
			break
		}
	}
	delete(b.full, victim)
}
