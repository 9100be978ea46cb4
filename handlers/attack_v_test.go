package handlers_test

import (
	"context"
	"html"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

// TestAttackV01_client: RFC 8628 §3.1.
func TestAttackV01_client(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	for name, form := range map[string]url.Values{
		"V01 unknown client":         {"client_id": {"nope"}, "scope": {"openid"}},
		"V01 no client":              {"scope": {"openid"}},
		"V03 without authentication": {"client_id": {"web"}, "scope": {"openid"}},
		"V03 wrong secret":           {"client_id": {"web"}, "client_secret": {"x"}, "scope": {"openid"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.in(t).call("/device_authorization", form).clean().wantError(401, "invalid_client")
		})
	}
	t.Run("V02 client without the grant", func(t *testing.T) {
		t.Parallel()
		w := w.in(t)
		for _, client := range []string{"native", "post"} {
			w.device(client).wantError(400, "unauthorized_client")
			w.poll(client, "x").wantError(400, "unauthorized_client")
		}
	})
	t.Run("V02 the grant was taken away", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		w.browser().connect(d.str("user_code"), "alice")
		w.clients.change("tv", func(c *clientreg.Client) { c.GrantTypes = []string{"authorization_code"} })
		w.poll("tv", d.str("device_code")).wantError(400, "unauthorized_client")
	})
}

// TestAttackV04_foreign: whoever is not the code's client gets nothing and
// costs its owner nothing. RFC 8628 §3.4.
func TestAttackV04_foreign(t *testing.T) {
	t.Parallel()
	poll := func(client, code string) url.Values {
		return url.Values{"grant_type": {deviceGrant}, "client_id": {client}, "device_code": {code}}
	}
	t.Run("V04 confidential client unauthenticated", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("web").want(200)
		w.browser().connect(d.str("user_code"), "alice")
		code := d.str("device_code")
		w.call("/token", poll("web", code)).wantError(401, "invalid_client")
		w.call("/token", url.Values{"grant_type": {deviceGrant}, "device_code": {code}}).wantError(401, "invalid_client")
		w.call("/token", poll("", code), "Authorization", basic("web", "wrong")).wantError(401, "invalid_client")
		w.poll("web", code).want(200)
	})
	t.Run("V07 another client", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		code := d.str("device_code")
		for range 3 { // pending: the owner is not slowed down either
			w.poll("radio", code).wantError(400, "invalid_grant")
		}
		w.poll("tv", code).wantError(400, "authorization_pending")
		w.browser().connect(d.str("user_code"), "alice")
		for _, other := range []string{"radio", "web"} {
			w.poll(other, code).wantError(400, "invalid_grant")
		}
		w.userinfo(w.poll("tv", code).want(200).str("access_token")).want(200)
	})
}

// TestAttackV05_polling: RFC 8628 §3.5.
func TestAttackV05_polling(t *testing.T) {
	t.Parallel()
	t.Run("V05 before approval", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
		w.clock.add(5 * time.Second)
		b := w.browser()
		b.enter(d.str("user_code")).want(303) // on the way is not there
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
		w.clock.add(5 * time.Second)
		b.confirm(d.str("user_code"), "alice").want(303)
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
	})
	t.Run("V06 too fast", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, withDevices, noLimits, patient)
		l.devices()
		for round := range raceRounds() {
			l.fast()
			d := l.device("tv").want(200)
			l.slow(round)
			count := map[string]int{}
			n := []int{8, 2}[round%2]
			for _, r := range atOnce(n, func(int) response { return l.poll("tv", d.str("device_code")) }) {
				r.want(400)
				count[r.str("error")]++
			}
			l.fast()
			if count["authorization_pending"] != 1 || count["slow_down"] != n-1 {
				t.Fatalf("round %d: %v", round, count)
			}
			l.clock.add(5 * time.Second)
			l.poll("tv", d.str("device_code")).wantError(400, "slow_down") // the interval has grown
		}
	})
	t.Run("V08 replay", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		w.browser().connect(d.str("user_code"), "alice")
		tok := w.poll("tv", d.str("device_code")).want(200)
		w.poll("radio", d.str("device_code")).wantError(400, "invalid_grant") // a stranger ends nothing
		w.userinfo(tok.str("access_token")).want(200)
		for range 3 {
			w.poll("tv", d.str("device_code")).wantError(400, "invalid_grant")
			w.dead("tv", tok)
			w.clock.add(5 * time.Minute) // spent stays spent
		}
	})
	t.Run("V09 denied", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		b := w.browser()
		res := b.confirm(d.str("user_code"), "alice")
		b.refuse(res).want(200)
		w.poll("tv", d.str("device_code")).wantError(400, "access_denied")
		u, _ := res.location() // changing one's mind is too late
		b.get(u.String()).wantPage()
		w.poll("tv", d.str("device_code")).wantError(400, "access_denied")
	})
	t.Run("V15 bogus device codes", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		b := w.browser()
		b.connect(d.str("user_code"), "alice")
		code := d.str("device_code")
		authCode := b.code(request("native"), "alice")
		for _, bad := range append(mutations(code), "nope", d.str("user_code"), authCode, "dc_"+authCode[3:], "ac_"+code[3:], code+"\x00", strings.Repeat("A", 5000)) {
			res := w.poll("tv", bad).clean()
			if res.StatusCode != 400 || res.str("error") != "invalid_grant" && res.str("error") != "invalid_request" {
				t.Errorf("%q: %d %s", bad, res.StatusCode, res.body)
			}
		}
		w.redeem("native", code).wantError(400, "invalid_grant") // nor is it a code of another kind
		w.poll("tv", code).want(200)
	})
}

