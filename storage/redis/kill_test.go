package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/redis/redistest"
)

// kills is how often a server is killed: IDPKIT_KILLS, or else a few times.
func kills(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("IDPKIT_KILLS"))
	if os.Getenv("IDPKIT_KILLS") == "" {
		return 5
	}
	if err != nil || n < 1 {
		t.Fatalf("IDPKIT_KILLS: %q", os.Getenv("IDPKIT_KILLS"))
	}
	return n
}

const killShards = 6

func base(shard int) storage.Record {
	r := grant("base")
	r.Shard = uint16(shard)
	return r
}

// item is three records of one shard that go through three commits together.
func item(i int) (a, b, c storage.Record) {
	a, b, c = grant("%d a", i), grant("%d b", i), grant("%d c", i)
	b.Kind, c.Kind = storage.KindCode, storage.KindPAR
	for _, r := range []*storage.Record{&a, &b, &c} {
		r.Shard, r.Subject = uint16(i%killShards), fmt.Sprint("item ", i)
	}
	b.Data = make([]byte, i*97%5000)
	return a, b, c
}

const phases = 3

func phase(i, n int) []storage.Op {
	a, b, c := item(i)
	switch n {
	case 1:
		return []storage.Op{storage.Insert(a), storage.Insert(b)}
	case 2:
		b.Version, b.Client = 1, "changed"
		return []storage.Op{storage.Consume(a.Ref), storage.Update(b)}
	default:
		return []storage.Op{storage.Delete(b.Ref), storage.Check(base(i % killShards).Ref), storage.Insert(c)}
	}
}

// reached returns the last phase of which all is there, or an error if the
// rows are of no phase or an index does not know them.
func reached(s storage.Storage, i int) (int, error) {
	a, b, c := item(i)
	var is [3]string
	for n, r := range []storage.Record{a, b, c} {
		got, err := s.Get(context.Background(), r.Ref)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			is[n] = "-"
		case err != nil:
			return 0, err
		default:
			is[n] = fmt.Sprintf("%d/%d%s", got.Version, got.State, got.Client)
			if len(got.Data) != len(r.Data) {
				return 0, fmt.Errorf("item %d: record %d has %d bytes, want %d", i, n, len(got.Data), len(r.Data))
			}
		}
		page, err := s.Find(context.Background(), storage.Query{Kind: r.Kind, Subject: r.Subject})
		if err != nil {
			return 0, err
		}
		if (len(page.Records) == 1) != (got != nil) {
			return 0, fmt.Errorf("item %d: record %d is there (%v), but %d are found", i, n, got != nil, len(page.Records))
		}
	}
	for n, want := range [][3]string{{"-", "-", "-"}, {"1/0", "1/0", "-"}, {"2/1", "2/0changed", "-"}, {"2/1", "-", "1/0"}} {
		if is == want {
			return n, nil
		}
	}
	return 0, fmt.Errorf("item %d is half done: %v", i, is)
}

// eventually is reached, past the stale connections that a kill leaves in the
// pool.
func eventually(s storage.Storage, i int) (n int, err error) {
	for range 100 {
		if n, err = reached(s, i); !errors.Is(err, storage.ErrUnavailable) {
			return n, err
		}
	}
	return n, err
}

// TestKill kills a server (SIGKILL) again and again while commits run: all
// that it had acknowledged is there and found, nothing is half done, nobody won
// twice, and the client finds back by itself.
func TestKill(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := closing(t, driver.NewClient(&driver.Options{Addr: server.Addr(), PoolSize: 32, DialerRetries: 1}))
	testKill(t, of(t, c), func(int) error {
		server.Kill()
		return nil
	}, func(int) error { return server.Restart() })
}

