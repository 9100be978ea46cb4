package handlers_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

func withDevices(c *handlers.Config) { c.Features.Device = true }

// devices makes "tv" and "radio" public clients without a browser, and lets
// "web" be a device too.
func (w *world) devices() {
	w.t.Helper()
	tv := clientreg.Client{
		ID: "tv", Name: "The TV", TokenEndpointAuthMethod: "none", GrantTypes: []string{deviceGrant, "refresh_token"},
		Scope: "openid offline_access profile email api", AuthorizationDetailsTypes: []string{"payment"},
	}
	radio := tv
	radio.ID, radio.Name = "radio", "The Radio"
	newRegistry(w.t, tv, radio)
	w.clients.mu.Lock()
	w.clients.m["tv"], w.clients.m["radio"] = tv, radio
	w.clients.mu.Unlock()
	w.quick()
	w.clients.change("web", func(c *clientreg.Client) { c.GrantTypes = append(slices.Clone(c.GrantTypes), deviceGrant) })
}

// newDevices is a world with devices.
func newDevices(t testing.TB, opts ...func(*handlers.Config)) *world {
	t.Helper()
	w := newWorld(t, append([]func(*handlers.Config){withDevices}, opts...)...)
	w.devices()
	return w
}

// device asks for a device authorization.
func (w *world) device(client string, edit ...string) response {
	w.t.Helper()
	form, header := auth(client)
	form.Set("scope", "openid profile")
	for i := 0; i+1 < len(edit); i += 2 {
		form.Del(edit[i])
		if edit[i+1] != "" {
			form.Set(edit[i], edit[i+1])
		}
	}
	return w.call("/device_authorization", form, header...)
}

// poll asks for the tokens of a device code.
func (w *world) poll(client, code string, edit ...string) response {
	w.t.Helper()
	form, header := auth(client)
	form.Set("grant_type", deviceGrant)
	form.Set("device_code", code)
	for i := 0; i+1 < len(edit); i += 2 {
		form.Set(edit[i], edit[i+1])
	}
	return w.call("/token", form, header...)
}

// enter types a user code into the verification page.
func (b *browser) enter(userCode string) response {
	b.t.Helper()
	page := b.get(b.w.path("/device")).want(200)
	return b.post(b.w.path("/device"), url.Values{"csrf": {csrf(page)}, "user_code": {userCode}, "do": {"code"}})
}

// confirm enters a user code and signs in as needed; it returns the redirect to
// the consent page.
func (b *browser) confirm(userCode, user string) response {
	b.t.Helper()
	res := b.enter(userCode)
	if u, _ := res.location(); u.Path == b.w.path("/login") {
		res = b.signIn(res, user)
	}
	return res
}

// connect does all that a person does for a device.
func (b *browser) connect(userCode, user string) {
	b.t.Helper()
	page := b.allow(b.confirm(userCode, user)).want(200)
	if !strings.Contains(page.body, "Your device is connected") {
		b.t.Fatalf("%.600s", page.body)
	}
}

// refuse denies at the consent page that a redirect leads to.
func (b *browser) refuse(res response) response {
	b.t.Helper()
	u, _ := res.location()
	return b.post(u.String(), url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"deny"}})
}

// TestDeviceFlow: RFC 8628 from the device's first request to its refresh.
func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"tv", "web"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			w := newDevices(t)
			d := w.device(client, "scope", "openid profile offline_access").want(200)
			if d.json()["expires_in"] != 600.0 || d.json()["interval"] != 5.0 || d.str("verification_uri") != w.issuer+"/device" ||
				d.str("verification_uri_complete") != w.issuer+"/device?user_code="+d.str("user_code") || d.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %v", d.body, d.Header)
			}
			code := d.str("device_code")
			w.poll(client, code).wantError(400, "authorization_pending")

			b := w.browser()
			b.connect(d.str("user_code"), "alice")
			tok := w.poll(client, code).want(200)
			id := claims(t, tok.str("id_token"))
			if id["sub"] != "sub-alice" || id["aud"] != client || id["iss"] != w.issuer || id["sid"] == nil || id["nonce"] != nil || id["at_hash"] == nil {
				t.Errorf("ID token %v", id)
			}
			if tok.str("scope") != "openid profile offline_access" || tok.str("token_type") != "Bearer" || tok.Header.Get("Pragma") != "no-cache" {
				t.Errorf("%s", tok.body)
			}
			if w.userinfo(tok.str("access_token")).want(200).str("name") != "Alice" {
				t.Error("UserInfo")
			}
			again := w.refresh(client, tok.str("refresh_token")).want(200)
			gs, _, err := w.p.Grants().List(t.Context(), handlers.Filter{Subject: "sub-alice"}, "", 0)
			if err != nil || len(gs) != 1 || gs[0].ClientID != client {
				t.Errorf("grants %+v %v", gs, err)
			}
			w.poll(client, code).wantError(400, "invalid_grant") // spent: whoever sends it again, it ends here
			w.dead(client, again)
			for _, e := range []string{"device.requested", "device.approved", "device.redeemed", "device.reused"} {
				if w.events.count(e) != 1 {
					t.Errorf("%d of %s", w.events.count(e), e)
				}
			}
			if w.events.count("code.issued") != 0 {
				t.Error("a code was issued")
			}
		})
	}
}

func TestDeviceIsOffByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.devices()
	w.device("tv").want(404)
	w.getWith("/device").want(404)
	w.poll("tv", "x").wantError(400, "unsupported_grant_type")
	off := w.getWith("/.well-known/openid-configuration")
	if strings.Contains(off.body, "device") {
		t.Errorf("announced: %s", off.body)
	}
	on := newDevices(t).getWith("/.well-known/openid-configuration").json() // RFC 8628 §4
	if on["device_authorization_endpoint"] == nil || !slices.Contains(on["grant_types_supported"].([]any), any(deviceGrant)) {
		t.Errorf("not announced: %v", on)
	}
}

// TestDeviceBelowAPath: an issuer with a path has the pages below it.
func TestDeviceBelowAPath(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) { c.Issuer += "/tenant" })
	form := url.Values{"client_id": {"tv"}, "scope": {"openid"}}
	d := w.call("/tenant/device_authorization", form).want(200)
	if d.str("verification_uri") != w.issuer+"/device" {
		t.Errorf("%s", d.body)
	}
	w.browser().connect(d.str("user_code"), "alice")
	form.Set("grant_type", deviceGrant)
	form.Set("device_code", d.str("device_code"))
	w.call("/tenant/token", form).want(200)
}

// TestDeviceRequest: what is asked for is checked as at the other endpoints;
// what belongs to a redirect is ignored, PAR included.
func TestDeviceRequest(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) {
		c.RequirePAR = true
		c.APIs = []handlers.API{{Identifier: apiJWT}}
	})
	tests := []struct {
		name   string
		edit   []string
		status int
		code   string
	}{
		{"good", nil, 200, ""},
		{"ignored", []string{"response_type", "token", "redirect_uri", "https://evil.example", "request", "x", "code_challenge", "x", "unknown", "x"}, 200, ""},
		{"no scope", []string{"scope", ""}, 400, "invalid_scope"},
		{"malformed scope", []string{"scope", "openid  \""}, 400, "invalid_scope"},
		{"scope of others", []string{"scope", "openid admin"}, 400, "invalid_scope"},
		{"resource", []string{"resource", apiJWT}, 200, ""},
		{"unknown resource", []string{"resource", "https://other.example"}, 400, "invalid_target"},
		{"detail", []string{"authorization_details", `[{"type":"payment","amount":5}]`, "scope", ""}, 200, ""},
		{"bad detail", []string{"authorization_details", `[{"type":"payment","amount":-5}]`}, 400, "invalid_authorization_details"},
		{"unknown detail", []string{"authorization_details", `[{"type":"x"}]`}, 400, "invalid_authorization_details"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if res := w.in(t).device("tv", test.edit...); test.code == "" {
				res.want(200)
			} else {
				res.wantError(test.status, test.code)
			}
		})
	}
	w.call("/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid", "profile"}}).wantError(400, "invalid_request")
	w.call("/device_authorization?scope=openid", url.Values{"client_id": {"tv"}}).wantError(400, "invalid_request")
	w.getWith("/device_authorization").want(405)
	w.call("/token", url.Values{"client_id": {"tv"}, "grant_type": {deviceGrant}}).wantError(400, "invalid_request")
	w.clients.change("web", func(c *clientreg.Client) { c.RequirePAR = true })
	w.device("web").want(200)
}

