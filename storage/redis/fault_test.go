package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/redis"
	"github.com/idpkit/idpkit/storage/redis/redistest"
)

func grant(format string, args ...any) storage.Record {
	return storage.Record{
		Ref:     storage.Ref{Kind: storage.KindGrant, Shard: 7, Key: fmt.Sprintf(format, args...)},
		Subject: "sub", Data: []byte("data"),
	}
}

func of(t testing.TB, c driver.UniversalClient, opts ...redis.Option) *redis.Storage {
	t.Helper()
	s, err := redis.New(t.Context(), c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t testing.TB, s storage.Storage, ops ...storage.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

// found returns how many records have the subject.
func found(t testing.TB, s storage.Storage, subject string) int {
	t.Helper()
	page, err := s.Find(t.Context(), storage.Query{Kind: storage.KindGrant, Subject: subject, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Records)
}

// outage wants ErrUnavailable, and no answer, from every method.
func outage(t testing.TB, ctx context.Context, s storage.Storage) {
	t.Helper()
	if _, err := s.Purge(ctx, time.Now(), 10); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Purge: %v, want ErrUnavailable", err)
	}
	mute(t, ctx, s)
}

// mute is that without Purge, which a replica may answer that has nothing to
// purge.
func mute(t testing.TB, ctx context.Context, s storage.Storage) {
	t.Helper()
	r := grant("outage")
	_, get := s.Get(ctx, r.Ref)
	_, find := s.Find(ctx, storage.Query{Kind: r.Kind, Subject: "sub"})
	bare := r
	bare.Subject = ""
	for method, err := range map[string]error{
		"Get": get, "Find": find, "Commit": s.Commit(ctx, storage.Insert(r)),
		"Commit without index": s.Commit(ctx, storage.Insert(bare)), "Check": s.Commit(ctx, storage.Check(r.Ref)),
	} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", method, err)
		}
		for _, not := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConsumed, storage.ErrConflict, storage.ErrInvalid} {
			if errors.Is(err, not) {
				t.Errorf("%s: %v is an answer", method, err)
			}
		}
	}
}

