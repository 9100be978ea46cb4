package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// order is a DetailType with free members. Validate adds one, as a server may
// (RFC 9396 §7.1), and refuses it from a client; Within is equality of the item.
type order struct{}

func (order) Type() string { return "order" }

func (order) Validate(_ context.Context, _ *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	var d map[string]any
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	if _, ok := d["added"]; ok {
		return nil, errors.New("not the client's")
	}
	d["added"] = "by the server"
	return json.Marshal(d)
}

func (order) Describe(context.Context, json.RawMessage, []string) ([]string, error) {
	return []string{"An order"}, nil
}

func (order) Within(_ context.Context, granted, narrowed json.RawMessage) (bool, error) {
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal(granted, &a), json.Unmarshal(narrowed, &b)); err != nil {
		return false, err
	}
	return a["item"] == b["item"], nil
}

// detailsWorld has two types of details, introspection, and an API for tokens of
// each format.
func detailsWorld(t *testing.T, opts ...func(*handlers.Config)) *world {
	w := newWorld(t, append([]func(*handlers.Config){noLimits, func(c *handlers.Config) {
		c.Details = append(c.Details, order{})
		c.Features.Introspection, c.Features.ClientCredentials = true, true
		c.APIs = []handlers.API{{Identifier: apiJWT, Format: "jwt"}, {Identifier: apiOpaque}}
	}}, opts...)...)
	w.quick()
	w.clients.change("web", func(c *clientreg.Client) { c.AuthorizationDetailsTypes = []string{"payment", "order"} })
	return w
}

// shown returns authorization_details of a JSON object as canonical JSON.
func shown(m map[string]any) string {
	if m["authorization_details"] == nil {
		return ""
	}
	b, _ := json.Marshal(m["authorization_details"])
	return string(b)
}