// TestDeviceDetails: resources and details go into the tokens as granted.
func TestDeviceDetails(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) {
		c.APIs = []handlers.API{{Identifier: apiJWT, Name: "The API", Format: "jwt"}}
	})
	d := w.device("tv", "scope", "profile api", "resource", apiJWT, "authorization_details", `[{"type":"payment","amount":5},{"type":"payment","amount":7}]`).want(200)
	b := w.browser()
	res := b.confirm(d.str("user_code"), "alice")
	u, _ := res.location()
	page := b.get(u.String()).want(200)
	for _, want := range []string{"Pay up to 5 euros", "The API", "Call the API"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	b.allow(res, "scope", "api", "detail", "1").want(200)
	w.poll("tv", d.str("device_code"), "resource", "https://other.example").wantError(400, "invalid_target")
	tok := w.poll("tv", d.str("device_code")).want(200) // the slip took nothing
	c := claims(t, tok.str("access_token"))
	details, _ := json.Marshal(tok.json()["authorization_details"])
	if tok.str("scope") != "api" || tok.str("id_token") != "" || tok.str("refresh_token") != "" || string(details) != `[{"amount":7,"type":"payment"}]` || c["aud"].([]any)[0] != apiJWT {
		t.Errorf("%s %v", tok.body, c)
	}
}

// TestDevicePolling: RFC 8628 §3.5.
func TestDevicePolling(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	d := w.device("tv").want(200)
	steps := []struct {
		wait time.Duration
		want string
	}{
		{0, "authorization_pending"},
		{5 * time.Second, "authorization_pending"},
		{4500 * time.Millisecond, "authorization_pending"}, // the network's jitter
		{time.Second, "slow_down"},                         // from now on 10 s
		{5 * time.Second, "slow_down"},                     // 15 s
		{10 * time.Second, "slow_down"},                    // 20 s
		{20 * time.Second, "authorization_pending"},
		{0, "slow_down"},
	}
	for i, s := range steps {
		w.clock.add(s.wait)
		if res := w.poll("tv", d.str("device_code")); res.StatusCode != 400 || res.str("error") != s.want {
			t.Fatalf("step %d: %d %s, want %s", i, res.StatusCode, res.body, s.want)
		}
	}
	// Others have a pace of their own, and an answer is not held back.
	other := w.device("tv").want(200)
	w.poll("tv", other.str("device_code")).wantError(400, "authorization_pending")
	w.browser().connect(d.str("user_code"), "alice")
	w.poll("tv", d.str("device_code")).want(200)
	if strings.Contains(w.logged.String(), `"level":"INFO","msg":"refused","endpoint":"token","error":"authorization_pending"`) {
		t.Error("waiting fills the log")
	}
}

// TestDeviceExpiry: codes, pages and answers end together.
func TestDeviceExpiry(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) { c.TTL.Device = 5 * time.Minute })
	asked, open, approved, denied := w.device("tv").want(200), w.device("tv").want(200), w.device("tv").want(200), w.device("tv").want(200)
	b := w.browser()
	b.connect(approved.str("user_code"), "alice")
	b.refuse(b.confirm(denied.str("user_code"), "alice")).want(200)
	w.clock.add(4*time.Minute + 59*time.Second)
	res := b.confirm(open.str("user_code"), "alice")
	w.poll("tv", asked.str("device_code")).wantError(400, "authorization_pending")
	w.clock.add(time.Second)
	for _, d := range []response{asked, open, approved, denied} {
		w.poll("tv", d.str("device_code")).wantError(400, "expired_token")
	}
	u, _ := res.location()
	b.get(u.String()).wantPage() // the sign-in ends with the code
	if page := b.enter(asked.str("user_code")).want(200); !strings.Contains(page.body, "unknown or has expired") {
		t.Errorf("%.600s", page.body)
	}
	// Swept up, the codes are as unknown as any.
	w.clock.add(24 * time.Hour)
	if _, err := w.store.Purge(t.Context(), w.clock.Now(), 1000); err != nil {
		t.Fatal(err)
	}
	w.poll("tv", asked.str("device_code")).wantError(400, "invalid_grant")
}

