package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/storagetest"
)

var far = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

func secretOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func encrypt(t testing.TB, s storage.Storage, secrets ...[]byte) storage.Storage {
	t.Helper()
	e, err := storage.Encrypted(s, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func prefix(t testing.TB, s storage.Storage, p string) storage.Storage {
	t.Helper()
	d, err := storage.Prefixed(s, p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func routed(t testing.TB, rest storage.Storage, legs ...storage.Leg) storage.Storage {
	t.Helper()
	r, err := storage.Route(rest, legs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDecoratorsKeepTheContract runs the whole kit on each decorator and on all
// of them together.
func TestDecoratorsKeepTheContract(t *testing.T) {
	t.Parallel()
	observe := func(s storage.Storage) storage.Storage {
		return storage.Observed(s, func(context.Context, storage.Call) {})
	}
	replayAside := func(t testing.TB, s storage.Storage) storage.Storage {
		return routed(t, s, storage.Leg{Storage: memory.New(), Kinds: []storage.Kind{storage.KindKey, storage.KindClient, storage.KindPoll}})
	}
	for name, c := range map[string]struct {
		make storagetest.Factory
		opts []storagetest.Option
	}{
		"encrypted": {
			func(t testing.TB) storage.Storage { return encrypt(t, memory.New(), secretOf(1), secretOf(2)) },
			[]storagetest.Option{storagetest.Less(0, storage.SealOverhead)},
		},
		"prefixed": {
			func(t testing.TB) storage.Storage {
				s := memory.New()
				neighbour := prefix(t, s, "a")
				if err := neighbour.Commit(t.Context(), storage.Insert(storage.Record{
					Ref: storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: "b:a"}, Subject: "sub", Client: "cli", Session: "ses", Grant: "gra",
				})); err != nil {
					t.Fatal(err)
				}
				return prefix(t, s, "a-b")
			},
			[]storagetest.Option{storagetest.Less(len("a-b:"), 0)},
		},
		"routed":   {func(t testing.TB) storage.Storage { return replayAside(t, memory.New()) }, nil},
		"observed": {func(testing.TB) storage.Storage { return observe(memory.New()) }, nil},
		"all": {
			func(t testing.TB) storage.Storage {
				return observe(prefix(t, encrypt(t, replayAside(t, memory.New()), secretOf(1)), "tenant"))
			},
			[]storagetest.Option{storagetest.Less(len("tenant:"), storage.SealOverhead)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, c.make, append(c.opts, storagetest.Rounds(4))...)
		})
	}
}

func grant(key, subject, data string) storage.Record {
	return storage.Record{Ref: storage.Ref{Kind: storage.KindGrant, Key: key}, Subject: subject, ExpiresAt: far, Data: []byte(data)}
}

func TestEncryptedHidesData(t *testing.T) {
	t.Parallel()
	ctx, inner := t.Context(), memory.New()
	s := encrypt(t, inner, secretOf(1))
	r := grant("k", "alice", "the secret of the record")
	if err := s.Commit(ctx, storage.Insert(r)); err != nil {
		t.Fatal(err)
	}
	raw, err := inner.Get(ctx, r.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw.Data, []byte("secret")) || len(raw.Data) != len(r.Data)+storage.SealOverhead {
		t.Errorf("in the database: %q", raw.Data)
	}
	if string(r.Data) != "the secret of the record" {
		t.Error("the caller's record was changed")
	}
	other := grant("k2", "alice", "the secret of the record")
	if err := s.Commit(ctx, storage.Insert(other)); err != nil {
		t.Fatal(err)
	}
	raw2, _ := inner.Get(ctx, other.Ref)
	if bytes.Equal(raw.Data, raw2.Data) {
		t.Error("equal data looks equal")
	}
}

// TestEncryptedRefusesMovedData: who can write to the database cannot make one
// row out of another.
func TestEncryptedRefusesMovedData(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*storage.Record){
		"another key":     func(r *storage.Record) { r.Key = "other" },
		"another shard":   func(r *storage.Record) { r.Shard++ },
		"another kind":    func(r *storage.Record) { r.Kind = storage.KindCode },
		"another subject": func(r *storage.Record) { r.Subject = "mallory" },
		"another client":  func(r *storage.Record) { r.Client = "evil" },
		"another session": func(r *storage.Record) { r.Session = "s" },
		"another grant":   func(r *storage.Record) { r.Grant = "g" },
		"columns shifted": func(r *storage.Record) { r.Subject, r.Client = "alic", "e" },
		"a bit flipped":   func(r *storage.Record) { r.Data[len(r.Data)-1] ^= 1 },
		"the nonce":       func(r *storage.Record) { r.Data[6] ^= 1 },
		"the format":      func(r *storage.Record) { r.Data[0] = 2 },
		"another secret":  func(r *storage.Record) { r.Data[1] ^= 1 },
		"cut":             func(r *storage.Record) { r.Data = r.Data[:storage.SealOverhead-1] },
		"empty":           func(r *storage.Record) { r.Data = nil },
		"in the clear":    func(r *storage.Record) { r.Data = []byte(`{"sub":"mallory","and":"long enough to be sealed"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, inner, forged := t.Context(), memory.New(), memory.New()
			if err := encrypt(t, inner, secretOf(1)).Commit(ctx, storage.Insert(grant("k", "alice", "data"))); err != nil {
				t.Fatal(err)
			}
			row, _ := inner.Get(ctx, storage.Ref{Kind: storage.KindGrant, Key: "k"})
			change(row)
			if err := forged.Commit(ctx, storage.Insert(*row)); err != nil {
				t.Fatal(err)
			}
			s := encrypt(t, forged, secretOf(1))
			if r, err := s.Get(ctx, row.Ref); err == nil || r != nil || errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Get: %+v, %v", r, err)
			}
			if p, err := s.Find(ctx, storage.Query{Kind: row.Kind, Subject: row.Subject}); err == nil || len(p.Records) > 0 {
				t.Errorf("Find: %+v, %v", p, err)
			}
			if err := s.Commit(ctx, storage.Insert(storage.Record{Ref: row.Ref})); err == nil {
				t.Error("the conflict with it is no error")
			}
		})
	}
}

func TestEncryptedRotates(t *testing.T) {
	t.Parallel()
	ctx, inner := t.Context(), memory.New()
	old := encrypt(t, inner, secretOf(1))
	ref := storage.Ref{Kind: storage.KindGrant, Key: "k"}
	if err := old.Commit(ctx, storage.Insert(grant("k", "alice", "one"))); err != nil {
		t.Fatal(err)
	}
	both := encrypt(t, inner, secretOf(2), secretOf(1))
	r, err := both.Get(ctx, ref)
	if err != nil || string(r.Data) != "one" {
		t.Fatalf("%+v, %v", r, err)
	}
	only := encrypt(t, inner, secretOf(2))
	if _, err := only.Get(ctx, ref); err == nil {
		t.Error("opened under a secret that did not seal it")
	}
	r.Data = []byte("two")
	if err := both.Commit(ctx, storage.Update(*r)); err != nil {
		t.Fatal(err)
	}
	if r, err := only.Get(ctx, ref); err != nil || string(r.Data) != "two" {
		t.Errorf("after writing: %+v, %v", r, err)
	}
	if err := only.Commit(ctx, storage.Consume(ref)); err != nil {
		t.Fatal(err)
	}
	if r, err := only.Get(ctx, ref); err != nil || string(r.Data) != "two" || r.State != storage.Consumed {
		t.Errorf("after Consume: %+v, %v", r, err)
	}
}

// TestDecoratorsRefuse: every mistake at once, and none at the first request.
func TestDecoratorsRefuse(t *testing.T) {
	t.Parallel()
	m := memory.New()
	for name, c := range map[string]struct {
		make func() error
		want []string
	}{
		"encrypted without anything": {func() error { _, err := storage.Encrypted(nil); return err }, []string{"needs a storage", "needs a secret"}},
		"short secrets": {
			func() error { _, err := storage.Encrypted(m, []byte("short"), secretOf(1), []byte{}); return err },
			[]string{"secret 0 of Encrypted has 5 bytes", "secret 2 of Encrypted has 0 bytes"},
		},
		"a secret twice": {func() error { _, err := storage.Encrypted(m, secretOf(1), secretOf(1)); return err }, []string{"secret 1 of Encrypted is there twice"}},
		"no prefix":      {func() error { _, err := storage.Prefixed(m, ""); return err }, []string{"1 to 64"}},
		"a colon":        {func() error { _, err := storage.Prefixed(m, "a:b"); return err }, []string{"1 to 64"}},
		"long prefix":    {func() error { _, err := storage.Prefixed(m, strings.Repeat("a", 65)); return err }, []string{"1 to 64"}},
		"prefix of none": {func() error { _, err := storage.Prefixed(nil, "a"); return err }, []string{"needs a storage"}},
		"legs": {
			func() error {
				_, err := storage.Route(nil, storage.Leg{Kinds: []storage.Kind{storage.KindCode, storage.KindReplay}},
					storage.Leg{Storage: m, Kinds: []storage.Kind{storage.KindReplay, storage.KindSession}})
				return err
			},
			[]string{"for the rest", "leg 0 of Route has no storage", `kind "replay" twice`, `keep ["par"`, `keep ["session" "logout"]`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.make()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("lacks %q: %v", want, err)
				}
			}
		})
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	ctx, rest, aside := t.Context(), memory.New(), memory.New()
	s := routed(t, rest, storage.Leg{Storage: aside, Kinds: []storage.Kind{storage.KindReplay, storage.KindSession, storage.KindLogout}})
	replay := storage.Record{Ref: storage.Ref{Kind: storage.KindReplay, Key: "jti"}, Subject: "alice", ExpiresAt: far}
	g := grant("g", "alice", "")
	if err := s.Commit(ctx, storage.Insert(g), storage.Insert(replay)); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a commit in two storages: %v", err)
	}
	if _, err := s.Get(ctx, g.Ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("half of it was done: %v", err)
	}
	for _, r := range []storage.Record{g, replay} {
		if err := s.Commit(ctx, storage.Insert(r)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := aside.Get(ctx, replay.Ref); err != nil {
		t.Errorf("the replay mark is not on its leg: %v", err)
	}
	if _, err := rest.Get(ctx, g.Ref); err != nil {
		t.Errorf("the grant is not in the rest: %v", err)
	}
	if p, err := s.Find(ctx, storage.Query{Kind: storage.KindReplay, Subject: "alice"}); err != nil || len(p.Records) != 1 {
		t.Errorf("found %v, %v", p, err)
	}
	for i := range 10 {
		r := replay
		r.Key = fmt.Sprint(i)
		g := grant(fmt.Sprint("g", i), "alice", "")
		if err := errors.Join(s.Commit(ctx, storage.Insert(r)), s.Commit(ctx, storage.Insert(g))); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, want := range []int{8, 8, 6, 0} { // 11 of each
		n, err := s.Purge(ctx, far.Add(1), 8)
		if err != nil || n != want {
			t.Errorf("purged %d, %v; want %d", n, err, want)
		}
		total += n
	}
	if total != 22 {
		t.Errorf("purged %d of 22", total)
	}

	// A leg that is away is told, and the others are swept.
	away := storagetest.Flaky(memory.New(), storagetest.Plan{Choose: func(storagetest.Call) storagetest.Fault { return storagetest.Fail(storage.ErrUnavailable) }})
	s = routed(t, away, storage.Leg{Storage: aside, Kinds: []storage.Kind{storage.KindReplay, storage.KindSession, storage.KindLogout}})
	if err := s.Commit(ctx, storage.Insert(replay)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Purge(ctx, far.Add(1), 8); n != 1 || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("with a leg away: %d, %v", n, err)
	}
}

func TestObserved(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var calls []storage.Call
	s := storage.Observed(memory.New(), func(_ context.Context, c storage.Call) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c)
	})
	ctx := t.Context()
	g := grant("k", "alice", "data")
	_ = s.Commit(ctx, storage.Insert(g), storage.Delete(storage.Ref{Kind: storage.KindCode, Key: "x"}))
	_ = s.Commit(ctx, storage.Insert(g))
	_, _ = s.Get(ctx, g.Ref)
	_, _ = s.Get(ctx, storage.Ref{Kind: storage.KindPAR, Key: "none"})
	_, _ = s.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: "alice"})
	_, _ = s.Purge(ctx, far.Add(1), 10)
	want := []storage.Call{
		{Method: "commit", Kinds: []storage.Kind{"grant", "code"}, Verbs: []storage.Verb{storage.VerbInsert, storage.VerbDelete}},
		{Method: "commit", Kinds: []storage.Kind{"grant"}, Verbs: []storage.Verb{storage.VerbInsert}, Err: storage.ErrExists},
		{Method: "get", Kinds: []storage.Kind{"grant"}, Records: 1},
		{Method: "get", Kinds: []storage.Kind{"par"}, Err: storage.ErrNotFound},
		{Method: "find", Kinds: []storage.Kind{"grant"}, Records: 1},
		{Method: "purge", Records: 1},
	}
	if len(calls) != len(want) {
		t.Fatalf("%d calls, want %d", len(calls), len(want))
	}
	for i, w := range want {
		c := calls[i]
		if c.Method != w.Method || !slices.Equal(c.Kinds, w.Kinds) || !slices.Equal(c.Verbs, w.Verbs) || c.Records != w.Records || !errors.Is(c.Err, w.Err) || c.Took <= 0 {
			t.Errorf("call %d: %+v, want %+v", i, c, w)
		}
	}
}

// FuzzEncrypted: what the database returns opens only if Encrypted wrote it.
func FuzzEncrypted(f *testing.F) {
	inner := memory.New()
	s, err := storage.Encrypted(inner, secretOf(1))
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Commit(context.Background(), storage.Insert(grant("k", "alice", "data"))); err != nil {
		f.Fatal(err)
	}
	good, _ := inner.Get(context.Background(), storage.Ref{Kind: storage.KindGrant, Key: "k"})
	f.Add(good.Data)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > storage.MaxData {
			return
		}
		forged := memory.New()
		r := grant("k", "alice", string(data))
		if err := forged.Commit(t.Context(), storage.Insert(r)); err != nil {
			t.Fatal(err)
		}
		got, err := encrypt(t, forged, secretOf(1)).Get(t.Context(), r.Ref)
		if err == nil && string(got.Data) != "data" {
			t.Fatalf("%x opened as %q", data, got.Data)
		}
	})
}
