// Package handle makes and reads the opaque values that name records: codes,
// request URIs, interactions. A handle is a type prefix and the base64url of
// shard (2 bytes), 256 random bits and a CRC-32 over prefix, shard and random
// bits. The checksum lets secret scanners and Parse tell a handle from chance;
// it protects nothing. What a backend sees is only Key, the digest.
package handle

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
)

// Prefixes of the handles. No prefix is the beginning of another one, so a
// handle of one type never parses as another.
const (
	Code        = "ac_"
	PAR         = "urn:ietf:params:oauth:request_uri:" // RFC 9126 §2.2
	Interaction = "ix_"
	Session     = "se_"
	Refresh     = "rt_"
	Access      = "at_"
	Device      = "dc_"
)

const (
	randomBytes = 32
	bodyBytes   = 2 + randomBytes + 4

	maxHandle = 128 // more than the longest prefix and the encoded body: fits on the stack
)

var encoding = base64.RawURLEncoding.Strict()

// Source reads randomness; nil means crypto/rand.
func Source(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}
	return r
}

// New makes a handle. An error comes only from the source of randomness.
func New(prefix string, shard uint16, random io.Reader) (string, error) {
	b := make([]byte, bodyBytes)
	binary.BigEndian.PutUint16(b, shard)
	if _, err := io.ReadFull(random, b[2:2+randomBytes]); err != nil {
		return "", err
	}
	binary.BigEndian.PutUint32(b[2+randomBytes:], checksum(prefix, b[:2+randomBytes]))
	var s [maxHandle]byte
	return string(encoding.AppendEncode(append(s[:0], prefix...), b)), nil
}

// Parse returns the shard of a handle that New made with this prefix. Exactly
// one spelling of each handle parses.
func Parse(prefix, s string) (shard uint16, ok bool) {
	if len(s) != len(prefix)+encoding.EncodedLen(bodyBytes) || s[:len(prefix)] != prefix {
		return 0, false
	}
	var b [bodyBytes]byte
	var encoded [maxHandle]byte
	if n, err := encoding.Decode(b[:], append(encoded[:0], s[len(prefix):]...)); err != nil || n != bodyBytes {
		return 0, false
	}
	if binary.BigEndian.Uint32(b[2+randomBytes:]) != checksum(prefix, b[:2+randomBytes]) {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[:]), true
}

func checksum(prefix string, b []byte) uint32 {
	var all [maxHandle]byte
	return crc32.ChecksumIEEE(append(append(all[:0], prefix...), b...))
}

// Decode reads unpadded base64url in its one spelling. The standard library's
// decoder skips line breaks even when it is strict.
func Decode(s string) ([]byte, bool) {
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return nil, false
	}
	b, err := encoding.DecodeString(s)
	return b, err == nil
}

// Key is the name under which the record of a handle is stored: the base64url
// of its SHA-256. The handle has 256 random bits, so the digest needs no salt.
func Key(s string) string {
	var b [maxHandle]byte
	sum := sha256.Sum256(append(b[:0], s...))
	return encode(sum[:])
}

// encode is EncodeToString for what is short, with one allocation.
func encode(b []byte) string {
	var s [maxHandle]byte
	return string(encoding.AppendEncode(s[:0], b))
}

// DerivedKey joins parts into a key that no other list of parts has.
func DerivedKey(parts ...string) string {
	h := sha256.New()
	var n [4]byte
	for _, p := range parts {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		io.WriteString(h, p)
	}
	var sum [sha256.Size]byte
	return encode(h.Sum(sum[:0]))
}

// ShardOf derives the shard of a record that is no part of a flow from its key.
func ShardOf(key string) uint16 {
	var b [maxHandle]byte
	sum := sha256.Sum256(append(b[:0], key...))
	return binary.BigEndian.Uint16(sum[:])
}

// Shard draws the shard of a new flow.
func Shard(random io.Reader) (uint16, error) {
	var b [2]byte
	_, err := io.ReadFull(random, b[:])
	return binary.BigEndian.Uint16(b[:]), err
}

// Random returns n random bytes in base64url.
func Random(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return encode(b), nil
}
