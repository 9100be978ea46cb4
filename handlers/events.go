package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/middleware"
)

// Event is something that happened. Name is one of the catalogue in
// EventNames. Fields that do not apply are empty. No field holds a secret.
type Event struct {
	Name     string
	At       time.Time
	ClientID string
	Subject  string
	Session  string // identifier of the session, not a credential
	Grant    string // identifier of the grant, not a credential
	Addr     string // address of the peer
	Reason   string // why, for refusals: a reason of the catalogue
}

// EventNames lists every event the kit emits, with its meaning.
func EventNames() map[string]string {
	return map[string]string{
		"login.succeeded":    "a user signed in",
		"login.failed":       "a wrong user name or password",
		"consent.given":      "a user approved",
		"consent.denied":     "a user or the policy refused",
		"consent.withdrawn":  "a remembered consent was taken back",
		"par.pushed":         "an authorization request was pushed",
		"code.issued":        "an authorization code was issued",
		"code.redeemed":      "an authorization code became tokens",
		"code.reused":        "a spent code came again; its grant was revoked",
		"device.requested":   "a device asked for authorization",
		"device.approved":    "a user connected a device",
		"device.denied":      "a device's request was refused",
		"device.redeemed":    "a device code became tokens",
		"device.reused":      "a spent device code came again; its grant was revoked",
		"token.issued":       "a client got a token on its own behalf",
		"token.refreshed":    "a refresh token was rotated",
		"token.repeated":     "a refresh token was answered again within the grace",
		"refresh.reused":     "a spent refresh token came again; its grant was revoked",
		"token.revoked":      "one access token was revoked",
		"grant.revoked":      "a grant and everything issued under it was revoked",
		"client.auth_failed": "client authentication failed",
		"assertion.replayed": "a client assertion came again",
		"session.started":    "a browser session began",
		"session.ended":      "a browser session was ended",
		"key.rotated":        "a signing key was made",
		"limit.hit":          "a rate limit was hit",
		"storage.fault":      "the storage failed",
	}
}

// emit sends an event and leaves a record of it in the log.
func (p *Provider) emit(ctx context.Context, r *http.Request, e Event) {
	e.At = p.now()
	if r != nil {
		if a := middleware.RemoteAddr(r); a.IsValid() {
			e.Addr = a.String()
		}
	}
	p.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "event", slog.String("event", e.Name), slog.String("client", e.ClientID),
		slog.String("subject", e.Subject), slog.String("grant", e.Grant), slog.String("session", e.Session), slog.String("addr", e.Addr), slog.String("reason", e.Reason))
	p.cfg.Events(ctx, e)
}
