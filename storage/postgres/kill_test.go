package postgres_test

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

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/postgres/pgtest"
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

// item is three records that go through three commits together.
func item(i int) (a, b, c storage.Record) {
	a, b, c = grant("%d a", i), grant("%d b", i), grant("%d c", i)
	b.Kind, c.Kind = storage.KindCode, storage.KindPAR
	b.Data = make([]byte, i*97%5000) // some rows are stored out of line
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
		return []storage.Op{storage.Delete(b.Ref), storage.Check(grant("base").Ref), storage.Insert(c)}
	}
}

// reached returns the last phase of which all is there, or an error if the
// rows are of no phase.
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
	}
	for n, want := range [][3]string{{"-", "-", "-"}, {"1/0", "1/0", "-"}, {"2/1", "2/0changed", "-"}, {"2/1", "-", "1/0"}} {
		if is == want {
			return n, nil
		}
	}
	return 0, fmt.Errorf("item %d is half done: %v", i, is)
}

// TestKill kills all processes of a server (SIGKILL) again and again while
// commits run: all that it had acknowledged is there, nothing is half done,
// nobody won twice, and the pool finds back by itself.
func TestKill(t *testing.T) {
	t.Parallel()
	n := kills(t)
	server := pgtest.Start(t)
	s := migrated(t, server.DSN("postgres", "pool_max_conns=16"))
	must(t, s, storage.Insert(grant("base")))

	var (
		mu           sync.Mutex
		acknowledged = map[int]int{} // item → phase
		possible     = map[int]int{} // item → phase that was tried
		next         atomic.Int64
		acks         atomic.Int64
		unknown      int
		won          = map[string]int{} // coin → how many were told that they spent it
		slowest      time.Duration
	)
	for kill := range n {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					for n := 1; n <= phases; n++ {
						mu.Lock()
						possible[i] = n
						mu.Unlock()
						err := s.Commit(ctx, phase(i, n)...)
						if errors.Is(err, storage.ErrUnavailable) {
							return
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
				for i := 0; ; i++ {
					coin := grant("coin %d/%d", kill, i)
					err := s.Commit(ctx, storage.Insert(coin))
					if err == nil || errors.Is(err, storage.ErrExists) {
						err = s.Commit(ctx, storage.Consume(coin.Ref))
					}
					switch {
					case err == nil:
						mu.Lock()
						won[coin.Key]++
						mu.Unlock()
					case errors.Is(err, storage.ErrUnavailable):
						return
					case !errors.Is(err, storage.ErrConsumed):
						t.Errorf("coin: %v", err)
						return
					}
				}
			})
		}
		for target := acks.Load() + int64(20+kill*kill%83); acks.Load() < target && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		server.Kill()
		group.Wait() // each has seen an outage
		cancel()
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for { // stale connections fail once
			if _, err := s.Get(t.Context(), grant("base").Ref); err == nil {
				break
			} else if !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("after kill %d: %v", kill, err)
			}
		}
		slowest = max(slowest, time.Since(began))
		for i := max(0, int(next.Load())-200); i < int(next.Load()); i++ {
			got, err := eventually(s, i)
			if err != nil {
				t.Fatalf("after kill %d: %v", kill, err)
			}
			if got < acknowledged[i] || got > possible[i] {
				t.Fatalf("after kill %d: item %d is in phase %d, acknowledged was %d, tried %d", kill, i, got, acknowledged[i], possible[i])
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
			t.Errorf("%s was spent %d times", coin, n)
		}
		if got, err := s.Get(t.Context(), grant("%s", coin).Ref); err != nil || got.State != storage.Consumed {
			t.Errorf("%s was spent: %+v, %v", coin, got, err)
		}
	}
	t.Logf("%d kills, %d commits acknowledged, %d coins spent once, %d commits done though their answer was lost, service back within %v of the server", n, acks.Load(), len(won), unknown, slowest.Round(time.Millisecond))
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
