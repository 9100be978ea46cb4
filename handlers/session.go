package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// session is who is signed in at a browser: in the kit's own session or, with
// a SessionSource, in the application's.
type session struct {
	key   string // what grants carry in their Session column; no credential
	login Login
	salt  string // makes the sid of each client
	ended bool   // signed out, whatever the cookie or the application says
	alive bool   // neither ended nor beyond its lifetimes
	rec   *storage.Record
	data  sessionData

	cookie string // the browser's name for it; empty for the application's
}

// sessionData is the record of a session of the kit's own. The cookie is the
// record's key and a secret, of which the record holds the digest: so the
// cookie's value can be renewed while grants keep naming one session.
type sessionData struct {
	Secret   []byte    `json:"secret"` // SHA-256 of the cookie's secret part
	Salt     string    `json:"salt"`
	AuthTime time.Time `json:"auth_time"`
	ACR      string    `json:"acr,omitempty"`
	AMR      []string  `json:"amr,omitempty"`
	Seen     time.Time `json:"seen"`
	Until    time.Time `json:"until"` // absolute end
}

const (
	sessionKeyBytes    = 16
	sessionSecretBytes = 32
)

// sid is the session's name for one client: two clients cannot tell that they
// share a session. OpenID Connect Front-Channel Logout §3.
func (s *session) sid(clientID string) string {
	return handle.DerivedKey("sid", s.key, s.salt, clientID)
}

// CurrentLogin tells who is signed in at the browser, or nil: for pages of the
// application that live beside the provider. It changes nothing.
func (p *Provider) CurrentLogin(r *http.Request) (*Login, error) {
	s, err := p.currentSession(r.Context(), r)
	if err != nil || s == nil {
		return nil, err
	}
	return &s.login, nil
}

// loadSession returns a session of the kit's own in any state, or nil.
func (p *Provider) loadSession(ctx context.Context, key string) (*session, error) {
	rec, err := p.get(ctx, derived(storage.KindSession, key))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &session{key: key, rec: rec, ended: rec.State != storage.Active}
	if decode(rec.Data, &s.data) != nil {
		return nil, nil
	}
	s.salt = s.data.Salt
	s.login = Login{Subject: rec.Subject, At: s.data.AuthTime, ACR: s.data.ACR, AMR: s.data.AMR}
	now := p.now()
	s.alive = !s.ended && now.Before(s.data.Until) && now.Sub(s.data.Seen) < p.cfg.TTL.SessionIdle
	return s, nil
}

// hostSession asks the application. A session that EndSession has ended stays
// ended, whatever the application says.
func (p *Provider) hostSession(ctx context.Context, src SessionSource, r *http.Request) (*session, error) {
	l, err := src.CurrentLogin(r)
	if err != nil {
		return nil, refuse("users.outage", err)
	}
	if l == nil {
		return nil, nil
	}
	if err := checkLogin(*l); err != nil {
		return nil, err
	}
	if l.SessionID == "" || l.At.IsZero() {
		return nil, refuse("server.fault", errors.New("SessionSource returned a login without SessionID or At"))
	}
	s := &session{key: hostSessionKey(l.SessionID), login: *l}
	s.salt = s.key
	if s.ended, err = p.sessionEnded(ctx, s.key); err != nil {
		return nil, err
	}
	s.alive = !s.ended // its lifetimes are the application's matter
	return s, nil
}

func hostSessionKey(id string) string { return handle.DerivedKey("host session", id) }

// sessionEnded tells whether a session is marked as ended.
func (p *Provider) sessionEnded(ctx context.Context, key string) (bool, error) {
	rec, err := p.get(ctx, derived(storage.KindSession, key))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil && rec.State != storage.Active, err
}

