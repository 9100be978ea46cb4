package storage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Encrypted returns s with Data encrypted on the way in: AES-256-GCM under a
// key for each record, which HKDF-SHA-256 derives from the first of secrets.
// All of them open. To rotate, add a new one as second everywhere, then make it
// first; the old one may go when the last record that it sealed has expired or
// was written again.
//
// A record opens only at its own Ref and with its own Subject, Client, Session
// and Grant: who can write to the database cannot give one user's row to
// another. What it does not hide or protect: these columns, the state and the
// expiry, and a whole row put back as it once was. A record that does not open
// is an error of Get and Find; there is no way to read rows from before
// Encrypted came.
//
// Each secret has at least 32 random bytes, and is no secret of the provider's.
// Data may have SealOverhead bytes less than MaxData.
func Encrypted(s Storage, secrets ...[]byte) (Storage, error) {
	var errs []error
	if s == nil {
		errs = append(errs, errors.New("storage: Encrypted needs a storage"))
	}
	if len(secrets) == 0 {
		errs = append(errs, errors.New("storage: Encrypted needs a secret"))
	}
	e := &encrypted{inner: s}
	for i, secret := range secrets {
		if len(secret) < 32 {
			errs = append(errs, fmt.Errorf("storage: secret %d of Encrypted has %d bytes, needs 32", i, len(secret)))
			continue
		}
		k := sealKey{}
		copy(k.id[:], expand(secret, "idpkit storage key id", len(k.id)))
		k.root = expand(secret, "idpkit storage record keys", sha256.Size)
		for _, other := range e.keys {
			if other.id == k.id {
				errs = append(errs, fmt.Errorf("storage: secret %d of Encrypted is there twice", i))
			}
		}
		e.keys = append(e.keys, k)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return e, nil
}

// SealOverhead is how many bytes longer Encrypted makes Data.
const SealOverhead = sealHeader + nonceSize + tagSize

// Sealed Data is a format byte, the four bytes that name the secret, a nonce
// and the ciphertext with its tag.
const (
	sealFormat = 1
	sealHeader = 1 + 4
	nonceSize  = 12
	tagSize    = 16
)

var errSealed = errors.New("storage: a record does not open under any of the secrets")

type encrypted struct {
	inner Storage
	keys  []sealKey
}

type sealKey struct {
	id   [4]byte
	root []byte
}

func expand(secret []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, secret, nil, info, n)
	if err != nil {
		panic(err) // only for n beyond 255 hashes
	}
	return out
}

// aead returns the cipher of one record. With a key for each, random nonces
// stay safe however often a record is written.
func (k *sealKey) aead(r Ref) cipher.AEAD {
	key, err := hkdf.Expand(sha256.New, k.root, string(appendRef(nil, r)), 32)
	if err != nil {
		panic(err) // only for a length beyond 255 hashes
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for a wrong key size
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return a
}

func appendRef(b []byte, r Ref) []byte {
	b = appendPart(b, string(r.Kind))
	b = binary.BigEndian.AppendUint16(b, r.Shard)
	return appendPart(b, r.Key)
}

func appendPart(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// bound is what a sealed record must not be taken from or given to.
func bound(r *Record) []byte {
	b := appendRef(nil, r.Ref)
	for _, s := range []string{r.Subject, r.Client, r.Session, r.Grant} {
		b = appendPart(b, s)
	}
	return b
}

func (e *encrypted) seal(r *Record) {
	k := &e.keys[0]
	out := make([]byte, sealHeader+nonceSize, SealOverhead+len(r.Data))
	out[0] = sealFormat
	copy(out[1:], k.id[:])
	nonce := out[sealHeader:]
	_, _ = rand.Read(nonce) // it never fails
	r.Data = k.aead(r.Ref).Seal(out, nonce, r.Data, bound(r))
}

// open decrypts a record in place; nil stays nil.
func (e *encrypted) open(r *Record) (*Record, error) {
	if r == nil {
		return nil, nil
	}
	if len(r.Data) < SealOverhead || r.Data[0] != sealFormat {
		return nil, errSealed
	}
	for i := range e.keys {
		k := &e.keys[i]
		if string(k.id[:]) != string(r.Data[1:sealHeader]) {
			continue
		}
		plain, err := k.aead(r.Ref).Open(nil, r.Data[sealHeader:sealHeader+nonceSize], r.Data[sealHeader+nonceSize:], bound(r))
		if err != nil {
			return nil, errSealed
		}
		r.Data = plain
		return r, nil
	}
	return nil, errSealed
}

func (e *encrypted) Get(ctx context.Context, ref Ref) (*Record, error) {
	r, err := e.inner.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return e.open(r)
}

func (e *encrypted) Commit(ctx context.Context, ops ...Op) error {
	if err := Validate(ops); err != nil { // before Data grows
		return err
	}
	sealed := make([]Op, len(ops))
	for i, op := range ops {
		if op.Verb == VerbInsert || op.Verb == VerbUpdate {
			e.seal(&op.Record)
		}
		sealed[i] = op
	}
	return translate(e.inner.Commit(ctx, sealed...), ops, e.open)
}

func (e *encrypted) Find(ctx context.Context, q Query) (Page, error) {
	p, err := e.inner.Find(ctx, q)
	if err != nil {
		return Page{}, err
	}
	for i, r := range p.Records {
		if p.Records[i], err = e.open(r); err != nil {
			return Page{}, err
		}
	}
	return p, nil
}

func (e *encrypted) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	return e.inner.Purge(ctx, before, limit)
}

// translate makes the conflict of an inner storage one of the caller's ops.
func translate(err error, ops []Op, back func(*Record) (*Record, error)) error {
	var c *ConflictError
	if !errors.As(err, &c) || c.Index < 0 || c.Index >= len(ops) {
		return err
	}
	current, err := back(c.Current)
	if err != nil {
		return err
	}
	return &ConflictError{c.Index, ops[c.Index], current, c.Err}
}
