package handlers_test

import (
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// faultStorage is the storage that TestFaults runs over. This file is the only
// one that names it: example/quickstart runs the same flows over SQLite with
// another one in its place.
func faultStorage(testing.TB) storage.Storage { return memory.New() }
