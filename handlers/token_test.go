package handlers_test

import "testing"

// TestConfidentialClientHasNoCORS: a client with a secret has no business in a
// browser: no origin reads its answers, its own redirect URI's neither.
func TestConfidentialClientHasNoCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quick()
	for client, allowed := range map[string]string{"web": "", "spa": spaOrigin} {
		origin := map[string]string{"web": "https://web.example", "spa": spaOrigin}[client]
		for _, path := range []string{"/token", "/par", "/revoke"} {
			form, header := auth(client)
			form.Set("token", "x")
			res := w.call(path, form, append(header, "Origin", origin)...)
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != allowed {
				t.Errorf("%s at %s: Access-Control-Allow-Origin %q, want %q", client, path, got, allowed)
			}
		}
	}
}
