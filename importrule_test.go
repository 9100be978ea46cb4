package idpkit

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/idpkit/idpkit/"

// layers is the order in which packages may import each other: each may import
// what stands on lines above its own, and internal packages one another.
var layers = []string{"internal", "storage", "clientreg", "middleware", "handlers"}

// TestImportsPointOneWay holds the package map of ARCHITECTURE.md against the
// code.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	walkSources(t, func(path string, imports []string) {
		dir := filepath.ToSlash(filepath.Dir(path))
		for _, imp := range imports {
			switch {
			case strings.HasPrefix(imp, "github.com/lestrrat-go/jwx"):
				if dir != "internal/jose" {
					t.Errorf("%s imports %s: only internal/jose may", path, imp)
				}
			case strings.HasPrefix(imp, "github.com/go-playground/validator"):
				if dir != "internal/check" {
					t.Errorf("%s imports %s: only internal/check may", path, imp)
				}
			case strings.HasPrefix(imp, module):
				to := strings.TrimPrefix(imp, module)
				if !mayImport(dir, to) || testKit(to) && !testKit(dir) {
					t.Errorf("%s imports %s", path, to)
				}
			case strings.Contains(strings.Split(imp, "/")[0], "."):
				if top(dir) != "internal" {
					t.Errorf("%s imports %s: outside modules are behind internal packages", path, imp)
				}
			}
		}
	})
}

// testKit tells whether a package is for tests only: the kits that embedders
// test with. No program must contain one.
func testKit(dir string) bool { return strings.HasSuffix(dir, "test") }

func top(dir string) string { return strings.Split(dir, "/")[0] }

func mayImport(from, to string) bool {
	f, g := layer(from), layer(to)
	switch {
	case f < 0 || g < 0:
		return false
	case top(from) == "storage" && top(to) != "storage":
		return false // the contract and its kit are standard library only
	case top(from) == "middleware":
		return top(to) == "internal" // it must be able to guard any API
	}
	return f >= g
}

func layer(dir string) int {
	for i, l := range layers {
		if top(dir) == l {
			return i
		}
	}
	return -1
}

// walkSources calls f for each Go file of this module that is no test.
func walkSources(t *testing.T, f func(path string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(path) {
			case "example", "bench", "storage/sqlite", "storage/postgres", "storage/redis", ".git":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == "." {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, s := range file.Imports {
			imp, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, imp)
		}
		f(path, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
