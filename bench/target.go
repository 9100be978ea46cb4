package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/idpkit/idpkit/bench/internal/world"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

// target is a server that is measured.
type target struct {
	name string

	// build makes what is started and returns its command line. dir is the folder
	// of the benchmark, out one for what is built.
	build func(ctx context.Context, dir, out string) ([]string, error)

	// env is added to the environment; it may make folders in tmp, which is new for
	// each start.
	env func(tmp string) []string

	// database is started before the target and ended after it; its DSN is added to
	// the environment. nil: none. An error leaves the target out.
	database func() (dsn string, end func(), err error)

	// warm multiplies the work before a measurement, for what compiles as it runs.
	// 0 is 1.
	warm int

	// lacks names the workloads that the target does not have, and why.
	lacks map[string]string
}

// floorName is the target that the others are compared with.
const floorName = "floor"

// targets lists all, in the order of the table.
func targets() []target {
	kit := func(storage string) func(string) []string {
		return func(tmp string) []string {
			return []string{"BENCH_STORAGE=" + storage, "BENCH_DIR=" + tmp}
		}
	}
	return []target{
		{name: floorName, build: goProgram("servers/floor")},
		{name: "kit", build: goProgram("servers/kit"), env: kit("memory")},
		{name: "kit-sqlite", build: goProgram("servers/kit"), env: kit("sqlite")},
		{name: "kit-postgres", build: goProgram("servers/kit"), env: kit("postgres"), database: startPostgres},
		{name: "zitadel", build: goProgram("peers/zitadel"), lacks: map[string]string{
			"par-public": "no PAR", "par-confidential": "no PAR",
		}},
		{name: "fosite", build: goProgram("peers/fosite"), lacks: map[string]string{
			"discovery": "left to the embedder", "jwks": "left to the embedder",
		}},
		{name: "node", build: nodeProgram("peers/node"), warm: 5},
	}
}

// startPostgres starts a server with its own folder and all that makes it durable.
// It runs on the CPU of the load.
func startPostgres() (dsn string, end func(), err error) {
	s, err := pgtest.New()
	if err != nil {
		return "", nil, err
	}
	return s.DSN("postgres"), s.Close, nil
}

// goProgram builds a Go program. The peers are a module of their own, so that
// what they require does not reach the modules of the workspace.
func goProgram(pkg string) func(context.Context, string, string) ([]string, error) {
	return func(ctx context.Context, dir, out string) ([]string, error) {
		bin := filepath.Join(out, filepath.Base(pkg))
		if _, err := os.Stat(bin); err == nil {
			return []string{bin}, nil
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
		cmd.Dir = filepath.Join(dir, pkg)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w\n%s", pkg, err, b)
		}
		return []string{bin}, nil
	}
}

// nodeProgram installs what the lock file names and runs server.mjs.
func nodeProgram(pkg string) func(context.Context, string, string) ([]string, error) {
	return func(ctx context.Context, dir, _ string) ([]string, error) {
		node, err := exec.LookPath("node")
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(dir, pkg)
		if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
			cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
			cmd.Dir = dir
			if b, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("npm ci in %s: %w\n%s", pkg, err, b)
			}
		}
		return []string{node, filepath.Join(dir, "server.mjs")}, nil
	}
}

// running is a started target.
type running struct {
	*target
	site *site
	pid  int
	cmd  *exec.Cmd
	log  bytes.Buffer // read it after stop only
	tmp  string
	end  func()        // of the database
	done chan struct{} // closed when the process has ended
}

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
)

// start runs a target on one CPU (-1: any) and waits until it answers.
func start(ctx context.Context, t *target, argv []string, w world.World, cpu int) (_ *running, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	listen := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	r := &running{target: t, done: make(chan struct{}), end: func() {}}
	if r.tmp, err = os.MkdirTemp("", "bench-"+t.name+"-"); err != nil {
		return nil, err
	}
	w = w.At(listen)
	r.cmd = exec.Command(argv[0], argv[1:]...)
	r.cmd.Env = append(os.Environ(), world.Env+"="+w.String())
	if t.env != nil {
		r.cmd.Env = append(r.cmd.Env, t.env(r.tmp)...)
	}
	if t.database != nil {
		var dsn string
		if dsn, r.end, err = t.database(); err != nil {
			return nil, errors.Join(&absentError{err}, os.RemoveAll(r.tmp))
		}
		r.cmd.Env = append(r.cmd.Env, "BENCH_DATABASE="+dsn)
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	if err := startOn(cpu, r.cmd); err != nil {
		r.end()
		return nil, errors.Join(err, os.RemoveAll(r.tmp))
	}
	r.pid = r.cmd.Process.Pid
	go func() {
		_ = r.cmd.Wait() // how it ended does not matter: we end it
		close(r.done)
	}()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", t.name, errors.Join(err, r.stop()))
			err = fmt.Errorf("%w\n%s", err, firstBytes(r.log.Bytes()))
		}
	}()
	deadline := time.Now().Add(startTimeout)
	for {
		if r.site, err = learn(w); err == nil {
			return r, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-r.done:
			return nil, errors.New("ended at its start")
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and removes its folder.
func (r *running) stop() error {
	select {
	case <-r.done:
	default:
		_ = r.cmd.Process.Signal(os.Interrupt)
		select {
		case <-r.done:
		case <-time.After(stopTimeout):
			_ = r.cmd.Process.Kill()
			<-r.done
		}
	}
	r.end()
	return os.RemoveAll(r.tmp)
}

// absentError says that what a target needs is not on this machine.
type absentError struct{ err error }

func (e *absentError) Error() string { return e.err.Error() }

// choose keeps the named ones of all; an empty list keeps all.
func choose[T any](list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var kept []T
	known := map[string]bool{}
	wanted := map[string]bool{}
	for n := range strings.SplitSeq(list, ",") {
		wanted[n] = true
	}
	for _, v := range all {
		known[name(v)] = true
		if wanted[name(v)] {
			kept = append(kept, v)
		}
	}
	for n := range wanted {
		if !known[n] {
			return nil, fmt.Errorf("no such name: %q", n)
		}
	}
	return kept, nil
}
