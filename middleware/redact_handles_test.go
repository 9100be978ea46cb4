package middleware

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// TestRedactKnowsEveryHandle: the session handle has a dot in it, and chance may
// leave out the digits of any.
func TestRedactKnowsEveryHandle(t *testing.T) {
	t.Parallel()
	const key, secret = "Xb3kZ9QwErTyUiOpAsDf0G", "q1W2e3R4t5Y6u7I8o9P0a1S2d3F4g5H6j7K8l9Z0x1C"
	session := "se_" + key + "." + secret
	code := "ac_AAcXbQkZqWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuIoPaSdFgHjK"[:3+51]
	var out strings.Builder
	l := slog.New(Redact(slog.NewTextHandler(&out, nil)))
	l.Info("jar", "jar", []*http.Cookie{{Name: "__Host-session", Value: session}})
	l.Info("a value " + session)
	l.Info("two accounts", "v", session+"~"+session)
	l.Info("a value " + code)
	if s := out.String(); strings.Contains(s, secret) || strings.Contains(s, code[3:]) {
		t.Errorf("logged: %s", s)
	}
}
