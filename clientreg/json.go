package clientreg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/idpkit/idpkit/internal/strictjson"
)

// MaxDepth is how deep the JSON of a client may be nested.
const MaxDepth = 16

// MarshalJSON writes the whole client, the kit's own members and unknown ones
// included, and leaves out what is not set: the form to store. What goes to
// strangers is Metadata.
func (c Client) MarshalJSON() ([]byte, error) { return c.marshal(true) }

// Metadata writes the client as RFC 7591 §3.2.1 answers it: without the kit's
// own members, hashes of secrets among them.
func (c *Client) Metadata() (json.RawMessage, error) { return c.marshal(false) }

func (c *Client) marshal(own bool) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	write := func(name string, v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("clientreg: member %q: %w", name, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		b.Write(key)
		b.WriteByte(':')
		b.Write(raw)
		return err
	}
	val := reflect.ValueOf(c).Elem()
	for _, f := range members().list {
		if v := val.Field(f.index); (own || !f.own) && !empty(v) {
			if err := write(f.name, f.toWire(v)); err != nil {
				return nil, err
			}
		}
	}
	for name, raw := range sorted(c.Extra) {
		if reserved(name) {
			return nil, fmt.Errorf("clientreg: member %q has no place in Extra", name)
		}
		if err := write(name, raw); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON replaces c by a client that Marshal wrote, or by metadata from
// elsewhere: strict JSON (RFC 7493), no member twice, none that differs from a
// known one in case only. Unknown members go to Extra. What belongs to one
// request or answer and is no property of the client is dropped: client_secret,
// client_secret_expires_at, registration_access_token, registration_client_uri,
// software_statement. Mistakes are *MetadataError, all at once.
//
// It accepts the kit's own members; see Untrusted.
func (c *Client) UnmarshalJSON(data []byte) error {
	var doc map[string]json.RawMessage
	switch err := strictjson.Unmarshal(data, &doc, MaxDepth); {
	case errors.Is(err, strictjson.ErrType), err == nil && doc == nil:
		return errors.New("clientreg: not a JSON object")
	case err != nil:
		return err
	}
	n := Client{Version: c.Version}
	json.Unmarshal(doc["client_id"], &n.ID) // for the errors; reported below
	m := mistakes{client: n.ID}
	val, table := reflect.ValueOf(&n).Elem(), members()
	for name, raw := range sorted(doc) {
		f, known := table.byName[name]
		switch {
		case known:
			if err := f.fromWire(val.Field(f.index), raw); err != nil {
				m.add(name, "has the wrong type", "give "+f.typeName())
			}
		case perRequest(name):
		case reserved(name):
			m.add(name, "differs from a known member in case only", "write it in lower case")
		default:
			if n.Extra == nil {
				n.Extra = map[string]json.RawMessage{}
			}
			n.Extra[name] = raw
		}
	}
	if len(m.errs) > 0 {
		return errors.Join(m.errs...)
	}
	*c = n
	return nil
}

// perRequest tells which members belong to requests and answers of RFC 7591
// and RFC 7592, not to the client.
func perRequest(name string) bool {
	switch name {
	case "client_secret", "client_secret_expires_at", "registration_access_token", "registration_client_uri", "software_statement":
		return true
	}
	return false
}

// reserved tells whether a name may not be in Extra: some reader could take it
// for a member that has a field, or for one that is dropped.
func reserved(name string) bool {
	lower := strings.ToLower(name)
	_, known := members().byName[lower]
	return known || perRequest(lower)
}

// member is a field of Client with a wire name.
type member struct {
	name  string
	index int
	own   bool // the kit's own, from Secrets on
	typ   reflect.Type
}

type memberTable struct {
	list   []member
	byName map[string]member
}

// members is read once from the struct tags and never changed.
var members = sync.OnceValue(func() memberTable {
	t := memberTable{byName: map[string]member{}}
	own := false
	for f := range reflect.TypeFor[Client]().Fields() {
		own = own || f.Name == "Secrets"
		if name := f.Tag.Get("json"); name != "-" {
			m := member{name, f.Index[0], own, f.Type}
			t.list = append(t.list, m)
			t.byName[name] = m
		}
	}
	return t
})

func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice {
		return v.Len() == 0
	}
	if t, ok := v.Interface().(time.Time); ok {
		return t.IsZero()
	}
	return v.IsZero()
}

// seconds tells which time is a number of seconds, RFC 7591 §3.2.1.
func (f member) seconds() bool { return f.name == "client_id_issued_at" }

func (f member) toWire(v reflect.Value) any {
	if f.seconds() {
		return v.Interface().(time.Time).Unix()
	}
	return v.Interface()
}

func (f member) fromWire(v reflect.Value, raw json.RawMessage) error {
	if f.seconds() {
		var s int64
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if s != 0 {
			v.Set(reflect.ValueOf(time.Unix(s, 0).UTC()))
		}
		return nil
	}
	if f.typ == reflect.TypeFor[json.RawMessage]() {
		if string(raw) != "null" {
			v.Set(reflect.ValueOf(raw))
		}
		return nil
	}
	return strictjson.Unmarshal(raw, v.Addr().Interface(), MaxDepth)
}

func (f member) typeName() string {
	switch {
	case f.seconds():
		return "a number of seconds since 1970"
	case f.typ == reflect.TypeFor[time.Time]():
		return "a time in the form of RFC 3339"
	case f.typ.Kind() == reflect.Bool:
		return "true or false"
	case f.typ.Kind() == reflect.String:
		return "a string"
	case f.typ.Kind() == reflect.Pointer:
		return "a whole number"
	case f.typ == reflect.TypeFor[[]string]():
		return "an array of strings"
	}
	return "what the documentation of Client says"
}
