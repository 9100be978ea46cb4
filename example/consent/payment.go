package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/idpkit/idpkit/clientreg"
)

// payment is a type of authorization_details, RFC 9396: money that the client
// may send to one account, up to a limit in whole euro.
//
//	{"type": "payment", "to": "Hatter's Teas", "limit": "50"}
type payment struct{}

type paymentDetail struct {
	Type  string `json:"type"`
	To    string `json:"to"`
	Limit string `json:"limit"`
}

func readPayment(raw json.RawMessage) (d paymentDetail, limit uint64, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields() // what nobody understands cannot be consented to, RFC 9396 §5
	if err := dec.Decode(&d); err != nil {
		return d, 0, err
	}
	if d.To == "" || len(d.To) > 100 {
		return d, 0, errors.New("to: 1 to 100 bytes")
	}
	limit, err = strconv.ParseUint(d.Limit, 10, 32)
	return d, limit, err
}

// Type implements handlers.DetailType.
func (payment) Type() string { return "payment" }

// Validate implements handlers.DetailType.
func (payment) Validate(_ context.Context, _ *clientreg.Client, raw json.RawMessage) (json.RawMessage, error) {
	d, _, err := readPayment(raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// Describe implements handlers.DetailType. The page adds the limit, as a field.
func (payment) Describe(_ context.Context, raw json.RawMessage, _ []string) ([]string, error) {
	d, _, err := readPayment(raw)
	return []string{"Send money", "to " + d.To}, err
}

// Within implements handlers.DetailType: the same account, no more money.
func (payment) Within(_ context.Context, granted, narrowed json.RawMessage) (bool, error) {
	g, most, err := readPayment(granted)
	if err != nil {
		return false, err
	}
	n, limit, err := readPayment(narrowed)
	return err == nil && n.To == g.To && limit > 0 && limit <= most, nil
}
