package pgtest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/storage/postgres/pgtest"
)

func sql(t *testing.T, s *pgtest.Server, text string) string {
	t.Helper()
	out, err := s.SQL("postgres", text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestServer stops, kills and restarts one: what was committed stays.
func TestServer(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, "work_mem=3MB")
	if got := sql(t, s, "SELECT current_setting('fsync') || current_setting('work_mem')"); got != "on3MB" {
		t.Errorf("settings: %s", got)
	}
	sql(t, s, "CREATE TABLE a (b int); INSERT INTO a VALUES (7)")
	for name, end := range map[string]func(){"Stop": s.Stop, "Kill": s.Kill} {
		end()
		if _, err := s.SQL("postgres", "SELECT 1"); err == nil {
			t.Errorf("%s: still there", name)
		}
		end() // harmless
		if err := s.Restart("work_mem=5MB"); err != nil {
			t.Fatal(err)
		}
		if got := sql(t, s, "SELECT b || current_setting('work_mem') FROM a"); got != "75MB" {
			t.Errorf("after %s: %s", name, got)
		}
	}
	if !strings.Contains(s.Log(), "was not properly shut down") {
		t.Error("Kill was no crash")
	}
	s.Close()
	if _, err := os.Stat(s.Host()); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}
