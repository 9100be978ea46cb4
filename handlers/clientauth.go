package handlers

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/internal/form"
	"github.com/idpkit/idpkit/internal/secret"
)

// credentials are what a request says of its client. RFC 6749 §2.3.
type credentials struct {
	method    string   // client_secret_basic, client_secret_post, private_key_jwt or none
	ids       []string // candidates, best first
	secret    []string // candidates, the same order
	assertion string   // of private_key_jwt
}

const maxSecret = 1 << 10 // bytes of a presented secret

// authenticate finds and authenticates the client of a request with a form
// body, and lets its origins read the answer. Clients authenticate with the
// one method they are registered for.
func (p *Provider) authenticate(w http.ResponseWriter, r *http.Request, f form.Form) (*clientreg.Client, error) {
	cred, err := readCredentials(r, f)
	if err != nil {
		return nil, err
	}
	c, err := p.checkCredentials(r.Context(), w, r, cred)
	if err != nil {
		if e := toError(err); e.Code == "invalid_client" {
			failed := Event{Name: "client.auth_failed", Reason: e.Reason}
			if e.Reason != "client.unknown" { // then it may be a secret in the wrong place
				failed.ClientID = printable(cred.ids[0])
			}
			p.emit(r.Context(), r, failed)
			if wait := p.limit(r, "client", cred.ids[0]); wait > 0 {
				return nil, tooMany(wait)
			}
		}
		return nil, err
	}
	return c, nil
}

func (p *Provider) checkCredentials(ctx context.Context, w http.ResponseWriter, r *http.Request, cred credentials) (*clientreg.Client, error) {
	var c *clientreg.Client
	var err error
	for _, id := range cred.ids {
		if c, err = p.client(ctx, id); err == nil || toError(err).Reason != "client.unknown" {
			break
		}
	}
	if err != nil {
		if len(cred.secret) > 0 && toError(err).Code == "invalid_client" {
			// An unknown client takes as long as a wrong secret, and what costs that
			// much is bounded whatever names are made up.
			if wait := p.limit(r, "stranger", ""); wait > 0 {
				return nil, tooMany(wait)
			}
			p.secrets.Dummy(ctx, cred.secret[0])
		}
		return nil, err
	}
	allowOrigin(w, r, c)
	switch {
	case c.AuthMethod() != cred.method && cred.method == "none":
		return nil, refuse("client.missing", nil)
	case c.AuthMethod() != cred.method:
		return nil, refuse("client.method", nil)
	case cred.method == "none":
		return c, nil
	case cred.method == "private_key_jwt":
		return c, p.checkAssertion(ctx, r, c, cred.assertion)
	}
	return c, p.checkSecret(ctx, r, c, cred)
}

// checkSecret asks the registry if it keeps secrets itself, and else compares
// with every secret of the client that has not expired. Where the secret could
// be guessed, guesses are held back before they are judged.
func (p *Provider) checkSecret(ctx context.Context, r *http.Request, c *clientreg.Client, cred credentials) error {
	if v, ok := p.clients.(clientreg.SecretVerifier); ok {
		err := verifyElsewhere(ctx, v, c, cred)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if slices.ContainsFunc(c.Secrets, func(s clientreg.ClientSecret) bool { return s.Hash != "" && secret.Chosen(s.Hash) }) {
		if wait := p.limit(r, "secret", c.ID); wait > 0 {
			return tooMany(wait)
		}
		err := p.compareSecrets(ctx, c, cred)
		if err == nil {
			p.uncount(r, "secret", c.ID)
		}
		return err
	}
	return p.compareSecrets(ctx, c, cred)
}

func verifyElsewhere(ctx context.Context, v clientreg.SecretVerifier, c *clientreg.Client, cred credentials) error {
	for _, presented := range cred.secret {
		ok, err := v.VerifySecret(ctx, c, presented)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return err
		case err != nil:
			return refuse("registry.outage", err)
		case ok:
			return nil
		}
	}
	return refuse("client.secret", nil)
}

func (p *Provider) compareSecrets(ctx context.Context, c *clientreg.Client, cred credentials) error {
	expired := false
	for _, s := range c.Secrets {
		if s.Hash == "" {
			continue
		}
		for _, presented := range cred.secret {
			if len(presented) > maxSecret {
				continue
			}
			ok, err := p.secrets.Verify(ctx, s.Hash, presented)
			if isOutage(err) {
				return refuse("server.busy", err) // no turn came up in time
			}
			if err != nil {
				return err
			}
			if ok && (s.Expires.IsZero() || p.now().Before(s.Expires)) {
				return nil
			}
			expired = expired || ok
		}
	}
	if expired {
		return refuse("client.secret_expired", nil)
	}
	return refuse("client.secret", nil)
}

// readCredentials reads the one way in which a request authenticates.
func readCredentials(r *http.Request, f form.Form) (credentials, error) {
	id, secret := f.Get("client_id"), f.Get("client_secret")
	switch hs := r.Header["Authorization"]; {
	case len(hs) > 1:
		return credentials{}, refuse("client.several", nil)
	case len(hs) == 1:
		if secret != "" || f.Get("client_assertion") != "" || f.Get("client_assertion_type") != "" {
			return credentials{}, refuse("client.several", nil)
		}
		cred, err := parseBasic(hs[0])
		if err != nil {
			return credentials{}, err
		}
		if id != "" {
			cred.ids, cred.secret = matching(cred, id)
			if len(cred.ids) == 0 {
				return credentials{}, refuse("client.mismatch", nil)
			}
		}
		return cred, nil
	case f.Get("client_assertion") != "" || f.Get("client_assertion_type") != "":
		if secret != "" {
			return credentials{}, refuse("client.several", nil)
		}
		return readAssertion(f)
	case id == "":
		return credentials{}, refuse("client.missing", nil)
	case secret != "":
		return credentials{method: "client_secret_post", ids: []string{id}, secret: []string{secret}}, nil
	}
	return credentials{method: "none", ids: []string{id}}, nil
}

// parseBasic reads HTTP Basic credentials. RFC 6749 §2.3.1 wants id and secret
// form-encoded inside; many clients send them raw. Both readings are tried.
func parseBasic(h string) (credentials, error) {
	scheme, param, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return credentials{}, refuse("client.method", nil)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(param, " "))
	if err != nil || !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0) || len(raw) > 4*maxSecret {
		return credentials{}, refuse("client.credentials", nil)
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	if !ok || id == "" {
		return credentials{}, refuse("client.credentials", nil)
	}
	if secret == "" {
		return credentials{}, refuse("client.secret", nil)
	}
	c := credentials{method: "client_secret_basic", ids: []string{id}, secret: []string{secret}}
	decodedID, err1 := url.QueryUnescape(id)
	decodedSecret, err2 := url.QueryUnescape(secret)
	if err1 == nil && err2 == nil && (decodedID != id || decodedSecret != secret) && decodedID != "" {
		c.ids, c.secret = append(c.ids, decodedID), append(c.secret, decodedSecret)
	}
	return c, nil
}

// matching keeps the reading of Basic credentials that agrees with client_id.
func matching(c credentials, id string) (ids, secrets []string) {
	for n, candidate := range c.ids {
		if candidate == id {
			ids, secrets = append(ids, candidate), append(secrets, c.secret[n])
		}
	}
	return ids, secrets
}

// printable cuts an unauthenticated value down to what may stand in a log.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
