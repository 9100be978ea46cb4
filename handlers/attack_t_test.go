package handlers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/storagetest"
)

// TestAttackT_replay: a code is redeemed once, and a second time takes back
// what the first gave. RFC 6749 §4.1.2, RFC 9700 §4.5.
func TestAttackT_replay(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"spa", "web", "post", "native"} {
		t.Run("T01 T02 "+client, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.quick()
			b := w.browser()
			q := request(client, "scope", "openid offline_access", "prompt", "consent")
			code := b.code(q, "alice")
			tok := w.redeem(client, code).want(200)
			other := w.redeem(client, b.code(q, "alice")).want(200)
			w.redeem(client, code).clean().wantError(400, "invalid_grant")
			w.dead(client, tok)
			w.redeem(client, code).wantError(400, "invalid_grant")
			if w.events.count("code.reused") != 2 || w.events.count("grant.revoked") != 1 {
				t.Errorf("%d replays seen, %d grants revoked", w.events.count("code.reused"), w.events.count("grant.revoked"))
			}
			// The other grant of the same user and client is not touched.
			w.userinfo(other.str("access_token")).want(200)
			w.refresh(client, other.str("refresh_token")).want(200)
		})
	}
	t.Run("T02 after refreshes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		code := b.code(request("spa", append(offline, "prompt", "consent")...), "alice")
		first := w.redeem("spa", code).want(200)
		second := w.refresh("spa", first.str("refresh_token")).want(200)
		w.clock.add(3 * time.Minute) // the code itself has long expired
		w.redeem("spa", code).wantError(400, "invalid_grant")
		w.userinfo(first.str("access_token")).want(401)
		w.dead("spa", second)
	})
	t.Run("T02 a foreign client's replay disturbs nobody", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.quick()
		b := w.browser()
		code := b.code(request("spa", append(offline, "prompt", "consent")...), "alice")
		tok := w.redeem("spa", code).want(200)
		w.redeem("native", code, "redirect_uri", spaRedirect).wantError(400, "invalid_grant")
		w.redeem("web", code, "redirect_uri", spaRedirect).wantError(400, "invalid_grant")
		w.userinfo(tok.str("access_token")).want(200)
		w.refresh("spa", tok.str("refresh_token")).want(200)
	})
	t.Run("T01 replay after a restart", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		code := b.code(request("spa", append(offline, "prompt", "consent")...), "alice")
		tok := w.redeem("spa", code).want(200)
		w.restart()
		w.redeem("spa", code).wantError(400, "invalid_grant")
		w.dead("spa", tok)
	})
	t.Run("T01 replay after a purge", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		code := b.code(request("spa", append(offline, "prompt", "consent")...), "alice")
		tok := w.redeem("spa", code).want(200)
		w.clock.add(10 * time.Minute)
		if _, err := w.store.Purge(context.Background(), w.clock.Now(), 1000); err != nil {
			t.Fatal(err)
		}
		w.redeem("spa", code).wantError(400, "invalid_grant")
		w.dead("spa", tok) // the mark of a spent code outlives the access token
	})
}

