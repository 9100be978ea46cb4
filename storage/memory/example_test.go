package memory_test

import (
	"context"
	"fmt"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// All four methods.
func ExampleNew() {
	ctx, s := context.Background(), memory.New()
	ref := storage.Ref{Kind: storage.KindGrant, Key: "g1"}
	ends := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	fmt.Println(s.Commit(ctx, storage.Insert(storage.Record{Ref: ref, Subject: "alice", ExpiresAt: ends})))

	rec, err := s.Get(ctx, ref)
	fmt.Println(rec.Version, rec.State == storage.Active, err)

	page, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: "alice"})
	fmt.Println(len(page.Records), page.Next == "", err)

	n, err := s.Purge(ctx, ends.Add(time.Second), 100)
	fmt.Println(n, err)
	// Output:
	// <nil>
	// 1 true <nil>
	// 1 true <nil>
	// 1 <nil>
}
