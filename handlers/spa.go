package handlers

import (
	"encoding/json"
	"net/http"
	"strings"
)

// spaWriter answers a page that is a script of the issuer's origin: where a
// page of forms is redirected, it is told where to go. Interaction's methods use
// it when the request accepts application/json and not text/html.
//
//	{"location": "https://…"}             go there
//	{"action": "https://…", "params": {}} post these there, for form_post
//	{"error": "…"}                        nothing to go on with
type spaWriter struct{ http.ResponseWriter }

// forScript wraps w if the request comes from a script.
func forScript(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		return spaWriter{w}
	}
	return w
}

func (s spaWriter) goTo(location string) {
	s.Header().Set("Cache-Control", "no-store")
	_ = writeJSON(s.ResponseWriter, http.StatusOK, map[string]string{"location": location})
}

func (s spaWriter) post(action string, params [][2]string) {
	fields := map[string]string{}
	for _, kv := range params {
		fields[kv[0]] = kv[1]
	}
	s.Header().Set("Cache-Control", "no-store")
	_ = writeJSON(s.ResponseWriter, http.StatusOK, map[string]any{"action": action, "params": fields})
}

// MarshalJSON is what a page that is a script needs to know, and nothing of the
// client that is not public:
//
//	{"id", "step", "csrf", "login_hint", "locales", "acr_values", "essential_acr", "prompt", "display",
//	 "client": {"client_id", "client_name", …},
//	 "account": {"subject", "name"}, "accounts": [{"subject", "name"}],
//	 "asked": {"scopes": [{"name", "title", "description", "required", "known"}], "claims": ["…"],
//	           "apis": [{"identifier", "name"}], "details": [{"type", "lines", "raw"}], "lifetime"},
//	 "can_remember", "device": {"user_code", "address", "place"}}
func (i *Interaction) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"id": i.ID, "step": i.Step, "csrf": i.csrf, "login_hint": i.LoginHint, "locales": i.Locales, "acr_values": i.ACRValues, "essential_acr": i.EssentialACR,
		"client": map[string]string{
			"client_id": i.Client.ID, "client_name": i.Client.LocalizedName(i.Locales...), "client_uri": i.Client.ClientURI,
			"logo_uri": i.Client.LogoURI, "policy_uri": i.Client.PolicyURI, "tos_uri": i.Client.TosURI,
		},
		"account": i.Account, "accounts": i.Accounts, "display": i.Display, "asked": i.Asked, "can_remember": i.CanRemember(), "device": i.Device, "prompt": i.Prompt,
	})
}
