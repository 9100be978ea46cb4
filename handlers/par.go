package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/storage"
)

// PAR is the pushed authorization request endpoint, RFC 9126 §2.
func (p *Provider) PAR() http.Handler {
	return p.handler(endpoint{name: "par", methods: "POST", cors: corsClients, serve: p.push, fail: p.failJSON})
}

func (p *Provider) push(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, err := body(r, "resource")
	if err != nil {
		return err
	}
	c, err := p.authenticate(w, r, f)
	if err != nil {
		return err
	}
	if c.Public() { // nobody proved to be it: its rows are bounded
		if wait := p.limit(r, "par", c.ID); wait > 0 {
			return tooMany(wait)
		}
	}
	if f.Has("request_uri") {
		return refuse("par.request_uri", nil)
	}
	to, err := proveRedirect(c, f)
	if err != nil {
		return err
	}
	req, err := p.readRequest(ctx, c, to, f)
	if err != nil {
		return err
	}
	uri, err := p.storeRequest(ctx, req, false)
	if err != nil {
		return err
	}
	p.emit(ctx, r, Event{Name: "par.pushed", ClientID: c.ID})
	return writeJSON(w, http.StatusCreated, struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int64  `json:"expires_in"`
	}{uri, int64(p.cfg.TTL.PAR / time.Second)})
}

// pushedData is the record of a pushed request. It stays, consumed, until the
// last sign-in that began with it has ended.
type pushedData struct {
	Request authRequest `json:"request"`
	Expires time.Time   `json:"expires"`
	Posted  bool        `json:"posted,omitempty"` // a POST to the authorization endpoint, not a push
}

// storeRequest keeps a checked request and returns its request_uri.
func (p *Provider) storeRequest(ctx context.Context, req *authRequest, posted bool) (string, error) {
	shard, err := handle.Shard(p.rand)
	if err != nil {
		return "", err
	}
	uri, err := handle.New(handle.PAR, shard, p.rand)
	if err != nil {
		return "", err
	}
	now := p.now()
	data, err := encodeJSON(pushedData{*req, now.Add(p.cfg.TTL.PAR), posted})
	if err != nil {
		return "", err
	}
	if len(data) > storage.MaxData-maxValue { // an interaction holds it too, and a little more
		return "", refuse("request.too_large", nil)
	}
	return uri, p.commit(ctx, storage.Insert(storage.Record{
		Ref:       storage.Ref{Kind: storage.KindPAR, Shard: shard, Key: handle.Key(uri)},
		Client:    req.ClientID,
		ExpiresAt: now.Add(p.cfg.TTL.PAR + p.cfg.TTL.Interaction + time.Minute),
		Data:      data,
	}))
}

// pushed loads the request behind a request_uri for a client. A reference of
// another client is as unknown as any. For one that is spent or expired the
// record still proves the redirect URI; the state stays hidden, since whoever
// found an old URL should not learn it.
func (p *Provider) pushed(ctx context.Context, c *clientreg.Client, uri string) (f *flow, to reply, err error) {
	shard, ok := handle.Parse(handle.PAR, uri)
	if !ok {
		return nil, reply{}, refuse("par.unknown", nil)
	}
	ref := storage.Ref{Kind: storage.KindPAR, Shard: shard, Key: handle.Key(uri)}
	rec, err := p.get(ctx, ref)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, reply{}, refuse("par.unknown", nil)
	}
	if err != nil {
		return nil, reply{}, err
	}
	var d pushedData
	if err := decode(rec.Data, &d); err != nil {
		return nil, reply{}, err
	}
	if d.Request.ClientID != c.ID || !c.MatchRedirectURI(d.Request.RedirectURI) {
		return nil, reply{}, refuse("par.unknown", nil)
	}
	to = d.Request.reply()
	if rec.State != storage.Active {
		to.state = ""
		return nil, to, refuse("par.used", nil)
	}
	if !p.now().Before(d.Expires) {
		to.state = ""
		return nil, to, refuse("par.expired", nil)
	}
	return &flow{client: c, req: &d.Request, shard: shard, par: &ref, byPAR: !d.Posted, deadline: p.now().Add(p.cfg.TTL.Interaction)}, to, nil
}