// TestAttackT_code: redemptions of a fresh code that must fail and must leave
// it to its owner. RFC 6749 §4.1.3, RFC 7636 §4.6.
func TestAttackT_code(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	w.quick()
	b := w.signedIn("spa")
	for _, c := range []struct {
		name   string
		edit   []string
		status int
		code   string
	}{
		{"T03 wrong code_verifier", []string{"code_verifier", strings.Repeat("a", 43)}, 400, "invalid_grant"},
		{"T03 the challenge as verifier", []string{"code_verifier", request("spa").Get("code_challenge")}, 400, "invalid_grant"},
		{"T03 verifier of another request", []string{"code_verifier", first(pkcePair("web"))}, 400, "invalid_grant"},
		{"T03 verifier with a blank", []string{"code_verifier", first(pkcePair("spa")) + " "}, 400, "invalid_grant"},
		{"T03 verifier in capitals", []string{"code_verifier", strings.ToUpper(first(pkcePair("spa")))}, 400, "invalid_grant"},
		{"T03 verifier too long", []string{"code_verifier", first(pkcePair("spa")) + strings.Repeat("a", 100)}, 400, "invalid_grant"},
		{"T04 code_verifier missing", []string{"code_verifier", ""}, 400, "invalid_grant"},
		{"T05 blank code_verifier", []string{"code_verifier", " "}, 400, "invalid_grant"},
		{"T07 another redirect_uri", []string{"redirect_uri", "https://evil.example/cb"}, 400, "invalid_grant"},
		{"T07 redirect_uri with a slash", []string{"redirect_uri", spaRedirect + "/"}, 400, "invalid_grant"},
		{"T07 redirect_uri in capitals", []string{"redirect_uri", "https://APP.example/cb"}, 400, "invalid_grant"},
		{"T08 redirect_uri omitted", []string{"redirect_uri", ""}, 400, "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, b := w.in(t), b.in(t)
			code := b.code(request("spa"), "alice")
			w.redeem("spa", code, c.edit...).clean().wantError(c.status, c.code)
			w.redeem("spa", code).want(200) // the code is not burnt
		})
	}
	t.Run("T05 empty code_verifier", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		form := "grant_type=authorization_code&client_id=spa&code_verifier=&" + url.Values{"code": {code}, "redirect_uri": {spaRedirect}}.Encode()
		w.send("POST", "/token", form, "Content-Type", formType).clean().wantError(400, "invalid_grant")
		w.redeem("spa", code).want(200)
	})
	t.Run("T07 loopback ports are not interchangeable", func(t *testing.T) {
		w := w.in(t)
		code := w.signedIn("native").in(t).code(request("native"), "alice")
		w.redeem("native", code, "redirect_uri", "http://127.0.0.1:51005/cb").wantError(400, "invalid_grant")
		w.redeem("native", code, "redirect_uri", nativeLoopback).wantError(400, "invalid_grant")
		w.redeem("native", code).want(200)
	})
	t.Run("T03 a search for the verifier ends", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		for range 4 {
			w.redeem("spa", code, "code_verifier", strings.Repeat("b", 43)).wantError(400, "invalid_grant")
		}
		w.redeem("spa", code).want(200)
		code = b.code(request("spa"), "alice")
		for range 5 {
			w.redeem("spa", code, "code_verifier", strings.Repeat("b", 43)).wantError(400, "invalid_grant")
		}
		w.redeem("spa", code).wantError(400, "invalid_grant")
	})
	t.Run("T03 other clients cannot use the tries up", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		for range 8 {
			w.redeem("native", code, "redirect_uri", spaRedirect, "code_verifier", strings.Repeat("b", 43)).wantError(400, "invalid_grant")
		}
		w.redeem("spa", code).want(200)
	})
	t.Run("T16 PKCE downgrade", func(t *testing.T) {
		w := w.in(t)
		q := request("nopkce", "code_challenge", "", "code_challenge_method", "")
		b := w.browser()
		code := b.code(q, "alice")
		w.redeem("nopkce", code).clean().wantError(400, "invalid_grant") // the harness sends a verifier
		w.redeem("nopkce", code, "code_verifier", "").want(200)
		// What is sent binds, even where it is not required.
		code = b.code(request("nopkce", "prompt", "consent"), "alice")
		w.redeem("nopkce", code, "code_verifier", "").wantError(400, "invalid_grant")
		w.redeem("nopkce", code).want(200)
	})
	t.Run("T17 another client redeems the code", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		verifier := first(pkcePair("spa"))
		for _, thief := range []string{"web", "post", "native"} {
			w.redeem(thief, code, "code_verifier", verifier, "redirect_uri", spaRedirect).clean().wantError(400, "invalid_grant")
		}
		w.redeem("m2m", code, "code_verifier", verifier, "redirect_uri", spaRedirect).clean().wantError(400, "unauthorized_client")
		w.redeem("spa", code).want(200)
	})
	t.Run("T41 scope at redemption", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		tok := w.redeem("spa", code, "scope", "openid profile email api admin offline_access").want(200)
		if tok.str("scope") != "openid profile" || tok.str("refresh_token") != "" {
			t.Errorf("%s", tok.body)
		}
		if w.userinfo(tok.str("access_token")).want(200).str("email") != "" {
			t.Error("the scope was widened")
		}
	})
	t.Run("T41 resource at redemption", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		w.redeem("spa", code, "resource", "https://api.example").clean().wantError(400, "invalid_target")
		w.redeem("spa", code).want(200)
	})
	t.Run("T44 entropy", func(t *testing.T) {
		b := b.in(t)
		seen := map[string]bool{}
		for range 16 {
			code := b.code(request("spa"), "alice")
			if seen[code] || len(code) < 22 {
				t.Errorf("code %q", code)
			}
			seen[code] = true
		}
	})
	t.Run("T43 forged codes", func(t *testing.T) {
		w, b := w.in(t), b.in(t)
		code := b.code(request("spa"), "alice")
		for _, m := range append(mutations(code), "x", "ac_", strings.Repeat("a", 4000), "../../etc", "' OR 1=1 --", "*") {
			w.redeem("spa", m).clean().wantError(400, "invalid_grant")
		}
		w.redeem("spa", "").wantError(400, "invalid_request")
		w.redeem("spa", code).want(200)
	})
	t.Run("T42 handles are not interchangeable", func(t *testing.T) {
		w := w.in(t)
		b := w.signedIn("spa", append(offline, "prompt", "consent")...)
		tok := b.issue("spa", offline...)
		code := b.code(request("spa", offline...), "alice")
		at, rt := tok.str("access_token"), tok.str("refresh_token")
		for _, x := range []string{at, rt, tok.str("id_token"), "dc_" + code[3:], w.push(request("spa"))} {
			w.redeem("spa", x).clean().wantError(400, "invalid_grant")
		}
		for _, x := range []string{at, code, tok.str("id_token"), "rt_" + code[3:], "rt_" + at[3:]} {
			w.refresh("spa", x).clean().wantError(400, "invalid_grant")
		}
		for _, x := range []string{code, rt, tok.str("id_token"), "at_" + code[3:], "at_" + rt[3:]} {
			w.userinfo(x).clean().want(401)
		}
		w.userinfo(at).want(200)
		w.refresh("spa", rt).want(200)
		w.redeem("spa", code).want(200)
	})
	w.alive()
}

