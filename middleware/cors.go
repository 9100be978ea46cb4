package middleware

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// CORSOptions says which scripts of other origins may read the answers.
// Credentials (cookies, TLS client certificates) are never allowed, and the
// origin "null", which any sandboxed page can have, never matches. The zero
// value allows nobody.
type CORSOptions struct {
	// AnyOrigin is for public documents: discovery and key sets.
	AnyOrigin bool

	// Allow decides about an origin, as browsers write it: scheme, host and, if
	// it is not the default one, port. It is asked without a client, because a
	// preflight carries none: true means that some client has this origin.
	Allow func(ctx context.Context, origin string) bool

	// Methods of the endpoint, separated by ", ". Empty: "GET, POST".
	Methods string
}

// allowHeaders are the request headers that scripts may set beyond the simple
// ones: what clients of the protocol send, and what tracing adds to every call.
var allowHeaders = [...]string{
	"accept", "accept-language", "authorization", "baggage", "content-language", "content-type",
	"dpop", "mcp-protocol-version", "traceparent", "tracestate", "x-requested-with",
}

// CORS answers preflights with 204 and sets the headers that let scripts of the
// allowed origins read the answer, errors included. It is the only authority
// for its endpoint: what an outer handler allowed is removed.
func CORS(o CORSOptions) Func {
	if o.Methods == "" {
		o.Methods = "GET, POST"
	}
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			header := w.Header()
			header.Del("Access-Control-Allow-Origin")
			header.Del("Access-Control-Allow-Credentials")
			origin := originOf(r)
			allowed := false
			if o.AnyOrigin {
				allowed = true
				header.Set("Access-Control-Allow-Origin", "*")
				// A public document may be loaded in any way, not only with CORS.
				header.Set("Cross-Origin-Resource-Policy", "cross-origin")
			} else {
				header.Add("Vary", "Origin")
				if allowed = origin != "" && o.Allow != nil && o.Allow(r.Context(), origin); allowed {
					header.Set("Access-Control-Allow-Origin", origin)
				}
			}
			preflight := r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 &&
				r.Header.Get("Access-Control-Request-Method") != ""
			switch {
			case !preflight:
				if allowed {
					header.Set("Access-Control-Expose-Headers", "DPoP-Nonce, Retry-After, WWW-Authenticate")
				}
				h.ServeHTTP(w, r)
				return
			case allowed:
				header.Set("Access-Control-Allow-Methods", o.Methods)
				if o.AnyOrigin {
					header.Set("Access-Control-Allow-Headers", "*") // without credentials: all but Authorization
				} else if list := allowedHeaders(r); list != "" {
					header.Set("Access-Control-Allow-Headers", list)
				}
				header.Set("Access-Control-Max-Age", "3600")
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
}

// originOf returns the request's origin, "" unless there is exactly one, in
// the form that browsers write: RFC 6454 §6.2, lower case, with an authority.
func originOf(r *http.Request) string {
	list := r.Header["Origin"]
	if len(list) != 1 || len(list[0]) > 512 {
		return ""
	}
	u, err := url.Parse(list[0])
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.Scheme+"://"+strings.ToLower(u.Host) != list[0] {
		return ""
	}
	return list[0]
}

// allowedHeaders returns what the preflight asks for and the list has, in the
// list's spelling: nothing of the request is copied into the answer.
func allowedHeaders(r *http.Request) string {
	asked := strings.ToLower(strings.Join(r.Header["Access-Control-Request-Headers"], ","))
	asked = "," + strings.NewReplacer(" ", "", "\t", "").Replace(asked) + ","
	var list []string
	for _, name := range allowHeaders {
		if strings.Contains(asked, ","+name+",") {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}
