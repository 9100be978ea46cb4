package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestFaultsOver runs the fault points of handlers over SQLite, or over those of
// sqlite and postgres that IDPKIT_FAULTS names: the very same flows and oracle,
// with the one file of that package exchanged that names the storage. A test of
// the root module cannot do it: it would need the driver. PostgreSQL is left to
// runs by hand, on a machine that does nothing else: the flows have a deadline
// of 60 ms.
func TestFaultsOver(t *testing.T) {
	t.Parallel()
	engines := "sqlite"
	if s := os.Getenv("IDPKIT_FAULTS"); s != "" {
		engines = s
	}
	for _, engine := range strings.Split(engines, ",") {
		t.Run(engine, func(t *testing.T) { t.Parallel(); faultsOver(t, engine) })
	}
}

func faultsOver(t *testing.T, engine string) {
	const pkg, file = "github.com/idpkit/idpkit/handlers", "faultstorage_test.go"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := filepath.Abs(filepath.Join("testdata", "faultstorage_"+engine+".go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(strings.TrimSpace(string(out)), file): ours}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(name, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), "go", "test", "-overlay", name, "-count=1", "-timeout", "30m", "-run", "^TestFaults$", "-v", pkg).CombinedOutput()
	m := regexp.MustCompile(`(\d+) fault points over \*` + engine + `\.Storage`).FindSubmatch(out)
	if err != nil || m == nil {
		said := regexp.MustCompile(`(?m)^\s*(=== |--- PASS).*\n`).ReplaceAll(out, nil)
		t.Fatalf("%v: %s", err, said[:min(len(said), 8<<10)])
	}
	n, _ := strconv.Atoi(string(m[1]))
	if n < 1500 {
		t.Errorf("%d fault points, want at least 1500", n)
	}
	t.Logf("%s", m[0])
}
