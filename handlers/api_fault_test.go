package handlers_test

import (
	"net/url"
	"strings"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

// withAPIs switches on what machines use.
func withAPIs(c *handlers.Config) {
	c.Features.ClientCredentials, c.Features.Introspection = true, true
	c.APIs = []handlers.API{{Identifier: apiJWT, Format: "jwt"}, {Identifier: apiOpaque}}
}

// apiFaults are the requests that clients and resource servers make without a
// browser, for TestFaults.
func apiFaults() []faultFlow {
	var flows []faultFlow
	add := func(name string, prepare func(b *browser, l *lab) trial) {
		var b *browser
		flows = append(flows, faultFlow{name: name, opts: withAPIs, prepare: func(l *lab) trial {
			if b == nil {
				l.quick()
				l.clients.change("web", func(c *clientreg.Client) { c.AuthorizationDetailsTypes = []string{"payment"} })
				signer := clientreg.Client{
					ID: "signer", RedirectURIs: []string{signerRedirect}, TokenEndpointAuthMethod: "private_key_jwt", JWKS: keySet(l.t, keyOf(l.t, "ec")),
					GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}, Scope: "openid offline_access profile api",
				}
				newRegistry(l.t, signer)
				l.clients.mu.Lock()
				l.clients.m["signer"] = signer
				l.clients.mu.Unlock()
				b = l.signedIn("web", append(offline, "prompt", "consent")...)
			}
			return prepare(b, l)
		}})
	}
	consented := append(offline, "prompt", "consent")
	active := func(is bool) func(response) bool {
		return func(r response) bool { return r.StatusCode == 200 && r.json()["active"] == is }
	}
	nothing := func([]response) {}
	at := func(b *browser, resource string) response {
		q := request("web", consented...)
		q["resource"] = []string{apiJWT, apiOpaque}
		return b.w.redeem("web", b.code(q, "alice"), "resource", resource).want(200)
	}
	sign := func(l *lab) string { return l.assertion("signer", keyOf(l.t, "ec"), nil) }

	for name, resource := range map[string]string{"introspect": apiOpaque, "introspect JWT": apiJWT} {
		add(name, func(b *browser, l *lab) trial {
			tok := at(b, resource).str("access_token")
			return trial{do: func() response { return l.introspect("web", tok) }, won: active(true), many: true, heals: true, check: nothing}
		})
		add(name+", dead", func(b *browser, l *lab) trial {
			tok := at(b, resource)
			l.revokeToken("web", tok.str("refresh_token")).want(200)
			return trial{do: func() response { return l.introspect("web", tok.str("access_token")) }, won: active(false), many: true, heals: true, check: nothing}
		})
	}
	add("introspect refresh token", func(b *browser, l *lab) trial {
		tok := b.issue("web", offline...)
		return trial{do: func() response { return l.introspect("web", tok.str("refresh_token")) }, won: active(true), many: true, heals: true,
			check: func([]response) { l.lives("web", tok) }}
	})
	add("introspect a client's own token", func(_ *browser, l *lab) trial {
		tok := l.clientToken("m2m").want(200).str("access_token")
		return trial{do: func() response { return l.introspect("m2m", tok) }, won: active(true), many: true, heals: true, check: nothing}
	})
	add("revoke a client's own token", func(_ *browser, l *lab) trial {
		tok := l.clientToken("m2m").want(200).str("access_token")
		return trial{do: func() response { return l.revokeToken("m2m", tok) }, won: is200, many: true, heals: true, check: func(won []response) {
			if got := l.introspect("m2m", tok).json()["active"]; len(won) > 0 && got != false { // I5
				l.t.Error("revoked and active")
			}
		}}
	})
	add("revoke JWT", func(b *browser, l *lab) trial {
		tok := at(b, apiJWT)
		return trial{do: func() response { return l.revokeToken("web", tok.str("access_token")) }, won: is200, many: true, heals: true, check: func(won []response) {
			if got := l.introspect("web", tok.str("access_token")).json()["active"]; len(won) > 0 && got != false { // I5
				l.t.Error("revoked and active")
			}
			l.refresh("web", tok.str("refresh_token")).want(200)
		}}
	})
	add("revoke a foreign token", func(b *browser, l *lab) trial {
		tok := b.issue("web", offline...)
		return trial{do: func() response { return l.revokeToken("m2m", tok.str("refresh_token")) }, won: is200, many: true, heals: true,
			check: func([]response) { l.lives("web", tok) }}
	})
	add("redeem, narrower details", func(b *browser, l *lab) trial {
		const all, less = `[{"amount":10,"type":"payment"},{"amount":5,"type":"payment"}]`, `[{"amount":4,"type":"payment"}]`
		code := b.code(request("web", append(consented, "authorization_details", all)...), "alice")
		return trial{do: func() response { return l.redeem("web", code, "authorization_details", less) }, won: is200, check: func(won []response) {
			for _, r := range won {
				if in := l.introspect("web", r.str("access_token")).want(200).json(); shown(in) != less {
					l.t.Errorf("introspection shows %s", shown(in))
				}
				if next := l.refresh("web", r.str("refresh_token")).want(200); shown(next.json()) != all {
					l.t.Errorf("the refresh has %s", shown(next.json()))
				}
			}
		}}
	})
	add("redeem, wider details", func(b *browser, l *lab) trial {
		code := b.code(request("web", append(consented, "authorization_details", `[{"type":"payment","amount":10}]`)...), "alice")
		return trial{do: func() response {
			return l.redeem("web", code, "authorization_details", `[{"type":"payment","amount":11}]`)
		}, won: func(r response) bool { return r.StatusCode == 400 && r.str("error") == "invalid_authorization_details" }, many: true, heals: true,
			check: func([]response) { l.lives("web", l.redeem("web", code).want(200)) }}
	})
	add("redeem a foreign code", func(b *browser, l *lab) trial {
		code := b.code(request("web", consented...), "alice")
		return trial{do: func() response { return l.redeem("post", code) }, won: isInvalidGrant, many: true, heals: true,
			check: func([]response) { l.lives("web", l.redeem("web", code).want(200)) }}
	})
	add("refresh for an API", func(b *browser, l *lab) trial {
		tok := at(b, apiOpaque)
		return trial{do: func() response { return l.refresh("web", tok.str("refresh_token"), "resource", apiJWT) }, won: is200, many: true, heals: true, check: func(won []response) {
			for _, r := range won {
				if r.str("refresh_token") != won[0].str("refresh_token") || l.introspect("web", r.str("access_token")).json()["active"] != true { // I1, I2
					l.t.Error("two successors, or a dead one")
				}
			}
			if len(won) > 0 {
				l.refresh("web", won[0].str("refresh_token")).want(200)
			}
		}}
	})
	add("refresh in the grace", func(b *browser, l *lab) trial {
		one := b.issue("web", offline...).str("refresh_token")
		two := l.refresh("web", one).want(200).str("refresh_token")
		return trial{do: func() response { return l.refresh("web", one) }, won: func(r response) bool { return r.StatusCode == 200 && r.str("refresh_token") == two }, many: true, heals: true,
			check: func(won []response) {
				for _, r := range won {
					l.userinfo(r.str("access_token")).want(200)
				}
				l.refresh("web", two).want(200)
			}}
	})
	add("refresh, foreign", func(b *browser, l *lab) trial {
		tok := b.issue("web", offline...)
		return trial{do: func() response { return l.refresh("post", tok.str("refresh_token")) }, won: isInvalidGrant, many: true, heals: true,
			check: func([]response) { l.lives("web", tok) }}
	})
	add("refresh, wider scope", func(b *browser, l *lab) trial {
		tok := b.issue("web", offline...)
		return trial{do: func() response { return l.refresh("web", tok.str("refresh_token"), "scope", "openid api") },
			won: func(r response) bool { return r.StatusCode == 400 && r.str("error") == "invalid_scope" }, many: true, heals: true,
			check: func([]response) { l.lives("web", tok) }}
	})
	add("userinfo of a dead token", func(b *browser, l *lab) trial {
		tok := b.issue("web", offline...)
		l.revokeToken("web", tok.str("refresh_token")).want(200)
		return trial{do: func() response { return l.userinfo(tok.str("access_token")) }, won: func(r response) bool { return r.StatusCode == 401 }, many: true, heals: true, check: nothing}
	})
	add("token by assertion", func(_ *browser, l *lab) trial {
		return trial{do: func() response { return l.byAssertion(sign(l)) }, won: is200, many: true, heals: true, check: nothing}
	})
	add("assertion, once", func(_ *browser, l *lab) trial {
		a := sign(l)
		return trial{do: func() response { return l.byAssertion(a) }, won: is200, check: func(won []response) {
			if len(won) > 0 { // R04
				l.byAssertion(a).wantError(401, "invalid_client")
			}
		}}
	})
	add("push by assertion", func(_ *browser, l *lab) trial {
		return trial{do: func() response {
			form := url.Values{}
			for k, v := range request("signer", "redirect_uri", signerRedirect) {
				if k != "client_id" {
					form[k] = v
				}
			}
			form.Set("client_assertion_type", jwtBearer)
			form.Set("client_assertion", sign(l))
			return l.call("/par", form)
		}, won: func(r response) bool { return r.StatusCode == 201 }, many: true, heals: true, check: func(won []response) {
			for _, r := range won {
				l.browser().get("/authorize?" + url.Values{"client_id": {"signer"}, "request_uri": {r.str("request_uri")}}.Encode()).want(303)
			}
		}}
	})
	add("redeem by assertion", func(b *browser, l *lab) trial {
		code := b.code(request("signer", append(consented, "redirect_uri", signerRedirect)...), "alice")
		redeem := func() response {
			verifier, _ := pkcePair("signer")
			return l.present("/token", sign(l), "grant_type", "authorization_code", "code", code, "code_verifier", verifier, "redirect_uri", signerRedirect)
		}
		return trial{do: redeem, won: is200, check: func(won []response) {
			for _, r := range won {
				l.userinfo(r.str("access_token")).want(200)
				redeem().wantError(400, "invalid_grant") // I4
				l.userinfo(r.str("access_token")).want(401)
			}
		}}
	})
	add("spent request_uri", func(b *browser, l *lab) trial {
		uri := l.push(request("web", "prompt", "none"))
		front := "/authorize?" + url.Values{"client_id": {"web"}, "request_uri": {uri}}.Encode()
		b.get(front).want(303)
		return trial{do: func() response { return b.get(front) }, won: func(r response) bool {
			return strings.HasPrefix(r.Header.Get("Location"), webRedirect) && strings.Contains(r.Header.Get("Location"), "error=invalid_request_uri") || r.StatusCode == 400
		}, many: true, heals: true, check: nothing}
	})
	return flows
}
