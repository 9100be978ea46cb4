package handlers_test

import (
	"context"
	"html"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// TestEveryEvent makes everything in the catalogue happen. What fields each
// event has is checked by the watch, here and in every other test.
func TestEveryEvent(t *testing.T) {
	t.Parallel()
	l := signers(t, func(c *handlers.Config) { c.Features.Device = true })
	l.devices()
	ctx := context.Background()
	offline := []string{"scope", "openid offline_access", "prompt", "consent"}

	// A sign-in with everything that can follow it.
	b := l.browser()
	l.push(request("spa"))
	u, _ := b.begin(request("web", offline...)).location()
	page := b.get(u.String()).want(200)
	b.post(u.String(), url.Values{"csrf": {csrf(page)}, "username": {"alice"}, "password": {"wrong"}, "do": {"login"}}).want(200)
	code := b.code(request("web", offline...), "alice")
	tok := l.redeem("web", code).want(200)
	next := l.refresh("web", tok.str("refresh_token")).want(200)
	l.refresh("web", tok.str("refresh_token")).want(200) // within the grace
	l.revokeToken("web", next.str("access_token"))
	last := l.refresh("web", next.str("refresh_token")).want(200)
	l.clock.add(2 * time.Minute)
	l.refresh("web", tok.str("refresh_token")).wantError(400, "invalid_grant")
	if last.str("refresh_token") == "" {
		t.Error("no refresh token")
	}
	code = b.code(request("web", offline...), "alice")
	l.redeem("web", code).want(200)
	l.redeem("web", code).wantError(400, "invalid_grant")
	b.refuse(b.begin(request("web", offline...)))

	// A device.
	dev := l.device("tv").want(200)
	b.connect(dev.str("user_code"), "alice")
	l.poll("tv", dev.str("device_code")).want(200)
	l.poll("tv", dev.str("device_code"))
	other := l.device("tv").want(200)
	b.refuse(b.confirm(other.str("user_code"), "alice"))

	// Clients, keys, owners and faults.
	ec := keyOf(t, "ec")
	proof := l.assertion("signer", ec, nil)
	l.byAssertion(proof).want(200)
	l.byAssertion(proof).wantError(401, "invalid_client")
	for range 31 { // strangers
		l.call("/token", url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, "Authorization", basic("nobody", "x"))
	}
	if err := l.p.RotateKeys(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.p.Grants().Withdraw(ctx, "sub-alice", "web"); err != nil {
		t.Fatal(err)
	}
	out := b.get("/logout").want(200)
	b.post(html.UnescapeString(formAction.FindStringSubmatch(out.body)[1]), url.Values{"csrf": {csrf(out)}, "do": {"logout"}}).want(200)
	l.flaky.Arm(storagetest.Plan{Faults: map[int]storagetest.Fault{1: storagetest.Fail(storage.ErrUnavailable)}})
	l.redeem("web", code).want(503)
	l.flaky.Arm(storagetest.Plan{})

	var missing []string
	for name := range handlers.EventNames() {
		if l.events.count(name) == 0 {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("never emitted: %q", missing)
	}
	for _, e := range l.events.es {
		if want, _, _ := handlers.EventKind(e.Name); want != e.Outcome {
			t.Errorf("%+v: outcome", e)
		}
	}
}
