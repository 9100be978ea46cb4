package clientreg_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/clientreg/clientregtest"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

func static(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
	t.Helper()
	r, err := clientreg.Static(clients...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func stored(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
	t.Helper()
	w := clientreg.Stored(memory.New())
	for i := range clients {
		if err := w.Create(t.Context(), &clients[i]); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestStatic(t *testing.T)     { t.Parallel(); clientregtest.Run(t, static) }
func TestStored(t *testing.T)     { t.Parallel(); clientregtest.Run(t, stored) }
func TestFromFile(t *testing.T)   { t.Parallel(); clientregtest.Run(t, fromFile) }
func TestChain(t *testing.T)      { t.Parallel(); clientregtest.Run(t, chained) }
func TestCached(t *testing.T)     { t.Parallel(); clientregtest.Run(t, cachedOf(static)) }
func TestCachedFast(t *testing.T) { t.Parallel(); clientregtest.Run(t, expiring) }
func TestCachedStored(t *testing.T) {
	t.Parallel()
	clientregtest.Run(t, cachedOf(stored))
}
func TestCachedChain(t *testing.T) {
	t.Parallel()
	clientregtest.Run(t, cachedOf(chained))
}

func fromFile(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
	t.Helper()
	data, err := json.Marshal(clients)
	if err != nil {
		t.Fatal(err)
	}
	if clients == nil {
		data = []byte("[]")
	}
	read, _, err := clientreg.ParseJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return static(t, read...)
}

// chained has one client in a file and the others in a storage.
func chained(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
	t.Helper()
	n := min(1, len(clients))
	return clientreg.Chain(static(t, clients[:n]...), stored(t, clients[n:]...), static(t))
}

func cachedOf(f clientregtest.Factory) clientregtest.Factory {
	return func(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
		return clientreg.Cached(f(t, clients...), time.Hour, nil)
	}
}

// expiring is a cache whose clock runs on at every look.
func expiring(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
	var now atomic.Int64
	return clientreg.Cached(stored(t, clients...), 3*time.Second, func() time.Time { return time.Unix(now.Add(1), 0) })
}

func client(id string) *clientreg.Client {
	return &clientreg.Client{ID: id, TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}}
}

// script is a registry that answers as it is told and counts.
type script struct {
	calls  atomic.Int64
	answer func(ctx context.Context, id string) (*clientreg.Client, error)
}

func (s *script) Client(ctx context.Context, id string) (*clientreg.Client, error) {
	s.calls.Add(1)
	return s.answer(ctx, id)
}

func answering(c *clientreg.Client, err error) *script {
	return &script{answer: func(context.Context, string) (*clientreg.Client, error) { return c.Clone(), err }}
}

var errOutage = errors.New("outage")

func TestStaticReportsAll(t *testing.T) {
	t.Parallel()
	r, err := clientreg.Static(*client("a"), clientreg.Client{}, *client("a"), clientreg.Client{ID: "b", Secrets: []clientreg.ClientSecret{{}}})
	if r != nil || err == nil {
		t.Fatal(r, err)
	}
	for _, want := range []string{
		`client "": client_id is missing`, `client "": redirect_uris is missing`, `client "": secrets is missing`,
		`client "a": client_id is another client's too`, `client "b": secrets[0] does not have`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	var m *clientreg.MetadataError
	if !errors.As(err, &m) {
		t.Errorf("%T", err)
	}
}

func TestChainOrder(t *testing.T) {
	t.Parallel()
	first, second := client("a"), client("a")
	first.Name, second.Name = "first", "second"
	absent := answering(nil, clientreg.ErrNotFound)
	wrapped := answering(nil, fmt.Errorf("table clients: %w", clientreg.ErrNotFound))
	for _, tc := range []struct {
		name  string
		chain []clientreg.Registry
		want  string
		err   error
	}{
		{"empty", nil, "", clientreg.ErrNotFound},
		{"the first that knows it", []clientreg.Registry{absent, wrapped, answering(first, nil), answering(second, nil)}, "first", nil},
		{"nobody", []clientreg.Registry{absent, wrapped}, "", clientreg.ErrNotFound},
		{"an outage stops", []clientreg.Registry{answering(nil, errOutage), answering(second, nil)}, "", errOutage},
		{"an outage behind the answer", []clientreg.Registry{answering(first, nil), answering(nil, errOutage)}, "first", nil},
		{"another client", []clientreg.Registry{answering(client("b"), nil), answering(second, nil)}, "", nil},
		{"neither", []clientreg.Registry{answering(nil, nil), answering(second, nil)}, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := clientreg.Chain(tc.chain...).Client(t.Context(), "a")
			if tc.want != "" {
				if err != nil || c.Name != tc.want {
					t.Errorf("%+v, %v", c, err)
				}
				return
			}
			if c != nil || err == nil || tc.err != nil && !errors.Is(err, tc.err) || tc.err == nil && errors.Is(err, clientreg.ErrNotFound) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

func TestChainWrites(t *testing.T) {
	t.Parallel()
	if _, ok := clientreg.Chain(static(t)).(clientreg.Writer); ok {
		t.Error("a writer from nowhere")
	}
	w := clientreg.Chain(static(t, *client("own")), stored(t), static(t, *client("later"))).(clientreg.Writer)
	for _, id := range []string{"own", "later"} {
		if err := w.Create(t.Context(), client(id)); !errors.Is(err, clientreg.ErrExists) {
			t.Errorf("create %s: %v", id, err)
		}
		if err := w.Delete(t.Context(), id); !errors.Is(err, clientreg.ErrNotFound) {
			t.Errorf("delete %s: %v", id, err)
		}
		if err := w.Update(t.Context(), client(id), 1); !errors.Is(err, clientreg.ErrNotFound) {
			t.Errorf("update %s: %v", id, err)
		}
	}
	out := clientreg.Chain(answering(nil, errOutage), stored(t)).(clientreg.Writer)
	if err := out.Create(t.Context(), client("new")); !errors.Is(err, errOutage) {
		t.Errorf("create while a registry is out: %v", err)
	}
}

// vault is a registry with secrets of its own.
type vault struct {
	clientreg.Registry
	secret string
}

func (v vault) VerifySecret(_ context.Context, _ *clientreg.Client, presented string) (bool, error) {
	return presented == v.secret, nil
}

func TestSecretVerifierPassesThrough(t *testing.T) {
	t.Parallel()
	v := vault{static(t, *client("a")), "s"}
	for name, tc := range map[string]struct {
		r   clientreg.Registry
		id  string
		ok  bool
		err error
	}{
		"chain":                       {clientreg.Chain(static(t), v), "a", true, nil},
		"cache":                       {clientreg.Cached(v, time.Hour, nil), "a", true, nil},
		"cache of chain":              {clientreg.Cached(clientreg.Chain(static(t), v), time.Hour, nil), "a", true, nil},
		"cache of chain with writer":  {clientreg.Cached(clientreg.Chain(v, stored(t)), time.Hour, nil), "a", true, nil},
		"another registry's client":   {clientreg.Chain(static(t, *client("b")), v), "b", false, errors.ErrUnsupported},
		"nobody's client":             {clientreg.Chain(v), "c", false, clientreg.ErrNotFound},
		"outage":                      {clientreg.Chain(answering(nil, errOutage), v), "a", false, errOutage},
		"chain without a verifier":    {clientreg.Chain(static(t, *client("a"))), "a", false, errors.ErrUnsupported},
		"cache without a verifier":    {clientreg.Cached(static(t, *client("a")), time.Hour, nil), "a", false, errors.ErrUnsupported},
		"chain of cache, no verifier": {clientreg.Chain(clientreg.Cached(static(t, *client("a")), time.Hour, nil)), "a", false, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sv := tc.r.(clientreg.SecretVerifier)
			ok, err := sv.VerifySecret(t.Context(), client(tc.id), "s")
			if ok != tc.ok || !errors.Is(err, tc.err) {
				t.Errorf("%v, %v", ok, err)
			}
			if ok, _ := sv.VerifySecret(t.Context(), client(tc.id), "wrong"); ok {
				t.Error("a wrong secret passed")
			}
		})
	}
}

// stopped is a clock that tests move.
type stopped struct {
	mu sync.Mutex
	t  time.Time
}

func (s *stopped) now() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.t }

func (s *stopped) add(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.t = s.t.Add(d) }

func TestCachedTTL(t *testing.T) {
	t.Parallel()
	clock := &stopped{t: time.Unix(1e9, 0)}
	known := true
	s := &script{}
	s.answer = func(_ context.Context, id string) (*clientreg.Client, error) {
		if id == "absent" || !known {
			return nil, clientreg.ErrNotFound
		}
		c := client(id)
		c.Name = fmt.Sprint(s.calls.Load())
		return c, nil
	}
	r := clientreg.Cached(s, time.Minute, clock.now)
	ask := func(id, name string, calls int64) {
		t.Helper()
		c, err := r.Client(t.Context(), id)
		switch {
		case name == "" && (c != nil || !errors.Is(err, clientreg.ErrNotFound)):
			t.Errorf("%+v, %v; want ErrNotFound", c, err)
		case name != "" && (err != nil || c.Name != name):
			t.Errorf("%+v, %v; want %s", c, err, name)
		}
		if n := s.calls.Load(); n != calls {
			t.Errorf("%d calls, want %d", n, calls)
		}
	}
	ask("a", "1", 1)
	ask("a", "1", 1)
	ask("absent", "", 2)
	ask("absent", "", 2)
	clock.add(time.Minute - 1)
	ask("a", "1", 2)
	ask("absent", "", 2)
	clock.add(1)
	ask("a", "3", 3)
	ask("absent", "", 4)
	clock.add(time.Minute)
	known = false
	ask("a", "", 5)
	clock.add(time.Minute)
	known = true
	ask("a", "6", 6)
	long := strings.Repeat("x", 513)
	ask(long, "7", 7)
	ask(long, "8", 8)
}

func TestCachedNothing(t *testing.T) {
	t.Parallel()
	s := answering(client("a"), nil)
	if r := clientreg.Cached(s, 0, nil); r != clientreg.Registry(s) {
		t.Errorf("%T", r)
	}
}

// TestCachedErrors: an outage is not remembered, and a registry that breaks its
// contract is not believed.
func TestCachedErrors(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*script{
		"outage": answering(nil, errOutage), "neither": answering(nil, nil), "another": answering(client("b"), nil),
		"outage with client": answering(client("a"), errOutage),
	} {
		r := clientreg.Cached(s, time.Hour, nil)
		for i := range 3 {
			c, err := r.Client(t.Context(), "a")
			if c != nil || err == nil || errors.Is(err, clientreg.ErrNotFound) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
			if n := s.calls.Load(); n != int64(i+1) {
				t.Errorf("%s: %d calls after %d", name, n, i+1)
			}
		}
	}
}

func TestCachedPanic(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(context.Context, string) (*clientreg.Client, error) { panic("registry") }}
	r := clientreg.Cached(s, time.Hour, nil)
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			r.Client(t.Context(), "a")
		}()
	}
}

// waiting is a context that tells when somebody waits for it.
type waiting struct {
	context.Context
	waits func()
}

func (w waiting) Done() <-chan struct{} { w.waits(); return w.Context.Done() }

// TestCachedSingleFlight: many who wait are one call, and get copies.
func TestCachedSingleFlight(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	s := &script{answer: func(_ context.Context, id string) (*clientreg.Client, error) {
		close(entered)
		<-release
		return client(id), nil
	}}
	r := clientreg.Cached(s, time.Hour, nil)
	results := make(chan *clientreg.Client, 20)
	var joined sync.WaitGroup
	joined.Add(19)
	ask := func(ctx context.Context) {
		c, err := r.Client(ctx, "a")
		if err != nil {
			t.Error(err)
			c = client("error")
		}
		results <- c
	}
	go ask(t.Context())
	<-entered
	for range 19 {
		go ask(waiting{t.Context(), joined.Done})
	}
	joined.Wait()
	// Whoever has a dead context leaves, the flight goes on.
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := r.Client(dead, "a"); c != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", c, err)
	}
	close(release)
	seen := map[*string]bool{}
	for range 20 {
		c := <-results
		if seen[&c.RedirectURIs[0]] {
			t.Error("two callers share memory")
		}
		seen[&c.RedirectURIs[0]] = true
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// TestCachedLeaderLeaves: who waited for someone who gave up asks again.
func TestCachedLeaderLeaves(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	var first atomic.Bool
	s := &script{answer: func(ctx context.Context, id string) (*clientreg.Client, error) {
		if first.CompareAndSwap(false, true) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return client(id), nil
	}}
	r := clientreg.Cached(s, time.Hour, nil)
	ctx, cancel := context.WithCancel(t.Context())
	leader, follower, joined := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() { _, err := r.Client(ctx, "a"); leader <- err }()
	<-entered
	go func() {
		_, err := r.Client(waiting{t.Context(), func() { close(joined) }}, "a")
		follower <- err
	}()
	<-joined
	cancel()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Errorf("leader: %v", err)
	}
	if err := <-follower; err != nil {
		t.Errorf("follower: %v", err)
	}
}

// slowWriter lets a read begin before a write and end after it.
type slowWriter struct {
	clientreg.Writer
	entered, release chan struct{}
	first            atomic.Bool
}

func (s *slowWriter) Client(ctx context.Context, id string) (*clientreg.Client, error) {
	c, err := s.Writer.Client(ctx, id)
	if s.first.CompareAndSwap(false, true) {
		close(s.entered)
		<-s.release
	}
	return c, err
}

// TestCachedStaleRead: what was read before a write is not remembered after it.
func TestCachedStaleRead(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(clientreg.Writer, *clientreg.Client) error{
		"update": func(w clientreg.Writer, c *clientreg.Client) error { return w.Update(t.Context(), c, 1) },
		"delete": func(w clientreg.Writer, c *clientreg.Client) error { return w.Delete(t.Context(), c.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &slowWriter{Writer: stored(t, *client("a")).(clientreg.Writer), entered: make(chan struct{}), release: make(chan struct{})}
			w := clientreg.Cached(s, time.Hour, nil).(clientreg.Writer)
			done := make(chan struct{})
			go func() { defer close(done); w.Client(t.Context(), "a") }()
			<-s.entered
			changed := client("a")
			changed.Name = "changed"
			if err := write(w, changed); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				c, err := w.Client(t.Context(), "a")
				if name == "delete" && !errors.Is(err, clientreg.ErrNotFound) || name == "update" && (err != nil || c.Name != "changed") {
					t.Errorf("%+v, %v", c, err)
				}
				select {
				case <-s.release:
				default:
					close(s.release)
					<-done
				}
			}
		})
	}
}

// TestCachedBounded: strangers who ask for clients that do not exist neither
// fill the memory nor push out those that do.
func TestCachedBounded(t *testing.T) {
	t.Parallel()
	s := &script{answer: func(_ context.Context, id string) (*clientreg.Client, error) {
		if id == "a" {
			return client(id), nil
		}
		return nil, clientreg.ErrNotFound
	}}
	r := clientreg.Cached(s, time.Hour, nil)
	r.Client(t.Context(), "a")
	for i := range 10_000 {
		r.Client(t.Context(), fmt.Sprint("nobody ", i))
	}
	before := s.calls.Load()
	r.Client(t.Context(), "a")
	if n := s.calls.Load(); n != before {
		t.Error("the client was pushed out")
	}
	forgotten := 0
	for i := range 10_000 {
		before := s.calls.Load()
		r.Client(t.Context(), fmt.Sprint("nobody ", i))
		if s.calls.Load() != before {
			forgotten++
		}
	}
	if forgotten < 10_000-4096 {
		t.Errorf("%d absences were kept", 10_000-forgotten)
	}
}

// faulty is a storage that fails, or lies.
type faulty struct {
	storage.Storage
	get    func(*storage.Record, error) (*storage.Record, error)
	commit error
}

func (f faulty) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	r, err := f.Storage.Get(ctx, ref)
	if f.get != nil {
		return f.get(r, err)
	}
	return r, err
}

