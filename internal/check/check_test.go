package check

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// plugged is what an application puts into an interface field: a cycle, and a
// tag of a validator that is not ours.
type plugged struct {
	Self  any
	Other string `validate:"a_rule_of_the_application"`
}

type inner struct {
	Name string `json:"name" validate:"required"`
}

type outer struct {
	Issuer   string          `json:"issuer" validate:"required"`
	Storage  any             `json:"storage" validate:"required"`
	Hook     func()          `json:"hook" validate:"required"`
	Plain    any             `json:"plain"`
	Secrets  [][]byte        `json:"secrets" validate:"required,min=1,dive,min=4"`
	Scopes   []inner         `json:"scopes" validate:"max=2,dive"`
	Pointers []*inner        `json:"pointers"`
	Inner    inner           `json:"inner"`
	Maybe    *inner          `json:"maybe"`
	Count    *int            `json:"count,omitempty" validate:"omitempty,min=1"`
	URIs     []string        `json:"uris" validate:"max=3,unique,dive,redirect_uri"`
	URL      string          `json:"url" validate:"omitempty,https_url"`
	Skipped  string          `validate:"-"`
	NoName   string          `json:"-" validate:"max=1"`
	Time     time.Time       `json:"time"`
	Timeout  time.Duration   `json:"timeout" validate:"min=0"`
	URLs     map[string]bool `json:"urls"`
}

func good() outer {
	one := 1
	p := &plugged{}
	p.Self = p
	return outer{
		Issuer: "x", Storage: p, Hook: func() {}, Plain: p, Secrets: [][]byte{[]byte("1234")},
		Inner: inner{Name: "n"}, Count: &one, URIs: []string{"https://a.example/"}, URL: "https://a.example",
	}
}

func TestStruct(t *testing.T) {
	t.Parallel()
	zero := 0
	for _, tc := range []struct {
		name   string
		change func(*outer)
		goName string // "": nothing found
		wire   string
		tag    string
		param  string
	}{
		{"good", func(*outer) {}, "", "", "", ""},
		{"missing", func(o *outer) { o.Issuer = "" }, "Issuer", "issuer", "required", ""},
		{"nil interface", func(o *outer) { o.Storage = nil }, "Storage", "storage", "required", ""},
		{"nil function", func(o *outer) { o.Hook = nil }, "Hook", "hook", "required", ""},
		{"nil slice", func(o *outer) { o.Secrets = nil }, "Secrets", "secrets", "required", ""},
		{"element", func(o *outer) { o.Secrets = append(o.Secrets, []byte("1")) }, "Secrets[1]", "secrets[1]", "min", "4"},
		{"element of a struct", func(o *outer) { o.Scopes = []inner{{Name: "n"}, {}} }, "Scopes[1].Name", "scopes[1].name", "required", ""},
		{"rule before dive", func(o *outer) {
			o.Scopes = make([]inner, 3)
			o.Scopes[0].Name, o.Scopes[1].Name, o.Scopes[2].Name = "a", "b", "c"
		}, "Scopes", "scopes", "max", "2"},
		{"pointer in a slice", func(o *outer) { o.Pointers = []*inner{nil, {}} }, "Pointers[1].Name", "pointers[1].name", "required", ""},
		{"nested", func(o *outer) { o.Inner.Name = "" }, "Inner.Name", "inner.name", "required", ""},
		{"pointer", func(o *outer) { o.Maybe = &inner{} }, "Maybe.Name", "maybe.name", "required", ""},
		{"number behind a pointer", func(o *outer) { o.Count = &zero }, "Count", "count", "min", "1"},
		{"nil number", func(o *outer) { o.Count = nil }, "", "", "", ""},
		{"redirect URI", func(o *outer) { o.URIs = append(o.URIs, "https://a.example/#f") }, "URIs[1]", "uris[1]", "redirect_uri", ""},
		{"twice", func(o *outer) { o.URIs = append(o.URIs, o.URIs[0]) }, "URIs", "uris", "unique", ""},
		{"URL", func(o *outer) { o.URL = "http://a.example" }, "URL", "url", "https_url", ""},
		{"no wire name", func(o *outer) { o.NoName = "ab" }, "NoName", "NoName", "max", "1"},
		{"duration", func(o *outer) { o.Timeout = -1 }, "Timeout", "timeout", "min", "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := good()
			tc.change(&o)
			for _, found := range []struct {
				got   []Violation
				field string
			}{{Struct(&o), tc.goName}, {Struct(o), tc.goName}, {Wire(&o), tc.wire}} {
				if found.field == "" {
					if len(found.got) != 0 {
						t.Errorf("%+v", found.got)
					}
					continue
				}
				if len(found.got) != 1 || found.got[0].Field != found.field || found.got[0].Tag != tc.tag || found.got[0].Param != tc.param {
					t.Errorf("%+v, want %s %s=%s", found.got, found.field, tc.tag, tc.param)
				}
			}
		})
	}
}

