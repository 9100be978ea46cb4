package clientreg

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The cache is bounded on both sides apart, so that asking for clients that do
// not exist cannot push out those that do.
const (
	maxCached = 4096 // clients, and as many absences
	maxID     = 512  // bytes of an id, see Client.ID; longer ones are not remembered
)

// Cached remembers for ttl what r answered, that there is no such client
// included, and asks r once for all who wait for the same client. Errors are
// not remembered. A change in r is seen after ttl at the latest, a disabled
// client works for so long; seconds are enough to take the load off a table.
// now nil: time.Now. ttl 0 or less: r itself.
//
// If r is a Writer so is the result, and what is written through it is seen at
// once.
func Cached(r Registry, ttl time.Duration, now func() time.Time) Registry {
	if ttl <= 0 {
		return r
	}
	if now == nil {
		now = time.Now
	}
	c := &cached{
		r: r, ttl: ttl, now: now,
		found: map[string]cacheEntry{}, absent: map[string]cacheEntry{}, flights: map[string]*flight{},
	}
	if w, ok := r.(Writer); ok {
		return cachedWriter{c, w}
	}
	return c
}

type cached struct {
	r   Registry
	ttl time.Duration
	now func() time.Time

	mu      sync.Mutex
	found   map[string]cacheEntry
	absent  map[string]cacheEntry
	flights map[string]*flight
}

type cacheEntry struct {
	client *Client // nil: absent
	until  time.Time
}

// flight is one call of r that several may wait for.
type flight struct {
	done      chan struct{}
	client    *Client
	err       error
	abandoned bool // ended with the context of the one who flew it
}

// Client implements Registry.
func (c *cached) Client(ctx context.Context, id string) (*Client, error) {
	if len(id) > maxID {
		return lookUp(ctx, c.r, id)
	}
	for {
		client, f, mine, err := c.remembered(id)
		if f == nil {
			return client, err
		}
		if mine {
			c.fly(ctx, f, id)
			return f.client.Clone(), f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !f.abandoned {
			return f.client.Clone(), f.err
		}
	}
}

// remembered returns what is known, else a flight: mine to make, or another's.
func (c *cached) remembered(id string) (client *Client, f *flight, mine bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if e, ok := c.found[id]; ok && now.Before(e.until) {
		return e.client.Clone(), nil, false, nil
	}
	if e, ok := c.absent[id]; ok && now.Before(e.until) {
		return nil, nil, false, ErrNotFound
	}
	if f := c.flights[id]; f != nil {
		return nil, f, false, nil
	}
	f = &flight{done: make(chan struct{})}
	c.flights[id] = f
	return nil, f, true, nil
}

// fly asks r. Its answer is remembered unless the client was written meanwhile,
// which took the flight off the list.
func (c *cached) fly(ctx context.Context, f *flight, id string) {
	start := c.now()
	f.err = errors.New("clientreg: the registry panicked")
	defer func() {
		f.abandoned = f.err != nil && ctx.Err() != nil
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flights[id] == f {
			delete(c.flights, id)
			switch e := (cacheEntry{f.client, start.Add(c.ttl)}); {
			case f.err == nil:
				delete(c.absent, id)
				remember(c.found, id, e, c.now())
			case errors.Is(f.err, ErrNotFound):
				delete(c.found, id)
				remember(c.absent, id, e, c.now())
			}
		}
		close(f.done)
	}()
	f.client, f.err = lookUp(ctx, c.r, id)
}

// remember adds an entry and makes room for it: an expired one of a few that
// chance brings up, else one of them.
func remember(m map[string]cacheEntry, id string, e cacheEntry, now time.Time) {
	if _, ok := m[id]; !ok && len(m) >= maxCached {
		victim, looked := "", 0
		for k, old := range m {
			if victim, looked = k, looked+1; looked == 8 || !now.Before(old.until) {
				break
			}
		}
		delete(m, victim)
	}
	m[id] = e
}

func (c *cached) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.found, id)
	delete(c.absent, id)
	delete(c.flights, id)
}

// VerifySecret asks r.
func (c *cached) VerifySecret(ctx context.Context, client *Client, presented string) (bool, error) {
	return verifySecret(ctx, c.r, client, presented)
}

// cachedWriter forgets what it writes, also after an error: the outcome may be
// unknown.
type cachedWriter struct {
	*cached
	w Writer
}

// Create implements Writer.
func (c cachedWriter) Create(ctx context.Context, client *Client) error {
	defer c.forget(client.ID)
	return c.w.Create(ctx, client)
}

// Update implements Writer.
func (c cachedWriter) Update(ctx context.Context, client *Client, version int64) error {
	defer c.forget(client.ID)
	return c.w.Update(ctx, client, version)
}

// Delete implements Writer.
func (c cachedWriter) Delete(ctx context.Context, id string) error {
	defer c.forget(id)
	return c.w.Delete(ctx, id)
}
