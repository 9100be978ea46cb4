package clientreg

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/idpkit/idpkit/internal/strictjson"
)

// ParseJSON reads clients from a file: an array of documents with the members
// of Client. Each is validated; all mistakes of all clients are reported at
// once, as *MetadataError, and no client is returned. The warnings are those of
// Lint, unknown members among them.
//
// A client_secret in clear is hashed as HashSecret does; what it refuses is a
// mistake here. client_secret_expires_at (seconds since 1970, 0: never) belongs
// to it. Better keep only hashes in the file, in the member secrets.
func ParseJSON(data []byte) ([]Client, []Warning, error) {
	var docs []json.RawMessage
	if err := strictjson.Unmarshal(data, &docs, MaxDepth+1); err != nil {
		return nil, nil, fmt.Errorf("clientreg: not an array of clients: %w", err)
	}
	if docs == nil {
		return nil, nil, errors.New("clientreg: null is not an array of clients")
	}
	var (
		clients  = make([]Client, len(docs))
		seen     = map[string]bool{}
		warnings []Warning
		errs     []error
	)
	for i, doc := range docs {
		c := &clients[i]
		m := parseClient(c, doc, i)
		if c.ID != "" && seen[c.ID] {
			m.add("client_id", "is another client's too", "give each client an id of its own")
		}
		seen[c.ID] = true
		errs = append(errs, m.errs...)
		warnings = append(append(warnings, Lint(c)...), dropped(c, doc)...)
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	return clients, warnings, nil
}

// dropped warns of members that UnmarshalJSON does not keep.
func dropped(c *Client, doc json.RawMessage) (found []Warning) {
	var members map[string]json.RawMessage
	json.Unmarshal(doc, &members) // was read before
	for name := range sorted(members) {
		switch name {
		case "registration_access_token", "registration_client_uri", "software_statement":
			found = append(found, Warning{c.ID, name, "belongs to a request or answer of registration; it is not kept"})
		}
	}
	return found
}

func parseClient(c *Client, doc json.RawMessage, index int) *mistakes {
	var members map[string]json.RawMessage
	m := &mistakes{}
	if json.Unmarshal(doc, &members) != nil || json.Unmarshal(members["client_id"], &m.client) != nil || m.client == "" {
		m.client = fmt.Sprintf("#%d", index+1)
	}
	if err := c.UnmarshalJSON(doc); err != nil {
		m.take(err)
		return m
	}
	m.secret(c, doc)
	badSecret := len(m.errs) > 0
	m.take(c.Validate())
	if badSecret { // that there is no other one is no news
		m.errs = slices.DeleteFunc(m.errs, func(err error) bool {
			e := (*MetadataError)(nil)
			return errors.As(err, &e) && e.Field == "secrets" && e.Rule == "is missing"
		})
	}
	return m
}

// take adds what another check found.
func (m *mistakes) take(err error) {
	if err == nil {
		return
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		if e := (*MetadataError)(nil); errors.As(err, &e) {
			m.add(e.Field, e.Rule, e.Fix)
		} else {
			m.add("document", "cannot be read: "+err.Error(), "give a JSON object as in RFC 7591 §2, nested at most 16 deep, no member twice")
		}
	}
}

// secret hashes a client_secret in clear.
func (m *mistakes) secret(c *Client, doc json.RawMessage) {
	var clear struct {
		Secret  *string `json:"client_secret"`
		Expires int64   `json:"client_secret_expires_at"`
	}
	switch err := json.Unmarshal(doc, &clear); {
	case err != nil:
		m.add("client_secret", "or client_secret_expires_at has the wrong type", "give a string, and a number of seconds since 1970")
		return
	case clear.Secret == nil && clear.Expires != 0:
		m.add("client_secret_expires_at", "stands without client_secret", "give expires in the member secrets")
		return
	case clear.Secret == nil:
		return
	case c.AuthMethod() == "client_secret_jwt":
		m.add("client_secret", "is in clear, and client_secret_jwt needs a sealed one", "use private_key_jwt, or let the client register itself")
		return
	}
	hash, err := HashSecret(*clear.Secret)
	if err != nil {
		m.add("client_secret", "is too short or too long", fmt.Sprintf("use %d to 1024 bytes, best a generated secret (NewSecret)", MinSecret))
		return
	}
	s := ClientSecret{Hash: hash}
	if clear.Expires != 0 {
		s.Expires = time.Unix(clear.Expires, 0).UTC()
	}
	c.Secrets = append(c.Secrets, s)
}
