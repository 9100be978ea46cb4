package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/sqlite"
)

// A file that is made, used, closed and found again.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "idp")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, path := context.Background(), filepath.Join(dir, "idp.sqlite")
	ref := storage.Ref{Kind: storage.KindGrant, Key: "g1"}

	s, err := sqlite.Open(path, sqlite.BusyTimeout(2*time.Second), sqlite.Readers(2))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Commit(ctx, storage.Insert(storage.Record{Ref: ref, Subject: "alice", ExpiresAt: time.Unix(1, 0)})))
	fmt.Println(s.Close())

	s, err = sqlite.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	rec, err := s.Get(ctx, ref)
	fmt.Println(rec.Subject, err)
	page, err := s.Find(ctx, storage.Query{Kind: storage.KindGrant, Subject: "alice"})
	fmt.Println(len(page.Records), err)
	fmt.Println(s.Purge(ctx, time.Unix(2, 0), 100))
	// Output:
	// <nil>
	// <nil>
	// alice <nil>
	// 1 <nil>
	// 1 <nil>
}

// For a health check.
func ExampleStorage_Ping() {
	dir, err := os.MkdirTemp("", "idp")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := sqlite.Open(filepath.Join(dir, "idp.sqlite"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Ping(context.Background()))
	_ = s.Close()
	fmt.Println(s.Ping(context.Background()) != nil)
	// Output:
	// <nil>
	// true
}
