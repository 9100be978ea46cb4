package middleware

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
)

// ClientCert returns the certificate that the client proved to hold in its TLS
// handshake, with the server or, if Edge is so configured, with a trusted proxy;
// nil if there is none. Whether it chains to anything is for the caller to ask.
func ClientCert(r *http.Request) *x509.Certificate {
	if e, ok := r.Context().Value(edgeKey{}).(edge); ok {
		return e.cert
	}
	return tlsCert(r)
}

func tlsCert(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// headerCert reads exactly one certificate. Two header lines, or two elements,
// mean that somebody before the proxy wrote one of them: none is believed.
func headerCert(name string, lines []string) *x509.Certificate {
	if len(lines) != 1 {
		return nil
	}
	value := strings.Trim(lines[0], " \t")
	switch name {
	case "Client-Cert": // a Byte Sequence of RFC 8941 §3.3.5
		b64, ok := strings.CutPrefix(value, ":")
		b64, ok2 := strings.CutSuffix(b64, ":")
		if !ok || !ok2 {
			return nil
		}
		return derCert(b64)
	case "X-Forwarded-Client-Cert":
		certs, ok := elements(value, "Cert")
		if !ok || len(certs) != 1 {
			return nil
		}
		value = certs[0]
	}
	text, err := url.PathUnescape(value) // '+' is a base64 digit that AWS leaves as it is
	if err != nil {
		return nil
	}
	if !strings.HasPrefix(text, "-----BEGIN") {
		return derCert(text)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

func derCert(b64 string) *x509.Certificate {
	der, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return cert
}