// TestClocksApart: with the clocks of provider and Redis so far apart that a row
// could go before its time, nothing is written.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	c := closing(t, redistest.Start(t).Client())
	for apart, ok := range map[time.Duration]bool{0: true, 29 * time.Minute: true, -29 * time.Minute: true, 31 * time.Minute: false, -31 * time.Minute: false} {
		err := c.Eval(t.Context(), redis.CommitLua, []string{"times"}, time.Now().Add(apart).Unix()).Err()
		if (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "CLOCK ") {
			t.Errorf("%v apart: %v", apart, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := closing(t, server.Client())
	for _, tc := range []struct {
		name, setting, value, want string
		allow                      redis.Option
	}{
		{"no AOF", "appendonly", "no", "appendonly no", redis.InsecureAllowLoss()},
		{"AOF that is not synced", "appendfsync", "no", "appendfsync no", redis.InsecureAllowLoss()},
		{"AOF that is synced each second", "appendfsync", "everysec", "appendfsync everysec", redis.InsecureAllowLoss()},
		{"eviction of all", "maxmemory-policy", "allkeys-lru", "maxmemory-policy allkeys-lru", redis.InsecureAllowEviction()},
		{"eviction of what expires", "maxmemory-policy", "volatile-ttl", "maxmemory-policy volatile-ttl", redis.InsecureAllowEviction()},
	} {
		before := c.ConfigGet(t.Context(), tc.setting).Val()[tc.setting]
		if err := c.ConfigSet(t.Context(), tc.setting, tc.value).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := redis.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		of(t, c, tc.allow)
		of(t, c, redis.Managed())
		if err := c.ConfigSet(t.Context(), tc.setting, before).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Do(t.Context(), "acl", "setuser", "app", "on", "nopass", "~*", "+@all", "-config").Err(); err != nil {
		t.Fatal(err)
	}
	app := closing(t, driver.NewClient(&driver.Options{Addr: server.Addr(), Username: "app", Password: "x"}))
	if _, err := redis.New(t.Context(), app); err == nil || !strings.Contains(err.Error(), "Managed") {
		t.Errorf("without CONFIG: %v", err)
	}
	must(t, of(t, app, redis.Managed()), storage.Insert(grant("managed")))

	if _, err := redis.New(t.Context(), c, redis.Prefix("a{b}")); err == nil {
		t.Error("a prefix with braces is accepted")
	}
	ring := closing(t, driver.NewRing(&driver.RingOptions{Addrs: map[string]string{"a": server.Addr()}}))
	if _, err := redis.New(t.Context(), ring); err == nil {
		t.Error("a ring is accepted")
	}
	for name, opt := range map[string]driver.ClusterOptions{"ReadOnly": {ReadOnly: true}, "RouteByLatency": {RouteByLatency: true}, "RouteRandomly": {RouteRandomly: true}} {
		opt.Addrs = []string{server.Addr()}
		reader := closing(t, driver.NewClusterClient(&opt))
		if _, err := redis.New(t.Context(), reader); err == nil || !strings.Contains(err.Error(), "replicas") {
			t.Errorf("a client with %s: %v", name, err)
		}
	}
}

// TestNewRefusesCluster: one node of three is enough to be refused.
func TestNewRefusesCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	if err := cluster.Nodes[1].Restart("appendonly no"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Await(); err != nil {
		t.Fatal(err)
	}
	if _, err := redis.New(t.Context(), closing(t, cluster.Client())); err == nil || !strings.Contains(err.Error(), "appendonly no") {
		t.Errorf("New: %v", err)
	}
}

func TestTwoShards(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]driver.UniversalClient{"single": singleClient(t), "cluster": clusterClient(t)} {
		s := open(t, c)
		a, b := grant("a"), grant("b")
		b.Shard = 7 + 1024 // of the same hash tag
		if err := s.Commit(t.Context(), storage.Insert(a), storage.Insert(b)); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range []storage.Record{a, b} {
			if _, err := s.Get(t.Context(), r.Ref); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := closing(t, server.Client())
	s := of(t, c)
	must(t, s, storage.Insert(grant("a")))
	server.Stop()
	outage(t, t.Context(), s)
	if s.Ping(t.Context()) == nil {
		t.Error("Ping of a server that is down")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for s.Ping(t.Context()) != nil { // the pool finds out
	}
	must(t, s, storage.Consume(grant("a").Ref))
}

// TestRefusals has the server refuse in all its ways.
func TestRefusals(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := closing(t, server.Client())
	s := of(t, c)
	ctx := t.Context()
	must(t, s, storage.Insert(grant("a")))
	set := func(name, value string) {
		t.Helper()
		if err := c.ConfigSet(ctx, name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(word string) {
		t.Helper()
		for _, op := range []storage.Op{storage.Insert(grant("b")), storage.Consume(grant("a").Ref)} {
			if err := s.Commit(ctx, op); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), word) {
				t.Errorf("%s %s: %v", word, op.Verb, err)
			}
		}
	}
	set("maxmemory", "1")
	refused("OOM")
	if n := found(t, s, "sub"); n != 1 {
		t.Errorf("out of memory, %d records are found", n)
	}
	if _, err := s.Purge(ctx, time.Now(), 10); err != nil {
		t.Errorf("purge must free memory: %v", err)
	}
	set("maxmemory", "0")

	set("min-replicas-to-write", "1")
	refused("NOREPLICAS")
	set("min-replicas-to-write", "0")

	if err := c.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	must(t, s, storage.Insert(grant("b"))) // NOSCRIPT: it did not happen, and so is sent again
	if err := c.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if n := found(t, s, "sub"); n != 2 {
		t.Errorf("%d records are found", n)
	}

	if err := c.Set(ctx, s.Row(grant("foreign").Ref), "what is this?", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, storage.Insert(grant("d")), storage.Insert(grant("foreign"))); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a foreign value: %v", err)
	}
	if _, err := s.Get(ctx, grant("d").Ref); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("half a commit: %v", err)
	}
}

// A proxy stands between client and server.
type proxy struct {
	addr    string
	drop    atomic.Bool  // cut the connection when the server answers a script call
	scripts atomic.Int64 // script calls that went to the server
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client, to)
		}
	}()
	return p
}

