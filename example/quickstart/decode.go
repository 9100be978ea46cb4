package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// mistake is one thing that is wrong in a file, and where.
type mistake struct {
	file string
	line int    // 0: not known
	path string // "users[1].password_hash"
	text string
}

func (m *mistake) Error() string {
	at := m.file
	if m.line > 0 {
		at += ":" + strconv.Itoa(m.line)
	}
	if m.path != "" {
		at += ": " + m.path
	}
	return at + ": " + m.text
}

// decoder fills Go values from YAML. It goes on after a mistake, so that all
// of them are told at once, and remembers where every value stood, so that
// later checks can say so as well.
type decoder struct {
	file     string
	lines    map[string]int // line of each path
	mistakes []error
}

func (d *decoder) fail(path, format string, args ...any) {
	d.mistakes = append(d.mistakes, &mistake{d.file, d.line(path), path, fmt.Sprintf(format, args...)})
}

// failed tells whether something at path or below it was found wrong already.
func (d *decoder) failed(path string) bool {
	return slices.ContainsFunc(d.mistakes, func(err error) bool {
		var m *mistake
		return errors.As(err, &m) && (m.path == path || strings.HasPrefix(m.path, path+".") || strings.HasPrefix(m.path, path+"["))
	})
}

// line returns the line of path or, if it is not in the file, of what it would
// be part of.
func (d *decoder) line(path string) int {
	if path == "" {
		return d.lines[""]
	}
	for path != "" {
		if n, ok := d.lines[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// document reads the one YAML or JSON document in text into v, a pointer.
func (d *decoder) document(text []byte, v any) {
	d.lines = map[string]int{}
	if json.Valid(text) {
		// JSON may be indented with tabs, YAML not. A tab inside a JSON string is
		// always escaped, so this changes no value.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file: all defaults
	case err != nil:
		d.syntax(err)
		return
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		d.mistakes = append(d.mistakes, &mistake{d.file, 0, "", "must hold one document"})
		return
	}
	d.value(doc.Content[0], "", reflect.ValueOf(v).Elem())
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (d *decoder) syntax(err error) {
	m := &mistake{file: d.file, text: err.Error()}
	if at := yamlLine.FindStringSubmatch(m.text); at != nil {
		m.line, _ = strconv.Atoi(at[1])
		m.text = m.text[len(at[0]):]
	}
	d.mistakes = append(d.mistakes, m)
}

// fromYAML is implemented by pointers to types that read themselves.
type fromYAML interface {
	fromYAML(d *decoder, n *yaml.Node, path string)
}

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	d.lines[path] = n.Line
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fail(path, "anchors and aliases are not supported")
		return
	}
	switch to := v.Addr().Interface().(type) {
	case fromYAML:
		to.fromYAML(d, n, path)
		return
	case *yaml.Node:
		*to = *n
		return
	case *map[string]any:
		if m, ok := d.plain(n, path).(map[string]any); ok {
			*to = m
		} else if !d.failed(path) {
			d.fail(path, "must be a mapping")
		}
		return
	case *time.Duration:
		d.text(n, path, "a duration such as 90s, 10m, 24h or 14d", func(s string) (err error) { *to, err = parseDuration(s); return })
		return
	case *netip.Prefix:
		d.text(n, path, "an address or a prefix such as 10.0.0.0/8", func(s string) (err error) { *to, err = parsePrefix(s); return })
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, path, v.Elem())
	case reflect.String:
		d.text(n, path, "text; put it in quotes if it looks like a number", func(s string) error { v.SetString(s); return nil })
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.fail(path, "must be true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.fail(path, "must be a whole number")
			return
		}
		v.SetInt(int64(i))
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(path, "must be a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Struct:
		d.fields(n, path, v)
	default:
		d.fail(path, "cannot be read")
	}
}

// text hands a scalar that YAML takes for text to set.
func (d *decoder) text(n *yaml.Node, path, want string, set func(string) error) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || set(n.Value) != nil {
		d.fail(path, "must be %s", want)
	}
}

func (d *decoder) fields(n *yaml.Node, path string, v reflect.Value) {
	known := map[string]int{}
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			known[name] = i
			names = append(names, name)
		}
	}
	d.pairs(n, path, func(name, at string, c *yaml.Node) {
		if i, ok := known[name]; ok {
			d.value(c, at, v.Field(i))
			return
		}
		d.fail(at, "unknown key; known here: %s", strings.Join(names, ", "))
	})
}

// pairs calls f for each member of a mapping, none of them twice.
func (d *decoder) pairs(n *yaml.Node, path string, f func(name, at string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(path, "must be a mapping")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		first, twice := seen[key.Value]
		d.lines[at] = key.Line
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
			d.fail(at, "a key must be a plain word")
		case twice:
			d.fail(at, "is there twice, see line %d", first)
		default:
			seen[key.Value] = key.Line
			f(key.Value, at, n.Content[i+1])
			d.lines[at] = key.Line
		}
	}
}

// plain returns what JSON would hold: nil, bool, json.Number, string, []any or
// map[string]any.
func (d *decoder) plain(n *yaml.Node, path string) any {
	d.lines[path] = n.Line
	if n.Anchor != "" {
		d.fail(path, "anchors and aliases are not supported")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		d.pairs(n, path, func(name, at string, c *yaml.Node) { m[name] = d.plain(c, at) })
		return m
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			s[i] = d.plain(c, fmt.Sprintf("%s[%d]", path, i))
		}
		return s
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return nil
		case "!!bool":
			return strings.EqualFold(n.Value, "true")
		case "!!int", "!!float":
			if json.Valid([]byte(n.Value)) {
				return json.Number(n.Value)
			}
			d.fail(path, "is a number that JSON does not know; put it in quotes if it is text")
			return nil
		case "!!str", "!!timestamp": // a date is text, as in the claim birthdate
			return n.Value
		}
	}
	d.fail(path, "cannot be read")
	return nil
}

// parseDuration is time.ParseDuration with days.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return a.Prefix(a.BitLen())
	}
	return netip.ParsePrefix(s)
}