func first(a, _ string) string { return a }

// TestAttackT_client: client authentication at the token endpoint. Each refusal
// leaves the code to its owner. RFC 6749 §2.3, §3.2, §5.2.
func TestAttackT_client(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	w.quick()
	b := w.signedIn("web")
	w.signedInAlso(b, "post", "scope", "openid email")
	for _, c := range []struct {
		name   string
		client string   // whose code it is
		form   []string // edits of the form
		header []string
		status int
		code   string
	}{
		{"T19 confidential client without credentials", "web", []string{"client_id", "web"}, nil, 401, "invalid_client"},
		{"T19 no client at all", "web", nil, nil, 401, "invalid_client"},
		{"T19 post client without its secret", "post", []string{"client_id", "post"}, nil, 401, "invalid_client"},
		{"T20 wrong secret", "web", nil, []string{"Authorization", basic("web", "not-the-secret-not-the-secret")}, 401, "invalid_client"},
		{"T20 another client's secret", "post", nil, []string{"Authorization", basic("post", webSecret)}, 401, "invalid_client"},
		{"T20 secret in other case", "web", nil, []string{"Authorization", basic("web", strings.ToUpper(webSecret))}, 401, "invalid_client"},
		{"T20 secret and more", "web", nil, []string{"Authorization", basic("web", webSecret+"x")}, 401, "invalid_client"},
		{"T20 wrong secret in the body", "post", []string{"client_id", "post", "client_secret", "wrong-wrong-wrong"}, nil, 401, "invalid_client"},
		{"T20 unknown client", "web", nil, []string{"Authorization", basic("nobody", webSecret)}, 401, "invalid_client"},
		{"T20 client id in other case", "web", nil, []string{"Authorization", basic("WEB", webSecret)}, 401, "invalid_client"},
		{"T21 header and secret in the body", "web", []string{"client_secret", webSecret}, []string{"Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T21 header and assertion", "web", []string{"client_assertion", "e30.e30.e30"}, []string{"Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T21 header and assertion type", "web", []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, []string{"Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T21 secret and assertion", "post", []string{"client_id", "post", "client_secret", postSecret, "client_assertion", "e30.e30.e30"}, nil, 400, "invalid_request"},
		{"T22 client_id of another client", "web", []string{"client_id", "post"}, []string{"Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T23 the body instead of the header", "web", []string{"client_id", "web", "client_secret", webSecret}, nil, 401, "invalid_client"},
		{"T23 the header instead of the body", "post", nil, []string{"Authorization", basic("post", postSecret)}, 401, "invalid_client"},
		{"T23 public client with a secret", "web", []string{"client_id", "spa", "client_secret", "x"}, nil, 401, "invalid_client"},
		{"T23 public client in the header", "web", nil, []string{"Authorization", basic("spa", "x")}, 401, "invalid_client"},
		{"T23 assertion", "web", []string{"client_id", "web", "client_assertion", "e30.e30.e30", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, nil, 401, "invalid_client"},
		{"T25 empty secret in the header", "web", nil, []string{"Authorization", basic("web", "")}, 401, "invalid_client"},
		{"T25 blank secret", "post", []string{"client_id", "post", "client_secret", " "}, nil, 401, "invalid_client"},
		{"T33 secret of 6 KiB in the header", "web", nil, []string{"Authorization", basic("web", strings.Repeat("a", 6<<10))}, 401, "invalid_client"},
		{"T33 secret of 2 KiB in the header", "web", nil, []string{"Authorization", basic("web", strings.Repeat("a", 2<<10))}, 401, "invalid_client"},
		{"T33 the secret and 2 KiB", "web", nil, []string{"Authorization", basic("web", webSecret+strings.Repeat("a", 2<<10))}, 401, "invalid_client"},
		{"T33 secret of 40 KiB in the body", "post", []string{"client_id", "post", "client_secret", strings.Repeat("a", 40<<10)}, nil, 401, "invalid_client"},
		{"T33 secret of 100 KiB in the body", "post", []string{"client_id", "post", "client_secret", strings.Repeat("a", 100<<10)}, nil, 413, "invalid_request"},
		{"T33 client_id of 40 KiB", "web", []string{"client_id", strings.Repeat("a", 40<<10)}, nil, 401, "invalid_client"},
		{"T37 Basic alone", "web", nil, []string{"Authorization", "Basic"}, 401, "invalid_client"},
		{"T37 Basic and a blank", "web", nil, []string{"Authorization", "Basic "}, 401, "invalid_client"},
		{"T37 no base64", "web", nil, []string{"Authorization", "Basic !!!"}, 401, "invalid_client"},
		{"T37 no colon", "web", nil, []string{"Authorization", "Basic " + b64("web")}, 401, "invalid_client"},
		{"T37 no id", "web", nil, []string{"Authorization", "Basic " + b64(":"+webSecret)}, 401, "invalid_client"},
		{"T37 colon alone", "web", nil, []string{"Authorization", "Basic " + b64(":")}, 401, "invalid_client"},
		{"T37 invalid UTF-8", "web", nil, []string{"Authorization", "Basic " + b64("web:\xff\xfe")}, 401, "invalid_client"},
		{"T37 NUL", "web", nil, []string{"Authorization", "Basic " + b64("web:"+webSecret+"\x00")}, 401, "invalid_client"},
		{"T37 NUL in the id", "web", nil, []string{"Authorization", "Basic " + b64("web\x00:"+webSecret)}, 401, "invalid_client"},
		{"T37 broken escape", "web", nil, []string{"Authorization", "Basic " + b64("web:%zz")}, 401, "invalid_client"},
		{"T37 32 KiB", "web", nil, []string{"Authorization", "Basic " + strings.Repeat("QUFB", 8<<10)}, 401, "invalid_client"},
		{"T37 bearer", "web", nil, []string{"Authorization", "Bearer " + webSecret}, 401, "invalid_client"},
		{"T37 empty header", "web", []string{"client_id", "web"}, []string{"Authorization", ""}, 401, "invalid_client"},
		{"T37 two headers", "web", nil, []string{"Authorization", basic("web", webSecret), "Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T37 two headers, one of another client", "web", nil, []string{"Authorization", basic("web", webSecret), "Authorization", basic("spa", "x")}, 400, "invalid_request"},
		{"T29 grant_type missing", "web", []string{"grant_type", ""}, []string{"Authorization", basic("web", webSecret)}, 400, "invalid_request"},
		{"T29 unknown", "web", []string{"grant_type", "x"}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T29 password", "web", []string{"grant_type", "password", "username", "alice", "password", password}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T29 implicit", "web", []string{"grant_type", "implicit"}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T29 capitals", "web", []string{"grant_type", "Authorization_Code"}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T29 blank at the end", "web", []string{"grant_type", "authorization_code "}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T30 client_credentials of a code client", "web", []string{"grant_type", "client_credentials"}, []string{"Authorization", basic("web", webSecret)}, 400, "unsupported_grant_type"},
		{"T30 m2m redeems", "web", nil, []string{"Authorization", basic("m2m", webSecret)}, 400, "unauthorized_client"},
		{"T51 client_credentials", "web", []string{"grant_type", "client_credentials", "scope", "openid offline_access admin"}, []string{"Authorization", basic("m2m", webSecret)}, 400, "unsupported_grant_type"},
		{"T52 public client and client_credentials", "web", []string{"grant_type", "client_credentials", "client_id", "native"}, nil, 400, "unsupported_grant_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, b := w.in(t), b.in(t)
			scope := map[string]string{"web": "openid profile", "post": "openid email"}[c.client]
			code := b.code(request(c.client, "scope", scope), "alice")
			verifier, _ := pkcePair(c.client)
			form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {request(c.client).Get("redirect_uri")}}
			for i := 0; i+1 < len(c.form); i += 2 {
				form.Set(c.form[i], c.form[i+1])
			}
			if form.Get("grant_type") == "" {
				form.Del("grant_type")
			}
			res := w.call("/token", form, c.header...).clean().wantError(c.status, c.code)
			if strings.Contains(res.body, "access_token") || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
				t.Errorf("T38: %q %s", res.Header.Get("Content-Type"), res.body)
			}
			if len(c.header) > 0 && c.header[1] != "" && c.code == "invalid_client" && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("WWW-Authenticate %q", res.Header.Get("WWW-Authenticate")) // RFC 6749 §5.2
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed across origins")
			}
			w.redeem(c.client, code).want(200)
		})
	}
	w.alive()
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestAttackT_request: shapes of token requests. RFC 6749 §3.2, §4.1.3.
func TestAttackT_request(t *testing.T) {
	t.Parallel()
	w := newWorld(t, noLimits)
	b := w.signedIn("spa")
	good := func(code string) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {code}, "code_verifier": {first(pkcePair("spa"))}, "redirect_uri": {spaRedirect}}
	}
	code := b.code(request("spa"), "alice")
	body := good(code).Encode()
	form := []string{"Content-Type", formType}
	js, _ := json.Marshal(map[string]string{"grant_type": "authorization_code", "client_id": "spa", "code": code, "code_verifier": first(pkcePair("spa")), "redirect_uri": spaRedirect})
	for _, c := range []struct {
		name, path, body string
		header           []string
		status           int
	}{
		{"T13 code twice", "/token", body + "&code=" + code, form, 400},
		{"T13 code twice, once empty", "/token", body + "&code=", form, 400},
		{"T14 grant_type twice", "/token", body + "&grant_type=authorization_code", form, 400},
		{"T14 two grant_types", "/token", body + "&grant_type=refresh_token", form, 400},
		{"T15 client_id twice", "/token", body + "&client_id=spa", form, 400},
		{"T15 code_verifier twice", "/token", body + "&code_verifier=x", form, 400},
		{"T15 redirect_uri twice", "/token", body + "&redirect_uri=x", form, 400},
		{"T15 unknown twice", "/token", body + "&x=1&x=2", form, 400},
		{"T26 all in the query", "/token?" + body, "", form, 400},
		{"T26 all in the query, no media type", "/token?" + body, "", nil, 415},
		{"T26 one in the query", "/token?client_id=spa", body, form, 400},
		{"T26 secret in the query", "/token?client_secret=x", body, form, 400},
		{"T28 JSON", "/token", string(js), []string{"Content-Type", "application/json"}, 415},
		{"T28 JSON said to be a form", "/token", string(js), form, 400},
		{"T28 multipart", "/token", "--x\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n" + code + "\r\n--x--\r\n", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		{"T28 text", "/token", body, []string{"Content-Type", "text/plain"}, 415},
		{"T28 no media type", "/token", body, nil, 415},
		{"T28 malformed media type", "/token", body, []string{"Content-Type", "application/x-www-form-urlencoded; charset"}, 415},
		{"T32 many parameters", "/token", body + manyParams(100), form, 400},
		{"T32 a flood of parameters", "/token", body + manyParams(20000), form, 413},
		{"T34 broken escape", "/token", body + "&x=%zz", form, 400},
		{"T34 NUL", "/token", body + "&x=%00", form, 400},
		{"T34 invalid UTF-8", "/token", body + "&x=%ff", form, 400},
		{"T34 nameless", "/token", body + "&=x", form, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := w.in(t).send("POST", c.path, c.body, c.header...).clean().want(c.status)
			if e := res.str("error"); e != "invalid_request" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %v", res.body, res.Header)
			}
		})
	}
	t.Run("T27 other methods", func(t *testing.T) {
		for _, m := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			if res := w.in(t).send(m, "/token?"+body, "").clean().want(405); res.Header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow %q", m, res.Header.Get("Allow"))
			}
		}
	})
	t.Run("T31 oversized", func(t *testing.T) {
		if got := w.in(t).huge("/token", 4<<20); got != 413 {
			t.Errorf("status %d", got)
		}
	})
	t.Run("T39 a good answer", func(t *testing.T) { // after all of that the code still works
		w := w.in(t)
		res := w.call("/token", good(code)).want(200)
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Pragma") != "no-cache" || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%v", res.Header)
		}
		if n, _ := res.json()["expires_in"].(float64); n <= 0 || n > 3600 { // T48
			t.Errorf("expires_in %v", n)
		}
		if res.str("refresh_token") != "" { // T53
			t.Error("a refresh token without offline_access")
		}
	})
	w.alive()
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&p" + itoa(i) + "=1")
	}
	return b.String()
}

