package middleware

import "net/http"

// MaxBody caps the request's body at n bytes. Reading past it fails with
// *http.MaxBytesError; the answer is left to whoever reads.
func MaxBody(n int64) Func {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner := r.WithContext(r.Context())
			inner.Body = http.MaxBytesReader(w, r.Body, n)
			h.ServeHTTP(w, inner)
			r.Pattern = inner.Pattern
		})
	}
}
