package clientreg

import (
	"context"
	"errors"
	"fmt"
)

// Chain asks several registries in order. The first that knows an id answers
// for it; an error other than ErrNotFound ends the search, since the client
// could be in the registry that is out.
//
// If one of them is a Writer the result is one, and writes to the first such.
// It does not create a client that another registry has.
func Chain(rs ...Registry) Registry {
	c := chain(append([]Registry(nil), rs...))
	for _, r := range c {
		if w, ok := r.(Writer); ok {
			return chainWriter{c, w}
		}
	}
	return c
}

type chain []Registry

// find returns the client and the registry that has it.
func (c chain) find(ctx context.Context, id string) (*Client, Registry, error) {
	for _, r := range c {
		client, err := lookUp(ctx, r, id)
		if !errors.Is(err, ErrNotFound) {
			return client, r, err
		}
	}
	return nil, nil, ErrNotFound
}

// lookUp keeps a registry to its contract.
func lookUp(ctx context.Context, r Registry, id string) (*Client, error) {
	c, err := r.Client(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case c == nil || c.ID != id:
		return nil, fmt.Errorf("clientreg: %T returned another client", r)
	}
	return c, nil
}

// Client implements Registry.
func (c chain) Client(ctx context.Context, id string) (*Client, error) {
	client, _, err := c.find(ctx, id)
	return client, err
}

// VerifySecret asks the registry that has the client.
func (c chain) VerifySecret(ctx context.Context, client *Client, presented string) (bool, error) {
	for _, r := range c {
		if _, ok := r.(SecretVerifier); !ok {
			continue
		}
		_, r, err := c.find(ctx, client.ID)
		if err != nil {
			return false, err
		}
		return verifySecret(ctx, r, client, presented)
	}
	return false, errors.ErrUnsupported
}

func verifySecret(ctx context.Context, r Registry, c *Client, presented string) (bool, error) {
	if v, ok := r.(SecretVerifier); ok {
		return v.VerifySecret(ctx, c, presented)
	}
	return false, errors.ErrUnsupported
}

type chainWriter struct {
	chain
	w Writer
}

// Create implements Writer. The others are asked first: what they have would
// hide the new client, or be hidden by it.
func (c chainWriter) Create(ctx context.Context, client *Client) error {
	switch _, _, err := c.find(ctx, client.ID); {
	case err == nil:
		return ErrExists
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return c.w.Create(ctx, client)
}

// Update implements Writer.
func (c chainWriter) Update(ctx context.Context, client *Client, version int64) error {
	return c.w.Update(ctx, client, version)
}

// Delete implements Writer.
func (c chainWriter) Delete(ctx context.Context, id string) error { return c.w.Delete(ctx, id) }
