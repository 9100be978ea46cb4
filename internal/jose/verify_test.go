package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// Tokens of the specifications.
func TestVectors(t *testing.T) {
	t.Parallel()
	const (
		payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
		rs256   = "eyJhbGciOiJSUzI1NiJ9." + payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
		es256   = "eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
		eddsa   = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	)
	keys, err := ParseKeySet([]byte(`{"keys":[
		{"kty":"RSA","n":"` + rfc7515N + `","e":"AQAB"},
		{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
		{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"RFC 7515 §A.2", rs256, nil},
		{"RFC 7515 §A.3", es256, nil},
		{"RFC 8037 §A.4, whose payload is no JSON", eddsa, ErrClaims}, // and not ErrSignature
		{"RFC 7515 §A.5, unsecured", "eyJhbGciOiJub25lIn0." + payload + ".", ErrMalformed},
		{"RFC 7515 §A.1, HS256", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", ErrAlgorithm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := Verify(tt.token, keys, Algorithms())
			if !errors.Is(err, tt.want) || (err == nil) != (v != nil) {
				t.Fatalf("got %v, %v", v, err)
			}
			if err != nil {
				return
			}
			exp, ok := v.ExpiresAt()
			if v.Issuer() != "joe" || !ok || exp.Unix() != 1300819380 || v.Claims["http://example.com/is_root"] != true {
				t.Errorf("claims %v", v.Claims)
			}
		})
	}
}

// Every token here carries a signature that is right, so that it is the fence
// that refuses it. The headers are those that jwx lets pass and those of the
// advisories (RFC 8725 §2, §3).
func TestFenceHeader(t *testing.T) {
	t.Parallel()
	jwk := string(must(PublicJWK(Key{Public: edKey().Public()})))
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, header string
		want         error
	}{
		{"plain", `{"alg":"EdDSA"}`, nil},
		{"all members", `{"alg":"EdDSA","kid":"k","typ":"JWT","cty":"json","x5c":["MA=="],"jwk":` + jwk + `}`, nil},
		{"blanks", " {\n\"alg\" :\t\"EdDSA\" }\r\n", nil},
		{"unknown crit", `{"alg":"EdDSA","crit":["exp"],"exp":1}`, ErrMalformed},
		{"empty crit", `{"alg":"EdDSA","crit":[]}`, ErrMalformed},
		{"null crit", `{"alg":"EdDSA","crit":null}`, ErrMalformed},
		{"b64=false", `{"alg":"EdDSA","b64":false,"crit":["b64"]}`, ErrMalformed},
		{"b64=false without crit", `{"alg":"EdDSA","b64":false}`, ErrMalformed},
		{"b64=true", `{"alg":"EdDSA","b64":true}`, ErrMalformed},
		{"jku", `{"alg":"EdDSA","jku":"https://evil.example/jwks"}`, ErrMalformed},
		{"x5u", `{"alg":"EdDSA","x5u":"https://evil.example/cert"}`, ErrMalformed},
		{"zip", `{"alg":"EdDSA","zip":"DEF"}`, ErrMalformed},
		{"enc", `{"alg":"EdDSA","enc":"A128GCM"}`, ErrMalformed},
		{"x5t", `{"alg":"EdDSA","x5t":"AAAA"}`, ErrMalformed},
		{"unknown member", `{"alg":"EdDSA","foo":1}`, ErrMalformed},
		{"alg twice", `{"alg":"none","alg":"EdDSA"}`, ErrMalformed},
		{"alg twice, escaped", `{"alg":"EdDSA","\u0061lg":"EdDSA"}`, ErrMalformed},
		{"kid twice", `{"alg":"EdDSA","kid":"a","kid":"k"}`, ErrMalformed},
		{"ALG", `{"ALG":"EdDSA"}`, ErrMalformed},
		{"alg and Alg", `{"alg":"EdDSA","Alg":"none"}`, ErrMalformed},
		{"alg missing", `{"kid":"k"}`, ErrMalformed},
		{"alg empty", `{"alg":""}`, ErrMalformed},
		{"alg a number", `{"alg":256}`, ErrMalformed},
		{"alg an array", `{"alg":["EdDSA"]}`, ErrMalformed},
		{"alg null", `{"alg":null}`, ErrMalformed},
		{"alg none", `{"alg":"none"}`, ErrAlgorithm},
		{"alg NONE", `{"alg":"NONE"}`, ErrAlgorithm},
		{"alg nOnE", `{"alg":"nOnE"}`, ErrAlgorithm},
		{"alg of another case", `{"alg":"eddsa"}`, ErrAlgorithm},
		{"alg with a blank", `{"alg":"EdDSA "}`, ErrAlgorithm},
		{"alg HS256", `{"alg":"HS256"}`, ErrAlgorithm},
		{"alg unknown", `{"alg":"ES256K"}`, ErrAlgorithm},
		{"alg not in the list", `{"alg":"RS256"}`, ErrAlgorithm},
		{"kid a number", `{"alg":"EdDSA","kid":1}`, ErrMalformed},
		{"kid null", `{"alg":"EdDSA","kid":null}`, ErrMalformed},
		{"kid empty", `{"alg":"EdDSA","kid":""}`, ErrMalformed},
		{"kid of 513 bytes", `{"alg":"EdDSA","kid":"` + strings.Repeat("k", 513) + `"}`, ErrMalformed},
		{"kid a path", `{"alg":"EdDSA","kid":"../../../dev/null"}`, ErrKey},
		{"kid SQL", `{"alg":"EdDSA","kid":"k' OR '1'='1"}`, ErrKey},
		{"kid a URL", `{"alg":"EdDSA","kid":"https://evil.example/jwks"}`, ErrKey},
		{"kid with NUL", `{"alg":"EdDSA","kid":"k\u0000"}`, ErrKey},
		{"kid of another case", `{"alg":"EdDSA","kid":"K"}`, ErrKey},
		{"typ a number", `{"alg":"EdDSA","typ":1}`, ErrMalformed},
		{"cty an object", `{"alg":"EdDSA","cty":{}}`, ErrMalformed},
		{"jwk a string", `{"alg":"EdDSA","jwk":"x"}`, ErrMalformed},
		{"jwk null", `{"alg":"EdDSA","jwk":null}`, ErrMalformed},
		{"x5c a string", `{"alg":"EdDSA","x5c":"MA=="}`, ErrMalformed},
		{"x5c empty", `{"alg":"EdDSA","x5c":[]}`, ErrMalformed},
		{"x5c of numbers", `{"alg":"EdDSA","x5c":[1]}`, ErrMalformed},
		{"deep 15", `{"alg":"EdDSA","jwk":` + deep(15) + `}`, nil},
		{"deep 16", `{"alg":"EdDSA","jwk":` + deep(16) + `}`, ErrMalformed},
		{"array", `["alg","EdDSA"]`, ErrMalformed},
		{"null", `null`, ErrMalformed},
		{"string", `"EdDSA"`, ErrMalformed},
		{"trailing object", `{"alg":"EdDSA"}{}`, ErrMalformed},
		{"trailing NUL", `{"alg":"EdDSA"}` + "\x00", ErrMalformed},
		{"byte order mark", "\ufeff" + `{"alg":"EdDSA"}`, ErrMalformed},
		{"invalid UTF-8", `{"alg":"EdDSA","kid":"` + "\xff" + `"}`, ErrMalformed},
		{"lone surrogate", `{"alg":"EdDSA","kid":"\ud800"}`, ErrMalformed},
		{"comment", `{"alg":"EdDSA"/**/}`, ErrMalformed},
		{"trailing comma", `{"alg":"EdDSA",}`, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			token := stdSign(t, EdDSA, edKey(), tt.header, `{"iss":"i"}`)
			v, err := Verify(token, []Key{{ID: "k", Public: edKey().Public()}}, []string{EdDSA, ES256})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (err == nil) != (v != nil) {
				t.Errorf("got %v, %v, want %v", v, err, tt.want)
			}
		})
	}
}

func TestFencePayload(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, tt := range []struct {
		name, payload string
		ok            bool
	}{
		{"empty object", `{}`, true},
		{"claims", `{"iss":"i","sub":"s","jti":"j","aud":"a","exp":1,"iat":1.5,"nbf":1e3}`, true},
		{"aud array", `{"aud":["a","b"]}`, true},
		{"aud empty array", `{"aud":[]}`, true},
		{"exp 0", `{"exp":0}`, true},
		{"exp at the end of 9999", `{"exp":253402300799}`, true},
		{"deep 15", deep(15), true},
		{"deep 16", deep(16), false},
		{"deep 9000", strings.Repeat(`[`, 9000), false},
		{"exp a string", `{"exp":"1700000000"}`, false},
		{"exp null", `{"exp":null}`, false},
		{"exp true", `{"exp":true}`, false},
		{"exp an array", `{"exp":[1]}`, false},
		{"exp negative", `{"exp":-1}`, false},
		{"exp too late", `{"exp":253402300800}`, false},
		{"exp infinite", `{"exp":1e999}`, false},
		{"exp 1e308", `{"exp":1e308}`, false},
		{"exp NaN", `{"exp":NaN}`, false},
		{"exp Infinity", `{"exp":Infinity}`, false},
		{"exp hexadecimal", `{"exp":0x10}`, false},
		{"exp with a leading zero", `{"exp":01}`, false},
		{"exp with a plus", `{"exp":+1}`, false},
		{"iat a string", `{"iat":"1"}`, false},
		{"nbf an object", `{"nbf":{}}`, false},
		{"nbf null", `{"nbf":null}`, false},
		{"aud a number", `{"aud":1}`, false},
		{"aud null", `{"aud":null}`, false},
		{"aud an object", `{"aud":{"a":1}}`, false},
		{"aud with a number", `{"aud":["a",1]}`, false},
		{"aud with an array", `{"aud":[["a"]]}`, false},
		{"aud with null", `{"aud":["a",null]}`, false},
		{"iss an array", `{"iss":["i"]}`, false},
		{"iss null", `{"iss":null}`, false},
		{"sub a number", `{"sub":1}`, false},
		{"jti an object", `{"jti":{}}`, false},
		{"exp twice", `{"exp":1,"exp":99999999999}`, false},
		{"exp twice, escaped", `{"exp":1,"\u0065xp":99999999999}`, false},
		{"nested twice", `{"cnf":{"jkt":"a","jkt":"b"}}`, false},
		{"trailing blanks and data", `{} {}`, false},
		{"trailing comma", `{"a":1,}`, false},
		{"array", `[]`, false},
		{"string", `"a"`, false},
		{"number", `1`, false},
		{"null", `null`, false},
		{"no JSON", `hello`, false},
		{"cut off", `{"iss":"i"`, false},
		{"invalid UTF-8", "{\"sub\":\"\xff\"}", false},
		{"overlong UTF-8", "{\"sub\":\"\xc0\xaf\"}", false},
		{"lone surrogate", `{"sub":"\udc00"}`, false},
		{"byte order mark", "\ufeff{}", false},
		{"line break in a string", "{\"sub\":\"a\nb\"}", false},
		{"another token", "eyJhbGciOiJub25lIn0.e30.", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			token := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA"}`, tt.payload)
			v, err := Verify(token, []Key{{Public: edKey().Public()}}, []string{EdDSA})
			if (err == nil) != tt.ok || (err == nil) != (v != nil) {
				t.Errorf("Verify: %v, %v", v, err)
			}
			if _, _, perr := Peek(token); (perr == nil) != tt.ok {
				t.Errorf("Peek: %v", perr)
			}
			if !tt.ok && !errors.Is(err, ErrClaims) {
				t.Errorf("want ErrClaims, got %v", err)
			}
		})
	}
}

