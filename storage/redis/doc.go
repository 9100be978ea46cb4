// Package redis keeps the kit's records in Redis 7 or later, or Valkey: one
// server, Sentinel, or a Redis Cluster. It uses the application's own go-redis
// client and never closes it.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis.example:6379", TLSConfig: …})
//	// or redis.NewClusterClient(…), redis.NewFailoverClient(…)
//	store, err := idpredis.New(ctx, client)
//
// # One commit
//
// A Commit is one Lua script: it judges all ops, then writes all or nothing, and
// returns the row that stood in the way. Whatever the client's MaxRetries is,
// it is sent once: when the answer is lost the outcome is ErrUnavailable. Only
// what did not happen (NOSCRIPT, MOVED, ASK, READONLY) is sent again; with
// WaitReplicas the last three are ErrUnavailable at once. A call
// that is on its way is not cut short by its context, unless the client has
// ContextTimeoutEnabled; the client's ReadTimeout bounds it.
//
// Rows are read by a command that replicas refuse (GETEX), so that a master
// that was deposed gives no old answer. Clients that read from replicas are
// refused.
//
// # Index entries
//
// A row is in the slot of its shard, the index of a subject, client, session or
// grant in another. Entries are acknowledged before the script runs, and each
// commit's carry an id that no other's have. So whoever replaces or deletes a
// row removes the entries that came with it, and never one that somebody else
// needs; a commit that was refused removes its own. An update that changes
// neither columns nor, by much, the time needs no entries and stays one round
// trip. What a crash leaves behind Find skips, and removes after three days; the
// script refuses a commit that began half an hour ago, so none of them can still
// get its row. For the same reason, and so that no row goes before its time by
// the provider's clock, the clocks of provider and Redis must not be half an
// hour apart: commits are then ErrUnavailable.
//
// # Expiry
//
// Redis drops a row an hour after its ExpiresAt by its own clock, and an hour
// after it was written at the earliest. Purge, which Provider.Run calls each
// minute, is there before, and takes the index entries with it; if nobody
// calls Purge, entries of dropped rows stay until their index expires, and names
// of dropped rows for good.
//
// # Durability
//
// New looks at each master, once, and refuses one without AOF, one whose
// appendfsync is not always, and one that evicts; an Insecure option accepts
// each. What that and the rest can cost:
//
//   - appendfsync always: nothing acknowledged is lost when Redis or its machine
//     dies and the same disk comes back. Keep no-appendfsync-on-rewrite at no.
//   - appendfsync everysec: nothing when Redis dies, about a second when the
//     machine does.
//   - failover (Sentinel, Cluster): replication is asynchronous. The new
//     master may lack the last writes, however they were acknowledged: a code
//     that was redeemed can be redeemed again, a refresh token's reuse is not
//     seen, a revocation or logout is undone, tokens that were issued are not
//     known. No client can detect this. TestFailover shows it.
//
// [WaitReplicas] narrows that: a Commit succeeds only when so many replicas
// have it in memory, and is ErrUnavailable otherwise. It does not close it: a
// commit that was reported as unknown can be lost, and a replica that lacks it
// can be chosen. With it set min-replicas-to-write 1 and min-replicas-max-lag,
// so that a master that is cut off stops. Who needs failover without loss takes
// PostgreSQL with synchronous replication.
//
// Managed services that refuse CONFIG GET need [Managed]: see for yourself that
// AOF is on and eviction off.
//
// # Cluster and Valkey
//
// Shards share 1024 hash tags, {0} to {1023}; all keys of a commit have the
// same. While a slot moves to another node, commits in it may be ErrUnavailable
// (TRYAGAIN). Functions, modules and cross-slot scripts are not used, and
// what is used is in Valkey 7.2 and 8 under the same names; the tests run
// on Redis 7.0.
//
// # Memory
//
// All rows are in memory: with Data of 600 bytes and three indexed columns
// reckon with 1.6 KB a row, and twice that while the AOF is rewritten under
// load. Set maxmemory below what the machine has: then writes are refused
// (ErrUnavailable) before it swaps; reads and Purge go on. No command grows with
// the number of rows but by the depth of an index. The index of one value is one
// key, on one node, also that of a client with millions of grants; set
// lazyfree-lazy-expire yes, so that its end stalls nobody.
//
// # Backup
//
// Copy the folder appendonlydir (BGREWRITEAOF first), or take RDB snapshots. A
// Redis that was set back to an earlier time has forgotten what was spent and
// revoked since. After such a restore start with an empty prefix ([Prefix]), or
// delete the rows of flows and consents (idpkit{*:par:*, code, interaction,
// device, ciba, user_code, grant, session, consent) before the provider starts:
// everybody signs in again.
// Nothing in it works as a credential: keys are digests.
package redis
