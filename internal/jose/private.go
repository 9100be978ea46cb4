package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
)

// MarshalPrivate returns the PKCS #8 form (RFC 5958) of a private key of the
// standard library. Other signers do not give their keys away: ErrKey.
func MarshalPrivate(s crypto.Signer) ([]byte, error) {
	if err := checkPrivate(s); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(s)
	if err != nil {
		return nil, fmt.Errorf("%w: does not marshal", ErrKey)
	}
	return der, nil
}

// ParsePrivate reads what MarshalPrivate wrote. A weak key is refused.
func ParsePrivate(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not PKCS #8", ErrKey)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: unknown type of key", ErrKey)
	}
	if err := checkPrivate(s); err != nil {
		return nil, err
	}
	return s, nil
}

func checkPrivate(s crypto.Signer) error {
	switch s.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return checkPublic(s.Public())
	}
	return fmt.Errorf("%w: not a private key of a known type", ErrKey)
}
