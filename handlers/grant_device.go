package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// exchangeDevice answers a device's poll, RFC 8628 §3.4 and §3.5. A wrong
// client neither burns the code nor slows its owner down.
func (p *Provider) exchangeDevice(ctx context.Context, r *http.Request, c *clientreg.Client, f form.Form) (*tokenResponse, error) {
	code := f.Get("device_code")
	if code == "" {
		return nil, refuse("device.missing", nil)
	}
	shard, ok := handle.Parse(handle.Device, code)
	if !ok {
		return nil, refuse("device.malformed", nil)
	}
	rec, err := p.get(ctx, deviceRecord(shard, handle.Key(code)))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse("device.unknown", nil)
	}
	if err != nil {
		return nil, err
	}
	var d deviceData
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return nil, err
	}
	switch {
	case rec.Client != c.ID:
		return nil, refuse("device.client", nil)
	case rec.State != storage.Active:
		return nil, p.deviceReused(ctx, r, rec)
	case !p.now().Before(d.Expires):
		return nil, refuse("device.expired", nil)
	case d.Denied:
		return nil, refuse("device.denied", nil)
	case rec.Grant == "":
		return nil, p.pollDevice(ctx, rec.Ref)
	}
	res, g, err := p.redeem(ctx, r, rec, issue{client: c, resource: f.All("resource"), details: f.Get("authorization_details")})
	if errors.Is(err, errSpent) {
		return nil, p.deviceReused(ctx, r, rec)
	}
	if err != nil {
		return nil, err
	}
	p.emit(ctx, r, Event{Name: "device.redeemed", ClientID: c.ID, Subject: g.rec.Subject, Grant: g.rec.Key, Session: g.rec.Session})
	return res, nil
}

// deviceReused answers a device code that was spent, as a spent authorization
// code is answered: what was issued for it dies. Either somebody else has it, or
// the answer was lost and nobody has it.
func (p *Provider) deviceReused(ctx context.Context, r *http.Request, rec *storage.Record) error {
	e := Event{Subject: rec.Subject, ClientID: rec.Client, Reason: "device.reused"}
	if err := p.revokeGrant(ctx, r, grantRef(rec.Shard, rec.Grant), e); err != nil {
		return err
	}
	e.Name, e.Grant = "device.reused", rec.Grant
	p.emit(ctx, r, e)
	return refuse("device.reused", nil)
}

// pollDevice counts a poll for which there is no answer yet and says whether it
// came too early. Only these are counted: an answer is never held back.
func (p *Provider) pollDevice(ctx context.Context, device storage.Ref) error {
	rec, err := p.get(ctx, storage.Ref{Kind: storage.KindPoll, Shard: device.Shard, Key: device.Key})
	if errors.Is(err, storage.ErrNotFound) {
		return refuse("device.unknown", nil)
	}
	for err == nil {
		var d pollData
		if err = json.Unmarshal(rec.Data, &d); err != nil {
			return err
		}
		now := p.now()
		// A second of leeway: two polls that were sent in time may arrive closer.
		early := !d.At.IsZero() && now.Sub(d.At) < time.Duration(d.Interval)*time.Second-time.Second
		if early {
			d.Interval += int64(pollInterval / time.Second)
		}
		d.At = now
		next := rec.Clone()
		if next.Data, err = json.Marshal(d); err != nil {
			return err
		}
		err = p.commit(ctx, storage.Update(*next))
		var conflict *storage.ConflictError
		switch {
		case err == nil && !early:
			return refuse("device.pending", nil)
		case err == nil, early && errors.Is(err, storage.ErrConflict):
			return refuse("device.too_fast", nil) // or somebody else's poll has just raised the interval
		case errors.As(err, &conflict) && errors.Is(err, storage.ErrConflict):
			rec, err = conflict.Current, nil // another poll at the same moment: ours came after it
		}
	}
	return err
}
