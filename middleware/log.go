package middleware

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

type requestIDKey struct{}

// RequestID returns the id that Log gave the request, "" if there is none: 16
// hexadecimal digits, random, never taken from the request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, it crashes the program instead
	return hex.EncodeToString(b[:])
}

// Log writes one record per request: id, method, route pattern, status, bytes,
// duration, remote address and the names of the query's parameters. No path, no
// value and no header gets in, because codes, tokens and handles travel there. A
// nil log discards.
func Log(log *slog.Logger) Func {
	log = orDiscard(log)
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			id := newID()
			ctx := context.WithValue(r.Context(), requestIDKey{}, id)
			rec := &recorder{ResponseWriter: w}
			returned := false
			defer func() {
				status, level := rec.status, slog.LevelInfo
				switch {
				case !returned: // a panic is passing
					status = http.StatusInternalServerError
				case status == 0:
					status = http.StatusOK
				}
				if status >= 500 {
					level = slog.LevelError
				}
				log.LogAttrs(ctx, level, "request",
					slog.String("id", id),
					slog.String("method", methodName(r.Method)),
					slog.String("route", r.Pattern),
					slog.Int("status", status),
					slog.Int64("bytes", rec.bytes),
					slog.Duration("duration", time.Since(start)),
					slog.String("remote", addrText(r)),
					slog.Any("params", queryNames(r.URL.RawQuery)))
			}()
			serve(ctx, h, rec, r)
			returned = true
		})
	}
}

// methodName keeps the log free of what a client may send for a method.
func methodName(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE":
		return m
	}
	return "?"
}

func addrText(r *http.Request) string {
	if a := RemoteAddr(r); a.IsValid() {
		return a.String()
	}
	return ""
}

// queryNames returns the names in a query string, sorted, each once, at most
// 64. What does not look like a name is given as "?": it may be a token.
func queryNames(raw string) []string {
	names := []string{}
	for raw != "" && len(names) < 64 {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" {
			continue
		}
		if name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
			name = "?"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
