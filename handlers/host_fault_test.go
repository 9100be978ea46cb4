package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// direct calls the provider as the host does, and tells the outcome as an HTTP
// status.
func (l *lab) direct(f func(context.Context) error) (res response) {
	l.t.Helper()
	wait := time.Minute
	if l.hasty {
		wait = haste
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "CALL", "/", nil)
	res = response{l.t, &http.Response{StatusCode: 200, Header: http.Header{}, Request: r}, ""}
	defer func() {
		if v := recover(); v != nil {
			res.StatusCode = 500 // the host's server recovers
		}
	}()
	if err := f(ctx); err != nil {
		res.StatusCode = http.StatusServiceUnavailable
		res.Header.Set("Retry-After", "1")
	}
	return res
}

// accountFaults are the pages of a browser with several accounts, and consents
// of other kinds, for TestFaults.
func accountFaults() []faultFlow {
	var flows []faultFlow
	add := func(name string, prepare func(b *browser, l *lab) trial) {
		var b *browser
		flows = append(flows, faultFlow{
			name: name,
			opts: func(c *handlers.Config) { withAPIs(c); c.Accounts = 3 },
			prepare: func(l *lab) trial {
				if b == nil {
					l.quick()
					b = l.signedIn("web")
					res := b.begin(request("web", "prompt", "login"))
					b.allow(b.signIn(res, "bob"), "remember", "1")
				}
				return prepare(b, l)
			},
		})
	}
	nothing := func([]response) {}
	hasCode := func(r response) bool { return codeIn(r) != "" }
	works := func(l *lab, subject string) func([]response) {
		return func(won []response) {
			for _, r := range won {
				if got := l.subjectOf(r); got != subject {
					l.t.Errorf("%s signed in", got)
				}
			}
		}
	}
	add("account page", func(b *browser, l *lab) trial {
		u, _ := b.begin(request("web", "prompt", "select_account")).location()
		return trial{do: func() response { return b.get(u.String()) }, won: is200, many: true, heals: true, check: nothing}
	})
	for _, name := range []string{"alice", "bob"} {
		add("account chosen, "+name, func(b *browser, l *lab) trial {
			u, _ := b.begin(request("web", "prompt", "select_account")).location()
			form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"choose"}, "account": {"sub-" + name}}
			return trial{do: func() response { return b.post(u.String(), form) }, won: hasCode, check: works(l, "sub-"+name)}
		})
	}
	add("another account", func(b *browser, l *lab) trial {
		u, _ := b.begin(request("web", "prompt", "select_account")).location()
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"switch"}}
		return trial{do: func() response { return b.post(u.String(), form) }, won: func(r response) bool {
			to, err := url.Parse(r.Header.Get("Location"))
			return err == nil && r.StatusCode == 303 && to.Path == "/login"
		}, check: nothing}
	})
	add("silent sign-in", func(b *browser, l *lab) trial {
		return trial{do: func() response { return b.begin(request("web", "prompt", "none")) }, won: hasCode, many: true, heals: true, check: func(won []response) {
			for _, r := range won {
				l.redeem("web", codeIn(r)).want(200)
			}
		}}
	})
	add("consent, narrowed", func(b *browser, l *lab) trial {
		u, _ := b.begin(request("web", append(offline, "prompt", "consent")...)).location()
		form := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"profile"}}
		return trial{do: func() response { return b.post(u.String(), form) }, won: hasCode, check: func(won []response) {
			for _, r := range won {
				if tok := l.redeem("web", codeIn(r)).want(200); tok.str("scope") != "openid profile" || tok.str("refresh_token") != "" {
					l.t.Errorf("%s", tok.body)
				}
			}
		}}
	})
	return flows
}

