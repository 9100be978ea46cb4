package main

import (
	"encoding/json"
	"slices"
	"testing"
)

func accountAccess(t testing.TB) *detailType {
	t.Helper()
	cfg, err := load(options{})
	if err != nil {
		t.Fatal(err)
	}
	return &cfg.Details[0]
}

func TestDetailValidate(t *testing.T) {
	t.Parallel()
	d := accountAccess(t)
	for raw, good := range map[string]bool{
		`{"type":"account_access","actions":["list_accounts"]}`:                            true,
		`{"type":"account_access","actions":"list_accounts"}`:                              true,
		`{"type":"account_access","actions":["list_accounts"],"accounts":["DE02","DE03"]}`: true,
		`{"type":"account_access"}`:                                                        false, // actions is required
		`{"type":"account_access","actions":[]}`:                                           false,
		`{"type":"account_access","actions":null}`:                                         false,
		`{"type":"account_access","actions":""}`:                                           false,
		`{"type":"account_access","actions":["transfer"]}`:                                 false,
		`{"type":"account_access","actions":["list_accounts","x"]}`:                        false,
		`{"type":"account_access","actions":[1]}`:                                          false,
		`{"type":"account_access","actions":{"a":"b"}}`:                                    false,
		`{"type":"account_access","actions":["list_accounts"],"more":"x"}`:                 false,
		`{"type":"account_access","actions":["list_accounts"],"accounts":"a\nb"}`:          false,
	} {
		kept, err := d.Validate(t.Context(), nil, json.RawMessage(raw))
		if (err == nil) != good || good && string(kept) != raw {
			t.Errorf("%s: %s %v", raw, kept, err)
		}
	}
}

func TestDetailWithin(t *testing.T) {
	t.Parallel()
	d := accountAccess(t)
	const granted = `{"type":"account_access","actions":["list_accounts","read_balances"],"accounts":"DE02"}`
	for narrowed, want := range map[string]bool{
		granted: true,
		`{"type":"account_access","accounts":"DE02","actions":["read_balances","list_accounts"]}`: true,
		`{"type":"account_access","actions":["read_balances"],"accounts":"DE02"}`:                 true,
		`{"type":"account_access","actions":["read_transactions"],"accounts":"DE02"}`:             false,
		`{"type":"account_access","actions":["read_balances"],"accounts":"DE03"}`:                 false,
		`{"type":"account_access","actions":["read_balances"],"accounts":["DE02"]}`:               false,
		`{"type":"account_access","actions":["read_balances"]}`:                                   false, // the limit is gone
		`{"type":"account_access","actions":[],"accounts":"DE02"}`:                                false,
		`{"type":"account_access","actions":["read_balances"],"locations":"x"}`:                   false,
		`{"type":"account_access","actions":["read_balances"],"accounts":"DE02","locations":"x"}`: false,
	} {
		if got, err := d.Within(t.Context(), json.RawMessage(granted), json.RawMessage(narrowed)); got != want || err != nil {
			t.Errorf("%s: %v, %v", narrowed, got, err)
		}
	}
}

func TestDetailDescribe(t *testing.T) {
	t.Parallel()
	d := accountAccess(t)
	raw := json.RawMessage(`{"type":"account_access","accounts":["DE02","DE03"],"actions":["read_balances","list_accounts"]}`)
	lines, err := d.Describe(t.Context(), raw, nil)
	want := []string{"Access to your bank accounts", "It may: see balances, list your accounts", "Accounts: DE02, DE03"}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("%q, %v; want %q", lines, err, want)
	}
	if d.Type() != "account_access" {
		t.Errorf("type %s", d.Type())
	}
}
