// Package redistest starts Redis servers for tests: real ones, with every
// write forced to disk, in a folder of their own, on free ports of the loopback
// address, so that any number of them run side by side. They can be stopped,
// killed and started again.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Install is the line that installs what this package needs, on Debian.
const Install = "sudo apt-get install redis-server"

// A Server is one Redis server. Its methods are safe for concurrent use.
type Server struct {
	dir      string // holds the data and the log
	port     int
	settings []string
	leash    io.Closer // closed when the test process ends, however it does

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// watch runs beside a server and ends it if the test process was killed.
const watch = `cat
kill -KILL $(cat pid)
rm -rf "$0"`

// Start starts a server that ends with the test. Each setting is a line of
// redis.conf, such as "maxmemory 10mb". Unless they say otherwise the server
// has AOF with appendfsync always.
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
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, errors.New("redis-server is missing. On Debian: " + Install)
	}
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, settings: settings}
	watcher := command(dir, "/bin/sh", "-c", watch, dir)
	if s.leash, err = watcher.StdinPipe(); err == nil {
		err = watcher.Start()
	}
	if err == nil {
		go func() { _ = watcher.Wait() }()
		for range 10 { // somebody may take the port first
			s.port = freePort()
			if err = s.Restart(); err == nil {
				return s, nil
			}
			if !strings.Contains(err.Error(), "in use") {
				break
			}
		}
	}
	s.Close()
	return nil, err
}

func command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// freePort returns a port below those that systems give to clients, so that it
// is still free after a restart.
func freePort() int {
	for {
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			l.Close()
			return port
		}
	}
}

// Addr returns the server's address: host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL returns the server's address as redis.ParseURL takes it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// PID returns the id of the server's process, 0 if it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Client returns a new client of the server, with the client's defaults. The
// caller closes it.
func (s *Server) Client() *redis.Client { return redis.NewClient(&redis.Options{Addr: s.Addr()}) }

// Restart starts the server if it does not run, stopping it first if it does,
// and returns when it has loaded its data. Settings are added for good.
func (s *Server) Restart(settings ...string) error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = append(s.settings, settings...)
	config := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsave \"\"\nappendonly yes\nappendfsync always\n", s.port, s.dir)
	if err := os.WriteFile(filepath.Join(s.dir, "redis.conf"), []byte(config+strings.Join(s.settings, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, done := command(s.dir, "redis-server", filepath.Join(s.dir, "redis.conf")), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { defer close(done); _ = cmd.Wait() }()
	s.cmd, s.done = cmd, done
	if err := os.WriteFile(filepath.Join(s.dir, "pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	for began := time.Now(); time.Since(began) < time.Minute; {
		select {
		case <-done:
			s.ended()
			return fmt.Errorf("redis-server ended:\n%s", s.tail())
		case <-time.After(5 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", s.Addr()); err != nil {
			continue
		} else {
			conn.Close()
		}
		// Another server may have taken the port: ask who it is.
		info, err := c.Info(context.Background(), "server", "persistence").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", cmd.Process.Pid)) && strings.Contains(info, "\r\nloading:0\r\n") {
			return nil
		}
	}
	s.end(syscall.SIGKILL)
	return fmt.Errorf("redis-server does not answer:\n%s", s.tail())
}

// Log returns what the server has logged since it was made.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

func (s *Server) tail() string {
	text := s.Log()
	return text[max(0, len(text)-4000):]
}

// Stop ends the server in order.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGTERM)
}

// Kill ends the server by SIGKILL, as a crash would, and returns when it is
// gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGKILL)
}

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.ended()
}

func (s *Server) ended() {
	s.cmd = nil
	_ = os.Remove(filepath.Join(s.dir, "pid"))
}

// Close kills the server and removes all that it wrote.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
	if s.leash != nil {
		_ = s.leash.Close()
	}
}

// A Cluster is a Redis Cluster of three masters without replicas.
type Cluster struct{ Nodes []*Server }

// StartCluster starts a Cluster that ends with the test. Settings are as for
// Start.
func StartCluster(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c, err := NewCluster(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// NewCluster starts a Cluster like StartCluster, for those who have no test at
// hand. The caller closes it.
func NewCluster(settings ...string) (*Cluster, error) {
	c := &Cluster{}
	for range 3 {
		s, err := New(append([]string{"cluster-enabled yes", "cluster-node-timeout 5000", "cluster-port " + strconv.Itoa(freePort())}, settings...)...)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.Nodes = append(c.Nodes, s)
	}
	if err := c.join(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) join() error {
	ctx := context.Background()
	const slots = 16384
	for i, s := range c.Nodes {
		client := s.Client()
		defer client.Close()
		for _, do := range [][]any{
			{"cluster", "set-config-epoch", i + 1},
			{"cluster", "addslotsrange", i * slots / len(c.Nodes), (i+1)*slots/len(c.Nodes) - 1},
			{"cluster", "meet", "127.0.0.1", c.Nodes[0].port, c.Nodes[0].busPort()},
		} {
			if i == 0 && do[1] == "meet" {
				continue
			}
			if err := client.Do(ctx, do...).Err(); err != nil {
				return fmt.Errorf("%v: %w", do, err)
			}
		}
	}
	return c.Await()
}

func (s *Server) busPort() string {
	for _, setting := range s.settings {
		if port, ok := strings.CutPrefix(setting, "cluster-port "); ok {
			return port
		}
	}
	return ""
}

// Await returns when every node says that the Cluster is whole.
func (c *Cluster) Await() error {
	var last string
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		whole := 0
		for _, s := range c.Nodes {
			client := s.Client()
			info, err := client.ClusterInfo(context.Background()).Result()
			client.Close()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(c.Nodes))) {
				whole++
			}
			last = fmt.Sprint(info, err)
		}
		if whole == len(c.Nodes) {
			return nil
		}
	}
	return fmt.Errorf("the cluster does not come together: %s", last)
}

// Addrs returns the addresses of the nodes.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Client returns a new client of the Cluster, with the client's defaults. The
// caller closes it.
func (c *Cluster) Client() *redis.ClusterClient {
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
}

// Close kills the nodes and removes all that they wrote.
func (c *Cluster) Close() {
	for _, s := range c.Nodes {
		s.Close()
	}
}
