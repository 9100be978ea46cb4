package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

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
	Within(ctx context.Context, granted, narrowed json.RawMessage) (bool, error)
}

const (
	maxDetails     = 16
	maxDetailBytes = 16 << 10
)

func (p *Provider) detailType(name string) DetailType {
	for _, d := range p.cfg.Details {
		if d.Type() == name {
			return d
		}
	}
	return nil
}

// detailName reads the type member.
func detailName(raw json.RawMessage) string {
	var d struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &d) != nil {
		return ""
	}
	return d.Type
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
		name := detailName(d)
		t := p.detailType(name)
		if t == nil || !slices.Contains(c.AuthorizationDetailsTypes, name) {
			return refuse("authorize.details", errors.New("type is unknown or not registered for the client"))
		}
		kept, err := t.Validate(ctx, c, d)
		if err != nil {
			return refuse("authorize.details", err)
		}
		if detailName(kept) != name {
			return refuse("server.fault", errors.New("DetailType.Validate changed the type"))
		}
		q.Details = append(q.Details, kept)
	}
	return nil
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
	used := make([]bool, len(asked))
next:
	for _, n := range narrowed {
		t := p.detailType(detailName(n))
		if t == nil {
			return refuse("consent.wider", errors.New("unknown type of authorization detail"))
		}
		for i, a := range asked {
			if used[i] || detailName(a) != t.Type() {
				continue
			}
			ok, err := t.Within(ctx, a, n)
			if err != nil {
				return err
			}
			if ok {
				used[i] = true
				continue next
			}
		}
		return refuse("consent.wider", errors.New("an authorization detail exceeds what was asked"))
	}
	return nil
}