// TestAttackV10_entropy: RFC 8628 §6.1.
func TestAttackV10_entropy(t *testing.T) {
	t.Parallel()
	w := newDevices(t)
	seen, letters := map[string]bool{}, map[rune]bool{}
	const n = 40
	for range n {
		d := w.device("tv").want(200)
		code := d.str("user_code")
		if len(code) != 9 || code[4] != '-' {
			t.Errorf("user code %q", code)
		}
		for _, r := range strings.ReplaceAll(code, "-", "") {
			letters[r] = true
		}
		seen[code], seen[d.str("device_code")] = true, true
		if len(d.str("device_code")) < 43 {
			t.Errorf("device code %q", d.str("device_code"))
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d different codes of %d", len(seen), 2*n)
	}
	if bits := 8 * math.Log2(float64(len(letters))); bits < 34 {
		t.Errorf("%.1f bits", bits)
	}
}

// TestAttackV11_page: the verification page. RFC 8628 §3.3.1, §5.4.
func TestAttackV11_page(t *testing.T) {
	t.Parallel()
	t.Run("V11 the complete URI approves nothing", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		w.clients.change("tv", func(c *clientreg.Client) { c.FirstParty = true })
		b := w.victim("native") // signed in
		d := w.device("tv").want(200)
		for range 3 {
			page := b.get(d.str("verification_uri_complete")).want(200)
			if !strings.Contains(page.body, `value="`+d.str("user_code")+`"`) {
				t.Errorf("the code is not filled in: %.600s", page.body)
			}
			w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
			w.clock.add(5 * time.Second)
		}
		b.get(d.str("verification_uri_complete") + "&do=code&do=allow").want(200)
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
	})
	t.Run("V11 from another site", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		b := w.victim("native")
		d := w.device("tv").want(200)
		token := csrf(b.get("/device").want(200))
		form := url.Values{"user_code": {d.str("user_code")}, "do": {"code"}}
		b.post("/device", form).wantPage() // no token
		form.Set("csrf", csrf(w.browser().get("/device")))
		b.post("/device", form).wantPage() // the attacker's token
		form.Set("csrf", token)
		for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Origin", "null"}} {
			b.send("POST", "/device", form.Encode(), header...).wantPage()
		}
		res := b.post("/device", form)
		u, _ := res.location()
		if u.Path != "/consent" {
			t.Fatalf("to %s", u)
		}
		// The same at the page that decides.
		allow := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}}
		b.send("POST", u.String(), allow.Encode(), "Sec-Fetch-Site", "cross-site").wantPage()
		b.post(u.String(), url.Values{"csrf": {token}, "do": {"allow"}}).wantPage()
		w.browser().get(u.String()).wantPage() // bound to the browser
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
		b.post(u.String(), allow).want(200)
		w.poll("tv", d.str("device_code")).want(200)
	})
	t.Run("V12 code and client in sight", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		b := w.browser()
		u, _ := b.confirm(strings.ToLower(strings.ReplaceAll(d.str("user_code"), "-", " ")), "alice").location()
		page := b.get(u.String()).want(200)
		for _, want := range []string{d.str("user_code"), "The TV", "127.0.0.1", "Alice", `value="profile"`} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		w.poll("tv", d.str("device_code")).wantError(400, "authorization_pending")
	})
	t.Run("V14 XSS through user_code", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		b := w.browser()
		for _, evil := range []string{`<script>alert(1)</script>`, `"><svg onload=alert(1)>`, `' autofocus onfocus=alert(1) x='`, `{{.}}`, "javascript:alert(1)", "\u202eX", strings.Repeat("A", 4000)} {
			for _, page := range []response{b.get("/device?user_code=" + url.QueryEscape(evil)), b.enter(evil)} {
				page.want(200).clean()
				if strings.Contains(page.body, evil) && strings.ContainsAny(evil, `<"'`) || strings.Contains(page.body, "<script") {
					t.Errorf("%q is on the page as it is", evil)
				}
				if strings.ContainsAny(evil, "<") && len(evil) < 100 && !strings.Contains(page.body, html.EscapeString(evil)[:7]) {
					t.Errorf("%q is not on the page", evil)
				}
			}
		}
		for _, bad := range []string{"/device?user_code=%zz", "/device?user_code=%00", "/device?user_code=%ff"} {
			if res := b.get(bad).clean(); res.StatusCode != 200 && res.StatusCode != 400 {
				t.Errorf("%s: %d", bad, res.StatusCode)
			}
		}
	})
	t.Run("V18 no framing", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		d := w.device("tv").want(200)
		b := w.browser()
		res := b.confirm(d.str("user_code"), "alice")
		u, _ := res.location()
		pages := []response{b.get("/device"), b.get(d.str("verification_uri_complete")), b.enter("XXXX-XXXX"), b.get(u.String()), b.allow(res), b.get(u.String())}
		for i, page := range pages {
			csp := policy(t, page)
			if csp["frame-ancestors"] != "'none'" || page.Header.Get("X-Frame-Options") != "DENY" || csp["script-src"] != "" || csp["default-src"] != "'none'" ||
				page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Referrer-Policy") != "no-referrer" || page.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("page %d: %v", i, page.Header)
			}
		}
		w.getWith("/device", "Host", "evil.example").clean()
		if res := w.getWith("/device", "Host", "evil.example"); strings.Contains(res.body, "evil.example") {
			t.Error("the host's name is on the page")
		}
	})
	t.Run("V19 sane answer", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t, https, func(c *handlers.Config) { c.TTL.Device = 30 * time.Minute })
		d := w.device("tv").want(200)
		if d.json()["expires_in"].(float64) > 1800 || d.json()["interval"].(float64) < 5 || d.Header.Get("Cache-Control") != "no-store" ||
			!strings.HasPrefix(d.str("verification_uri"), "https://") || !strings.HasPrefix(d.str("verification_uri_complete"), d.str("verification_uri")+"?") ||
			d.Header.Get("Content-Type") != "application/json" || d.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %v", d.body, d.Header)
		}
	})
}

