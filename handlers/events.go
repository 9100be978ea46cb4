package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/middleware"
)

// Event is something that happened. Fields that do not apply are empty; which
// ones an event always has is in the catalogue. No field holds a secret. New
// versions of the kit may add events and fields.
type Event struct {
	Name     string // one of the catalogue, see EventNames
	At       time.Time
	Outcome  string // "success", "refused", "fault", or "theft": a sign of a stolen credential
	ClientID string // as sent, and so perhaps nobody's, for client.auth_failed
	Subject  string
	Session  string // identifier of the session, not a credential
	Grant    string // identifier of the grant, not a credential
	Addr     string // address of the peer; empty for what no request caused
	Reason   string // why, for refusals: a reason of the catalogue
}

// eventKind is an entry of the catalogue.
type eventKind struct {
	outcome string
	always  string // fields that are never empty: client, subject, session, grant, addr, reason
	meaning string
}

// events is the catalogue. It is closed: emit is given no other name.
var events = map[string]eventKind{
	"login.succeeded":    {"success", "client subject session addr", "a user signed in"},
	"login.failed":       {"refused", "client addr", "a wrong user name or password"},
	"consent.given":      {"success", "client subject session grant addr", "a user approved"},
	"consent.denied":     {"refused", "client addr reason", "a user or the policy refused; without a subject, at sign-in"},
	"consent.withdrawn":  {"success", "client subject", "a remembered consent was taken back"},
	"par.pushed":         {"success", "client addr", "an authorization request was pushed"},
	"code.issued":        {"success", "client subject session grant addr", "an authorization code was issued"},
	"code.redeemed":      {"success", "client subject session grant addr", "an authorization code became tokens"},
	"code.reused":        {"theft", "client subject grant addr reason", "a spent code came again; its grant was revoked"},
	"device.requested":   {"success", "client addr", "a device asked for authorization"},
	"device.approved":    {"success", "client subject session grant addr", "a user connected a device"},
	"device.denied":      {"refused", "client addr reason", "a device's request was refused"},
	"device.redeemed":    {"success", "client subject session grant addr", "a device code became tokens"},
	"device.reused":      {"theft", "client subject grant addr reason", "a spent device code came again; its grant was revoked"},
	"token.issued":       {"success", "client grant addr", "a client got a token on its own behalf"},
	"token.refreshed":    {"success", "client subject session grant addr", "a refresh token was rotated"},
	"token.repeated":     {"success", "client subject session grant addr", "a refresh token was answered again within the grace"},
	"refresh.reused":     {"theft", "client subject session grant addr reason", "a spent refresh token came again; its grant was revoked"},
	"token.revoked":      {"success", "client grant addr", "one access token was revoked"},
	"grant.revoked":      {"success", "client grant", "a grant and everything issued under it was revoked"},
	"client.auth_failed": {"refused", "addr reason", "client authentication failed"},
	"assertion.replayed": {"theft", "client addr", "a client assertion came again"},
	"session.started":    {"success", "subject session addr", "a browser session began"},
	"session.ended":      {"success", "session", "a browser session was ended"},
	"key.rotated":        {"success", "reason", "a signing key was made; the reason is its algorithm"},
	"limit.hit":          {"refused", "addr reason", "a rate limit was hit; the reason is its name in limits.go"},
	"storage.fault":      {"fault", "addr", "the storage failed"},
}

// EventNames lists every event the kit emits, with its meaning.
func EventNames() map[string]string {
	names := make(map[string]string, len(events))
	for name, e := range events {
		names[name] = e.meaning
	}
	return names
}

// emit sends an event and leaves a record of it in the log.
func (p *Provider) emit(ctx context.Context, r *http.Request, e Event) {
	e.At, e.Outcome = p.now(), events[e.Name].outcome
	level := slog.LevelInfo
	if e.Outcome == "theft" {
		level = slog.LevelWarn
	}
	if p.cfg.Events == nil && !p.cfg.Log.Enabled(ctx, level) {
		return // nobody listens
	}
	if r != nil {
		if a := middleware.RemoteAddr(r); a.IsValid() {
			e.Addr = a.String()
		}
	}
	p.cfg.Log.LogAttrs(ctx, level, "event", slog.String("event", e.Name), slog.String("outcome", e.Outcome), slog.String("client", e.ClientID),
		slog.String("subject", e.Subject), slog.String("grant", e.Grant), slog.String("session", e.Session), slog.String("addr", e.Addr), slog.String("reason", e.Reason))
	if p.cfg.Events != nil {
		p.cfg.Events(ctx, e)
	}
}
