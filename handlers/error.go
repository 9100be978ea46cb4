package handlers

import (
	"errors"
	"net/http"
)

// Error is a protocol error. Code and Description go to the client; Reason and
// Cause go to the log only. Reason names one entry of the catalogue in
// reasons.go and never changes its meaning; Description is fixed per reason and
// echoes no input.
type Error struct {
	Code        string // RFC 6749 §5.2, §4.1.2.1 and the IANA registry
	Reason      string // stable, for the log: "code.expired"
	Description string
	Cause       error

	header http.Header // WWW-Authenticate, Retry-After
	back   *back       // for the error page
	status int         // 0: from Code
}

// Error returns reason and cause; it is for logs, not for clients.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Code + " (" + e.Reason + "): " + e.Cause.Error()
	}
	return e.Code + " (" + e.Reason + ")"
}

// Unwrap returns Cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is compares codes, so that errors.Is(err, ErrAccessDenied) works for every
// reason of that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Reason == "" || t.Reason == e.Reason)
}

// Status is the HTTP status for an answer that is not a redirect.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	switch e.Code {
	case "invalid_client", "invalid_token", "login_required":
		return http.StatusUnauthorized
	case "insufficient_scope":
		return http.StatusForbidden
	case "temporarily_unavailable":
		return http.StatusServiceUnavailable
	case "server_error":
		return http.StatusInternalServerError
	}
	switch e.Reason {
	case "request.too_large":
		return http.StatusRequestEntityTooLarge
	case "request.media_type":
		return http.StatusUnsupportedMediaType
	}
	return http.StatusBadRequest
}

// ErrAccessDenied is what a consent page that refuses passes to Deny; nil means
// the same.
var ErrAccessDenied = &Error{Code: "access_denied"}

// refuse makes the error of a reason in the catalogue.
func refuse(reason string, cause error) *Error {
	f, ok := reasons[reason]
	if !ok {
		f, reason = reasons["server.fault"], "server.fault"
	}
	e := &Error{Code: f.code, Reason: reason, Description: f.description, Cause: cause}
	if f.code == "temporarily_unavailable" {
		e.header = http.Header{"Retry-After": {"1"}}
	}
	return e
}

// toError bridges plain errors to protocol errors. What it does not know is a
// fault of ours: no detail leaves.
func toError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.Reason == "" { // made outside the kit, such as ErrAccessDenied
			c := *e
			c.Reason, c.Description = "consent.denied", firstOf(c.Description, reasons["consent.denied"].description)
			return &c
		}
		return e
	}
	if isOutage(err) {
		return refuse("storage.unavailable", err)
	}
	return refuse("server.fault", err)
}
