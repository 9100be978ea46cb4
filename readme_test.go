package idpkit

import (
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeCompiles puts each Go snippet of README.md into a program and
// compiles it. It is not parallel: the tests that walk the tree must not meet
// the program.
func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(snippets) < 2 {
		t.Fatalf("%d snippets", len(snippets))
	}
	var body strings.Builder
	for _, s := range snippets {
		code := s[1]
		if strings.HasPrefix(code, "Consent:") { // a field of Config
			code = "_ = handlers.Config{\n" + code + "}\n"
		}
		body.WriteString("{\n" + code + "}\n")
	}
	program := `package main
import (
	"context"
	"html/template"
	"log"
	"net/http"
	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)
func main() {
	var (
		ctx     context.Context
		mux     *http.ServeMux
		store   storage.Storage
		users   handlers.Users
		secrets [][]byte
		page    *template.Template
	)
` + body.String() + "}\n"
	src, err := format.Source([]byte(program))
	if err != nil {
		t.Fatal(err)
	}
	// Inside the module, so that its packages are found; "_" hides it from ./...
	dir, err := os.MkdirTemp("internal", "_readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), src, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", "./"+filepath.ToSlash(dir)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, src)
	}
}

// TestDocsNameTests: every test that SPECS.md and SECURITY.md point to is there.
func TestDocsNameTests(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`func (Test\w+)`).FindAllStringSubmatch(string(src), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, doc := range []string{"SPECS.md", "SECURITY.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1) {
			if named++; !have[name] {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
	}
	if named == 0 {
		t.Error("no test is named")
	}
}