// TestKillCluster kills one node after the other, in the middle of commits whose
// index entries are on another.
func TestKillCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	c := closing(t, driver.NewClusterClient(&driver.ClusterOptions{Addrs: cluster.Addrs(), PoolSize: 32, DialerRetries: 1}))
	testKill(t, of(t, c), func(n int) error {
		cluster.Nodes[n%3].Kill()
		return nil
	}, func(n int) error { return errors.Join(cluster.Nodes[n%3].Restart(), cluster.Await()) })
}

func testKill(t *testing.T, s storage.Storage, kill, restart func(n int) error) {
	for shard := range killShards {
		must(t, s, storage.Insert(base(shard)))
	}
	var (
		mu           sync.Mutex
		acknowledged = map[int]int{} // item → phase
		possible     = map[int]int{} // item → phase that was tried
		next         atomic.Int64
		acks         atomic.Int64
		unknown      int
		won          = map[storage.Ref]int{} // coin → how many were told that they spent it
		slowest      time.Duration
		checked      int
	)
	n := kills(t)
	for round := range n {
		ctx, cancel := context.WithCancel(t.Context())
		var over atomic.Bool
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for !over.Load() {
					i := int(next.Add(1)) - 1
					for n := 1; n <= phases; n++ {
						mu.Lock()
						possible[i] = n
						mu.Unlock()
						err := s.Commit(ctx, phase(i, n)...)
						if errors.Is(err, storage.ErrUnavailable) {
							break
						}
						if err != nil {
							t.Errorf("item %d phase %d: %v", i, n, err)
							return
						}
						acks.Add(1)
						mu.Lock()
						acknowledged[i] = n
						mu.Unlock()
					}
				}
			})
		}
		for range 4 { // race for coins
			group.Go(func() {
				for i := 0; !over.Load(); i++ {
					coin := grant("coin %d/%d", round, i)
					coin.Shard = uint16(i % killShards)
					err := s.Commit(ctx, storage.Insert(coin))
					if err == nil || errors.Is(err, storage.ErrExists) {
						err = s.Commit(ctx, storage.Consume(coin.Ref))
					}
					switch {
					case err == nil:
						mu.Lock()
						won[coin.Ref]++
						mu.Unlock()
					case !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrConsumed):
						t.Errorf("coin: %v", err)
						return
					}
				}
			})
		}
		for target := acks.Load() + int64(20+round*round%83); acks.Load() < target && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		if err := kill(round); err != nil {
			t.Fatal(err)
		}
		over.Store(true)
		group.Wait()
		cancel()
		if err := restart(round); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for shard := 0; shard < killShards; {
			if _, err := s.Get(t.Context(), base(shard).Ref); err == nil {
				shard++
			} else if !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("after kill %d: %v", round, err)
			}
		}
		slowest = max(slowest, time.Since(began))
		for ; checked < int(next.Load()); checked++ {
			i := checked
			got, err := eventually(s, i)
			if err != nil {
				t.Fatalf("after kill %d: %v", round, err)
			}
			if got < acknowledged[i] || got > possible[i] {
				t.Fatalf("after kill %d: item %d is in phase %d, acknowledged was %d, tried %d", round, i, got, acknowledged[i], possible[i])
			}
			if got > acknowledged[i] {
				unknown++
			}
			acknowledged[i], possible[i] = got, got // seen once, it must stay
		}
	}
	for i := range int(next.Load()) {
		if got, err := eventually(s, i); err != nil || got != acknowledged[i] {
			t.Errorf("in the end: item %d is in phase %d, acknowledged was %d, %v", i, got, acknowledged[i], err)
		}
	}
	for coin, n := range won {
		if n > 1 {
			t.Errorf("%v was spent %d times", coin, n)
		}
		if got, err := s.Get(t.Context(), coin); err != nil || got.State != storage.Consumed {
			t.Errorf("%v was spent: %+v, %v", coin, got, err)
		}
	}
	t.Logf("%d kills, %d commits acknowledged, %d coins spent once, %d commits done though their answer was lost, service back within %v of the server", n, acks.Load(), len(won), unknown, slowest.Round(time.Millisecond))
}