// TestAttackT_state: what happens to a code when the world around it changes.
func TestAttackT_state(t *testing.T) {
	t.Parallel()
	t.Run("T47 code lifetime", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		code, late := b.code(request("spa"), "alice"), b.code(request("spa"), "alice")
		w.clock.add(59 * time.Second)
		w.redeem("spa", code).want(200)
		w.clock.add(time.Second)
		w.redeem("spa", late).wantError(400, "invalid_grant")
		w.clock.add(time.Second)
		w.redeem("spa", late).wantError(400, "invalid_grant")
	})
	t.Run("T49 access tokens end", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		tok := w.signedIn("spa").issue("spa")
		w.clock.add(10*time.Minute - time.Second)
		w.userinfo(tok.str("access_token")).want(200)
		w.clock.add(time.Second)
		w.userinfo(tok.str("access_token")).want(401)
	})
	t.Run("T53 refresh tokens only for who may", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		if tok := b.issue("spa"); tok.str("refresh_token") != "" {
			t.Error("without offline_access")
		}
		w.clients.change("spa", func(c *clientreg.Client) { c.GrantTypes = []string{"authorization_code"} })
		code := b.code(request("spa", append(offline, "prompt", "consent")...), "alice")
		if tok := w.redeem("spa", code).want(200); tok.str("refresh_token") != "" || strings.Contains(tok.str("scope"), "offline_access") {
			t.Errorf("without the refresh_token grant: %s", tok.body)
		}
	})
	t.Run("T53 the user takes offline_access out", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.browser()
		res := b.signIn(b.begin(request("spa", append(offline, "prompt", "consent")...)), "alice")
		_, q := b.allow(res, "scope", "profile").location()
		if tok := w.redeem("spa", q.Get("code")).want(200); tok.str("refresh_token") != "" || tok.str("scope") != "openid profile" {
			t.Errorf("%s", tok.body)
		}
	})
	for _, c := range []struct {
		name   string
		change func(w *world)
		back   func(w *world)
		status int
		code   string
	}{
		{"T50 user disabled", func(w *world) { w.users.disable("sub-alice", true) }, func(w *world) { w.users.disable("sub-alice", false) }, 400, "invalid_grant"},
		{"T50 client disabled", func(w *world) { w.clients.change("spa", func(c *clientreg.Client) { c.Disabled = true }) },
			func(w *world) { w.clients.change("spa", func(c *clientreg.Client) { c.Disabled = false }) }, 401, "invalid_client"},
		{"T50 client lost the grant type", func(w *world) {
			w.clients.change("spa", func(c *clientreg.Client) { c.GrantTypes = []string{"refresh_token"} })
		}, func(w *world) { w.clients.change("spa", func(c *clientreg.Client) { c.GrantTypes = nil }) }, 400, "unauthorized_client"},
		{"T50 registry away", func(w *world) { w.clients.setErr(errAway) }, func(w *world) { w.clients.setErr(nil) }, 503, "temporarily_unavailable"},
		{"T50 users away", func(w *world) { w.users.fail(errAway) }, func(w *world) { w.users.fail(nil) }, 503, "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			code := w.signedIn("spa").code(request("spa"), "alice")
			c.change(w)
			w.redeem("spa", code).wantError(c.status, c.code)
			c.back(w)
			w.redeem("spa", code).want(200) // nothing was spent
		})
	}
	t.Run("T50 the client was replaced", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa", append(offline, "prompt", "consent")...)
		tok, code := b.issue("spa", offline...), b.code(request("spa"), "alice")
		w.clock.add(time.Second)
		w.clients.change("spa", func(c *clientreg.Client) { c.NotBefore = w.clock.Now() })
		w.redeem("spa", code).wantError(400, "invalid_grant")
		w.dead("spa", tok)
	})
	t.Run("T50 logout before the redemption", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		b := w.signedIn("spa")
		tok, code := b.issue("spa"), b.code(request("spa"), "alice")
		b.get("/logout?" + url.Values{"id_token_hint": {tok.str("id_token")}, "post_logout_redirect_uri": {"https://app.example/bye"}}.Encode()).want(303)
		w.redeem("spa", code).wantError(400, "invalid_grant")
	})
	t.Run("T50 withdrawal before the redemption", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		code := w.signedIn("spa").code(request("spa"), "alice")
		if err := w.p.Grants().Withdraw(context.Background(), "sub-alice", "spa"); err != nil {
			t.Fatal(err)
		}
		w.redeem("spa", code).wantError(400, "invalid_grant")
	})
	t.Run("T35 guessing of secrets is held back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.clients.change("web", quickSecret)
		n429 := 0
		for range 140 {
			res := w.call("/token", url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, "Authorization", basic("web", "guess-guess-guess"))
			switch res.StatusCode {
			case 401:
			case 429:
				n429++
				if res.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			default:
				t.Fatalf("status %d", res.StatusCode)
			}
		}
		if n429 == 0 {
			t.Error("140 wrong secrets and no limit")
		}
		// Whoever knows the secret is not locked out by others' guesses.
		w.call("/token", url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, "Authorization", basic("web", quickSecretValue)).wantError(400, "invalid_grant")
	})
	t.Run("T36 secrets expire one by one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.clients.change("web", func(c *clientreg.Client) {
			quickSecret(c)
			c.Secrets[0].Expires = w.clock.Now().Add(time.Minute)
			c.Secrets = append(c.Secrets, clientreg.ClientSecret{Hash: quickHash("Another-secret-0123456789abcdefghijkl")})
		})
		try := func(secret string) response {
			return w.call("/token", url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, "Authorization", basic("web", secret))
		}
		try(quickSecretValue).wantError(400, "invalid_grant")
		try("Another-secret-0123456789abcdefghijkl").wantError(400, "invalid_grant")
		w.clock.add(time.Minute)
		try(quickSecretValue).wantError(401, "invalid_client")
		try("Another-secret-0123456789abcdefghijkl").wantError(400, "invalid_grant")
	})
	t.Run("T54 faults at every call of a redemption, and a restart", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, noLimits)
		b := l.signedIn("spa", append(offline, "prompt", "consent")...)
		for k := 1; k <= 4; k++ {
			for _, f := range []storagetest.Fault{storagetest.Fail(storage.ErrUnavailable), storagetest.CommitThenError, storagetest.CommitThenPanic} {
				code := b.code(request("spa", offline...), "alice")
				l.flaky.Arm(storagetest.Plan{Faults: map[int]storagetest.Fault{k: f}})
				res := l.redeem("spa", code)
				l.flaky.Arm(storagetest.Plan{})
				l.restart()
				wins := 0
				if res.StatusCode == 200 {
					wins++
				}
				again := l.redeem("spa", code)
				if again.StatusCode == 200 {
					wins++
				} else {
					again.wantError(400, "invalid_grant")
				}
				if wins > 1 {
					t.Errorf("call %d: %d successes", k, wins)
				}
				l.vault.noOrphans(t)
			}
		}
	})
}

