// Package seal encrypts and authenticates small values under a list of
// secrets: the first one seals, all open. Each purpose has a key of its own,
// derived by HKDF-SHA-256, and the issuer is part of every derivation, so a
// value sealed for one purpose or issuer opens for no other.
//
// A sealed value is a format byte, four bytes that name the secret, a nonce of
// 24 bytes and the XChaCha20-Poly1305 ciphertext. The name is looked up, never
// searched by trial decryption.
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrOpen says that a value was not sealed here, for this purpose, under one of
// the secrets. It tells no more.
var ErrOpen = errors.New("seal: value does not open")

const (
	format   = 1
	idBytes  = 4
	header   = 1 + idBytes
	overhead = header + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// MACSize is the length of a tag in bytes.
const MACSize = 16

// Keyring seals under its first secret and opens under all of them. It is safe
// for concurrent use.
type Keyring struct {
	issuer string
	keys   []*key
}

type key struct {
	id     [idBytes]byte
	secret []byte
	aeads  sync.Map // purpose -> *sealer
	macs   sync.Map // purpose -> []byte
}

// sealer is the key of one purpose.
type sealer struct {
	cipher.AEAD
	bound []byte // associated data: what a value must not be taken for
}

// New returns a keyring over at least one secret of at least 32 bytes; the
// caller has checked that.
func New(issuer string, secrets [][]byte) *Keyring {
	k := &Keyring{issuer: issuer}
	for _, s := range secrets {
		e := &key{secret: s}
		copy(e.id[:], k.derive(e, "key id", nil, idBytes))
		k.keys = append(k.keys, e)
	}
	return k
}

// derive returns n bytes for one purpose. The lengths of the parts are part of
// the info string, so that no two purposes share one.
func (k *Keyring) derive(e *key, purpose string, salt []byte, n int) []byte {
	info := make([]byte, 0, 64)
	for _, part := range []string{"idpkit seal 1", k.issuer, purpose} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(part)))
		info = append(info, part...)
	}
	out, err := hkdf.Key(sha256.New, e.secret, salt, string(info), n)
	if err != nil {
		panic(err) // only for n beyond 255 hashes
	}
	return out
}

func (k *Keyring) sealer(e *key, purpose string) *sealer {
	if s, ok := e.aeads.Load(purpose); ok {
		return s.(*sealer)
	}
	s, _ := e.aeads.LoadOrStore(purpose, k.newSealer(e, purpose, nil))
	return s.(*sealer)
}

// newSealer derives the key of a purpose and, where there is one, a salt.
func (k *Keyring) newSealer(e *key, purpose string, salt []byte) *sealer {
	a, err := chacha20poly1305.NewX(k.derive(e, purpose, salt, chacha20poly1305.KeySize))
	if err != nil {
		panic(err) // only for a wrong key size
	}
	return &sealer{a, append([]byte{format}, purpose+"\x00"+k.issuer...)}
}

func (k *Keyring) find(id []byte) *key {
	for _, e := range k.keys {
		if string(e.id[:]) == string(id) {
			return e
		}
	}
	return nil
}

// Seal encrypts plaintext for a purpose. Purposes are fixed strings of the
// program, never input.
func (k *Keyring) Seal(purpose string, random io.Reader, plaintext []byte) ([]byte, error) {
	return k.seal(k.sealer(k.keys[0], purpose), random, plaintext)
}

// SealTo is Seal under a key that also depends on salt: without the salt
// nobody opens it, the holder of the secrets included.
func (k *Keyring) SealTo(salt []byte, purpose string, random io.Reader, plaintext []byte) ([]byte, error) {
	return k.seal(k.newSealer(k.keys[0], purpose, salt), random, plaintext)
}

func (k *Keyring) seal(s *sealer, random io.Reader, plaintext []byte) ([]byte, error) {
	out := make([]byte, header+chacha20poly1305.NonceSizeX, overhead+len(plaintext))
	out[0] = format
	copy(out[1:], k.keys[0].id[:])
	nonce := out[header:]
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, err
	}
	return s.AEAD.Seal(out, nonce, plaintext, s.bound), nil
}

// Open returns what Seal was given, or ErrOpen.
func (k *Keyring) Open(purpose string, sealed []byte) ([]byte, error) {
	return k.open(sealed, func(e *key) *sealer { return k.sealer(e, purpose) })
}

// Current tells whether a sealed value was sealed under the first secret.
func (k *Keyring) Current(sealed []byte) bool {
	return len(sealed) >= header && string(sealed[1:header]) == string(k.keys[0].id[:])
}

// OpenTo returns what SealTo was given with the same salt, or ErrOpen.
func (k *Keyring) OpenTo(salt []byte, purpose string, sealed []byte) ([]byte, error) {
	return k.open(sealed, func(e *key) *sealer { return k.newSealer(e, purpose, salt) })
}

func (k *Keyring) open(sealed []byte, under func(*key) *sealer) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != format {
		return nil, ErrOpen
	}
	e := k.find(sealed[1:header])
	if e == nil {
		return nil, ErrOpen
	}
	nonce, body := sealed[header:header+chacha20poly1305.NonceSizeX], sealed[header+chacha20poly1305.NonceSizeX:]
	s := under(e)
	plain, err := s.AEAD.Open(nil, nonce, body, s.bound)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// MAC returns the name of the first secret followed by a tag over msg: 20 bytes.
func (k *Keyring) MAC(purpose string, msg []byte) []byte {
	e := k.keys[0]
	return append(append([]byte(nil), e.id[:]...), k.tag(e, purpose, msg)...)
}

// MACs returns what MAC makes under each of the secrets, the first secret's
// first: to find by its tag what was named before the secrets were rotated.
func (k *Keyring) MACs(purpose string, msg []byte) [][]byte {
	macs := make([][]byte, len(k.keys))
	for i, e := range k.keys {
		macs[i] = append(append([]byte(nil), e.id[:]...), k.tag(e, purpose, msg)...)
	}
	return macs
}

// VerifyMAC tells whether mac came from MAC for this purpose and message under
// one of the secrets. It compares in constant time.
func (k *Keyring) VerifyMAC(purpose string, msg, mac []byte) bool {
	if len(mac) != idBytes+MACSize {
		return false
	}
	e := k.find(mac[:idBytes])
	return e != nil && hmac.Equal(mac[idBytes:], k.tag(e, purpose, msg))
}

func (k *Keyring) tag(e *key, purpose string, msg []byte) []byte {
	secret, ok := e.macs.Load(purpose)
	if !ok {
		secret, _ = e.macs.LoadOrStore(purpose, k.derive(e, "mac "+purpose, nil, sha256.Size))
	}
	h := hmac.New(sha256.New, secret.([]byte))
	h.Write(msg)
	return h.Sum(nil)[:MACSize]
}