func (p *proxy) serve(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var script atomic.Bool
	go func() {
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			if calls := bytes.Count(buf[:n], []byte("consume")); calls > 0 {
				p.scripts.Add(int64(calls))
				script.Store(true)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || script.Swap(false) && p.drop.Load() {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestUnknownOutcome loses the answer to a commit that happened: it is reported
// as unknown, and the client, whose defaults are to try thrice more, did not
// send it again.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newProxy(t, server.Addr())
	direct := of(t, closing(t, server.Client()))
	retries := closing(t, driver.NewClient(&driver.Options{Addr: p.addr, MaxRetries: 10}))
	for name, s := range map[string]*redis.Storage{
		"":      of(t, retries),
		"WAIT ": of(t, retries, redis.WaitReplicas(1, time.Millisecond)),
	} {
		r := grant("%sa", name)
		must(t, direct, storage.Insert(r))
		p.scripts.Store(0)
		p.drop.Store(true)
		if err := s.Commit(t.Context(), storage.Consume(r.Ref)); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%scommit: %v, want ErrUnavailable", name, err)
		}
		if n := p.scripts.Load(); n != 1 {
			t.Errorf("%sthe commit was sent %d times", name, n)
		}
		p.drop.Store(false)
		if got, err := direct.Get(t.Context(), r.Ref); err != nil || got.State != storage.Consumed || got.Version != 2 {
			t.Errorf("%sit did not happen once: %+v, %v", name, got, err)
		}
	}
	// What proves that the proxy would have seen it: a plain command is repeated.
	p.scripts.Store(0)
	p.drop.Store(true)
	if err := retries.Set(t.Context(), "consume", "x", 0).Err(); err == nil || p.scripts.Load() < 4 {
		t.Errorf("the client repeats nothing: %d, %v", p.scripts.Load(), err)
	}
}

// TestUnknownOutcomeCluster is the same with a cluster's client, which repeats by
// its own rules.
func TestUnknownOutcomeCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	proxies := map[string]*proxy{}
	for _, n := range cluster.Nodes {
		proxies[n.Addr()] = newProxy(t, n.Addr())
	}
	c := closing(t, driver.NewClusterClient(&driver.ClusterOptions{Addrs: cluster.Addrs(), MaxRetries: 10, MaxRedirects: 10,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, proxies[addr].addr)
		},
	}))
	direct := of(t, closing(t, cluster.Client()))
	for name, s := range map[string]*redis.Storage{"": of(t, c), "WAIT ": of(t, c, redis.WaitReplicas(1, time.Millisecond))} {
		for shard := range uint16(9) {
			r := grant("%s%d", name, shard)
			r.Shard = shard
			must(t, direct, storage.Insert(r))
			for _, p := range proxies {
				p.scripts.Store(0)
				p.drop.Store(true)
			}
			if err := s.Commit(t.Context(), storage.Consume(r.Ref)); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%scommit: %v, want ErrUnavailable", name, err)
			}
			sent := int64(0)
			for _, p := range proxies {
				sent += p.scripts.Load()
				p.drop.Store(false)
			}
			if got, err := direct.Get(t.Context(), r.Ref); err != nil || got.Version != 2 || sent != 1 {
				t.Errorf("%ssent %d times: %+v, %v", name, sent, got, err)
			}
		}
	}
}

// TestFailover shows what a failover to a replica that had not heard all costs.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, wait := range []bool{false, true} {
		master := redistest.Start(t)
		replica := redistest.Start(t, "replicaof 127.0.0.1 "+strings.Split(master.Addr(), ":")[1])
		c, rc := closing(t, master.Client()), closing(t, replica.Client())
		for !strings.Contains(rc.Info(t.Context(), "replication").Val(), "master_link_status:up") {
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := redis.New(t.Context(), rc); err == nil || !strings.Contains(err.Error(), "no master") {
			t.Errorf("New on a replica: %v", err)
		}
		var opts []redis.Option
		if wait {
			opts = append(opts, redis.WaitReplicas(1, 200*time.Millisecond))
		}
		s := of(t, c, opts...)
		must(t, s, storage.Insert(grant("code")))
		if err := c.Wait(t.Context(), 1, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}

		// The replica no longer hears; the master goes on, and dies.
		if err := rc.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		err := s.Commit(t.Context(), storage.Consume(grant("code").Ref))
		if !wait && err != nil || wait && !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("wait %v: spent, but not copied: %v", wait, err)
		}
		master.Kill()

		// Whoever is led to the replica before it is promoted gets no answer from it.
		address := master.Addr()
		moved := closing(t, driver.NewClient(&driver.Options{Addr: address, MaxRetries: -1, Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, replica.Addr())
		}}))
		if _, err := redis.New(t.Context(), moved, redis.Managed()); err == nil {
			t.Error("New on a replica")
		}
		if err := rc.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}
		after := of(t, moved)
		if err := rc.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		mute(t, t.Context(), after)
		if err := rc.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}

		// Promoted, it has forgotten: what was spent is spent again. Without
		// WaitReplicas the first success had been acknowledged.
		if err := after.Commit(t.Context(), storage.Consume(grant("code").Ref)); err != nil {
			t.Errorf("wait %v: the lost write is not lost: %v", wait, err)
		}
	}
}

