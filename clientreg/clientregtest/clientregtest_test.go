package clientregtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
)

// table is a correct registry, to be broken in one way at a time.
type table struct {
	mu      sync.Mutex
	clients map[string]*clientreg.Client
	dead    map[string]bool
}

func newTable(clients ...clientreg.Client) *table {
	r := &table{clients: map[string]*clientreg.Client{}, dead: map[string]bool{}}
	for i := range clients {
		r.clients[clients[i].ID] = clients[i].Clone()
	}
	return r
}

func (r *table) Client(_ context.Context, id string) (*clientreg.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.clients[id]; ok {
		return c.Clone(), nil
	}
	return nil, clientreg.ErrNotFound
}

func (r *table) Create(_ context.Context, c *clientreg.Client) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clients[c.ID] != nil || r.dead[c.ID] {
		return clientreg.ErrExists
	}
	r.put(c, 1)
	return nil
}

func (r *table) put(c *clientreg.Client, version int64) {
	n := c.Clone()
	n.Version = version
	r.clients[c.ID] = n
}

func (r *table) Update(_ context.Context, c *clientreg.Client, version int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch old := r.clients[c.ID]; {
	case old == nil:
		return clientreg.ErrNotFound
	case old.Version != version:
		return clientreg.ErrConflict
	}
	r.put(c, version+1)
	return nil
}

func (r *table) Delete(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clients[id] == nil {
		return clientreg.ErrNotFound
	}
	delete(r.clients, id)
	r.dead[id] = true
	return nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	Run(t, func(_ testing.TB, clients ...clientreg.Client) clientreg.Registry { return newTable(clients...) })
}

// TestRunReadsOnly: a registry that is no Writer is not asked to write.
func TestRunReadsOnly(t *testing.T) {
	t.Parallel()
	Run(t, func(_ testing.TB, clients ...clientreg.Client) clientreg.Registry {
		return struct{ clientreg.Registry }{newTable(clients...)}
	})
}

// broken replaces methods of a table.
type broken struct {
	*table
	client func(context.Context, string) (*clientreg.Client, error)
	create func(*clientreg.Client) error
	update func(*clientreg.Client, int64) error
	remove func(string) error
}

func (b broken) Client(ctx context.Context, id string) (*clientreg.Client, error) {
	if b.client != nil {
		return b.client(ctx, id)
	}
	return b.table.Client(ctx, id)
}

func (b broken) Create(ctx context.Context, c *clientreg.Client) error {
	if b.create != nil {
		return b.create(c)
	}
	return b.table.Create(ctx, c)
}

func (b broken) Update(ctx context.Context, c *clientreg.Client, version int64) error {
	if b.update != nil {
		return b.update(c, version)
	}
	return b.table.Update(ctx, c, version)
}

func (b broken) Delete(ctx context.Context, id string) error {
	if b.remove != nil {
		return b.remove(id)
	}
	return b.table.Delete(ctx, id)
}

