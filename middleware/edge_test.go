package middleware

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestRemoteAddr(t *testing.T) {
	t.Parallel()
	type hd = http.Header
	xff := func(lines ...string) hd { return hd{"X-Forwarded-For": lines} }
	fwd := func(lines ...string) hd { return hd{"Forwarded": lines} }
	plain, rfc := Edge{TrustedProxies: proxies}, Edge{TrustedProxies: proxies, Forwarded: true}
	tests := []struct {
		name string
		e    Edge
		peer string
		h    hd
		want string
	}{
		{"no proxy", Edge{}, "203.0.113.7:4711", nil, "203.0.113.7"},
		{"nobody is trusted", Edge{}, "10.0.0.1:1", xff("1.2.3.4"), "10.0.0.1"},
		{"forged by a stranger", plain, "203.0.113.7:1", xff("1.2.3.4"), "203.0.113.7"},
		{"one proxy", plain, "10.0.0.1:1", xff("203.0.113.7"), "203.0.113.7"},
		{"forged before the proxy", plain, "10.0.0.1:1", xff("1.2.3.4, 203.0.113.7"), "203.0.113.7"},
		{"forged in a line of its own", plain, "10.0.0.1:1", xff("1.2.3.4", "203.0.113.7"), "203.0.113.7"},
		{"two proxies", plain, "10.0.0.1:1", xff("1.2.3.4, 203.0.113.7, 10.9.9.9"), "203.0.113.7"},
		{"inside only", plain, "10.0.0.1:1", xff("10.1.1.1,10.2.2.2"), "10.1.1.1"},
		{"garbage left", plain, "10.0.0.1:1", xff("<script>, 203.0.113.7"), "203.0.113.7"},
		{"garbage right", plain, "10.0.0.1:1", xff("1.2.3.4, unknown"), "10.0.0.1"},
		{"garbage between", plain, "10.0.0.1:1", xff("1.2.3.4, x, 10.2.2.2"), "10.2.2.2"},
		{"empty", plain, "10.0.0.1:1", xff(""), "10.0.0.1"},
		{"absent", plain, "10.0.0.1:1", nil, "10.0.0.1"},
		{"with ports", plain, "10.0.0.1:1", xff("203.0.113.7:99"), "203.0.113.7"},
		{"IPv6", plain, "[fd00::1]:1", xff("[2001:db8::7]:99"), "2001:db8::7"},
		{"IPv6, bare", plain, "[fd00::1]:1", xff("2001:db8::7"), "2001:db8::7"},
		{"mapped peer", plain, "[::ffff:10.0.0.1]:1", xff("203.0.113.7"), "203.0.113.7"},
		{"mapped hop", plain, "10.0.0.1:1", xff("1.2.3.4, ::ffff:203.0.113.7"), "203.0.113.7"},
		{"zone", plain, "[fe80::1%eth0]:1", nil, "fe80::1"},
		{"Unix socket", plain, "@", xff("1.2.3.4"), "invalid IP"},
		{"other header", plain, "10.0.0.1:1", fwd("for=1.2.3.4"), "10.0.0.1"},

		{"Forwarded", rfc, "10.0.0.1:1", fwd("for=203.0.113.7;proto=https;by=10.0.0.1"), "203.0.113.7"},
		{"Forwarded, capitals", rfc, "10.0.0.1:1", fwd("FOR=203.0.113.7"), "203.0.113.7"},
		{"Forwarded, IPv6", rfc, "10.0.0.1:1", fwd(`for="[2001:db8::7]:4711"`), "2001:db8::7"},
		{"Forwarded, two", rfc, "10.0.0.1:1", fwd("for=1.2.3.4, for=203.0.113.7;by=10.0.0.2,for=10.0.0.2"), "203.0.113.7"},
		{"Forwarded, obfuscated", rfc, "10.0.0.1:1", fwd("for=1.2.3.4, for=_hidden"), "10.0.0.1"},
		{"Forwarded, no for", rfc, "10.0.0.1:1", fwd("for=1.2.3.4, by=10.0.0.1"), "10.0.0.1"},
		{"Forwarded, comma in quotes", rfc, "10.0.0.1:1", fwd(`for=1.2.3.4;x=", for=5.6.7.8", for=203.0.113.7`), "203.0.113.7"},
		{"Forwarded, open quote swallows", rfc, "10.0.0.1:1", fwd(`for=1.2.3.4;x=", for=203.0.113.7`), "10.0.0.1"},
		{"Forwarded, quote closed by the proxy's", rfc, "10.0.0.1:1", fwd(`for=1.2.3.4;x=", for="[2001:db8::7]"`), "10.0.0.1"},
		{"Forwarded, for twice", rfc, "10.0.0.1:1", fwd("for=1.2.3.4;for=203.0.113.7"), "10.0.0.1"},
		{"Forwarded, empty elements", rfc, "10.0.0.1:1", fwd("", ", for=203.0.113.7"), "203.0.113.7"},
		{"Forwarded, blank for a semicolon", rfc, "10.0.0.1:1", fwd("for=203.0.113.7 by=10.0.0.1"), "10.0.0.1"},
		{"Forwarded, text after a quote", rfc, "10.0.0.1:1", fwd(`for="203.0.113.7"xby=1`), "10.0.0.1"},
		{"Forwarded, no value", rfc, "10.0.0.1:1", fwd("for"), "10.0.0.1"},
		{"Forwarded, name in quotes", rfc, "10.0.0.1:1", fwd(`"for"=203.0.113.7`), "10.0.0.1"},
		{"Forwarded, IPv6 without port or quotes", rfc, "10.0.0.1:1", fwd("for=[2001:db8::7]"), "2001:db8::7"},
		{"X-Forwarded-For is not asked", rfc, "10.0.0.1:1", xff("1.2.3.4"), "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "http://idp.example/", nil)
			r.RemoteAddr = tt.peer
			r.Header = tt.h
			if r.Header == nil {
				r.Header = http.Header{}
			}
			r.Header.Set("X-Forwarded-Host", "evil.example")
			r.Header.Set("X-Forwarded-Proto", "gopher")
			tt.e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
				if got := RemoteAddr(in).String(); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				if in.Host != "idp.example" || in.URL.Scheme != r.URL.Scheme || in.TLS != nil || in.RemoteAddr != tt.peer {
					t.Error("the request itself was changed")
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

// A slice changed after Wrap must not change who is trusted.
func TestEdgeCopies(t *testing.T) {
	t.Parallel()
	list := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	h := Edge{TrustedProxies: list}.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := RemoteAddr(r).String(); got != "192.0.2.1" {
			t.Error(got)
		}
	}))
	list[0] = netip.MustParsePrefix("0.0.0.0/0")
	do(h, "GET", "/", "X-Forwarded-For", "1.2.3.4")
}

func newCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestClientCert(t *testing.T) {
	t.Parallel()
	client, proxy := newCert(t, "client"), newCert(t, "proxy")
	b64 := base64.StdEncoding.EncodeToString(client.Raw)
	pemText := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Raw}))
	escaped := url.PathEscape(pemText)
	aws := strings.NewReplacer("%2B", "+", "%3D", "=", "%2F", "/").Replace(url.QueryEscape(strings.ReplaceAll(pemText, " ", "%20")))
	aws = strings.ReplaceAll(aws, "%2520", "%20")
	const trusted, stranger = "10.0.0.1:1", "203.0.113.7:1"
	tests := []struct {
		name   string
		header string // configured
		peer   string
		tls    *x509.Certificate
		sent   []string
		want   string // common name; "" = none
	}{
		{"TLS, no proxy", "", stranger, client, nil, "client"},
		{"no TLS", "", stranger, nil, nil, ""},
		{"the proxy's own", "", trusted, proxy, nil, ""},
		{"the proxy's own, header configured", "Client-Cert", trusted, proxy, nil, ""},
		{"header from a stranger", "Client-Cert", stranger, nil, []string{":" + b64 + ":"}, ""},
		{"header from a stranger with a certificate", "X-Ssl-Cert", stranger, proxy, []string{escaped}, "proxy"},
		{"RFC 9440", "Client-Cert", trusted, proxy, []string{":" + b64 + ":"}, "client"},
		{"RFC 9440, lower case name", "client-cert", trusted, proxy, []string{":" + b64 + ":"}, "client"},
		{"RFC 9440, no colons", "Client-Cert", trusted, nil, []string{b64}, ""},
		{"RFC 9440, not closed", "Client-Cert", trusted, nil, []string{":" + b64}, ""},
		{"RFC 9440, not opened", "Client-Cert", trusted, nil, []string{b64 + ":"}, ""},
		{"RFC 9440, one colon", "Client-Cert", trusted, nil, []string{":"}, ""},
		{"RFC 9440, list", "Client-Cert", trusted, nil, []string{":" + b64 + ":, :" + b64 + ":"}, ""},
		{"two lines", "Client-Cert", trusted, nil, []string{":" + b64 + ":", ":" + b64 + ":"}, ""},
		{"not base64", "Client-Cert", trusted, nil, []string{":!:"}, ""},
		{"not a certificate", "Client-Cert", trusted, nil, []string{":AAAA:"}, ""},
		{"nginx", "X-SSL-Cert", trusted, nil, []string{escaped}, "client"},
		{"AWS", "X-Amzn-Mtls-Clientcert-Leaf", trusted, nil, []string{aws}, "client"},
		{"base64 DER", "X-SSL-Client-Der", trusted, nil, []string{b64}, "client"},
		{"two certificates", "X-SSL-Cert", trusted, nil, []string{escaped + escaped}, ""},
		{"a key", "X-SSL-Cert", trusted, nil, []string{strings.ReplaceAll(escaped, "CERTIFICATE", "PRIVATE%20KEY")}, ""},
		{"not a certificate in PEM", "X-SSL-Cert", trusted, nil, []string{url.PathEscape("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, ""},
		{"text after PEM", "X-SSL-Cert", trusted, nil, []string{escaped + "x"}, ""},
		{"broken PEM", "X-SSL-Cert", trusted, nil, []string{"-----BEGIN"}, ""},
		{"broken escape", "X-SSL-Cert", trusted, nil, []string{"%zz"}, ""},
		{"nginx without a certificate", "X-SSL-Cert", trusted, nil, []string{""}, ""},
		{"XFCC", "X-Forwarded-Client-Cert", trusted, nil, []string{`By=spiffe://a/b;Hash=00ff;Cert="` + escaped + `";Subject="CN=x,O=\"y\";z"`}, "client"},
		{"XFCC, hash only", "X-Forwarded-Client-Cert", trusted, nil, []string{`Hash=00ff`}, ""},
		{"XFCC, two elements", "X-Forwarded-Client-Cert", trusted, nil, []string{`Cert="` + escaped + `",Cert="` + escaped + `"`}, ""},
		{"XFCC, Cert twice", "X-Forwarded-Client-Cert", trusted, nil, []string{`Cert="` + escaped + `";Cert="` + escaped + `"`}, ""},
		{"XFCC, open quote", "X-Forwarded-Client-Cert", trusted, nil, []string{`Cert="` + escaped}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			name := http.CanonicalHeaderKey(tt.header)
			if tt.header != "" && tt.sent != nil {
				r.Header[name] = tt.sent
			}
			if tt.tls != nil {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.tls}}
			}
			Edge{TrustedProxies: proxies, ClientCertHeader: tt.header}.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
				got := ""
				if c := ClientCert(in); c != nil {
					got = c.Subject.CommonName
				}
				if got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				if tt.peer == stranger && in.Header[name] != nil {
					t.Error("a stranger's header went through")
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
			if tt.sent != nil && !slices.Equal(r.Header[name], tt.sent) {
				t.Error("the outer request was changed")
			}
		})
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{client}}
	if ClientCert(r) != client {
		t.Error("without Edge the connection counts")
	}
}