// TestExpiry: the engine drops a row an hour after its time, and an hour after it
// was written at the earliest, whatever its ExpiresAt.
func TestExpiry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]driver.UniversalClient{"single": singleClient(t), "cluster": clusterClient(t)} {
		s := of(t, c, redis.Prefix(fmt.Sprint("expiry", prefixes.Add(1))))
		ctx := t.Context()
		var longest time.Duration
		for _, d := range []time.Duration{-50 * 365 * 24 * time.Hour, -2 * time.Hour, -time.Hour, -time.Second, 0, 40 * 365 * 24 * time.Hour, time.Millisecond, time.Second, time.Hour} {
			r := grant("%v", d)
			r.ExpiresAt = time.Now().Add(d)
			check := func(when string) {
				t.Helper()
				at, err := c.PExpireTime(ctx, s.Row(r.Ref)).Result()
				if err != nil {
					t.Fatal(err)
				}
				got := time.UnixMilli(at.Milliseconds())
				if least := r.ExpiresAt.Add(time.Hour); got.Before(least) || d > 0 && got.After(least.Add(time.Second)) {
					t.Errorf("%s, %s: expires in %v, dropped at %v", name, when, d, got)
				}
				if left := time.Until(got); left < 59*time.Minute {
					t.Errorf("%s, %s: expires in %v, dropped in %v", name, when, d, left)
				}
				longest = max(longest, at)
				if index, err := c.PExpireTime(ctx, s.Index(r.Kind, 2, "sub")).Result(); err != nil || index < longest {
					t.Errorf("%s, %s: the index is dropped before a row: %v, %v", name, when, index, err)
				}
			}
			must(t, s, storage.Insert(r))
			check("inserted")
			r.Version, r.ExpiresAt = 1, r.ExpiresAt.Add(3*24*time.Hour)
			d += 3 * 24 * time.Hour
			must(t, s, storage.Update(r))
			check("extended")
			must(t, s, storage.Consume(r.Ref))
			check("consumed")
		}
		r := grant("for ever")
		must(t, s, storage.Insert(r))
		for _, key := range []string{s.Row(r.Ref), s.Index(r.Kind, 2, "sub")} {
			if ttl := c.TTL(ctx, key).Val(); ttl != -1 {
				t.Errorf("%s: kept for ever, but for %v", name, ttl)
			}
		}
		r.Version, r.ExpiresAt = 1, time.Now().Add(time.Minute)
		must(t, s, storage.Update(r))
		if ttl := c.TTL(ctx, s.Row(r.Ref)).Val(); ttl < time.Hour {
			t.Errorf("%s: now to expire, in %v", name, ttl)
		}
		r.Version, r.ExpiresAt = 2, time.Time{}
		must(t, s, storage.Update(r))
		if ttl := c.TTL(ctx, s.Row(r.Ref)).Val(); ttl != -1 {
			t.Errorf("%s: kept for ever again, but for %v", name, ttl)
		}
	}
}

