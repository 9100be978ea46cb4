package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/strictjson"
)

// DetailType is one type of authorization_details, RFC 9396. Methods are
// called concurrently.
type DetailType interface {
	// Type is the value of the type member, RFC 9396 §2.
	Type() string

	// Validate checks one detail of this type and returns it as it is to be
	// kept, normalized if the type wants that. An error refuses the request with
	// invalid_authorization_details; its text goes to the log only.
	Validate(ctx context.Context, c *clientreg.Client, raw json.RawMessage) (json.RawMessage, error)

	// Describe says what the detail allows, for the consent page, in the best of
	// the languages: a heading, then a line for each fact.
	Describe(ctx context.Context, raw json.RawMessage, locales []string) ([]string, error)

	// Within tells whether narrowed allows nothing that granted does not allow.
	// It must be transitive. Details that are equal as JSON are not asked about.
	Within(ctx context.Context, granted, narrowed json.RawMessage) (bool, error)
}

const (
	maxDetails      = 16
	maxDetailBytes  = 16 << 10
	maxInlineDetail = 1 << 10 // bytes of narrowed details in a sealed access token
)

func (p *Provider) detailType(name string) DetailType {
	for _, d := range p.cfg.Details {
		if d.Type() == name {
			return d
		}
	}
	return nil
}

// detailName reads the type member. A member Type is none: a struct would take
// it for one.
func detailName(raw json.RawMessage) string {
	var d map[string]json.RawMessage
	var name string
	if json.Unmarshal(raw, &d) != nil || json.Unmarshal(d["type"], &name) != nil {
		return ""
	}
	return name
}

// checkDetails: RFC 9396 §5. A client may use the types it is registered for.
func (p *Provider) checkDetails(ctx context.Context, c *clientreg.Client, f form.Form, q *authRequest) error {
	raw := f.Get("authorization_details")
	if raw == "" {
		return nil
	}
	details, err := parseDetails(raw)
	if err != nil {
		return refuse("authorize.details", err)
	}
	for _, d := range details {
		kept, err := p.checkDetail(ctx, c, d)
		if err != nil {
			return asDetails(err, "authorize.details")
		}
		q.Details = append(q.Details, kept)
	}
	return nil
}

// errDetail says that a detail is not the client's to ask for.
var errDetail = errors.New("authorization detail is not acceptable")

// checkDetail returns one detail as it is to be kept.
func (p *Provider) checkDetail(ctx context.Context, c *clientreg.Client, d json.RawMessage) (json.RawMessage, error) {
	name := detailName(d)
	t := p.detailType(name)
	if t == nil || !slices.Contains(c.AuthorizationDetailsTypes, name) {
		return nil, fmt.Errorf("%w: type is unknown or not registered for the client", errDetail)
	}
	kept, err := t.Validate(ctx, c, d)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDetail, err)
	}
	if detailName(kept) != name {
		return nil, errors.New("DetailType.Validate changed the type")
	}
	return bytes.TrimSpace(kept), nil // tokenDetails tells details from indexes by the brace
}

func asDetails(err error, reason string) error {
	if errors.Is(err, errDetail) {
		return refuse(reason, err)
	}
	return err
}

func parseDetails(raw string) ([]json.RawMessage, error) {
	if len(raw) > maxDetailBytes {
		return nil, errors.New("too large")
	}
	if err := strictjson.Check([]byte(raw), 16); err != nil {
		return nil, err
	}
	var details []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &details); err != nil {
		return nil, err
	}
	if len(details) == 0 || len(details) > maxDetails {
		return nil, errors.New("no detail, or too many")
	}
	for _, d := range details {
		if d[0] != '{' {
			return nil, errors.New("a detail is no object")
		}
	}
	return details, nil
}

// narrowDetails checks that every narrowed detail lies within one that was
// asked for, and that none of those is used twice.
func (p *Provider) narrowDetails(ctx context.Context, asked, narrowed []json.RawMessage) error {
	for _, n := range narrowed {
		if p.detailType(detailName(n)) == nil {
			return refuse("consent.wider", errors.New("unknown type of authorization detail"))
		}
	}
	_, ok, err := p.fit(ctx, asked, narrowed)
	if err == nil && !ok {
		err = refuse("consent.wider", errors.New("an authorization detail exceeds what was asked"))
	}
	return err
}