// TestAttackV20_guessing: wrong codes run out, per address and per user; right
// ones do not count. RFC 8628 §5.1.
func TestAttackV20_guessing(t *testing.T) {
	t.Parallel()
	t.Run("V20 one browser", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		b := w.victim("native")
		for range 15 {
			b.enter(w.device("tv").want(200).str("user_code")).want(303)
		}
		throttled := 0
		for range 60 {
			if res := b.enter("BCDF-GHJK"); res.StatusCode == 429 {
				throttled++
				if res.Header.Get("Retry-After") == "" || !strings.Contains(res.body, "too many attempts") {
					t.Fatalf("%v %.600s", res.Header, res.body)
				}
			}
		}
		if throttled != 50 {
			t.Errorf("%d of 60 were held back", throttled)
		}
		d := w.device("tv").want(200)
		b.enter(d.str("user_code")).want(429)           // a right guess tells nothing either
		w.browser().enter(d.str("user_code")).want(429) // nor a new browser of the same address
		w.clock.add(3 * time.Minute)
		b.connect(d.str("user_code"), "alice")
		w.poll("tv", d.str("device_code")).want(200)
	})
	t.Run("V20 one user, many addresses", func(t *testing.T) {
		t.Parallel()
		limits := &perKey{}
		w := newDevices(t, func(c *handlers.Config) { c.Limiter = limits })
		w.victim("native").enter("BCDF-GHJK").want(200)
		if !limits.saw("user_code 127.0.0.0/24") || !limits.saw("user_code of sub-alice") {
			t.Errorf("counted at %v", limits.keys)
		}
	})
	t.Run("V20 malformed guesses count", func(t *testing.T) {
		t.Parallel()
		w := newDevices(t)
		b := w.browser()
		for range 10 {
			b.enter("x").want(200)
		}
		b.enter("x").want(429)
		b.get("/device").want(200) // looking does not
	})
}

// TestAttackR03_device: 64 polls of one approved device code at once. One wins;
// the others are replays, so what it won is taken back. CVE-2026-22751.
func TestAttackR03_device(t *testing.T) {
	t.Parallel()
	l := newLab(t, withDevices, noLimits, patient)
	l.devices()
	b := l.signedIn("native")
	for round := range raceRounds() {
		l.fast()
		client := []string{"tv", "web"}[round%2]
		d := l.device(client, "scope", "openid profile offline_access").want(200)
		b.connect(d.str("user_code"), "alice")
		l.slow(round)
		rs := atOnce(crowd, func(i int) response {
			if i%8 == 7 {
				return l.poll("radio", d.str("device_code")) // holds nobody back
			}
			return l.poll(client, d.str("device_code"))
		})
		l.fast()
		ws := winners(t, rs, is200, isInvalidGrant)
		if len(ws) != 1 {
			t.Fatalf("round %d: %d won", round, len(ws))
		}
		l.dead(client, ws[0]) // the others were replays
	}
}

