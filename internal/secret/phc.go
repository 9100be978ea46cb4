package secret

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

type kind int

const (
	kindSHA256 kind = iota + 1
	kindArgon2id
	kindBcrypt
)

// Bounds of a hash that somebody else made. The work of argon2id is memory
// times passes.
const (
	maxMemory  = 256 << 10 // KiB
	maxPasses  = 16
	maxWork    = 512 << 10 // KiB
	maxThreads = 8
	maxBcrypt  = 14
	maxHash    = 512 // bytes of the whole string
)

// phc is a parsed hash.
type phc struct {
	kind    kind
	memory  uint32 // KiB
	passes  uint32
	threads uint8
	salt    []byte
	tag     []byte
	bcrypt  string
}

// parse reads the three forms. Exactly one spelling of each hash parses.
func parse(s string) (phc, error) {
	fields := strings.Split(s, "$")
	if len(s) > maxHash || len(fields) < 3 || fields[0] != "" || strings.ContainsAny(s, "\r\n") {
		return phc{}, ErrFormat
	}
	var p phc
	ok := false
	switch fields[1] {
	case "sha256":
		p, ok = parseSHA256(fields[2:])
	case "argon2id":
		p, ok = parseArgon2id(fields[2:])
	case "2a", "2b", "2y":
		p, ok = parseBcrypt(s, fields[2:])
	}
	if !ok {
		return phc{}, ErrFormat
	}
	return p, nil
}

func parseSHA256(f []string) (p phc, ok bool) {
	if len(f) != 1 {
		return p, false
	}
	tag, err := encoding.DecodeString(f[0])
	return phc{kind: kindSHA256, tag: tag}, err == nil && len(tag) == sha256.Size
}

// parseArgon2id reads v=19$m=65536,t=1,p=1$salt$tag.
func parseArgon2id(f []string) (p phc, ok bool) {
	if len(f) != 4 || f[0] != "v="+strconv.Itoa(argon2.Version) {
		return p, false
	}
	costs := strings.Split(f[1], ",")
	if len(costs) != 3 {
		return p, false
	}
	m, ok1 := number(costs[0], "m=", maxMemory)
	t, ok2 := number(costs[1], "t=", maxPasses)
	n, ok3 := number(costs[2], "p=", maxThreads)
	salt, err1 := encoding.DecodeString(f[2])
	tag, err2 := encoding.DecodeString(f[3])
	p = phc{kind: kindArgon2id, memory: m, passes: t, threads: uint8(n), salt: salt, tag: tag}
	return p, ok1 && ok2 && ok3 && err1 == nil && err2 == nil && m >= 8*n && m*t <= maxWork &&
		len(salt) >= 8 && len(salt) <= 64 && len(tag) >= 16 && len(tag) <= 64
}

// number reads prefix and a decimal from 1 to limit without leading zeros.
func number(s, prefix string, limit uint32) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n >= 1 && n <= uint64(limit) && strconv.FormatUint(n, 10) == digits
}

// parseBcrypt reads 10$ and 53 characters of salt and tag.
func parseBcrypt(s string, f []string) (p phc, ok bool) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if len(f) != 2 || len(f[0]) != 2 || len(f[1]) != 53 || strings.Trim(f[1], alphabet) != "" {
		return p, false
	}
	cost, err := strconv.Atoi(f[0])
	return phc{kind: kindBcrypt, bcrypt: s}, err == nil && cost >= 4 && cost <= maxBcrypt && f[0][0] != '+' && f[0][0] != '-'
}
