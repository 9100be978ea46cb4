package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/storage"
)

var exactCases = []testCase{
	{name: "data is byte exact", run: exactData},
	{name: "hostile keys match only themselves", run: hostileKeys},
	{name: "hostile columns match only themselves", run: hostileColumns},
	{name: "kinds do not share keys", run: kinds},
	{name: "shards do not share keys", run: shards},
	{name: "refs that no commit can write are not found", run: impossibleRefs},
	{name: "times are UTC microseconds", run: times},
	{name: "expired records are readable", run: expired},
}

func exactData(e *env) {
	var every []byte
	for b := range 256 {
		every = append(every, byte(b))
	}
	full := make([]byte, e.maxData)
	for i := range full {
		full[i] = byte(mix(uint64(i)))
	}
	for name, data := range map[string][]byte{
		"nil": nil, "empty": {}, "NUL": {0}, "NULs": make([]byte, 100), "NUL inside": []byte("a\x00b"),
		"every byte": every, "not UTF-8": {0xff, 0xfe, 0xc0, 0x80}, "newlines": []byte("\r\n\r\n"), "blanks": []byte("  a  "),
		"JSON": []byte(`{"a":1.0, "b":"\u0000"}`), "escapes": []byte(`\x00\\'"` + "`$1?"), "number": []byte("0012.50"),
		"4 KiB": full[:4096], "one less than full": full[1:], "full": full, "full of NUL": make([]byte, e.maxData),
	} {
		r := record(grantRef("%s", name), "")
		r.Data = data
		e.must(storage.Insert(r))
		e.wantRow(r.Ref, stored(r, 1, storage.Active))
		e.must(storage.Consume(r.Ref))
		e.wantRow(r.Ref, stored(r, 2, storage.Consumed))

		u := record(grantRef("updated to %s", name), "before")
		e.must(storage.Insert(u))
		u.Version, u.Data = 1, data
		e.must(storage.Update(u))
		e.wantRow(u.Ref, stored(u, 2, storage.Active))
	}
}

// hostile are strings that a careless backend folds, trims, cuts or executes.
var hostile = []string{
	"a", "A", "ａ", "á", "a\u0301", " a", "a ", "a  ", "\ta", "a\n", "a\r\n", "a\x00", "\x00a", "\x00", "\x00\x00",
	"a\x00b", "a\x00c", "*", "?", "[a]", "a*", "%", "_", "a%", "a_", "..", "../a", "a/../a", "/", "//", "a/", `a\`, `\`, `\\`,
	"'", "''", `"`, "a'; DROP TABLE records; --", "' OR '1'='1", "$1", "?1", ":a", "{a}", "{a", "a}", "a:b", "a:", ":", "a|b", "a,b",
	"\xff", "\xfe", "\xc0\x80", "\xed\xa0\x80", "a\xff", "\ufeffa", "ß", "ss", "SS", "ı", "i", "I", "İ", "ﬁ", "fi",
	"0", "00", "0.0", "0x0", "1e1", "10", "NULL", "null", "nil", "true", "-1", "\x7f", "\x01", "a\x1fb", "\u200ba", "%00", "&#0;", "+a", "=1+1",
}

// hostile is that, and strings as long as can be.
func (e *env) hostile() []string {
	n := e.maxKey
	return append(slices.Clip(hostile), strings.Repeat("k", n), strings.Repeat("k", n-1), strings.Repeat("k", n-1)+"K",
		strings.Repeat("\x00", n), strings.Repeat("\xff", n), strings.Repeat("é", n/2))
}

func hostileKeys(e *env) {
	hostile := e.hostile()
	for i, k := range hostile {
		r := ref(storage.KindCode, k)
		e.wantRow(r, nil) // none of those before is taken for it
		e.must(storage.Insert(record(r, fmt.Sprint(i))))
	}
	for i, k := range hostile {
		r := ref(storage.KindCode, k)
		e.wantRow(r, stored(record(r, fmt.Sprint(i)), 1, storage.Active))
		e.must(storage.Consume(r)) // and nothing else
		for j := i + 1; j < len(hostile); j += 13 {
			e.must(storage.Check(ref(storage.KindCode, hostile[j])))
		}
	}
	for i, k := range hostile {
		r := ref(storage.KindCode, k)
		e.wantRow(r, stored(record(r, fmt.Sprint(i)), 2, storage.Consumed))
		e.must(storage.Delete(r))
		e.wantRow(r, nil)
	}
}

func hostileColumns(e *env) {
	hostile := e.hostile()
	columns := []struct {
		name string
		set  func(*storage.Record, string)
		ask  func(*storage.Query, string)
	}{
		{"subject", func(r *storage.Record, v string) { r.Subject = v }, func(q *storage.Query, v string) { q.Subject = v }},
		{"client", func(r *storage.Record, v string) { r.Client = v }, func(q *storage.Query, v string) { q.Client = v }},
		{"session", func(r *storage.Record, v string) { r.Session = v }, func(q *storage.Query, v string) { q.Session = v }},
		{"grant", func(r *storage.Record, v string) { r.Grant = v }, func(q *storage.Query, v string) { q.Grant = v }},
	}
	for _, c := range columns {
		for i, v := range hostile {
			r := storage.Record{Ref: grantRef("%s %d", c.name, i)}
			c.set(&r, v)
			e.must(storage.Insert(r))
		}
	}
	for _, c := range columns {
		for i, v := range hostile {
			q := storage.Query{Kind: storage.KindGrant}
			c.ask(&q, v)
			want := storage.Record{Ref: grantRef("%s %d", c.name, i)}
			c.set(&want, v)
			got := e.collect(q)
			if len(got) != 1 {
				e.Fatalf("find by %s %q: %d records, want one", c.name, v, len(got))
			}
			if diff := differ(got[0], stored(want, 1, storage.Active)); diff != "" {
				e.Fatalf("find by %s %q: %s", c.name, v, diff)
			}
		}
	}
}