func TestFenceForm(t *testing.T) {
	t.Parallel()
	good := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA"}`, `{"iss":"i"}`)
	p := strings.Split(good, ".")
	// The last character of 64 bytes in base64url has four bits that mean nothing.
	loose := good[:len(good)-1] + string(good[len(good)-1]+1)
	flattened := `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`
	pad := func(n int) string { // a token of n bytes
		header := b64([]byte(`{"alg":"EdDSA"}`))
		for size := n * 3 / 4; ; size-- {
			token := stdSignParts(t, EdDSA, edKey(), header, b64([]byte(`{"a":"`+strings.Repeat("a", size)+`"}`)))
			if len(token) <= n {
				return token
			}
		}
	}
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"good", good, nil},
		{"largest", pad(MaxSize), nil},
		{"too large", pad(MaxSize + 2), ErrMalformed},
		{"empty", "", ErrMalformed},
		{"dots", "..", ErrMalformed},
		{"one part", p[0], ErrMalformed},
		{"two parts", p[0] + "." + p[1], ErrMalformed},
		{"no signature", p[0] + "." + p[1] + ".", ErrMalformed},
		{"no header", "." + p[1] + "." + p[2], ErrMalformed},
		{"detached payload", p[0] + ".." + p[2], ErrMalformed},
		{"four parts", good + ".", ErrMalformed},
		{"five parts, JWE", good + ".a.b", ErrMalformed},
		{"flattened JSON", flattened, ErrMalformed},
		{"general JSON", `{"payload":"` + p[1] + `","signatures":[{"protected":"` + p[0] + `","signature":"` + p[2] + `"}]}`, ErrMalformed},
		{"blank before", " " + good, ErrMalformed},
		{"blank after", good + " ", ErrMalformed},
		{"line break after", good + "\n", ErrMalformed},
		{"line break inside", good[:len(good)-4] + "\r\n" + good[len(good)-4:], ErrMalformed},
		{"NUL after", good + "\x00", ErrMalformed},
		{"padding", good + "==", ErrMalformed},
		{"standard alphabet", p[0] + "." + p[1] + "." + base64.RawStdEncoding.EncodeToString(append(unb64(p[2]), 0xff, 0xff, 0xff)), ErrMalformed},
		{"loose last bits", loose, ErrMalformed},
		{"Bearer", "Bearer " + good, ErrMalformed},
		{"signature cut", p[0] + "." + p[1] + "." + b64(unb64(p[2])[:63]), ErrSignature},
		{"signature longer", p[0] + "." + p[1] + "." + b64(append(unb64(p[2]), 0)), ErrSignature},
		{"no base64 length", p[0] + "." + p[1] + ".A", ErrMalformed},
		{"other payload", p[0] + "." + b64([]byte(`{"iss":"j"}`)) + "." + p[2], ErrSignature},
		{"other header", b64([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + p[1] + "." + p[2], ErrSignature},
		{"signature of zeros", p[0] + "." + p[1] + "." + b64(make([]byte, 64)), ErrSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := Verify(tt.token, []Key{{Public: edKey().Public()}}, []string{EdDSA})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (err == nil) != (v != nil) {
				t.Errorf("got %v, %v, want %v", v, err, tt.want)
			}
		})
	}
}

