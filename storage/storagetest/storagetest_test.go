package storagetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// recorder is a testing.TB whose failures fail nobody.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
	log    []string
}

func (r *recorder) note(fail bool, s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || fail
	r.log = append(r.log, strings.TrimSpace(s))
}

func (r *recorder) Error(args ...any)            { r.note(true, fmt.Sprintln(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.note(true, fmt.Sprintf(f, args...)) }
func (r *recorder) Log(args ...any)              { r.note(false, fmt.Sprintln(args...)) }
func (r *recorder) Logf(f string, args ...any)   { r.note(false, fmt.Sprintf(f, args...)) }
func (r *recorder) Fail()                        { r.note(true, "failed") }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) FailNow()                     { r.Fail(); runtime.Goexit() }
func (r *recorder) Failed() bool                 { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }

// attempt runs do as a test of its own and returns what it complained of;
// "" if it passed.
func attempt(t *testing.T, do func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Error("panic: ", p)
			}
		}()
		do(r)
	}()
	<-done
	if !r.Failed() {
		return ""
	}
	return strings.Join(r.log, "\n")
}

// complaints returns what the kit says of a backend, by case.
func complaints(t *testing.T, f Factory, which func(testCase) bool) map[string]string {
	t.Helper()
	said := map[string]string{}
	for _, tc := range cases() {
		if which(tc) {
			if s := attempt(t, func(tb testing.TB) {
				tc.run(&env{TB: tb, Storage: f(tb), config: configure([]Option{Rounds(3), Racers(24)})})
			}); s != "" {
				said[tc.name] = s
			}
		}
	}
	return said
}

func all(testCase) bool { return true }

func TestSoundBackendPasses(t *testing.T) {
	t.Parallel()
	if said := complaints(t, breaking(""), all); len(said) > 0 {
		t.Errorf("a backend without a flaw: %v", said)
	}
	if s := attempt(t, func(tb testing.TB) { Linearizable(tb, breaking(""), Rounds(5)) }); s != "" {
		t.Errorf("a backend without a flaw: %s", s)
	}
}

// TestRacyBackendFails holds every race against a backend that reads, decides
// and then writes.
func TestRacyBackendFails(t *testing.T) {
	t.Parallel()
	racy := breaking("reads, decides, writes")
	for _, tc := range cases() {
		if len(tc.races) == 0 {
			continue
		}
		if tc.name == "race: crossing commits do not deadlock" {
			continue // a backend without locks cannot deadlock
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if len(complaints(t, racy, func(c testCase) bool { return c.name == tc.name })) == 0 {
				t.Error("the case lets a racy backend pass")
			}
		})
	}
	t.Run("Linearizable", func(t *testing.T) {
		t.Parallel()
		if attempt(t, func(tb testing.TB) { Linearizable(tb, racy, Rounds(5)) }) == "" {
			t.Error("Linearizable lets a racy backend pass")
		}
	})
}

// TestEveryVerbIsRaced: a backend that is racy in one verb alone is caught by
// a case that claims to race the verb.
func TestEveryVerbIsRaced(t *testing.T) {
	t.Parallel()
	for verb := storage.VerbInsert; verb <= storage.VerbCheck; verb++ {
		t.Run(verb.String(), func(t *testing.T) {
			t.Parallel()
			races := func(c testCase) bool { return slices.Contains(c.races, verb) }
			named := 0
			for _, tc := range cases() {
				if races(tc) {
					named++
				}
			}
			if named < 2 {
				t.Fatalf("%d cases race %s, want two at least", named, verb)
			}
			flaw := "reads, decides, writes: " + verb.String()
			if verb == storage.VerbDelete {
				// A delete decides nothing; what can go wrong is that others undo it.
				flaw = "reads, decides, writes: update"
			}
			if len(complaints(t, breaking(flaw), races)) == 0 {
				t.Error("no case notices")
			}
		})
	}
	if storage.Verb(storage.VerbCheck+1).String() != "invalid" {
		t.Error("a new verb: race it")
	}
}

