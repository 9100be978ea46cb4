package handlers_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/idpkit/idpkit/storage"
)

// deviceFaults are the steps of a device authorization, for TestFaults.
func deviceFaults() []faultFlow {
	var flows []faultFlow
	add := func(name string, prepare func(b *browser, l *lab) trial) {
		var b *browser
		flows = append(flows, faultFlow{name: name, opts: withDevices, prepare: func(l *lab) trial {
			if b == nil {
				l.devices()
				b = l.signedIn("native")
			}
			return prepare(b, l)
		}})
	}
	scope := []string{"scope", "openid profile offline_access"}
	says := func(codes ...string) func(response) bool {
		return func(r response) bool {
			for _, c := range codes {
				if r.StatusCode == 400 && r.str("error") == c {
					return true
				}
			}
			return false
		}
	}
	page := func(b *browser, userCode, do string) func() response {
		u, _ := b.enter(userCode).location()
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {do}, "scope": {"profile", "offline_access"}}
		return func() response { return b.post(u.String(), form) }
	}

	add("device authorization", func(b *browser, l *lab) trial {
		return trial{do: func() response { return l.device("tv") }, won: is200, many: true, heals: true, check: func(won []response) {
			for _, d := range won {
				b.enter(d.str("user_code")).want(303)
			}
		}}
	})
	add("device code entered", func(b *browser, l *lab) trial {
		d := l.device("tv").want(200)
		form := url.Values{"csrf": {csrf(b.get("/device").want(200))}, "user_code": {d.str("user_code")}, "do": {"code"}}
		return trial{do: func() response { return b.post("/device", form) }, won: func(r response) bool { return r.StatusCode == 303 }, many: true, heals: true,
			check: func([]response) { l.poll("tv", d.str("device_code")).wantError(400, "authorization_pending") }}
	})
	add("device approved", func(b *browser, l *lab) trial {
		d := l.device("tv", scope...).want(200)
		return trial{do: page(b, d.str("user_code"), "allow"), won: is200, check: func(won []response) {
			for range won {
				l.lives("tv", l.poll("tv", d.str("device_code")).want(200))
			}
		}}
	})
	add("device denied", func(b *browser, l *lab) trial {
		d := l.device("tv", scope...).want(200)
		grants := l.vault.active(l.t, storage.KindGrant)
		return trial{do: page(b, d.str("user_code"), "deny"), won: is200, check: func(won []response) {
			if n := l.vault.active(l.t, storage.KindGrant); n != grants {
				l.t.Errorf("a denial made %d grants", n-grants)
			}
			for range won {
				l.poll("tv", d.str("device_code")).wantError(400, "access_denied")
			}
		}}
	})
	add("device polls", func(_ *browser, l *lab) trial {
		d := l.device("tv").want(200)
		return trial{do: func() response { return l.poll("tv", d.str("device_code")) }, won: says("authorization_pending", "slow_down"), many: true, heals: true, check: func([]response) {}}
	})
	add("device redeems", func(b *browser, l *lab) trial {
		d := l.device("tv", scope...).want(200)
		b.connect(d.str("user_code"), "alice")
		return trial{do: func() response { return l.poll("tv", d.str("device_code")) }, won: is200, check: func(won []response) {
			for _, r := range won {
				l.lives("tv", r)
				l.poll("tv", d.str("device_code")).wantError(400, "invalid_grant")
				l.dead("tv", r)
			}
		}}
	})
	return flows
}

// TestDeviceFaultsAreDistinct keeps the names apart: they are what a failure
// shows.
func TestDeviceFaultsAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range allFaultFlows() {
		if seen[f.name] || strings.TrimSpace(f.name) == "" {
			t.Errorf("%q is there twice", f.name)
		}
		seen[f.name] = true
	}
}
