package handlers

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/idpkit/idpkit/internal/jose"
)

// metadata is OpenID Connect Discovery §3 and RFC 8414 §2, in their order. It
// is computed from what is served and cannot promise anything else.
type metadata struct {
	Issuer                   string   `json:"issuer"`
	AuthorizationEndpoint    string   `json:"authorization_endpoint"`
	TokenEndpoint            string   `json:"token_endpoint"`
	UserInfoEndpoint         string   `json:"userinfo_endpoint"`
	JWKSURI                  string   `json:"jwks_uri"`
	PAREndpoint              string   `json:"pushed_authorization_request_endpoint"`
	RequirePAR               bool     `json:"require_pushed_authorization_requests,omitempty"`
	RevocationEndpoint       string   `json:"revocation_endpoint"`
	IntrospectionEndpoint    string   `json:"introspection_endpoint,omitempty"`
	EndSessionEndpoint       string   `json:"end_session_endpoint,omitempty"`
	DeviceEndpoint           string   `json:"device_authorization_endpoint,omitempty"` // RFC 8628 §4
	Scopes                   []string `json:"scopes_supported"`
	ResponseTypes            []string `json:"response_types_supported"`
	ResponseModes            []string `json:"response_modes_supported"`
	GrantTypes               []string `json:"grant_types_supported"`
	ACRValues                []string `json:"acr_values_supported,omitempty"`
	SubjectTypes             []string `json:"subject_types_supported"`
	IDTokenAlgs              []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	Challenges               []string `json:"code_challenge_methods_supported"`
	PromptValues             []string `json:"prompt_values_supported"`
	ClaimTypes               []string `json:"claim_types_supported"`
	Claims                   []string `json:"claims_supported"`
	UILocales                []string `json:"ui_locales_supported"`
	AuthorizationDetailTypes []string `json:"authorization_details_types_supported,omitempty"`
	ClaimsParameter          bool     `json:"claims_parameter_supported"`
	RequestParameter         bool     `json:"request_parameter_supported"`
	RequestURIParameter      bool     `json:"request_uri_parameter_supported"`
	IssParameter             bool     `json:"authorization_response_iss_parameter_supported"`
}

// Discovery serves the provider's metadata: OpenID Connect Discovery §4,
// RFC 8414 §3.
func (p *Provider) Discovery() http.Handler {
	body, err := json.Marshal(p.metadata())
	doc := newDocument(body, time.Hour)
	return p.document("discovery", true, func(*http.Request) (*document, error) { return doc, err })
}

func (p *Provider) metadata() metadata {
	paths := &p.cfg.Paths
	authMethods := []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}
	m := metadata{
		Issuer:                p.cfg.Issuer,
		AuthorizationEndpoint: p.url(paths.Authorize),
		TokenEndpoint:         p.url(paths.Token),
		UserInfoEndpoint:      p.url(paths.UserInfo),
		JWKSURI:               p.url(paths.JWKS),
		PAREndpoint:           p.url(paths.PAR),
		RequirePAR:            p.cfg.RequirePAR,
		RevocationEndpoint:    p.url(paths.Revoke),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query", "fragment", "form_post"},
		GrantTypes:            slices.Sorted(maps.Keys(p.exchanges)),
		ACRValues:             p.cfg.ACRValues,
		SubjectTypes:          []string{"public"},
		IDTokenAlgs:           p.keys.Algorithms(),
		TokenAuthMethods:      authMethods,
		TokenAuthAlgs:         assertionAlgs(),
		RevocationAuthMethods: authMethods,
		RevocationAuthAlgs:    assertionAlgs(),
		Challenges:            []string{"S256"},
		PromptValues:          p.prompts(),
		ClaimTypes:            []string{"normal"},
		Claims:                []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"},
		UILocales:             []string{"en", "de"},
		ClaimsParameter:       true,
		IssParameter:          true,
	}
	if p.cfg.Features.Introspection {
		m.IntrospectionEndpoint = p.url(paths.Introspect)
		m.IntrospectionAuthMethods = []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
		m.IntrospectionAuthAlgs = assertionAlgs()
	}
	if p.cfg.Features.Device {
		m.DeviceEndpoint = p.url(paths.DeviceAuthorization)
	}
	if !p.cfg.DisableEndSession {
		m.EndSessionEndpoint = p.url(paths.EndSession)
	}
	for _, s := range p.scopes {
		m.Scopes = append(m.Scopes, s.Name)
		for _, c := range s.Claims {
			if !slices.Contains(m.Claims, c) {
				m.Claims = append(m.Claims, c)
			}
		}
	}
	m.Claims = append(m.Claims, p.cfg.Claims...)
	for _, d := range p.cfg.Details {
		m.AuthorizationDetailTypes = append(m.AuthorizationDetailTypes, d.Type())
	}
	return m
}

// JWKS serves the public keys, RFC 7517 §5. The document is made anew when the
// keys have changed.
func (p *Provider) JWKS() http.Handler {
	type keyDocument struct {
		*document
		keys []PublicKey
	}
	var latest atomic.Pointer[keyDocument]
	return p.document("jwks", false, func(r *http.Request) (*document, error) {
		public, err := p.keys.Public(r.Context())
		if err != nil {
			return nil, refuse("keys.outage", err)
		}
		if l := latest.Load(); l != nil && slices.EqualFunc(l.keys, public, PublicKey.equal) {
			return l.document, nil
		}
		body, err := marshalKeys(public)
		if err != nil {
			return nil, err
		}
		doc := newDocument(body, jwksMaxAge)
		latest.Store(&keyDocument{doc, slices.Clone(public)})
		return doc, nil
	})
}

func marshalKeys(public []PublicKey) ([]byte, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for _, k := range public {
		jwk, err := jose.PublicJWK(jose.Key{ID: k.ID, Alg: k.Alg, Use: "sig", Public: k.Key})
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jwk)
	}
	return json.Marshal(set)
}

// document is public JSON that changes rarely, with what its answers say of it.
type document struct {
	body                       []byte
	etag, length, cacheControl string
}

func newDocument(body []byte, maxAge time.Duration) *document {
	sum := sha256.Sum256(body)
	return &document{
		body:         body,
		etag:         `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		length:       strconv.Itoa(len(body)),
		cacheControl: "public, max-age=" + strconv.Itoa(int(maxAge/time.Second)),
	}
}

// document serves a document; ready says that it is there without work.
func (p *Provider) document(name string, ready bool, read func(*http.Request) (*document, error)) http.Handler {
	return p.handler(endpoint{name: name, methods: "GET, HEAD", cors: corsAny, ready: ready, fail: p.failJSON, serve: func(w http.ResponseWriter, r *http.Request) error {
		doc, err := read(r)
		if err != nil {
			return err
		}
		h := w.Header()
		h.Set("Cache-Control", doc.cacheControl)
		h.Set("Etag", doc.etag)
		if r.Header.Get("If-None-Match") == doc.etag {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", doc.length)
		_, _ = w.Write(doc.body)
		return nil
	}})
}
