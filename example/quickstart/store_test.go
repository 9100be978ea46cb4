package main

import (
	"os"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// TestStorageMistakes: what the program says when the storage is no good. The
// password is nowhere in it.
func TestStorageMistakes(t *testing.T) {
	t.Setenv("QUICKSTART_TEST_PASSWORD", "hunter2")
	const shared = "issuer: http://localhost:3000\nsecret_file: x\n"
	for _, c := range []struct{ name, text, want string }{
		{"no scheme", shared + "storage: idpkit.sqlite\n", ":3: storage: must be sqlite:FILE, postgres://…"},
		{"unknown scheme", shared + "storage: mysql://u:hunter2@h/d\n", ":3: storage: must be sqlite:FILE"},
		{"no file", shared + "storage: 'sqlite:'\n", ":3: storage: must be sqlite:FILE"},
		{"a slash in the password", shared + "storage: postgres://u:hun/ter2@h/d\n", ":3: storage: is no URL: write what is special"},
		{"password in the query", shared + "storage: postgres://u@h/d?password=hunter2\n", ":3: storage: has a password among its parameters"},
		{"two passwords", shared + "storage: postgres://u:hunter2@h/d\nstorage_password: env:QUICKSTART_TEST_PASSWORD\n", ":3: storage: has a password, and so has storage_password"},
		{"unknown parameter", shared + "storage: postgres://u:hunter2@h/d?sslmode=maybe\n", ":3: storage: is not understood by the PostgreSQL driver"},
		{"redis database", shared + "storage: redis://u:hunter2@h/x\n", ":3: storage: is not understood by the Redis driver"},
		{"redis cluster", shared + "storage: redis://u:hunter2@h?addr=a:1&nope=1\n", ":3: storage: is not understood by the Redis driver"},
		{"password as it is", shared + "storage: redis://h\nstorage_password: hunter2\n", ":4: storage_password: must be env:NAME or file:FILE"},
		{"password not set", shared + "storage: redis://h\nstorage_password: env:QUICKSTART_TEST_NONE\n", ":4: storage_password: names the environment variable QUICKSTART_TEST_NONE, which is not set"},
		{"password file", shared + "storage: redis://h\nstorage_password: file:none\n", ":4: storage_password: open "},
		{"password of a file", shared + "storage: sqlite:x\nstorage_password: env:QUICKSTART_TEST_PASSWORD\n", ":4: storage_password: is of no use"},
		{"no secret", "issuer: http://localhost:3000\nstorage: redis://h\n", ": secret_file: is required"},
	} {
		file := write(t, c.text)
		_, err := load(options{config: file})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		} else if strings.Contains(err.Error(), "hun") {
			t.Errorf("%s: the password is told: %v", c.name, err)
		}
	}
}

// TestStoragePassword: a password from a file or the environment opens what asks
// for it; a wrong one, or a server that is not there, is told without it.
func TestStoragePassword(t *testing.T) {
	t.Setenv("QUICKSTART_TEST_PASSWORD", "hunter2")
	c, err := shared.single()
	if err != nil {
		t.Fatal(err)
	}
	text := "issuer: http://localhost:3000\nsecret_file: x.secret\nstorage: " + c.URL() + "\n"
	for _, w := range []struct{ name, more, err string }{
		{"environment", "storage_password: env:QUICKSTART_TEST_PASSWORD\n", ""},
		{"file", "storage_password: file:pw\n", ""},
		{"wrong", "storage_password: file:wrong\n", "WRONGPASS"},
		{"none", "", "NOAUTH"},
	} {
		file := write(t, text+w.more)
		dir := file[:strings.LastIndexByte(file, '/')+1]
		for name, s := range map[string]string{"pw": "hunter2\n", "wrong": "hunter3\n"} {
			if err := os.WriteFile(dir+name, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := load(options{config: file})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := openDatabase(cfg); err == nil || !strings.Contains(err.Error(), "quickstart make-secret") {
			t.Errorf("%s: without a secret file: %v", w.name, err)
		}
		if code, _, errs := runProgram(t, t.Context(), "", "make-secret", cfg.SecretFile); code != 0 {
			t.Fatal(errs)
		}
		if code, _, errs := runProgram(t, t.Context(), "", "make-secret", cfg.SecretFile); code != 1 || !strings.Contains(errs, "exists") {
			t.Errorf("a second make-secret: %d %s", code, errs)
		}
		db, _, err := openDatabase(cfg)
		if err == nil {
			if err := db.Ping(t.Context()); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
			if _, err := db.Get(t.Context(), storage.Ref{Kind: "x", Key: "x"}); err == nil {
				t.Errorf("%s: a row", w.name)
			}
			_ = db.Close()
		}
		if w.err == "" != (err == nil) || err != nil && (!strings.Contains(err.Error(), w.err) || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}
