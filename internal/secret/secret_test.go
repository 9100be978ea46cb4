package secret

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// The hashes written out are test vectors of the reference implementations of
// argon2 and of crypt_blowfish.
func TestVerify(t *testing.T) {
	t.Parallel()
	h := NewHasher(0)
	password, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	generated := New()
	seventyTwo := strings.Repeat("a", 72)
	for _, tc := range []struct {
		name, hash, presented string
		want                  bool
	}{
		{"generated", HashGenerated(generated), generated, true},
		{"generated, other", HashGenerated(generated), New(), false},
		{"generated, prefix", HashGenerated(generated), generated[:42], false},
		{"generated, longer", HashGenerated(generated), generated + "\n", false},
		{"the digest itself", HashGenerated(generated), HashGenerated(generated), false},
		{"password", password, "correct horse", true},
		{"password, case", password, "Correct horse", false},
		{"password, NUL", password, "correct horse\x00", false},
		{"T25 empty", password, "", false},
		{"T25 empty for generated", HashGenerated(""), "", false},
		{"T33 100 KiB", password, strings.Repeat("x", 100<<10), false},
		{"longest", HashGenerated(strings.Repeat("x", MaxLen)), strings.Repeat("x", MaxLen), true},
		{"too long", HashGenerated(strings.Repeat("x", MaxLen+1)), strings.Repeat("x", MaxLen+1), false},
		{"argon2id vector", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
		{"bcrypt", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", true},
		{"bcrypt, other", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*V", false},
		{"bcrypt, NUL", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U\x00", false},
		{"bcrypt, the key repeated", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U\x00U*U", false},
		{"bcrypt, 73 bytes", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", seventyTwo + "a", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ok, err := h.Verify(t.Context(), tc.hash, tc.presented)
			if err != nil || ok != tc.want {
				t.Errorf("%v, %v; want %v", ok, err, tc.want)
			}
		})
	}
}

// TestBcryptBeyond72Bytes uses a vector of crypt_blowfish.
func TestBcryptBeyond72Bytes(t *testing.T) {
	t.Parallel()
	// bcrypt sees the same 72 bytes in both; only the shorter may pass.
	const hash = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"
	long := "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored"
	h := NewHasher(0)
	if ok, err := h.Verify(t.Context(), hash, long[:72]); err != nil || !ok {
		t.Errorf("72 bytes: %v, %v", ok, err)
	}
	if ok, err := h.Verify(t.Context(), hash, long); err != nil || ok {
		t.Errorf("more than 72 bytes: %v, %v", ok, err)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	password, err := HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	const salt, tag = "c29tZXNhbHRzb21lc2FsdA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	argon := func(costs string) string { return "$argon2id$v=19$" + costs + "$" + salt + "$" + tag }
	const bcryptTail = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	for _, tc := range []struct {
		name, hash string
		ok         bool
	}{
		{"generated", HashGenerated(New()), true},
		{"password", password, true},
		{"argon2id", argon("m=65536,t=1,p=1"), true},
		{"argon2id, upper bounds", argon("m=262144,t=2,p=8"), true},
		{"bcrypt", "$2y$10$" + bcryptTail, true},
		{"bcrypt 14", "$2b$14$" + bcryptTail, true},

		{"empty", "", false},
		{"plain", "secret", false},
		{"blank hash", "$", false},
		{"unknown", "$scrypt$ln=15$" + salt + "$" + tag, false},
		{"argon2i", "$argon2i$v=19$m=65536,t=1,p=1$" + salt + "$" + tag, false},
		{"old version", "$argon2id$v=16$m=65536,t=1,p=1$" + salt + "$" + tag, false},
		{"4 GiB", argon("m=4194304,t=1,p=1"), false},
		{"too much memory", argon("m=262145,t=1,p=1"), false},
		{"too many passes", argon("m=1024,t=17,p=1"), false},
		{"too much work", argon("m=65536,t=9,p=1"), false},
		{"too many threads", argon("m=65536,t=1,p=9"), false},
		{"no passes", argon("m=65536,t=0,p=1"), false},
		{"no threads", argon("m=65536,t=1,p=0"), false},
		{"less than 8 blocks a thread", argon("m=7,t=1,p=1"), false},
		{"leading zero", argon("m=065536,t=1,p=1"), false},
		{"sign", argon("m=+65536,t=1,p=1"), false},
		{"overflow", argon("m=4294967297,t=1,p=1"), false},
		{"other order", argon("t=1,m=65536,p=1"), false},
		{"more costs", argon("m=65536,t=1,p=1,data=AA"), false},
		{"short salt", "$argon2id$v=19$m=65536,t=1,p=1$AAAA$" + tag, false},
		{"no tag", "$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$", false},
		{"short tag", "$argon2id$v=19$m=65536,t=1,p=1$" + salt + "$AAAA", false},
		{"padding", argon("m=65536,t=1,p=1") + "=", false},
		{"line break", argon("m=65536,t=1,p=1") + "\n", false},
		{"sixth field", argon("m=65536,t=1,p=1") + "$", false},
		{"short digest", "$sha256$AAAA", false},
		{"digest with salt", "$sha256$AAAA$" + tag, false},
		{"trailing bits", "$sha256$" + tag[:42] + "B", false},
		{"bcrypt 31", "$2a$31$" + bcryptTail, false},
		{"bcrypt 15", "$2a$15$" + bcryptTail, false},
		{"bcrypt 03", "$2a$03$" + bcryptTail, false},
		{"bcrypt +5", "$2a$+5$" + bcryptTail, false},
		{"bcrypt 2x", "$2x$10$" + bcryptTail, false},
		{"bcrypt cut", "$2a$10$" + bcryptTail[1:], false},
		{"bcrypt alphabet", "$2a$10$" + bcryptTail[1:] + "=", false},
		{"long", "$sha256$" + strings.Repeat("A", 10_000), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := Valid(tc.hash)
			if tc.ok != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if tc.ok {
				return
			}
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error %v, want ErrFormat", err)
			}
			if ok, err := NewHasher(1).Verify(t.Context(), tc.hash, "x"); ok || !errors.Is(err, ErrFormat) {
				t.Errorf("verify: %v, %v", ok, err)
			}
		})
	}
}

func TestHashPassword(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", strings.Repeat("x", MaxLen+1)} {
		if h, err := HashPassword(bad); h != "" || !errors.Is(err, ErrLength) {
			t.Errorf("%d bytes: %q, %v", len(bad), h, err)
		}
	}
	a, errA := HashPassword("x")
	b, errB := HashPassword("x")
	if errA != nil || errB != nil || a == b {
		t.Error("two hashes of one password are the same: no salt")
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=65536,t=1,p=1$") {
		t.Errorf("cost: %s", a)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	a, b := New(), New()
	if len(a) != 43 || a == b {
		t.Errorf("%q, %q", a, b)
	}
}

// TestSlots: no more slow verifications at once than slots, whoever waits
// leaves with its context, and quick ones never wait.
func TestSlots(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	slow, err := HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 3)
	go func() { _, err := h.Verify(ctx, slow, "x"); results <- err }()
	go func() { results <- h.DummyPassword(ctx, "x") }()
	go func() {
		_, err := h.Verify(ctx, "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "x")
		results <- err
	}()
	if ok, err := h.Verify(t.Context(), HashGenerated("quick"), "quick"); err != nil || !ok {
		t.Errorf("a quick one: %v, %v", ok, err)
	}
	cancel()
	for range 3 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting: %v, want context.Canceled", err)
		}
	}
	h.leave()
	if ok, err := h.Verify(t.Context(), slow, "x"); err != nil || !ok {
		t.Errorf("after the slot is free: %v, %v", ok, err)
	}
	if _, err := h.Verify(ctx, slow, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %v", err)
	}
	if len(h.slots) != 0 {
		t.Error("a slot was not given back")
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	h := NewHasher(2)
	slow, err := HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			presented := []string{"x", "y"}[i%2]
			if ok, err := h.Verify(t.Context(), slow, presented); err != nil || ok != (presented == "x") {
				t.Errorf("%q: %v, %v", presented, ok, err)
			}
		})
	}
	wg.Wait()
}

// TestDummy: nobody is as cheap as the cheapest secret until a slow hash was met.
func TestDummy(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Dummy(dead, "x"); err != nil {
		t.Errorf("before a slow hash was met: %v", err)
	}
	if _, err := h.Verify(dead, "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "x"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := h.Dummy(dead, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("after: %v; it did not wait for a slot", err)
	}
	for _, presented := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		if err := h.Dummy(t.Context(), presented); err != nil {
			t.Error(err)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{
		HashGenerated("x"), "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parse(s)
		if err != nil {
			return
		}
		if p.kind == kindArgon2id && (uint64(p.memory)*uint64(p.passes) > maxWork || p.memory > maxMemory || p.threads == 0 || p.passes == 0) {
			t.Errorf("%q costs too much: %+v", s, p)
		}
		if p.kind == 0 {
			t.Errorf("%q has no kind", s)
		}
	})
}
