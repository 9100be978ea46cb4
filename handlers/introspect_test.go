package handlers_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

const (
	apiJWT    = "https://jwt.api.example"
	apiOpaque = "https://opaque.api.example"
)

// machines is a world with introspection, client credentials and two APIs; the
// client "rs" is the resource server of both.
func machines(t *testing.T) *world {
	w := newWorld(t, func(c *handlers.Config) {
		c.Features = handlers.Features{ClientCredentials: true, Introspection: true}
		c.APIs = []handlers.API{{Identifier: apiJWT, Format: "jwt", Clients: []string{"rs"}}, {Identifier: apiOpaque, Clients: []string{"rs"}}}
	})
	w.clients.change("web", func(c *clientreg.Client) { c.GrantTypes = append(c.GrantTypes, "client_credentials") })
	rs := w.clients.m["m2m"]
	rs.ID = "rs"
	w.clients.m["rs"] = rs
	return w
}

func (w *world) introspect(client, token string) response {
	w.t.Helper()
	form, header := auth(client)
	if client == "rs" {
		header = []string{"Authorization", basic("rs", webSecret)}
		form = url.Values{}
	}
	form.Set("token", token)
	return w.call("/introspect", form, header...)
}

func (w *world) clientToken(client string, edit ...string) response {
	w.t.Helper()
	form, header := auth(client)
	form.Set("grant_type", "client_credentials")
	for i := 0; i+1 < len(edit); i += 2 {
		form.Add(edit[i], edit[i+1])
	}
	return w.call("/token", form, header...)
}

// TestClientCredentials: RFC 6749 §4.4; T51, T52, U06.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := machines(t)
	tok := w.clientToken("m2m").want(200)
	if tok.str("scope") != "api" || tok.str("refresh_token") != "" || tok.str("id_token") != "" || tok.str("token_type") != "Bearer" {
		t.Errorf("%s", tok.body)
	}
	for name, scope := range map[string]string{"T51 OpenID": "openid", "T51 offline": "offline_access", "T51 admin": "admin", "T51 mixed": "api openid"} {
		if res := w.clientToken("m2m", "scope", scope); res.StatusCode != 400 || res.str("error") != "invalid_scope" {
			t.Errorf("%s: %s", name, res.body)
		}
	}
	w.clients.change("native", func(c *clientreg.Client) { c.GrantTypes = append(c.GrantTypes, "client_credentials") })
	w.clientToken("native").wantError(400, "unauthorized_client") // T52
	w.clientToken("post").wantError(400, "unauthorized_client")   // not registered for it
	w.userinfo(tok.str("access_token")).want(403)                 // U06
	w.clientToken("m2m", "resource", "https://other.example").wantError(400, "invalid_target")
	w.clientToken("m2m", "resource", apiJWT, "resource", apiOpaque).wantError(400, "invalid_target")

	// No row until one is needed; then it holds.
	other := w.clientToken("m2m").want(200)
	w.revokeToken("m2m", tok.str("access_token")).want(200)
	if w.introspect("m2m", tok.str("access_token")).json()["active"] != false {
		t.Error("revoked and active")
	}
	if w.introspect("m2m", other.str("access_token")).json()["active"] != true {
		t.Error("another token died too")
	}
	w.revokeToken("m2m", other.str("access_token")).want(200)
	if w.introspect("m2m", other.str("access_token")).json()["active"] != false {
		t.Error("the second revocation did not hold")
	}
	third := w.clientToken("m2m").want(200)
	w.clock.add(time.Second)
	w.clients.change("m2m", func(c *clientreg.Client) { c.NotBefore = w.clock.Now() })
	if w.introspect("web", third.str("access_token")).json()["active"] != false {
		t.Error("older than the client's NotBefore and active")
	}
}

