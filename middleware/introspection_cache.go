package middleware

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// introspector is the Verifier of an Introspection: the answers that may be used
// again and the questions that are out. It holds no token, only digests.
type introspector struct {
	Introspection
	client http.Client

	mu      sync.Mutex
	flights map[tokenKey]*flight
	// Apart, so that made-up tokens do not push out the answers of good ones.
	active, inactive map[tokenKey]kept
}

type tokenKey [sha256.Size]byte

// kept is an answer that holds from the time at which it was asked for.
type kept struct {
	answer      *answer
	asked, till time.Time
}

// flight is one question on its way, and those who wait for it.
type flight struct {
	cancel  context.CancelFunc
	waiting int           // under introspector.mu
	done    chan struct{} // closed when answer and err are there
	answer  *answer
	err     error
}

const (
	maxAnswers  = 4096 // kept, of each kind: about 64 MiB at the very worst
	maxInactive = 5 * time.Second
)

// answer returns what the provider says of the token: kept, on its way, or
// asked for now.
func (v *introspector) answer(ctx context.Context, token string) (*answer, error) {
	key := tokenKey(sha256.Sum256([]byte(token)))
	v.mu.Lock()
	now := v.Now()
	for _, m := range [...]map[tokenKey]kept{v.inactive, v.active} {
		if k, ok := m[key]; ok {
			if !now.Before(k.asked) && now.Before(k.till) { // a clock that was set back lengthens nothing
				v.mu.Unlock()
				return k.answer, nil
			}
			delete(m, key)
		}
	}
	f := v.flights[key]
	if f == nil {
		// The question belongs to all who wait for it, not to the first one.
		var flying context.Context
		f = &flight{done: make(chan struct{})}
		flying, f.cancel = context.WithTimeout(context.WithoutCancel(ctx), v.Timeout)
		v.flights[key] = f
		go v.fly(flying, f, key, token, now)
	}
	f.waiting++
	v.mu.Unlock()
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		v.mu.Lock()
		defer v.mu.Unlock()
		if f.waiting--; f.waiting == 0 { // nobody wants to know any more
			f.cancel()
			if v.flights[key] == f {
				delete(v.flights, key)
			}
		}
		return nil, ctx.Err()
	}
}

func (v *introspector) fly(ctx context.Context, f *flight, key tokenKey, token string, asked time.Time) {
	defer f.cancel()
	body, err := v.ask(ctx, token)
	if err == nil {
		f.answer, err = parseAnswer(body)
	}
	f.err = err
	v.mu.Lock()
	if v.flights[key] == f { // else it was given up, and a later answer counts
		delete(v.flights, key)
		if err == nil {
			v.keep(key, f.answer, asked)
		}
	}
	v.mu.Unlock()
	close(f.done)
}

// keep remembers an answer if it may. v.mu is held.
func (v *introspector) keep(key tokenKey, a *answer, asked time.Time) {
	if v.MaxAge == 0 || len(a.body) > maxKept {
		return
	}
	m, k := v.active, kept{a, asked, asked.Add(v.MaxAge)}
	if !*a.Active {
		m, k.till = v.inactive, asked.Add(min(v.MaxAge, maxInactive))
	}
	if exp := numericDate(a.Exp); a.Exp != nil && exp.Before(k.till) {
		k.till = exp
	}
	if !k.till.After(asked) {
		return
	}
	if len(m) >= maxAnswers {
		forgetOne(m)
	}
	m[key] = k
}

// forgetOne drops the oldest of a few; map iteration begins anywhere.
func forgetOne(m map[tokenKey]kept) {
	var victim tokenKey
	n := 0
	for key, k := range m {
		if n == 0 || k.till.Before(m[victim].till) {
			victim = key
		}
		if n++; n == 8 {
			break
		}
	}
	delete(m, victim)
}
