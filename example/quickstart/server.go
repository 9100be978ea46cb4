package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/middleware"
)

// server is the whole program behind one handler.
type server struct {
	cfg      *config
	log      *slog.Logger
	store    database
	provider *handlers.Provider
	handler  http.Handler
}

// newServer opens the database and builds the handler. Call close.
func newServer(cfg *config, log *slog.Logger) (*server, error) {
	store, keys, err := openDatabase(cfg)
	if err != nil {
		return nil, err
	}
	var own []clientreg.Client
	secret := ""
	if cfg.Features.Account {
		own = make([]clientreg.Client, 1)
		own[0], secret = newAccountClient(cfg.Issuer, cfg.Name)
	}
	pc, err := cfg.provider(store, keys, log, own...)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	p, err := handlers.New(pc)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s := &server{cfg: cfg, log: log, store: store, provider: p}
	s.handler = s.routes(pc, secret)
	return s, nil
}

func (s *server) close() error { return s.store.Close() }

// routes puts the kit's endpoints and our own on one mux. Pages of ours lie
// below the issuer's path, as the kit's do.
func (s *server) routes(pc handlers.Config, secret string) http.Handler {
	base := ""
	if u, err := url.Parse(s.cfg.Issuer); err == nil {
		base = u.EscapedPath()
	}
	mux := http.NewServeMux()
	for _, r := range s.provider.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.Handle(base+"/{$}", landing(s.cfg, s.provider.Routes()))
	if s.cfg.Features.DemoAPI {
		mux.Handle(base+"/api/me", demoAPI(s.provider, s.cfg.Issuer, originsOf(s.cfg.clients)))
	}
	if s.cfg.Features.Account {
		a := newAccount(s.cfg, s.provider, pc, secret)
		mux.Handle(base+accountPath, a.page())
		mux.Handle(base+accountCallback, a.callback())
	}
	mux.HandleFunc("/healthz", s.health(func(context.Context) error { return nil }))
	mux.HandleFunc("/readyz", s.health(s.ready))
	edge := middleware.Edge{TrustedProxies: s.cfg.TrustedProxies, ClientCertHeader: s.cfg.CertHeader}
	return middleware.Chain(mux, edge.Wrap, middleware.Log(s.log), middleware.Recover(s.log))
}

// ready tells whether requests can be served: the database answers, and the
// keys in it can be opened.
func (s *server) ready(ctx context.Context) error {
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.Issuer, nil)
	if err != nil {
		return err
	}
	answer := call(s.provider.JWKS(), r)
	if answer.status != http.StatusOK {
		return fmt.Errorf("signing keys: status %d", answer.status)
	}
	return nil
}

// health answers 200 or 503. What is wrong is for the log.
func (s *server) health(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := check(ctx); err != nil {
			s.log.ErrorContext(ctx, "not ready", "error", err)
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// shutdownTime is what requests under way get when the process is to end.
const shutdownTime = 10 * time.Second

// serve answers requests on the listeners until ctx is done, then lets those
// under way finish and closes the database.
func (s *server) serve(ctx context.Context, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		TLSConfig:         s.cfg.tls,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // mostly broken handshakes
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var background sync.WaitGroup
	background.Go(func() {
		if err := s.provider.Run(ctx); err != nil {
			s.log.Error("maintenance ended", "error", err)
		}
	})
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			if s.cfg.tls != nil {
				ended <- srv.ServeTLS(l, "", "")
			} else {
				ended <- srv.Serve(l)
			}
		}()
		s.log.Info("listening", "address", l.Addr().String(), "issuer", s.cfg.Issuer, "tls", s.cfg.tls != nil)
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-ended:
	}
	s.log.Info("stopping")
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer done()
	err := srv.Shutdown(stopping)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	cancel()
	background.Wait()
	if errors.Is(failed, http.ErrServerClosed) {
		failed = nil
	}
	return errors.Join(failed, err, s.close())
}

// rotateOn makes new signing keys at every signal, until ctx is done. The new
// keys are published at once and sign once every verifier can know them.
func (s *server) rotateOn(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			if err := s.provider.RotateKeys(ctx); err != nil {
				s.log.Error("rotating the signing keys failed", "error", err)
			} else {
				s.log.Info("signing keys rotated")
			}
		}
	}
}

// listen opens the address. Browsers reach "localhost" by IPv6 or IPv4, so it
// stands for both where the machine has both.
func listen(address string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, listenError(address, err)
		}
		return []net.Listener{l}, nil
	}
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, listenError(address, err)
	}
	_, port, _ = net.SplitHostPort(four.Addr().String())
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errors.Join(listenError("[::1]:"+port, err), four.Close())
	}
	return []net.Listener{four}, nil // no IPv6 here
}

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program: stop that, or choose another port with -issuer or listen", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: not allowed: ports below 1024 need a privilege", address)
	}
	return fmt.Errorf("cannot listen on %s: %w", address, err)
}

// answer is what a handler called in this process said.
type answer struct {
	status int
	header http.Header
	body   strings.Builder
}

// call asks a handler without a network in between.
func call(h http.Handler, r *http.Request) *answer {
	a := &answer{header: http.Header{}}
	h.ServeHTTP(a, r)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
