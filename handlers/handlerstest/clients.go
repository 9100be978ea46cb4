package handlerstest

import (
	"context"
	"errors"
	"sync"

	"github.com/idpkit/idpkit/clientreg"
)

// clients is the test's clients before those of the configuration.
type clients struct {
	more clientreg.Registry // may be nil
	mu   sync.Mutex
	own  map[string]registered
}

// registered is a client with its secret, "" if it has none or it is not known.
type registered struct {
	clientreg.Client
	secret string
}

// registry is what the provider gets: a Writer if the configuration has one.
func (c *clients) registry() clientreg.Registry {
	if w, ok := c.more.(clientreg.Writer); ok {
		return writable{c, w}
	}
	return c
}

// writable passes registration on to the configuration's registry.
type writable struct {
	*clients
	w clientreg.Writer
}

// Create implements clientreg.Writer.
func (c writable) Create(ctx context.Context, n *clientreg.Client) error { return c.w.Create(ctx, n) }

// Update implements clientreg.Writer.
func (c writable) Update(ctx context.Context, n *clientreg.Client, version int64) error {
	return c.w.Update(ctx, n, version)
}

// Delete implements clientreg.Writer.
func (c writable) Delete(ctx context.Context, id string) error { return c.w.Delete(ctx, id) }

// Client implements clientreg.Registry.
func (c *clients) Client(ctx context.Context, id string) (*clientreg.Client, error) {
	if own, ok := c.find(id); ok {
		return &own.Client, nil
	}
	if c.more == nil {
		return nil, clientreg.ErrNotFound
	}
	return c.more.Client(ctx, id)
}

// VerifySecret implements clientreg.SecretVerifier.
func (c *clients) VerifySecret(ctx context.Context, client *clientreg.Client, presented string) (bool, error) {
	v, ok := c.more.(clientreg.SecretVerifier)
	if _, own := c.find(client.ID); own || !ok {
		return false, errors.ErrUnsupported
	}
	return v.VerifySecret(ctx, client, presented)
}

func (c *clients) find(id string) (registered, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.own[id]
	return r, ok
}

// add registers a client, unless one of its name is there already, and returns
// the one that is.
func (c *clients) add(ctx context.Context, client clientreg.Client) (registered, error) {
	if c.more != nil {
		known, err := c.more.Client(ctx, client.ID)
		if err == nil {
			return registered{Client: *known}, nil
		} else if !errors.Is(err, clientreg.ErrNotFound) {
			return registered{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if own, ok := c.own[client.ID]; ok {
		return own, nil
	}
	r := registered{Client: client}
	if m := client.AuthMethod(); len(client.Secrets) == 0 && (m == "client_secret_basic" || m == "client_secret_post") {
		secret, hash := clientreg.NewSecret()
		r.secret, r.Secrets = secret, []clientreg.ClientSecret{{Hash: hash}}
	}
	if _, err := clientreg.Static(r.Client); err != nil {
		return registered{}, err
	}
	c.own[client.ID] = r
	return r, nil
}
