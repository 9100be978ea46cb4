package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpkit/idpkit/handlers"
)

// write puts a configuration into a file of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "provider.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const minimal = "issuer: http://localhost:3000\nstorage: memory\n"

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	client := func(members string) string {
		return minimal + "clients:\n  - client_id: a\n    token_endpoint_auth_method: none\n    redirect_uris: [\"https://a.example/cb\"]\n" + members
	}
	hash := hashPassword("secret")
	user := "  - {username: u, password_hash: " + `"` + hash + `"` + "}\n"
	for _, c := range []struct {
		name, text string
		want       []string // what the message holds, after the file's name
	}{
		{"empty", "", []string{": issuer: is required"}},
		{"no yaml", "issuer: [", []string{":1: ", "did not find"}},
		{"client that asks for what is not served", client("    dpop_bound_access_tokens: true\n"), []string{"dpop_bound_access_tokens asks for what this provider does not serve"}},
		{"two documents", minimal + "---\nname: x\n", []string{"one document"}},
		{"a list", "- issuer\n", []string{":1: must be a mapping"}},
		{"unknown key", minimal + "lissten: x\n", []string{":3: lissten: unknown key; known here: issuer, name, listen"}},
		{"unknown key below", minimal + "lifetimes:\n  kode: 60s\n", []string{":4: lifetimes.kode: unknown key"}},
		{"unknown key in a list", minimal + "users:\n" + user + "  - usrname: x\n", []string{":5: users[1].usrname: unknown key", "users[1].username: is required"}},
		{"key twice", minimal + "issuer: http://localhost:4000\n", []string{":3: issuer: is there twice, see line 1"}},
		{"alias", minimal + "name: &x Name\n", []string{":3: name: anchors"}},
		{"number for text", minimal + "name: 12\n", []string{":3: name: must be text"}},
		{"text for bool", minimal + "require_par: yes\n", []string{":3: require_par: must be true or false"}},
		{"text for number", minimal + "accounts: many\n", []string{":3: accounts: must be a whole number"}},
		{"too many accounts", minimal + "accounts: 9\n", []string{":3: accounts: must be between 0 and 8", "[IDP105]"}},
		{"text for list", minimal + "signing_algs: ES256\n", []string{":3: signing_algs: must be a list"}},
		{"bad duration", minimal + "lifetimes:\n  code: 60\n  par: soon\n", []string{":4: lifetimes.code: must be a duration", ":5: lifetimes.par: must be a duration"}},
		{"code too long", minimal + "lifetimes:\n\n  code: 1h\n", []string{":5: lifetimes.code: must be at most 10 minutes", "[IDP140]"}},
		{"negative duration", minimal + "lifetimes:\n  access: -5s\n", []string{":4: lifetimes.access: must not be negative", "[IDP104]"}},
		{"idle beyond life", minimal + "lifetimes:\n  refresh_idle: 100d\n", []string{":4: lifetimes.refresh_idle: ", "[IDP143]"}},
		{"issuer", "issuer: http://idp.example/\nstorage: memory\n", []string{":1: issuer: must use https", "[IDP111]", ":1: issuer: must not end in a slash", "listen: is required"}},
		{"listen", minimal + "listen: localhost\n", []string{":3: listen: must be host:port"}},
		{"tls half", minimal + "tls:\n  cert: a.crt\n", []string{":3: tls: needs both"}},
		{"tls missing", "issuer: https://localhost:3000\ntls:\n  cert: a.crt\n  key: a.key\n", []string{":2: tls: open", "a.crt"}},
		{"client certificates without tls", minimal + "tls:\n  request_client_certificates: true\n", []string{":4: tls.request_client_certificates: needs"}},
		{"proxy", minimal + "trusted_proxies: [10.0.0.0/33]\n", []string{":3: trusted_proxies[0]: must be an address or a prefix"}},
		{"log", minimal + "log: {format: xml, level: loud}\n", []string{":3: log.format: must be text or json", ":3: log.level: must be debug"}},
		{"algorithm", minimal + "signing_algs: [HS256]\n", []string{":3: signing_algs[0]: ", "[IDP103]"}},
		{"scope", minimal + "scopes:\n  - name: a b\n  - name: c\n  - name: c\n", []string{":4: scopes[0].name: ", "[IDP150]", ":6: scopes[2].name: ", "[IDP102]"}},
		{"api", minimal + "apis:\n  - identifier: /relative\n", []string{":4: apis[0].identifier: ", "[IDP151]"}},
		{"api format", minimal + "apis:\n  - identifier: https://a.example\n    format: xml\n", []string{":5: apis[0].format: "}},
		{"detail", minimal + "authorization_details:\n  - title: x\n    members: [{name: type}, {name: a}, {name: a}]\n",
			[]string{":4: authorization_details[0].type: is required", "members[0].name: is the type itself", "members[2].name: is there twice"}},
		{"detail twice", minimal + "authorization_details:\n  - type: x\n  - type: x\n", []string{":5: authorization_details[1].type: ", "[IDP102]"}},
		{"users", minimal + "users:\n" + user + user + "  - username: v\n    sub: u\n    password_hash: wonderland\n    claims: {sub: x}\n",
			[]string{":5: users[1].username: is the name of another user", ":7: users[2].sub: belongs to another", ":8: users[2].password_hash: must be an argon2id hash", ":9: users[2].claims.sub: must stand"}},
		{"weak hash", minimal + "users:\n  - username: v\n    password_hash: $argon2id$v=19$m=16,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA\n", []string{":5: users[0].password_hash: argon2id parameters"}},
		{"clients no list", minimal + "clients: {client_id: a}\n", []string{":3: clients: must be a list"}},
		{"client twice", client("  - client_id: a\n    token_endpoint_auth_method: none\n    redirect_uris: [\"https://b.example/cb\"]\n"),
			[]string{`:7: clients[1].client_id: "a" is the id of another client`}},
		{"client reserved", strings.Replace(client(""), "client_id: a", "client_id: account", 1), []string{`:4: clients[0].client_id: "account" belongs to the account page`}},
		{"client redirect", client("    post_logout_redirect_uris:\n      - https://a.example/#x\n"), []string{":8: clients[0].post_logout_redirect_uris[0]: has a fragment"}},
		{"client secret", minimal + "clients:\n  - client_id: a\n    redirect_uris: [\"https://a.example/cb\"]\n    client_secret: short\n", []string{":6: clients[0].client_secret: is too short"}},
		{"client type", client("    grant_types: authorization_code\n"), []string{":7: clients[0].grant_types: has the wrong type"}},
		{"client duplicate member", client("    client_name: x\n    client_name: y\n"), []string{":8: clients[0].client_name: is there twice"}},
		{"clients file", minimal + "clients_file: nowhere.json\n", []string{":3: clients_file: open", "nowhere.json"}},
		{"override without file", minimal + "clients_override: {allow_no_pkce: true}\n", []string{":3: clients_override: changes the clients of clients_file"}},
		{"all at once", "isuer: x\nissuer: http://localhost:3000\nlifetimes: {par: 1s}\nusers: [{username: 1}]\n",
			[]string{":1: isuer: unknown key", ":3: lifetimes.par: ", "[IDP141]", ":4: users[0].username: must be text"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, c.text)
			_, err := load(options{config: file})
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.ReplaceAll(err.Error(), file, "")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("lacks %q:\n%s", want, got)
				}
			}
		})
	}
}

