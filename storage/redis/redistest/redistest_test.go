package redistest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/storage/redis/redistest"
)

// TestServer stops, kills and restarts one: what was written stays.
func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "maxmemory 100mb")
	c := s.Client()
	defer c.Close()
	ctx := t.Context()
	if err := c.Set(ctx, "a", "b", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"Stop": s.Stop, "Kill": s.Kill} {
		end()
		if s.PID() != 0 {
			t.Errorf("%s: still there", name)
		}
		end() // harmless
		if err := s.Restart("maxmemory 200mb"); err != nil {
			t.Fatal(err)
		}
		fresh := s.Client()
		if got := fresh.Get(ctx, "a").Val(); got != "b" {
			t.Errorf("after %s: %q", name, got)
		}
		if got := fresh.ConfigGet(ctx, "maxmemory").Val()["maxmemory"]; got != "209715200" {
			t.Errorf("after %s: maxmemory %s", name, got)
		}
		fresh.Close()
	}
	if !strings.Contains(s.Log(), "Ready to accept connections") {
		t.Error("no log")
	}
	if _, err := redistest.New("no-such-setting yes"); err == nil {
		t.Error("a bad setting is accepted")
	}
}

// TestCluster writes to all nodes, one of which is killed meanwhile.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	c := cluster.Client()
	defer c.Close()
	for _, n := range cluster.Nodes {
		n.Kill()
		if err := n.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Await(); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			if err := c.Set(context.Background(), key, "x", 0).Err(); err != nil {
				t.Error(err)
			}
		}
	}
}
