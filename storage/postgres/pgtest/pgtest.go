// Package pgtest starts PostgreSQL servers for tests: real ones, with fsync on,
// in a folder of their own, on a Unix socket in it, so that any number of them
// run side by side. They can be stopped, killed and started again.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Install is the line that installs what this package needs, on Debian.
const Install = "sudo apt-get install postgresql pgbouncer"

// A Server is one PostgreSQL server. Its methods are safe for concurrent use.
type Server struct {
	dir      string // holds the data, the socket and the log
	bin      string // folder of the programs
	settings []string
	as       *syscall.Credential // nil: whoever runs the test

	leash io.Closer // closed when the test process ends, however it does

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// watch runs beside a server and ends it if the test process was killed.
const watch = `cat
kill $(cat bouncer*/pid) && sleep 1
kill -QUIT $(head -n 1 data/postmaster.pid) && sleep 2
rm -rf "$0"`

// Start starts a server that ends with the test. Each setting is one of
// postgresql.conf, such as "max_connections=20".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := New(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New starts a server like Start, for those who have no test at hand. The
// caller closes it.
func New(settings ...string) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	as, err := credential()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, as: as, settings: settings}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	// Only the files of an empty cluster are not forced to disk here.
	initdb := s.command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		s.Close()
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	watcher := s.command("/bin/sh", "-c", watch, dir)
	if s.leash, err = watcher.StdinPipe(); err == nil {
		err = watcher.Start()
	}
	if err == nil {
		go func() { _ = watcher.Wait() }()
		err = s.Restart()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// programs finds the folder of initdb and postgres.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("PostgreSQL is missing. On Debian: " + Install)
}

// credential is that of the user postgres for root, whom PostgreSQL and
// PgBouncer refuse to serve.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w. On Debian: %s", err, Install)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	return cmd
}

// Host returns the folder of the server's socket, which connection strings
// take for a host.
func (s *Server) Host() string { return s.dir }

// DSN returns the connection string of a database, with parameters such as
// "pool_max_conns=4".
func (s *Server) DSN(database string, parameters ...string) string {
	return dsn(s.dir, database, parameters)
}

func dsn(host, database string, parameters []string) string {
	return strings.Join(append([]string{"postgres:///" + database + "?host=" + url.QueryEscape(host) + "&user=postgres"}, parameters...), "&")
}

// Restart starts the server if it does not run, stopping it first if it does,
// and returns when it takes connections. Settings are added for good.
func (s *Server) Restart(settings ...string) error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = append(s.settings, settings...)
	args := []string{"-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.dir, "-c", "unix_socket_permissions=0777"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// A server that was killed may leave behind processes that are still dying;
	// until they are gone a new one refuses to start.
	for deadline := time.Now().Add(time.Minute); ; {
		cmd, done := s.command(filepath.Join(s.bin, "postgres"), args...), make(chan struct{})
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { defer close(done); _ = cmd.Wait() }()
		s.cmd, s.done = cmd, done
		if s.await(done, deadline) {
			return nil
		}
		if time.Now().After(deadline) {
			s.kill()
			return fmt.Errorf("the server does not start:\n%s", s.tail())
		}
	}
}

// await returns true when the server takes connections, false when it ended.
func (s *Server) await(done chan struct{}, deadline time.Time) bool {
	for time.Now().Before(deadline) {
		select {
		case <-done:
			time.Sleep(50 * time.Millisecond)
			return false
		case <-time.After(10 * time.Millisecond):
		}
		ready := s.command(filepath.Join(s.bin, "pg_isready"), "-q", "-h", s.dir)
		if ready.Run() == nil {
			return true
		}
	}
	return false
}

// tail returns the end of the log.
func (s *Server) tail() []byte {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return text[max(0, len(text)-4000):]
}

// Log returns what the server has logged since it was made.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Stop ends the server, and what it is doing, in order ("fast").
func (s *Server) Stop() { s.end(syscall.SIGINT) }

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
		s.cmd = nil
	case <-time.After(time.Minute):
		s.kill()
	}
}

// Kill ends all processes of the server by SIGKILL, as a crash would, and
// returns when they are gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.cmd == nil {
		return
	}
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // so that it starts no more
	children := childrenOf(pid)
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
	for _, child := range children {
		for range 1000 {
			if syscall.Kill(child, 0) != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// childrenOf needs /proc. Elsewhere the children of a dead server end
// themselves soon, and Restart waits for that.
func childrenOf(pid int) (children []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid …, and the name may hold anything.
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(rest) > 1 && rest[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			children = append(children, child)
		}
	}
	return children
}

// Close kills the server and removes all that it wrote.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
	if s.leash != nil {
		_ = s.leash.Close()
	}
}

// SQL runs statements in a database with psql and returns what it prints:
// unaligned, without headers.
func (s *Server) SQL(database, text string) (string, error) {
	cmd := s.command(filepath.Join(s.bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-U", "postgres", "-d", database)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// PgBouncer starts a PgBouncer in transaction mode before the server, which
// ends with the test, and returns the folder of its socket. Each setting is
// one of pgbouncer.ini, such as "default_pool_size=4".
func PgBouncer(t testing.TB, s *Server, settings ...string) (host string) {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path = "/usr/sbin/pgbouncer"; !exists(path) {
			t.Fatal("PgBouncer is missing. On Debian: " + Install)
		}
	}
	dir, err := os.MkdirTemp(s.dir, "bouncer")
	if err != nil {
		t.Fatal(err)
	}
	if s.as != nil {
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	// With auth_type any the user is the one of the database line.
	ini := fmt.Sprintf(`[databases]
* = host=%s user=postgres
[pgbouncer]
pool_mode = transaction
auth_type = any
listen_port = 5432
unix_socket_dir = %s
pidfile = %s/pid
max_client_conn = 1000
`, s.dir, dir, dir)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(ini+strings.Join(settings, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := s.command(path, file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	for range 1000 {
		select {
		case <-done:
			t.Fatalf("PgBouncer ended:\n%s", log.String())
		default:
		}
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", filepath.Join(dir, ".s.PGSQL.5432"))
		if err == nil {
			conn.Close()
			return dir
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("PgBouncer does not answer")
	return ""
}

// DSN returns the connection string of a database at a host, such as the one
// of a PgBouncer.
func DSN(host, database string, parameters ...string) string { return dsn(host, database, parameters) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