func compactJSON(t *testing.T, s string) string {
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// TestTokenDetails: RFC 9396 §6. What the token endpoint is asked for is what
// the response, introspection and a JWT access token show; a refusal burns
// nothing, and the next refresh has everything again.
func TestTokenDetails(t *testing.T) {
	t.Parallel()
	const granted = `[{"type":"payment","amount":100},{"type":"payment","amount":5},{"type":"order","item":"caf\u00e9","n":1,"to":{"a":[1,2],"b":"x"}}]`
	const order1 = `{"added":"by the server","item":"café","n":1,"to":{"a":[1,2],"b":"x"},"type":"order"}`
	big := `{"type":"order","item":"café","pad":"` + strings.Repeat("x", 1000) + `"}`
	tests := []struct {
		name, asked string
		want        string // "": the error
		err         string
	}{
		{"absent", "", `[{"amount":100,"type":"payment"},{"amount":5,"type":"payment"},` + order1 + `]`, ""},
		{"one of them", `[{"type":"payment","amount":5}]`, `[{"amount":5,"type":"payment"}]`, ""},
		{"members in another order, blanks", "[ {\n\"amount\" : 100 , \"type\":\"payment\"} ]", `[{"amount":100,"type":"payment"}]`, ""},
		{"as granted, enriched", `[` + order1 + `]`, `[` + order1 + `]`, ""},
		{"as asked, before it was enriched", `[{"type":"order","item":"café","n":1,"to":{"b":"x","a":[1,2]}}]`, `[` + order1 + `]`, ""},
		{"escaped otherwise", `[{"t\u0079pe":"order","item":"caf\u00E9","n":1,"to":{"b":"\u0078","a":[1,2]},"added":"by the server"}]`, `[` + order1 + `]`, ""},
		{"less", `[{"type":"payment","amount":7}]`, `[{"amount":7,"type":"payment"}]`, ""},
		{"both less", `[{"type":"payment","amount":5},{"type":"payment","amount":99}]`, `[{"amount":5,"type":"payment"},{"amount":99,"type":"payment"}]`, ""},
		{"a later one needs what an earlier one took", `[{"type":"payment","amount":4},{"type":"payment","amount":99}]`, `[{"amount":4,"type":"payment"},{"amount":99,"type":"payment"}]`, ""},
		{"in another order", `[{"type":"order","item":"café"},{"type":"payment","amount":1}]`, `[{"added":"by the server","item":"café","type":"order"},{"amount":1,"type":"payment"}]`, ""},

		{"more", `[{"type":"payment","amount":101}]`, "", "token.details_wider"},
		{"the same twice", `[{"type":"payment","amount":100},{"type":"payment","amount":100}]`, "", "token.details_wider"},
		{"two into one", `[{"type":"payment","amount":50},{"type":"payment","amount":50}]`, "", "token.details_wider"},
		{"more in number", `[{"type":"payment","amount":1},{"type":"payment","amount":1},{"type":"payment","amount":1}]`, "", "token.details_wider"},
		{"another item", `[{"type":"order","item":"tea"}]`, "", "token.details_wider"},
		{"another item by a look-alike", `[{"type":"order","item":"cafe\u0301"}]`, "", "token.details_wider"},
		{"number as text", `[{"type":"payment","amount":"5"}]`, "", "token.details"},
		{"number with a fraction", `[{"type":"payment","amount":5.0}]`, "", "token.details"},
		{"number with an exponent", `[{"type":"payment","amount":1e2}]`, "", "token.details"},
		{"negative", `[{"type":"payment","amount":-5}]`, "", "token.details"},
		{"too big a number", `[{"type":"payment","amount":18446744073709551621}]`, "", "token.details"},
		{"a made-up server's member", `[{"type":"order","item":"café","added":"by me"}]`, "", "token.details"},
		{"duplicate member", `[{"type":"payment","amount":5,"amount":500}]`, "", "token.details"},
		{"duplicate member, escaped", `[{"type":"payment","amount":5,"\u0061mount":500}]`, "", "token.details"},
		{"type in capitals", `[{"Type":"payment","amount":5}]`, "", "token.details"},
		{"two types", `[{"type":"root","TYPE":"payment","amount":5}]`, "", "token.details"},
		{"unknown type", `[{"type":"root"}]`, "", "token.details"},
		{"type is no text", `[{"type":["payment"],"amount":5}]`, "", "token.details"},
		{"no type", `[{"amount":5}]`, "", "token.details"},
		{"empty", `[]`, "", "token.details"},
		{"object", `{"type":"payment","amount":5}`, "", "token.details"},
		{"index", `[0]`, "", "token.details"},
		{"null", `[null]`, "", "token.details"},
		{"not JSON", `[`, "", "token.details"},
		{"trailing", `[{"type":"payment","amount":5}] []`, "", "token.details"},
		{"lone surrogate", `[{"type":"order","item":"\ud800"}]`, "", "token.details"},
		{"deep", `[{"type":"order","item":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}]`, "", "token.details"},
		{"many", `[` + strings.Repeat(`{"type":"payment","amount":1},`, 16) + `{"type":"payment","amount":1}]`, "", "token.details"},
		{"huge", `[{"type":"order","item":"` + strings.Repeat("x", 17<<10) + `"}]`, "", "token.details"},
		{"too large to carry", `[` + big + `]`, "", "token.details_size"},
	}
	w := detailsWorld(t)
	b := w.browser()
	q := request("web", "authorization_details", granted, "scope", "openid profile offline_access", "prompt", "consent")
	q["resource"] = []string{apiJWT, apiOpaque}
	chain := w.redeem("web", b.code(q, "alice"), "resource", apiOpaque).want(200).str("refresh_token")
	refresh := func(edit ...string) response { return w.refresh("web", chain, edit...) }
	for _, tt := range tests {
		ask := []string{"resource", apiOpaque, "authorization_details", tt.asked}
		if tt.asked == "" {
			ask = ask[:2]
		}
		code := b.code(q, "alice")
		first := w.redeem("web", code, ask...)
		second := refresh(ask...)
		if tt.want == "" {
			for _, r := range []response{first, second} {
				if r.StatusCode != 400 || r.str("error") != "invalid_authorization_details" {
					t.Fatalf("%s: %d %s", tt.name, r.StatusCode, r.body)
				}
			}
			if !strings.Contains(w.logged.String(), `"`+tt.err+`"`) {
				t.Errorf("%s: no reason %s in the log", tt.name, tt.err)
			}
			w.redeem("web", code, "resource", apiOpaque).want(200) // nothing is burnt
			second = refresh("resource", apiOpaque).want(200)
			chain = second.str("refresh_token")
			continue
		}
		first.want(200)
		second.want(200)
		chain = second.str("refresh_token")
		for _, r := range []response{first, second} {
			in := w.introspect("web", r.str("access_token")).want(200).json()
			if got := shown(r.json()); got != tt.want || shown(in) != got || in["active"] != true {
				t.Errorf("%s: token response %s, introspection %s, want %s", tt.name, got, shown(in), tt.want)
			}
			guarded := httptest.NewRequest("GET", "/", nil)
			guarded.Header.Set("Authorization", "Bearer "+r.str("access_token"))
			who, err := w.p.VerifyAccess(t.Context(), guarded)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := json.Marshal(who.Details); compactJSON(t, string(b)) != tt.want {
				t.Errorf("%s: Principal has %s, want %s", tt.name, b, tt.want)
			}
		}
		third := refresh(append([]string{"resource", apiJWT}, ask[2:]...)...).want(200)
		chain = third.str("refresh_token")
		jwt := third.str("access_token")
		if in := w.introspect("web", jwt).want(200).json(); shown(third.json()) != tt.want || shown(claims(t, jwt)) != tt.want || shown(in) != tt.want {
			t.Errorf("%s: JWT %s, introspection %s, want %s", tt.name, shown(claims(t, jwt)), shown(in), tt.want)
		}
		if in := w.introspect("web", chain).want(200).json(); shown(in) != compactJSON(t, tests[0].want) {
			t.Errorf("%s: the refresh token has %s", tt.name, shown(in))
		}
		all := refresh("resource", apiOpaque).want(200) // RFC 6749 §6: the grant keeps what it has
		chain = all.str("refresh_token")
		if got := shown(all.json()); got != tests[0].want {
			t.Errorf("%s: the next refresh has %s", tt.name, got)
		}
	}
}

// TestTokenDetailsWithoutAny: a grant without details narrows to nothing; one
// that nobody gave asks in vain; an empty parameter is none, RFC 6749 §3.1.
func TestTokenDetailsWithoutAny(t *testing.T) {
	t.Parallel()
	w := detailsWorld(t)
	b := w.browser()
	code := b.code(request("web"), "alice")
	w.redeem("web", code, "authorization_details", `[{"type":"payment","amount":1}]`).wantError(400, "invalid_authorization_details")
	form, header := auth("web")
	form["grant_type"], form["code"], form["redirect_uri"] = []string{"authorization_code"}, []string{code}, []string{webRedirect}
	form.Set("code_verifier", first(pkcePair("web")))
	form["authorization_details"] = []string{`[{"type":"payment","amount":1}]`, `[{"type":"payment","amount":1}]`}
	w.call("/token", form, header...).wantError(400, "invalid_request")
	form.Set("authorization_details", "")
	if tok := w.call("/token", form, header...).want(200); shown(tok.json()) != "" {
		t.Errorf("%s", tok.body)
	}
	w.clientToken("m2m", "authorization_details", `[{"type":"payment","amount":1}]`).wantError(400, "invalid_authorization_details")
	w.clientToken("m2m", "authorization_details", "").want(200)
}

// TestTokenDetailsOfDevice: RFC 8628 §3.4 with RFC 9396 §6.
func TestTokenDetailsOfDevice(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	d := w.device("tv", "scope", "profile", "authorization_details", `[{"type":"payment","amount":5},{"type":"payment","amount":7}]`).want(200)
	b := w.browser()
	b.connect(d.str("user_code"), "alice")
	w.poll("tv", d.str("device_code"), "authorization_details", `[{"type":"payment","amount":8}]`).wantError(400, "invalid_authorization_details")
	tok := w.poll("tv", d.str("device_code"), "authorization_details", `[{"type":"payment","amount":6}]`).want(200)
	if got := shown(tok.json()); got != `[{"amount":6,"type":"payment"}]` {
		t.Errorf("%s", got)
	}
}

// TestTokenDetailsOfTypeTaken: a type that is taken from the client is in no
// token of an older grant, like a scope; the others are.
func TestTokenDetailsOfTypeTaken(t *testing.T) {
	t.Parallel()
	w := detailsWorld(t)
	q := request("web", "authorization_details", `[{"type":"order","item":"tea"},{"type":"payment","amount":5}]`, "scope", "openid offline_access", "prompt", "consent")
	tok := w.redeem("web", w.browser().code(q, "alice")).want(200)
	for _, step := range []struct {
		types []string
		want  string
	}{
		{[]string{"payment"}, `[{"amount":5,"type":"payment"}]`},
		{nil, ""},
		{[]string{"order", "payment"}, `[{"added":"by the server","item":"tea","type":"order"},{"amount":5,"type":"payment"}]`},
	} {
		w.clients.change("web", func(c *clientreg.Client) { c.AuthorizationDetailsTypes = step.types })
		if step.types == nil || len(step.types) == 1 {
			w.refresh("web", tok.str("refresh_token"), "authorization_details", `[{"type":"order","item":"tea","added":"by the server"}]`).wantError(400, "invalid_authorization_details")
		}
		tok = w.refresh("web", tok.str("refresh_token")).want(200)
		in := w.introspect("web", tok.str("access_token")).want(200).json()
		if got := shown(tok.json()); got != step.want || shown(in) != step.want {
			t.Errorf("%v: %s, introspection %s, want %s", step.types, got, shown(in), step.want)
		}
	}
}

// TestTokenDetailsInGrace: the predecessor within the grace narrows too, and a
// reused token is reuse whatever else the request says.
func TestTokenDetailsInGrace(t *testing.T) {
	t.Parallel()
	w := detailsWorld(t)
	q := request("web", "authorization_details", `[{"type":"payment","amount":5}]`, "scope", "openid offline_access", "prompt", "consent")
	one := w.redeem("web", w.browser().code(q, "alice")).want(200).str("refresh_token")
	two := w.refresh("web", one).want(200).str("refresh_token")
	w.refresh("web", one, "authorization_details", `[{"type":"payment","amount":6}]`).wantError(400, "invalid_authorization_details")
	if again := w.refresh("web", one, "authorization_details", `[{"type":"payment","amount":3}]`).want(200); again.str("refresh_token") != two || shown(again.json()) != `[{"amount":3,"type":"payment"}]` {
		t.Errorf("%s", again.body)
	}
	three := w.refresh("web", two).want(200)
	w.refresh("web", one, "authorization_details", `[{"type":"payment","amount":6}]`).wantError(400, "invalid_grant")
	w.refresh("web", three.str("refresh_token")).wantError(400, "invalid_grant")
}

// frozen fails the test when a grant's details change after its birth: tokens
// name them by index.
type frozen struct {
	storage.Storage
	t     *testing.T
	mu    sync.Mutex
	first map[storage.Ref]string
	again int
}

func (f *frozen) Commit(ctx context.Context, ops ...storage.Op) error {
	err := f.Storage.Commit(ctx, ops...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, op := range ops {
		if op.Record.Kind != storage.KindGrant || len(op.Record.Data) == 0 || err != nil {
			continue
		}
		var d struct {
			Details json.RawMessage `json:"authorization_details"`
		}
		if err := json.Unmarshal(op.Record.Data, &d); err != nil {
			f.t.Error(err)
		}
		if old, ok := f.first[op.Record.Ref]; !ok {
			f.first[op.Record.Ref] = string(d.Details)
		} else if f.again++; old != string(d.Details) {
			f.t.Errorf("a grant's details became %s, were %s", d.Details, old)
		}
	}
	return err
}

// TestGrantDetailsNeverChange: narrowing, rotation, revocation and a later
// consent of the same user leave the details of a grant, and with them what its
// older tokens mean.
func TestGrantDetailsNeverChange(t *testing.T) {
	t.Parallel()
	var f *frozen
	w := detailsWorld(t, func(c *handlers.Config) {
		f = &frozen{Storage: c.Storage, t: t, first: map[storage.Ref]string{}}
		c.Storage = f
	})
	b := w.browser()
	q := func(details string) []string {
		return []string{"authorization_details", details, "scope", "openid offline_access", "prompt", "consent"}
	}
	old := w.redeem("web", b.code(request("web", q(`[{"type":"payment","amount":1},{"type":"payment","amount":2}]`)...), "alice"), "authorization_details", `[{"type":"payment","amount":2}]`).want(200)
	for range 3 {
		w.redeem("web", b.code(request("web", q(`[{"type":"payment","amount":100},{"type":"payment","amount":200}]`)...), "alice")).want(200)
	}
	next := w.refresh("web", old.str("refresh_token"), "authorization_details", `[{"type":"payment","amount":1}]`).want(200)
	gone := w.refresh("web", next.str("refresh_token")).want(200)
	w.revokeToken("web", gone.str("access_token")).want(200)
	for token, want := range map[string]string{old.str("access_token"): `[{"amount":2,"type":"payment"}]`, next.str("access_token"): `[{"amount":1,"type":"payment"}]`} {
		if in := w.introspect("web", token).want(200).json(); shown(in) != want {
			t.Errorf("introspection %s, want %s", shown(in), want)
		}
	}
	if f.again == 0 || !bytes.Contains([]byte(f.all()), []byte("payment")) {
		t.Error("nothing was watched")
	}
}

func (f *frozen) all() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := ""
	for _, d := range f.first {
		s += d
	}
	return s
}

// spaced is order with blanks around what it keeps, as an editor leaves them.
type spaced struct{ order }

func (s spaced) Validate(ctx context.Context, c *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	kept, err := s.order.Validate(ctx, c, raw)
	return slices.Concat([]byte("\n\t"), kept, []byte("\n")), err
}

// TestTokenDetailsBetweenBlanks: what Validate returns is a detail, not an index
// of one, however it is written.
func TestTokenDetailsBetweenBlanks(t *testing.T) {
	t.Parallel()
	w := detailsWorld(t, func(c *handlers.Config) { c.Details[len(c.Details)-1] = spaced{} })
	q := request("web", "authorization_details", `[{"type":"order","item":"tea","n":1}]`, "prompt", "consent")
	q["resource"] = []string{apiJWT, apiOpaque}
	b := w.browser()
	const narrowed = `[{"added":"by the server","item":"tea","type":"order"}]`
	for _, api := range []string{apiJWT, apiOpaque} {
		r := w.redeem("web", b.code(q, "alice"), "resource", api, "authorization_details", `[{"type":"order","item":"tea"}]`).want(200)
		if got := shown(w.introspect("web", r.str("access_token")).want(200).json()); got != narrowed || shown(r.json()) != narrowed {
			t.Errorf("%s: token response %s, introspection %s, want %s", api, shown(r.json()), got, narrowed)
		}
	}
	big := `[{"type":"order","item":"tea","pad":"` + strings.Repeat("x", 1000) + `"}]`
	r := w.redeem("web", b.code(q, "alice"), "resource", apiOpaque, "authorization_details", big)
	if r.StatusCode != 400 || r.str("error") != "invalid_authorization_details" {
		t.Errorf("too large to carry: %d %s", r.StatusCode, r.body)
	}
}
