package handlers

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/idpkit/idpkit/internal/check"
)

// ConfigError is one mistake in a Config.
type ConfigError struct {
	ID    string // stable, explained in the package's documentation: IDP101
	Field string // "Secrets[0]"
	Rule  string // what holds: "must be at least 32 bytes"
	Fix   string // what to do
}

// Error says all four on one line.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("config: %s: %s. %s [%s]", e.Field, e.Rule, e.Fix, e.ID)
}

// configRules is the catalogue of configuration mistakes.
var configRules = map[string]struct{ rule, fix string }{
	"IDP100": {"is required", "Set it."},
	"IDP101": {"must hold at least 32 bytes of random", "Make one: openssl rand -base64 32, and decode it."},
	"IDP102": {"must not repeat an entry", "Remove the second one."},
	"IDP103": {"is not one of the allowed values", "Use one of the values in the field's documentation."},
	"IDP104": {"must not be negative", "Leave it zero for the default."},
	"IDP105": {"must be between 0 and 8", "0 or 1 is one account at a browser; more are kept in its cookie."},

	"IDP110": {"must be an absolute URL", "Write it with scheme and host: https://id.example."},
	"IDP111": {"must use https", "Use https; http is allowed on a loopback host only, for development."},
	"IDP112": {"must have no query, fragment or user-info", "Leave these parts out. RFC 8414 §2."},
	"IDP113": {"must not end in a slash", "Remove the slash: clients compare the issuer byte by byte."},
	"IDP114": {"must be in normal form: lower-case scheme and host, no default port, a clean path", "Write the URL as browsers send it."},

	"IDP120": {"Users is no PasswordVerifier, so the built-in login page cannot work", "Implement VerifyPassword on Users, or set LoginURL."},
	"IDP121": {"must be a path or a URL of the issuer's origin", "Serve the sign-in page on the issuer's host: its cookies do not travel elsewhere."},
	"IDP122": {"Users is a SessionSource but no SessionEnder, so logout could not end the session", "Implement EndLogin on Users, or set DisableEndSession."},
	"IDP123": {"Users is a SessionSource, so the application must have a sign-in page", "Set LoginURL."},

	"IDP130": {"must begin with a slash, without a trailing one and without dot segments, '{' or '?'", "Write it like /token."},
	"IDP131": {"is used by two endpoints", "Give each endpoint a path of its own."},

	"IDP140": {"must be at most 10 minutes", "An authorization code lives for a minute; RFC 6749 §4.1.2 allows ten."},
	"IDP141": {"must be between 5 and 600 seconds", "RFC 9126 §2.2 wants a short life; 60 s is the default."},
	"IDP142": {"must be at most 24 hours", "Keep access tokens short and refresh them."},
	"IDP143": {"must not exceed the absolute lifetime", "Lower the idle lifetime or raise the absolute one."},
	"IDP144": {"must be at most 10 minutes", "A longer grace lets a stolen refresh token work for longer."},
	"IDP145": {"must be at least one hour", "Keys are published ten minutes before use; rotate daily at most."},
	"IDP146": {"must be whole seconds", "Lifetimes are told to clients in seconds: write 600*time.Second, not 600."},
	"IDP147": {"must be between 1 and 30 minutes", "A device code lives for ten minutes; RFC 8628 §5.1 wants little time to guess."},

	"IDP150": {"is not a scope token", "Use printable ASCII without blanks, quotes or backslashes. RFC 6749 §3.3."},
	"IDP151": {"must be an absolute URI without fragment", "RFC 8707 §2."},
	"IDP152": {"has an empty type", "Return the type member's value from Type."},

	"IDP160": {"has no algorithm, or one that the kit cannot use", "Give keys for ES256, RS256, PS256 or EdDSA."},
}

// configCheck collects mistakes.
type configCheck struct{ errs []error }

func (c *configCheck) add(id, field string) {
	r := configRules[id]
	c.errs = append(c.errs, &ConfigError{id, field, r.rule, r.fix})
}

func (c *configCheck) demand(ok bool, id, field string) {
	if !ok {
		c.add(id, field)
	}
}