// kinds has pairs of kind and key that are alike when they are glued together.
func kinds(e *env) {
	refs := []storage.Ref{
		ref("a", "bc"), ref("ab", "c"), ref("abc", "bc"), ref("A", "bc"), ref("a ", "bc"), ref("a\x00", "bc"), ref("a", "\x00bc"),
		ref("a:", "bc"), ref("a", ":bc"), ref("a:b", "c"), ref("a", "b:c"), ref("a/b", "c"), ref("a", "b/c"), ref("\xff", "bc"),
		ref(storage.KindCode, "bc"), ref(storage.KindGrant, "bc"), ref(storage.KindPAR, "bc"),
		ref(storage.Kind(strings.Repeat("k", 32)), "bc"), ref(storage.Kind(strings.Repeat("k", 31)), "kbc"),
	}
	for i, r := range refs {
		e.wantRow(r, nil)
		e.must(storage.Insert(record(r, fmt.Sprint(i))))
	}
	for i, r := range refs {
		e.wantRow(r, stored(record(r, fmt.Sprint(i)), 1, storage.Active))
		got := e.collect(storage.Query{Kind: r.Kind, Subject: "sub"})
		n := 0
		for _, other := range refs {
			if other.Kind == r.Kind {
				n++
			}
		}
		if len(got) != n {
			e.Fatalf("find of kind %q: %d records, want %d", r.Kind, len(got), n)
		}
	}
}

func shards(e *env) {
	numbers := []uint16{0, 1, 7, 255, 256, 32767, 32768, 65535}
	for i, n := range numbers {
		r := storage.Ref{Kind: storage.KindCode, Shard: n, Key: "k"}
		e.wantRow(r, nil)
		e.must(storage.Insert(record(r, fmt.Sprint(i))))
	}
	for i, n := range numbers {
		r := storage.Ref{Kind: storage.KindCode, Shard: n, Key: "k"}
		e.wantRow(r, stored(record(r, fmt.Sprint(i)), 1, storage.Active))
		e.must(storage.Consume(r))
	}
	if got := e.collect(storage.Query{Kind: storage.KindCode, Subject: "sub", Limit: 3}); len(got) != len(numbers) {
		e.Fatalf("find sees %d records, want those of all %d shards", len(got), len(numbers))
	}
}

func impossibleRefs(e *env) {
	for _, r := range []storage.Ref{{}, {Kind: storage.KindCode}, {Key: "k"}, ref(storage.KindCode, strings.Repeat("k", 1<<20)), ref(storage.Kind(strings.Repeat("k", 1<<16)), "k")} {
		if rec, err := e.Get(e.Context(), r); rec != nil || !errors.Is(err, storage.ErrNotFound) {
			e.Errorf("get with kind of %d and key of %d bytes: %v, %v, want ErrNotFound", len(r.Kind), len(r.Key), rec, err)
		}
	}
}

func times(e *env) {
	zone := time.FixedZone("east", 5*3600+1800)
	for i, at := range []time.Time{
		{}, far, far.In(zone), far.Add(999), far.Add(-1), time.Now().Add(time.Hour), time.Date(2038, 1, 19, 3, 14, 8, 1000, zone),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		r := record(grantRef("%d", i), "")
		r.ExpiresAt = at
		e.must(storage.Insert(r))
		e.wantRow(r.Ref, stored(r, 1, storage.Active))
		r.Version, r.ExpiresAt = 1, far
		e.must(storage.Update(r))
		r.Version, r.ExpiresAt = 2, at
		e.must(storage.Update(r))
		e.must(storage.Consume(r.Ref))
		e.wantRow(r.Ref, stored(r, 4, storage.Consumed))
		for _, got := range e.collect(storage.Query{Kind: r.Kind, Subject: "sub"}) {
			if got.Ref == r.Ref {
				if diff := differ(got, stored(r, 4, storage.Consumed)); diff != "" {
					e.Fatalf("find: %s", diff)
				}
			}
		}
	}
}

// expired has records whose time is over: the kit judges that, not the
// backend.
func expired(e *env) {
	for i, at := range []time.Time{time.Now().Add(-time.Minute), time.Now(), time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0)} {
		r := record(grantRef("%d", i), "")
		r.ExpiresAt = at
		e.must(storage.Insert(r))
		e.wantRow(r.Ref, stored(r, 1, storage.Active))
		ops := []storage.Op{storage.Insert(r)}
		e.wantConflict(e.commit(ops...), ops, 0, storage.ErrExists, stored(r, 1, storage.Active))
		e.must(storage.Check(r.Ref))
		r.Version = 1
		e.must(storage.Update(r))
		e.must(storage.Consume(r.Ref))
		e.wantRow(r.Ref, stored(r, 3, storage.Consumed))
		if got := e.collect(storage.Query{Kind: r.Kind, Subject: "sub"}); len(got) != i+1 {
			e.Fatalf("find sees %d of %d expired records", len(got), i+1)
		}
	}
}
