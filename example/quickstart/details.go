package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// detailType is a type of authorization_details that a configuration describes,
// RFC 9396: which members a detail may have and which values they may take. An
// API with rules of its own writes a handlers.DetailType in Go instead.
type detailType struct {
	Name    string   `yaml:"type"`
	Title   string   `yaml:"title"` // first line on the consent page
	Members []member `yaml:"members"`
}

// member is one member of a detail: text, or a list of texts.
type member struct {
	Name     string  `yaml:"name"`
	Title    string  `yaml:"title"` // before its values on the consent page; default: the name
	Required bool    `yaml:"required"`
	Values   choices `yaml:"values"` // empty: any text
}

// choices are the values that a member may take, with their texts.
type choices []choice

type choice struct{ value, text string }

// fromYAML reads a list of values or a mapping of values to texts.
func (c *choices) fromYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			d.text(item, fmt.Sprintf("%s[%d]", path, i), "text", func(s string) error {
				*c = append(*c, choice{s, s})
				return nil
			})
		}
		return
	}
	d.pairs(n, path, func(name, at string, text *yaml.Node) {
		d.text(text, at, "the text of the value", func(s string) error {
			*c = append(*c, choice{name, s})
			return nil
		})
	})
}

func (c choices) text(value string) (string, bool) {
	for _, x := range c {
		if x.value == value {
			return x.text, true
		}
	}
	return value, len(c) == 0
}

// Type implements handlers.DetailType.
func (t *detailType) Type() string { return t.Name }

// Validate implements handlers.DetailType. It refuses members that are not
// configured: what nobody understands cannot be consented to, RFC 9396 §5.
func (t *detailType) Validate(_ context.Context, _ *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	got, err := readDetail(raw)
	if err != nil {
		return nil, err
	}
	for name, values := range got {
		m := t.member(name)
		if m == nil {
			return nil, fmt.Errorf("type %s has no member %.40q", t.Name, name)
		}
		for _, v := range values.list {
			if _, ok := m.Values.text(v); !ok {
				return nil, fmt.Errorf("member %s of type %s has a value that is not configured", name, t.Name)
			}
		}
	}
	for _, m := range t.Members {
		if _, ok := got[m.Name]; m.Required && !ok {
			return nil, fmt.Errorf("type %s needs the member %s", t.Name, m.Name)
		}
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, raw)
	return compact.Bytes(), err
}

func (t *detailType) member(name string) *member {
	for i := range t.Members {
		if t.Members[i].Name == name {
			return &t.Members[i]
		}
	}
	return nil
}

// Describe implements handlers.DetailType: the title, then a line a member.
func (t *detailType) Describe(_ context.Context, raw json.RawMessage, _ []string) ([]string, error) {
	got, err := readDetail(raw)
	if err != nil {
		return nil, err
	}
	var lines []string
	if t.Title != "" {
		lines = append(lines, t.Title)
	}
	for _, m := range t.Members { // in the order configured
		values, ok := got[m.Name]
		if !ok {
			continue
		}
		title := m.Title
		if title == "" {
			title = m.Name
		}
		texts := make([]string, len(values.list))
		for i, v := range values.list {
			texts[i], _ = m.Values.text(v)
		}
		lines = append(lines, title+": "+strings.Join(texts, ", "))
	}
	return lines, nil
}

// Within implements handlers.DetailType. Lists may become shorter, but not
// empty. A member may not go, because it may be the one that limits the others.
func (t *detailType) Within(_ context.Context, granted, narrowed json.RawMessage) (bool, error) {
	g, err := readDetail(granted)
	if err != nil {
		return false, err
	}
	n, err := readDetail(narrowed)
	if err != nil {
		return false, nil
	}
	if len(g) != len(n) {
		return false, nil
	}
	for name, less := range n {
		more, ok := g[name]
		if !ok || more.isList != less.isList {
			return false, nil
		}
		for _, v := range less.list {
			if !slices.Contains(more.list, v) {
				return false, nil
			}
		}
	}
	return true, nil
}

// detailValue is text or a list of texts.
type detailValue struct {
	list   []string
	isList bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *detailValue) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		v.isList = true
		if err := json.Unmarshal(b, &v.list); err != nil {
			return err
		}
	} else {
		v.list = make([]string, 1)
		if err := json.Unmarshal(b, &v.list[0]); err != nil {
			return err
		}
	}
	if len(v.list) == 0 || len(v.list) > maxValues || bytes.Equal(b, []byte("null")) {
		return errors.New("must hold a value, and not too many")
	}
	for _, s := range v.list {
		if s == "" || len(s) > maxValue || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("a value is empty, too long or has control characters")
		}
	}
	return nil
}

const (
	maxValues = 64  // in one member
	maxValue  = 256 // bytes
)

// readDetail returns the members besides type.
func readDetail(raw json.RawMessage) (map[string]detailValue, error) {
	var m map[string]detailValue
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, errors.New("members must be text or lists of texts")
	}
	delete(m, "type")
	return m, nil
}

var _ handlers.DetailType = (*detailType)(nil)
