package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/memory"
)

// options are the flags.
type options struct {
	config, storage, issuer, listen string
}

// config is the file; quickstart.yaml explains every key.
type config struct {
	Issuer         string         `yaml:"issuer"`
	Name           string         `yaml:"name"`
	Listen         string         `yaml:"listen"`
	TLS            tlsFiles       `yaml:"tls"`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	CertHeader     string         `yaml:"client_certificate_header"`
	Storage        string         `yaml:"storage"`
	Password       string         `yaml:"storage_password"`
	SecretFile     string         `yaml:"secret_file"`
	Log            logging        `yaml:"log"`
	Accounts       int            `yaml:"accounts"`
	RequirePAR     bool           `yaml:"require_par"`
	SigningAlgs    []string       `yaml:"signing_algs"`
	ACRValues      []string       `yaml:"acr_values"`
	Features       features       `yaml:"features"`
	Lifetimes      lifetimes      `yaml:"lifetimes"`
	Scopes         []scope        `yaml:"scopes"`
	APIs           []api          `yaml:"apis"`
	Details        []detailType   `yaml:"authorization_details"`
	Clients        yaml.Node      `yaml:"clients"`
	ClientsFile    string         `yaml:"clients_file"`
	Override       map[string]any `yaml:"clients_override"`
	Users          []user         `yaml:"users"`

	place    place
	clients  []clientreg.Client // of both sources
	tls      *tls.Config        // nil: plain HTTP
	warnings []string
}

type tlsFiles struct {
	Cert        string `yaml:"cert"`
	Key         string `yaml:"key"`
	RequestCert bool   `yaml:"request_client_certificates"`
}

