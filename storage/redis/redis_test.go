package redis_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/redis"
	"github.com/idpkit/idpkit/storage/redis/redistest"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// The servers that tests share, each with a prefix of its own.
var (
	started       atomic.Bool
	commonServer  = sync.OnceValues(func() (*redistest.Server, error) { started.Store(true); return redistest.New() })
	clustered     atomic.Bool
	commonCluster = sync.OnceValues(func() (*redistest.Cluster, error) { clustered.Store(true); return redistest.NewCluster() })
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started.Load() {
		if s, err := commonServer(); err == nil {
			s.Close()
		}
	}
	if clustered.Load() {
		if c, err := commonCluster(); err == nil {
			c.Close()
		}
	}
	os.Exit(code)
}

var prefixes atomic.Int64

// open opens a storage of its own through each of the clients.
func open(t testing.TB, clients ...driver.UniversalClient) storage.Storage {
	t.Helper()
	prefix := fmt.Sprint("test", prefixes.Add(1))
	var handles []storage.Storage
	for _, c := range clients {
		s, err := redis.New(t.Context(), c, redis.Prefix(prefix))
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, s)
	}
	return storagetest.Several(handles...)
}

func singleClient(t testing.TB) driver.UniversalClient {
	t.Helper()
	s, err := commonServer()
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, s.Client())
}

func clusterClient(t testing.TB) driver.UniversalClient {
	t.Helper()
	c, err := commonCluster()
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, c.Client())
}

func closing[C driver.UniversalClient](t testing.TB, c C) C {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// factory returns storages that share some clients.
func factory(clients ...driver.UniversalClient) storagetest.Factory {
	return func(t testing.TB) storage.Storage { return open(t, clients...) }
}

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(singleClient(t)))
}

func TestStorageCluster(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(clusterClient(t)))
}

// Two clients are to Redis what two processes are.
func TestStorageTwoClients(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(singleClient(t), singleClient(t)), storagetest.Rounds(5))
}

func TestStorageClusterTwoClients(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, factory(clusterClient(t), clusterClient(t)), storagetest.Rounds(5))
}

// Each round records about 196 calls, so these are 100,000 of them.
const linearizableRounds = 520

func TestLinearizable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, factory(singleClient(t)), storagetest.Rounds(linearizableRounds))
}

func TestLinearizableCluster(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, factory(clusterClient(t), clusterClient(t)), storagetest.Rounds(linearizableRounds))
}

// TestLinearizableCancelled has callers that go away in the middle of a call.
func TestLinearizableCancelled(t *testing.T) {
	t.Parallel()
	f := factory(singleClient(t))
	storagetest.Linearizable(t, func(t testing.TB) storage.Storage {
		return storagetest.Flaky(f(t), storagetest.Plan{Choose: func(c storagetest.Call) storagetest.Fault {
			if c.N%5 == 0 {
				return storagetest.CancelMid
			}
			return nil
		}})
	}, storagetest.Rounds(50))
}

func FuzzStorage(f *testing.F) { storagetest.Fuzz(f, factory(singleClient(f))) }

func BenchmarkStorage(b *testing.B) { storagetest.Bench(b, factory(singleClient(b))) }

func BenchmarkStorageCluster(b *testing.B) { storagetest.Bench(b, factory(clusterClient(b))) }
