package form

import (
	"net/url"
	"strings"
)

// Encode returns the form as a query string, parameters in the order sent.
func (f Form) Encode() string {
	var b strings.Builder
	for i, p := range f.pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}