// TestDeviceRestsOn: what an approval rests on is looked at again when the
// device comes for its tokens.
func TestDeviceRestsOn(t *testing.T) {
	t.Parallel()
	approved := func(t *testing.T, scope string) (*world, *browser, string) {
		w := newDevices(t)
		d := w.device("tv", "scope", scope).want(200)
		b := w.browser()
		b.connect(d.str("user_code"), "alice")
		return w, b, d.str("device_code")
	}
	t.Run("user disabled", func(t *testing.T) {
		t.Parallel()
		w, _, code := approved(t, "openid")
		w.users.disable("sub-alice", true)
		w.poll("tv", code).wantError(400, "invalid_grant")
		w.users.disable("sub-alice", false)
		w.poll("tv", code).want(200) // it was not spent
	})
	t.Run("users away", func(t *testing.T) {
		t.Parallel()
		w, _, code := approved(t, "openid")
		w.users.fail(errTest)
		w.poll("tv", code).wantError(503, "temporarily_unavailable")
		w.users.fail(nil)
		w.poll("tv", code).want(200)
	})
	t.Run("signed out", func(t *testing.T) {
		t.Parallel()
		w, b, code := approved(t, "openid")
		page := b.get("/logout").want(200)
		b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}).want(200)
		w.poll("tv", code).wantError(400, "invalid_grant")
	})
	t.Run("signed out, offline", func(t *testing.T) {
		t.Parallel()
		w, b, code := approved(t, "openid offline_access")
		page := b.get("/logout").want(200)
		b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}).want(200)
		w.refresh("tv", w.poll("tv", code).want(200).str("refresh_token")).want(200)
	})
	t.Run("signed out at the consent page", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		b := w.browser()
		u, _ := b.confirm(d.str("user_code"), "alice").location()
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}}
		page := b.get("/logout").want(200)
		b.post(html.UnescapeString(formAction.FindStringSubmatch(page.body)[1]), url.Values{"csrf": {csrf(page)}, "do": {"logout"}}).want(200)
		b.post(u.String(), form).wantPage()
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
	})
	t.Run("user disabled while approving", func(t *testing.T) {
		t.Parallel()
		var disable func()
		w := newDevices(t, func(c *handlers.Config) {
			c.Policy = func(context.Context, handlers.Decision) error { disable(); return nil }
		})
		disable = func() { w.users.disable("sub-alice", true) }
		d := w.device("tv").want(200)
		b := w.browser()
		b.allow(b.confirm(d.str("user_code"), "alice")).wantPage()
		w.users.disable("sub-alice", false)
		w.poll("tv", d.str("device_code")).wantError(400, "access_denied")
		if gs, _, err := w.p.Grants().List(t.Context(), handlers.Filter{Subject: "sub-alice"}, "", 0); err != nil || len(gs) != 0 {
			t.Errorf("%v %v", gs, err)
		}
		if w.events.count("device.approved") != 0 {
			t.Error("approved")
		}
	})
	t.Run("users away while approving", func(t *testing.T) {
		t.Parallel()
		var away func()
		w := newDevices(t, func(c *handlers.Config) {
			c.Policy = func(context.Context, handlers.Decision) error { away(); return nil }
		})
		away = func() { w.users.fail(errTest) }
		d := w.device("tv").want(200)
		b := w.browser()
		b.allow(b.confirm(d.str("user_code"), "alice")).want(503)
		w.users.fail(nil)
		w.poll("tv", d.str("device_code")).wantError(400, "access_denied") // it can start again
	})
	t.Run("access revoked", func(t *testing.T) {
		t.Parallel()
		w, _, code := approved(t, "openid")
		gs, _, err := w.p.Grants().List(t.Context(), handlers.Filter{Subject: "sub-alice"}, "", 0)
		if err != nil || len(gs) != 1 {
			t.Fatal(gs, err)
		}
		if err := w.p.Grants().Revoke(t.Context(), "sub-alice", gs[0].ID); err != nil {
			t.Fatal(err)
		}
		w.poll("tv", code).wantError(400, "invalid_grant")
	})
	t.Run("client disabled", func(t *testing.T) {
		t.Parallel()
		w, _, code := approved(t, "openid")
		w.clients.change("tv", func(c *clientreg.Client) { c.Disabled = true })
		w.poll("tv", code).wantError(401, "invalid_client")
	})
	t.Run("policy at the token endpoint", func(t *testing.T) {
		t.Parallel()
		w, _, code := approved(t, "openid")
		w.restart(func(c *handlers.Config) {
			c.Policy = func(_ context.Context, d handlers.Decision) error {
				if d.Endpoint == "token" {
					return errTest
				}
				return nil
			}
		})
		w.poll("tv", code).wantError(400, "invalid_grant")
	})
	t.Run("no refresh token without the grant type", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		w.clients.change("tv", func(c *clientreg.Client) { c.GrantTypes = []string{deviceGrant} })
		d := w.device("tv", "scope", "openid offline_access").want(200)
		w.browser().connect(d.str("user_code"), "alice")
		if tok := w.poll("tv", d.str("device_code")).want(200); tok.str("refresh_token") != "" || tok.str("scope") != "openid" {
			t.Errorf("%s", tok.body)
		}
	})
}

