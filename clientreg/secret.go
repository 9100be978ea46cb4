package clientreg

import (
	"fmt"
	"strings"

	"github.com/idpkit/idpkit/internal/secret"
)

// MinSecret is the length of the shortest secret that is hashed, in bytes.
const MinSecret = 12

// NewSecret draws a client secret of 256 bits, 43 characters of base64url, and
// returns it with its hash.
func NewSecret() (clientSecret, hash string) {
	s := secret.New()
	return s, secret.HashGenerated(s)
}

// HashSecret returns the hash of a client secret for ClientSecret.Hash. One
// that looks generated (see NewSecret) is hashed with SHA-256; one that looks
// chosen with argon2id, which costs 64 MiB and some tens of milliseconds now and
// at every authentication of the client. Shorter than 12 or longer than 1024
// bytes is an error.
func HashSecret(clientSecret string) (string, error) {
	if len(clientSecret) < MinSecret {
		return "", fmt.Errorf("clientreg: a client secret of %d bytes can be guessed: use %d or more, best NewSecret", len(clientSecret), MinSecret)
	}
	if looksGenerated(clientSecret) {
		return secret.HashGenerated(clientSecret), nil
	}
	h, err := secret.HashPassword(clientSecret)
	if err != nil {
		return "", fmt.Errorf("clientreg: hash client secret: %w", err)
	}
	return h, nil
}

// looksGenerated tells whether s is at least 32 characters of an alphabet that
// generators use, changes between capitals, small letters, digits and signs as
// often as chance would, and is not mostly words (four or more letters of one
// case in a row). A random string that fails is only hashed more slowly; a
// phrase should not pass.
func looksGenerated(s string) bool {
	if len(s) < 32 || len(s) > secret.MaxLen {
		return false
	}
	changes, run, words, last, seen := 0, 0, 0, 0, map[byte]bool{}
	for i := range len(s) {
		class := charClass(s[i])
		if class == 0 {
			return false
		}
		if class != last {
			changes, run = changes+1, 0
		}
		if run++; class == small || class == capital {
			switch {
			case run == 4:
				words += 4
			case run > 4:
				words++
			}
		}
		last, seen[s[i]] = class, true
	}
	return 3*changes > len(s) && 20*words < 9*len(s) && len(seen) >= 10
}

const (
	small = iota + 1
	capital
	digit
	sign
)

// charClass returns 0 for what no generator writes.
func charClass(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return small
	case 'A' <= c && c <= 'Z':
		return capital
	case '0' <= c && c <= '9':
		return digit
	case strings.IndexByte("-_+/=.~", c) >= 0:
		return sign
	}
	return 0
}
