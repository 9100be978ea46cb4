package clientreg

import (
	"context"
	"errors"
)

// Registry knows clients. It is all that an application with a table of its own
// must write; the provider calls it for every request, so put [Cached] before
// what is slow.
type Registry interface {
	// Client returns the client with exactly this id, or ErrNotFound. Any other
	// error counts as an outage and is answered 503, never invalid_client: a
	// client would throw its tokens away. What is returned belongs to the
	// caller; it shares no memory with the registry. Safe for concurrent use.
	Client(ctx context.Context, id string) (*Client, error)
}

// Writer is what dynamic registration needs on top, RFC 7591 and RFC 7592. It
// keeps nothing of the clients that it is given.
type Writer interface {
	Registry

	// Create adds a client; Client.Version is ignored and is 1 afterwards.
	// ErrExists if the id is taken or was ever deleted: the tokens of the one
	// that had it must not come back to life.
	Create(ctx context.Context, c *Client) error

	// Update replaces the client that still has this version, which then grows
	// by at least one. ErrConflict if it has another one, ErrNotFound if there
	// is none.
	Update(ctx context.Context, c *Client, version int64) error

	// Delete removes the client for ever, whatever its version. ErrNotFound if
	// there is none.
	Delete(ctx context.Context, id string) error
}

// SecretVerifier is an optional method of a Registry that keeps client secrets
// elsewhere or in a format of its own. The answer errors.ErrUnsupported means
// that Client.Secrets are to be compared as usual; any other error counts as
// an outage. Comparison takes constant time.
type SecretVerifier interface {
	VerifySecret(ctx context.Context, c *Client, presented string) (bool, error)
}

// Errors of registries, compared with errors.Is.
var (
	ErrNotFound = errors.New("clientreg: no such client")
	ErrExists   = errors.New("clientreg: client exists")
	ErrConflict = errors.New("clientreg: client was changed meanwhile")
)
