package ui

import (
	"net/http"
	"net/http/httptest"
	"time"
)

// sample draws one page in a state worth looking at.
type sample struct {
	name string
	ids  []string // ids that scripts and users of the kit rely on
	draw func(Frame, http.ResponseWriter)
}

var (
	shop = Client{
		ID: "shop", Name: "Example Shop", URI: "https://shop.example", LogoURI: "https://shop.example/logo.png",
		PolicyURI: "https://shop.example/privacy", TOSURI: "https://shop.example/terms", Verified: true,
	}
	stranger = Client{ID: "dyn-7f3a", Name: "Photo Printer", URI: "https://printer.example", LogoURI: "https://printer.example/logo.svg"}
	noon     = time.Date(2026, time.March, 5, 12, 0, 0, 0, time.UTC)
)

func samples() []sample {
	login := Login{Client: shop, Action: "/login?i=1", CSRF: "token"}
	wrong := login
	wrong.Problem, wrong.Username = "wrong", "alice"
	again := login
	again.Account, again.CanSwitch = "alice@example.com", true
	againWrong := again
	againWrong.Problem = "wrong"
	throttled := login
	throttled.Problem = "throttled"
	strange := login
	strange.Client = stranger

	consent := Consent{
		Client: shop, Action: "/consent?i=1", CSRF: "token", Account: "alice@example.com", RedirectHost: "shop.example", CanRemember: true, Remember: true,
		Scopes: []Scope{{Name: "openid", Required: true}, {Name: "profile"}, {Name: "email", Known: true}, {Name: "orders:write", Description: "Place orders in your name"}},
	}
	full := consent
	full.CanSwitch = true
	full.Claims = []string{"birthdate", "phone_number", "tax_id"}
	full.APIs = []string{"https://api.shop.example"}
	full.Details = []Detail{{Value: "0", Type: "payment_initiation", Lines: []string{"€123.50 to Merchant A", "DE02 1001 0010 9307 1186 03"}}, {Value: "1", Type: "account_information", Lines: []string{"Read balances"}}}
	unverified := consent
	unverified.Client, unverified.RedirectHost, unverified.CanRemember = stranger, "127.0.0.1", false
	device := consent
	device.RedirectHost, device.CanRemember = "", false
	device.Device = &Device{UserCode: "WDJB-MJHT", Location: "Hamburg"}
	binding := consent
	binding.RedirectHost, binding.CanRemember, binding.Binding = "", false, "W4-8821"

	code := DeviceCode{Action: "/device", CSRF: "token"}
	codeWrong := code
	codeWrong.UserCode, codeWrong.Problem = "WDJB-MJHX", "wrong"

	account := Account{Account: "alice@example.com", Action: "/account", CSRF: "token", Grants: []Grant{
		{ID: "g1", Client: shop, Scopes: []Scope{{Name: "profile"}, {Name: "email"}}, Since: noon, LastUsed: noon.AddDate(0, 7, 3)},
		{ID: "g2", Client: stranger, Scopes: []Scope{{Name: "photos", Description: "See your photos"}}, Since: noon},
	}}
	revoked := account
	revoked.Grants, revoked.Revoked = nil, "Photo Printer"

	loginIDs := []string{"username", "password", "submit-login", "cancel"}
	consentIDs := []string{"submit-consent", "cancel"}
	list := []sample{
		{"login", loginIDs, func(f Frame, w http.ResponseWriter) { f.Login(w, login) }},
		{"login-wrong", loginIDs, func(f Frame, w http.ResponseWriter) { f.Login(w, wrong) }},
		{"login-throttled", loginIDs, func(f Frame, w http.ResponseWriter) { f.Login(w, throttled) }},
		{"login-unverified", loginIDs, func(f Frame, w http.ResponseWriter) { f.Login(w, strange) }},
		{"login-again", []string{"password", "submit-login", "cancel", "switch-account"}, func(f Frame, w http.ResponseWriter) { f.Login(w, again) }},
		{"login-again-wrong", []string{"password", "submit-login", "cancel", "switch-account"}, func(f Frame, w http.ResponseWriter) { f.Login(w, againWrong) }},
		{"login-register", append([]string{"register"}, loginIDs...), func(f Frame, w http.ResponseWriter) {
			l := login
			l.CanRegister = true
			f.Login(w, l)
		}},
		{"choose", []string{"choose-0", "choose-1", "other-account", "register", "cancel"}, func(f Frame, w http.ResponseWriter) {
			f.Choose(w, Choose{Client: shop, Action: "/select_account?i=1", CSRF: "token", CanRegister: true, Accounts: []Choice{{"a", "alice@example.com"}, {"b", "bob@example.com"}}})
		}},
		{"consent", consentIDs, func(f Frame, w http.ResponseWriter) { f.Consent(w, consent) }},
		{"consent-full", append([]string{"switch-account"}, consentIDs...), func(f Frame, w http.ResponseWriter) { f.Consent(w, full) }},
		{"consent-unverified", consentIDs, func(f Frame, w http.ResponseWriter) { f.Consent(w, unverified) }},
		{"consent-device", consentIDs, func(f Frame, w http.ResponseWriter) { f.Consent(w, device) }},
		{"consent-binding", consentIDs, func(f Frame, w http.ResponseWriter) { f.Consent(w, binding) }},
		{"device-code", []string{"user_code", "submit-code"}, func(f Frame, w http.ResponseWriter) { f.DeviceCode(w, code) }},
		{"device-code-wrong", []string{"user_code", "submit-code"}, func(f Frame, w http.ResponseWriter) { f.DeviceCode(w, codeWrong) }},
		{"device-allowed", nil, func(f Frame, w http.ResponseWriter) { f.DeviceDone(w, DeviceDone{Client: shop, Allowed: true}) }},
		{"device-denied", nil, func(f Frame, w http.ResponseWriter) { f.DeviceDone(w, DeviceDone{Client: shop}) }},
		{"logout", []string{"submit-logout", "stay"}, func(f Frame, w http.ResponseWriter) {
			f.Logout(w, Logout{Client: &shop, Action: "/logout", CSRF: "token", Account: "alice@example.com"})
		}},
		{"logout-nobody", []string{"submit-logout", "stay"}, func(f Frame, w http.ResponseWriter) {
			f.Logout(w, Logout{Action: "/logout", CSRF: "token"})
		}},
		{"logged-out", []string{"return"}, func(f Frame, w http.ResponseWriter) {
			f.LoggedOut(w, LoggedOut{Client: &shop, ReturnURL: "https://shop.example/"})
		}},
		{"logged-out-nowhere", nil, func(f Frame, w http.ResponseWriter) { f.LoggedOut(w, LoggedOut{}) }},
		{"form-post", nil, func(f Frame, w http.ResponseWriter) {
			f.FormPost(w, FormPost{Action: "https://shop.example/cb", Params: [][2]string{{"code", "abc"}, {"state", "x<y"}}})
		}},
		{"account", []string{"revoke-0", "revoke-1"}, func(f Frame, w http.ResponseWriter) { f.Account(w, account) }},
		{"account-revoked", nil, func(f Frame, w http.ResponseWriter) { f.Account(w, revoked) }},
	}
	for _, kind := range problemKinds {
		list = append(list, sample{"problem-" + kind, nil, func(f Frame, w http.ResponseWriter) {
			f.Problem(w, Problem{Kind: kind, ID: "01JQ5Z8W3K", Code: "invalid_request"})
		}})
	}
	list = append(list, sample{"problem-way-back", []string{"return", "restart"}, func(f Frame, w http.ResponseWriter) {
		f.Problem(w, Problem{Kind: "expired", ID: "01JQ5Z8W3K", ReturnURL: "https://shop.example/cb?error=access_denied", ReturnName: "Example Shop", RestartURL: "/authorize?x=1"})
	}})
	return list
}

func show(f Frame, draw func(Frame, http.ResponseWriter)) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	draw(f, w)
	return w
}
