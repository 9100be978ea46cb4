package main

import (
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"
)

// session is fosite's for OpenID Connect, and what JWT access tokens ask of one.
type session struct{ *openid.DefaultSession }

var _ oauth2.JWTSessionContainer = (*session)(nil)

func (s *session) GetJWTClaims() jwt.JWTClaimsContainer {
	return &jwt.JWTClaims{Subject: s.Subject, Issuer: s.Claims.Issuer, IssuedAt: time.Now(), ExpiresAt: s.GetExpiresAt(fosite.AccessToken)}
}

func (s *session) GetJWTHeader() *jwt.Headers { return s.Headers }

func (s *session) Clone() fosite.Session {
	return &session{s.DefaultSession.Clone().(*openid.DefaultSession)}
}
