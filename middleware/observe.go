package middleware

import (
	"context"
	"errors"
	"net/http"
	"strconv"
)

// Observer measures operations; a tracer and a meter fit behind it. Start is
// called when op begins, and the function it returns once, when op ends; outcome
// is one of few words, fit for a label. It must be safe for concurrent use.
type Observer interface {
	Start(ctx context.Context, op string) (context.Context, func(outcome string, err error))
}

// Observe reports every request to o. The operation is the route's pattern
// where a mux has already chosen it, else "http"; the outcome is the status.
func Observe(o Observer) Func {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			op := r.Pattern
			if op == "" {
				op = "http"
			}
			ctx, end := o.Start(r.Context(), op)
			rec := &recorder{ResponseWriter: w}
			err := errors.New("panic")
			defer func() {
				if err != nil {
					end("panic", err)
					return
				}
				status := rec.status
				if status == 0 {
					status = http.StatusOK
				}
				end(strconv.Itoa(status), nil)
			}()
			serve(ctx, h, rec, r)
			err = nil
		})
	}
}
