// Package clientregtest proves that a client registry keeps the contract of
// package clientreg. A registry's whole test is
//
//	func TestRegistry(t *testing.T) {
//		clientregtest.Run(t, func(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
//			return open(t, clients...)
//		})
//	}
package clientregtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
)

// A Factory returns a registry with exactly these clients, which are valid. It
// shares nothing with any other that it returned, and is closed by t.Cleanup.
type Factory func(t testing.TB, clients ...clientreg.Client) clientreg.Registry

// Run tests the whole contract, each part as a parallel subtest on a registry
// of its own: that of Writer too if the registry is one.
func Run(t *testing.T, f Factory) {
	_, writes := f(t).(clientreg.Writer)
	for _, tc := range cases {
		if tc.writes && !writes {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clients := Clients()
			e := &env{TB: t, clients: clients, Registry: f(t, clients...)}
			if tc.writes {
				e.Writer = e.Registry.(clientreg.Writer)
			}
			tc.run(e)
		})
	}
}

type testCase struct {
	name   string
	writes bool
	run    func(*env)
}

var cases = []testCase{
	{"every client is found", false, everyClientIsFound},
	{"what differs in any byte is not found", false, nearMisses},
	{"clients are copies", false, clientsAreCopies},
	{"concurrent reads", false, concurrentReads},
	{"a cancelled context is no absence", false, cancelledContext},

	{"create", true, create},
	{"create keeps nothing of its argument", true, createCopies},
	{"create a client that exists", true, createExisting},
	{"update", true, update},
	{"update of another version", true, updateConflict},
	{"update of no client", true, updateAbsent},
	{"delete", true, deleteClient},
	{"a deleted id stays dead", true, deletedStaysDead},
	{"concurrent creates", true, concurrentCreates},
	{"concurrent updates", true, concurrentUpdates},
}

