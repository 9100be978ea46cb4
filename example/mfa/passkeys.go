package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/crypto/bcrypt"

	"github.com/idpkit/idpkit/handlers"
)

// user is a row of the table of users. It is a webauthn.User.
type user struct {
	subject, name, email string
	password             []byte // bcrypt
	handle               []byte // names the user inside passkeys, and tells nothing else
	credentials          []webauthn.Credential
}

func (u *user) WebAuthnID() []byte                         { return u.handle }
func (u *user) WebAuthnName() string                       { return u.name }
func (u *user) WebAuthnDisplayName() string                { return u.name }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// users is the table, in memory for the demonstration.
type users struct {
	mu     sync.Mutex
	all    []*user
	nobody []byte // a hash like the users', of a password that nobody knows
}

// newUsers hashes passwords at the cost of bcrypt.
func newUsers(cost int) (*users, error) {
	us := &users{}
	for _, u := range []*user{
		{subject: "1001", name: "alice", email: "alice@example.org", password: []byte("wonderland")},
		{subject: "1002", name: "bob", email: "bob@example.org", password: []byte("builder")},
		{password: []byte(rand.Text())},
	} {
		hash, err := bcrypt.GenerateFromPassword(u.password, cost)
		if err != nil {
			return nil, err
		}
		if u.password = hash; u.name == "" {
			us.nobody = hash
			break
		}
		u.handle = make([]byte, 64)
		_, _ = rand.Read(u.handle) // never fails
		us.all = append(us.all, u)
	}
	return us, nil
}

// Claims implements handlers.Users.
func (us *users) Claims(_ context.Context, subject string, _ handlers.ClaimsQuery) (map[string]any, error) {
	u := us.bySubject(subject)
	if u == nil {
		return nil, handlers.ErrNoUser
	}
	return map[string]any{"preferred_username": u.name, "email": u.email}, nil
}

// find returns a user, or nil. Names and handles never change here.
func (us *users) find(is func(*user) bool) *user {
	if n := slices.IndexFunc(us.all, is); n >= 0 {
		return us.all[n]
	}
	return nil
}

func (us *users) bySubject(subject string) *user {
	return us.find(func(u *user) bool { return u.subject == subject })
}

// checkPassword returns nil unless the password is right.
func (us *users) checkPassword(name, password string) *user {
	u, hash := us.find(func(u *user) bool { return u.name == name }), us.nobody
	if u != nil {
		hash = u.password // else an unknown name costs as much as a wrong password
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return nil
	}
	return u
}

// passkey is a key as the account page shows it.
type passkey struct{ Synced bool }

func (us *users) passkeys(u *user) []passkey {
	us.mu.Lock()
	defer us.mu.Unlock()
	var list []passkey
	for _, c := range u.credentials {
		list = append(list, passkey{Synced: c.Flags.BackupEligible})
	}
	return list
}

func (us *users) hasPasskey(u *user) bool { return len(us.passkeys(u)) > 0 }

// offer is the question for a new passkey: one that knows its user, so that it
// can be used without a name, and not on a device that has one.
func (us *users) offer(keys *webauthn.WebAuthn, u *user) (*protocol.CredentialCreation, *webauthn.SessionData, error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	return keys.BeginRegistration(u, webauthn.WithExclusions(webauthn.Credentials(u.credentials).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationPreferred,
		}))
}

// add keeps a new passkey.
func (us *users) add(keys *webauthn.WebAuthn, u *user, c *challenge, answer []byte) error {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return err
	}
	us.mu.Lock()
	defer us.mu.Unlock()
	key, err := keys.CreateCredential(u, c.session, parsed)
	if err != nil {
		return err
	}
	for _, other := range us.all { // WebAuthn §7.1: a credential ID belongs to one user
		if other.credential(key.ID) != nil {
			return errors.New("this passkey is known already")
		}
	}
	u.credentials = append(u.credentials, *key)
	return nil
}

func (u *user) credential(id []byte) *webauthn.Credential {
	for n := range u.credentials {
		if bytes.Equal(u.credentials[n].ID, id) {
			return &u.credentials[n]
		}
	}
	return nil
}

// question is what c asks the browser for.
func (us *users) question(keys *webauthn.WebAuthn, c *challenge) (options *protocol.CredentialAssertion, err error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	var session *webauthn.SessionData
	uv := protocol.VerificationRequired
	if c.touch {
		uv = protocol.VerificationPreferred
	}
	if c.user != nil {
		options, session, err = keys.BeginLogin(c.user, webauthn.WithUserVerification(uv))
	} else {
		options, session, err = keys.BeginDiscoverableLogin(webauthn.WithUserVerification(uv))
	}
	if err != nil {
		return nil, err
	}
	c.session = *session
	return options, nil
}

// verify returns whose passkey answered the challenge and whether it verified
// its user, by a PIN or a finger.
func (us *users) verify(keys *webauthn.WebAuthn, c *challenge, answer []byte) (u *user, verified bool, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return nil, false, err
	}
	us.mu.Lock() // the counter is read, compared and written at once
	defer us.mu.Unlock()
	var used *webauthn.Credential
	if u = c.user; u != nil {
		used, err = keys.ValidateLogin(u, c.session, parsed)
	} else {
		used, err = keys.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) {
			if u = us.find(func(u *user) bool { return bytes.Equal(u.handle, handle) }); u == nil {
				return nil, errors.New("no such user")
			}
			return u, nil
		}, c.session, parsed)
	}
	if err != nil {
		return nil, false, err
	}
	*u.credential(used.ID) = *used
	if used.Authenticator.CloneWarning { // kept: the key stays refused, until somebody has looked into it
		return nil, false, errors.New("the passkey's counter went back: there may be a copy of it")
	}
	return u, parsed.Response.AuthenticatorData.Flags.HasUserVerified(), nil
}

// challenge is a question to a passkey that was not answered yet.
type challenge struct {
	session webauthn.SessionData
	user    *user    // who has to answer; nil: anybody
	before  []string // how that one was proven before
	touch   bool     // a key without PIN or finger will do: the password was given just now
	expires time.Time
}

// challenges keeps the open questions: one for each interaction, and one for
// each account that adds a passkey. Several servers would share them.
type challenges struct {
	now func() time.Time

	mu  sync.Mutex
	all map[string]challenge
}

const challengeTTL = 5 * time.Minute

func newChallenges(now func() time.Time) *challenges {
	return &challenges{now: now, all: map[string]challenge{}}
}

// put replaces the open question of key.
func (cs *challenges) put(key string, c challenge) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	now := cs.now()
	for k, old := range cs.all { // few at a time, so no need of a clock of its own
		if !now.Before(old.expires) {
			delete(cs.all, k)
		}
	}
	c.expires = now.Add(challengeTTL)
	cs.all[key] = c
}

// take returns the open question of key and closes it: each may be answered
// once. nil: there is none, or it is too old.
func (cs *challenges) take(key string) *challenge {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.all[key]
	delete(cs.all, key)
	if !ok || !cs.now().Before(c.expires) {
		return nil
	}
	return &c
}
