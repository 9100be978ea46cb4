package main

import (
	"errors"
	"html"
	"net/url"
	"regexp"
	"strings"

	"github.com/idpkit/idpkit/bench/internal/world"
)

var (
	formTag   = regexp.MustCompile(`(?is)<form\b([^>]*)>(.*?)</form>`)
	fieldTag  = regexp.MustCompile(`(?is)<(input|button)\b([^>]*)>`)
	attribute = regexp.MustCompile(`(?is)([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))`)
)

// fill sends the first form of a page as a user does who signs in.
func fill(at string, page []byte, u world.User) (request, error) {
	m := formTag.FindSubmatch(page)
	if m == nil {
		return request{}, errors.New("a page without a form")
	}
	action := attributes(string(m[1]))["action"]
	if action == "" {
		action = at
	}
	form, pressed := url.Values{}, false // the first button
	for _, f := range fieldTag.FindAllStringSubmatch(string(m[2]), -1) {
		a := attributes(f[2])
		switch name, kind := a["name"], strings.ToLower(a["type"]); {
		case name == "":
		case kind == "password":
			form.Set(name, u.Password)
		case kind == "hidden":
			form.Add(name, a["value"])
		case strings.EqualFold(f[1], "button") || kind == "submit":
			if !pressed {
				form.Set(name, a["value"])
				pressed = true
			}
		case kind == "checkbox":
		default:
			form.Set(name, u.Username)
		}
	}
	return request{target: action, form: form.Encode(), page: true}, nil
}

func attributes(tag string) map[string]string {
	all := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(tag, -1) {
		all[strings.ToLower(m[1])] = html.UnescapeString(m[2] + m[3] + m[4])
	}
	return all
}
