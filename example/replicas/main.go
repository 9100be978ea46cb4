// Command replicas runs three providers behind a reverse proxy over one storage:
//
//	go run ./replicas                       over a PostgreSQL that it starts
//	go run ./replicas -engine redis         over a Redis Cluster of three masters
//	go run ./replicas -storage postgres://… over what is there already
//
// Each provider is a process of ../quickstart with the configuration in
// provider.yaml. SIGHUP replaces them one after the other, under load if there
// is any; Ctrl-C ends everything. Without -storage all that was stored is gone
// then.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/idpkit/idpkit/example/replicas/fleet"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
	"github.com/idpkit/idpkit/storage/redis/redistest"
)

//go:embed provider.yaml
var providerConfig []byte

const replicas = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	engine := flag.String("engine", "postgres", "postgres or redis: what to start")
	storage := flag.String("storage", "", "the storage to use instead, as quickstart takes it")
	address := flag.String("listen", "localhost:3000", "where the proxy listens")
	flag.Parse()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	if err := run(ctx, *engine, *storage, *address, hup); err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, engine, storage, address string, hup <-chan os.Signal) error {
	if storage == "" {
		s, end, err := startEngine(engine)
		if err != nil {
			return err
		}
		defer end()
		storage = s
	}
	dir, err := os.MkdirTemp("", "replicas")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := deploy(dir, storage, "http://"+address, os.Stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	proxy := &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- proxy.Serve(l) }()
	fmt.Printf("three providers over %s at http://%s; user alice, password wonderland; process %d\n", engine, address, os.Getpid())
	for {
		select {
		case <-hup:
			if err := f.Roll(); err != nil {
				return err
			}
			fmt.Println("all replicas are new")
		case err := <-ended:
			return err
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err := proxy.Shutdown(last)
			for i := range replicas {
				err = errors.Join(err, f.Stop(i))
			}
			return err
		}
	}
}

// startEngine starts a PostgreSQL or a Redis Cluster and returns what leads to
// it, in the form of quickstart's key storage, and what ends it.
func startEngine(name string) (storage string, end func(), err error) {
	switch name {
	case "postgres":
		s, err := pgtest.New()
		if err != nil {
			return "", nil, err
		}
		return s.DSN("postgres", "pool_max_conns=8"), s.Close, nil
	case "redis":
		c, err := redistest.NewCluster()
		if err != nil {
			return "", nil, err
		}
		return clusterURL(c.Addrs()), c.Close, nil
	}
	return "", nil, fmt.Errorf("no such engine: %q (postgres, redis)", name)
}

// clusterURL names the nodes of a Redis Cluster.
func clusterURL(nodes []string) string {
	return "redis://" + nodes[0] + "?addr=" + strings.Join(nodes[1:], "&addr=")
}

// deploy does in dir what a deployment does: build, write the configuration,
// make the secret that all replicas share, start them.
func deploy(dir, storage, issuer string, log io.Writer) (*fleet.Fleet, error) {
	program, config := filepath.Join(dir, "quickstart"), filepath.Join(dir, "provider.yaml")
	build := exec.Command("go", "build", "-o", program, "github.com/idpkit/idpkit/example/quickstart")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	if err := os.WriteFile(config, providerConfig, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command(program, "make-secret", filepath.Join(dir, "idpkit.secret")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return fleet.Start(replicas, func(listen string) *exec.Cmd {
		cmd := exec.Command(program, "-config", config, "-storage", storage, "-issuer", issuer, "-listen", listen)
		cmd.Stdout, cmd.Stderr = log, log
		return cmd
	})
}
