package handlerstest

import (
	"net/http"
	"net/url"
	"time"
)

// Device is a device that waits for a person to let it in, RFC 8628 §3.2.
type Device struct {
	UserCode  string
	URI       string // where the person enters the code
	Complete  string // URI with the code
	Interval  time.Duration
	ExpiresIn time.Duration

	code string
}

// Device asks for codes for a device, for Scope. edit changes the request as in
// Begin.
func (rp *RP) Device(edit ...string) Device {
	rp.t.Helper()
	var v struct {
		Code      string `json:"device_code"`
		UserCode  string `json:"user_code"`
		URI       string `json:"verification_uri"`
		Complete  string `json:"verification_uri_complete"`
		ExpiresIn int64  `json:"expires_in"`
		Interval  int64  `json:"interval"`
	}
	rp.Post("device_authorization_endpoint", change(url.Values{"scope": {rp.scope()}}, edit)).Want(http.StatusOK).Decode(&v)
	return Device{v.UserCode, v.URI, v.Complete, time.Duration(v.Interval) * time.Second, time.Duration(v.ExpiresIn) * time.Second, v.Code}
}

// Poll is the token request of the device, RFC 8628 §3.4. While nobody has
// answered it is refused:
//
//	rp.Post("token_endpoint", device.Poll()).WantError(400, "authorization_pending")
//
// Between two of them Interval must pass, so advance the clock, or the second is
// refused as slow_down.
func (d Device) Poll() url.Values {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.code}}
}

// Connect lets the device in: it opens the page with the code, confirms it on
// the built-in page, signs in and consents as SignIn does, and polls for the
// tokens.
func (rp *RP) Connect(b *Browser, d Device, username, password string) *Tokens {
	rp.t.Helper()
	p := b.Submit(b.Get(d.Complete), url.Values{"do": {"code"}})
	rp.walk(b, p, username, password).Want(http.StatusOK)
	return rp.Tokens(d.Poll())
}
