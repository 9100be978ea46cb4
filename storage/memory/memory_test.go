package memory_test

import (
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/storagetest"
)

func open(testing.TB) storage.Storage { return memory.New() }

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, open)
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	storagetest.Linearizable(t, open)
}

func TestZeroValue(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(testing.TB) storage.Storage { return new(memory.Storage) }, storagetest.Rounds(1))
}

func FuzzStorage(f *testing.F) { storagetest.Fuzz(f, open) }

func BenchmarkStorage(b *testing.B) { storagetest.Bench(b, open) }
