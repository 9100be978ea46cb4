package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
)

// Authorize is the authorization endpoint, RFC 6749 §3.1 and OpenID Connect
// Core §3.1.2.
func (p *Provider) Authorize() http.Handler {
	return p.handler(endpoint{name: "authorize", methods: "GET, POST", serve: p.authorize, fail: p.failPage})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) error {
	f, err := authorizeParams(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	c, err := p.askingClient(ctx, f)
	if err != nil {
		return err
	}
	fl, to, err := p.askedFor(ctx, c, f)
	if err != nil {
		if to.uri == "" {
			return err
		}
		return p.sendError(w, r, to, err)
	}
	if r.Method == http.MethodPost && fl.par == nil {
		return p.redirectToSelf(w, r, fl.req)
	}
	s, err := p.sessionFor(ctx, r, fl.req)
	if err == nil && s != nil {
		err = p.touch(ctx, s)
	}
	if err == nil {
		err = p.proceed(w, r, fl, s)
	}
	if err != nil {
		return p.failFlow(w, r, fl, err)
	}
	return nil
}

func authorizeParams(r *http.Request) (f form.Form, err error) {
	if r.Method == http.MethodPost {
		if r.URL.RawQuery != "" {
			return f, refuse("request.query", nil)
		}
		f, err = form.ParseBody(r)
	} else {
		f, err = form.ParseQuery(r.URL.RawQuery)
	}
	if err != nil {
		return f, formError(err)
	}
	if f.Repeated("resource") != "" { // a page: which of the two would be the answer's?
		return f, refuse("request.repeated", nil)
	}
	return f, nil
}

// askingClient finds the client. Until it and the redirect URI are known,
// errors go to a page: RFC 6749 §4.1.2.1.
func (p *Provider) askingClient(ctx context.Context, f form.Form) (*clientreg.Client, error) {
	if len(f.All("client_id")) != 1 {
		return nil, refuse("authorize.client", nil)
	}
	c, err := p.client(ctx, f.Get("client_id"))
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "invalid_client" {
		return nil, refuse("authorize.client", err)
	}
	return c, err
}

// askedFor reads the request, pushed or direct. When it returns an error with
// a reply, the error may leave through it.
func (p *Provider) askedFor(ctx context.Context, c *clientreg.Client, f form.Form) (*flow, reply, error) {
	uri := f.Get("request_uri")
	if strings.HasPrefix(uri, handle.PAR) {
		if f.Get("request") != "" {
			return nil, reply{}, refuse("authorize.both_requests", nil)
		}
		fl, to, err := p.pushed(ctx, c, uri)
		if err == nil && !fl.byPAR && p.mustPush(c) {
			return nil, to, refuse("par.required", nil)
		}
		return fl, to, err // parameters beside a request_uri are ignored, RFC 9126 §4
	}
	to, err := proveRedirect(c, f)
	if err != nil {
		return nil, reply{}, err
	}
	if p.mustPush(c) {
		return nil, to, refuse("par.required", nil)
	}
	if uri != "" && f.Get("request") != "" {
		return nil, to, refuse("authorize.both_requests", nil)
	}
	req, err := p.readRequest(ctx, c, to, f)
	if err != nil {
		return nil, to, err
	}
	shard, err := handle.Shard(p.rand)
	return &flow{client: c, req: req, shard: shard, deadline: p.now().Add(p.cfg.TTL.Interaction)}, to, err
}

// mustPush: RFC 9126 §6.
func (p *Provider) mustPush(c *clientreg.Client) bool { return p.cfg.RequirePAR || c.RequirePAR }

// redirectToSelf answers a POST, which may come from another site and then
// carries no Lax cookies, with a GET that does carry them.
func (p *Provider) redirectToSelf(w http.ResponseWriter, r *http.Request, req *authRequest) error {
	// Whoever posts it proves nothing, whatever client it names: like a public
	// client's push, its row is counted.
	if wait := p.limit(r, "par", req.ClientID); wait > 0 {
		return tooMany(wait)
	}
	uri, err := p.storeRequest(r.Context(), req, true)
	if err != nil {
		return err
	}
	q := url.Values{"client_id": {req.ClientID}, "request_uri": {uri}}
	seeOther(w, p.path(p.cfg.Paths.Authorize)+"?"+q.Encode())
	return nil
}

// failFlow ends a flow with an error. What is an answer of the protocol goes to
// the client, once, and spends the pushed request and the page; a fault that
// may pass leaves them usable for another try.
func (p *Provider) failFlow(w http.ResponseWriter, r *http.Request, f *flow, err error) error {
	e := toError(err)
	switch {
	case e.Status() >= 500, e.Reason == "request.rate":
		return e // a page: it may pass
	case e.Reason == "interaction.done", e.Reason == "par.used", e.Reason == "device.answered":
		return e // a page: it was answered elsewhere
	}
	if f.device != nil {
		return p.denyDevice(w, r, f, e)
	}
	if ops := f.spend(); len(ops) > 0 {
		if err := p.commit(r.Context(), ops...); err != nil {
			return spent(err)
		}
	}
	return p.sendError(w, r, f.req.reply(), e)
}

// sendError answers through the redirect URI. RFC 6749 §4.1.2.1, RFC 9207 §2.
func (p *Provider) sendError(w http.ResponseWriter, r *http.Request, to reply, err error) error {
	e := toError(err)
	p.logRefusal(r, "authorize", e)
	params := [][2]string{{"error", e.Code}}
	if e.Description != "" {
		params = append(params, [2]string{"error_description", e.Description})
	}
	return p.send(w, r, to, params)
}

// send answers through the redirect URI with state and iss added.
func (p *Provider) send(w http.ResponseWriter, r *http.Request, to reply, params [][2]string) error {
	if to.state != "" {
		params = append(params, [2]string{"state", to.state})
	}
	params = append(params, [2]string{"iss", p.cfg.Issuer})
	if to.mode == "form_post" {
		p.formPost(w, r, to.uri, params)
		return nil
	}
	seeOther(w, withParams(to, params))
	return nil
}

// withParams appends parameters to a redirect URI and leaves its own bytes as
// they were registered.
func withParams(to reply, params [][2]string) string {
	var b strings.Builder
	b.WriteString(to.uri)
	sep := byte('?')
	switch {
	case to.mode == "fragment":
		sep = '#'
	case strings.Contains(to.uri, "?"):
		sep = '&'
	}
	for _, kv := range params {
		b.WriteByte(sep)
		b.WriteString(kv[0])
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(kv[1]))
		sep = '&'
	}
	return b.String()
}

// seeOther is a redirect without a body. 303: a POST is never repeated at the
// client, RFC 9700 §4.12.
func seeOther(w http.ResponseWriter, location string) {
	if s, ok := w.(spaWriter); ok {
		s.goTo(location)
		return
	}
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
}

// originOf returns scheme and authority of an absolute URI, "" if it has none.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
