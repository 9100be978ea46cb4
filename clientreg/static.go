package clientreg

import (
	"context"
	"errors"
)

// Static is a registry of clients that are written down in the program or come
// from ParseJSON. Every client is validated, all mistakes are reported at once,
// and two clients of one id are one of them. The registry is immutable.
func Static(clients ...Client) (Registry, error) {
	byID := make(static, len(clients))
	var errs []error
	for i := range clients {
		c := clients[i].Clone()
		if err := c.Validate(); err != nil {
			errs = append(errs, err)
		}
		if _, ok := byID[c.ID]; ok {
			errs = append(errs, &MetadataError{c.ID, "client_id", "is another client's too", "give each client an id of its own"})
		}
		byID[c.ID] = c
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return byID, nil
}

type static map[string]*Client

// Client implements Registry.
func (s static) Client(_ context.Context, id string) (*Client, error) {
	c, ok := s[id]
	if !ok {
		return nil, ErrNotFound
	}
	return c.Clone(), nil
}