const quickSecretValue = "Quick-secret-0123456789abcdefghijklmno"

// quickSecret gives a client a secret that costs no stretching.
func quickSecret(c *clientreg.Client) {
	c.Secrets = []clientreg.ClientSecret{{Hash: quickHash(quickSecretValue)}}
}

func quickHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "$sha256$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// TestAttackT45_IDToken: the ID token verifies under the published keys, by
// code that is not the kit's. OpenID Connect Core §2, §3.1.3.7.
func TestAttackT45_IDToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signedIn("spa")
	tok := b.issue("spa", "max_age", "1000")
	verifyES256(t, w, tok.str("id_token"))
	c := claims(t, tok.str("id_token"))
	iat, exp := c["iat"].(float64), c["exp"].(float64)
	at := sha256.Sum256([]byte(tok.str("access_token")))
	switch {
	case c["iss"] != w.issuer, c["aud"] != "spa", c["nonce"] != "nonce-1", c["sub"] != "sub-alice":
		t.Errorf("%v", c)
	case iat > float64(w.clock.Now().Unix())+5, exp-iat > 3600, exp <= iat:
		t.Errorf("iat %v, exp %v", iat, exp)
	case c["at_hash"] != base64.RawURLEncoding.EncodeToString(at[:16]):
		t.Errorf("at_hash %v", c["at_hash"])
	case c["auth_time"] != float64(w.clock.Now().Unix()):
		t.Errorf("auth_time %v", c["auth_time"])
	}
	if alg := jwtHeader(t, tok.str("id_token"))["alg"]; alg == "none" || strings.HasPrefix(alg.(string), "HS") {
		t.Errorf("alg %v", alg)
	}
	// Each request has its own nonce, sub and sid; no claim of Users replaces one.
	other := b.issue("spa", "nonce", "nonce-2")
	if c2 := claims(t, other.str("id_token")); c2["nonce"] != "nonce-2" || c2["sid"] != c["sid"] {
		t.Errorf("%v", c2)
	}
	if c3 := claims(t, b.issue("spa", "nonce", "").str("id_token")); c3["nonce"] != nil {
		t.Errorf("nonce %v", c3["nonce"])
	}
	if web := w.signedIn("web").issue("web"); claims(t, web.str("id_token"))["sid"] == c["sid"] {
		t.Error("two clients share a sid")
	}
}

