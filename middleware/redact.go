package middleware

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Redact returns a handler that takes secrets out of log records before h sees
// them: the second line, for what an application logs. The kit itself logs none.
//
// The value of an attribute, member, parameter or header whose name is that of a
// secret (token, code, password, authorization, cookie, state …, alone or as the
// end of a longer name such as refresh_token) becomes "[redacted]", at any
// depth; flags, times and, for code and state, numbers stay. In all other text,
// the message and errors too, it replaces the kit's handles, JWTs, credentials
// after Bearer, Basic and DPoP, passwords in URLs, and what follows the name of a
// secret in a URL, form, JSON or header. A *http.Request becomes its method and
// the names of its parameters. A value that is none of slog's kinds is given to
// h as its text, if it has one, or as the tree that encoding/json makes of it.
//
// It knows secrets by name and shape. A password in the middle of a sentence
// passes.
func Redact(h slog.Handler) slog.Handler { return &redactor{h: h} }

// redactor is in middleware because applications and APIs wrap the logger of
// their whole program with it, whether or not they serve the kit's endpoints.
type redactor struct {
	h   slog.Handler
	all bool // inside a group with a secret's name
}

func (r *redactor) Enabled(ctx context.Context, l slog.Level) bool { return r.h.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (r *redactor) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, redactText(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(r.attr(a, 0))
		return true
	})
	return r.h.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (r *redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = r.attr(a, 0)
	}
	return &redactor{r.h.WithAttrs(clean), r.all}
}

// WithGroup implements slog.Handler.
func (r *redactor) WithGroup(name string) slog.Handler {
	if name == "" {
		return r
	}
	return &redactor{r.h.WithGroup(redactText(name)), r.all || secretName(name) != open}
}

const (
	redacted    = "[redacted]"
	redactDepth = 16
)

// attr never panics: a log line must not end a request.
func (r *redactor) attr(a slog.Attr, depth int) (clean slog.Attr) {
	clean.Key = redactText(a.Key)
	defer func() {
		if recover() != nil { // a String or Error method of a nil pointer
			clean.Value = slog.StringValue("[unreadable]")
		}
	}()
	v := a.Value.Resolve() // a LogValuer says what it wants to be before it is judged
	how := secretName(a.Key)
	if r.all {
		how = secret
	}
	switch k := v.Kind(); {
	case k == slog.KindBool || k == slog.KindDuration || k == slog.KindTime:
		clean.Value = v
	case k == slog.KindInt64 || k == slog.KindUint64 || k == slog.KindFloat64:
		if clean.Value = v; how == secret {
			clean.Value = slog.StringValue(redacted)
		}
	case how != open || depth >= redactDepth:
		if v.Equal(slog.AnyValue(nil)) || k == slog.KindString && v.String() == "" {
			clean.Value = v // that there is none is no secret
		} else {
			clean.Value = slog.StringValue(redacted)
		}
	case k == slog.KindGroup:
		group := make([]slog.Attr, 0, len(v.Group()))
		for _, in := range v.Group() {
			group = append(group, r.attr(in, depth+1))
		}
		clean.Value = slog.GroupValue(group...)
	case k == slog.KindString:
		clean.Value = slog.StringValue(redactText(v.String()))
	default:
		clean.Value = redactAny(v.Any())
	}
	return clean
}

func redactAny(v any) slog.Value {
	text := func(s string) slog.Value { return slog.StringValue(redactText(s)) }
	switch v := v.(type) {
	case nil, *slog.Source:
		return slog.AnyValue(v)
	case error:
		return text(v.Error())
	case *http.Request:
		return slog.GroupValue(slog.String("method", methodName(v.Method)), slog.String("route", v.Pattern),
			slog.Any("params", queryNames(v.URL.RawQuery)))
	case *url.URL:
		return text(v.String())
	case url.URL:
		return text(v.String())
	case json.RawMessage: // below, as JSON
	case []byte: // otherwise base64, which hides what is in it
		if !utf8.Valid(v) {
			return slog.StringValue(fmt.Sprintf("[%d bytes]", len(v)))
		}
		return text(string(v))
	case encoding.TextMarshaler:
		if b, err := v.MarshalText(); err == nil {
			return text(string(b))
		}
	case json.Marshaler: // below
	case fmt.Stringer:
		return text(v.String())
	}
	b, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(fmt.Sprintf("[%T]", v)) // a function, a channel, a cycle
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	var tree any
	if dec.Decode(&tree) != nil {
		return slog.StringValue(redacted)
	}
	return slog.AnyValue(redactTree(tree, open, 0))
}

// redactTree redacts what encoding/json decodes to. how is that of the name above.
func redactTree(v any, how secrecy, depth int) any {
	if depth > redactDepth {
		return redacted
	}
	switch v := v.(type) {
	case string:
		if how != open && v != "" {
			return redacted
		}
		return redactText(v)
	case json.Number:
		if how == secret {
			return redacted
		}
	case []any:
		for i := range v {
			v[i] = redactTree(v[i], how, depth+1)
		}
	case map[string]any:
		clean := make(map[string]any, len(v))
		for name, in := range v {
			clean[redactText(name)] = redactTree(in, max(how, secretName(name)), depth+1)
		}
		return clean
	}
	return v
}

// secrecy of a name: whether its value is open, a secret unless it is a number,
// as a status code is, or a secret.
type secrecy int

const (
	open secrecy = iota
	secretText
	secret
)

// secretName tells what a name says of its value. It ignores case and what joins
// words: access_token, AccessToken, X-Access-Token.
func secretName(name string) secrecy {
	if len(name) > 64 {
		return open
	}
	var buf [64]byte
	b := buf[:0]
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		case c != '_' && c != '-' && c != '.' && c != ' ':
			b = append(b, c)
		}
	}
	if len(b) > 0 && b[len(b)-1] == 's' { // tokens, secrets, cookies
		b = b[:len(b)-1]
	}
	switch string(b) {
	case "code", "state", "nonce", "interaction":
		return secretText
	case "pin", "otp", "totp", "csrf", "pwd", "psk", "dpop":
		return secret
	}
	for _, end := range secretEnds {
		if len(b) >= len(end) && string(b[len(b)-len(end):]) == end {
			return secret
		}
	}
	return open
}

var secretEnds = [...]string{
	"token", "secret", "password", "passwd", "passphrase", "passcode", "cookie", "authorization", "verifier", "assertion", "idtokenhint",
	"usercode", "devicecode", "authorizationcode", "authcode", "requesturi", "privatekey", "apikey", "credential",
}