// check finds every mistake. It is called after setDefaults.
func (c *Config) check() error {
	var k configCheck
	for _, v := range check.Struct(c) {
		if v.Field == "Accounts" {
			k.add("IDP105", v.Field)
			continue
		}
		switch v.Tag {
		case "required":
			k.add("IDP100", v.Field)
		case "min":
			if strings.HasPrefix(v.Field, "Secrets[") {
				k.add("IDP101", v.Field)
			} else if v.Field == "Secrets" {
				k.add("IDP100", v.Field)
			} else {
				k.add("IDP104", v.Field)
			}
		default:
			k.add("IDP103", v.Field)
		}
	}
	c.checkSecrets(&k)
	issuer := c.checkIssuer(&k)
	c.checkLogin(&k, issuer)
	c.checkPaths(&k)
	c.checkTTL(&k)
	c.checkNames(&k)
	return errors.Join(k.errs...)
}

func (c *Config) checkSecrets(k *configCheck) {
	for i, s := range c.Secrets {
		for j := range i {
			k.demand(string(s) != string(c.Secrets[j]), "IDP102", fmt.Sprintf("Secrets[%d]", i))
		}
		if len(s) >= 32 && oneByte(s) {
			k.add("IDP101", fmt.Sprintf("Secrets[%d]", i))
		}
	}
}

// oneByte tells whether s is a byte repeated: forgotten, not drawn.
func oneByte(s []byte) bool {
	return !slices.ContainsFunc(s, func(b byte) bool { return b != s[0] })
}

func (c *Config) checkIssuer(k *configCheck) *url.URL {
	if c.Issuer == "" {
		return nil
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		k.add("IDP110", "Issuer")
		return nil
	}
	k.demand(u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()), "IDP111", "Issuer")
	k.demand(u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.User == nil && !strings.Contains(c.Issuer, "#"), "IDP112", "Issuer")
	k.demand(!strings.HasSuffix(c.Issuer, "/"), "IDP113", "Issuer")
	written, _, _ := strings.Cut(c.Issuer, "?")
	written, _, _ = strings.Cut(written, "#")
	if u.User == nil && strings.TrimRight(written, "/") != normalIssuer(u) {
		k.add("IDP114", "Issuer")
	}
	return u
}

// normalIssuer writes scheme, host and path in the one form that browsers send.
// A path that has none gives "".
func normalIssuer(u *url.URL) string {
	host, port, path := strings.ToLower(u.Hostname()), u.Port(), strings.TrimRight(u.EscapedPath(), "/")
	if path != "" && !validPath(path) {
		return ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host + path
}

// loopback tells whether a host is this machine.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (c *Config) checkLogin(k *configCheck, issuer *url.URL) {
	if c.LoginURL != "" && issuer != nil {
		k.demand(sameOrigin(issuer, c.LoginURL), "IDP121", "LoginURL")
	}
	if c.RegisterURL != "" && issuer != nil {
		k.demand(sameOrigin(issuer, c.RegisterURL), "IDP121", "RegisterURL")
	}
	if c.Users == nil {
		return
	}
	_, verifies := c.Users.(PasswordVerifier)
	_, host := c.Users.(SessionSource)
	_, ends := c.Users.(SessionEnder)
	switch {
	case host && c.LoginURL == "":
		k.add("IDP123", "LoginURL")
	case c.LoginURL == "" && !verifies:
		k.add("IDP120", "Users")
	}
	if host && !ends && !c.DisableEndSession {
		k.add("IDP122", "Users")
	}
}

func (c *Config) checkPaths(k *configCheck) {
	p := &c.Paths
	all := []struct{ field, path string }{
		{"Paths.Authorize", p.Authorize}, {"Paths.PAR", p.PAR}, {"Paths.Token", p.Token}, {"Paths.UserInfo", p.UserInfo},
		{"Paths.JWKS", p.JWKS}, {"Paths.Revoke", p.Revoke}, {"Paths.Introspect", p.Introspect}, {"Paths.EndSession", p.EndSession},
		{"Paths.Login", p.Login}, {"Paths.Consent", p.Consent}, {"Paths.DeviceAuthorization", p.DeviceAuthorization}, {"Paths.Device", p.Device},
		{"Paths.Account", p.Account},
	}
	for i, e := range all {
		if !validPath(e.path) {
			k.add("IDP130", e.field)
		}
		for _, o := range all[:i] {
			k.demand(o.path != e.path, "IDP131", e.field)
		}
	}
}