// The payload may have loose bits too, and the signature is over the letters.
func TestLooseBitsInPayloadAndHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ header, payload string }{
		{b64([]byte(`{"alg":"EdDSA"}`)), b64([]byte(`{"iss":"i"} `))[:15] + "B"},
		{"eyJhbGciOiJFZERTQSJ9", "e31"}, // {} is e30
	} {
		token := stdSignParts(t, EdDSA, edKey(), tt.header, tt.payload)
		if v, err := Verify(token, []Key{{Public: edKey().Public()}}, []string{EdDSA}); err == nil || v != nil {
			t.Errorf("%s accepted", token)
		}
	}
}

// RFC 8725 §2.1, §3.1: the algorithm is the verifier's choice, and belongs to
// the key.
func TestAlgorithmConfusion(t *testing.T) {
	t.Parallel()
	rsaPub := rsaKey().Public()
	pkix := must(x509.MarshalPKIXPublicKey(rsaPub))
	hmacWith := func(secret []byte) string {
		input := b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(`{}`))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + b64(mac.Sum(nil))
	}
	sign := func(alg string, key crypto.Signer) string {
		return stdSign(t, alg, key, `{"alg":"`+alg+`"}`, `{}`)
	}
	// A signature by ES256 rules with a key on another curve.
	es256OnP384 := func() string {
		key := p384Key().(*ecdsa.PrivateKey)
		input := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{}`))
		sum := sha256.Sum256([]byte(input))
		r, s := func() (*big.Int, *big.Int) { r, s, _ := ecdsa.Sign(rand.Reader, key, sum[:]); return r, s }()
		return input + "." + b64(append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...))
	}
	derSignature := func() string {
		input := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{}`))
		sum := sha256.Sum256([]byte(input))
		return input + "." + b64(must(ecdsa.SignASN1(rand.Reader, p256Key().(*ecdsa.PrivateKey), sum[:])))
	}
	zeros := func(n int) string { // CVE-2022-21449
		return b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{}`)) + "." + b64(make([]byte, n))
	}
	otherSalt := func() string {
		input := b64([]byte(`{"alg":"PS256"}`)) + "." + b64([]byte(`{}`))
		sum := sha256.Sum256([]byte(input))
		return input + "." + b64(must(rsa.SignPSS(rand.Reader, rsaKey().(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})))
	}
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	all := Algorithms()
	for _, tt := range []struct {
		name, token string
		key         Key
		algs        []string
		want        error
	}{
		{"HS256 with the PKIX bytes", hmacWith(pkix), Key{Public: rsaPub}, append(all, "HS256"), ErrAlgorithm},
		{"HS256 with the PEM", hmacWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})), Key{Public: rsaPub}, append(all, "HS256"), ErrAlgorithm},
		{"HS256 with the JWK", hmacWith(must(PublicJWK(Key{Public: rsaPub}))), Key{Public: rsaPub}, append(all, "HS256"), ErrAlgorithm},
		{"none allowed by mistake", b64([]byte(`{"alg":"none"}`)) + ".e30.AAAA", Key{Public: rsaPub}, append(all, "none"), ErrAlgorithm},
		{"RS256 where ES256 is allowed", sign(RS256, rsaKey()), Key{Public: rsaPub}, []string{ES256}, ErrAlgorithm},
		{"nothing allowed", sign(RS256, rsaKey()), Key{Public: rsaPub}, nil, ErrAlgorithm},
		{"RS256 with an EC key", sign(RS256, rsaKey()), Key{Public: p256Key().Public()}, all, ErrKey},
		{"RS256 with a key for PS256", sign(RS256, rsaKey()), Key{Alg: PS256, Public: rsaPub}, all, ErrKey},
		{"PS256 with a key for RS256", sign(PS256, rsaKey()), Key{Alg: RS256, Public: rsaPub}, all, ErrKey},
		{"RS512 with a key for RS256", sign(RS512, rsaKey()), Key{Alg: RS256, Public: rsaPub}, all, ErrKey},
		{"a key for encryption", sign(RS256, rsaKey()), Key{Use: "enc", Public: rsaPub}, all, ErrKey},
		{"a weak key", sign(RS256, weak), Key{Public: weak.Public()}, all, ErrKey},
		{"a key by value", sign(RS256, rsaKey()), Key{Public: *rsaPub.(*rsa.PublicKey)}, all, ErrKey},
		{"no key", sign(RS256, rsaKey()), Key{}, all, ErrKey},
		{"another key", sign(RS256, otherRSAKey()), Key{Public: rsaPub}, all, ErrSignature},
		{"ES256 on P-384", es256OnP384(), Key{Public: p384Key().Public()}, all, ErrKey},
		{"ASN.1 signature", derSignature(), Key{Public: p256Key().Public()}, all, ErrSignature},
		{"signature of zeros", zeros(64), Key{Public: p256Key().Public()}, all, ErrSignature},
		{"signature of more zeros", zeros(96), Key{Public: p256Key().Public()}, all, ErrSignature},
		{"PSS with a salt of 20 bytes", otherSalt(), Key{Public: rsaPub}, all, ErrSignature},
		{"fits", sign(PS256, rsaKey()), Key{Alg: PS256, Use: "sig", Public: rsaPub}, []string{PS256}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := Verify(tt.token, []Key{tt.key}, tt.algs)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (err == nil) != (v != nil) {
				t.Errorf("got %v, %v, want %v", v, err, tt.want)
			}
		})
	}
}

// RFC 8725 §3.10, CVE-2018-0114: a key that comes with the token proves nothing.
func TestEmbeddedKeys(t *testing.T) {
	t.Parallel()
	attacker := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	jwk := string(must(PublicJWK(Key{Public: attacker.Public()})))
	token := stdSign(t, ES256, attacker, `{"alg":"ES256","typ":"dpop+jwt","jwk":`+jwk+`}`, `{"jti":"j"}`)

	if v, err := Verify(token, []Key{{Public: p256Key().Public()}}, []string{ES256}); !errors.Is(err, ErrSignature) || v != nil {
		t.Errorf("Verify: %v, %v", v, err)
	}
	v, key, err := VerifyEmbedded(token, []string{ES256})
	if err != nil || v.ID() != "j" || !attacker.PublicKey.Equal(key.Public) {
		t.Errorf("VerifyEmbedded: %v, %v, %v", v, key, err)
	}

	private := jwk[:len(jwk)-1] + `,"d":"` + b64(must(attacker.Bytes())) + `"}`
	edJWK := string(must(PublicJWK(Key{Public: edKey().Public()})))
	for _, tt := range []struct {
		name, token string
		algs        []string
		want        error
	}{
		{"no jwk", stdSign(t, ES256, attacker, `{"alg":"ES256"}`, `{}`), []string{ES256}, ErrKey},
		{"private key", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":`+private+`}`, `{}`), []string{ES256}, ErrKey},
		{"symmetric key", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":{"kty":"oct","k":"AAAA"}}`, `{}`), []string{ES256}, ErrKey},
		{"unknown key", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":{"kty":"XYZ"}}`, `{}`), []string{ES256}, ErrKey},
		{"malformed key", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":{"kty":1}}`, `{}`), []string{ES256}, ErrMalformed},
		{"key of another type", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":`+edJWK+`}`, `{}`), []string{ES256}, ErrKey},
		{"another key", stdSign(t, ES256, p256Key(), `{"alg":"ES256","jwk":`+jwk+`}`, `{}`), []string{ES256}, ErrSignature},
		{"algorithm not allowed", token, []string{EdDSA}, ErrAlgorithm},
		{"payload", stdSign(t, ES256, attacker, `{"alg":"ES256","jwk":`+jwk+`}`, `[]`), []string{ES256}, ErrClaims},
		{"form", "a.b", []string{ES256}, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, key, err := VerifyEmbedded(tt.token, tt.algs)
			if !errors.Is(err, tt.want) || v != nil || key != (Key{}) {
				t.Errorf("got %v, %v, %v, want %v", v, key, err, tt.want)
			}
		})
	}
}

func TestKeyLookup(t *testing.T) {
	t.Parallel()
	ours := Key{ID: "ours", Public: edKey().Public()}
	other := func(id string) Key {
		pub, _, _ := ed25519.GenerateKey(nil)
		return Key{ID: id, Public: pub}
	}
	many := func(n int) (keys []Key) {
		for i := range n {
			keys = append(keys, other(fmt.Sprint(i)))
		}
		return keys
	}
	named := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA","kid":"ours"}`, `{}`)
	unnamed := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA"}`, `{}`)
	for _, tt := range []struct {
		name  string
		token string
		keys  []Key
		want  error
	}{
		{"by kid among many", named, append(many(63), ours), nil},
		{"kid unknown", named, many(3), ErrKey},
		{"kid of another key", named, []Key{other("ours"), {ID: "x", Public: edKey().Public()}}, ErrSignature},
		{"kid twice", named, []Key{other("ours"), ours}, nil},
		{"kid, and a key without one", named, []Key{{Public: edKey().Public()}}, ErrKey},
		{"kid of a key of another type", named, []Key{{ID: "ours", Public: p256Key().Public()}}, ErrKey},
		{"no kid, the eighth key", unnamed, append(many(7), ours), nil},
		{"no kid, nine keys", unnamed, append(many(8), ours), ErrKey},
		{"no kid, keys of other types do not count", unnamed, append([]Key{{Public: p256Key().Public()}, {Use: "enc", Public: edKey().Public()}}, append(many(7), ours)...), nil},
		{"no kid, none fits", unnamed, []Key{{Public: p256Key().Public()}}, ErrKey},
		{"no kid, none verifies", unnamed, many(3), ErrSignature},
		{"no keys", named, nil, ErrKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := Verify(tt.token, tt.keys, []string{EdDSA})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (err == nil) != (v != nil) {
				t.Errorf("got %v, %v, want %v", v, err, tt.want)
			}
		})
	}
}

