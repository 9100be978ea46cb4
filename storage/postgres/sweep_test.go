package postgres_test

import (
	"testing"

	"github.com/idpkit/idpkit/storage/storagetest"
)

func BenchmarkStorage(b *testing.B) { storagetest.Bench(b, factory(b)) }