func TestConfigMistakesOnce(t *testing.T) {
	t.Parallel()
	_, err := load(options{config: write(t, "issuer: [x]\nstorage: memory\nlifetimes: {code: x}\nusers: [{username: a, password_hash: b}]\n")})
	if n := len(causes(err)); n != 3 {
		t.Errorf("%d mistakes, want 3:\n%v", n, err)
	}
}

// The sample is what runs without a file, and every key it shows exists.
func TestSample(t *testing.T) {
	t.Parallel()
	cfg, err := load(options{config: "quickstart.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "localhost:3000" || len(cfg.clients) != 1 || len(cfg.Users) != 2 {
		t.Errorf("listen %q, %d clients, %d users", cfg.Listen, len(cfg.clients), len(cfg.Users))
	}
	c := cfg.clients[0]
	if c.ID != spaClient || !c.Public() || !c.RequirePAR || !slices.Equal(c.RedirectURIs, []string{"https://localhost:4207", "https://localhost:4207/"}) ||
		!slices.Equal(c.RedirectURIs, c.PostLogoutRedirectURIs) || c.Scope != "openid offline_access profile email api" ||
		!slices.Equal(c.AuthorizationDetailsTypes, []string{"account_access"}) || !c.HasGrantType("refresh_token") || len(c.Extra) > 0 {
		t.Errorf("the client is not the one of the reference scenario: %+v", c)
	}
	text, err := os.ReadFile("quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// With every commented-out key switched on, nothing is unknown.
	var on []string
	for _, line := range strings.Split(string(text), "\n") {
		for _, key := range []string{
			"listen:", "trusted_proxies:", "client_certificate_header:", "secret_file:", "signing_algs:", "acr_values:", "apis:", "  - identifier:",
			"    name: Invoices", "    scopes:", "    format:", "    clients:", "clients_override:", "clients_file:",
		} {
			if strings.HasPrefix(line, "# "+key) {
				line = line[2:]
			}
		}
		for _, key := range []string{"description:", "claims:", "disabled:"} {
			if at := strings.Index(line, "# "+key); at >= 0 {
				line = line[:at] + line[at+2:]
			}
		}
		on = append(on, line)
	}
	file := write(t, strings.Join(on, "\n"))
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "clients.json"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	full, err := load(options{config: file})
	if err != nil {
		t.Fatal(err)
	}
	if len(full.APIs) != 1 || full.APIs[0].Format != "jwt" || len(full.APIs[0].Clients) != 1 || full.CertHeader == "" || len(full.TrustedProxies) != 2 || !full.Users[1].Disabled || full.Scopes[0].Description == "" || len(full.Override) != 1 {
		t.Errorf("the test did not switch every key on: %+v", full)
	}
}

// The lifetimes that the sample names are the kit's defaults, as it says.
func TestSampleLifetimes(t *testing.T) {
	t.Parallel()
	cfg, err := load(options{config: "quickstart.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	l, day := cfg.Lifetimes, 24*time.Hour
	for name, d := range map[string][2]time.Duration{
		"code": {l.Code, time.Minute}, "par": {l.PAR, time.Minute}, "interaction": {l.Interaction, 30 * time.Minute},
		"access": {l.Access, 10 * time.Minute}, "id": {l.ID, 10 * time.Minute}, "refresh_idle": {l.RefreshIdle, 14 * day}, "refresh": {l.Refresh, 90 * day},
		"session": {l.Session, 14 * day}, "session_idle": {l.SessionIdle, day}, "consent": {l.Consent, 365 * day}, "key_rotation": {l.KeyRotation, 90 * day},
		"grace": {*l.Grace, time.Minute},
	} {
		if d[0] != d[1] {
			t.Errorf("%s: %v, want %v", name, d[0], d[1])
		}
	}
}

func TestConfigValues(t *testing.T) {
	t.Parallel()
	file := write(t, `{
	"issuer": "https://idp.example/tenant", "listen": "0.0.0.0:8443", "storage": "sqlite:data/x.sqlite", "clients_file": "more.json",
	"clients_override": {"allow_no_pkce": true, "grant_types": ["authorization_code"], "response_types": ["code"]},
	"trusted_proxies": ["10.0.0.0/8", "::1"], "lifetimes": {"grace": "0s", "refresh": "30d"}, "log": {"format": "json", "level": "warn"},
	"features": {"account": false, "client_credentials": true, "introspection": true, "device": true},
	"apis": [{"identifier": "https://api.example/", "format": "jwt", "clients": ["account"]}],
	"clients": [{"client_id": "account", "token_endpoint_auth_method": "none", "redirect_uris": ["https://a.example/cb"], "for": "fapi"}]
}`)
	more := `[{"client_id": "m", "client_secret": "0123456789abcdef", "redirect_uris": ["https://m.example/cb"], "grant_types": ["implicit"], "response_types": ["id_token"]}]`
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "more.json"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(options{config: file})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	if cfg.place.file != filepath.Join(dir, "data/x.sqlite") || cfg.SecretFile != cfg.place.file+".secret" {
		t.Errorf("database %s, secret %s", cfg.place.file, cfg.SecretFile)
	}
	if len(cfg.clients) != 2 || !cfg.clients[1].AllowNoPKCE || !cfg.clients[1].HasGrantType("authorization_code") || cfg.clients[0].AllowNoPKCE {
		t.Errorf("clients: %+v", cfg.clients)
	}
	if !slices.ContainsFunc(cfg.warnings, func(w string) bool { return strings.Contains(w, "provider.yaml:7: clients[0].for: ") }) {
		t.Errorf("no warning about the member for: %q", cfg.warnings)
	}
	pc, err := cfg.provider(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if pc.TTL.Grace != handlers.NoGrace || pc.TTL.Refresh != 30*24*time.Hour {
		t.Errorf("lifetimes: %+v", pc.TTL)
	}
	if pc.Features != (handlers.Features{ClientCredentials: true, Introspection: true, Device: true}) {
		t.Errorf("features: %+v", pc.Features)
	}
	if len(pc.APIs) != 1 || pc.APIs[0].Format != "jwt" || !slices.Equal(pc.APIs[0].Clients, []string{"account"}) {
		t.Errorf("APIs: %+v", pc.APIs)
	}
	if len(cfg.TrustedProxies) != 2 || cfg.TrustedProxies[1].String() != "::1/128" {
		t.Errorf("proxies: %v", cfg.TrustedProxies)
	}

	flagged, err := load(options{config: file, storage: "sqlite:y.sqlite", issuer: "http://127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	if flagged.place.file != "y.sqlite" || flagged.SecretFile != "y.sqlite.secret" || flagged.Issuer != "http://127.0.0.1:9" {
		t.Errorf("flags: %s %s %s", flagged.place.file, flagged.SecretFile, flagged.Issuer)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	file := write(t, "issuer: https://localhost:3000\nstorage: memory\ntls: {cert: server.crt, key: server.key, request_client_certificates: true}\n")
	makeCert(t, filepath.Join(filepath.Dir(file), "server"))
	cfg, err := load(options{config: file})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.tls.MinVersion != tls.VersionTLS12 || cfg.tls.ClientAuth != tls.RequestClientCert || len(cfg.tls.CipherSuites) != 6 {
		t.Errorf("%+v", cfg.tls)
	}
	for _, id := range cfg.tls.CipherSuites {
		if name := tls.CipherSuiteName(id); !strings.Contains(name, "ECDHE") || !strings.Contains(name, "GCM") && !strings.Contains(name, "CHACHA20") {
			t.Errorf("suite %s", name)
		}
	}
	if _, err := load(options{config: file, issuer: "http://localhost:3000"}); err == nil || !strings.Contains(err.Error(), "the issuer is http") {
		t.Errorf("TLS under an http issuer: %v", err)
	}
}

// makeCert writes a certificate for localhost that signs itself.
func makeCert(t testing.TB, base string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(base+name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
