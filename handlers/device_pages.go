package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/ui"
	"github.com/idpkit/idpkit/storage"
)

// deviceRef is the device that a flow answers, where others answer a redirect
// URI.
type deviceRef struct {
	Key      string `json:"key"`                 // of the device record
	UserCode string `json:"user_code,omitempty"` // key of the user code's record; empty: spent by this flow
	Shown    []byte `json:"shown"`               // the user code, sealed: a storage could use it
	Addr     string `json:"addr,omitempty"`
}

// DevicePage is where a person enters the code that a device shows: the
// verification URI of RFC 8628 §3.3. Opening it, with a code in the URL too,
// decides nothing (§5.4): the code goes into the form, and after sign-in the
// consent page shows it again, with the client.
func (p *Provider) DevicePage() http.Handler {
	return p.handler(endpoint{name: "device", methods: "GET, POST", serve: p.devicePage, fail: p.failPage})
}

func (p *Provider) devicePage(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		q, err := form.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return formError(err)
		}
		typed := q.Get("user_code")
		if code, ok := parseUserCode(typed); ok {
			typed = showUserCode(code)
		}
		return p.drawDevice(w, r, typed, "")
	}
	if err := p.checkForm(r, "device", "", p.browser(r)); err != nil {
		return err
	}
	if r.PostForm.Get("do") != "code" {
		return refuse("interaction.response", nil)
	}
	ctx := r.Context()
	s, err := p.currentSession(ctx, r)
	if err != nil {
		return err
	}
	user := ""
	if s != nil {
		user = s.login.Subject
	}
	typed := r.PostForm.Get("user_code")
	if wait := p.limit(r, "user_code", user); wait > 0 { // RFC 8628 §5.1
		w.Header().Set("Retry-After", strconv.Itoa(wait))
		return p.drawDevice(w, r, typed, "throttled")
	}
	f, err := p.findDevice(ctx, typed)
	if err != nil {
		return err
	}
	if f == nil {
		return p.drawDevice(w, r, typed, "wrong")
	}
	p.uncount(r, "user_code", user)
	if s != nil {
		if err := p.touch(ctx, s); err != nil {
			return err
		}
	}
	return p.proceed(w, r, f, s)
}

func (p *Provider) drawDevice(w http.ResponseWriter, r *http.Request, typed, problem string) error {
	browser, err := p.bindBrowser(w, r)
	if err != nil {
		return err
	}
	f := p.frame(wantedLocales(nil, r), "")
	if problem == "throttled" {
		f.Status = http.StatusTooManyRequests
	}
	f.DeviceCode(w, ui.DeviceCode{
		Action: p.path(p.cfg.Paths.Device), CSRF: p.csrfToken("device", "", browser), UserCode: typed, Problem: problem,
	})
	return nil
}

// findDevice returns the flow of the device that shows a code; nil if no device
// shows it, or not any more: a guesser learns no more than that.
func (p *Provider) findDevice(ctx context.Context, typed string) (*flow, error) {
	code, ok := parseUserCode(typed)
	if !ok {
		return nil, nil
	}
	for _, key := range p.userCodeKeys(code) {
		name := derived(storage.KindUserCode, key)
		rec, err := p.get(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil || rec.State != storage.Active {
			return nil, err
		}
		var u userCodeData
		if err := json.Unmarshal(rec.Data, &u); err != nil {
			return nil, err
		}
		_, d, err := p.loadDevice(ctx, deviceRecord(name.Shard, u.Device))
		if err != nil || !p.now().Before(d.Expires) {
			return nil, err
		}
		c, err := p.client(ctx, d.Request.ClientID)
		if err != nil {
			return nil, err
		}
		shown, err := p.seal.Seal(userCodePurpose, p.rand, []byte(code))
		if err != nil {
			return nil, err
		}
		return &flow{
			client: c, req: &d.Request, shard: name.Shard, deadline: earlier(d.Expires, p.now().Add(p.cfg.TTL.Interaction)),
			device: &deviceRef{Key: u.Device, UserCode: key, Shown: shown, Addr: d.Addr},
		}, nil
	}
	return nil, nil
}

func (p *Provider) loadDevice(ctx context.Context, ref storage.Ref) (*storage.Record, deviceData, error) {
	var d deviceData
	rec, err := p.get(ctx, ref)
	if err == nil {
		err = json.Unmarshal(rec.Data, &d)
	}
	return rec, d, err
}

// showDevice is what an interaction tells its page of the device.
func (p *Provider) showDevice(ctx context.Context, ref *deviceRef, locales []string) (*Device, error) {
	code, err := p.seal.Open(userCodePurpose, ref.Shown)
	if err != nil || len(code) != userCodeLen {
		return nil, refuse("interaction.expired", err) // the secret it was sealed under is gone
	}
	d := &Device{UserCode: showUserCode(string(code)), Addr: ref.Addr, Place: ref.Addr}
	if addr, err := netip.ParseAddr(ref.Addr); err == nil && p.cfg.Place != nil {
		d.Place = firstOf(p.cfg.Place(ctx, addr, locales), ref.Addr)
	}
	return d, nil
}

// answerDevice returns the op that writes the answer into the device's record.
func (p *Provider) answerDevice(ctx context.Context, f *flow, g *grant) (storage.Op, error) {
	rec, d, err := p.loadDevice(ctx, deviceRecord(f.shard, f.device.Key))
	if err != nil {
		return storage.Op{}, err
	}
	next := rec.Clone()
	if g != nil {
		next.Grant, next.Subject = g.rec.Key, g.rec.Subject
	}
	d.Denied = g == nil
	next.Data, err = json.Marshal(d)
	return storage.Update(*next), err
}

// approveDevice ends a flow whose user code is spent and whose grant has been
// looked at again: only now can the device fetch its tokens.
func (p *Provider) approveDevice(w http.ResponseWriter, r *http.Request, f *flow, g *grant) error {
	ctx := r.Context()
	f.at, f.device.UserCode = nil, ""
	op, err := p.answerDevice(ctx, f, g)
	if err == nil {
		err = p.commit(ctx, op)
	}
	if err != nil {
		return err
	}
	p.emit(ctx, r, Event{Name: "device.approved", ClientID: f.client.ID, Subject: g.rec.Subject, Grant: g.rec.Key, Session: g.rec.Session})
	p.drawDeviceDone(w, r, f, true)
	return nil
}

// denyDevice ends a flow with a refusal, which the device learns at its next
// poll as access_denied whatever the reason.
func (p *Provider) denyDevice(w http.ResponseWriter, r *http.Request, f *flow, e *Error) error {
	ctx := r.Context()
	op, err := p.answerDevice(ctx, f, nil)
	if err == nil {
		err = p.commit(ctx, append(f.spend(), op)...)
	}
	if err != nil {
		return spent(err)
	}
	p.emit(ctx, r, Event{Name: "device.denied", ClientID: f.client.ID, Reason: e.Reason})
	if e.Code != "access_denied" {
		return e
	}
	p.logRefusal(r, "device", e)
	p.drawDeviceDone(w, r, f, false)
	return nil
}

func (p *Provider) drawDeviceDone(w http.ResponseWriter, r *http.Request, f *flow, allowed bool) {
	locales := wantedLocales(f.req.UILocales, r)
	p.frame(locales, "").DeviceDone(w, ui.DeviceDone{Client: viewClient(f.client, locales), Allowed: allowed})
}