// hostFaults are what the host calls directly, for TestFaults.
func hostFaults() []faultFlow {
	var flows []faultFlow
	var sessions atomic.Int64
	own := append(offline, "prompt", "consent")
	add := func(name string, opts func(*handlers.Config), prepare func(l *lab) trial) {
		first := true
		flows = append(flows, faultFlow{name: name, opts: opts, prepare: func(l *lab) trial {
			if first {
				l.quick()
				first = false
			}
			return prepare(l)
		}})
	}
	add("list grants", withAPIs, func(l *lab) trial {
		tok := l.signedIn("web", own...).issue("web", offline...)
		return trial{do: func() response {
			return l.direct(func(ctx context.Context) error {
				_, _, err := l.p.Grants().List(ctx, handlers.Filter{Subject: "sub-alice"}, "", 0)
				return err
			})
		}, won: is200, many: true, heals: true, check: func([]response) { l.lives("web", tok) }}
	})
	add("revoke a grant", withAPIs, func(l *lab) trial {
		b := l.signedIn("web", own...)
		tok := b.issue("web", offline...)
		var gs []handlers.Grant
		for after := ""; ; {
			some, next, err := l.p.Grants().List(context.Background(), handlers.Filter{Subject: "sub-alice", ClientID: "web"}, after, 0)
			if err != nil {
				l.t.Fatal(err)
			}
			gs = append(gs, some...)
			if after = next; next == "" {
				break
			}
		}
		return trial{do: func() response {
			return l.direct(func(ctx context.Context) error {
				for _, g := range gs {
					if err := l.p.Grants().Revoke(ctx, "sub-alice", g.ID); err != nil {
						return err
					}
				}
				return nil
			})
		}, won: is200, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 { // I5
				l.dead("web", tok)
				b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "consent_required")
			}
		}}
	})
	for name, filter := range map[string]handlers.Filter{"subject": {Subject: "sub-alice"}, "client": {ClientID: "web"}} {
		add("revoke by "+name, withAPIs, func(l *lab) trial {
			tok := l.signedIn("web", own...).issue("web", offline...)
			return trial{do: func() response {
				return l.direct(func(ctx context.Context) error { _, err := l.p.Grants().RevokeAll(ctx, filter); return err })
			}, won: is200, many: true, heals: true, check: func(won []response) {
				if len(won) > 0 {
					l.dead("web", tok)
				}
				l.clock.add(time.Second) // what is issued from now on is not what was revoked
			}}
		})
	}
	add("withdraw consent", withAPIs, func(l *lab) trial {
		b := l.signedIn("web", own...)
		tok := b.issue("web", offline...)
		return trial{do: func() response {
			return l.direct(func(ctx context.Context) error { return l.p.Grants().Withdraw(ctx, "sub-alice", "web") })
		}, won: is200, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 {
				l.dead("web", tok)
				b.begin(request("web", "prompt", "none")).wantRedirectError(webRedirect, "consent_required")
			}
		}}
	})
	add("end the application's session", func(c *handlers.Config) { c.Users, c.LoginURL = appUsers{newUsers()}, "/own-login" }, func(l *lab) trial {
		b := l.browser()
		root, _ := url.Parse(l.srv.URL)
		id, _ := pkcePair("host " + itoa(int(sessions.Add(1))))
		b.c.Jar.SetCookies(root, []*http.Cookie{{Name: "app", Value: id, Path: "/"}})
		_, v := b.allow(b.begin(request("web", "prompt", "consent"))).location()
		tok := l.redeem("web", v.Get("code")).want(200)
		return trial{do: func() response {
			return l.direct(func(ctx context.Context) error { return l.p.EndSession(ctx, id) })
		}, won: is200, many: true, heals: true, check: func(won []response) {
			if len(won) > 0 {
				l.dead("web", tok)
			}
		}}
	})
	add("rotate keys", withAPIs, func(l *lab) trial {
		old := l.clientToken("m2m", "resource", apiJWT).want(200).str("access_token")
		return trial{do: func() response { return l.direct(l.p.RotateKeys) }, won: is200, many: true, heals: true, check: func([]response) {
			for _, tok := range []string{old, l.clientToken("m2m", "resource", apiJWT).want(200).str("access_token")} {
				if l.introspect("m2m", tok).json()["active"] != true { // I2
					l.t.Error("a token does not verify")
				}
			}
			l.clock.add(48 * time.Hour) // the new keys are in use, the oldest are dropped
		}}
	})
	add("keys fall due", withAPIs, func(l *lab) trial {
		l.clock.add(45 * 24 * time.Hour)
		return trial{do: func() response { return l.getWith("/jwks") }, won: is200, many: true, heals: true, check: func([]response) {
			if l.introspect("m2m", l.clientToken("m2m", "resource", apiJWT).want(200).str("access_token")).json()["active"] != true {
				l.t.Error("a token does not verify")
			}
		}}
	})
	add("purge", withAPIs, func(l *lab) trial {
		tok := l.signedIn("web", own...).issue("web", offline...)
		l.push(request("web"))
		l.clock.add(2 * time.Hour)
		return trial{do: func() response {
			return l.direct(func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, haste)
				defer cancel()
				return l.p.Run(ctx)
			})
		}, won: is200, many: true, heals: true, check: func([]response) {
			l.refresh("web", tok.str("refresh_token")).want(200)
			for _, rec := range l.vault.rows(l.t, storage.KindGrant) {
				if rec.State != storage.Active && rec.ExpiresAt.Before(l.clock.Now().Add(-24*time.Hour)) {
					l.t.Error("a grant that is long over is kept")
				}
			}
		}}
	})
	return flows
}
