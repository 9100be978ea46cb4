package handlers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// TestDecode fills every member, lets encoding/json write it, and reads it back:
// a member without its case in decode.go is lost here and nowhere else.
func TestDecode(t *testing.T) {
	t.Parallel()
	for _, fresh := range []func() decoder{
		func() decoder { return &accessToken{} },
		func() decoder { return &grantData{} },
		func() decoder { return &codeData{} },
		func() decoder { return &pushedData{} },
		func() decoder { return &sessionData{} },
	} {
		full := fresh()
		n := 0
		fill(t, reflect.ValueOf(full).Elem(), &n)
		for _, d := range []decoder{full, fresh()} {
			t.Run(fmt.Sprintf("%T", d), func(t *testing.T) {
				data, err := json.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				want, got := fresh(), fresh()
				if err := json.Unmarshal(data, want); err != nil {
					t.Fatal(err)
				}
				if err := decode(data, got); err != nil {
					t.Fatalf("%s: %v", data, err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("of %s\n got %+v\nwant %+v", data, got, want)
				}
				for cut := range len(data) {
					if decode(data[:cut], fresh()) == nil {
						t.Errorf("half a record was read: %s", data[:cut])
					}
				}
				if err := decode(bytes.Replace(data, []byte("{"), []byte(`{"added later":{"x":[1]},`), 1), fresh()); err != nil {
					t.Errorf("a member of a later release: %v", err)
				}
			})
		}
	}
}

// fill gives every field another value that is not zero.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 1, 0, 0, *n, 123456000, time.UTC)
		return
	case *json.RawMessage:
		*x = json.RawMessage(fmt.Sprintf(`{"type":"t","n":%d}`, *n))
		return
	case *any:
		*x = fmt.Sprint("any ", *n)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		e := reflect.New(v.Type().Elem()).Elem()
		fill(t, e, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key ", *n)), e)
	case reflect.String:
		v.SetString(fmt.Sprintf(`%d "text" <é>`, *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(*n % 200))
	default:
		t.Fatalf("no value for %s", v.Type())
	}
}
