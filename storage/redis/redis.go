package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
)

// Storage is a storage.Storage in Redis. New makes it; it is safe for
// concurrent use.
type Storage struct {
	client driver.UniversalClient
	prefix string

	managed, loss, evict bool
	replicas             int
	wait                 time.Duration
}

// An Option changes how New works.
type Option func(*Storage)

// Prefix sets what all keys begin with, for a Redis that is not the
// provider's alone. No braces. Default: "idpkit".
func Prefix(p string) Option { return func(s *Storage) { s.prefix = p } }

// WaitReplicas makes each Commit wait until so many replicas have it in memory
// (WAIT), and fail with ErrUnavailable, outcome unknown, if they have not
// within the timeout. Default: none. See "Durability".
func WaitReplicas(n int, timeout time.Duration) Option {
	return func(s *Storage) { s.replicas, s.wait = n, timeout }
}

// Managed is for services that refuse CONFIG GET: New does not look at
// persistence and eviction, the caller vouches for both.
func Managed() Option { return func(s *Storage) { s.managed = true } }

// InsecureAllowLoss lets New accept a server without AOF, or with an appendfsync
// other than always: what it acknowledged may be gone after a crash, and spent
// again.
func InsecureAllowLoss() Option { return func(s *Storage) { s.loss = true } }

// InsecureAllowEviction lets New accept a server that drops keys when memory is
// short: a record of what is spent or revoked may be dropped first.
func InsecureAllowEviction() Option { return func(s *Storage) { s.evict = true } }

//go:embed commit.lua
var commitLua string

//go:embed purge.lua
var purgeLua string

//go:embed index.lua
var indexLua string

//go:embed range.lua
var rangeLua string

var (
	commitScript = driver.NewScript(commitLua)
	purgeScript  = driver.NewScript(purgeLua)
	indexScript  = driver.NewScript(indexLua)
	rangeScript  = driver.NewScript(rangeLua)
)

// New returns a Storage over the caller's client, which it never closes: a
// *redis.Client, of Sentinel too, or a *redis.ClusterClient. It refuses clients
// that read from replicas, and looks at each master: older than Redis 7, no AOF
// or one that is not synced always, a maxmemory-policy other than noeviction are
// errors.
func New(ctx context.Context, client driver.UniversalClient, opts ...Option) (*Storage, error) {
	s := &Storage{client: client, prefix: "idpkit"}
	for _, opt := range opts {
		opt(s)
	}
	if strings.ContainsAny(s.prefix, "{}") {
		return nil, fmt.Errorf("redis: a prefix with braces: %q", s.prefix)
	}
	var err error
	switch c := client.(type) {
	case *driver.Client:
		err = s.check(ctx, c)
	case *driver.ClusterClient:
		if c.Options().ReadOnly {
			err = errors.New("the client reads from replicas: they may not know yet what is spent or revoked")
		} else {
			err = c.ForEachMaster(ctx, s.check)
		}
	default:
		err = fmt.Errorf("%T is no client for one Redis or a Redis Cluster", client)
	}
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return s, nil
}

// check looks at one master.
func (s *Storage) check(ctx context.Context, c *driver.Client) error {
	role, err := c.Do(ctx, "role").Slice()
	if err != nil {
		return err
	}
	if len(role) == 0 || role[0] != "master" {
		return fmt.Errorf("%s is no master", c.Options().Addr)
	}
	for _, script := range []*driver.Script{commitScript, purgeScript, indexScript, rangeScript} {
		if err := script.Load(ctx, c).Err(); err != nil {
			return fmt.Errorf("loading a script (Redis 7 is needed): %w", err)
		}
	}
	if s.managed {
		return nil
	}
	config := map[string]string{}
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory-policy"} {
		got, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return fmt.Errorf("CONFIG GET %s (see Managed): %w", name, err)
		}
		config[name] = got[name]
	}
	switch {
	case !s.loss && (config["appendonly"] != "yes" || config["appendfsync"] != "always"):
		return fmt.Errorf("%s may lose what it acknowledged: appendonly %s, appendfsync %s (see InsecureAllowLoss)", c.Options().Addr, config["appendonly"], config["appendfsync"])
	case !s.evict && config["maxmemory-policy"] != "noeviction":
		return fmt.Errorf("%s may drop what is spent or revoked: maxmemory-policy %s (see InsecureAllowEviction)", c.Options().Addr, config["maxmemory-policy"])
	}
	return nil
}

// Ping reports whether a master answers, for health checks. The error, if
// any, is ErrUnavailable.
func (s *Storage) Ping(ctx context.Context) error {
	_, err := s.Get(ctx, storage.Ref{Kind: "ping", Key: "ping"})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// read is GET as a command that only masters obey, whoever is taken for one.
func (s *Storage) read(ctx context.Context, p driver.Cmdable, ref storage.Ref) *driver.Cmd {
	type doer interface {
		Do(context.Context, ...any) *driver.Cmd
	}
	return p.(doer).Do(ctx, "getex", s.row(ref))
}

// Get implements storage.Storage.
func (s *Storage) Get(ctx context.Context, ref storage.Ref) (*storage.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable("get", err)
	}
	text, err := s.read(ctx, s.client, ref).Text()
	if errors.Is(err, driver.Nil) {
		return nil, storage.ErrNotFound
	}
	if err == nil {
		var r *storage.Record
		if r, _, err = parse(ref, text); err == nil {
			return r, nil
		}
	}
	return nil, unavailable("get", err)
}

