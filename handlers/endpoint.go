package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/middleware"
)

// endpoint is one row of what the adapter needs to know of a handler.
type endpoint struct {
	name    string
	methods string // "POST" or "GET, POST"
	cors    cors
	ready   bool // serve only writes what is there: nothing to bound
	serve   func(w http.ResponseWriter, r *http.Request) error
	fail    func(w http.ResponseWriter, r *http.Request, e *Error) // how errors look
}

// cors says who may read the answers of an endpoint from another origin.
type cors uint8

const (
	corsNone    cors = iota // pages; RFC 9700 §2.6
	corsAny                 // public documents
	corsClients             // origins of public clients' redirect URIs, see allowOrigin
)

// handler is the one adapter between the handlers and net/http: it answers
// wrong methods and preflights, sets the headers every answer has, bounds the
// time, and writes errors and one log record for each.
func (p *Provider) handler(e endpoint) http.Handler {
	methods := strings.Split(e.methods, ", ")
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", e.methods)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if !e.ready {
			var cancel context.CancelFunc
			r, cancel = p.finishing(r)
			defer cancel()
		}
		if err := e.serve(w, r); err != nil {
			pe := toError(err)
			p.logRefusal(r, e.name, pe)
			e.fail(w, r, pe)
		}
	})
	mw := []middleware.Func{middleware.Recover(p.cfg.Log), middleware.SecurityHeaders}
	if p.secure {
		mw = append(mw, middleware.HSTS)
	}
	switch e.cors {
	case corsAny:
		mw = append(mw, middleware.CORS(middleware.CORSOptions{AnyOrigin: true, Methods: e.methods}))
	case corsClients:
		mw = append(mw, p.preflight(e.methods))
	}
	return middleware.Chain(serve, mw...)
}

// finishing returns the request with a context that is not cancelled when the
// client goes away: what was decided is finished, or the deadline ends it.
func (p *Provider) finishing(r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), p.cfg.Timeout)
	return r.WithContext(ctx), cancel
}

// preflight answers OPTIONS for every origin: no client is known yet, and the
// answer proper is readable only for the client's origins, see allowOrigin.
func (p *Provider) preflight(methods string) middleware.Func {
	anyone := middleware.CORS(middleware.CORSOptions{Methods: methods, Allow: func(context.Context, string) bool { return true }})
	return func(next http.Handler) http.Handler {
		answer := anyone(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) }))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions {
				answer.ServeHTTP(w, r)
				return
			}
			w.Header().Add("Vary", "Origin")
			next.ServeHTTP(w, r)
		})
	}
}

// allowOrigin lets the origins of a public client's redirect URIs read the
// answer. It is called as soon as the client is known, so that errors can be
// read as well. Credentials are never allowed.
func allowOrigin(w http.ResponseWriter, r *http.Request, c *clientreg.Client) {
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "null" || !c.Public() {
		return
	}
	for _, uri := range c.RedirectURIs {
		if originOf(uri) == origin {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, DPoP-Nonce")
			return
		}
	}
}

func (p *Provider) logRefusal(r *http.Request, endpoint string, e *Error) {
	level := slog.LevelInfo
	switch {
	case e.Status() >= 500:
		level = slog.LevelError
	case e.Code == "authorization_pending": // every few seconds, and no refusal
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("endpoint", endpoint), slog.String("error", e.Code), slog.String("reason", e.Reason)}
	if a := middleware.RemoteAddr(r); a.IsValid() {
		attrs = append(attrs, slog.String("addr", a.String()))
	}
	if e.Cause != nil {
		attrs = append(attrs, slog.String("cause", e.Cause.Error()))
	}
	p.cfg.Log.LogAttrs(r.Context(), level, "refused", attrs...)
	if e.Reason == "storage.unavailable" {
		p.emit(r.Context(), r, Event{Name: "storage.fault"})
	}
}

// encodeJSON is json.Marshal without the escapes for HTML, which would make a
// record six times as large as what was sent.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// writeJSON answers with a document.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client went away; nobody is left to tell
	return nil
}

// failJSON writes an error of the token, PAR and revocation endpoints,
// RFC 6749 §5.2.
func (p *Provider) failJSON(w http.ResponseWriter, r *http.Request, e *Error) {
	for k, v := range e.header {
		w.Header()[k] = v
	}
	if e.Code == "invalid_client" && r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="client"`)
	}
	_ = writeJSON(w, e.Status(), struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
}

// body parses a form body and refuses parameters in the URL, repeated ones and
// whatever else makes two readers of one request disagree.
func body(r *http.Request, mayRepeat ...string) (form.Form, error) {
	f, err := form.ParseBody(r)
	if err != nil {
		return f, formError(err)
	}
	if r.URL.RawQuery != "" {
		return f, refuse("request.query", nil)
	}
	if f.Repeated(mayRepeat...) != "" {
		return f, refuse("request.repeated", nil)
	}
	return f, nil
}
