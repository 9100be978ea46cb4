package handlers_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
)

const wellKnown = "/.well-known/openid-configuration"

func algs(names ...string) func(*handlers.Config) {
	return func(c *handlers.Config) { c.SigningAlgs = names }
}

func TestAttackD01_IssuerIsExact(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"root": "", "path": "/tenant/a"} {
		t.Run("D01 "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *handlers.Config) { c.Issuer += path })
			for _, at := range []string{path + wellKnown, "/.well-known/oauth-authorization-server" + path} {
				res := w.getWith(at).want(200)
				if got := res.str("issuer"); got != w.issuer {
					t.Errorf("%s: issuer %q, want %q", at, got, w.issuer)
				}
				if strings.Count(res.body, `"issuer"`) != 1 {
					t.Errorf("%s: issuer not once: %s", at, res.body)
				}
			}
			w.getWith(path + wellKnown + "/").want(404)
		})
	}
}

// TestAttackD02_HostHeader: nothing that a proxy or a client says of the host
// reaches an answer.
func TestAttackD02_HostHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	paths := []string{
		wellKnown, "/.well-known/oauth-authorization-server", "/jwks",
		"/authorize?" + request("web").Encode(), "/authorize?" + request("web", "prompt", "login").Encode(),
		"/authorize?" + request("web", "prompt", "consent").Encode(), "/authorize?" + request("web", "response_mode", "form_post").Encode(),
		"/authorize?" + request("web", "client_id", "nobody").Encode(), "/login", "/consent", "/logout", "/userinfo", "/token", "/par", "/revoke", "/nowhere",
	}
	for _, h := range [][]string{
		{"Host", "evil.example"}, {"Host", "evil.example:443"}, {"Host", "EVIL.example"}, {"Host", "[::1]:9"}, {"Host", "evil.example."},
		{"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-Proto", "evil"}, {"X-Forwarded-Prefix", "/evil.example"},
		{"Forwarded", "host=evil.example;proto=https"}, {"X-Original-URL", "https://evil.example/"}, {"X-Rewrite-URL", "/evil.example"},
		{"X-Host", "evil.example"}, {"Referer", "https://evil.example/"}, {"Origin", "https://evil.example"},
	} {
		t.Run("D02 "+strings.Join(h, " "), func(t *testing.T) {
			b := b.in(t)
			for _, p := range paths {
				res := b.send("GET", p, "", h...)
				if res.StatusCode >= 500 {
					t.Errorf("%s: status %d", p, res.StatusCode)
				}
				all := strings.ToLower(res.body + fmt.Sprint(res.Header))
				for _, s := range []string{"evil.example", "evil:", "[::1]"} { // "evil" alone may occur in what is random
					if strings.Contains(all, s) {
						t.Errorf("%s: the answer holds %q: %v %.300s", p, s, res.Header, res.body)
					}
				}
				if p == wellKnown && res.StatusCode == 200 && res.str("issuer") != w.issuer {
					t.Errorf("issuer %q", res.str("issuer"))
				}
				for _, c := range res.Cookies() {
					if c.Domain != "" {
						t.Errorf("%s: cookie for domain %q", p, c.Domain)
					}
				}
			}
		})
	}
	// What http.Client does not send: an absolute target, and paths that a mux
	// would clean into another host's URL.
	for _, target := range []string{
		"http://evil.example" + wellKnown, "http://evil.example/authorize?" + request("web").Encode(),
		"//evil.example/authorize", "//evil.example/%2e%2e/authorize", "/.//evil.example/", `/\evil.example/..`, "/%5cevil.example/../",
		"//evil.example/.well-known/../authorize", "///evil.example/..//authorize",
	} {
		t.Run("D02 target "+target, func(t *testing.T) {
			conn, err := net.Dial("tcp", w.srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", target)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			loc := res.Header.Get("Location")
			if res.StatusCode >= 500 || loc != "" && (!strings.HasPrefix(loc, "/") || strings.HasPrefix(loc, "//") || strings.HasPrefix(loc, `/\`)) {
				t.Errorf("status %d, Location %q", res.StatusCode, loc)
			}
		})
	}
}

// jwksMembers are the members that a public key may have.
var jwksMembers = []string{"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}

func TestAttackD04_D05_JWKS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, algs("ES256", "RS256", "PS256", "EdDSA"))
	check := func(t *testing.T, keys int) {
		t.Helper()
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal([]byte(w.in(t).getWith("/jwks").want(200).body), &set); err != nil {
			t.Fatal(err)
		}
		if len(set.Keys) != keys {
			t.Fatalf("%d keys, want %d", len(set.Keys), keys)
		}
		seen := map[string]bool{}
		for _, k := range set.Keys {
			for m := range k {
				if !slices.Contains(jwksMembers, m) {
					t.Errorf("D04: a key has the member %q", m)
				}
			}
			kid, _ := k["kid"].(string)
			if kid == "" || seen[kid] {
				t.Errorf("D05: kid %q is empty or not unique", kid)
			}
			seen[kid] = true
			if k["use"] != "sig" {
				t.Errorf("D05: use %v", k["use"])
			}
			switch k["kty"] {
			case "RSA":
				n, err := base64.RawURLEncoding.DecodeString(k["n"].(string))
				if err != nil || new(big.Int).SetBytes(n).BitLen() < 2048 || k["e"] != "AQAB" {
					t.Errorf("D05: weak RSA key: %d bytes, e %v, %v", len(n), k["e"], err)
				}
			case "EC":
				if k["crv"] != "P-256" {
					t.Errorf("D05: curve %v", k["crv"])
				}
			case "OKP":
				if k["crv"] != "Ed25519" {
					t.Errorf("D05: curve %v", k["crv"])
				}
			default:
				t.Errorf("D04: kty %v", k["kty"])
			}
		}
	}
	t.Run("D04 D05 first keys", func(t *testing.T) { check(t, 4) })
	if err := w.p.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("D04 D05 while rotating", func(t *testing.T) { check(t, 8) })
	w.clock.add(30 * time.Minute)
	t.Run("D04 D05 after the rotation", func(t *testing.T) { check(t, 4) })
}

func TestAttackD_Metadata(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]func(*handlers.Config){
		"defaults":  func(c *handlers.Config) { c.SigningAlgs = nil },
		"all algs":  algs("EdDSA", "PS256", "RS256", "ES256"),
		"with path": func(c *handlers.Config) { c.Issuer += "/a/b" },
		"PAR only":  func(c *handlers.Config) { c.RequirePAR = true },
		"https":     func(c *handlers.Config) { c.Issuer = strings.Replace(c.Issuer, "http:", "https:", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opt)
			m := w.getWith(w.path(wellKnown)).want(200).json()
			list := func(name string) (ss []string) {
				for _, v := range m[name].([]any) {
					ss = append(ss, v.(string))
				}
				return ss
			}
			t.Run("D06 no alg none", func(t *testing.T) {
				for k, v := range m {
					if !strings.Contains(k, "_alg_values") && !strings.Contains(k, "_alg_") {
						continue
					}
					for _, a := range v.([]any) {
						if s := a.(string); strings.EqualFold(s, "none") || strings.HasPrefix(s, "HS") {
							t.Errorf("%s advertises %q", k, s)
						}
					}
				}
				if len(list("id_token_signing_alg_values_supported")) == 0 {
					t.Error("no algorithm for ID tokens")
				}
			})
			t.Run("D07 S256 only", func(t *testing.T) {
				if got := list("code_challenge_methods_supported"); !slices.Equal(got, []string{"S256"}) {
					t.Errorf("methods %v", got)
				}
			})
			t.Run("D08 no implicit, no password", func(t *testing.T) {
				for _, g := range list("grant_types_supported") {
					if g == "implicit" || g == "password" {
						t.Errorf("grant %s", g)
					}
				}
				for _, r := range list("response_types_supported") {
					if strings.Contains(r, "token") {
						t.Errorf("response type %s", r)
					}
				}
			})
			t.Run("D09 iss is announced", func(t *testing.T) {
				if m["authorization_response_iss_parameter_supported"] != true {
					t.Error("not announced")
				}
			})
			t.Run("D15 endpoints are the issuer's", func(t *testing.T) {
				n := 0
				for k, v := range m {
					if !strings.HasSuffix(k, "_endpoint") && k != "jwks_uri" {
						continue
					}
					n++
					u, err := url.Parse(v.(string))
					if err != nil || !strings.HasPrefix(v.(string), w.issuer+"/") || u.Fragment != "" || u.RawQuery != "" || u.User != nil {
						t.Errorf("%s: %v", k, v)
					}
					if res := w.in(t).getWith(u.Path); res.StatusCode == 404 {
						t.Errorf("%s is announced and not served", k)
					}
				}
				if n < 7 {
					t.Errorf("only %d endpoints", n)
				}
			})
		})
	}
}

// TestAttackD11_D12_CORS asks every endpoint from other origins.
func TestAttackD11_D12_CORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.victim("web")
	for _, route := range w.p.Routes() {
		pages := slices.Contains([]string{"authorize", "login", "consent", "end_session"}, route.Name)
		for _, origin := range []string{
			"https://evil.example", "null", w.issuer, spaOrigin, "https://web.example", "https://app.example.evil.example", "http://app.example",
			"https://APP.example", "https://app.example:8443", "https://evil.example, https://app.example", "*",
		} {
			t.Run(route.Name+" "+origin, func(t *testing.T) {
				b := b.in(t)
				for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD"} {
					body := ""
					if method == "POST" {
						body = url.Values{"client_id": {"spa"}, "token": {"x"}, "grant_type": {"authorization_code"}, "code": {"x"}}.Encode()
					}
					target := route.Pattern
					if route.Name == "authorize" && method != "POST" {
						target += "?" + request("web").Encode()
					}
					res := b.send(method, target, body, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
					acao, acac := res.Header.Get("Access-Control-Allow-Origin"), res.Header.Get("Access-Control-Allow-Credentials")
					if acac != "" {
						t.Errorf("D11 %s: credentials are allowed", method)
					}
					switch {
					case pages && acao != "":
						t.Errorf("D12 %s: readable for %q", method, acao)
					case acao != "" && acao != "*" && method != "OPTIONS" && origin != spaOrigin:
						t.Errorf("D11 %s: the answer is readable for %q", method, acao)
					case acao == "null":
						t.Errorf("D11 %s: readable for null", method)
					case res.StatusCode >= 500:
						t.Errorf("%s: status %d", method, res.StatusCode)
					}
				}
			})
		}
	}
}

func TestAttackD14_JSONIsNotSniffed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, tok := w.tokens("web")
	for name, res := range map[string]response{
		"discovery":       w.getWith(wellKnown).want(200),
		"metadata":        w.getWith("/.well-known/oauth-authorization-server").want(200),
		"jwks":            w.getWith("/jwks").want(200),
		"token":           tok,
		"token error":     w.call("/token", url.Values{"grant_type": {"<script>"}, "client_id": {"spa"}}),
		"token client":    w.call("/token", url.Values{"grant_type": {"refresh_token"}}, "Authorization", basic("<script>", "x")),
		"token body":      w.call("/token", nil, "Content-Type", "text/html"),
		"par error":       w.call("/par", url.Values{"client_id": {"<script>"}}),
		"revoke error":    w.call("/revoke", url.Values{"client_id": {"spa"}}),
		"userinfo":        w.userinfo(tok.str("access_token")).want(200),
		"refresh unknown": w.refresh("web", "rt_<script>"),
	} {
		t.Run("D14 "+name, func(t *testing.T) {
			if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options %q", got)
			}
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
			if strings.Contains(res.body, "<script") {
				t.Errorf("the input is echoed: %s", res.body)
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(res.body), &v); err != nil {
				t.Errorf("no JSON object: %s", res.body)
			}
		})
	}
	t.Run("D14 userinfo error", func(t *testing.T) {
		res := w.in(t).userinfo("<script>")
		if ct := res.Header.Get("Content-Type"); res.Header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(ct, "html") || strings.Contains(res.body, "<script") {
			t.Errorf("%v %q", res.Header, res.body)
		}
	})
}

// TestAttackD17_KeyRotationUnderLoad turns the signing keys over while browsers
// sign in and clients refresh at two replicas. A verifier never meets an ID
// token that it cannot verify: not with the JWKS of the other replica just
// after, nor with one that it cached for as long as it was told to, for the
// whole life of the token.
func TestAttackD17_KeyRotationUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		steps   = 140
		step    = 30 * time.Second
		maxAge  = 5 * time.Minute
		perStep = 6 // tokens asked for before the clock moves on
	)
	w := newWorld(t, algs("ES256", "EdDSA"))
	w.clients.change("native", func(c *clientreg.Client) { c.FirstParty = true })
	w.clients.change("spa", func(c *clientreg.Client) {
		c.FirstParty, c.RequirePAR, c.IDTokenSignedResponseAlg = true, false, "EdDSA"
	})
	second, err := handlers.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	replica := w.in(t)
	replica.p, replica.srv = second, newServer(t, second.Handler())
	at := []*world{w, replica}
	if res := w.getWith("/jwks").want(200); res.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Fatalf("JWKS may be cached %q", res.Header.Get("Cache-Control"))
	}

	type made struct {
		kid string
		exp time.Time
	}
	var (
		mu     sync.Mutex
		alive  []made
		turn   sync.RWMutex // the clock stands still while a code is on its way
		tick   = make(chan int)
		wg     sync.WaitGroup
		issued int
	)
	check := func(n int, token string, err error) {
		if err == nil {
			err = verifyID(token, jwksOf(at[(n+1)%2]))
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Errorf("at %s: %v", w.clock.Now().Format(time.TimeOnly), err)
			return
		}
		issued++
		alive = append(alive, made{jwtHeader(t, token)["kid"].(string), time.Unix(int64(claims(t, token)["exp"].(float64)), 0)})
	}
	signIn := func(b *browser, client string) (id, refresh string, err error) {
		turn.RLock()
		defer turn.RUnlock()
		code, err := quickCode(b, client)
		if err != nil {
			return "", "", err
		}
		return quickTokens(b.w, client, url.Values{"grant_type": {"authorization_code"}, "code": {code}})
	}
	for i, client := range []string{"native", "spa"} {
		wg.Go(func() {
			b := at[i].browser()
			for n := range tick {
				id, _, err := signIn(b, client)
				check(n, id, err)
			}
		})
		wg.Go(func() { // refreshes while the clock moves
			_, refresh, err := signIn(w.browser(), client)
			for n := range tick {
				if err != nil {
					check(n, "", err)
					continue
				}
				var id, next string
				id, next, err = quickTokens(at[n%2], client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
				check(n, id, err)
				refresh = next
			}
		})
	}

	type snapshot struct {
		at   time.Time
		kids map[string]bool
	}
	var cached []snapshot
	for i := range steps {
		for n := range at {
			s := snapshot{w.clock.Now(), map[string]bool{}}
			for _, k := range jwksOf(at[n]) {
				s.kids[k.Kid] = true
			}
			cached = append(cached, s)
		}
		switch i % 41 {
		case 0, 1, 20: // one at once after another, and one before the last is active
			if err := at[i%2].p.RotateKeys(t.Context()); err != nil {
				t.Errorf("RotateKeys: %v", err)
			}
		}
		for n := range perStep {
			tick <- i + n
		}
		turn.Lock()
		w.clock.add(step)
		turn.Unlock()

		now := w.clock.Now()
		cached = slices.DeleteFunc(cached, func(s snapshot) bool { return now.Sub(s.at) > maxAge })
		mu.Lock()
		alive = slices.DeleteFunc(alive, func(m made) bool { return !now.Before(m.exp) })
		for _, m := range alive {
			for _, s := range cached { // fetched before the token was made, or after
				if !s.kids[m.kid] {
					t.Errorf("at %s: the key %s of a token until %s is not in the JWKS of %s", now.Format(time.TimeOnly), m.kid,
						m.exp.Format(time.TimeOnly), s.at.Format(time.TimeOnly))
				}
			}
		}
		mu.Unlock()
		if t.Failed() {
			break
		}
	}
	close(tick)
	wg.Wait()
	if n := w.events.count("key.rotated"); issued < steps*perStep/2 || n < 20 {
		t.Errorf("%d tokens, %d keys: too few to tell", issued, n)
	}
	w.clock.add(time.Hour)
	if keys := jwksOf(w); len(keys) != 2 {
		t.Errorf("%d keys are published: old ones do not retire", len(keys))
	}
}

// quickCode signs in as needed and returns a code. It may run in any goroutine.
func quickCode(b *browser, client string) (string, error) {
	fetch := func(method, raw string, form url.Values) (*http.Response, string, error) {
		r, err := http.NewRequest(method, b.w.abs(raw), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, "", err
		}
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return readAll(b.c, r)
	}
	res, body, err := fetch("GET", "/authorize?"+request(client, "scope", "openid offline_access").Encode(), nil)
	if err == nil && strings.HasPrefix(res.Header.Get("Location"), "/login") {
		page := res.Header.Get("Location")
		if _, body, err = fetch("GET", page, nil); err == nil {
			m := csrfField.FindStringSubmatch(body)
			if m == nil {
				return "", fmt.Errorf("no login page: %.200s", body)
			}
			res, body, err = fetch("POST", page, url.Values{"csrf": {m[1]}, "username": {"alice"}, "password": {password}, "do": {"login"}})
		}
	}
	if err != nil {
		return "", err
	}
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil || u.Query().Get("code") == "" {
		return "", fmt.Errorf("no code: status %d, %v, %.200s", res.StatusCode, u, body)
	}
	return u.Query().Get("code"), nil
}

// quickTokens asks the token endpoint. It may run in any goroutine.
func quickTokens(w *world, client string, form url.Values) (id, refresh string, err error) {
	with, header := auth(client)
	for k, v := range form {
		with[k] = v
	}
	if form.Get("grant_type") == "authorization_code" {
		verifier, _ := pkcePair(client)
		with.Set("code_verifier", verifier)
		with.Set("redirect_uri", request(client).Get("redirect_uri"))
	}
	r, err := http.NewRequest("POST", w.abs("/token"), strings.NewReader(with.Encode()))
	if err != nil {
		return "", "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	_, body, err := readAll(w.srv.Client(), r)
	if err != nil {
		return "", "", err
	}
	var t struct {
		ID      string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(body), &t); err != nil || t.ID == "" || t.Refresh == "" {
		return "", "", fmt.Errorf("no tokens: %s", body)
	}
	return t.ID, t.Refresh, nil
}

// jwk is a public key as this test reads it, without the code under test.
type jwk struct{ Kid, Kty, Crv, Alg, X, Y, N, E string }

// jwksOf fetches the keys; nil if that fails, and then nothing verifies.
func jwksOf(w *world) []jwk {
	r, err := http.NewRequest("GET", w.abs("/jwks"), nil)
	if err != nil {
		return nil
	}
	_, body, err := readAll(w.srv.Client(), r)
	if err != nil {
		return nil
	}
	var set struct{ Keys []jwk }
	if json.Unmarshal([]byte(body), &set) != nil {
		return nil
	}
	return set.Keys
}

// verifyID checks the signature of a JWT with the key that its kid names.
func verifyID(token string, keys []jwk) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("no JWT: %q", token)
	}
	dec := func(s string) []byte { b, _ := base64.RawURLEncoding.DecodeString(s); return b }
	var head struct{ Alg, Kid string }
	if err := json.Unmarshal(dec(parts[0]), &head); err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k jwk) bool { return k.Kid == head.Kid && k.Alg == head.Alg })
	if i < 0 {
		return fmt.Errorf("kid %s is not published", head.Kid)
	}
	k, input, sig := keys[i], []byte(parts[0]+"."+parts[1]), dec(parts[2])
	sum := sha256.Sum256(input)
	ok := false
	switch head.Alg {
	case "ES256":
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, dec(k.X), dec(k.Y)))
		if err != nil {
			return err
		}
		ok = len(sig) == 64 && ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case "EdDSA":
		ok = len(dec(k.X)) == ed25519.PublicKeySize && ed25519.Verify(dec(k.X), input, sig)
	case "RS256":
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(dec(k.N)), E: int(new(big.Int).SetBytes(dec(k.E)).Int64())}
		ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	}
	if !ok {
		return fmt.Errorf("the signature by %s is wrong", head.Kid)
	}
	return nil
}