// TestIntrospection: RFC 7662 and the audience rule; I01 to I07.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	w := machines(t)
	b := w.browser()
	q := request("web", "scope", "openid profile offline_access api", "prompt", "consent", "max_age", "1000")
	q["resource"] = []string{apiJWT, apiOpaque}
	code := b.code(q, "alice")
	first := w.redeem("web", code).want(200) // for the issuer
	sealed := w.refresh("web", first.str("refresh_token"), "resource", apiOpaque).want(200)
	jwt := w.refresh("web", sealed.str("refresh_token"), "resource", apiJWT).want(200)

	c := claims(t, jwt.str("access_token"))
	if h := jwtHeader(t, jwt.str("access_token")); h["typ"] != "at+jwt" || h["kid"] == "" || c["iss"] != w.issuer || c["sub"] != "sub-alice" || c["client_id"] != "web" ||
		c["jti"] == nil || c["scope"] == nil || c["auth_time"] == nil || c["exp"].(float64)-c["iat"].(float64) != 600 {
		t.Errorf("JWT access token: %v %v", h, c)
	}
	if aud, _ := c["aud"].([]any); len(aud) != 1 || aud[0] != apiJWT {
		t.Errorf("aud %v", c["aud"])
	}
	active := func(client, token string) map[string]any {
		t.Helper()
		res := w.introspect(client, token).want(200)
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Error("I07: cacheable")
		}
		return res.json()
	}
	for name, tok := range map[string]string{"sealed": sealed.str("access_token"), "jwt": jwt.str("access_token")} {
		for _, client := range []string{"web", "rs"} {
			if m := active(client, tok); m["active"] != true || m["sub"] != "sub-alice" || m["client_id"] != "web" || m["iss"] != w.issuer || m["token_type"] != "Bearer" || m["exp"] == nil || m["auth_time"] == nil {
				t.Errorf("%s by %s: %v", name, client, m)
			}
		}
		for _, client := range []string{"m2m", "post"} { // I04
			if m := active(client, tok); m["active"] != false || len(m) != 1 {
				t.Errorf("%s by %s: %v", name, client, m)
			}
		}
	}
	if m := active("rs", first.str("access_token")); m["active"] != false {
		t.Errorf("a token for the issuer was shown to a resource server: %v", m)
	}
	w.userinfo(jwt.str("access_token")).want(401) // for an API, not for UserInfo
	for name, bad := range map[string]string{     // I06
		"I06 ID token": jwt.str("id_token"), "I06 junk": "x", "I06 cut": jwt.str("access_token")[:60], "I06 spent refresh token": first.str("refresh_token"),
		"I06 the access token as another type": "rt_" + jwt.str("access_token"),
	} {
		if m := active("web", bad); m["active"] != false {
			t.Errorf("%s: %v", name, m)
		}
	}
	if m := active("web", jwt.str("refresh_token")); m["active"] != true || m["client_id"] != "web" {
		t.Errorf("current refresh token: %v", m)
	}
	if m := active("rs", jwt.str("refresh_token")); m["active"] != false {
		t.Errorf("a refresh token was shown to another client: %v", m)
	}
	w.call("/introspect", url.Values{"token": {"x"}}).wantError(401, "invalid_client")                             // I01
	w.call("/introspect", url.Values{"client_id": {"spa"}, "token": {"x"}}).wantError(401, "invalid_client")       // I02
	w.getWith("/introspect?token=x").want(405)                                                                     // I05
	w.call("/introspect", url.Values{}, "Authorization", basic("rs", webSecret)).wantError(400, "invalid_request") // I07

	w.revokeToken("web", jwt.str("access_token")).want(200)
	if m := active("rs", jwt.str("access_token")); m["active"] != false {
		t.Error("a revoked JWT is active")
	}
	if m := active("rs", sealed.str("access_token")); m["active"] != true {
		t.Error("its sibling died too")
	}
	w.users.disable("sub-alice", true)
	if m := active("rs", sealed.str("access_token")); m["active"] != false {
		t.Error("the token of a disabled user is active")
	}
	w.users.disable("sub-alice", false)
	w.users.fail(errTest)
	w.introspect("rs", sealed.str("access_token")).want(503)
}

func TestIntrospectionIsOffByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.introspect("web", "x").want(404)
	m := w.getWith("/.well-known/openid-configuration").json()
	if m["introspection_endpoint"] != nil {
		t.Error("announced")
	}
	on := machines(t).getWith("/.well-known/openid-configuration").json()
	if on["introspection_endpoint"] == nil || len(on["grant_types_supported"].([]any)) != 3 {
		t.Errorf("%v", on)
	}
}

// TestIntrospectionSaysWhyInTheLog: a resource server that is listed nowhere gets
// active:false, and whoever runs the provider finds out why.
func TestIntrospectionSaysWhyInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *handlers.Config) { c.Features.Introspection = true })
	_, tokens := w.tokens("web")
	form, header := auth("post")
	form.Set("token", tokens.str("access_token"))
	if res := w.call("/introspect", form, header...).want(200); res.json()["active"] != false {
		t.Errorf("%s", res.body)
	}
	if log := w.logged.String(); !strings.Contains(log, "Clients of none of its APIs") || !strings.Contains(log, `"client":"post"`) {
		t.Error("the log does not say why")
	}
}
