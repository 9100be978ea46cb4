package jsonread_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/idpkit/idpkit/internal/jsonread"
)

// record has a member of every type that is read.
type record struct {
	S     string            `json:"s,omitempty"`
	List  []string          `json:"list,omitempty"`
	Raws  []json.RawMessage `json:"raws,omitempty"`
	N     int64             `json:"n,omitempty"`
	B     bool              `json:"b,omitempty"`
	T     time.Time         `json:"t"`
	Bytes []byte            `json:"bytes,omitempty"`
	Any   *map[string]any   `json:"any,omitempty"`
	Inner *inner            `json:"inner,omitempty"`
	Last  string            `json:"last"`
}

type inner struct {
	S string `json:"s"`
	N int64  `json:"n"`
}

func (i *inner) read(r *jsonread.Reader) {
	for r.Next() {
		switch string(r.Name()) {
		case "s":
			i.S = r.String()
		case "n":
			i.N = r.Int64()
		default:
			r.Skip()
		}
	}
}

func read(data []byte) (d record, err error) {
	r := jsonread.Object(data)
	for r.Next() {
		switch string(r.Name()) {
		case "s":
			d.S = r.String()
		case "list":
			d.List = r.Strings()
		case "raws":
			d.Raws = r.Raws()
		case "n":
			d.N = r.Int64()
		case "b":
			d.B = r.Bool()
		case "t":
			d.T = r.Time()
		case "bytes":
			d.Bytes = r.Bytes()
		case "any":
			r.Decode(&d.Any)
		case "inner":
			if d.Inner == nil {
				d.Inner = &inner{}
			}
			if !r.Object(d.Inner.read) {
				d.Inner = nil
			}
		case "last":
			d.Last = r.String()
		default:
			r.Skip()
		}
	}
	return d, r.Err()
}

var samples = []string{
	`{}`, ` { } `, `{"last":"x"}`,
	`{"s":"plain","list":["a","b"],"raws":[{"type":"p","n":[1,{"x":"}"}]},null,1.5],"n":-12,"b":true,"t":"2026-11-25T19:00:00.123456Z","bytes":"AAEC","any":{"a":[1,"x"]},"inner":{"s":"y","n":3,"more":{"n":[]}},"last":"x"}`,
	`{"s":"quote \" back \\ slash \/ tab \t é \u00e9 \ud83d\ude00 <b>","last":"ü"}`,
	`{"t":"2026-11-25T19:00:00Z","last":"x"}`, `{"t":"0001-01-01T00:00:00Z","last":"x"}`, `{"t":"9999-12-31T23:59:59.999999999Z","last":"x"}`, `{"t":"2024-02-29T00:00:00.5Z","last":"x"}`,
	`{"t":"2026-11-25T19:00:00+01:00","last":"x"}`, `{"t":"2026-11-25T19:00:00.120Z","last":"x"}`,
	`{"s":null,"list":null,"raws":null,"n":null,"b":null,"t":null,"bytes":null,"any":null,"inner":null,"last":"x"}`, `{"inner":{},"last":"x"}`, `{ "inner" : { } , "last":"x"}`,
	`{"list":[],"raws":[],"bytes":"","any":{},"n":0,"b":false,"unknown":{"deep":[[[{}]]],"s":"]"},"last":"x"}`,
	"{\n\t\"s\" : \"spaced\" ,\r \"list\" : [ \"a\" , \"b\" ] , \"n\" : 7 , \"last\" : \"x\" }",
	`{"s":"first","s":"second","last":"x"}`, `{"\u0073":"escaped name","last":"x"}`,
}