// TestIndexLeavesNothing: the entries of a record that is deleted, purged or
// changed go with it, and so do those of commits that failed.
func TestIndexLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]driver.UniversalClient{"single": singleClient(t), "cluster": clusterClient(t)} {
		s := of(t, c, redis.Prefix(fmt.Sprint("index", prefixes.Add(1))))
		ctx := t.Context()
		entries := func(subject string) int64 { return c.ZCard(ctx, s.Index(storage.KindGrant, 2, subject)).Val() }
		want := func(what, subject string, n int64) {
			t.Helper()
			if got := entries(subject); got != n {
				t.Errorf("%s: %s: %d entries of %s, want %d", name, what, got, subject, n)
			}
		}
		r := grant("a")
		must(t, s, storage.Insert(r))
		want("inserted", "sub", 1)
		if err := s.Commit(ctx, storage.Insert(grant("b")), storage.Insert(r)); !errors.Is(err, storage.ErrExists) {
			t.Fatal(err)
		}
		want("conflict", "sub", 1)
		r.Version = 1
		must(t, s, storage.Update(r))
		want("updated", "sub", 1)
		r.Version, r.Subject = 2, "other"
		must(t, s, storage.Update(r))
		want("changed", "sub", 0)
		want("changed", "other", 1)
		r.Version, r.ExpiresAt = 3, time.Now().Add(-time.Minute)
		must(t, s, storage.Update(r), storage.Insert(grant("b")))
		want("made to expire", "other", 1)
		if n, err := s.Purge(ctx, time.Now(), 10); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		want("purged", "other", 0)
		must(t, s, storage.Delete(grant("b").Ref))
		want("deleted", "sub", 0)
		if n := c.ZCard(ctx, s.Times(r.Ref)).Val(); n != 0 {
			t.Errorf("%s: %d times are left", name, n)
		}

		// Purge gets over rows that Redis has dropped, and what is no row.
		for _, key := range []string{"dropped", "foreign", "due"} {
			r := grant("%s", key)
			r.ExpiresAt = time.Now().Add(-time.Hour)
			must(t, s, storage.Insert(r))
		}
		if err := errors.Join(c.Del(ctx, s.Row(grant("dropped").Ref)).Err(), c.Set(ctx, s.Row(grant("foreign").Ref), "?", 0).Err()); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Purge(ctx, time.Now(), 10); n != 1 || err != nil {
			t.Errorf("%s: purged %d, %v", name, n, err)
		}
		if n := c.ZCard(ctx, s.Times(r.Ref)).Val(); n != 0 {
			t.Errorf("%s: %d times are left", name, n)
		}
		if err := errors.Join(c.Del(ctx, s.Row(grant("foreign").Ref)).Err(), c.Del(ctx, s.Index(storage.KindGrant, 2, "sub")).Err()); err != nil {
			t.Fatal(err)
		}

		// What a provider that died has left: Find removes it, when it is old.
		must(t, s, storage.Insert(grant("c")))
		old, young := "000000000000", redis.NewID(time.Now())
		for _, id := range []string{old, young} {
			for _, key := range []string{"c", "never written"} {
				if err := c.ZAdd(ctx, s.Index(storage.KindGrant, 2, "sub"), driver.Z{Member: redis.Entry(grant("%s", key).Ref, id)}).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 2 {
			if n := found(t, s, "sub"); n != 1 {
				t.Errorf("%s: %d records", name, n)
			}
			want("left behind", "sub", 3)
		}
	}
}

// TestIndexRace has writers insert, change and delete a few records while others
// ask for what is acknowledged: an acknowledged record is never missing.
func TestIndexRace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]driver.UniversalClient{"single": singleClient(t), "cluster": clusterClient(t)} {
		s := open(t, c)
		ctx := t.Context()
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				for i := range 120 {
					// All write the same records; whoever succeeds looks at once.
					r := grant("%d", i%3)
					r.Shard = uint16(i % 3)
					r.Subject = fmt.Sprint("s", (i+w)%2)
					ops := []storage.Op{storage.Insert(r)}
					switch (i + w) % 4 {
					case 1:
						ops[0] = storage.Delete(r.Ref)
					case 2:
						now, err := s.Get(ctx, r.Ref)
						if err != nil {
							continue
						}
						r.Version = now.Version
						ops[0] = storage.Update(r)
					}
					// A row of one's own tells that the subject is complete.
					mine := grant("%d %d mine", w, i)
					mine.Shard, mine.Subject = r.Shard, fmt.Sprint("mine ", w)
					err := s.Commit(ctx, append(ops, storage.Insert(mine))...)
					page, ferr := s.Find(ctx, storage.Query{Kind: mine.Kind, Subject: mine.Subject, Limit: 1000})
					if ferr != nil {
						t.Error(ferr)
						return
					}
					seen := false
					for _, r := range page.Records {
						seen = seen || r.Key == mine.Key
					}
					if seen != (err == nil) {
						t.Errorf("%s: commit %v, but found: %v", name, err, seen)
					}
				}
			})
		}
		group.Wait()
		for i := range 3 {
			ref := storage.Ref{Kind: storage.KindGrant, Shard: uint16(i), Key: fmt.Sprint(i)}
			r, err := s.Get(ctx, ref)
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			page, err := s.Find(ctx, storage.Query{Kind: r.Kind, Subject: r.Subject})
			seen := false
			for _, f := range page.Records {
				seen = seen || f.Ref == ref
			}
			if err != nil || !seen {
				t.Errorf("%s: %v is there and not found: %v", name, ref, err)
			}
		}
	}
}
