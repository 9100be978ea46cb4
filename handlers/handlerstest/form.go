package handlerstest

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
)

// Form is a form of a page, filled in.
type Form struct {
	Method string   // GET or POST
	Action *url.URL // where it goes
	Values url.Values
}

// Form fills in a form of the page: the first one that has every field and
// button that fields names. What fields does not name keeps the page's value:
// hidden fields, texts, boxes that are checked. A name without values, such as
// url.Values{"scope": nil}, leaves the field out. A button is pressed by its
// name and value; if fields names none it is the form's first one, as the Enter
// key has it. A value need not be one that the page offers: the provider is to
// judge that.
//
// The error of a page without such a form says which forms there are.
func (p Page) Form(fields url.Values) (Form, error) {
	forms := readForms(p.Body)
	var lacks []string
	for _, f := range forms {
		v, err := f.fill(fields)
		if err != nil {
			lacks = append(lacks, fmt.Sprintf("  form %s %s with %s: %v", f.method, f.action, f.names(), err))
			continue
		}
		at := p.URL
		if at == nil {
			at = &url.URL{}
		}
		to, err := at.Parse(f.action)
		if err != nil {
			return Form{}, fmt.Errorf("the form's action: %w", err)
		}
		to.Fragment = ""
		return Form{f.method, to, v}, nil
	}
	if len(forms) == 0 {
		return Form{}, errors.New("there is no form on the page")
	}
	return Form{}, fmt.Errorf("no form on the page takes %s:\n%s", fields.Encode(), strings.Join(lacks, "\n"))
}

// form is a form as the page has it.
type form struct {
	id, method, action string
	controls           []control
}

// control is a field or button of a form.
type control struct {
	kind        string // type of an input; select, textarea or button
	name, value string
	on          bool // sent unless changed
}

// button tells whether the control sends the form; such a one is never on.
func (c control) button() bool { return c.kind == "submit" || c.kind == "image" }

// names lists the controls for a message; values are of buttons only.
func (f form) names() string {
	var s []string
	for _, c := range f.controls {
		switch {
		case c.button():
			s = append(s, "["+c.name+"="+c.value+"]")
		case c.name != "" && !slices.Contains(s, c.name):
			s = append(s, c.name)
		}
	}
	return strings.Join(s, " ")
}

// fill returns what the form sends.
func (f form) fill(fields url.Values) (url.Values, error) {
	v := url.Values{}
	for _, c := range f.controls {
		if c.on && c.name != "" {
			v.Add(c.name, c.value)
		}
	}
	pressed := false
	for name, values := range fields {
		has, field, pushed := false, false, false
		for _, c := range f.controls {
			if c.name != name {
				continue
			}
			has = true
			if !c.button() {
				field = true
			} else if len(values) == 1 && values[0] == c.value {
				pushed = true
			}
		}
		switch {
		case !has:
			return nil, fmt.Errorf("no field %q", name)
		case !field && !pushed:
			return nil, fmt.Errorf("no button %s=%s", name, strings.Join(values, ","))
		case !field:
			pressed = true
		}
		if delete(v, name); len(values) > 0 {
			v[name] = slices.Clone(values)
		}
	}
	if i := slices.IndexFunc(f.controls, control.button); i >= 0 && !pressed && f.controls[i].name != "" {
		v.Add(f.controls[i].name, f.controls[i].value)
	}
	return v, nil
}

