package middleware

import "net/http"

// NoStore forbids every cache to keep the answer. Pragma is for caches of
// HTTP/1.0 and because RFC 6749 §5.1 asks for it by name.
func NoStore(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
		h.ServeHTTP(w, r)
	})
}
