package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
)

var errReply = errors.New("unexpected reply")

// Commit implements storage.Storage. Index entries are acknowledged before the
// row is written, and carry an id that no other commit's have: whoever wrote
// them, and nobody else, removes them when they are of no use.
func (s *Storage) Commit(ctx context.Context, ops ...storage.Op) error {
	if err := storage.Validate(ops); err != nil {
		return err
	}
	now := time.Now()
	id := newID(now)
	var wrote []mark
	for _, all := range []bool{false, true} { // updates mostly keep the entries that are there
		keys, args := []string{s.times(int(ops[0].Record.Shard) % tags)}, []any{now.Unix()}
		var fresh []mark
		for _, op := range ops {
			r, with := op.Record, "-"
			r.ExpiresAt = storage.Time(r.ExpiresAt)
			marks := s.marks(&r, id, now)
			switch {
			case op.Verb == storage.VerbUpdate && !all:
				with = "?"
			case len(marks) > 0 && (op.Verb == storage.VerbInsert || op.Verb == storage.VerbUpdate):
				with = id
				if all == (op.Verb == storage.VerbUpdate) {
					fresh = append(fresh, marks...)
				}
			}
			keys = append(keys, s.row(r.Ref))
			args = append(args, op.Verb.String(), r.Version, with, till(&r, now), expires(r.ExpiresAt), pack(&r), r.Data)
		}
		if err := s.enter(ctx, fresh); err != nil {
			return unavailable("commit", err)
		}
		wrote = append(wrote, fresh...)
		reply, err := s.once(ctx, commitScript, commitLua, keys, args...)
		if err != nil {
			return unavailable("commit", err)
		}
		first, ok := int64(-1), false
		if len(reply) > 0 {
			first, ok = reply[0].(int64)
		}
		switch {
		case !ok:
			return unavailable("commit", errReply)
		case first == 0:
			s.forget(ctx, reply[1:])
			return nil
		case first > 0:
			s.withdraw(ctx, wrote)
			return conflict(int(first)-1, ops, reply)
		}
	}
	return unavailable("commit", errReply)
}

var whys = map[any]error{
	"exists": storage.ErrExists, "not found": storage.ErrNotFound, "consumed": storage.ErrConsumed, "conflict": storage.ErrConflict,
}

func conflict(index int, ops []storage.Op, reply []any) error {
	if len(reply) < 2 || index >= len(ops) || whys[reply[1]] == nil {
		return unavailable("commit", errReply)
	}
	c := &storage.ConflictError{Index: index, Op: ops[index], Err: whys[reply[1]]}
	if len(reply) > 2 && reply[2] != nil {
		text, _ := reply[2].(string)
		var err error
		if c.Current, _, err = parse(c.Op.Record.Ref, text); err != nil {
			return unavailable("commit", err)
		}
	}
	return c
}

// A mark is an entry of an index.
type mark struct {
	index, entry string
	till         int64 // seconds; 0: for ever
}

func (s *Storage) marks(r *storage.Record, id string, now time.Time) (marks []mark) {
	for i, v := range values(r) {
		if v != "" {
			marks = append(marks, mark{s.index(r.Kind, i, v), entry(r.Ref, id), till(r, now)})
		}
	}
	return marks
}

// enter writes index entries and returns when all are acknowledged. Repeating
// it does no harm.
func (s *Storage) enter(ctx context.Context, marks []mark) error {
	if len(marks) == 0 {
		return nil
	}
	err := errReply
	for _, do := range []func(context.Context, driver.Scripter, []string, ...any) *driver.Cmd{indexScript.EvalSha, indexScript.Eval} {
		pipe := s.client.Pipeline()
		for _, m := range marks {
			do(ctx, pipe, []string{m.index}, m.entry, m.till*1000)
		}
		if _, err = pipe.Exec(ctx); !driver.HasErrorPrefix(err, "NOSCRIPT") {
			break
		}
	}
	return err
}

// withdraw removes index entries. What fails here Find skips, and removes later.
func (s *Storage) withdraw(ctx context.Context, marks []mark) {
	if len(marks) == 0 {
		return
	}
	pipe := s.client.Pipeline()
	for _, m := range marks {
		pipe.ZRem(ctx, m.index, m.entry)
	}
	_, _ = pipe.Exec(context.WithoutCancel(ctx))
}

// forget withdraws the index entries of rows that are gone or have new ones,
// given as key and head in turn.
func (s *Storage) forget(ctx context.Context, heads []any) {
	var marks []mark
	for pair := range slices.Chunk(heads, 2) {
		key, _ := pair[0].(string)
		head, _ := pair[len(pair)-1].(string)
		ref, err := s.ref(key)
		if err != nil {
			continue
		}
		if r, id, err := parse(ref, head); err == nil && id != "-" {
			marks = append(marks, s.marks(r, id, time.Time{})...)
		}
	}
	s.withdraw(ctx, marks)
}

// single is a command that the client must not send again when it does not
// know what came of it, whatever its MaxRetries. Redirections (MOVED, ASK) and
// refusals by a replica it follows: there nothing happened.
type single struct{ *driver.Cmd }

// NoRetry is asked by the client.
func (single) NoRetry() bool { return true }

// once calls a script that writes, and sends it again only when the server
// did not know it.
func (s *Storage) once(ctx context.Context, script *driver.Script, source string, keys []string, args ...any) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var cmd *driver.Cmd
	for _, call := range [][]any{{"evalsha", script.Hash()}, {"eval", source}} {
		call = append(call, len(keys))
		for _, k := range keys {
			call = append(call, k)
		}
		cmd = driver.NewCmd(ctx, append(call, args...)...)
		if err := s.send(ctx, keys[0], single{cmd}); err == nil {
			break
		} else if !driver.HasErrorPrefix(err, "NOSCRIPT") {
			return nil, err
		}
	}
	return cmd.Slice()
}

// send sends a command and, if so asked, waits for replicas on the same
// connection.
func (s *Storage) send(ctx context.Context, key string, cmd single) (err error) {
	node, _ := s.client.(*driver.Client)
	cluster, _ := s.client.(*driver.ClusterClient)
	if cluster != nil {
		defer func() {
			if err != nil {
				cluster.ReloadState(ctx) // a node may be gone: look for its successor
			}
		}()
	}
	if s.replicas <= 0 {
		return s.client.Process(ctx, cmd)
	}
	if cluster != nil {
		if node, err = cluster.MasterForKey(ctx, key); err != nil {
			return err
		}
	}
	pipe := node.Pipeline()
	_ = pipe.Process(ctx, cmd)
	wait := driver.NewIntCmd(ctx, "wait", s.replicas, s.wait.Milliseconds())
	_ = pipe.Process(ctx, wait)
	if _, err = pipe.Exec(ctx); err == nil && wait.Val() < int64(s.replicas) {
		err = fmt.Errorf("written, but %d of %d replicas have it", wait.Val(), s.replicas)
	}
	return err
}
