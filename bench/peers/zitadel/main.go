// Command zitadel is github.com/zitadel/oidc/v3 under measurement: its provider
// over maps in memory, with a sign-in page and a browser session of ours, for the
// library leaves both to its user.
package main

import (
	"context"
	"errors"
	"html"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	w, err := readWorld()
	if err != nil {
		return err
	}
	s, err := newStorage(w)
	if err != nil {
		return err
	}
	provider, err := op.NewProvider(&op.Config{CodeMethodS256: true, GrantTypeRefreshToken: true}, s, op.StaticIssuer(w.Issuer),
		op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/login", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(login(s, op.AuthCallbackURL(provider))))
	mux.Handle("/", provider)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: w.Listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const cookie = "session"

// login is where the library sends the browser for every request. Whoever has a
// session goes on at once.
func login(s *storage, callback func(context.Context, string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		if r.Method == http.MethodPost {
			if r.PostFormValue("username") != s.world.User.Username || r.PostFormValue("password") != s.world.User.Password {
				http.Error(w, "wrong", http.StatusForbidden)
				return
			}
			c := &http.Cookie{Name: cookie, Value: s.startSession(s.world.User.Subject), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
			http.SetCookie(w, c)
			r.AddCookie(c)
		}
		if c, err := r.Cookie(cookie); err == nil && s.finish(id, c.Value) {
			http.Redirect(w, r, callback(r.Context(), id), http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<form method="post" action="/login?id=`+html.EscapeString(url.QueryEscape(id))+
			`"><input name="username"><input type="password" name="password"></form>`)
	}
}
