// Package secret hashes client secrets and passwords and verifies them.
//
// A generated secret has 256 random bits, so one SHA-256 is enough: there is
// nothing to guess. What a person chose is stretched with argon2id. bcrypt
// hashes are verified for those who bring their users along, never made.
package secret

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// MaxLen is the length of the longest secret that is looked at, in bytes.
const MaxLen = 1 << 10

// Errors of this package. None carries any part of a secret or hash.
var (
	ErrFormat = errors.New("secret: not a hash that can be verified")
	ErrLength = errors.New("secret: empty or longer than 1024 bytes")
)

// The cost of a new argon2id hash, RFC 9106 §4.
const (
	memory  = 64 << 10 // KiB
	passes  = 1
	threads = 1
	saltLen = 16
	tagLen  = 32
)

// DefaultParallel is how many slow verifications a Hasher runs at once, each
// with up to maxMemory KiB, if it is not told otherwise.
const DefaultParallel = 4

var encoding = base64.RawStdEncoding.Strict()

// New returns a secret of 256 random bits in base64url, 43 characters.
func New() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// HashGenerated hashes a secret that was drawn at random: $sha256$ and the
// digest.
func HashGenerated(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "$sha256$" + encoding.EncodeToString(sum[:])
}

// HashPassword hashes what a person chose, as an argon2id PHC string. It takes
// 64 MiB and some tens of milliseconds. ErrLength.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > MaxLen {
		return "", ErrLength
	}
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails
	tag := argon2.IDKey([]byte(password), salt, passes, memory, threads, tagLen)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, threads,
		encoding.EncodeToString(salt), encoding.EncodeToString(tag)), nil
}

// Valid returns nil or ErrFormat: a form that is not known, or a cost out of
// bounds, so that no stored hash can cost the verifier more than it would
// spend on its own.
func Valid(hash string) error {
	_, err := parse(hash)
	return err
}

// Hasher verifies. It bounds the memory that slow hashes take together, and is
// safe for concurrent use.
type Hasher struct {
	slots chan struct{}
	slow  atomic.Bool // has met a slow hash
}

// NewHasher returns a Hasher that runs so many slow verifications at once;
// 0: DefaultParallel.
func NewHasher(parallel int) *Hasher {
	if parallel <= 0 {
		parallel = DefaultParallel
	}
	return &Hasher{slots: make(chan struct{}, parallel)}
}

// Verify tells whether presented is the secret that was hashed, in time that
// does not depend on how nearly it is. It waits for its turn where the hash is
// slow; errors are ErrFormat and that of ctx. An empty or too long secret is
// false at once.
func (h *Hasher) Verify(ctx context.Context, hash, presented string) (bool, error) {
	p, err := parse(hash)
	if err != nil {
		return false, err
	}
	if presented == "" || len(presented) > MaxLen {
		return false, nil
	}
	if p.kind == kindSHA256 {
		return p.verify(presented), nil
	}
	h.slow.Store(true)
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	return p.verify(presented), nil
}

// Dummy takes as long as Verify of a wrong secret, for a client that does not
// exist. It is slow only after Verify has met a slow hash: where all secrets
// are generated, a stranger must not be able to spend 64 MiB by naming nobody.
func (h *Hasher) Dummy(ctx context.Context, presented string) error {
	if h.slow.Load() {
		return h.DummyPassword(ctx, presented)
	}
	if len(presented) <= MaxLen {
		phc{kind: kindSHA256, tag: make([]byte, sha256.Size)}.verify(presented)
	}
	return nil
}

// DummyPassword takes as long as Verify of a wrong password, for a user that
// does not exist.
func (h *Hasher) DummyPassword(ctx context.Context, presented string) error {
	if presented == "" || len(presented) > MaxLen {
		return nil
	}
	if err := h.enter(ctx); err != nil {
		return err
	}
	defer h.leave()
	phc{kindArgon2id, memory, passes, threads, make([]byte, saltLen), make([]byte, tagLen), ""}.verify(presented)
	return nil
}

func (h *Hasher) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("secret: waiting for a turn: %w", err)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("secret: waiting for a turn: %w", ctx.Err())
	}
}

func (h *Hasher) leave() { <-h.slots }

// verify compares. The length of presented is checked.
func (p phc) verify(presented string) bool {
	switch p.kind {
	case kindSHA256:
		sum := sha256.Sum256([]byte(presented))
		return subtle.ConstantTimeCompare(sum[:], p.tag) == 1
	case kindArgon2id:
		tag := argon2.IDKey([]byte(presented), p.salt, p.passes, p.memory, p.threads, uint32(len(p.tag)))
		return subtle.ConstantTimeCompare(tag, p.tag) == 1
	case kindBcrypt:
		// bcrypt ignores what is beyond 72 bytes, and repeats a shorter password
		// with a NUL between: two passwords would be one.
		return len(presented) <= 72 && !strings.Contains(presented, "\x00") &&
			bcrypt.CompareHashAndPassword([]byte(p.bcrypt), []byte(presented)) == nil
	}
	return false
}

// Chosen tells whether a hash is of a secret that a person may have chosen and
// that can be guessed, unlike one of 256 random bits.
func Chosen(hash string) bool { return !strings.HasPrefix(hash, "$sha256$") }