func (f faulty) Commit(ctx context.Context, ops ...storage.Op) error {
	if f.commit != nil {
		return f.commit
	}
	return f.Storage.Commit(ctx, ops...)
}

// TestStoredFaults: whatever a storage does, only an absent record is
// ErrNotFound.
func TestStoredFaults(t *testing.T) {
	t.Parallel()
	m := memory.New()
	w := clientreg.Stored(m)
	for _, id := range []string{"a", "b"} {
		if err := w.Create(t.Context(), client(id)); err != nil {
			t.Fatal(err)
		}
	}
	for name, get := range map[string]func(*storage.Record, error) (*storage.Record, error){
		"outage":         func(*storage.Record, error) (*storage.Record, error) { return nil, storage.ErrUnavailable },
		"neither":        func(*storage.Record, error) (*storage.Record, error) { return nil, nil },
		"another record": func(r *storage.Record, err error) (*storage.Record, error) { r.Key += "x"; return r, err },
		"another kind":   func(r *storage.Record, err error) (*storage.Record, error) { r.Kind = "grant"; return r, err },
		"broken data":    func(r *storage.Record, err error) (*storage.Record, error) { r.Data = r.Data[1:]; return r, err },
		"no data":        func(r *storage.Record, err error) (*storage.Record, error) { r.Data = nil; return r, err },
		"null":           func(r *storage.Record, err error) (*storage.Record, error) { r.Data = []byte("null"); return r, err },
		"another client": func(r *storage.Record, err error) (*storage.Record, error) {
			r.Data = []byte(strings.Replace(string(r.Data), `"a"`, `"b"`, 1))
			return r, err
		},
	} {
		c, err := clientreg.Stored(faulty{Storage: m, get: get}).Client(t.Context(), "a")
		if c != nil || err == nil || errors.Is(err, clientreg.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	out := clientreg.Stored(faulty{Storage: m, commit: storage.ErrUnavailable})
	for name, err := range map[string]error{
		"create": out.Create(t.Context(), client("new")),
		"update": out.Update(t.Context(), client("a"), 1),
		"delete": out.Delete(t.Context(), "a"),
	} {
		if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, clientreg.ErrNotFound) || errors.Is(err, clientreg.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStoredValidates: nothing invalid gets in by either way.
func TestStoredValidates(t *testing.T) {
	t.Parallel()
	w := clientreg.Stored(memory.New())
	if err := w.Create(t.Context(), client("a")); err != nil {
		t.Fatal(err)
	}
	bad := client("a")
	bad.RedirectURIs = []string{"javascript:alert(1)"}
	var m *clientreg.MetadataError
	if err := w.Update(t.Context(), bad, 1); !errors.As(err, &m) || m.Field != "redirect_uris[0]" {
		t.Errorf("update: %v", err)
	}
	bad.ID = "b"
	if err := w.Create(t.Context(), bad); !errors.As(err, &m) {
		t.Errorf("create: %v", err)
	}
	large := client("large")
	long := strings.Repeat("a", 1900)
	for i := range 32 {
		large.RedirectURIs = append(large.RedirectURIs[:i], fmt.Sprintf("https://app.example/%d/%s", i, long))
	}
	large.PostLogoutRedirectURIs = large.RedirectURIs
	if err := w.Create(t.Context(), large); !errors.As(err, &m) || m.Rule != "is too large" {
		t.Errorf("large: %v", err)
	}
	for _, id := range []string{"b", "large"} {
		if c, err := w.Client(t.Context(), id); !errors.Is(err, clientreg.ErrNotFound) {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

// TestStoredRecord: where a client is, so that replicas agree for ever.
func TestStoredRecord(t *testing.T) {
	t.Parallel()
	m := memory.New()
	secret, hash := clientreg.NewSecret()
	c := client("client-1")
	c.TokenEndpointAuthMethod, c.Secrets = "", []clientreg.ClientSecret{{Hash: hash}}
	if err := clientreg.Stored(m).Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// SHA-256("client-1"): its first two bytes, and all of it in base64url.
	ref := storage.Ref{Kind: storage.KindClient, Shard: 0x5704, Key: "VwTeGPxgReTQjDomEWJ5Vom6agODlkEJNQ-PrTxK2XI"}
	rec, err := m.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Client != "client-1" || !rec.ExpiresAt.IsZero() || strings.Contains(string(rec.Data), secret) {
		t.Errorf("%+v", rec)
	}
}
