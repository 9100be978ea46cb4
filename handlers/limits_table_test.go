package handlers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLimitTable holds the table in limits.go against what a Config without a
// Limiter does: how many at once, how many later, and who else is not touched.
func TestLimitTable(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("limits.go")
	if err != nil {
		t.Fatal(err)
	}
	const home, neighbour, elsewhere, home6, elsewhere6 = "192.0.2.1:1", "192.0.2.254:1", "192.0.3.1:1", "[2001:db8:1:100::1]:1", "[2001:db8:1:200::1]:1"
	from := func(addr string) *http.Request {
		r := httptest.NewRequest("POST", "/", nil)
		r.RemoteAddr = addr
		return r
	}
	rows := regexp.MustCompile(`(?m)^//\t(\w*) {2,}(.+?) {2,}(\S.*?) {2,}(\d+)  (\d+) (ms|s|min)$`).FindAllStringSubmatch(string(src), -1)
	if len(rows) != 8 {
		t.Fatalf("%d rows", len(rows))
	}
	unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute}
	seen, last := map[string]bool{}, ""
	for _, row := range rows {
		name, per := row[1], row[3]
		if name == "" {
			name = last
		}
		last, seen[name] = name, true
		burst, _ := strconv.Atoi(row[4])
		n, _ := strconv.Atoi(row[5])
		every := time.Duration(n) * unit[row[6]]

		now := time.Unix(1_700_000_000, 0)
		cfg := Config{Now: func() time.Time { return now }}
		cfg.setDefaults()
		var hits []Event
		cfg.Events = func(_ context.Context, e Event) { hits = append(hits, e) }
		p := &Provider{cfg: cfg, limits: newLimiters(&cfg)}

		// A key of its own for each attempt where the row is for the network alone.
		attempt := func(addr string, i int) int {
			key := "someone"
			if per == "network" && name == "login" {
				key = strconv.Itoa(i)
			}
			return p.limit(from(addr), name, key)
		}
		for i := range burst {
			if wait := attempt(home, i); wait != 0 {
				t.Fatalf("%s per %s: held back at %d", name, per, i)
			}
		}
		want := max(1, int((every+time.Second-1)/time.Second))
		if wait := attempt(home, burst); wait != want {
			t.Errorf("%s per %s: wait %d, want %d", name, per, wait, want)
		}
		byNetwork := strings.Contains(per, "network")
		if byNetwork && attempt(neighbour, burst) == 0 {
			t.Errorf("%s per %s: the neighbour is of another network", name, per)
		}
		if free := name != "user_code" && byNetwork; free != (attempt(elsewhere, burst) == 0) {
			t.Errorf("%s per %s: elsewhere", name, per)
		}
		if p.limit(from(elsewhere), name, "another") != 0 && name != "client" && name != "secret" {
			t.Errorf("%s per %s: somebody else elsewhere is held back", name, per)
		}
		if name == "user_code" && p.limit(from(home), name, "") == 0 {
			t.Errorf("%s: signing out frees the network", name)
		}
		now = now.Add(every)
		if attempt(home, burst) != 0 || attempt(home, burst) == 0 {
			t.Errorf("%s per %s: after %v not just one more", name, per, every)
		}
		p.uncount(from(home), name, "someone")
		if key := "someone"; p.limit(from(home), name, key) != 0 && !(per == "network" && name == "login") {
			t.Errorf("%s per %s: what succeeded counts", name, per)
		}
		for _, e := range hits {
			if e.Name != "limit.hit" || e.Reason != name || (e.ClientID != "") != (name == "secret" || name == "par") {
				t.Errorf("%+v", e)
			}
		}
		// IPv6: a customer's /56 is one.
		if byNetwork {
			p.limits = newLimiters(&cfg)
			for i := range burst {
				attempt(home6, i)
			}
			if attempt("[2001:db8:1:1ff:ffff::9]:1", burst) == 0 {
				t.Errorf("%s per %s: the same /56 is free", name, per)
			}
			if name != "user_code" && attempt(elsewhere6, burst) != 0 {
				t.Errorf("%s per %s: another /56 is held back", name, per)
			}
		}
	}
	for _, name := range regexp.MustCompile(`(?m)^\tcase "(\w+)":\n\t\t(?:return|b :=)`).FindAllStringSubmatch(string(src), -1) {
		if !seen[name[1]] {
			t.Errorf("%s is not in the table", name[1])
		}
	}
}
