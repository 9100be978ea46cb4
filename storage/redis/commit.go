package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
)

// Commit implements storage.Storage. Index entries are acknowledged before the
// row is written, and carry an id that no other commit's have: whoever wrote
// them, and nobody else, removes them when they are of no use.
func (s *Storage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	now := time.Now()
	id := newID(now)
	var wrote []storage.Record
	for _, all := range []bool{false, true} { // updates mostly keep the entries that are there
		keys := []string{s.times(int(ops[0].Record.Shard) % tags)}
		args := []any{now.Unix()}
		var fresh []storage.Record
		for _, op := range ops {
			r := op.Record
			r.ExpiresAt = storage.Time(r.ExpiresAt)
			keys = append(keys, s.row(r.Ref))
			with := "-"
			switch indexed := len(s.indexes(&r)) > 0; {
			case op.Verb == storage.VerbUpdate && !all:
				with = "?"
			case indexed && (op.Verb == storage.VerbInsert || op.Verb == storage.VerbUpdate):
				with = id
				if op.Verb == storage.VerbUpdate || !all {
					fresh = append(fresh, r)
				}
			}
			args = append(args, op.Verb.String(), r.Version, with, till(&r, now), expires(r.ExpiresAt), pack(&r), r.Data)
		}
		if err := s.enter(ctx, fresh, id, now); err != nil {
			return unavailable("commit", err)
		}
		wrote = append(wrote, fresh...)
		reply, err := s.once(ctx, commitScript, keys, args...)
		if err != nil {
			return unavailable("commit", err)
		}
		first, ok := reply[0].(int64)
		switch {
		case !ok || int(first) > len(ops):
			return unavailable("commit", errors.New("unexpected reply"))
		case first == 0:
			s.forget(ctx, reply[1:])
			return nil
		case first > 0:
			s.withdraw(ctx, wrote, id)
			return conflict(int(first)-1, ops[first-1], reply)
		}
	}
	return unavailable("commit", errors.New("unexpected reply"))
}

var whys = map[string]error{
	"exists": storage.ErrExists, "not found": storage.ErrNotFound, "consumed": storage.ErrConsumed, "conflict": storage.ErrConflict,
}

func conflict(index int, op storage.Op, reply []any) error {
	c := &storage.ConflictError{Index: index, Op: op}
	if len(reply) > 1 {
		why, _ := reply[1].(string)
		c.Err = whys[why]
	}
	if c.Err == nil {
		return unavailable("commit", errors.New("unexpected reply"))
	}
	if len(reply) > 2 {
		if text, ok := reply[2].(string); ok {
			r, _, err := parse(op.Record.Ref, text)
			if err != nil {
				return unavailable("commit", err)
			}
			c.Current = r
		}
	}
	return c
}

// enter writes the index entries of records and returns when all are
// acknowledged. Repeating it does no harm.
func (s *Storage) enter(ctx context.Context, records []storage.Record, id string, now time.Time) error {
	if err := ctx.Err(); err != nil || len(records) == 0 {
		return err
	}
	send := func(do func(p driver.Pipeliner, key string, args ...any) *driver.Cmd) error {
		pipe := s.client.Pipeline()
		for _, r := range records {
			for _, index := range s.indexes(&r) {
				do(pipe, index, entry(r.Ref, id), till(&r, now)*1000)
			}
		}
		_, err := pipe.Exec(ctx)
		return err
	}
	err := send(func(p driver.Pipeliner, key string, args ...any) *driver.Cmd {
		return indexScript.EvalSha(ctx, p, []string{key}, args...)
	})
	if driver.HasErrorPrefix(err, "NOSCRIPT") {
		err = send(func(p driver.Pipeliner, key string, args ...any) *driver.Cmd {
			return indexScript.Eval(ctx, p, []string{key}, args...)
		})
	}
	return err
}

// withdraw removes the index entries of a commit that did not happen.
func (s *Storage) withdraw(ctx context.Context, records []storage.Record, id string) {
	if len(records) == 0 {
		return
	}
	pipe := s.client.Pipeline()
	for _, r := range records {
		for _, index := range s.indexes(&r) {
			pipe.ZRem(ctx, index, entry(r.Ref, id))
		}
	}
	_, _ = pipe.Exec(context.WithoutCancel(ctx))
}

// run calls a script that may be called again.
func (s *Storage) run(ctx context.Context, script *driver.Script, keys []string, args ...any) *driver.Cmd {
	return script.Run(ctx, s.client, keys, args...)
}

// single is a command that the client must not send again when it does not
// know what came of it, whatever its MaxRetries. Redirections (MOVED, ASK) and
// refusals by a replica it follows: there nothing happened.
type single struct{ *driver.Cmd }

// NoRetry is asked by the client.
func (single) NoRetry() bool { return true }

// once calls a script that writes, and sends it again only when the server
// did not know it.
func (s *Storage) once(ctx context.Context, script *driver.Script, keys []string, args ...any) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var cmd *driver.Cmd
	var err error
	for _, how := range [][]any{{"evalsha", script.Hash()}, {"eval", sources[script]}} {
		call := append(how, len(keys))
		for _, k := range keys {
			call = append(call, k)
		}
		cmd = driver.NewCmd(ctx, append(call, args...)...)
		if err = s.send(ctx, keys[0], single{cmd}); !driver.HasErrorPrefix(err, "NOSCRIPT") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return cmd.Slice()
}

var sources = map[*driver.Script]string{commitScript: commitLua, purgeScript: purgeLua}

// send sends a command and, if so asked, waits for replicas on the same
// connection.
func (s *Storage) send(ctx context.Context, key string, cmd single) error {
	cluster, _ := s.client.(*driver.ClusterClient)
	if s.replicas <= 0 {
		err := s.client.Process(ctx, cmd)
		if cluster != nil && err != nil {
			cluster.ReloadState(ctx) // a node may be gone: look for its successor
		}
		return err
	}
	node, _ := s.client.(*driver.Client)
	if cluster != nil {
		var err error
		if node, err = cluster.MasterForKey(ctx, key); err != nil {
			return err
		}
	}
	pipe := node.Pipeline()
	_ = pipe.Process(ctx, cmd)
	wait := driver.NewIntCmd(ctx, "wait", s.replicas, s.wait.Milliseconds())
	_ = pipe.Process(ctx, wait)
	_, err := pipe.Exec(ctx)
	switch {
	case cmd.Err() != nil:
		if cluster != nil {
			cluster.ReloadState(ctx)
		}
		return cmd.Err()
	case err == nil && wait.Val() < int64(s.replicas):
		return fmt.Errorf("written, but %d of %d replicas have it", wait.Val(), s.replicas)
	}
	return err
}
