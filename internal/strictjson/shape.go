package strictjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// shape is what json.Unmarshal would fill with an object or array: the fields
// of a struct by their wire names, or the one type of all elements. The zero
// shape knows no names.
type shape struct {
	fields map[string]reflect.Type
	elem   reflect.Type
}

// member returns the type that the member is meant for, nil when unknown. It is
// not ok when the name is no field's but json.Unmarshal would take it for one.
func (s shape) member(name string) (t reflect.Type, ok bool) {
	if s.fields == nil {
		return s.elem, true
	}
	if t, ok := s.fields[name]; ok {
		return t, true
	}
	for field := range s.fields {
		if strings.EqualFold(field, name) {
			return nil, false
		}
	}
	return nil, true
}

func shapeOf(t reflect.Type) shape {
	for t != nil && t.Kind() == reflect.Pointer {
		if decodesItself(t) {
			return shape{}
		}
		t = t.Elem()
	}
	if t == nil || decodesItself(reflect.PointerTo(t)) {
		return shape{}
	}
	switch t.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array:
		return shape{elem: t.Elem()}
	case reflect.Struct:
		return shape{fields: fieldsOf(t)}
	}
	return shape{}
}

// decodesItself tells whether the type reads its own JSON (json.RawMessage and
// the like): what is inside is then its business.
func decodesItself(ptr reflect.Type) bool {
	return ptr.Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		ptr.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fieldsOf lists wire names. Where embedded structs compete for one name it may
// know more names than json.Unmarshal does, which only refuses more.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	depth := make(map[string]int, t.NumField())
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			if f.Anonymous && isStruct(f.Type) {
				continue // its fields are listed in its place
			}
			name = f.Name
		}
		if d, ok := depth[name]; !ok || len(f.Index) < d {
			fields[name], depth[name] = f.Type, len(f.Index)
		}
	}
	return fields
}

func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}
