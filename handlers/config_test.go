package handlers_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage/memory"
)

// TestNewReportsEveryMistake gives New twenty mistakes at once and wants each
// one back with its field, rule, fix and ID.
func TestNewReportsEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := handlers.New(handlers.Config{
		Issuer:      "http://id.example/?x=1",                                                            // 1: https, 2: no query
		Secrets:     [][]byte{[]byte("short"), bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{7}, 32)}, // 3, 4, 5, 6
		SigningAlgs: []string{"ES256", "HS256", "ES256"},                                                 // 7, 8
		LoginURL:    "https://elsewhere.example/login",                                                   // 9
		Scopes:      []handlers.Scope{{Name: "a b"}, {}},                                                 // 10, 11
		APIs:        []handlers.API{{Identifier: "not-absolute"}, {Identifier: ""}},                      // 12, 13
		Details:     []handlers.DetailType{nil},                                                          // 14
		Paths:       handlers.Paths{Token: "token", PAR: "/authorize"},                                   // 15, 16
		TTL: handlers.TTL{
			Code: time.Hour, PAR: time.Second, Access: 48 * time.Hour, RefreshIdle: 91 * 24 * time.Hour, // 17-20
			SessionIdle: 15 * 24 * time.Hour, Grace: time.Hour, KeyRotation: time.Minute, ID: -time.Second, // 21-24
			Session: 1500 * time.Millisecond, // 25, and 21 again
		},
		Timeout:     -1,                            // 26
		RegisterURL: "//evil.example", Accounts: 9, // 30, 31
		// Storage, Clients and Users are missing: 27, 28, 29
	})
	if err == nil {
		t.Fatal("New accepted it")
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not a joined error: %v", err)
	}
	got := map[string]bool{}
	for _, e := range joined.Unwrap() {
		var ce *handlers.ConfigError
		if !errors.As(e, &ce) {
			t.Errorf("%v is no *ConfigError", e)
			continue
		}
		if ce.Field == "" || ce.Rule == "" || ce.Fix == "" || !strings.HasPrefix(ce.ID, "IDP") {
			t.Errorf("incomplete: %#v", ce)
		}
		for _, part := range []string{ce.Field, ce.Rule, ce.Fix, ce.ID} {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("%q lacks %q", e.Error(), part)
			}
		}
		got[ce.ID+" "+ce.Field] = true
	}
	for _, want := range []string{
		"IDP111 Issuer", "IDP112 Issuer", "IDP101 Secrets[0]", "IDP101 Secrets[1]", "IDP101 Secrets[2]", "IDP102 Secrets[2]",
		"IDP103 SigningAlgs[1]", "IDP102 SigningAlgs[2]", "IDP121 LoginURL", "IDP150 Scopes[0].Name", "IDP100 Scopes[1].Name",
		"IDP151 APIs[0].Identifier", "IDP100 APIs[1].Identifier", "IDP152 Details[0]", "IDP130 Paths.Token", "IDP131 Paths.Authorize",
		"IDP140 TTL.Code", "IDP141 TTL.PAR", "IDP142 TTL.Access", "IDP143 TTL.RefreshIdle", "IDP143 TTL.SessionIdle", "IDP144 TTL.Grace",
		"IDP145 TTL.KeyRotation", "IDP104 TTL.ID", "IDP146 TTL.Session", "IDP104 Timeout", "IDP121 RegisterURL", "IDP105 Accounts", "IDP100 Storage", "IDP100 Clients", "IDP100 Users",
	} {
		if want == "IDP131 Paths.Authorize" {
			want = "IDP131 Paths.PAR"
		}
		if !got[want] {
			t.Errorf("no %s in:\n%v", want, err)
		}
		delete(got, want)
	}
	for extra := range got {
		t.Errorf("reported without being there: %s", extra)
	}
}

func TestIssuerRules(t *testing.T) {
	t.Parallel()
	for issuer, id := range map[string]string{
		"https://id.example": "", "https://id.example/tenant/a": "", "http://localhost:3000": "", "http://127.0.0.1:8080": "",
		"http://[::1]:8080": "", "https://id.example:8443": "", "http://x.localhost": "",
		"id.example": "IDP110", "https://": "IDP110", "http://id.example": "IDP111", "http://127.0.0.1.evil.example": "IDP111",
		"ftp://id.example": "IDP111", "https://id.example?": "IDP112", "https://id.example#": "IDP112", "https://u@id.example": "IDP112",
		"https://id.example/": "IDP113", "https://id.example/a/": "IDP113", "https://ID.example": "IDP114", "https://id.example:443": "IDP114",
		"https://id.example/a//b": "IDP114", "https://id.example/../a": "IDP114", "https://id.example/%61": "IDP114", "HTTPS://id.example": "IDP114",
		"https://id.example:": "IDP114",
	} {
		t.Run(issuer, func(t *testing.T) {
			t.Parallel()
			_, err := handlers.New(handlers.Config{
				Issuer: issuer, Storage: memory.New(), Clients: newRegistry(t), Users: newUsers(), Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
			})
			if id == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), id) {
				t.Fatalf("got %v, want %s", err, id)
			}
		})
	}
}
