// Package check validates structs by their validate tags and reports every
// violation with the path of the field. It is the only importer of validator.
//
// The walk over a struct is the kit's own; validator judges single values. So
// what an application plugs into an interface field (a storage with a lock, a
// client with a cycle, a struct with tags for a validator of its own) is never
// descended into, which validator.Struct would do.
package check

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/go-playground/validator/v10"
)

// Violation is one value that breaks a rule.
type Violation struct {
	Field string // path: Secrets[0], redirect_uris[1]
	Tag   string // name of the rule: required, max, https_url
	Param string // of the rule; may be empty
	Value any    // may be a secret: not to be printed
}

// Struct validates the struct, or pointer to one, and names fields as Go does.
func Struct(v any) []Violation { return theChecker().check(v, goName) }

// Wire validates as Struct does and names fields by their JSON names.
func Wire(v any) []Violation { return theChecker().check(v, wireName) }

func goName(f reflect.StructField) string { return f.Name }

func wireName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
		return name
	}
	return f.Name
}

// theChecker is made once and not changed afterwards, but for what it remembers
// of types.
var theChecker = sync.OnceValue(newChecker)

type checker struct {
	values *validator.Validate
	plans  sync.Map // reflect.Type -> []rule
}

// rule is what is asked of one field.
type rule struct {
	index    int
	field    reflect.StructField
	required bool   // of interfaces, pointers and functions, judged here
	tag      string // for validator; empty: nothing
	descend  bool   // into a struct, or into the structs of a slice
}

func newChecker() *checker {
	v := validator.New(validator.WithRequiredStructEnabled())
	for tag, ok := range map[string]func(string) bool{
		"text":          Text,
		"vschar":        VSChar,
		"scope":         Scope,
		"https_url":     func(s string) bool { return HTTPS(s) == "" },
		"https_uri":     func(s string) bool { s, _, _ = strings.Cut(s, "#"); return HTTPS(s) == "" },
		"issuer":        func(s string) bool { return Issuer(s) == "" },
		"redirect_uri":  func(s string) bool { return RedirectURI(s) == "" },
		"grant_type":    GrantType,
		"response_type": ResponseType,
		"jws_alg":       SignatureAlg,
		"jwe_alg":       KeyAlg,
		"jwe_enc":       ContentAlg,
		"auth_alg":      func(s string) bool { return SignatureAlg(s) || s == "HS256" || s == "HS384" || s == "HS512" },
	} {
		mustRegister(v.RegisterValidation(tag, func(f validator.FieldLevel) bool {
			return f.Field().Kind() == reflect.String && ok(f.Field().String())
		}))
	}
	return &checker{values: v}
}

func mustRegister(err error) {
	if err != nil {
		panic(err) // only for an empty tag or function
	}
}

func (c *checker) check(v any, name func(reflect.StructField) string) []Violation {
	val := reflect.ValueOf(v)
	for val.Kind() == reflect.Pointer {
		val = val.Elem()
	}
	if val.Kind() != reflect.Struct {
		panic("check: not a struct")
	}
	var found []Violation
	c.walk(val, "", name, &found)
	return found
}

func (c *checker) walk(v reflect.Value, path string, name func(reflect.StructField) string, found *[]Violation) {
	for _, r := range c.plan(v.Type()) {
		field, at := v.Field(r.index), path+name(r.field)
		if r.required && field.IsNil() {
			*found = append(*found, Violation{Field: at, Tag: "required"})
			continue
		}
		if r.tag != "" {
			*found = append(*found, c.value(field, r.tag, at)...)
		}
		if r.descend {
			c.descend(field, at, name, found)
		}
	}
}

func (c *checker) value(field reflect.Value, tag, at string) []Violation {
	errs, _ := c.values.Var(field.Interface(), tag).(validator.ValidationErrors)
	found := make([]Violation, len(errs))
	for i, e := range errs {
		// Namespace is the index within field, such as [1], or empty.
		found[i] = Violation{Field: at + e.Namespace(), Tag: e.Tag(), Param: e.Param(), Value: e.Value()}
	}
	return found
}

func (c *checker) descend(v reflect.Value, at string, name func(reflect.StructField) string, found *[]Violation) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.descend(v.Elem(), at, name, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.descend(v.Index(i), at+"["+strconv.Itoa(i)+"]", name, found)
		}
	case reflect.Struct:
		c.walk(v, at+".", name, found)
	}
}

// plan reads the tags of a type once.
func (c *checker) plan(t reflect.Type) []rule {
	if p, ok := c.plans.Load(t); ok {
		return p.([]rule)
	}
	var p []rule
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("validate")
		if !f.IsExported() || tag == "-" {
			continue
		}
		r := rule{index: i, field: f, tag: tag, descend: owned(t, f.Type)}
		if nilable(f.Type) {
			if first, rest, _ := strings.Cut(tag, ","); first == "required" {
				r.required, r.tag = true, rest
			}
		}
		if r.descend {
			r.tag = strings.TrimSuffix(strings.TrimSuffix(r.tag, "dive"), ",")
		}
		if f.Type.Kind() == reflect.Interface {
			r.tag = "" // what is inside is the application's
		}
		if r.required || r.tag != "" || r.descend {
			p = append(p, r)
		}
	}
	c.plans.Store(t, p)
	return p
}

func nilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Func, reflect.Chan:
		return true
	}
	return false
}

// owned tells whether field is a struct of the same package as its parent, or
// a pointer to or a slice of such.
func owned(parent, field reflect.Type) bool {
	for field.Kind() == reflect.Slice || field.Kind() == reflect.Pointer {
		field = field.Elem()
	}
	return field.Kind() == reflect.Struct && field.PkgPath() == parent.PkgPath() && field.PkgPath() != ""
}