// TestDeviceIsAlwaysConfirmed: neither a remembered consent nor a first party
// spares the page, and the page remembers nothing.
func TestDeviceIsAlwaysConfirmed(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	w.clients.change("web", func(c *clientreg.Client) { c.FirstParty = true })
	b := w.victim("native")
	for _, client := range []string{"web", "native", "tv", "tv"} {
		w.clients.change(client, func(c *clientreg.Client) {
			c.GrantTypes = append(slices.Clone(c.GrantTypes), deviceGrant)
		})
		d := w.device(client).want(200)
		res := b.enter(d.str("user_code"))
		u, _ := res.location()
		if u.Path != "/consent" {
			t.Fatalf("%s: to %s", client, u)
		}
		if page := b.get(u.String()); strings.Contains(page.body, `name="remember"`) {
			t.Errorf("%s: offers to remember", client)
		}
		b.allow(res, "remember", "1").want(200)
		w.poll(client, d.str("device_code")).want(200)
	}
	w.clients.change("web", func(c *clientreg.Client) { c.FirstParty = false })
	if u, _ := b.begin(request("web")).location(); u.Path != "/consent" {
		t.Errorf("the device's consent was remembered: to %s", u)
	}
}

// TestDeviceRefused: every way to say no ends the request, and the device
// learns it as access_denied.
func TestDeviceRefused(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, end func(b *browser, userCode string) response, opts ...func(*handlers.Config)) response {
		w := newDevices(t, opts...)
		d := w.device("tv").want(200)
		b := w.browser()
		res := end(b, d.str("user_code"))
		for range 2 {
			w.poll("tv", d.str("device_code")).wantError(400, "access_denied")
		}
		if page := b.enter(d.str("user_code")); !strings.Contains(page.body, "unknown or has expired") {
			t.Errorf("the code still works: %.300s", page.body)
		}
		if w.events.count("device.denied") != 1 || w.events.count("device.approved") != 0 {
			t.Error("events")
		}
		return res
	}
	t.Run("consent", func(t *testing.T) {
		t.Parallel()
		res := refused(t, func(b *browser, c string) response { return b.refuse(b.confirm(c, "alice")) })
		if !strings.Contains(res.want(200).body, "Your device is not connected") {
			t.Errorf("%.600s", res.body)
		}
	})
	t.Run("login", func(t *testing.T) {
		t.Parallel()
		refused(t, func(b *browser, c string) response { return b.refuse(b.enter(c)) }).want(200)
	})
	t.Run("nothing ticked", func(t *testing.T) {
		t.Parallel()
		refused(t, func(b *browser, c string) response {
			b.w.clients.change("tv", func(c *clientreg.Client) { c.Name = "TV" })
			d := b.w.device("tv", "scope", "profile").want(200)
			b.allow(b.confirm(d.str("user_code"), "alice"), "scope", "").want(200)
			b.w.poll("tv", d.str("device_code")).wantError(400, "access_denied")
			b.w.events.es = nil
			return b.refuse(b.confirm(c, "alice"))
		})
	})
	t.Run("policy", func(t *testing.T) {
		t.Parallel()
		refused(t, func(b *browser, c string) response { return b.allow(b.confirm(c, "alice")) },
			func(c *handlers.Config) { c.Policy = func(context.Context, handlers.Decision) error { return errTest } }).want(200)
	})
	t.Run("disabled user", func(t *testing.T) {
		t.Parallel()
		refused(t, func(b *browser, c string) response {
			b.w.users.disable("sub-alice", true)
			return b.signIn(b.enter(c), "alice").want(200)
		})
	})
}

