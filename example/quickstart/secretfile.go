package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// secretBytes is the length of a sealing secret.
const secretBytes = 32

// secrets returns what the file holds, one secret a line, base64url: the first
// seals, all open. If there is no file, it makes one with one secret that only
// its owner can read.
func secrets(file string) ([][]byte, error) {
	s, err := readSecrets(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := makeSecrets(file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	return readSecrets(file) // another process may have made it first
}

func readSecrets(file string) ([][]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("secret file: %s is no regular file", file)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" { // Windows has no such modes
		return nil, fmt.Errorf("secret file: %s has mode %04o, so others can use it. If nobody has read it: chmod 600 %s", file, mode, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	var all [][]byte
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		s, err := base64.RawURLEncoding.Strict().DecodeString(line)
		if err != nil || len(s) < secretBytes {
			return nil, fmt.Errorf("secret file: %s:%d: must be at least %d random bytes in base64url", file, i+1, secretBytes)
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("secret file: %s holds no secret", file)
	}
	return all, nil
}

// makeSecrets writes the file so that nobody ever sees half of it. fs.ErrExist:
// somebody else was faster.
func makeSecrets(file string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "# Seals tokens, cookies and signing keys. Whoever has it can make them.\n%s\n",
		base64.RawURLEncoding.EncodeToString(newSecret()))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), file)
}

func newSecret() []byte {
	s := make([]byte, secretBytes)
	_, _ = rand.Read(s) // never fails, it crashes the program instead
	return s
}
