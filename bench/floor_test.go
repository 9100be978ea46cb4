package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestFloorAnswersAsTheKit: the yardstick gives the kit's answers. For each
// workload both have the same status, headers and members in the last answer,
// and a ratio says what the kit costs beyond what is on the wire.
func TestFloorAnswersAsTheKit(t *testing.T) {
	t.Parallel()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	all := targets()
	world := newWorld()
	var sites []*site
	for _, name := range []string{floorName, "kit"} {
		i := slices.IndexFunc(all, func(t target) bool { return t.name == name })
		argv, err := all[i].build(t.Context(), dir, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r, err := start(t.Context(), &all[i], argv, world, -1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
		sites = append(sites, r.site)
	}
	for _, work := range workloads() {
		t.Run(work.Name(), func(t *testing.T) {
			var answers []*answer
			for _, s := range sites {
				w := newWorker(s)
				defer w.conn.close()
				if err := work.Prepare(w, 1); err != nil {
					t.Fatal(err)
				}
				if err := work.Do(w); err != nil {
					t.Fatal(err)
				}
				answers = append(answers, w.conn.last)
				if err := w.verify(); err != nil {
					t.Fatal(err)
				}
			}
			floor, kit := answers[0], answers[1]
			if floor.status != kit.status {
				t.Errorf("status %d, the kit's is %d", floor.status, kit.status)
			}
			for _, name := range slices.Sorted(maps.Keys(union(floor.header, kit.header))) {
				switch name {
				case "Date", "Content-Length", "Etag": // differ by their nature
					if (floor.header[name] == nil) != (kit.header[name] == nil) {
						t.Errorf("%s: %q, the kit's is %q", name, floor.header[name], kit.header[name])
					}
				default:
					if !slices.Equal(floor.header[name], kit.header[name]) {
						t.Errorf("%s: %q, the kit's is %q", name, floor.header[name], kit.header[name])
					}
				}
			}
			if a, b := members(t, floor), members(t, kit); !slices.Equal(a, b) && work.Name() != "discovery" {
				t.Errorf("members %q, the kit's are %q", a, b)
			}
			if a, b := len(floor.body), len(kit.body); 4*a < 3*b || 4*b < 3*a {
				t.Errorf("%d bytes, the kit's are %d", a, b)
			}
		})
	}
}

func union(a, b http.Header) http.Header {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

func members(t *testing.T, a *answer) []string {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &doc); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(doc))
}
