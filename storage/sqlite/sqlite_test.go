package sqlite_test

import (
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
