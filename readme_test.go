package idpkit

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// packages are what snippets may use without saying so.
var packages = map[string]string{
	"context": "context", "embed": "embed", "errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "netip": "net/netip", "os": "os",
	"slog": "log/slog", "template": "html/template", "testing": "testing", "time": "time", "json": "encoding/json", "url": "net/url",

	"clientreg": module + "clientreg", "handlers": module + "handlers", "handlerstest": module + "handlers/handlerstest",
	"memory": module + "storage/memory", "middleware": module + "middleware", "postgres": module + "storage/postgres",
	"sqlite": module + "storage/sqlite", "storage": module + "storage", "storagetest": module + "storage/storagetest",

	"pgxpool": "github.com/jackc/pgx/v5/pgxpool",
}

// names are what snippets may use because the text around them says what it is.
const names = `
var (
	ctx      context.Context
	mux      *http.ServeMux
	cfg      handlers.Config
	p        *handlers.Provider
	store    storage.Storage
	registry clientreg.Writer
	clients  clientreg.Registry
	users    handlers.Users
	secrets  [][]byte
	page     *template.Template
	api      http.Handler
	rowSecrets [][]byte
	metrics  func(verb string, took time.Duration, err error)
)
`

// TestSnippetsCompile makes a program of each Go snippet in the Markdown of the
// repository and compiles it: a file that says package, declarations, a field of
// handlers.Config, or statements. A snippet that is said to be from a file must
// be in it as it stands, and is compiled there. The test is not parallel: those
// that walk the tree must not meet the programs.
func TestSnippetsCompile(t *testing.T) {
	// Inside the module, so that its packages are found; "_" hides it from ./...
	dir, err := os.MkdirTemp("internal", "_snippets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	args, taken := []string{"vet"}, 0
	for _, doc := range markdown(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range regexp.MustCompile("(?ms)(?:^From \\[[^]]*\\]\\(([^)]*)\\):\n\n)?^```go\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
			if s[1] != "" {
				src, err := os.ReadFile(filepath.Join(filepath.Dir(doc), s[1]))
				if err != nil || !strings.Contains(string(src), s[2]) {
					t.Errorf("%s: not in %s (%v):\n%s", doc, s[1], err, s[2])
				}
				taken++
				continue
			}
			at := fmt.Sprintf("%s/%s-%d", filepath.ToSlash(dir), strings.NewReplacer("/", "-", ".", "-").Replace(doc), n+1)
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at+"/main.go", []byte(program(s[2])), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "./"+at)
		}
	}
	if len(args) < 8 || taken < 4 {
		t.Fatalf("%d snippets to compile, %d from files", len(args)-1, taken)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// program is a snippet with what it leaves out.
func program(code string) string {
	switch {
	case strings.HasPrefix(code, "package "):
		return code
	case regexp.MustCompile(`^(//[^\n]*\n)*(func|type|var|const) `).MatchString(code):
		code += "\nfunc main() {}\n"
	case regexp.MustCompile(`^[A-Z]\w*: `).MatchString(code):
		code = "func main() { _ = handlers.Config{\n" + code + "} }\n"
	default:
		code = "func main() {\n" + code + "}\n"
	}
	code = names + code
	bare := regexp.MustCompile(`(?m)(^|\s)// .*$`).ReplaceAllString(code, "")
	var imports []string
	for name, path := range packages {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(bare) {
			imports = append(imports, strconv.Quote(path))
		}
	}
	slices.Sort(imports)
	return "package main\n\nimport (\n" + strings.Join(imports, "\n") + "\n)\n" + code
}

// markdown lists the Markdown files of the repository.
func markdown(t *testing.T) []string {
	t.Helper()
	var docs []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			docs = append(docs, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// TestLinksLead: what a Markdown file links to is there, and so is the heading.
func TestLinksLead(t *testing.T) {
	t.Parallel()
	for _, doc := range markdown(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, ":") {
				continue
			}
			target := doc
			if file != "" {
				target = filepath.Join(filepath.Dir(doc), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(headings(t, target), anchor) {
				t.Errorf("%s links to %s: no such heading", doc, m[1])
			}
		}
	}
}

// headings returns the anchors of a Markdown file's headings.
func headings(t *testing.T, doc string) []string {
	t.Helper()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(plain, " ", "-"))
	}
	return anchors
}

// TestDocsNameTests: every test that a Markdown file at the root points to is
// there.
func TestDocsNameTests(t *testing.T) {
	t.Parallel()
	have := testNames(t)
	named := 0
	for _, doc := range markdown(t) {
		if strings.Contains(doc, "/") {
			continue
		}
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

// TestASVS: the table of SECURITY.md has a row for each requirement of ASVS 5.0
// V10.4, V10.6 and V10.7, and each row names tests, which TestDocsNameTests
// looks for.
func TestASVS(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	chapters := map[string]int{"10.4": 16, "10.6": 2, "10.7": 3}
	rows := 0
	for _, m := range regexp.MustCompile(`(?m)^\| (10\.\d)\.(\d+) \|(.*)$`).FindAllStringSubmatch(string(text), -1) {
		rows++
		if n, _ := strconv.Atoi(m[2]); n < 1 || n > chapters[m[1]] {
			t.Errorf("%s.%s is no requirement", m[1], m[2])
		}
		cells := strings.Split(m[3], "|")
		if len(cells) != 6 || !strings.Contains(cells[4], "Test") {
			t.Errorf("%s.%s names no test", m[1], m[2])
		}
	}
	if rows != 21 {
		t.Errorf("%d rows, 21 requirements", rows)
	}
}

// testNames lists the tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`func ((?:Test|Fuzz|Benchmark)\w+)`).FindAllStringSubmatch(string(src), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}
