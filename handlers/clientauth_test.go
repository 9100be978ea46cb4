package handlers_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
)

// TestSecretRotation: several secrets work side by side until each one's own
// end, at every endpoint and by the client's one method. SECURITY.md §2 wants
// two during a rotation; RFC 6749 §2.3.1.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	const first, second, third = "first-secret-0123456789-0123456789-0123", "second-secret-0123456789-0123456789-012", "third-secret-0123456789-0123456789-0123"
	for _, client := range []string{"web", "post"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, noLimits)
			start := w.clock.Now()
			try := func(path, secret string) response {
				form := url.Values{"token": {"x"}}
				if client == "post" {
					form.Set("client_id", client)
					form.Set("client_secret", secret)
					return w.call(path, form)
				}
				return w.call(path, form, "Authorization", basic(client, secret))
			}
			works := func(secrets ...string) {
				t.Helper()
				for _, s := range secrets {
					try("/revoke", s).want(200)
					try("/token", s).wantError(400, "invalid_request") // authenticated; no grant_type
					try("/par", s).wantError(400, "invalid_request")
				}
			}
			fails := func(reason string, secrets ...string) {
				t.Helper()
				for _, s := range secrets {
					for _, path := range []string{"/revoke", "/token", "/par"} {
						w.refusedAs(try(path, s), reason)
					}
				}
			}
			set := func(secrets ...clientreg.ClientSecret) {
				w.clients.change(client, func(c *clientreg.Client) { c.Secrets = secrets })
			}
			one := clientreg.ClientSecret{Hash: quickHash(first)}
			two := clientreg.ClientSecret{Hash: quickHash(second)}
			set(one)
			works(first)
			fails("client.secret", second, third)

			// The new one is added; the old one gets its end.
			one.Expires = start.Add(time.Hour)
			set(one, two)
			works(first, second)
			fails("client.secret", third)
			w.clock.add(time.Hour - time.Second)
			works(first, second)
			w.clock.add(time.Second)
			fails("client.secret_expired", first)
			works(second)

			// A third round; the order of the list does not matter.
			set(clientreg.ClientSecret{Hash: quickHash(third)}, two, one)
			works(second, third)
			fails("client.secret_expired", first)

			// The same secret twice: the longer life counts.
			set(one, clientreg.ClientSecret{Hash: quickHash(first), Expires: start.Add(2 * time.Hour)})
			works(first)
			w.clock.add(time.Hour)
			fails("client.secret_expired", first)

			// What is not there as a hash compares with nothing.
			set(clientreg.ClientSecret{Sealed: []byte(first)})
			fails("client.secret", first)
			set()
			fails("client.secret", first, second, third)

			// Taken out of the list: dead at once.
			set(two)
			works(second)
			set()
			fails("client.secret", second)
		})
	}
}
