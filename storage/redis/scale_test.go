package redis_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/redis/redistest"
)

// filled is row i of many: ten have one subject, three one session, fifty
// clients share all, two in three expire. As big as a grant is.
func filled(i int) storage.Record {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	r := storage.Record{
		Ref:     storage.Ref{Kind: storage.KindGrant, Shard: uint16(i / storage.MaxOps % 65536), Key: base64.RawURLEncoding.EncodeToString(sum[:])},
		Subject: fmt.Sprint("user ", i/10), Client: fmt.Sprint("client ", i%50), Session: fmt.Sprint("session ", i/3),
		Data: make([]byte, 592),
	}
	if i%3 > 0 {
		r.ExpiresAt = time.Date(2030, 1, 1, 0, 0, i, 0, time.UTC)
	}
	return r
}

// fill commits rows from up to below n, as many at a time as may be.
func fill(b *testing.B, s storage.Storage, from, n int) {
	b.Helper()
	var group sync.WaitGroup
	const fillers = 16
	for f := range fillers {
		group.Go(func() {
			for at := from + f*storage.MaxOps; at < n; at += fillers * storage.MaxOps {
				var ops []storage.Op
				for i := at; i < min(at+storage.MaxOps, n); i++ {
					ops = append(ops, storage.Insert(filled(i)))
				}
				if err := s.Commit(context.Background(), ops...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkRows measures how calls get slower as the rows grow: IDPKIT_ROWS lists
// the sizes, ascending, multiples of 16. At last it measures commits beside a
// Purge of the expired two thirds.
func BenchmarkRows(b *testing.B) {
	sizes := "10000,100000"
	if env := os.Getenv("IDPKIT_ROWS"); env != "" {
		sizes = env
	}
	server := redistest.Start(b)
	c := closing(b, server.Client())
	s := of(b, c)
	have, made := 0, 0
	commit := func(i, n int) error {
		made++
		at := filled(i * 7919 % n)
		r := filled(-made * storage.MaxOps)
		r.Shard, r.ExpiresAt = at.Shard, time.Time{}
		return s.Commit(context.Background(), storage.Check(at.Ref), storage.Insert(r))
	}
	for _, text := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		fill(b, s, have, n)
		have = n
		memory := c.Info(context.Background(), "memory").Val()
		_, memory, _ = strings.Cut(memory, "used_memory:")
		memory, _, _ = strings.Cut(memory, "\r")
		used, _ := strconv.Atoi(memory)
		b.Logf("%d rows after %v, %d MB, %d bytes a row", n, time.Since(began).Round(time.Second), used>>20, used/n)
		for _, bench := range []struct {
			name string
			call func(i int) error
		}{
			{"get", func(i int) error { _, err := s.Get(context.Background(), filled(i*7919%n).Ref); return err }},
			{"commit", func(i int) error { return commit(i, n) }},
			{"update", func(i int) error {
				r, err := s.Get(context.Background(), filled(i*7919%n).Ref)
				if err == nil {
					err = s.Commit(context.Background(), storage.Update(*r))
				}
				return err
			}},
			{"find", func(i int) error {
				_, err := s.Find(context.Background(), storage.Query{Kind: storage.KindGrant, Subject: fmt.Sprint("user ", i*7919%n/10)})
				return err
			}},
		} {
			b.Run(fmt.Sprint(bench.name, "/", n), func(b *testing.B) {
				var took []time.Duration
				for i := range b.N {
					began := time.Now()
					if err := bench.call(i); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				percentiles(b, took)
			})
		}
	}
	took := []time.Duration{}
	beside := func(i int) {
		began := time.Now()
		if err := commit(3*i, have); err != nil && !strings.Contains(err.Error(), "not found") {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	report := func(what string) {
		slices.Sort(took)
		b.Logf("commits %s: %d, p50 %v, p99 %v", what, len(took), took[len(took)/2], took[len(took)*99/100])
		took = nil
	}
	for i := range 3000 {
		beside(i)
	}
	report("alone")
	purged, over, began := 0, make(chan struct{}), time.Now()
	go func() {
		defer close(over)
		for n := 1; n > 0; purged += n {
			var err error
			if n, err = s.Purge(context.Background(), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), 1000); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	for i, done := 0, false; !done; i++ {
		select {
		case <-over:
			done = true
		default:
			beside(i)
		}
	}
	report(fmt.Sprintf("beside a purge of %d rows in %v", purged, time.Since(began).Round(time.Millisecond)))
}