// Find implements storage.Storage. Records come in the order of shard and key.
func (s *Storage) Find(ctx context.Context, q storage.Query) (page storage.Page, err error) {
	if err := q.Validate(); err != nil {
		return page, err
	}
	if err := ctx.Err(); err != nil {
		return page, unavailable("find", err)
	}
	column := 0
	value := values(&storage.Record{Grant: q.Grant, Session: q.Session, Subject: q.Subject, Client: q.Client})
	for value[column] == "" {
		column++
	}
	index, after, want := s.index(q.Kind, column, value[column]), q.After, q.Limit+1
	for more := true; more; {
		began, from := time.Now(), "-"
		if after != "" {
			from = "(" + after + "\"" // past all entries of that position
		}
		entries, err := rangeScript.Run(ctx, s.client, []string{index}, from, want).StringSlice()
		if err != nil {
			return storage.Page{}, unavailable("find", err)
		}
		more = len(entries) == want
		rows, ids, stale := []*driver.Cmd{}, map[storage.Ref][]string{}, []any{}
		var refs []storage.Ref
		pipe := s.client.Pipeline()
		for _, e := range entries {
			ref, id, err := parseEntry(q.Kind, e)
			if err != nil {
				return storage.Page{}, unavailable("find", err)
			}
			if len(refs) == 0 || refs[len(refs)-1] != ref {
				refs, rows = append(refs, ref), append(rows, s.read(ctx, pipe, ref))
			}
			ids[ref] = append(ids[ref], id)
		}
		_, _ = pipe.Exec(ctx) // each has its own error
		for i, ref := range refs {
			text, err := rows[i].Text()
			var r *storage.Record
			var current string
			if err == nil {
				r, current, err = parse(ref, text)
			}
			if err != nil && !errors.Is(err, driver.Nil) {
				return storage.Page{}, unavailable("find", err)
			}
			for _, id := range ids[ref] {
				if id != current && age(id, began) > abandoned {
					stale = append(stale, entry(ref, id))
				}
			}
			if after = position(ref); r == nil || !q.Matches(r) {
				continue
			}
			if len(page.Records) == q.Limit {
				page.Next, more = position(page.Records[q.Limit-1].Ref), false
				break
			}
			page.Records = append(page.Records, r)
		}
		if len(stale) > 0 {
			_ = s.client.ZRem(ctx, index, stale...).Err() // the next one will
		}
	}
	return page, nil
}

// abandoned is the age at which a commit is over for certain: the script
// refuses one that began half an hour ago. The rest is for clocks that differ.
const abandoned = 72 * time.Hour

// Purge implements storage.Storage.
func (s *Storage) Purge(ctx context.Context, before time.Time, limit int) (deleted int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable("purge", err)
	}
	const chunk, batch = 64, 16 // short scripts: others wait for them
	start := rand.IntN(tags)
	for n := 0; n < tags && deleted < limit; n += chunk {
		pipe := s.client.Pipeline()
		var due [chunk]*driver.StringSliceCmd
		for i := range due {
			due[i] = s.due(ctx, pipe, (start+n+i)%tags, before, min(limit, batch))
		}
		_, _ = pipe.Exec(ctx)
		for i, cmd := range due {
			for tag := (start + n + i) % tags; deleted < limit; cmd = s.due(ctx, s.client, tag, before, min(limit-deleted, batch)) {
				rows, err := cmd.Result()
				if err != nil {
					return deleted, unavailable("purge", err)
				}
				rows = rows[:min(len(rows), limit-deleted)]
				if len(rows) == 0 {
					break
				}
				heads, err := s.once(ctx, purgeScript, purgeLua, append([]string{s.times(tag)}, rows...), before.UnixMicro())
				if err != nil {
					return deleted, unavailable("purge", err)
				}
				deleted += len(heads) / 2
				s.forget(ctx, heads)
			}
		}
	}
	return deleted, nil
}

// due asks for rows of a tag that expire before a time.
func (s *Storage) due(ctx context.Context, c driver.Cmdable, tag int, before time.Time, limit int) *driver.StringSliceCmd {
	return c.ZRangeArgs(ctx, driver.ZRangeArgs{
		Key: s.times(tag), Start: "-inf", Stop: "(" + strconv.FormatInt(before.UnixMicro(), 10), ByScore: true, Count: int64(limit),
	})
}

// unavailable wraps what Redis said. Its messages quote no values.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: redis: %s: %w", storage.ErrUnavailable, doing, err)
}
