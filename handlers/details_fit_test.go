package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/storage"
)

// upTo is a DetailType of an amount that may become less.
type upTo struct{}

func (upTo) Type() string { return "up_to" }

func (upTo) Validate(_ context.Context, _ *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	var d struct {
		Type string `json:"type"`
		N    uint8  `json:"n"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

func (upTo) Describe(context.Context, json.RawMessage, []string) ([]string, error) { return nil, nil }

func (upTo) Within(_ context.Context, granted, narrowed json.RawMessage) (bool, error) {
	var a, b struct{ N uint8 }
	err := errors.Join(json.Unmarshal(granted, &a), json.Unmarshal(narrowed, &b))
	return b.N <= a.N, err
}

func amounts(ns []byte) []json.RawMessage {
	var ds []json.RawMessage
	for _, n := range ns {
		ds = append(ds, json.RawMessage(fmt.Sprintf(`{"type":"up_to","n":%d}`, n)))
	}
	return ds
}

// fitsSorted is the same question for amounts, answered by sorting.
func fitsSorted(wide, narrowed []byte) bool {
	w, n := slices.Clone(wide), slices.Clone(narrowed)
	slices.Sort(w)
	slices.Sort(n)
	if len(n) > len(w) {
		return false
	}
	for i := range n {
		if n[len(n)-1-i] > w[len(w)-1-i] {
			return false
		}
	}
	return true
}

// FuzzDetailsFit: a fit is found exactly when there is one, and it is one.
func FuzzDetailsFit(f *testing.F) {
	f.Add([]byte{100, 5}, []byte{5, 99})
	f.Add([]byte{10, 10, 9}, []byte{9, 9, 10})
	f.Add([]byte{1}, []byte{1, 1})
	f.Add([]byte{7, 3, 5}, []byte{3, 5, 7})
	p := bench(f)
	p.cfg.Details = []DetailType{upTo{}}
	f.Fuzz(func(t *testing.T, wide, narrowed []byte) {
		if len(wide) > maxDetails || len(narrowed) > maxDetails {
			return
		}
		at, ok, err := p.fit(context.Background(), amounts(wide), amounts(narrowed))
		if err != nil || ok != fitsSorted(wide, narrowed) {
			t.Fatalf("%v in %v: %v %v", narrowed, wide, ok, err)
		}
		used := map[int]bool{}
		for i, j := range at {
			if used[j] || wide[j] < narrowed[i] {
				t.Fatalf("%v in %v: at %v", narrowed, wide, at)
			}
			used[j] = true
		}
	})
}

// FuzzTokenDetails: whatever the token endpoint is asked for, the token shows
// nothing beyond the grant, and shows the same after it was sealed and signed.
func FuzzTokenDetails(f *testing.F) {
	for _, s := range []string{
		`[{"type":"up_to","n":5}]`, `[{"n":5,"type":"up_to"},{"type":"up_to","n":9}]`, `[{"type":"up_to","n":5},{"type":"up_to","n":5}]`,
		`[{"type":"up_to","n":5.0}]`, `[{"type":"up_to","n":"5"}]`, `[{"t\u0079pe":"up_to","n":6}]`, `[{"type":"other"}]`, `[0,1]`, `[]`, `[{"Type":"up_to","n":1}]`,
	} {
		f.Add(s)
	}
	p := bench(f)
	p.cfg.Details = []DetailType{upTo{}}
	ctx := context.Background()
	c := &clientreg.Client{ID: "c", AuthorizationDetailsTypes: []string{"up_to"}}
	g := &grant{rec: &storage.Record{Ref: grantRef(7, "AAAAAAAAAAAAAAAAAAAAAA"), Client: "c", Subject: "s"}}
	g.data.Details = append(amounts([]byte{10, 5}), json.RawMessage(`{"type":"other"}`))
	f.Fuzz(func(t *testing.T, raw string) {
		narrowed, err := p.ofToken(ctx, c, g, raw)
		if err != nil {
			if e := toError(err); e.Code != "invalid_authorization_details" {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		details, ok := narrowed.in(g)
		if !ok {
			t.Fatalf("%q: %s does not resolve", raw, narrowed)
		}
		var ns []byte
		for _, d := range details {
			var v struct {
				Type string
				N    uint8
			}
			if err := json.Unmarshal(d, &v); err != nil || v.Type != "up_to" {
				t.Fatalf("%q: %s", raw, d)
			}
			ns = append(ns, v.N)
		}
		if !fitsSorted([]byte{10, 5}, ns) || len(ns) == 0 {
			t.Fatalf("%q: %v of 10 and 5", raw, ns)
		}
		token, err := p.mintAccess(ctx, g, nil, []string{"https://id.example"}, narrowed, p.now())
		if err != nil {
			t.Fatal(err)
		}
		opened, ok, err := p.openAccess(ctx, token)
		if !ok || err != nil {
			t.Fatalf("%q: does not open: %v", raw, err)
		}
		if got, ok := opened.Details.in(g); !ok || !slices.EqualFunc(got, details, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q: %s became %s", raw, details, got)
		}
	})
}

// TestTokenDetailsBeyondGrant: a token whose index the grant lacks is none of
// ours, and one of before details were narrowed means all.
func TestTokenDetailsBeyondGrant(t *testing.T) {
	t.Parallel()
	g := &grant{}
	g.data.Details = amounts([]byte{1, 2})
	for s, n := range map[string]int{`null`: 2, `[]`: 0, `[1]`: 1, `[1,0]`: 2, `[2]`: -1, `[-1]`: -1, `["0"]`: -1, `[null]`: -1, `[0.0]`: -1, `[{"type":"up_to","n":1}]`: 1} {
		var d tokenDetails
		if err := json.Unmarshal([]byte(s), &d); err != nil {
			t.Fatal(err)
		}
		details, ok := d.in(g)
		if ok != (n >= 0) || ok && len(details) != n {
			t.Errorf("%s: %s %v", s, details, ok)
		}
	}
	var old accessToken
	if err := json.Unmarshal([]byte(`{"s":1,"g":"x","j":"y","a":["z"],"i":1,"e":2}`), &old); err != nil || old.Details != nil {
		t.Errorf("%+v %v", old, err)
	}
}
