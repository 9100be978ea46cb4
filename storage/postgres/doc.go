// Package postgres keeps the kit's records in PostgreSQL 14 or later, for a
// provider that runs on more machines than one. It uses the application's own
// pgx pool.
//
//	pool, err := pgxpool.New(ctx, "postgres://idp@db.example/idp?sslmode=verify-full&target_session_attrs=read-write")
//	…
//	if err := postgres.Migrate(ctx, pool); err != nil { … }
//	store, err := postgres.New(ctx, pool)
//
// # One commit
//
// A Commit is one round trip and one transaction: a call of the procedure
// commit_v1, which locks, judges, writes all or nothing, and returns the row
// that stood in the way. It locks the names of records rather than rows
// (transaction-level advisory locks on a 64-bit hash): a record that is not
// there can be held too, a Check is a shared lock that writes nothing, and
// neither an insert nor a busy row makes a commit fail. Locks are taken in the
// order of storage.LockOrder, all before the first row is read. It runs at READ
// COMMITTED whatever the server's default is: each statement after the locks
// sees all that was committed before them.
//
// What the server rolled back by itself (deadlock, serialization failure), or
// what was never sent, is repeated; all other failures are ErrUnavailable. A
// call that was sent goes on for up to a second after its context is done, so
// that its outcome is mostly known and its connection is kept.
//
// Whoever changes rows by hand should hold the same lock, or at least lock the
// row: SELECT pg_advisory_xact_lock(idpkit.lock_id(shard, kind, key)).
//
// # Migration
//
// [Migrate] may be called by all replicas when they start; or call it from a
// release job, as the role that owns the schema, and give the program less:
//
//	GRANT USAGE ON SCHEMA idpkit TO idp;
//	GRANT SELECT ON idpkit.migrations TO idp;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON idpkit.records TO idp;
//	GRANT USAGE ON SEQUENCE idpkit.record_ids TO idp;
//
// Procedures carry the schema version in their names, and a migration leaves
// those of the version before: old and new replicas work side by side during a
// rolling upgrade. [New] refuses a schema that is older than the code, and one
// that no longer has what the code calls.
//
// # PgBouncer
//
// Works in transaction mode (tested with 1.18) with a pool as it comes: no
// statement is prepared under a name, none sets what outlives its transaction.
// Parameters that PgBouncer does not know must not be in the connection string.
//
// # Durability and replicas
//
// New refuses a server whose fsync, full_page_writes or synchronous_commit is
// off, unless [InsecureAllowLoss] is given: what it acknowledged may be gone
// after a crash, and what is gone can be spent again. It looks once; do not
// change these later. A failover to a standby loses what had not been copied:
// set synchronous_standby_names and leave synchronous_commit at on or
// remote_apply. With local or remote_write a failover, or the crash of both,
// can lose the last commits.
//
// Reads never go to a replica: they must see every commit. A standby that a
// pool comes to after a failover answers with an error, and the pool finds the
// primary with target_session_attrs=read-write. Two primaries at once (split
// brain) no client can see; fencing them is the job of the cluster's manager.
//
// # Size
//
// Each call is a walk down one index or two, so that cost grows with the depth
// of a B-tree. Measured with fsync on two shared cores, at 10 thousand, 1
// million and 5 million rows (BenchmarkRows, median and 99th percentile, ms):
//
//	Get                 0.35  0.42  0.39      1.7   2.3   1.9
//	Commit of two ops   0.93  1.02  1.00      6.8   8.4   7.6
//	Find by subject     0.47  0.56  0.54      1.5   4.7   3.2
//
// Purge works in transactions of 100 rows and waits for nobody. While it
// deleted a million rows, 13,000 a second, the 99th percentile of commits rose
// from 7.7 to 12.1 ms (BenchmarkPurge). Purged rows are swept by autovacuum,
// which the table asks for at 2 % dead rows.
//
// [Partitions] cuts the table by a hash of the shard, at the first Migrate: for
// vacuum in parallel, tablespaces, or more rows than one table should have.
// Stay at or below 32, since Find and Purge ask every partition. To cut a table
// that is full, migrate into a second schema ([Schema]), stop the writers,
// INSERT INTO … SELECT, set the sequence, and start with the new name.
//
// # Backup
//
// Take base backups with WAL archiving, or pg_dump of the schema. A database
// that was set back to an earlier time has forgotten what was spent, revoked and
// withdrawn since. After such a restore, before the provider starts, delete all
// that could be presented again:
//
//	DELETE FROM idpkit.records
//	WHERE kind NOT IN ('client', 'key', 'replay') AND (kind <> 'grant' OR subject IS NOT NULL);
//
// Everybody signs in and consents again. Nothing in the table works as a credential: keys
// are digests.
package postgres
