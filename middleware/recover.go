package middleware

import (
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
)

// Recover turns a panic into a 500 that says nothing but an id; the same id
// and the stack go to the log. The panic's own text is logged only when it comes
// from the runtime: a value that other code panics with may hold anything, a
// token or a connection string too. http.ErrAbortHandler passes. When the answer
// has already begun, the connection is cut, so that half an answer does not look
// like a whole one. A nil log discards.
func Recover(log *slog.Logger) Func {
	log = orDiscard(log)
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &recorder{ResponseWriter: w}
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if v == http.ErrAbortHandler {
					panic(v)
				}
				id := RequestID(r.Context())
				if id == "" {
					id = newID()
				}
				text := "not shown"
				if re, ok := v.(runtime.Error); ok {
					text = re.Error()
				}
				log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("id", id), slog.String("route", r.Pattern),
					slog.String("panic", text), slog.String("stack", string(debug.Stack())))
				if rec.status != 0 {
					panic(http.ErrAbortHandler)
				}
				fail(w, http.StatusInternalServerError, `{"error":"server_error","error_id":"`+id+`"}`)
			}()
			h.ServeHTTP(rec, r)
		})
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
