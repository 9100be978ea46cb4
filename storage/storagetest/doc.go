// Package storagetest proves that a storage backend keeps the contract of
// package storage, and makes storages misbehave on purpose.
//
// A backend's whole test is
//
//	func TestStorage(t *testing.T) {
//		storagetest.Run(t, func(t testing.TB) storage.Storage { return open(t) })
//	}
//
// and, if it likes, [Linearizable], [Fuzz] and [Bench] with the same factory.
// [Flaky] is for the tests of those who use a storage: it adds latency and
// faults to any backend.
package storagetest