type logging struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`

	level slog.Level
}

type features struct {
	EndSession        bool `yaml:"end_session"`
	Account           bool `yaml:"account"`
	DemoAPI           bool `yaml:"demo_api"`
	LogoutEndsOffline bool `yaml:"logout_ends_offline"`
	ClientCredentials bool `yaml:"client_credentials"`
	Introspection     bool `yaml:"introspection"`
	Device            bool `yaml:"device"`
}

type lifetimes struct {
	Code        time.Duration  `yaml:"code"`
	PAR         time.Duration  `yaml:"par"`
	Interaction time.Duration  `yaml:"interaction"`
	Access      time.Duration  `yaml:"access"`
	ID          time.Duration  `yaml:"id"`
	RefreshIdle time.Duration  `yaml:"refresh_idle"`
	Refresh     time.Duration  `yaml:"refresh"`
	Session     time.Duration  `yaml:"session"`
	SessionIdle time.Duration  `yaml:"session_idle"`
	Consent     time.Duration  `yaml:"consent"`
	KeyRotation time.Duration  `yaml:"key_rotation"`
	Grace       *time.Duration `yaml:"grace"` // 0: none
}

type scope struct {
	Name        string   `yaml:"name"`
	Title       string   `yaml:"title"`
	Description string   `yaml:"description"`
	Claims      []string `yaml:"claims"`
}

type api struct {
	Identifier string   `yaml:"identifier"`
	Name       string   `yaml:"name"`
	Scopes     []string `yaml:"scopes"`
	Format     string   `yaml:"format"`
	Clients    []string `yaml:"clients"`
}

// load reads and checks the configuration and tells all mistakes at once.
func load(o options) (*config, error) {
	name, text := "the built-in configuration", defaultConfig
	dir := ""
	if o.config != "" {
		var err error
		if text, err = os.ReadFile(o.config); err != nil {
			return nil, err
		}
		name, dir = o.config, filepath.Dir(o.config)
	}
	cfg := &config{Features: features{EndSession: true, Account: true, DemoAPI: true}}
	d := &decoder{file: name}
	d.document(text, cfg)
	beside := func(file *string) {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	beside(&cfg.TLS.Cert)
	beside(&cfg.TLS.Key)
	beside(&cfg.ClientsFile)
	beside(&cfg.SecretFile)
	if o.issuer != "" {
		cfg.Issuer = o.issuer
	}
	if o.listen != "" {
		cfg.Listen = o.listen
	}
	cfg.checkStorage(d, dir, o.storage)
	cfg.check(d)
	if len(d.mistakes) > 0 {
		slices.SortStableFunc(d.mistakes, byLine)
		return nil, errors.Join(d.mistakes...)
	}
	return cfg, nil
}

func byLine(a, b error) int {
	var x, y *mistake
	if errors.As(a, &x) && errors.As(b, &y) {
		return x.line - y.line
	}
	return 0
}

// check finds what the shape of the file does not show.
func (c *config) check(d *decoder) {
	c.checkListen(d)
	c.checkTLS(d)
	c.checkLog(d)
	c.checkUsers(d)
	c.checkDetails(d)
	c.readClients(d)
	c.checkProvider(d)
}

// checkStorage finds the place. instead is what the flag says.
func (c *config) checkStorage(d *decoder, dir, instead string) {
	from := dir
	if instead != "" {
		c.Storage, from = instead, "" // of the working directory, as in any flag
	}
	if c.Storage == "" {
		c.Storage = "sqlite:idpkit.sqlite"
	}
	password, err := storedPassword(c.Password, dir)
	if err != nil {
		d.fail("storage_password", "%v", err)
	}
	if c.place, err = parsePlace(c.Storage, password, from); err != nil {
		if !d.failed("storage") {
			d.fail("storage", "%v", err)
		}
		return
	}
	switch {
	case c.Password != "" && !c.place.login:
		d.fail("storage_password", "is of no use: only postgres and redis take a password")
	case c.SecretFile == "" && c.place.file != "":
		c.SecretFile = c.place.file + ".secret"
	case c.SecretFile == "" && c.place.kept && !d.failed("secret_file"):
		d.fail("secret_file", "is required, because all replicas need the same: make it once with quickstart make-secret FILE")
	}
}

func (c *config) checkListen(d *decoder) {
	if c.Listen == "" {
		c.Listen = loopbackAddress(c.Issuer)
		if c.Listen == "" && !d.failed("listen") && !d.failed("issuer") && c.Issuer != "" {
			d.fail("listen", "is required, because the issuer's host is not loopback: such as 127.0.0.1:8080 behind a proxy")
		}
		return
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		d.fail("listen", "must be host:port, such as 127.0.0.1:8443")
	}
}

// loopbackAddress is where an issuer on this machine listens, "" for others.
func loopbackAddress(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	host, port := u.Hostname(), u.Port()
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return ""
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(host, port)
}

func (c *config) checkTLS(d *decoder) {
	t := &c.TLS
	switch {
	case t.Cert == "" && t.Key == "":
		if t.RequestCert {
			d.fail("tls.request_client_certificates", "needs cert and key: without TLS there is no certificate to ask for")
		}
		if strings.HasPrefix(c.Issuer, "https:") {
			c.warnings = append(c.warnings, "no tls.cert: a proxy in front must end TLS; list it in trusted_proxies")
		}
		return
	case t.Cert == "" || t.Key == "":
		d.fail("tls", "needs both cert and key")
		return
	case strings.HasPrefix(c.Issuer, "http:"):
		d.fail("tls", "is set, but the issuer is http")
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		d.fail("tls", "%v", err)
		return
	}
	c.tls = &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		// What FAPI 2.0 leaves of TLS 1.2; the suites of TLS 1.3 are all good.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	if t.RequestCert {
		c.tls.ClientAuth = tls.RequestClientCert // self-signed ones come; who needs one verifies it
	}
}

func (c *config) checkLog(d *decoder) {
	switch c.Log.Format {
	case "", "text", "json":
	default:
		d.fail("log.format", "must be text or json")
	}
	if c.Log.Level != "" && c.Log.level.UnmarshalText([]byte(c.Log.Level)) != nil {
		d.fail("log.level", "must be debug, info, warn or error")
	}
}

func (c *config) checkUsers(d *decoder) {
	names, subs := map[string]bool{}, map[string]bool{}
	for i := range c.Users {
		u := &c.Users[i]
		at := fmt.Sprintf("users[%d]", i)
		required(d, at+".username", u.Username)
		if u.Username != "" && names[u.Username] {
			d.fail(at+".username", "is the name of another user as well")
		}
		if u.subject() != "" && subs[u.subject()] && !names[u.Username] {
			d.fail(at+".sub", "belongs to another user already")
		}
		names[u.Username], subs[u.subject()] = true, true
		if len(u.subject()) > 255 {
			d.fail(at+".sub", "must have at most 255 bytes")
		}
		if _, err := parseArgon(u.PasswordHash); err != nil && !d.failed(at+".password_hash") {
			d.fail(at+".password_hash", "%v", err)
		}
		if _, ok := u.Claims["sub"]; ok {
			d.fail(at+".claims.sub", "must stand beside claims, as sub")
		}
	}
	if len(c.Users) == 0 {
		c.warnings = append(c.warnings, "there are no users: nobody can sign in")
	}
}

func (c *config) checkDetails(d *decoder) {
	for i := range c.Details {
		t := &c.Details[i]
		at := fmt.Sprintf("authorization_details[%d]", i)
		required(d, at+".type", t.Name)
		for j := range t.Members {
			m := &t.Members[j]
			in := fmt.Sprintf("%s.members[%d].name", at, j)
			required(d, in, m.Name)
			if m.Name == "type" {
				d.fail(in, "is the type itself")
			}
			if t.member(m.Name) != m {
				d.fail(in, "is there twice")
			}
		}
	}
}

func required(d *decoder, path, value string) {
	if value == "" && !d.failed(path) {
		d.fail(path, "is required")
	}
}

// accountClient is the client_id of the account page's own client.
const accountClient = "account"

// readClients reads the clients of both sources.
func (c *config) readClients(d *decoder) {
	add := func(from *decoder, path string, list []any) {
		for i, item := range list {
			at := fmt.Sprintf("%s[%d]", path, i)
			if from.failed(at) {
				continue
			}
			cl, warnings, err := parseClient(item)
			for _, e := range causes(err) {
				if m := (*clientreg.MetadataError)(nil); errors.As(e, &m) {
					from.fail(at+"."+m.Field, "%s: %s", m.Rule, m.Fix)
				} else {
					from.fail(at, "%v", e)
				}
			}
			for _, w := range warnings {
				in := at + "." + w.Field
				c.warnings = append(c.warnings, (&mistake{from.file, from.line(in), in, w.Message}).Error())
			}
			switch {
			case err != nil:
			case slices.ContainsFunc(c.clients, func(o clientreg.Client) bool { return o.ID == cl.ID }):
				from.fail(at+".client_id", "%q is the id of another client as well", cl.ID)
			case cl.ID == accountClient && c.Features.Account:
				from.fail(at+".client_id", "%q belongs to the account page; take another name or set features.account: false", cl.ID)
			default:
				c.clients = append(c.clients, cl)
			}
		}
	}
	if c.Clients.Kind != 0 {
		if list, ok := d.plain(&c.Clients, "clients").([]any); ok {
			add(d, "clients", list)
		} else if !d.failed("clients") {
			d.fail("clients", "must be a list")
		}
	}
	if c.ClientsFile == "" {
		if len(c.Override) > 0 {
			d.fail("clients_override", "changes the clients of clients_file, which is not set")
		}
		return
	}
	text, err := os.ReadFile(c.ClientsFile)
	if err != nil {
		d.fail("clients_file", "%v", err)
		return
	}
	var doc yaml.Node
	other := &decoder{file: c.ClientsFile}
	other.document(text, &doc)
	if list, ok := other.plain(&doc, "").([]any); ok {
		for _, item := range list {
			if m, ok := item.(map[string]any); ok {
				for k, v := range c.Override {
					m[k] = v
				}
			}
		}
		add(other, "", list)
	} else if len(other.mistakes) == 0 {
		other.fail("", "must be a list of clients")
	}
	d.mistakes = append(d.mistakes, other.mistakes...)
}

// parseClient reads one client in the form of RFC 7591.
func parseClient(item any) (c clientreg.Client, warnings []clientreg.Warning, err error) {
	text, err := json.Marshal([]any{item})
	if err != nil {
		return c, nil, err
	}
	list, warnings, err := clientreg.ParseJSON(text)
	if err != nil {
		return c, nil, err
	}
	return list[0], warnings, nil
}

// causes takes errors.Join apart.
func causes(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range j.Unwrap() {
			all = append(all, causes(e)...)
		}
		return all
	}
	return []error{err}
}

// checkProvider has the kit look at it, and says where its mistakes stand in
// the file.
func (c *config) checkProvider(d *decoder) {
	good := *c
	good.Users = nil // bad hashes are told already
	pc, err := good.provider(memory.New(), [][]byte{newSecret()}, slog.New(slog.DiscardHandler))
	if err != nil {
		d.mistakes = append(d.mistakes, err)
		return
	}
	p, err := handlers.New(pc)
	for i := range c.clients {
		if err != nil {
			break
		}
		if e := p.Serves(&c.clients[i]); e != nil {
			d.mistakes = append(d.mistakes, e)
		}
	}
	told := &decoder{mistakes: d.mistakes}
	for _, e := range causes(err) {
		var ce *handlers.ConfigError
		if !errors.As(e, &ce) {
			d.mistakes = append(d.mistakes, e)
			continue
		}
		if at := yamlPath(ce.Field); !told.failed(at) {
			d.fail(at, "%s. %s [%s]", ce.Rule, ce.Fix, ce.ID)
		}
	}
}

// yamlPath returns where a field of handlers.Config comes from in the file.
func yamlPath(field string) string {
	name, rest := field, ""
	if i := strings.IndexAny(field, ".["); i >= 0 {
		name, rest = field[:i], field[i:]
	}
	top := map[string]string{
		"Issuer": "issuer", "Scopes": "scopes", "APIs": "apis", "Details": "authorization_details",
		"SigningAlgs": "signing_algs", "ACRValues": "acr_values", "Accounts": "accounts", "TTL": "lifetimes", "Users": "users", "Clients": "clients",
	}[name]
	if top == "" {
		return field
	}
	words := map[string]string{
		".RefreshIdle": ".refresh_idle", ".SessionIdle": ".session_idle", ".KeyRotation": ".key_rotation",
	}
	if w, ok := words[rest]; ok {
		return top + w
	}
	if top == "authorization_details" && rest != "" {
		return top + rest + ".type"
	}
	return top + strings.ToLower(rest)
}

// provider makes the kit's configuration. own are clients besides those of the
// configuration.
func (c *config) provider(store storage.Storage, secrets [][]byte, log *slog.Logger, own ...clientreg.Client) (handlers.Config, error) {
	table, err := newUsers(c.Users)
	if err != nil {
		return handlers.Config{}, err
	}
	if len(c.ACRValues) > 0 {
		table.acr = c.ACRValues[0]
	}
	registry, err := clientreg.Static(append(own, c.clients...)...)
	if err != nil {
		return handlers.Config{}, err
	}
	l := c.Lifetimes
	pc := handlers.Config{
		Issuer: c.Issuer, Name: c.Name, Storage: store, Clients: registry, Users: table, Secrets: secrets,
		SigningAlgs: c.SigningAlgs, ACRValues: c.ACRValues, RequirePAR: c.RequirePAR, Accounts: c.Accounts,
		LogoutEndsOffline: c.Features.LogoutEndsOffline, DisableEndSession: !c.Features.EndSession,
		Features: handlers.Features{
			ClientCredentials: c.Features.ClientCredentials, Introspection: c.Features.Introspection, Device: c.Features.Device,
		},
		TTL: handlers.TTL{
			Code: l.Code, PAR: l.PAR, Interaction: l.Interaction, Access: l.Access, ID: l.ID,
			RefreshIdle: l.RefreshIdle, Refresh: l.Refresh, Session: l.Session, SessionIdle: l.SessionIdle,
			Consent: l.Consent, KeyRotation: l.KeyRotation,
		},
		Log: log,
	}
	switch {
	case l.Grace == nil:
	case *l.Grace == 0:
		pc.TTL.Grace = handlers.NoGrace
	default:
		pc.TTL.Grace = *l.Grace
	}
	for _, s := range c.Scopes {
		pc.Scopes = append(pc.Scopes, handlers.Scope(s))
	}
	for _, a := range c.APIs {
		pc.APIs = append(pc.APIs, handlers.API(a))
	}
	for i := range c.Details {
		pc.Details = append(pc.Details, &c.Details[i])
	}
	return pc, nil
}

// newAccountClient makes the client by which the account page signs users in, and
// its secret, which no other process needs to know.
func newAccountClient(issuer, name string) (c clientreg.Client, secret string) {
	secret, hash := clientreg.NewSecret()
	return clientreg.Client{
		ID: accountClient, Name: name, FirstParty: true, RequirePAR: true,
		RedirectURIs: []string{issuer + accountCallback}, Scope: "openid",
		Secrets:                []clientreg.ClientSecret{{Hash: hash}},
		AllowLocalhostRedirect: strings.HasPrefix(issuer, "http:"),
	}, secret
}

// derive makes a key for one purpose.
func derive(secret []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("quickstart: " + purpose))
	return mac.Sum(nil)
}