func validPath(s string) bool {
	if !strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.Contains(s, "//") || strings.HasPrefix(s, "/.well-known/") {
		return false
	}
	for _, seg := range strings.Split(s[1:], "/") {
		if seg == "." || seg == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/-._~", r))
	})
}

func (c *Config) checkTTL(k *configCheck) {
	t := &c.TTL
	all := []struct {
		field string
		d     time.Duration
	}{
		{"TTL.Code", t.Code}, {"TTL.PAR", t.PAR}, {"TTL.Interaction", t.Interaction}, {"TTL.Access", t.Access}, {"TTL.ID", t.ID},
		{"TTL.RefreshIdle", t.RefreshIdle}, {"TTL.Refresh", t.Refresh}, {"TTL.Session", t.Session}, {"TTL.SessionIdle", t.SessionIdle},
		{"TTL.Consent", t.Consent}, {"TTL.KeyRotation", t.KeyRotation}, {"TTL.Grace", t.Grace}, {"TTL.Device", t.Device},
	}
	for _, e := range all {
		if e.d < 0 {
			k.add("IDP104", e.field)
		} else if e.d%time.Second != 0 {
			k.add("IDP146", e.field)
		}
	}
	k.demand(t.Code <= 10*time.Minute, "IDP140", "TTL.Code")
	k.demand(t.PAR < 0 || t.PAR >= 5*time.Second && t.PAR <= 600*time.Second, "IDP141", "TTL.PAR")
	k.demand(t.Access <= 24*time.Hour, "IDP142", "TTL.Access")
	k.demand(t.ID <= 24*time.Hour, "IDP142", "TTL.ID")
	k.demand(t.RefreshIdle <= t.Refresh, "IDP143", "TTL.RefreshIdle")
	k.demand(t.SessionIdle <= t.Session, "IDP143", "TTL.SessionIdle")
	k.demand(t.Grace <= 10*time.Minute, "IDP144", "TTL.Grace")
	k.demand(t.KeyRotation < 0 || t.KeyRotation >= time.Hour, "IDP145", "TTL.KeyRotation")
	k.demand(t.Device < 0 || t.Device >= time.Minute && t.Device <= 30*time.Minute, "IDP147", "TTL.Device")
}

func (c *Config) checkNames(k *configCheck) {
	for i, s := range c.Scopes {
		field := fmt.Sprintf("Scopes[%d].Name", i)
		if s.Name != "" {
			k.demand(validScope(s.Name), "IDP150", field)
		}
		k.demand(!slices.ContainsFunc(c.Scopes[:i], func(o Scope) bool { return o.Name == s.Name }), "IDP102", field)
	}
	for i, a := range c.APIs {
		field := fmt.Sprintf("APIs[%d].Identifier", i)
		if a.Identifier != "" {
			u, err := url.Parse(a.Identifier)
			k.demand(err == nil && u.IsAbs() && !strings.Contains(a.Identifier, "#"), "IDP151", field)
		}
		k.demand(!slices.ContainsFunc(c.APIs[:i], func(o API) bool { return o.Identifier == a.Identifier }), "IDP102", field)
	}
	for i, d := range c.Details {
		field := fmt.Sprintf("Details[%d]", i)
		if d == nil || d.Type() == "" {
			k.add("IDP152", field)
			continue
		}
		k.demand(!slices.ContainsFunc(c.Details[:i], func(o DetailType) bool { return o != nil && o.Type() == d.Type() }), "IDP102", field)
	}
	for i, a := range c.SigningAlgs {
		k.demand(!slices.Contains(c.SigningAlgs[:i], a), "IDP102", fmt.Sprintf("SigningAlgs[%d]", i))
	}
	if c.Keys != nil {
		algs := c.Keys.Algorithms()
		k.demand(len(algs) > 0 && !slices.ContainsFunc(algs, func(a string) bool { return !usableAlg(a) }), "IDP160", "Keys")
	}
}

func usableAlg(alg string) bool {
	return slices.Contains([]string{"ES256", "RS256", "PS256", "EdDSA"}, alg)
}
