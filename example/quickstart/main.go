// Command quickstart is an OpenID provider that is ready to use: the kit, a
// table of users in a file, SQLite, PostgreSQL or Redis, the built-in pages, an
// account page and a small protected API. It serves as a development provider, and as
// a program to copy from.
//
//	quickstart                            a provider for development
//	quickstart -config provider.yaml      one of your own, see quickstart.yaml
//	quickstart check -config FILE         says what is wrong with a file
//	quickstart hash-password              makes the password_hash of a user
//	quickstart rotate-keys -config FILE   makes new signing keys
//	quickstart make-secret FILE           makes the secret_file that replicas share
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/idpkit/idpkit/middleware"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, hup))
}

type streams struct {
	in       *os.File
	out, err io.Writer
}

const usage = `usage:
  quickstart [-config FILE] [-storage WHERE] [-issuer URL] [-listen HOST:PORT]
        serve; without -config a provider for development on http://localhost:3000
  quickstart check -config FILE
        validate a configuration and stop
  quickstart hash-password
        read a password and print its hash, for users in a configuration
  quickstart rotate-keys [-config FILE] [-storage WHERE] [-issuer URL]
        make new signing keys; a running provider learns of them within a minute
  quickstart make-secret FILE
        make the secret_file of providers that share a PostgreSQL or Redis
`

// run is the whole program. It returns the exit code: 0 fine, 1 failed, 2 used
// in a wrong way.
func run(ctx context.Context, args []string, std streams, hup <-chan os.Signal) int {
	command := "serve"
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(std.err)
	flags.Usage = func() { fmt.Fprint(std.err, usage) }
	var o options
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.storage, "storage", "", "")
	flags.StringVar(&o.issuer, "issuer", "", "")
	flags.StringVar(&o.listen, "listen", "", "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	rest := flags.Args()
	if command == "make-secret" && len(rest) == 1 {
		rest = nil
	}
	if len(rest) > 0 {
		fmt.Fprintf(std.err, "quickstart: unexpected argument %q\n%s", rest[0], usage)
		return 2
	}
	var err error
	switch command {
	case "serve":
		err = serve(ctx, o, std, hup)
	case "check":
		err = checkFile(o, std)
	case "hash-password":
		err = hashPasswordCommand(std)
	case "make-secret":
		err = makeSecretCommand(flags.Arg(0), std)
	case "rotate-keys":
		err = rotateKeys(ctx, o, std)
	default:
		fmt.Fprintf(std.err, "quickstart: unknown command %q\n%s", command, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintf(std.err, "quickstart: %v\n", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, o options, std streams, hup <-chan os.Signal) error {
	cfg, err := load(o)
	if err != nil {
		return err
	}
	log := newLog(cfg, std.err)
	if o.config != "" { // the built-in configuration is meant as it is
		for _, w := range cfg.warnings {
			log.Warn(w)
		}
	}
	s, err := newServer(cfg, log)
	if err != nil {
		return err
	}
	listeners, err := listen(cfg.Listen)
	if err != nil {
		return errors.Join(err, s.close())
	}
	if o.config == "" {
		fmt.Fprint(std.err, banner(cfg))
	}
	go s.rotateOn(ctx, hup)
	return s.serve(ctx, listeners...)
}

func checkFile(o options, std streams) error {
	if o.config == "" {
		return errors.New("check needs -config FILE")
	}
	cfg, err := load(o)
	if err != nil {
		return err
	}
	for _, w := range cfg.warnings {
		fmt.Fprintln(std.err, "warning:", w)
	}
	fmt.Fprintf(std.out, "%s: good: %s with %d clients and %d users\n", o.config, cfg.Issuer, len(cfg.clients), len(cfg.Users))
	return nil
}

func rotateKeys(ctx context.Context, o options, std streams) error {
	cfg, err := load(o)
	if err != nil {
		return err
	}
	if !cfg.place.kept {
		return errors.New("rotate-keys needs a storage that it can open: send SIGHUP to the process whose storage is in memory")
	}
	s, err := newServer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := errors.Join(s.provider.RotateKeys(ctx), s.close()); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "new signing keys are made; they sign as soon as every verifier can have seen them")
	return nil
}

func makeSecretCommand(file string, std streams) error {
	if file == "" {
		return errors.New("make-secret needs the name of the file")
	}
	if err := makeSecrets(file); err != nil {
		return fmt.Errorf("secret file: %w", err) // also if it is there: what it seals would be lost
	}
	fmt.Fprintf(std.out, "%s is made. Give each replica a copy that only it can read.\n", file)
	return nil
}

func newLog(cfg *config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.Log.level}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if cfg.Log.Format == "json" {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(middleware.Redact(h)) // the kit logs no secret; what else runs here might
}