// verifyES256 checks a JWT against the provider's JWKS with the standard
// library alone.
func verifyES256(t *testing.T, w *world, token string) {
	t.Helper()
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y string }
	}
	if err := json.Unmarshal([]byte(w.getWith("/jwks").want(200).body), &set); err != nil {
		t.Fatal(err)
	}
	kid := jwtHeader(t, token)["kid"]
	parts := strings.Split(token, ".")
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		t.Fatalf("signature of %d bytes", len(sig))
	}
	coordinate := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) != 32 {
			t.Fatalf("coordinate %q", s)
		}
		return b
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	for _, k := range set.Keys {
		if k.Kid == kid {
			pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, coordinate(k.X)...), coordinate(k.Y)...))
			if err != nil {
				t.Fatal(err)
			}
			if !ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
				t.Error("the ID token does not verify")
			}
			return
		}
	}
	t.Errorf("no key %v", kid)
}

var errAway = awayError{}

type awayError struct{}

func (awayError) Error() string { return "the database is away" }

// setErr makes every look-up fail.
func (r *registry) setErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// forgeRefresh changes the sequence number inside a refresh token and keeps the
// rest.
func forgeRefresh(t testing.TB, token string, seq uint32) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(token[3:])
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(b[18:], seq)
	return "rt_" + base64.RawURLEncoding.EncodeToString(b)
}