// Clients returns the clients that Run hands to the factory: valid, and between
// them with something in most fields.
func Clients() []clientreg.Client {
	_, hash := clientreg.NewSecret()
	age := 0
	return []clientreg.Client{
		{
			ID: "spa", Name: "Single page", ApplicationType: "web", TokenEndpointAuthMethod: "none",
			RedirectURIs: []string{"https://app.example/cb"}, PostLogoutRedirectURIs: []string{"https://app.example/bye"},
			GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid offline_access",
			ClientURI: "https://app.example", Contacts: []string{"ops@app.example"}, DefaultMaxAge: &age,
			Extra: map[string]json.RawMessage{"client_name#de": json.RawMessage(`"Eine Seite"`), "x_custom": json.RawMessage(`{"a":[1,2]}`)},
		},
		{
			ID: "Service 1/with:odd%characters", GrantTypes: []string{"client_credentials"}, Scope: "api",
			Secrets:  []clientreg.ClientSecret{{Hash: hash}, {Hash: hash, Expires: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}},
			IssuedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), NotBefore: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), AllowAssertionAudience: true,
		},
		{
			ID: "key", RedirectURIs: []string{"https://key.example/cb"}, TokenEndpointAuthMethod: "private_key_jwt",
			JWKS:       json.RawMessage(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`),
			RequirePAR: true, Disabled: true, AuthorizationDetailsTypes: []string{"payment"},
		},
	}
}

// env is what a case works with.
type env struct {
	testing.TB
	clients []clientreg.Client
	clientreg.Registry
	Writer clientreg.Writer
}

// get returns the client or ends the test.
func (e *env) get(id string) *clientreg.Client {
	e.Helper()
	c, err := e.Client(e.Context(), id)
	if err != nil {
		e.Fatalf("Client(%q): %v", id, err)
	}
	if c == nil {
		e.Fatalf("Client(%q): neither a client nor an error", id)
	}
	return c
}

// absent demands ErrNotFound.
func (e *env) absent(id string) {
	e.Helper()
	c, err := e.Client(e.Context(), id)
	if !errors.Is(err, clientreg.ErrNotFound) {
		e.Errorf("Client(%q): error %v, want ErrNotFound", id, err)
	}
	if c != nil {
		e.Errorf("Client(%q): a client together with %v", id, err)
	}
}

// same compares clients as documents: the version is the registry's.
func (e *env) same(got, want *clientreg.Client) {
	e.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		e.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		e.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		e.Errorf("got  %s\nwant %s", g, w)
	}
}

func (e *env) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Errorf("error %v, want %v", err, want)
	}
}

func everyClientIsFound(e *env) {
	for i := range e.clients {
		e.same(e.get(e.clients[i].ID), &e.clients[i])
	}
}

func nearMisses(e *env) {
	for _, id := range []string{
		"", " ", "SPA", "Spa", "sp", "spa ", " spa", "spa\x00", "\x00", "spa\n", "sp%", "sp_", "%", "_", "*", "s*",
		"spa' OR '1'='1", "../spa", "./spa", "spa/", "s\u0440a", "spa\u200b", "\xff\xfe", strings.Repeat("a", 10_000),
	} {
		e.absent(id)
	}
}

func clientsAreCopies(e *env) {
	for i := range e.clients {
		want := e.clients[i].Clone()
		scribble(&e.clients[i])
		first := e.get(want.ID)
		e.same(first, want)
		scribble(first)
		e.same(e.get(want.ID), want)
	}
}

// scribble changes whatever memory of c two clients could share.
func scribble(c *clientreg.Client) {
	for _, list := range [][]string{c.RedirectURIs, c.PostLogoutRedirectURIs, c.GrantTypes, c.Contacts, c.AuthorizationDetailsTypes} {
		for i := range list {
			list[i] = "scribbled"
		}
	}
	for i := range c.Secrets {
		c.Secrets[i] = clientreg.ClientSecret{Hash: "scribbled"}
	}
	for i := range c.JWKS {
		c.JWKS[i] = 'x'
	}
	for k, v := range c.Extra {
		for i := range v {
			v[i] = 'x'
		}
		delete(c.Extra, k)
	}
	if c.DefaultMaxAge != nil {
		*c.DefaultMaxAge = 77
	}
}

// atOnce runs f n times behind a barrier and returns the errors.
func atOnce(n int, f func(i int) error) []error {
	start, done := make(chan struct{}), make(chan error)
	for i := range n {
		go func() {
			<-start
			done <- f(i)
		}()
	}
	close(start)
	errs := make([]error, n)
	for i := range errs {
		errs[i] = <-done
	}
	return errs
}

func concurrentReads(e *env) {
	for _, err := range atOnce(32, func(i int) error {
		id := e.clients[i%len(e.clients)].ID
		if i%4 == 3 {
			id = fmt.Sprintf("nobody-%d", i%2)
		}
		for range 20 {
			c, err := e.Client(e.Context(), id)
			if i%4 == 3 {
				if !errors.Is(err, clientreg.ErrNotFound) {
					return fmt.Errorf("%q: error %v, want ErrNotFound", id, err)
				}
				continue
			}
			if err != nil || c == nil || c.ID != id {
				return fmt.Errorf("%q: another client, error %v", id, err)
			}
			scribble(c)
		}
		return nil
	}) {
		if err != nil {
			e.Error(err)
		}
	}
}

// cancelledContext: a registry that gives up must not say that there is no such
// client; whoever hears that throws tokens away.
func cancelledContext(e *env) {
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	c, err := e.Client(ctx, "spa")
	switch {
	case errors.Is(err, clientreg.ErrNotFound):
		e.Error("ErrNotFound for a client that exists")
	case err == nil:
		e.same(c, &e.clients[0])
	case c != nil:
		e.Errorf("a client together with %v", err)
	}
	e.same(e.get("spa"), &e.clients[0])
}

func newClient() *clientreg.Client {
	c := Clients()[0]
	c.ID = "new"
	return &c
}

func create(e *env) {
	e.absent("new")
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	got := e.get("new")
	e.same(got, newClient())
	if got.Version != 1 {
		e.Errorf("version %d, want 1", got.Version)
	}
}

func createCopies(e *env) {
	c := newClient()
	e.is(e.Writer.Create(e.Context(), c), nil)
	scribble(c)
	e.same(e.get("new"), newClient())
}

func createExisting(e *env) {
	for i := range e.clients {
		c := newClient()
		c.ID = e.clients[i].ID
		e.is(e.Writer.Create(e.Context(), c), clientreg.ErrExists)
		e.same(e.get(c.ID), &e.clients[i])
	}
}

func update(e *env) {
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	for i := range 3 {
		before := e.get("new")
		next := before.Clone()
		next.Name = fmt.Sprintf("Name %d", i)
		next.Extra = nil
		want := next.Clone()
		e.is(e.Writer.Update(e.Context(), next, before.Version), nil)
		scribble(next)
		after := e.get("new")
		e.same(after, want)
		if after.Version <= before.Version {
			e.Errorf("version %d after %d", after.Version, before.Version)
		}
	}
}

func updateConflict(e *env) {
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	first := e.get("new")
	second := first.Clone()
	first.Name, second.Name = "first", "second"
	e.is(e.Writer.Update(e.Context(), first, first.Version), nil)
	for _, version := range []int64{second.Version, 0, -1, 1 << 40} {
		e.is(e.Writer.Update(e.Context(), second, version), clientreg.ErrConflict)
	}
	e.same(e.get("new"), first)
}

func updateAbsent(e *env) {
	for _, version := range []int64{0, 1} {
		e.is(e.Writer.Update(e.Context(), newClient(), version), clientreg.ErrNotFound)
	}
	e.absent("new")
}

func deleteClient(e *env) {
	e.is(e.Writer.Delete(e.Context(), "new"), clientreg.ErrNotFound)
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	e.get("new")
	e.is(e.Writer.Delete(e.Context(), "new"), nil)
	e.absent("new")
	e.is(e.Writer.Delete(e.Context(), "new"), clientreg.ErrNotFound)
	e.same(e.get("spa"), &e.clients[0])
}

func deletedStaysDead(e *env) {
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	version := e.get("new").Version
	e.is(e.Writer.Delete(e.Context(), "new"), nil)
	e.is(e.Writer.Create(e.Context(), newClient()), clientreg.ErrExists)
	for v := range version + 3 {
		e.is(e.Writer.Update(e.Context(), newClient(), v), clientreg.ErrNotFound)
	}
	e.absent("new")
}

// oneWins demands that all but one of a race lost with the given error.
func (e *env) oneWins(errs []error, lost error) {
	e.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		e.is(err, lost)
	}
	if won != 1 {
		e.Errorf("%d of %d won, want 1", won, len(errs))
	}
}

func concurrentCreates(e *env) {
	e.absent("new") // so that a cache has something to forget
	e.oneWins(atOnce(16, func(i int) error {
		c := newClient()
		c.Name = fmt.Sprint("racer ", i)
		return e.Writer.Create(e.Context(), c)
	}), clientreg.ErrExists)
	if !strings.HasPrefix(e.get("new").Name, "racer ") {
		e.Error("the winner is not there")
	}
}

func concurrentUpdates(e *env) {
	e.is(e.Writer.Create(e.Context(), newClient()), nil)
	version := e.get("new").Version
	e.oneWins(atOnce(16, func(i int) error {
		c := newClient()
		c.Name = fmt.Sprint("racer ", i)
		return e.Writer.Update(e.Context(), c, version)
	}), clientreg.ErrConflict)
	if !strings.HasPrefix(e.get("new").Name, "racer ") {
		e.Error("the winner is not there")
	}
}