func TestStructReportsAll(t *testing.T) {
	t.Parallel()
	o := outer{Secrets: [][]byte{{}, {}}, URIs: []string{"x", "y"}}
	var fields []string
	for _, v := range Struct(o) {
		fields = append(fields, v.Field)
	}
	want := []string{"Issuer", "Storage", "Hook", "Secrets[0]", "Secrets[1]", "Inner.Name", "URIs[0]", "URIs[1]"}
	if !slices.Equal(fields, want) {
		t.Errorf("%v\nwant %v", fields, want)
	}
	if v := Struct(outer{URIs: []string{"nonsense"}}); v[len(v)-1].Value != "nonsense" {
		t.Errorf("value: %+v", v[len(v)-1])
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if v := Wire(good()); len(v) != 0 {
				t.Error(v)
			}
		})
	}
	wg.Wait()
}

func TestRedirectURI(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, uri, problem string }{
		{"https", "https://app.example/cb", ""},
		{"https with query", "https://app.example/cb?tenant=1&x", ""},
		{"https with port", "https://app.example:8443/cb", ""},
		{"development", "https://localhost:4207", ""},
		{"development with path", "https://localhost:4207/cb", ""},
		{"no path", "https://app.example", ""},
		{"IPv4", "https://192.0.2.1/cb", ""},
		{"IPv6", "https://[2001:db8::1]:8443/cb", ""},
		{"punycode", "https://xn--bcher-kva.example/cb", ""},
		{"percent-encoding", "https://app.example/a%20b?c=%2F", ""},
		{"loopback", "http://127.0.0.1/cb", ""},
		{"loopback with port", "http://[::1]:51004/cb", ""},
		{"private-use scheme", "com.example.app:/cb", ""},
		{"private-use scheme with host", "com.example.app://oauth/cb", ""},
		{"private-use scheme in capitals", "com.example.MyApp:/cb", ""},

		{"G02 javascript", "javascript:alert(1)", "has no slash after its scheme"},
		{"G02 javascript with slashes", "javascript://app.example/%0aalert(1)", "has a scheme that is neither https nor the reverse of a domain name"},
		{"G02 javascript in capitals", "JavaScript://a.example/x", "has a scheme that is neither https nor the reverse of a domain name"},
		{"A35 data", "data:text/html,x", "has no slash after its scheme"},
		{"data with slash", "data:/text,x", "has a scheme that is neither https nor the reverse of a domain name"},
		{"vbscript", "vbscript:/x", "has a scheme that is neither https nor the reverse of a domain name"},
		{"file", "file:///etc/passwd", "has no valid host"},
		{"file without authority", "file:/etc/passwd", "has a scheme that is neither https nor the reverse of a domain name"},
		{"blob", "blob:https://a.example/x", "has no slash after its scheme"},
		{"intent", "intent://a.example/x", "has a scheme that is neither https nor the reverse of a domain name"},
		{"ws", "wss://a.example/x", "has a scheme that is neither https nor the reverse of a domain name"},
		{"no dot in the scheme", "myapp://cb", "has a scheme that is neither https nor the reverse of a domain name"},
		{"G04 fragment", "https://app.example/cb#f", "has a fragment"},
		{"G04 empty fragment", "https://app.example/cb#", "has a fragment"},
		{"G07 wildcard host", "https://*.app.example/cb", "has no valid host"},
		{"G07 wildcard path", "https://app.example/*", "has a wildcard"},
		{"G07 wildcard query", "https://app.example/?x=*", "has a wildcard"},
		{"G08 user-info", "https://user@app.example/cb", "has user-info"},
		{"G08 user-info with password", "https://app.example:pw@evil.example/cb", "has user-info"},
		{"G08 empty user-info", "https://@app.example/cb", "has user-info"},
		{"G09 empty", "", "is empty"},
		{"G09 relative", "/cb", "is not absolute"},
		{"A36 scheme-relative", "//app.example/cb", "is not absolute"},
		{"G09 CR LF", "https://app.example/cb\r\nSet-Cookie: a=b", "has a character that must be percent-encoded"},
		{"G09 tab", "https://app.example/c\tb", "has a character that must be percent-encoded"},
		{"NUL", "https://app.example/cb\x00", "has a character that must be percent-encoded"},
		{"blank", "https://app.example/c b", "has a character that must be percent-encoded"},
		{"leading blank", " https://app.example/cb", "has a character that must be percent-encoded"},
		{"backslash", "https://app.example\\@evil.example/cb", "has a character that must be percent-encoded"},
		{"backslashes for slashes", "https:\\\\app.example/cb", "has a character that must be percent-encoded"},
		{"quote", "https://app.example/\"x", "has a character that must be percent-encoded"},
		{"G34 markup", "<script>", "has a character that must be percent-encoded"},
		{"not ASCII", "https://bücher.example/cb", "has a character that must be percent-encoded"},
		{"full-width dot", "https://app\uff0eexample/cb", "has a character that must be percent-encoded"},
		{"DEL", "https://app.example/\x7f", "has a character that must be percent-encoded"},
		{"broken percent", "https://app.example/%zz", "has a broken percent-encoding"},
		{"percent at the end", "https://app.example/%a", "has a broken percent-encoding"},
		{"percent in the host", "https://app.example%2eevil.example/cb", "has no valid host"},
		{"no authority", "https:/app.example/cb", "has no host"},
		{"no slashes", "https:app.example/cb", "has no slash after its scheme"},
		{"empty host", "https:///cb", "has no valid host"},
		{"port only", "https://:443/cb", "has no valid host"},
		{"port 0", "https://app.example:0/cb", "has a port that is no number from 1 to 65535"},
		{"port 65536", "https://app.example:65536/cb", "has a port that is no number from 1 to 65535"},
		{"empty port", "https://app.example:/cb", "has a port that is no number from 1 to 65535"},
		{"port with sign", "https://app.example:+443/cb", "has a port that is no number from 1 to 65535"},
		{"port with letters", "https://app.example:443x/cb", "has a port that is no number from 1 to 65535"},
		{"port with leading zero", "https://app.example:0443/cb", "has a port that is no number from 1 to 65535"},
		{"scheme in capitals", "HTTPS://app.example/cb", "has a scheme in capitals"},
		{"scheme with a digit first", "1com.example:/cb", "is not absolute"},
		{"dot segments", "https://app.example/cb/../evil", "has a dot segment in its path"},
		{"dot segment at the end", "https://app.example/cb/..", "has a dot segment in its path"},
		{"encoded dot segments", "https://app.example/cb/%2E%2e/evil", "has a dot segment in its path"},
		{"half encoded", "https://app.example/cb/.%2e/evil", "has a dot segment in its path"},
		{"dots in a name", "https://app.example/a..b/c.", ""},
		{"dots in the query", "https://app.example/cb?a=/../", ""},
		{"trailing dot in the host", "https://app.example./cb", "has no valid host"},
		{"empty label", "https://app..example/cb", "has no valid host"},
		{"long label", "https://" + strings.Repeat("a", 64) + ".example/cb", "has no valid host"},
		{"hyphen first", "https://-app.example/cb", "has no valid host"},
		{"decimal address", "https://2130706433/cb", "has no valid host"},
		{"short address", "https://127.1/cb", "has no valid host"},
		{"octal address", "https://0177.0.0.1/cb", "has no valid host"},
		{"hexadecimal address", "https://127.0.0.0x1/cb", "has no valid host"},
		{"IPv6 with zone", "https://[fe80::1%25eth0]/cb", "has a host that is no IPv6 address"},
		{"IPv6 without brackets", "https://2001:db8::1/cb", "has no valid host"},
		{"brackets round a name", "https://[app.example]/cb", "has a host that is no IPv6 address"},
		{"after the bracket", "https://[::1]x/cb", "has a port that is no number from 1 to 65535"},
		{"after the bracket with port", "https://[::1]x:80/cb", "has a host that is no IPv6 address"},
		{"long", "https://app.example/" + strings.Repeat("a", 2048), "is longer than 2048 characters"},
		{"planted code", "https://app.example/cb?code=x", "has a query parameter that the authorization response sets"},
		{"planted state", "https://app.example/cb?a=b&state", "has a query parameter that the authorization response sets"},
		{"planted iss, encoded", "https://app.example/cb?a=b&%69ss=x", "has a query parameter that the authorization response sets"},
		{"a parameter with such an end", "https://app.example/cb?barcode=x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := RedirectURI(tc.uri); got != tc.problem {
				t.Errorf("RedirectURI(%q) = %q, want %q", tc.uri, got, tc.problem)
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ uri, problem string }{
		{"https://a.example", ""},
		{"https://a.example/x?y=z*", ""},
		{"https://localhost:4207/x", ""},
		{"http://a.example", "is not https"},
		{"HTTPS://a.example", "is not https"},
		{"https:/a", "has no host"},
		{"https://a.example/#x", "has a fragment"},
		{"https://u@a.example/", "has user-info"},
		{"javascript:alert(1)", "has no slash after its scheme"},
		{"javascript:/x", "is not https"},
		{"a.example", "is not absolute"},
		{"", "is empty"},
	} {
		if got := HTTPS(tc.uri); got != tc.problem {
			t.Errorf("HTTPS(%q) = %q, want %q", tc.uri, got, tc.problem)
		}
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ uri, problem string }{
		{"https://op.example", ""},
		{"https://op.example:8443/tenant/1", ""},
		{"http://localhost:4207", ""},
		{"http://127.0.0.1:4207/x", ""},
		{"http://[::1]", ""},
		{"http://op.example", "is http and not on a loopback host"},
		{"http://localhost.evil.example", "is http and not on a loopback host"},
		{"HTTPS://op.example", "is not https"},
		{"https://op.example/", "ends with a slash"},
		{"https://op.example?x", "has a query"},
		{"https://op.example#x", "has a fragment"},
		{"https:/op.example", "has no host"},
		{"op.example", "is not absolute"},
	} {
		if got := Issuer(tc.uri); got != tc.problem {
			t.Errorf("Issuer(%q) = %q, want %q", tc.uri, got, tc.problem)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ uri, origin string }{
		{"https://A.example/x", "https://a.example"},
		{"https://a.example:443/x", "https://a.example"},
		{"https://a.example:8443?x", "https://a.example:8443"},
		{"http://127.0.0.1:80/x", "http://127.0.0.1"},
		{"http://[::1]:443/x", "http://[::1]:443"},
	} {
		u, problem := ParseURI(tc.uri)
		if got := u.Origin(); got != tc.origin || problem != "" {
			t.Errorf("%q: %q, %q", tc.uri, got, problem)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": true, "Example – Ünïcödé 例え": true, "नमस्ते\u200d": true, "🙂": true,
		"a\nb": false, "a\tb": false, "a\x00": false, "\x7f": false, "\u0085": false,
		"pay\u202epal": false, "\u2066x\u2069": false, "\u200f": false, "\ufeffx": false, "\u200bx": false,
		"\u2028": false, "\u00ad": false, "\xff": false, "\U000e0041": false,
	} {
		if Text(s) != want {
			t.Errorf("Text(%q) = %v", s, !want)
		}
	}
}

func TestScope(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"openid": true, "openid profile": true, "https://api.example/read urn:x:y !#$%": true,
		strings.TrimSpace(strings.Repeat("a ", 64)): true,
		strings.TrimSpace(strings.Repeat("a ", 65)): false,
		"": false, " ": false, "a  b": false, " a": false, "a ": false, "a\tb": false, `a"b`: false, `a\b`: false,
		"ä": false, "a\x00": false, strings.Repeat("a", 256): true, strings.Repeat("a", 257): false,
	} {
		if Scope(s) != want {
			t.Errorf("Scope(%q) = %v", s, !want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		ok   func(string) bool
		s    string
		want bool
	}{
		{"grant", GrantType, "authorization_code", true},
		{"grant", GrantType, "urn:ietf:params:oauth:grant-type:device_code", true},
		{"grant", GrantType, "https://a.example/grant", true},
		{"grant", GrantType, "password", false},
		{"grant", GrantType, "AUTHORIZATION_CODE", false},
		{"grant", GrantType, "code", false},
		{"grant", GrantType, "urn:", false},
		{"grant", GrantType, "", false},
		{"response", ResponseType, "code", true},
		{"response", ResponseType, "id_token code", true},
		{"response", ResponseType, "code id_token token", true},
		{"response", ResponseType, "code  id_token", false},
		{"response", ResponseType, "code code", false},
		{"response", ResponseType, "none code", false},
		{"response", ResponseType, "", false},
		{"sign", SignatureAlg, "ES256", true},
		{"sign", SignatureAlg, "none", false},
		{"sign", SignatureAlg, "None", false},
		{"sign", SignatureAlg, "HS256", false},
		{"sign", SignatureAlg, "es256", false},
		{"key", KeyAlg, "ECDH-ES", true},
		{"key", KeyAlg, "RSA1_5", false},
		{"key", KeyAlg, "dir", false},
		{"key", KeyAlg, "PBES2-HS256+A128KW", false},
		{"content", ContentAlg, "A256GCM", true},
		{"content", ContentAlg, "none", false},
	} {
		if tc.ok(tc.s) != tc.want {
			t.Errorf("%s %q: %v", tc.name, tc.s, !tc.want)
		}
	}
}

// TestTagsExist: a tag that validator does not know panics at the first use,
// which is here.
func TestTagsExist(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf("x")
	for _, tag := range []string{"text", "vschar", "scope", "https_url", "https_uri", "issuer", "redirect_uri", "grant_type", "response_type", "jws_alg", "jwe_alg", "jwe_enc", "auth_alg"} {
		theChecker().value(v, tag, "f")
	}
}

// FuzzParseURI compares with net/url: what parses here parses there to the same
// parts, so that nobody further on sees another host.
func FuzzParseURI(f *testing.F) {
	for _, s := range []string{
		"https://app.example/cb", "http://127.0.0.1:51004/cb?x=1", "http://[::1]/", "com.example.app:/cb",
		"https://a@b", "https://a:b@c/", "https://a\\b", "https:a", "javascript:alert(1)", "https://127.0.0.1.evil.example",
		"https://a.example:443?x", "a.b://c:1/../", "https://[::ffff:127.0.0.1]/", "https://a/%2e%2E/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, problem := ParseURI(s)
		if problem != "" {
			return
		}
		p, err := url.Parse(s)
		if err != nil {
			t.Fatalf("%q: net/url: %v", s, err)
		}
		host := p.Hostname()
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		path := p.EscapedPath()
		if p.RawQuery != "" || p.ForceQuery {
			path += "?" + p.RawQuery
		}
		if p.Scheme != strings.ToLower(u.Scheme) || host != u.Host || p.Port() != u.Port || p.User != nil || p.Fragment != "" || p.Opaque != "" || path != u.Path {
			t.Errorf("%q: %+v, net/url: %#v", s, u, p)
		}
	})
}
