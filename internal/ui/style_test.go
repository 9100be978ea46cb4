package ui

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Text has the contrast that WCAG 2.2 AA asks for (4.5, and 3 for the edges of
// controls) in both colour schemes.
func TestContrast(t *testing.T) {
	t.Parallel()
	light, rest, ok := strings.Cut(style, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	dark, _, _ := strings.Cut(rest, "*, *::before")
	pairs := []struct {
		over, under string
		least       float64
	}{
		{"text", "card", 7}, {"text", "ground", 7}, {"text", "soft", 7}, {"text", "field", 7},
		{"muted", "card", 4.5}, {"muted", "ground", 4.5}, {"muted", "soft", 4.5},
		{"accent", "card", 4.5}, {"accent", "soft", 4.5}, {"on-accent", "accent", 4.5}, {"on-accent", "accent-strong", 4.5},
		{"error", "error-ground", 4.5}, {"warn", "warn-ground", 4.5}, {"good", "good-ground", 4.5},
		{"edge", "card", 3}, {"edge", "field", 3}, {"error", "card", 3}, {"good", "card", 3},
	}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, p := range pairs {
			a, okA := colours[p.over]
			b, okB := colours[p.under]
			if !okA || !okB {
				t.Errorf("%s: %s on %s: no such colour", scheme, p.over, p.under)
			}
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < p.least {
				t.Errorf("%s: %s on %s: %.2f, want %.1f", scheme, p.over, p.under, ratio, p.least)
			}
		}
	}
}

// luminance is the relative luminance of an sRGB colour, WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	v, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	part := func(shift uint) float64 {
		c := float64(v>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

// The stylesheet loads nothing, and could not end its element.
func TestStyleStandsAlone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"url(", "@import", "@font-face", "<", "expression("} {
		if strings.Contains(style, bad) {
			t.Errorf("%q in the stylesheet", bad)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", "prefers-reduced-motion", "forced-colors", ":focus-visible"} {
		if !strings.Contains(style, want) {
			t.Errorf("no %q", want)
		}
	}
}

// Every class that a template names has a rule, and the other way round.
func TestClasses(t *testing.T) {
	t.Parallel()
	ruled := map[string]bool{}
	for _, m := range regexp.MustCompile(`\.([a-z]+)`).FindAllStringSubmatch(style, -1) {
		ruled[m[1]] = true
	}
	named := map[string]bool{}
	for _, s := range samples() {
		for _, e := range parse(t, show(Frame{Name: "x"}, s.draw).Body.String()) {
			for class := range strings.FieldsSeq(e.attr["class"]) {
				named[class] = true
				if !ruled[class] {
					t.Errorf("%s: class %q has no rule", s.name, class)
				}
			}
		}
	}
	for class := range ruled {
		if !named[class] {
			t.Errorf("no page has class %q", class)
		}
	}
}
