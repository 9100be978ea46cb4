package ui

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Every page in every language is well-formed XML: no tag is left open and no
// attribute unquoted, whatever was put in.
func TestPagesAreWellFormed(t *testing.T) {
	t.Parallel()
	for lang := range builtIn() {
		for _, s := range samples() {
			t.Run(lang+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				w := show(Frame{Name: "Example ID", Locales: []string{lang}}, s.draw)
				body := w.Body.String()
				ids := wellFormed(t, body)
				for _, id := range s.ids {
					if ids[id] != 1 {
						t.Errorf("id %q: %d times", id, ids[id])
					}
				}
				if got := w.Header().Get("Content-Language"); got != lang || !strings.Contains(body, `<html lang="`+lang+`"`) {
					t.Errorf("language %q", got)
				}
				if w.Code == http.StatusOK && strings.HasPrefix(s.name, "problem") {
					t.Error("a problem with status 200")
				}
			})
		}
	}
}

// wellFormed parses a page strictly and counts its ids.
func wellFormed(t *testing.T, body string) map[string]int {
	t.Helper()
	ids := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Local == "id" {
					ids[a.Value]++
				}
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q %d times", id, n)
		}
	}
	return ids
}