// TestAttackR03_decision: one user code, decided by two users and in two ways,
// while the device polls. One decision wins, and the device gets that one.
func TestAttackR03_decision(t *testing.T) {
	t.Parallel()
	l := newLab(t, withDevices, noLimits, patient)
	l.devices()
	alice, bob := l.signedIn("native"), l.browser()
	bob.code(request("native"), "bob")
	for round := range raceRounds() {
		l.fast()
		d := l.device("tv").want(200)
		before := l.vault.active(t, storage.KindGrant)
		type answer struct {
			b    *browser
			url  string
			form url.Values
		}
		var answers []answer
		for i := range 8 {
			b := []*browser{alice, bob}[i%2]
			do := "allow"
			if round%3 == 1 && i >= 4 || round%3 == 2 && i >= 1 {
				do = "deny"
			}
			u, _ := b.enter(d.str("user_code")).location()
			answers = append(answers, answer{b, u.String(), url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {do}, "scope": {"profile"}}})
		}
		l.slow(round)
		rs := atOnce(8+16, func(i int) response {
			if i < 8 {
				return answers[i].b.post(answers[i].url, answers[i].form)
			}
			return l.poll("tv", d.str("device_code"))
		})
		l.fast()
		won, subject := -1, ""
		for i, r := range rs[:8] {
			switch {
			case r.StatusCode == 200 && won >= 0:
				t.Fatalf("round %d: %d and %d both won", round, won, i)
			case r.StatusCode == 200:
				won = i
			case r.StatusCode >= 500 || r.Header.Get("Location") != "":
				t.Errorf("round %d: %d %.300s", round, r.StatusCode, r.body)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		redeemed := 0
		for _, r := range append(rs[8:], l.poll("tv", d.str("device_code"))) {
			switch {
			case r.StatusCode == 200:
				redeemed++
				subject, _ = claims(t, r.str("id_token"))["sub"].(string)
			case r.StatusCode != 400:
				t.Errorf("round %d: %d %s", round, r.StatusCode, r.body)
			}
		}
		// With several polls behind the decision the first wins and the rest are
		// replays.
		allowed := answers[won].form.Get("do") == "allow"
		want := map[bool]string{true: "sub-alice", false: "sub-bob"}[won%2 == 0]
		if allowed && (redeemed != 1 || subject != want) || !allowed && redeemed != 0 {
			t.Errorf("round %d: %d won (%s), %d redeemed by %q", round, won, answers[won].form.Get("do"), redeemed, subject)
		}
		grants := before
		if allowed {
			grants++
		}
		if n := l.vault.active(t, storage.KindGrant); n < before || n > grants {
			t.Errorf("round %d: %d grants, want at most %d", round, n, grants)
		}
		if !allowed {
			l.poll("tv", d.str("device_code")).wantError(http.StatusBadRequest, "access_denied")
		}
	}
}

// TestAttackR03_logout: an approval and a logout at once: whichever is first,
// the device holds nothing that outlives the session.
func TestAttackR03_logout(t *testing.T) {
	t.Parallel()
	l := newLab(t, withDevices, noLimits, patient)
	l.devices()
	for round := range raceRounds() {
		l.fast()
		b := l.browser()
		d := l.device("tv").want(200)
		u, _ := b.confirm(d.str("user_code"), "alice").location()
		allow := url.Values{"csrf": {csrf(b.get(u.String()).want(200))}, "do": {"allow"}, "scope": {"profile"}}
		out := b.get("/logout").want(200)
		leave := url.Values{"csrf": {csrf(out)}, "do": {"logout"}}
		leaveAt := html.UnescapeString(formAction.FindStringSubmatch(out.body)[1])
		l.slow(round)
		rs := atOnce(10, func(i int) response {
			switch i {
			case 0:
				return b.post(u.String(), allow)
			case 1:
				return b.post(leaveAt, leave)
			}
			return l.poll("tv", d.str("device_code"))
		})
		l.fast()
		if rs[0].StatusCode >= 500 || rs[1].StatusCode != 200 {
			t.Fatalf("round %d: %d, %d", round, rs[0].StatusCode, rs[1].StatusCode)
		}
		for _, r := range append(rs[2:], l.poll("tv", d.str("device_code"))) {
			if r.StatusCode == 200 {
				l.userinfo(r.str("access_token")).want(401)
			} else {
				r.want(400)
			}
		}
	}
}

// perKey holds nobody back and remembers what was counted.
type perKey struct {
	mu   sync.Mutex
	keys []string
}

func (k *perKey) Allow(_ context.Context, key string) (bool, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, key)
	return true, 0
}

func (k *perKey) saw(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.keys, key)
}