// TestDeviceSwitchAccount: another user takes over at the consent page.
func TestDeviceSwitchAccount(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	d := w.device("tv").want(200)
	b := w.browser()
	u, _ := b.confirm(d.str("user_code"), "alice").location()
	page := b.get(u.String()).want(200)
	res := b.post(u.String(), url.Values{"csrf": {csrf(page)}, "do": {"switch"}})
	b.allow(b.signIn(res, "bob")).want(200)
	if id := claims(t, w.poll("tv", d.str("device_code")).want(200).str("id_token")); id["sub"] != "sub-bob" {
		t.Errorf("%v", id)
	}
}

// TestDeviceOwnConsentPage: a page of the application is told of the device.
func TestDeviceOwnConsentPage(t *testing.T) {
	t.Parallel()
	var seen handlers.Device
	w := newDevices(t, func(c *handlers.Config) {
		c.Consent = handlers.ConsentFunc(func(w http.ResponseWriter, r *http.Request, i *handlers.Interaction) {
			if r.Method == http.MethodGet {
				_, _ = w.Write([]byte(i.CSRF()))
				seen = *i.Device
				return
			}
			i.ApproveAll(w, r, true)
		})
	})
	d := w.device("tv").want(200)
	b := w.browser()
	u, _ := b.confirm(d.str("user_code"), "alice").location()
	m := strings.Split(b.get(u.String()).want(200).body, `"`)
	b.post(u.String(), url.Values{"csrf": {m[5]}}).want(200)
	if seen.UserCode != d.str("user_code") || seen.Addr != "127.0.0.1" || seen.Place != "127.0.0.1" {
		t.Errorf("%+v", seen)
	}
	w.poll("tv", d.str("device_code")).want(200)
}

// TestDevicePlace: the page says where the device is, in words if there are any.
func TestDevicePlace(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{"Berlin <Mitte>": "Berlin &lt;Mitte&gt;", "": "127.0.0.1"} {
		w := newDevices(t, func(c *handlers.Config) {
			c.Place = func(_ context.Context, addr netip.Addr, _ []string) string {
				if !addr.IsLoopback() {
					t.Errorf("asked for %s", addr)
				}
				return place
			}
		})
		b := w.browser()
		u, _ := b.confirm(w.device("tv").want(200).str("user_code"), "alice").location()
		if page := b.get(u.String()).want(200).body; !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestDeviceAcrossSecrets: codes that are on a screen outlive a new secret.
func TestDeviceAcrossSecrets(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	d, shown := w.device("tv").want(200), w.device("tv").want(200)
	b := w.browser()
	res := b.confirm(shown.str("user_code"), "alice")
	fresh := make([]byte, 32)
	rand.Read(fresh)
	w.restart(func(c *handlers.Config) { c.Secrets = append([][]byte{fresh}, c.Secrets...) })
	b.connect(d.str("user_code"), "alice")
	b.allow(res).want(200)
	w.poll("tv", d.str("device_code")).want(200)
	w.poll("tv", shown.str("device_code")).want(200)

	lost := w.device("tv").want(200)
	res = b.confirm(lost.str("user_code"), "alice")
	w.restart(func(c *handlers.Config) { c.Secrets = c.Secrets[1:] })
	u, _ := res.location()
	b.get(u.String()).wantPage()
	if page := b.enter(lost.str("user_code")).want(200); !strings.Contains(page.body, "unknown or has expired") {
		t.Errorf("%.300s", page.body)
	}
	w.poll("tv", lost.str("device_code")).wantError(400, "authorization_pending")
}

// TestDeviceLeavesNoCode: neither code is in the storage or in the log.
func TestDeviceLeavesNoCode(t *testing.T) {
	t.Parallel()
	l := newLab(t, withDevices)
	l.devices()
	l.vault.keep = true
	d := l.device("tv", "scope", "openid offline_access").want(200)
	b := l.browser()
	b.enter("BBBB-BBBB").want(200)
	b.connect(d.str("user_code"), "alice")
	tok := l.poll("tv", d.str("device_code")).want(200)
	bare := strings.ReplaceAll(d.str("user_code"), "-", "")
	all := l.logged.String()
	for _, r := range l.vault.past {
		all += r.Key + string(r.Data)
	}
	for _, secret := range []string{d.str("device_code"), d.str("device_code")[3:], d.str("user_code"), bare, "BBBB-BBBB", tok.str("refresh_token"), tok.str("access_token")} {
		if strings.Contains(all, secret) {
			t.Errorf("%q was written down", secret)
		}
	}
}

// TestDeviceRowsShareAShard: whatever one Commit touches is born together.
func TestDeviceRowsShareAShard(t *testing.T) {
	t.Parallel()
	l := newLab(t, withDevices)
	l.devices()
	d := l.device("tv").want(200)
	l.browser().connect(d.str("user_code"), "alice")
	shard := l.vault.rows(t, storage.KindDevice)[0].Shard
	for _, k := range []storage.Kind{storage.KindDevice, storage.KindUserCode, storage.KindPoll, storage.KindGrant, storage.KindInteraction} {
		for _, r := range l.vault.rows(t, k) {
			if r.Shard != shard {
				t.Errorf("a %s is in another shard", k)
			}
		}
	}
}

// TestDeviceConfig: lifetimes and paths of the device flow are checked.
func TestDeviceConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want string
		edit func(*handlers.Config)
	}{
		{"IDP147", func(c *handlers.Config) { c.TTL.Device = 59 * time.Second }},
		{"IDP147", func(c *handlers.Config) { c.TTL.Device = 31 * time.Minute }},
		{"IDP104", func(c *handlers.Config) { c.TTL.Device = -time.Minute }},
		{"IDP146", func(c *handlers.Config) { c.TTL.Device = time.Minute + time.Millisecond }},
		{"IDP131", func(c *handlers.Config) { c.Paths.Device = "/login" }},
		{"IDP130", func(c *handlers.Config) { c.Paths.DeviceAuthorization = "device" }},
	} {
		w := newDevices(t)
		cfg := w.cfg
		test.edit(&cfg)
		if _, err := handlers.New(cfg); err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), "IDP") != 1 {
			t.Errorf("%s: %v", test.want, err)
		}
	}
}

