package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/sqlite"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// open opens the file of that name; the test closes it.
func open(t testing.TB, path string, opts ...sqlite.Option) *sqlite.Storage {
	t.Helper()
	s, err := sqlite.Open(path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "idp.db") }

func one(t testing.TB) storage.Storage { return open(t, file(t)) }

// two handles on one file are to SQLite what two processes are.
func two(t testing.TB) storage.Storage {
	path := file(t)
	return storagetest.Several(open(t, path), open(t, path))
}

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, one)
}

func TestStorageTwoHandles(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, two, storagetest.Rounds(5))
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, one)
}

func TestLinearizableTwoHandles(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, two, storagetest.Rounds(5))
}

func FuzzStorage(f *testing.F) { storagetest.Fuzz(f, one) }

func BenchmarkStorage(b *testing.B) { storagetest.Bench(b, one) }

// TestCloseLeavesOneFile: a copy of the file is a copy of everything.
func TestCloseLeavesOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db.sqlite")
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ref := storage.Ref{Kind: "code", Key: "k"}
	if err := s.Commit(context.Background(), storage.Insert(storage.Record{Ref: ref, Data: []byte("x")})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), ref); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", suffix, err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.sqlite")
	if err := os.WriteFile(copied, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := sqlite.Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Get(context.Background(), ref); err != nil || string(r.Data) != "x" {
		t.Errorf("%v, %v", r, err)
	}
}
