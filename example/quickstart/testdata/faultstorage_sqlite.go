package handlers_test

import (
	"path/filepath"
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/sqlite"
)

// faultStorage is a new database for each flow.
func faultStorage(t testing.TB) storage.Storage {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "fault.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