// fit gives each narrowed detail one of its own among the wide ones that it is
// equal to or lies within: two payments do not fit into one. at holds the index
// of each. Their order does not matter: what a greedy search takes from a later
// detail is given back, as in any matching of two sets.
func (p *Provider) fit(ctx context.Context, wide, narrowed []json.RawMessage) (at []int, ok bool, err error) {
	fits := make([][]bool, len(narrowed))
	at = make([]int, len(narrowed))
	owner := make([]int, len(wide))
	for j := range owner {
		owner[j] = -1
	}
	cw, cn := canonical(wide), canonical(narrowed)
	for i := range narrowed { // what is equal first: that is what was meant
		fits[i], at[i] = make([]bool, len(wide)), -1
		for j := range wide {
			if fits[i][j] = same(cw[j], cn[i]); fits[i][j] && at[i] < 0 && owner[j] < 0 {
				at[i], owner[j] = j, i
			}
		}
	}
	for i, n := range narrowed {
		t := p.detailType(detailName(n))
		for j, w := range wide {
			if fits[i][j] || t == nil || detailName(w) != t.Type() {
				continue
			}
			if fits[i][j], err = t.Within(ctx, w, n); err != nil {
				return nil, false, err
			}
		}
	}
	var place func(i int, tried []bool) bool
	place = func(i int, tried []bool) bool {
		for j := range wide {
			if !fits[i][j] || tried[j] {
				continue
			}
			tried[j] = true
			if owner[j] < 0 || place(owner[j], tried) {
				at[i], owner[j] = j, i
				return true
			}
		}
		return false
	}
	for i := range narrowed {
		if at[i] < 0 && !place(i, make([]bool, len(wide))) {
			return nil, false, nil
		}
	}
	return at, true, nil
}

// canonical writes details in one spelling: without blanks, members in order,
// strings escaped in one way. Numbers stay as they are written: two that a float
// takes for one may be two. nil: no JSON.
func canonical(details []json.RawMessage) [][]byte {
	out := make([][]byte, len(details))
	for i, raw := range details {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var v any
		if d.Decode(&v) == nil {
			out[i], _ = json.Marshal(v) // of what was just decoded
		}
	}
	return out
}

// same compares what canonical made.
func same(a, b []byte) bool { return a != nil && bytes.Equal(a, b) }

// tokenDetails are the details of one access token: each of them is its index
// in the grant, or the narrowed detail itself. nil: all that the grant has. The
// details of a grant never change: an index stays right as long as the token
// lives.
type tokenDetails []json.RawMessage

// ofToken returns what authorization_details at the token endpoint ask for,
// RFC 9396 §6: nothing is everything. The grant keeps what it has.
func (p *Provider) ofToken(ctx context.Context, c *clientreg.Client, g *grant, raw string) (tokenDetails, error) {
	granted := g.data.Details
	usable := make([]json.RawMessage, 0, len(granted)) // like a scope, a type may be taken from a client
	where := make([]int, 0, len(granted))
	for i, d := range granted {
		if slices.Contains(c.AuthorizationDetailsTypes, detailName(d)) {
			usable, where = append(usable, d), append(where, i)
		}
	}
	if raw == "" {
		if len(usable) == len(granted) {
			return nil, nil
		}
		t := make(tokenDetails, len(where))
		for i, w := range where {
			t[i] = json.RawMessage(strconv.Itoa(w))
		}
		return t, nil
	}
	asked, err := parseDetails(raw)
	if err != nil {
		return nil, refuse("token.details", err)
	}
	have, wanted := canonical(usable), canonical(asked)
	for i, d := range asked {
		if slices.ContainsFunc(have, func(h []byte) bool { return same(h, wanted[i]) }) {
			continue // as granted, with what Validate once added to it
		}
		if asked[i], err = p.checkDetail(ctx, c, d); err != nil {
			return nil, asDetails(err, "token.details")
		}
	}
	at, ok, err := p.fit(ctx, usable, asked)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refuse("token.details_wider", nil)
	}
	t := make(tokenDetails, len(asked))
	wanted = canonical(asked) // as Validate left them
	for i, d := range asked {
		if t[i] = json.RawMessage(strconv.Itoa(where[at[i]])); !same(have[at[i]], wanted[i]) {
			t[i] = d
		}
	}
	return t, nil
}

// in returns the details themselves. ok is false for an index that the grant
// does not have: the token is none of ours.
func (t tokenDetails) in(g *grant) (details []json.RawMessage, ok bool) {
	if t == nil {
		return g.data.Details, true
	}
	for _, d := range t {
		if d[0] != '{' {
			i, err := strconv.Atoi(string(d))
			if err != nil || i < 0 || i >= len(g.data.Details) {
				return nil, false
			}
			d = g.data.Details[i]
		}
		details = append(details, d)
	}
	return details, true
}

// inline is how many bytes of a sealed token the details take that are not as
// granted.
func (t tokenDetails) inline() (n int) {
	for _, d := range t {
		if d[0] == '{' {
			n += len(d)
		}
	}
	return n
}
