package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/handle"
	"github.com/idpkit/idpkit/middleware"
	"github.com/idpkit/idpkit/storage"
)

const (
	grantTypeDevice = "urn:ietf:params:oauth:grant-type:device_code"

	// userCodeAlphabet has no vowels, so that no words come up, and no digits:
	// 20 letters, eight of them make 34.5 bits. RFC 8628 §6.1.
	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen      = 8
	userCodePurpose  = "user code"

	pollInterval = 5 * time.Second // RFC 8628 §3.2 and what slow_down adds, §3.5
)

// A device authorization is three records of one shard, which comes from the
// user code: the device's own, which becomes its answer; the user code's, which
// is spent by the one decision there is; and the times of the polls, apart, so
// that polling never collides with the decision.

// deviceData is the record of a device code. It is answered when its Grant
// column is set or Denied is.
type deviceData struct {
	Request authRequest `json:"request"`
	Addr    string      `json:"addr,omitempty"` // where the request came from
	Expires time.Time   `json:"expires"`
	Denied  bool        `json:"denied,omitempty"`
}

// userCodeData is the record of a user code.
type userCodeData struct {
	Device string `json:"device"` // key of the device record
}

// pollData is the record of a device's polls.
type pollData struct {
	At       time.Time `json:"at,omitzero"` // of the last one
	Interval int64     `json:"interval"`    // seconds to wait between two
}

func deviceRecord(shard uint16, key string) storage.Ref {
	return storage.Ref{Kind: storage.KindDevice, Shard: shard, Key: key}
}

// DeviceAuthorization is the device authorization endpoint, RFC 8628 §3.1.
func (p *Provider) DeviceAuthorization() http.Handler {
	return p.handler(endpoint{name: "device_authorization", methods: "POST", cors: corsClients, serve: p.authorizeDevice, fail: p.failJSON})
}

// deviceResponse is RFC 8628 §3.2.
type deviceResponse struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	CompleteURI     string `json:"verification_uri_complete"`
	ExpiresIn       int64  `json:"expires_in"`
	Interval        int64  `json:"interval"`
}

func (p *Provider) authorizeDevice(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, err := body(r, "resource")
	if err != nil {
		return err
	}
	c, err := p.authenticate(w, r, f)
	if err != nil {
		return err
	}
	if !c.HasGrantType(grantTypeDevice) {
		return refuse("client.grant_type", nil)
	}
	if c.Public() { // nobody proved to be it: its rows are bounded
		if wait := p.limit(r, "par", c.ID); wait > 0 {
			return tooMany(wait)
		}
	}
	q, err := p.readDeviceRequest(ctx, c, f)
	if err != nil {
		return err
	}
	d := deviceData{Request: *q, Expires: p.now().Add(p.cfg.TTL.Device)}
	if a := middleware.RemoteAddr(r); a.IsValid() {
		d.Addr = a.String()
	}
	deviceCode, userCode, err := p.storeDevice(ctx, d)
	if err != nil {
		return err
	}
	p.emit(ctx, r, Event{Name: "device.requested", ClientID: c.ID})
	uri := p.url(p.cfg.Paths.Device)
	return writeJSON(w, http.StatusOK, deviceResponse{
		DeviceCode: deviceCode, UserCode: userCode, VerificationURI: uri, CompleteURI: uri + "?" + url.Values{"user_code": {userCode}}.Encode(),
		ExpiresIn: int64(p.cfg.TTL.Device / time.Second), Interval: int64(pollInterval / time.Second),
	})
}

// readDeviceRequest runs those checks of an authorization request that have a
// meaning without a browser: what is asked for, not how it is answered.
func (p *Provider) readDeviceRequest(ctx context.Context, c *clientreg.Client, f form.Form) (*authRequest, error) {
	q := &authRequest{ClientID: c.ID}
	for _, check := range []func(context.Context, *clientreg.Client, form.Form, *authRequest) error{
		p.checkScope, p.checkResource, p.checkDetails,
	} {
		if err := check(ctx, c, f, q); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// storeDevice keeps a checked request and returns its two codes. A user code
// that is taken is drawn again.
func (p *Provider) storeDevice(ctx context.Context, d deviceData) (deviceCode, userCode string, err error) {
	for range 8 {
		if userCode, err = newUserCode(p.rand); err != nil {
			return "", "", err
		}
		name := derived(storage.KindUserCode, p.userCodeKeys(userCode)[0])
		if deviceCode, err = handle.New(handle.Device, name.Shard, p.rand); err != nil {
			return "", "", err
		}
		key := handle.Key(deviceCode)
		device, err1 := encodeJSON(d)
		code, err2 := json.Marshal(userCodeData{key})
		poll, err3 := json.Marshal(pollData{Interval: int64(pollInterval / time.Second)})
		if err := errors.Join(err1, err2, err3); err != nil {
			return "", "", err
		}
		keep := d.Expires.Add(max(p.cfg.TTL.Access, 10*time.Minute)) // so that a replay is seen
		err = p.commit(ctx,
			storage.Insert(storage.Record{Ref: name, ExpiresAt: keep, Data: code}),
			storage.Insert(storage.Record{Ref: deviceRecord(name.Shard, key), Client: d.Request.ClientID, ExpiresAt: keep, Data: device}),
			storage.Insert(storage.Record{Ref: storage.Ref{Kind: storage.KindPoll, Shard: name.Shard, Key: key}, ExpiresAt: keep, Data: poll}))
		if !errors.Is(err, storage.ErrExists) {
			break
		}
	}
	return deviceCode, showUserCode(userCode), err
}

// newUserCode draws a user code in its bare form.
func newUserCode(random io.Reader) (string, error) {
	const fair = 256 / len(userCodeAlphabet) * len(userCodeAlphabet) // above it some letters would come more often
	code, b := make([]byte, 0, userCodeLen), make([]byte, 1)
	for len(code) < userCodeLen {
		if _, err := io.ReadFull(random, b); err != nil {
			return "", err
		}
		if int(b[0]) < fair {
			code = append(code, userCodeAlphabet[int(b[0])%len(userCodeAlphabet)])
		}
	}
	return string(code), nil
}

// showUserCode groups a bare user code for people.
func showUserCode(code string) string { return code[:userCodeLen/2] + "-" + code[userCodeLen/2:] }

// parseUserCode returns the bare form of what a person typed: in any case, with
// any dashes, blanks and the like in between. RFC 8628 §6.1.
func parseUserCode(s string) (code string, ok bool) {
	if len(s) > 64 {
		return "", false
	}
	var b strings.Builder
	for _, r := range s {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		switch {
		case strings.ContainsRune(userCodeAlphabet, r):
			b.WriteRune(r)
		case !unicode.IsPunct(r) && !unicode.IsSpace(r):
			return "", false
		}
	}
	return b.String(), b.Len() == userCodeLen
}

// userCodeKeys are the names under which a bare user code may be stored, the
// one for a new record first. A digest of so few bits could be searched; it is
// made with a key.
func (p *Provider) userCodeKeys(code string) []string {
	var keys []string
	for _, mac := range p.seal.MACs(userCodePurpose, []byte(code)) {
		keys = append(keys, base64.RawURLEncoding.EncodeToString(mac))
	}
	return keys
}