// TestFlawsAreFound breaks each clause of the contract once. The case named
// must notice, so that a failure tells what is wrong.
func TestFlawsAreFound(t *testing.T) {
	t.Parallel()
	for flaw, by := range map[string]string{
		"keys without case":                   "hostile keys match only themselves",
		"keys without trailing blanks":        "hostile keys match only themselves",
		"keys end at NUL":                     "hostile keys match only themselves",
		"keys are UTF-8":                      "hostile keys match only themselves",
		"keys are cut":                        "hostile keys match only themselves",
		"kinds share keys":                    "kinds do not share keys",
		"kind and key are glued":              "kinds do not share keys",
		"shards share keys":                   "shards do not share keys",
		"shards are signed":                   "shards do not share keys",
		"reads are aliases":                   "records are copies",
		"writes are aliases":                  "records are copies",
		"a conflict shows an alias":           "records are copies",
		"times are local":                     "times are UTC microseconds",
		"times are milliseconds":              "times are UTC microseconds",
		"no time is 1970":                     "times are UTC microseconds",
		"reads ignore the context":            "a done context is an outage, not an answer",
		"purge ignores the context":           "a done context is an outage, not an answer",
		"a cancelled commit stops half-way":   "a cancelled commit leaves all or nothing",
		"reads lag behind":                    "commits are seen at once by others",
		"find lags behind":                    "find follows writes",
		"acknowledges before it is done":      "commits are seen at once by others",
		"absent is nil without an error":      "insert",
		"hides expired records":               "expired records are readable",
		"two shards in a commit":              "invalid commits write nothing",
		"a ref twice in a commit":             "invalid commits write nothing",
		"data of any size":                    "invalid commits write nothing",
		"inserts consumed rows":               "invalid commits write nothing",
		"inserts over consumed rows":          "conflicts one by one",
		"inserts are upserts":                 "an insert is done once",
		"updates need no version":             "an update needs the version it read",
		"updates need no active row":          "conflicts one by one",
		"consumed rows are absent":            "conflicts one by one",
		"delete wants a row":                  "delete",
		"consume needs the version":           "verbs without a record use only the ref",
		"consume is idempotent":               "conflicts one by one",
		"consume keeps the version":           "consume",
		"consume writes the record passed in": "consume",
		"check takes consumed rows":           "conflicts one by one",
		"check writes a version":              "check leaves the version",
		"insert keeps the version passed in":  "insert",
		"columns are written once":            "update",
		"data ends at NUL":                    "data is byte exact",
		"data is UTF-8":                       "data is byte exact",
		"the first in lock order is blamed":   "the lowest failing op is blamed",
		"a conflict shows nothing":            "conflicts one by one",
		"a conflict names op 0":               "the lowest failing op is blamed",
		"a conflict is a bare error":          "conflicts one by one",
		"writes op by op":                     "all or nothing at each op",
		"snapshot isolation":                  "race: crossed checks",
		"columns without case":                "hostile columns match only themselves",
		"find ignores the session":            "find by every combination of columns",
		"find ignores the kind":               "find by every combination of columns",
		"find skips consumed records":         "find by every combination of columns",
		"find takes any query":                "find refuses invalid queries",
		"find knows no limit":                 "find pages",
		"default limit of 50":                 "find knows default and greatest limit",
		"one page is all":                     "find pages",
		"pages overlap":                       "find pages",
		"pages by offset":                     "find pages while rows are written",
		"writes move a record in the order":   "find pages while rows are written",
		"purge is a microsecond early":        "purge is never early",
		"purge compares seconds":              "purge is never early",
		"purge takes what is kept for ever":   "purge is never early",
		"purge does not count":                "purge is never early",
		"purge knows no limit":                "purge respects its limit",
		"purge with limit 0 has no limit":     "purge respects its limit",
		"purge decides, then deletes":         "purge races an update that extends",
		"others see half a commit":            "",
		"reads, decides, writes: consume":     "race: one consumer wins",
		"reads, decides, writes: insert":      "race: one insert wins",
		"reads, decides, writes: update":      "race: one update per version",
		"reads, decides, writes: check":       "race: no check after a consume",
		// The consume is undone, so that no writer ever hears of it.
		"reads, decides, writes what it checked": "race: no check after a consume",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			if by == "" { // seen only by who watches all the time
				if attempt(t, func(tb testing.TB) { Linearizable(tb, breaking(flaw), Rounds(5)) }) == "" {
					t.Error("Linearizable does not notice")
				}
				return
			}
			said := complaints(t, breaking(flaw), func(c testCase) bool { return c.name == by })
			if len(said) == 0 {
				t.Errorf("case %q does not notice", by)
			}
			for _, s := range said {
				t.Logf("%.300s", s)
			}
		})
	}
}
