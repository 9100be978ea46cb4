package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	driver "github.com/redis/go-redis/v9"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
	"github.com/idpkit/idpkit/storage/postgres"
	"github.com/idpkit/idpkit/storage/redis"
	"github.com/idpkit/idpkit/storage/sqlite"
)

// database is a storage that can say how it is and be closed.
type database interface {
	storage.Storage
	Ping(ctx context.Context) error
	Close() error
}

// place is where the key storage says that everything is kept.
type place struct {
	name  string // for people: no user, no password, no parameters
	file  string // of SQLite
	kept  bool   // it outlives the process
	here  bool   // no other machine can use it
	open  func(ctx context.Context) (database, error)
	login bool // it takes a password
}

// openTime is what a server has to answer in when the program starts.
const openTime = 30 * time.Second

// parsePlace reads the key storage. dir is where relative files are. Its errors
// complete the sentence "storage …" and hold nothing of the text: it may have a
// password in it.
func parsePlace(text, password, dir string) (place, error) {
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case text == "memory":
		return place{name: "memory", here: true, open: openMemory}, nil
	case scheme == "sqlite" && rest != "":
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(dir, rest)
		}
		return place{name: rest, file: rest, kept: true, here: true, open: func(context.Context) (database, error) { return sqlite.Open(rest) }}, nil
	case scheme == "postgres" || scheme == "postgresql" || scheme == "redis" || scheme == "rediss":
		u, err := url.Parse(text)
		if err != nil {
			return place{}, errors.New("is no URL: write what is special in a user or password as %XX, such as %2F for a slash, or use storage_password")
		}
		if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
			return place{}, errors.New("has a password among its parameters: put it before the @, or use storage_password")
		}
		if _, twice := u.User.Password(); twice && password != "" {
			return place{}, errors.New("has a password, and so has storage_password: remove one")
		}
		p := place{name: u.Scheme + "://" + u.Host + u.Path, kept: true, login: true}
		if strings.HasPrefix(scheme, "redis") {
			p.open, err = redisAt(text, password, u.Query().Has("addr"))
		} else {
			p.open, err = postgresAt(text, password)
		}
		return p, err
	}
	return place{}, errors.New("must be sqlite:FILE, postgres://…, redis://…, rediss://… or memory")
}

type forgetful struct{ *memory.Storage }

func (forgetful) Ping(context.Context) error { return nil }
func (forgetful) Close() error               { return nil }

func openMemory(context.Context) (database, error) { return forgetful{memory.New()}, nil }

type pooled struct {
	*postgres.Storage
	pool *pgxpool.Pool
}

// Ping asks as a handler does: a server that only takes connections, and a
// standby, are of no use.
func (p pooled) Ping(ctx context.Context) error {
	_, err := p.Get(ctx, storage.Ref{Kind: "ping", Key: "ping"})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

func (p pooled) Close() error { p.pool.Close(); return nil }

func postgresAt(dsn, password string) (func(context.Context) (database, error), error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("is not understood by the PostgreSQL driver: see the parameters after the question mark, such as sslmode=verify-full or pool_max_conns=10")
	}
	if password != "" {
		cfg.ConnConfig.Password = password
	}
	return func(ctx context.Context) (database, error) {
		pool, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			return nil, err
		}
		err = postgres.Migrate(ctx, pool)
		if err == nil {
			var s *postgres.Storage
			if s, err = postgres.New(ctx, pool); err == nil {
				return pooled{s, pool}, nil
			}
		}
		pool.Close()
		return nil, err
	}, nil
}

type connected struct {
	*redis.Storage
	client driver.UniversalClient
}

func (c connected) Close() error { return c.client.Close() }

func redisAt(dsn, password string, cluster bool) (func(context.Context) (database, error), error) {
	bad := errors.New("is not understood by the Redis driver: one server is redis://HOST:PORT/NUMBER, a cluster redis://HOST:PORT?addr=HOST:PORT&addr=HOST:PORT")
	var connect func() driver.UniversalClient
	if cluster {
		o, err := driver.ParseClusterURL(dsn)
		if err != nil {
			return nil, bad
		}
		if password != "" {
			o.Password = password
		}
		connect = func() driver.UniversalClient { return driver.NewClusterClient(o) }
	} else {
		o, err := driver.ParseURL(dsn)
		if err != nil {
			return nil, bad
		}
		if password != "" {
			o.Password = password
		}
		connect = func() driver.UniversalClient { return driver.NewClient(o) }
	}
	return func(ctx context.Context) (database, error) {
		client := connect()
		s, err := redis.New(ctx, client)
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		return connected{s, client}, nil
	}, nil
}

// storedPassword reads the key storage_password: env:NAME or file:FILE.
func storedPassword(text, dir string) (string, error) {
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case text == "":
		return "", nil
	case scheme == "env" && rest != "":
		if v := os.Getenv(rest); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("names the environment variable %s, which is not set", rest)
	case scheme == "file" && rest != "":
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(dir, rest)
		}
		b, err := os.ReadFile(rest)
		if err != nil {
			return "", err
		}
		if v := strings.TrimRight(string(b), "\r\n"); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("names the file %s, which is empty", rest)
	}
	return "", errors.New("must be env:NAME or file:FILE, not the password itself")
}

// openDatabase opens the storage and reads the secrets that open what is in it.
func openDatabase(cfg *config) (database, [][]byte, error) {
	p := cfg.place
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	keys := [][]byte{newSecret()}
	if p.kept {
		_, err := os.Stat(cfg.SecretFile)
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case missing && !p.here: // another replica may have one, and two would not understand each other
			return nil, nil, fmt.Errorf("the secret file %s is not there: all replicas need the same one; make it once with quickstart make-secret %s", cfg.SecretFile, cfg.SecretFile)
		case missing:
			if info, err := os.Stat(p.file); err == nil && info.Size() > 0 {
				return nil, nil, fmt.Errorf("%s is there, but the secret file %s that opens it is not: bring it back, or remove the database to start anew",
					p.file, cfg.SecretFile)
			}
		}
		if keys, err = secrets(cfg.SecretFile); err != nil {
			return nil, nil, err
		}
	}
	store, err := p.open(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("storage %s: %w", p.name, err)
	}
	return store, keys, nil
}