// TestDeviceRetention: what a late device comes for is still there.
func TestDeviceRetention(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) { c.TTL.Device, c.TTL.Access = 30*time.Minute, time.Minute })
	d := w.device("tv").want(200)
	w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
	w.browser().connect(d.str("user_code"), "alice")
	w.clock.add(29 * time.Minute)
	if _, err := w.store.Purge(t.Context(), w.clock.Now(), 1000); err != nil {
		t.Fatal(err)
	}
	tok := w.poll("tv", d.str("device_code")).want(200)
	w.clock.add(5 * time.Minute)
	if _, err := w.store.Purge(t.Context(), w.clock.Now(), 1000); err != nil {
		t.Fatal(err)
	}
	w.poll("tv", d.str("device_code")).wantError(400, "invalid_grant")
	if w.events.count("device.reused") != 1 {
		t.Errorf("a replay was not seen; %s", tok.body)
	}
}

// TestDeviceAnsweredElsewhere: whoever is on the way when another decides is
// told at the next step.
func TestDeviceAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	d := w.device("tv").want(200)
	late, later := w.browser(), w.browser()
	res := late.enter(d.str("user_code"))
	asked := later.confirm(d.str("user_code"), "bob")
	w.browser().connect(d.str("user_code"), "alice")
	for _, page := range []response{late.signIn(res, "bob"), later.allow(asked)} {
		if page.wantPage(); !strings.Contains(page.body, "already") {
			t.Errorf("%.600s", page.body)
		}
	}
	if id := claims(t, w.poll("tv", d.str("device_code")).want(200).str("id_token")); id["sub"] != "sub-alice" {
		t.Errorf("%v", id)
	}
}

// sameLetters draws single bytes as zero for a while.
type sameLetters struct{ left int }

func (s *sameLetters) Read(p []byte) (int, error) {
	if len(p) == 1 && s.left > 0 {
		s.left--
		p[0] = 0
		return 1, nil
	}
	return rand.Read(p)
}

// TestDeviceUserCodeTaken: a code that is on a screen, or was lately, is not
// given to a second device.
func TestDeviceUserCodeTaken(t *testing.T) {
	t.Parallel()
	w := newDevices(t, func(c *handlers.Config) { c.Rand = &sameLetters{left: 3 * 8} })
	one, two := w.device("tv").want(200), w.device("tv").want(200)
	if one.str("user_code") != "BBBB-BBBB" || two.str("user_code") == one.str("user_code") {
		t.Fatalf("%s, %s", one.str("user_code"), two.str("user_code"))
	}
	w.browser().connect(one.str("user_code"), "alice")
	w.poll("tv", two.str("device_code")).wantError(400, "authorization_pending")
	w.poll("tv", one.str("device_code")).want(200)
}