var broken = []string{
	``, ` `, `null`, `[]`, `"s"`, `1`, `{`, `{"s"`, `{"s":`, `{"s":"x"`, `{"s":"x",}`, `{,}`, `{"s":"x"}}`, `{"s":"x"} x`, `{"s":"x" "n":1}`,
	`{"s":1}`, `{"s":x}`, `{"s":"x}`, `{"s":"\x"}`, "{\"s\":\"\n\"}", `{s:"x"}`, `{"list":"x"}`, `{"list":[1]}`, `{"list":["a"}`, `{"list":["a",]}`, `{"list":[,]}`,
	`{"raws":[1,2}`, `{"raws":[{]}`, `{"raws":{}}`, `{"raws":[01]}`, `{"n":"1"}`, `{"n":01}`, `{"n":-}`, `{"n":1-2}`, `{"n":99999999999999999999}`, `{"n":}`,
	`{"b":1}`, `{"b":truex}`, `{"t":"yesterday"}`, `{"t":"2026-02-29T00:00:00Z"}`, `{"t":"2026-13-01T00:00:00Z"}`, `{"t":"2026-00-01T00:00:00Z"}`, `{"t":"2026-01-00T00:00:00Z"}`, `{"t":"2026-01-01T24:00:00Z"}`,
	`{"t":"2026-01-01T00:60:00Z"}`, `{"t":"2026-01-01T00:00:60Z"}`, `{"t":"2026-01-01T00:00:00.Z"}`, `{"t":"2026-01-01T00:00:00.xZ"}`, `{"t":"2026-01-01T00:00:00"}`, `{"t":"2026-01-01 00:00:00Z"}`, `{"t":"202x-01-01T00:00:00Z"}`, `{"t":5}`, `{"bytes":"?"}`, `{"bytes":[]}`, `{"any":1}`, `{"any":{"a":}}`, `{"u":}`, `{"u":nul}`, `{"u":]}`, `{"u":1}]`,
	`{"u":{"a" 1}}`, `{"u":1 2}`, `{"inner":[]}`, `{"inner":1}`, `{"inner":{}`, `{"inner":{"s":"x"}`, `{"inner":{"s":1}}`, `{"inner":{}}}`, `{"inner":{} x}`, `{"inner":{"n":1,}}`,
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		got, err := read([]byte(s))
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		var want record
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", s, got, want)
		}
	}
	for _, s := range broken {
		if got, err := read([]byte(s)); !errors.Is(err, jsonread.ErrMalformed) {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
}

// TestUnread: a reader that leaves an inner object early breaks the outer one.
func TestUnread(t *testing.T) {
	t.Parallel()
	r := jsonread.Object([]byte(`{"inner":{"s":"x","n":1},"last":"x"}`))
	if r.Next() && r.Object(func(r *jsonread.Reader) { r.Next() }) || r.Err() == nil {
		t.Error("not noticed")
	}
}

// TestErrorStays: what follows an error reads nothing.
func TestErrorStays(t *testing.T) {
	t.Parallel()
	r := jsonread.Object([]byte(`{"n":"x","s":"y"}`))
	if !r.Next() || r.Int64() != 0 {
		t.Fatal("a string was read as a number")
	}
	if r.Next() || r.String() != "" || r.Strings() != nil || r.Raw() != nil || r.Bytes() != nil || r.Bool() || r.Int64() != 0 || !r.Time().IsZero() {
		t.Error("something was read after an error")
	}
	if r.Err() == nil {
		t.Error("the error is forgotten")
	}
}

// FuzzRead compares with encoding/json: what is read is what that reads, and
// what it wrote is read.
func FuzzRead(f *testing.F) {
	for _, s := range append(samples, broken...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := read(data)
		var want record
		std := json.Unmarshal(data, &want)
		if bytes.Contains(bytes.ToLower(data), []byte("inner")) && bytes.ContainsAny(data, "SN") || !exact(data) {
			return // names that only differ in case are another matter
		}
		if err == nil {
			if std != nil {
				t.Fatalf("read what encoding/json refuses: %v", std)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		if std != nil {
			return
		}
		written, err := json.Marshal(want)
		if err != nil {
			return // a year beyond 9999
		}
		again, err := read(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		back, _ := json.Marshal(again)
		if string(back) != string(written) {
			t.Fatalf("%s became %s", written, back)
		}
	})
}

// exact tells whether all members have the names of ours, byte by byte.
func exact(data []byte) bool {
	members := map[string]json.RawMessage{}
	_ = json.Unmarshal(data, &members)
	for name := range members {
		switch name {
		case "s", "list", "raws", "n", "b", "t", "bytes", "any", "inner", "last":
		default:
			return false
		}
	}
	return true
}

var grant = []byte(`{"scope":["openid","profile","email","offline_access"],"sid":"5ZzXPgS0jWmvTQfb3v7kPjA6XkQn3b0F2m9l4a6oN1c","auth_time":"2026-11-25T19:00:00Z",` +
	`"amr":["pwd"],"created_at":"2026-11-25T19:00:01.123456Z","used_at":"2026-11-25T19:00:02.654321Z","seq":3,"digest":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`)

func BenchmarkObject(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var scope, amr []string
		var at, created, used time.Time
		var digest []byte
		var sid string
		var seq int64
		r := jsonread.Object(grant)
		for r.Next() {
			switch string(r.Name()) {
			case "scope":
				scope = r.Strings()
			case "sid":
				sid = r.String()
			case "auth_time":
				at = r.Time()
			case "amr":
				amr = r.Strings()
			case "created_at":
				created = r.Time()
			case "used_at":
				used = r.Time()
			case "seq":
				seq = r.Int64()
			case "digest":
				digest = r.Bytes()
			default:
				r.Skip()
			}
		}
		if r.Err() != nil || len(scope) != 4 || len(amr) != 1 || sid == "" || seq != 3 || len(digest) != 32 || at.IsZero() || created.IsZero() || used.IsZero() {
			b.Fatal(r.Err())
		}
	}
}

func BenchmarkStandard(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var d struct {
			Scope     []string  `json:"scope"`
			SID       string    `json:"sid"`
			AuthTime  time.Time `json:"auth_time"`
			AMR       []string  `json:"amr"`
			CreatedAt time.Time `json:"created_at"`
			UsedAt    time.Time `json:"used_at"`
			Seq       int64     `json:"seq"`
			Digest    []byte    `json:"digest"`
		}
		if err := json.Unmarshal(grant, &d); err != nil {
			b.Fatal(err)
		}
	}
}