// TestBrokenRegistriesFail: each fault is found by the case that is meant for
// it.
func TestBrokenRegistriesFail(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for fault, tc := range map[string]struct {
		foundBy string
		breakIt func(*table) broken
	}{
		"shares memory": {"clients are copies", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				if c := r.clients[id]; c != nil {
					return c, nil
				}
				return nil, clientreg.ErrNotFound
			}}
		}},
		"ignores case": {"what differs in any byte is not found", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				c, err := r.Client(ctx, strings.ToLower(id))
				return c, err
			}}
		}},
		"trims": {"what differs in any byte is not found", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				return r.Client(ctx, strings.TrimSpace(id))
			}}
		}},
		"neither client nor error": {"what differs in any byte is not found", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				c, _ := r.Client(ctx, id)
				return c, nil
			}}
		}},
		"a client with the error": {"what differs in any byte is not found", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				c, err := r.Client(ctx, id)
				if err != nil {
					c = &clientreg.Client{}
				}
				return c, err
			}}
		}},
		"loses a member": {"every client is found", func(r *table) broken {
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				c, err := r.Client(ctx, id)
				if c != nil {
					c.Extra = nil
				}
				return c, err
			}}
		}},
		"cancelled is absent": {"a cancelled context is no absence", func(r *table) broken {
			return broken{table: r, client: func(ctx context.Context, id string) (*clientreg.Client, error) {
				if ctx.Err() != nil {
					return nil, clientreg.ErrNotFound
				}
				return r.Client(ctx, id)
			}}
		}},
		"create overwrites": {"create a client that exists", func(r *table) broken {
			return broken{table: r, create: func(c *clientreg.Client) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.put(c, 1)
				return nil
			}}
		}},
		"create without version": {"create", func(r *table) broken {
			return broken{table: r, create: func(c *clientreg.Client) error {
				if err := r.Create(ctx, c); err != nil {
					return err
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.clients[c.ID].Version = 0
				return nil
			}}
		}},
		"create keeps its argument": {"create keeps nothing of its argument", func(r *table) broken {
			return broken{table: r, create: func(c *clientreg.Client) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				c.Version, r.clients[c.ID] = 1, c
				return nil
			}}
		}},
		"update of any version": {"update of another version", func(r *table) broken {
			return broken{table: r, update: func(c *clientreg.Client, _ int64) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.put(c, r.clients[c.ID].Version+1)
				return nil
			}}
		}},
		"update keeps the version": {"update", func(r *table) broken {
			return broken{table: r, update: func(c *clientreg.Client, version int64) error {
				err := r.Update(ctx, c, version)
				r.mu.Lock()
				defer r.mu.Unlock()
				if n := r.clients[c.ID]; n != nil {
					n.Version = version
				}
				return err
			}}
		}},
		"update creates": {"update of no client", func(r *table) broken {
			return broken{table: r, update: func(c *clientreg.Client, version int64) error {
				err := r.Update(ctx, c, version)
				if errors.Is(err, clientreg.ErrNotFound) {
					return r.Create(ctx, c)
				}
				return err
			}}
		}},
		"delete does nothing": {"delete", func(r *table) broken {
			return broken{table: r, remove: func(string) error { return nil }}
		}},
		"delete forgets": {"a deleted id stays dead", func(r *table) broken {
			return broken{table: r, remove: func(id string) error {
				err := r.Delete(ctx, id)
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.dead, id)
				return err
			}}
		}},
		"create reads, then writes": {"concurrent creates", func(r *table) broken {
			meet := rendezvous(2)
			return broken{table: r, create: func(c *clientreg.Client) error {
				_, err := r.Client(ctx, c.ID)
				meet()
				if err == nil {
					return clientreg.ErrExists
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.put(c, 1)
				return nil
			}}
		}},
		"update reads, then writes": {"concurrent updates", func(r *table) broken {
			meet := rendezvous(2)
			return broken{table: r, update: func(c *clientreg.Client, version int64) error {
				old, err := r.Client(ctx, c.ID)
				meet()
				if err != nil || old.Version != version {
					return clientreg.ErrConflict
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.put(c, version+1)
				return nil
			}}
		}},
		"mixes clients up under load": {"concurrent reads", func(r *table) broken {
			var last string
			return broken{table: r, client: func(_ context.Context, id string) (*clientreg.Client, error) {
				r.mu.Lock()
				mine := last
				last = id
				r.mu.Unlock()
				if mine == "" || mine == id {
					mine = id
				}
				return r.Client(ctx, mine)
			}}
		}},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			for _, c := range cases {
				if c.name != tc.foundBy {
					continue
				}
				clients := Clients()
				b := tc.breakIt(newTable(clients...))
				if len(failures(t, func(tb testing.TB) { c.run(&env{TB: tb, clients: clients, Registry: b, Writer: b}) })) == 0 {
					t.Error("not found")
				}
				return
			}
			t.Fatalf("no case %q", tc.foundBy)
		})
	}
}

// rendezvous lets the first n callers wait for one another, once.
func rendezvous(n int) func() {
	var mu sync.Mutex
	all := make(chan struct{})
	return func() {
		mu.Lock()
		n--
		last, late := n == 0, n < 0
		mu.Unlock()
		switch {
		case last:
			close(all)
		case !late:
			<-all
		}
	}
}

// recorder is a testing.TB that remembers failures.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (r *recorder) fail(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, s)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Error(args ...any)         { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any)         { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }

func failures(t *testing.T, f func(testing.TB)) []string {
	r, done := &recorder{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.failed
}

// TestClientsAreValid: what Run hands out can be handed to any registry.
func TestClientsAreValid(t *testing.T) {
	t.Parallel()
	if _, err := clientreg.Static(append(Clients(), *newClient())...); err != nil {
		t.Error(err)
	}
}