func TestTokenAccessors(t *testing.T) {
	t.Parallel()
	token := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA"}`,
		`{"iss":"i","sub":"s","jti":"j","aud":["a","b"],"exp":1700000000.25,"iat":0,"nonce":"n","n":5}`)
	v, err := Verify(token, []Key{{Public: edKey().Public()}}, []string{EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if v.Issuer() != "i" || v.Subject() != "s" || v.ID() != "j" || strings.Join(v.Audience(), " ") != "a b" {
		t.Errorf("got %v", v.Claims)
	}
	if at, ok := v.ExpiresAt(); !ok || !at.Equal(time.UnixMilli(1700000000250)) {
		t.Errorf("exp %v, %v", at, ok)
	}
	if at, ok := v.IssuedAt(); !ok || !at.Equal(time.Unix(0, 0)) {
		t.Errorf("iat %v, %v", at, ok)
	}
	if at, ok := v.NotBefore(); ok || !at.IsZero() {
		t.Errorf("nbf %v, %v", at, ok)
	}
	if s, ok := v.String("nonce"); s != "n" || !ok {
		t.Errorf("nonce %q, %v", s, ok)
	}
	for _, name := range []string{"n", "missing", "aud"} {
		if s, ok := v.String(name); s != "" || ok {
			t.Errorf("%s: %q, %v", name, s, ok)
		}
	}
	if iss, sub, err := Peek(token); iss != "i" || sub != "s" || err != nil {
		t.Errorf("Peek: %q, %q, %v", iss, sub, err)
	}
	empty := &Token{}
	if empty.Issuer() != "" || empty.Audience() != nil {
		t.Error("an empty token has claims")
	}
}

func TestPeekRefuses(t *testing.T) {
	t.Parallel()
	for _, token := range []string{
		"", "a.b.c",
		b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"i","sub":"s"}`)) + ".AAAA",
		b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(`{"iss":"i","sub":"s"}`)) + ".AAAA",
		b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{"iss":"i","sub":5}`)) + ".AAAA",
		b64([]byte(`{"alg":"ES256"}`)) + ".e31.AAAA",
	} {
		if iss, sub, err := Peek(token); err == nil || iss != "" || sub != "" {
			t.Errorf("%s: %q, %q, %v", token, iss, sub, err)
		}
	}
}

