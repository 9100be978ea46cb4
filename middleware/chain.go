package middleware

import (
	"context"
	"net/http"
)

// Func wraps a handler.
type Func = func(http.Handler) http.Handler

// Chain wraps h in m; the first one listed is the outermost and sees a request
// first.
func Chain(h http.Handler, m ...Func) http.Handler {
	for i := len(m) - 1; i >= 0; i-- {
		h = m[i](h)
	}
	return h
}

// serve hands r on under ctx. The mux notes the matched pattern on the request
// it is given, which is a copy: bring it back for Log.
func serve(ctx context.Context, h http.Handler, w http.ResponseWriter, r *http.Request) {
	inner := r.WithContext(ctx)
	h.ServeHTTP(w, inner)
	r.Pattern = inner.Pattern
}
