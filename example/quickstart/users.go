package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/term"

	"github.com/idpkit/idpkit/handlers"
)

// user is one row of the table of users.
type user struct {
	Username     string         `yaml:"username"`
	Sub          string         `yaml:"sub"` // default: the username
	PasswordHash string         `yaml:"password_hash"`
	Disabled     bool           `yaml:"disabled"`
	Claims       map[string]any `yaml:"claims"`
}

// users is a table of users that does not change: what an application has in
// its database. It implements handlers.Users and handlers.PasswordVerifier.
type users struct {
	byName map[string]*user
	bySub  map[string]*user
	hashes map[string]argonHash // by username
	dummy  argonHash            // verified where there is no user
	slots  chan struct{}        // bounds the memory that verifications take
	acr    string               // what a sign-in by password is, "" for nothing in particular
}

// verifications is how many passwords are verified at once; each takes the
// memory that its hash names.
const verifications = 4

// newUsers makes the table. The configuration has been checked.
func newUsers(rows []user) (*users, error) {
	t := &users{
		byName: map[string]*user{}, bySub: map[string]*user{}, hashes: map[string]argonHash{},
		dummy: defaultArgon, slots: make(chan struct{}, verifications),
	}
	for i := range rows {
		u := &rows[i]
		h, err := parseArgon(u.PasswordHash)
		if err != nil {
			return nil, err
		}
		t.byName[u.Username], t.bySub[u.subject()], t.hashes[u.Username] = u, u, h
		if h.cost() > t.dummy.cost() || i == 0 {
			t.dummy = h // no name is answered faster than one that exists
		}
	}
	return t, nil
}

func (u *user) subject() string {
	if u.Sub != "" {
		return u.Sub
	}
	return u.Username
}

// Claims implements handlers.Users. The kit picks what may be released.
func (t *users) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	u := t.bySub[subject]
	switch {
	case u == nil:
		return nil, handlers.ErrNoUser
	case u.Disabled:
		return nil, handlers.ErrUserDisabled
	}
	return maps.Clone(u.Claims), nil
}

// VerifyPassword implements handlers.PasswordVerifier.
func (t *users) VerifyPassword(ctx context.Context, username, password string) (handlers.Login, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return handlers.Login{}, ctx.Err()
	}
	h, found := t.hashes[username]
	if !found {
		h = t.dummy
	}
	if right := h.verify(password); !right || !found {
		return handlers.Login{}, handlers.ErrWrongPassword
	}
	u := t.byName[username]
	if u.Disabled {
		return handlers.Login{}, handlers.ErrUserDisabled
	}
	return handlers.Login{Subject: u.subject(), ACR: t.acr, AMR: []string{"pwd"}}, nil
}

// argonHash is an argon2id hash in the form of the Password Hashing Competition:
// $argon2id$v=19$m=65536,t=1,p=1$salt$hash. RFC 9106.
type argonHash struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, sum    []byte
}

// defaultArgon has the parameters of new hashes.
var defaultArgon = argonHash{memory: 64 << 10, time: 1, threads: 1, salt: make([]byte, 16), sum: make([]byte, 32)}

// maxPassword bounds what a stranger can make us hash, in bytes.
const maxPassword = 1 << 10

var errArgon = errors.New("must be an argon2id hash as quickstart hash-password prints it")

// parseArgon also refuses parameters that are weak, or that one request could
// exhaust the machine with.
func parseArgon(s string) (h argonHash, err error) {
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v=19" {
		return h, errArgon
	}
	var n [3]uint64
	params := strings.Split(part[3], ",")
	if len(params) != 3 {
		return h, errArgon
	}
	for i, prefix := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], prefix)
		if n[i], err = strconv.ParseUint(digits, 10, 32); !ok || err != nil {
			return h, errArgon
		}
	}
	const mib = 1 << 10
	if n[0] < 8*mib || n[0] > 256*mib || n[1] < 1 || n[1] > 16 || n[2] < 1 || n[2] > 16 {
		return h, errors.New("argon2id parameters must lie within m=8192..262144, t=1..16, p=1..16")
	}
	h.memory, h.time, h.threads = uint32(n[0]), uint32(n[1]), uint8(n[2])
	enc := base64.RawStdEncoding.Strict()
	var err1, err2 error
	h.salt, err1 = enc.DecodeString(part[4])
	h.sum, err2 = enc.DecodeString(part[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errArgon
	}
	return h, nil
}

func (h argonHash) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.memory, h.time, h.threads, enc.EncodeToString(h.salt), enc.EncodeToString(h.sum))
}

func (h argonHash) cost() uint64 { return uint64(h.memory) * uint64(h.time) }

func (h argonHash) verify(password string) bool {
	if len(password) > maxPassword {
		return false // no user can have it
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func hashPassword(password string) string {
	h := defaultArgon
	h.salt = make([]byte, 16)
	_, _ = rand.Read(h.salt) // never fails, it crashes the program instead
	h.sum = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, 32)
	return h.String()
}

// hashPasswordCommand reads a password, twice and without echo from a
// terminal, else the first line of the input, and prints its hash.
func hashPasswordCommand(std streams) error {
	password, err := readPassword(std)
	switch {
	case err != nil:
		return err
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes", maxPassword)
	}
	_, err = fmt.Fprintln(std.out, hashPassword(password))
	return err
}

func readPassword(std streams) (string, error) {
	fd := int(std.in.Fd())
	if !term.IsTerminal(fd) {
		line, err := bufio.NewReader(io.LimitReader(std.in, 4*maxPassword)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(std.err, prompt)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(std.err)
		if err != nil {
			return "", err
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same")
	}
	return typed[0], nil
}

var _ interface {
	handlers.Users
	handlers.PasswordVerifier
} = (*users)(nil)