// OpenID Connect Core §3.1.3.6; the first value is the one of §A.3 there.
func TestAtHash(t *testing.T) {
	t.Parallel()
	if got := AtHash(RS256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("RS256: %s", got)
	}
	for alg, size := range map[string]int{ES256: 22, ES384: 32, ES512: 43, EdDSA: 43, PS384: 32, "none": 0, "HS256": 0} {
		if got := AtHash(alg, "token"); len(got) != size {
			t.Errorf("%s: %q", alg, got)
		}
	}
}

// Errors go to logs and sometimes to clients: nothing of the token is in them.
func TestErrorsCarryNoInput(t *testing.T) {
	t.Parallel()
	const canary = "canary7f3a"
	for _, header := range []string{
		`{"alg":"` + canary + `"}`, `{"alg":"EdDSA","` + canary + `":1}`, `{"alg":"EdDSA","kid":"` + canary + `"}`,
		`{"alg":"EdDSA","` + canary, `{"alg":"EdDSA","jwk":"` + canary + `"}`, `"` + canary + `"`,
	} {
		token := stdSign(t, EdDSA, edKey(), header, `{}`)
		if _, err := Verify(token, []Key{{ID: "k", Public: edKey().Public()}}, []string{EdDSA}); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", header, err)
		}
	}
	for _, payload := range []string{`{"exp":"` + canary + `"}`, `{"` + canary + `":1,"` + canary + `":2}`, `"` + canary + `"`, canary, `{"a":` + canary} {
		token := stdSign(t, EdDSA, edKey(), `{"alg":"EdDSA"}`, payload)
		if _, err := Verify(token, []Key{{Public: edKey().Public()}}, []string{EdDSA}); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	for _, set := range []string{`{"keys":"` + canary + `"}`, `{"keys":[{"kty":"RSA","n":"` + canary + `!"}]}`, `{"keys":[{"kty":{"` + canary + `":1}}]}`} {
		if _, err := ParseKeySet([]byte(set)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// Every single-byte change of a token is refused, or the independent
// implementation accepts it too.
func TestMutationsAgreeWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{ES256, EdDSA, RS256, PS256} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key := testKey(t, alg)
			good := stdSign(t, alg, key, `{"alg":"`+alg+`"}`, `{"iss":"i"}`)
			for i := range good {
				for _, c := range []byte{'A', '.', '_', good[i] ^ 1} {
					token := good[:i] + string(rune(c)) + good[i+1:]
					v, err := Verify(token, []Key{{Public: key.Public()}}, []string{alg})
					if token == good {
						continue
					}
					if payload, stdErr := stdVerify(token, alg, key.Public()); err == nil && (stdErr != nil || string(payload) != string(v.Payload)) {
						t.Fatalf("accepted %s, the standard library says %v", token, stdErr)
					}
					if err == nil {
						t.Fatalf("a changed token passed: %s", token)
					}
				}
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	algs := []string{ES256, EdDSA, RS256, PS256}
	var keys []Key
	pubs := map[string]crypto.PublicKey{}
	for _, alg := range algs {
		pubs[alg] = testKey(f, alg).Public()
	}
	for _, alg := range algs[:3] {
		keys = append(keys, Key{ID: alg, Public: pubs[alg]})
	}
	for _, alg := range algs {
		f.Add(stdSign(f, alg, testKey(f, alg), `{"alg":"`+alg+`"}`, `{"iss":"i","aud":["a"],"exp":1}`))
	}
	f.Add(stdSign(f, EdDSA, edKey(), `{"alg":"EdDSA","crit":["b64"],"b64":false}`, `{}`))
	f.Add(stdSign(f, EdDSA, edKey(), `{"alg":"EdDSA","jwk":{"kty":"oct","k":"AAAA"},"kid":"../x"}`, `{"a":{"a":1,"a":2}}`))
	f.Add(`{"payload":"e30","protected":"eyJhbGciOiJFZERTQSJ9","signature":""}`)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		// A mutated token almost never verifies, so its parts are signed again.
		if p := strings.Split(token, "."); len(p) == 3 {
			if _, err := Verify(stdSignParts(t, EdDSA, edKey(), p[0], p[1]), keys, algs); err == nil {
				checkAccepted(t, stdSignParts(t, EdDSA, edKey(), p[0], p[1]), keys, algs, pubs)
			}
		}
		checkAccepted(t, token, keys, algs, pubs)
		if iss, sub, err := Peek(token); err != nil && (iss != "" || sub != "") {
			t.Error("Peek: an error with a value")
		}
		if v, key, err := VerifyEmbedded(token, algs); err != nil && (v != nil || key != (Key{})) {
			t.Error("VerifyEmbedded: an error with a value")
		}
	})
}

// checkAccepted verifies a token and, if it passes, asks the standard library.
func checkAccepted(t *testing.T, token string, keys []Key, algs []string, pubs map[string]crypto.PublicKey) {
	t.Helper()
	v, err := Verify(token, keys, algs)
	if err != nil {
		if v != nil {
			t.Error("an error with a value")
		}
		return
	}
	payload, err := stdVerify(token, v.Header.Alg, pubs[v.Header.Alg])
	if err != nil || string(payload) != string(v.Payload) {
		t.Fatalf("%s passed, the standard library says %q, %v", token, payload, err)
	}
	var header map[string]any
	if err := json.Unmarshal(unb64(strings.Split(token, ".")[0]), &header); err != nil {
		t.Fatal(err)
	}
	for name := range header {
		if !strings.Contains(" alg kid typ cty jwk x5c ", " "+name+" ") {
			t.Fatalf("header member %q passed", name)
		}
	}
	if aud, ok := v.Claims["aud"]; ok {
		switch aud.(type) {
		case string, []any:
		default:
			t.Fatalf("aud %v passed", aud)
		}
	}
}