// readForms finds the forms of a page. It reads tags and builds no tree: that
// is enough for pages whose forms are well-formed, which a form that is sent to
// an authorization server should be. Scripts do not run.
func readForms(body string) []form {
	var forms []form
	open := -1 // index of the form that has begun
	type orphan struct {
		form string
		c    control
	}
	var orphans []orphan // controls that name their form
	var list *control    // the select element that has begun
	add := func(a map[string]string, c control) {
		if _, off := a["disabled"]; off {
			return
		}
		if id, ok := a["form"]; ok {
			orphans = append(orphans, orphan{id, c})
		} else if open >= 0 {
			forms[open].controls = append(forms[open].controls, c)
		}
	}
	var attrs map[string]string // of the select element
	chosen := false             // one of its options
	var first *control          // its first option
	eachTag(body, func(t tag) {
		a := t.attrs
		switch {
		case t.name == "form" && !t.end && open < 0: // a form within a form does not exist
			method := "GET"
			if strings.EqualFold(a["method"], "post") {
				method = "POST"
			}
			forms, open = append(forms, form{id: a["id"], method: method, action: a["action"]}), len(forms)
		case t.name == "form" && t.end:
			open = -1
		case t.end && t.name == "select" && list != nil:
			if _, many := attrs["multiple"]; !many && !chosen && first != nil {
				first.on = true
				add(attrs, *first)
			}
			list, first = nil, nil
		case t.end:
		case t.name == "input":
			c := control{kind: strings.ToLower(a["type"]), name: a["name"], value: a["value"]}
			switch _, checked := a["checked"]; c.kind {
			case "checkbox", "radio":
				if _, ok := a["value"]; !ok {
					c.value = "on"
				}
				c.on = checked
			case "submit", "image", "button", "reset", "file":
			default:
				c.on = true
			}
			add(a, c)
		case t.name == "button":
			c := control{kind: "submit", name: a["name"], value: a["value"]}
			if k := strings.ToLower(a["type"]); k == "button" || k == "reset" {
				c.kind = k
			}
			add(a, c)
		case t.name == "textarea":
			add(a, control{kind: "textarea", name: a["name"], value: strings.TrimPrefix(t.text, "\n"), on: true})
		case t.name == "select":
			list, attrs, chosen, first = &control{kind: "select", name: a["name"]}, a, false, nil
			add(a, *list) // the name is there whatever is chosen
		case t.name == "option" && list != nil:
			c := control{kind: "select", name: list.name, value: strings.Join(strings.Fields(t.text), " ")}
			if v, ok := a["value"]; ok {
				c.value = v
			}
			if _, ok := a["selected"]; ok {
				c.on, chosen = true, true
				add(attrs, c)
			}
			if _, off := a["disabled"]; first == nil && !off {
				first = &c
			}
		}
	})
	for _, o := range orphans {
		for i := range forms {
			if forms[i].id == o.form {
				forms[i].controls = append(forms[i].controls, o.c)
			}
		}
	}
	return forms
}

// tag is a tag of a page.
type tag struct {
	name  string
	end   bool
	attrs map[string]string
	text  string // what follows, up to the next tag or, where no tag can be, to its end
}

// eachTag calls f for the tags of a page in turn.
func eachTag(s string, f func(tag)) {
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			return
		}
		s = s[i+1:]
		if strings.HasPrefix(s, "!--") {
			_, s, _ = strings.Cut(s, "-->")
			continue
		}
		t := tag{attrs: map[string]string{}}
		s, t.end = strings.CutPrefix(s, "/")
		n := 0
		for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
			n++
		}
		if n == 0 {
			continue
		}
		t.name, s = strings.ToLower(s[:n]), s[n:]
		s = readAttrs(s, t.attrs)
		switch t.name {
		case "script", "style", "textarea", "title":
			if end := indexFold(s, "</"+t.name); !t.end && end >= 0 {
				t.text, s = s[:end], s[end:]
			}
		default:
			t.text = s
			if end := strings.IndexByte(s, '<'); end >= 0 {
				t.text = s[:end]
			}
		}
		if t.name != "script" && t.name != "style" {
			t.text = html.UnescapeString(t.text)
		}
		f(t)
	}
}

func indexFold(s, sub string) int {
	for i := range len(s) - len(sub) + 1 {
		if strings.EqualFold(s[i:i+len(sub)], sub) {
			return i
		}
	}
	return -1
}

const space = " \t\r\n\f"

// readAttrs reads the attributes up to the end of the tag and returns what
// follows. Of two of one name the first counts.
func readAttrs(s string, into map[string]string) string {
	for {
		s = strings.TrimLeft(s, space+"/")
		if s == "" {
			return ""
		}
		if s[0] == '>' {
			return s[1:]
		}
		n := 1 // a name may even begin with an equals sign
		for n < len(s) && !strings.ContainsRune(space+"/>=", rune(s[n])) {
			n++
		}
		name, value := strings.ToLower(s[:n]), ""
		s = strings.TrimLeft(s[n:], space)
		if strings.HasPrefix(s, "=") {
			s = strings.TrimLeft(s[1:], space)
			switch {
			case s == "":
			case s[0] == '"' || s[0] == '\'':
				value, s, _ = strings.Cut(s[1:], s[:1])
			default:
				n = strings.IndexAny(s, space+">")
				if n < 0 {
					n = len(s)
				}
				value, s = s[:n], s[n:]
			}
		}
		if _, twice := into[name]; !twice {
			into[name] = html.UnescapeString(value)
		}
	}
}
