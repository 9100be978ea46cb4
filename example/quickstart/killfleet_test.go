package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpkit/idpkit/example/replicas/fleet"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
	"github.com/idpkit/idpkit/storage/redis/redistest"
)

// prey is a storage server that can be killed and comes back.
type prey struct {
	*engine
	place  string // key storage
	kill   func()
	revive func() error
}

func newPrey(t testing.TB, name string, chance *rand.Rand) prey {
	if name == "postgres" {
		s := pgtest.Start(t)
		dsn := s.DSN("postgres", "pool_max_conns=8")
		return prey{postgresEngine(t, dsn, "idpkit"), dsn, s.Kill, func() error { return s.Restart() }}
	}
	c := redistest.StartCluster(t) // AOF with appendfsync always
	nodes, victim := c.Addrs(), 0
	return prey{redisEngine(t, c, "idpkit"), "redis://" + nodes[0] + "?addr=" + strings.Join(nodes[1:], "&addr="),
		func() { victim = chance.IntN(len(c.Nodes)); c.Nodes[victim].Kill() },
		func() error { return errors.Join(c.Nodes[victim].Restart(), c.Await()) }}
}

// TestKillFleet: three providers behind the proxy over PostgreSQL or a Redis
// Cluster, four people who use them, and kills (SIGKILL) at any moment: of a
// provider, or of the storage. What was acknowledged holds, nothing works twice,
// and nobody but the victim is started again.
func TestKillFleet(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	for _, engine := range []string{"postgres", "redis"} {
		for _, victim := range []string{"provider", "storage"} {
			t.Run(engine+"/"+victim, func(t *testing.T) {
				t.Parallel()
				killFleet(t, program, engine, victim == "storage")
			})
		}
	}
}

func killFleet(t *testing.T, program, engine string, storage bool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	front := httptest.NewUnstartedServer(nil)
	h := newHousehold(t, t.TempDir(), "http://"+front.Listener.Addr().String(), "warn")
	if _, err := secrets(h.db + ".secret"); err != nil { // makes it
		t.Fatal(err)
	}
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.config, append([]byte("secret_file: idp.sqlite.secret\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	prey := newPrey(t, engine, chance)
	log := &syncBuffer{}
	f, err := fleet.Start(3, func(address string) *exec.Cmd {
		cmd := exec.Command(program, "-config", h.config, "-storage", prey.place, "-listen", address)
		cmd.Stdout, cmd.Stderr = log, log
		return cmd
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	t.Cleanup(f.Close)
	front.Config.Handler = f
	front.Start()
	t.Cleanup(front.Close)
	t.Cleanup(func() {
		if t.Failed() {
			said := log.String()
			t.Logf("the providers said:\n%s", said[max(0, len(said)-4000):])
		}
	})

	var storm atomic.Bool // from the kill to the recovery
	c := newCrew(t, h, seed, func(base http.RoundTripper) http.RoundTripper { return weather{base, &storm} })
	var took []time.Duration
	for range kills(5) {
		c.each(func(w *worker) error { return w.account(false) })
		i := chance.IntN(f.Size())
		var over atomic.Bool
		struck := make(chan struct{})
		time.AfterFunc(time.Duration(100+chance.IntN(500))*time.Millisecond, func() {
			defer close(struck)
			storm.Store(true)
			if storage {
				prey.kill()
			} else {
				f.Kill(i)
			}
			// Who is not struck goes on with the replicas that are left.
			time.AfterFunc(300*time.Millisecond, func() { over.Store(true) })
		})
		c.each(func(w *worker) error {
			for !over.Load() {
				if err := w.flow(); errors.Is(err, errLost) && storm.Load() {
					return nil
				} else if err != nil {
					return err
				}
			}
			return nil
		})
		<-struck
		begin := time.Now()
		if storage {
			err = prey.revive()
			begin = time.Now()
			for i := range f.Size() {
				err = errors.Join(err, f.Await(i, hangGuard))
			}
		} else {
			err = f.Start(i)
		}
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
		storm.Store(false)
		c.struck()
	}
	c.each(func(w *worker) error { return w.account(true) })
	if err := prey.whole(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"DATA RACE", "panic"} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("the providers said %s", bad)
		}
	}
	if !storage && strings.Contains(log.String(), "level=ERROR") {
		t.Error("a provider that was not killed failed")
	}
	slices.Sort(took)
	t.Logf("%d kills; ready again after %v in the middle, %v at worst", len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	c.report()
}

// weather takes answers that say "out of order" in a storm for none: whether
// what was asked for has happened nobody knows. At other times they are answers
// like any other, and fail the test.
type weather struct {
	base  http.RoundTripper
	storm *atomic.Bool
}

func (w weather) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.base.RoundTrip(r)
	if err != nil || !w.storm.Load() {
		return res, err
	}
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return res, nil
	}
	code := to.Query().Get("error")
	if res.StatusCode < 500 && code != "server_error" && code != "temporarily_unavailable" {
		return res, nil
	}
	_ = res.Body.Close()
	return nil, fmt.Errorf("out of order: %d %s", res.StatusCode, code)
}

func (w weather) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