// startSession signs a user in at a browser that had some accounts before. The
// session goes on under a new cookie when the same user signs in again; either
// way no cookie from before the login is worth anything for the user. Accounts
// beyond Config.Accounts are signed out.
func (p *Provider) startSession(ctx context.Context, w http.ResponseWriter, r *http.Request, had accounts, l Login) (*session, error) {
	old := had.of(l.Subject)
	secret := make([]byte, sessionSecretBytes)
	if _, err := io.ReadFull(p.rand, secret); err != nil {
		return nil, err
	}
	now := p.now()
	sum := sha256.Sum256(secret)
	s := &session{login: l, alive: true}
	fresh := old == nil
	if fresh {
		key, err := handle.Random(p.rand, sessionKeyBytes)
		if err != nil {
			return nil, err
		}
		salt, err := handle.Random(p.rand, 16)
		if err != nil {
			return nil, err
		}
		s.key, s.salt = key, salt
		s.rec = &storage.Record{Ref: derived(storage.KindSession, key), Subject: l.Subject}
		s.data = sessionData{Salt: salt}
	} else {
		s.key, s.salt, s.rec, s.data = old.key, old.salt, old.rec.Clone(), old.data
	}
	s.data.Secret, s.data.AuthTime, s.data.ACR, s.data.AMR = sum[:], l.At, l.ACR, l.AMR
	s.data.Seen, s.data.Until = now, now.Add(p.cfg.TTL.Session)
	s.rec.ExpiresAt = s.data.Until
	var err error
	if s.rec.Data, err = json.Marshal(s.data); err != nil {
		return nil, err
	}
	op := storage.Insert(*s.rec)
	if !fresh {
		op = storage.Update(*s.rec)
	}
	err = p.commit(ctx, op)
	if !fresh && (errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrConsumed) || errors.Is(err, storage.ErrNotFound)) {
		again, err := p.loadSession(ctx, old.key) // touched by another tab, or ended
		if err != nil {
			return nil, err
		}
		rest := accounts{all: slices.DeleteFunc(slices.Clone(had.all), func(s *session) bool { return s == old })}
		if again != nil {
			again.cookie = old.cookie
			rest.all = append(rest.all, again)
		}
		return p.startSession(ctx, w, r, rest, l)
	}
	if err != nil {
		return nil, err
	}
	s.rec.Version++
	s.cookie = sessionCookie(s.key, secret)
	others := slices.DeleteFunc(had.alive(), func(s *session) bool { return s == old })
	kept := min(len(others), max(p.cfg.Accounts, 1)-1)
	for _, o := range others[kept:] {
		if err := p.endSession(ctx, r, o.key, o.login.Subject, ""); err != nil {
			return nil, err
		}
	}
	p.setSessions(w, s, others[:kept])
	p.emit(ctx, r, Event{Name: "session.started", Subject: l.Subject, Session: s.key})
	return s, nil
}

// touch moves the idle limit of a session forward, at most once in a sixteenth
// of it. Losing the race against another tab is fine.
func (p *Provider) touch(ctx context.Context, s *session) error {
	now := p.now()
	if s.rec == nil || now.Sub(s.data.Seen) < p.cfg.TTL.SessionIdle/16 {
		return nil
	}
	s.data.Seen = now
	next := s.rec.Clone()
	var err error
	if next.Data, err = json.Marshal(s.data); err != nil {
		return err
	}
	err = p.commit(ctx, storage.Update(*next))
	if errors.Is(err, errOutage) {
		return err
	}
	return nil
}

// endSession marks a session as ended and then revokes what was issued in it:
// grants without offline_access, and the offline grant of the client that
// asked for the logout. Whoever issues at the same moment reads the mark after
// writing the grant, see recheck.
func (p *Provider) endSession(ctx context.Context, r *http.Request, key, subject, byClient string) error {
	ref := derived(storage.KindSession, key)
	err := p.commit(ctx, storage.Consume(ref))
	if errors.Is(err, storage.ErrNotFound) { // a session of the application's: leave a mark
		mark := storage.Record{Ref: ref, ExpiresAt: p.now().Add(max(p.cfg.TTL.Refresh, p.cfg.TTL.Session))}
		if err = p.commit(ctx, storage.Insert(mark)); err == nil || errors.Is(err, storage.ErrExists) {
			err = p.commit(ctx, storage.Consume(ref))
		}
	}
	if err != nil && !errors.Is(err, storage.ErrConsumed) {
		return err
	}
	err = p.eachGrant(ctx, storage.Query{Kind: storage.KindGrant, Session: key}, func(g *grant) error {
		if g.offline() && g.rec.Client != byClient && !p.cfg.LogoutEndsOffline {
			return nil
		}
		return p.revokeGrant(ctx, r, g.rec.Ref, Event{Subject: g.rec.Subject, ClientID: g.rec.Client, Session: key})
	})
	if err != nil {
		return err
	}
	p.emit(ctx, r, Event{Name: "session.ended", Subject: subject, Session: key})
	return nil
}

// EndSession ends the application's own session id at the provider: it revokes
// what was issued in that session, as logout does. For applications with a
// SessionSource, at their own logout.
func (p *Provider) EndSession(ctx context.Context, sessionID string) error {
	return p.endSession(ctx, nil, hostSessionKey(sessionID), "", "")
}

// checkLogin refuses what a login handler must not hand over.
func checkLogin(l Login) error {
	if l.Subject == "" || len(l.Subject) > 255 || !validText(l.Subject, 255) {
		return refuse("server.fault", errors.New("Login.Subject must have 1 to 255 bytes without control characters"))
	}
	return nil
}