// FuzzForwarded asserts what a proxy that appends relies on: whatever stands
// before it, what it says is read as it said it, or nothing is.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"", "for=1.2.3.4", `for="[::1]:1";proto=https, for=x`, `for="`, `for="\`, `a=";,=`, `for=1;for=2`, ",,", `Cert="a\"b"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		before, ok := elements(s, "for")
		if !ok && before != nil {
			t.Fatal("an error came with a value")
		}
		for _, says := range []struct{ text, value string }{{"for=192.0.2.1", "192.0.2.1"}, {`for="[2001:db8::1]:80";by=x`, "[2001:db8::1]:80"}} {
			after, ok2 := elements(s+", "+says.text, "for")
			if ok && !ok2 || ok2 && (len(after) == 0 || after[len(after)-1] != says.value) {
				t.Fatalf("%q appended: %v %q", says.text, ok2, after)
			}
			if ok && !slices.Equal(after[:len(after)-1], before) {
				t.Fatalf("%q became %q", before, after)
			}
		}
		trust := func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") }
		for _, rfc7239 := range []bool{false, true} {
			if got := clientAddr(netip.MustParseAddr("10.0.0.1"), []string{s}, rfc7239, trust); !got.IsValid() || got.Zone() != "" {
				t.Fatalf("address %v", got)
			}
		}
		headerCert("X-Forwarded-Client-Cert", []string{s})
		headerCert("X-Ssl-Cert", []string{s})
	})
}
