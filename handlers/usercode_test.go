package handlers

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
)

// TestParseUserCode: RFC 8628 §6.1.
func TestParseUserCode(t *testing.T) {
	t.Parallel()
	tests := []struct{ typed, want string }{
		{"WDJB-MJHT", "WDJBMJHT"},
		{"wdjbmjht", "WDJBMJHT"},
		{" wdjb mjht ", "WDJBMJHT"},
		{"W.D.J.B\u2013M\u00a0J\u2014H_T", "WDJBMJHT"},
		{"\tWDJB\r\nMJHT", "WDJBMJHT"},
		{"WDJB-MJH", ""},
		{"WDJB-MJHTT", ""},
		{"WDJB-MJHA", ""}, // no vowels
		{"WDJB-MJH1", ""},
		{"WDJB-MJH\u017f", ""}, // upper case would be S
		{"WDJB+MJHT", ""},
		{"WDJB-MJHT\x00", ""},
		{"WDJB-MJHT\xff", ""},
		{strings.Repeat("-", 60) + "WDJBMJHT", ""},
		{"<script>", ""},
		{"", ""},
	}
	for _, test := range tests {
		t.Run(test.typed, func(t *testing.T) {
			t.Parallel()
			got, ok := parseUserCode(test.typed)
			if ok != (test.want != "") || ok && got != test.want {
				t.Errorf("%q %v", got, ok)
			}
		})
	}
}

func FuzzParseUserCode(f *testing.F) {
	for _, s := range []string{"WDJB-MJHT", "wdjb mjht", "", "\xff", "WDJB–MJHT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := parseUserCode(s)
		if !ok {
			return
		}
		if len(code) != userCodeLen || strings.Trim(code, userCodeAlphabet) != "" {
			t.Fatalf("%q from %q", code, s)
		}
		if again, ok := parseUserCode(showUserCode(code)); !ok || again != code {
			t.Fatalf("%q does not come back", code)
		}
	})
}

// TestNewUserCode: every letter comes as often as any other.
func TestNewUserCode(t *testing.T) {
	t.Parallel()
	const draws = 5000
	count := map[rune]int{}
	for range draws {
		code, err := newUserCode(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range code {
			count[r]++
		}
	}
	mean := draws * userCodeLen / len(userCodeAlphabet) // 2000, standard deviation 44
	for _, r := range userCodeAlphabet {
		if n := count[r]; n < mean-400 || n > mean+400 {
			t.Errorf("%c came %d times of %d", r, n, mean)
		}
	}
	if len(count) != len(userCodeAlphabet) {
		t.Errorf("%d letters", len(count))
	}
	// Bytes that would favour the first letters are passed over.
	code, err := newUserCode(bytes.NewReader([]byte{255, 0, 240, 19, 20, 39, 40, 59, 239, 1}))
	if err != nil || code != "BZBZBZZC" {
		t.Errorf("%q %v", code, err)
	}
	if _, err := newUserCode(bytes.NewReader([]byte{1, 2, 3})); err == nil {
		t.Error("a code of three random bytes")
	}
}
