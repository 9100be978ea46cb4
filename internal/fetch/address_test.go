package fetch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Ways to write an address that must not be reached, or a URL that two parsers
// read differently (S41, O17).
func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url  string
		want error
	}{
		{"https://rp.example/jwks", nil},
		{"https://rp.example", nil},
		{"https://rp.example:8443/jwks?x=1&y=%2F", nil},
		{"HTTPS://RP.Example/jwks", nil},
		{"https://a-b_c.xn--bcher-kva.example/", nil},
		{"https://1.example.com/", nil},
		{"https://3com.example/", nil},
		{"https://93.184.216.34/jwks", nil},
		{"https://[2606:2800:220:1::1]:443/jwks", nil},
		{"https://" + strings.Repeat("a", 63) + ".example/", nil},

		// Schemes.
		{"http://rp.example/jwks", ErrURL},
		{"file:///etc/passwd", ErrURL},
		{"gopher://127.0.0.1:25/x", ErrURL},
		{"ftp://rp.example/x", ErrURL},
		{"data:application/json,{}", ErrURL},
		{"javascript:alert(1)", ErrURL},
		{"jar:https://rp.example!/x", ErrURL},
		{"dict://rp.example/", ErrURL},
		{"unix:///var/run/docker.sock", ErrURL},
		{"https:rp.example/jwks", ErrURL},
		{"//rp.example/jwks", ErrURL},
		{"/jwks", ErrURL},
		{"rp.example/jwks", ErrURL},
		{"", ErrURL},
		{"https://", ErrURL},
		{"https:///jwks", ErrURL},
		{"https:/rp.example/jwks", ErrURL},
		{" https://rp.example/", ErrURL},
		{"https\u200b://rp.example/", ErrURL},

		// User-info, and what looks like it.
		{"https://user@rp.example/", ErrURL},
		{"https://user:pass@rp.example/", ErrURL},
		{"https://@rp.example/", ErrURL},
		{"https://rp.example@127.0.0.1/", ErrURL},
		{"https://rp.example%40127.0.0.1/", ErrURL},
		{"https://127.0.0.1\\@rp.example/", ErrURL},
		{"https://rp.example\\.evil.example/", ErrURL},
		{"https://rp.example#@127.0.0.1/", ErrURL},
		{"https://rp.example/jwks#f", ErrURL},
		{"https://rp.example/jwks#", ErrURL},
		{"https://rp.example;127.0.0.1/", ErrURL},
		{"https://rp.example,127.0.0.1/", ErrURL},
		{"https://rp.example&127.0.0.1/", ErrURL},

		// Ports.
		{"https://rp.example:/", ErrURL},
		{"https://rp.example:0/", ErrURL},
		{"https://rp.example:65536/", ErrURL},
		{"https://rp.example:-1/", ErrURL},
		{"https://rp.example:443:443/", ErrURL},
		{"https://rp.example:https/", ErrURL},
		{"https://[2606:2800:220:1::1]443/", ErrURL},
		{"https://2606:2800:220:1::1/", ErrURL},

		// Loopback and this host.
		{"https://localhost/", ErrURL},
		{"https://LOCALHOST/", ErrURL},
		{"https://127.0.0.1/", ErrBlocked},
		{"https://127.0.0.1:22/", ErrBlocked},
		{"https://127.255.255.254/", ErrBlocked},
		{"https://0.0.0.0/", ErrBlocked},
		{"https://[::]/", ErrBlocked},
		{"https://[::1]/", ErrBlocked},
		{"https://[0:0:0:0:0:0:0:1]/", ErrBlocked},
		{"https://[0000:0000:0000:0000:0000:0000:0000:0001]/", ErrBlocked},

		// Addresses that only some read as addresses.
		{"https://127.1/", ErrURL},
		{"https://127.0.1/", ErrURL},
		{"https://2130706433/", ErrURL},
		{"https://0x7f000001/", ErrURL},
		{"https://0x7f.0.0.1/", ErrURL},
		{"https://0177.0.0.1/", ErrURL},
		{"https://017700000001/", ErrURL},
		{"https://127.000.000.001/", ErrURL},
		{"https://0/", ErrURL},
		{"https://0xa9fea9fe/", ErrURL},
		{"https://169.254.43518/", ErrURL},
		{"https://127.0.0.1./", ErrURL},
		{"https://127.0.0.1%00.rp.example/", ErrURL},
		{"https://①②⑦.⓪.⓪.①/", ErrURL},
		{"https://127。0。0。1/", ErrURL},
		{"https://%31%32%37.0.0.1/", ErrURL},
		{"https://[127.0.0.1]/", ErrURL},

		// Private and special addresses.
		{"https://10.0.0.1/", ErrBlocked},
		{"https://172.16.0.1/", ErrBlocked},
		{"https://192.168.1.1/", ErrBlocked},
		{"https://100.64.0.1/", ErrBlocked},
		{"https://169.254.169.254/latest/meta-data/", ErrBlocked},
		{"https://100.100.100.200/", ErrBlocked},
		{"https://192.0.0.192/", ErrBlocked},
		{"https://168.63.129.16/", ErrBlocked},
		{"https://224.0.0.1/", ErrBlocked},
		{"https://255.255.255.255/", ErrBlocked},
		{"https://[fe80::1]/", ErrBlocked},
		{"https://[fe80::1%25eth0]/", ErrBlocked},
		{"https://[2606:2800:220:1::1%25eth0]/", ErrBlocked},
		{"https://[fd00:ec2::254]/", ErrBlocked},
		{"https://[ff02::1]/", ErrBlocked},
		{"https://[::ffff:127.0.0.1]/", ErrBlocked},
		{"https://[::ffff:7f00:1]/", ErrBlocked},
		{"https://[::ffff:93.184.216.34]/", ErrBlocked},
		{"https://[::127.0.0.1]/", ErrBlocked},
		{"https://[64:ff9b::7f00:1]/", ErrBlocked},
		{"https://[64:ff9b::169.254.169.254]/", ErrBlocked},
		{"https://[64:ff9b:1::a00:1]/", ErrBlocked},
		{"https://[2002:7f00:1::]/", ErrBlocked},
		{"https://[2001:0:7f00:1::]/", ErrBlocked},

		// Names.
		{"https://intranet/", ErrURL},
		{"https://metadata/", ErrURL},
		{"https://rp.example./", ErrURL},
		{"https://.rp.example/", ErrURL},
		{"https://rp..example/", ErrURL},
		{"https://-rp.example/", ErrURL},
		{"https://rp-.example/", ErrURL},
		{"https://*.rp.example/", ErrURL},
		{"https://rp.exam ple/", ErrURL},
		{"https://rp.example\t/", ErrURL},
		{"https://rp.example\r\nHost: evil.example/", ErrURL},
		{"https://rp.example/\r\nX: y", ErrURL},
		{"https://rp.example/\x00", ErrURL},
		{"https://bücher.example/", ErrURL},
		{"https://r\u00adp.example/", ErrURL},
		{"https://rp.example%2f.evil.example/", ErrURL},
		{"https://" + strings.Repeat("a", 64) + ".example/", ErrURL},
		{"https://" + strings.Repeat("a.", 127) + "example/", ErrURL},
		{"https://rp.example/" + strings.Repeat("a", 2048), ErrURL},
		{"https://rp.example/%zz", ErrURL},
		{"https://rp.example/<script>", ErrURL},
		{"https://[::1/", ErrURL},
		{"https://]/", ErrURL},
		{"https://[]/", ErrURL},
		{"https://[rp.example]/", ErrURL},
		{"https://${jndi:ldap}.example/", ErrURL},
	} {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			f := New(Options{})
			if err := f.Check(tt.url); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("Check: %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				return
			}
			f.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
				t.Errorf("%s was looked up", host)
				return nil, errors.New("no")
			}
			f.dial = func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
				t.Errorf("%s was dialled", addr)
				return nil, errors.New("no")
			}
			if body, err := f.Get(t.Context(), tt.url); !errors.Is(err, tt.want) || body != nil {
				t.Errorf("Get: %q, %v", body, err)
			}
		})
	}
}

func TestCheckURLWithLoopback(t *testing.T) {
	t.Parallel()
	f := New(Options{AllowLoopback: true})
	for _, u := range []string{"https://127.0.0.1:8443/", "https://[::1]/", "https://localhost/", "https://127.9.9.9/"} {
		if err := f.Check(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{"http://127.0.0.1/", "https://10.0.0.1/", "https://0.0.0.0/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::1%25lo]/", "https://127.1/", "https://printer/"} {
		if err := f.Check(u); err == nil {
			t.Errorf("%s passed", u)
		}
	}
}

// The edges of every range.
func TestPublic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		public bool
		addrs  string
	}{
		{true, "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0"},
		{true, "126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0"},
		{true, "191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0"},
		{true, "198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255"},
		{false, "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.255.255.255"},
		{false, "168.63.129.16 169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255"},
		{false, "192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 203.0.113.255"},
		{false, "224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255"},
		{true, "2001:200:: 2001:4860:4860::8888 2001:db7:ffff:: 2001:db9:: 2003:: 2606:2800:220:1::1 2a00:1450:4001:801::200e 3ffe::"},
		{false, ":: ::1 ::2 ::7f00:1 ::ffff:0:0 ::ffff:8.8.8.8 ::ffff:127.0.0.1 ::ffff:0:127.0.0.1"},
		{false, "64:ff9b::8.8.8.8 64:ff9b::127.0.0.1 64:ff9b:1::1 64:ff9b:1:ffff::10.0.0.1 100::1 100:0:0:1::1"},
		{false, "2001:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::"},
		{false, "2001:db8:: 2001:db8:ffff:ffff::1 2002:: 2002:7f00:1:: 2002:a00:1:: 2002:ffff:ffff:: 3fff:: 3fff:fff:ffff::"},
		{false, "4000:: 5f00::1 8000:: 1fff:ffff:: fc00:: fc00::1 fd00:ec2::254 fdff:ffff:: fe80::1 febf:ffff:: fec0::1 feff:: ff00:: ff02::1 ffff::"},
		{false, "2606:2800:220:1::1%eth0 fe80::1%lo"},
	} {
		for _, s := range strings.Fields(tt.addrs) {
			if got := public(netip.MustParseAddr(s)); got != tt.public {
				t.Errorf("public(%s) = %v", s, got)
			}
		}
	}
	if public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

// What a name stands for is judged when it is dialled, and only what is public
// is dialled.
func TestResolve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, answer, dialled string
	}{
		{"public", "93.184.216.34", "93.184.216.34"},
		{"two families", "2606:2800:220:1::1 93.184.216.34", "2606:2800:220:1::1 93.184.216.34"},
		{"A record in the mapped form", "::ffff:93.184.216.34", "93.184.216.34"},
		{"loopback", "127.0.0.1", ""},
		{"loopback, IPv6", "::1", ""},
		{"loopback, mapped", "::ffff:127.0.0.1", ""},
		{"loopback, NAT64", "64:ff9b::127.0.0.1", ""},
		{"loopback, 6to4", "2002:7f00:1::1", ""},
		{"unspecified", "0.0.0.0 ::", ""},
		{"metadata", "169.254.169.254", ""},
		{"private", "10.1.2.3 192.168.0.1 172.20.0.1", ""},
		{"unique local", "fd12::1", ""},
		{"link-local with a zone", "fe80::1%eth0", ""},
		{"public with a zone", "2606:2800:220:1::1%eth0", ""},
		{"public after private", "127.0.0.1 93.184.216.34", "93.184.216.34"},
		{"private after public", "93.184.216.34 127.0.0.1 ::1", "93.184.216.34"},
		{"nothing", "", ""},
		{"ten", strings.TrimSpace(strings.Repeat("93.184.216.34 ", 10)), strings.TrimSpace(strings.Repeat("93.184.216.34 ", 8))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := New(Options{})
			f.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "rp.example." {
					t.Errorf("looked up %q: search domains would be tried", host)
				}
				var addrs []netip.Addr
				for _, s := range strings.Fields(tt.answer) {
					addrs = append(addrs, netip.MustParseAddr(s))
				}
				return addrs, nil
			}
			var dialled []string
			f.dial = func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
				if addr.Port() != 8443 {
					t.Errorf("port %d", addr.Port())
				}
				dialled = append(dialled, addr.Addr().String())
				return nil, errors.New("nobody there")
			}
			_, err := f.Get(t.Context(), "https://rp.example:8443/jwks")
			want := ErrUnavailable
			if tt.dialled == "" {
				want = ErrBlocked
			}
			if !errors.Is(err, want) || strings.Join(dialled, " ") != tt.dialled {
				t.Errorf("dialled %q, %v; want %q, %v", dialled, err, tt.dialled, want)
			}
		})
	}
}

// A second line behind resolve: the socket itself refuses.
func TestDialerRefusesByItself(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", network)
		if err != nil {
			continue // no IPv6 here
		}
		t.Cleanup(func() { l.Close() })
		addr := netip.MustParseAddrPort(l.Addr().String())
		if conn, err := New(Options{}).dial(t.Context(), addr); !errors.Is(err, ErrBlocked) || conn != nil {
			t.Errorf("%s: %v, %v", addr, conn, err)
		}
		mapped := netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
		if conn, err := New(Options{}).dial(t.Context(), mapped); !errors.Is(err, ErrBlocked) || conn != nil {
			t.Errorf("%s: %v, %v", mapped, conn, err)
		}
		conn, err := New(Options{AllowLoopback: true}).dial(t.Context(), addr)
		if err != nil {
			t.Errorf("%s with AllowLoopback: %v", addr, err)
			continue
		}
		conn.Close()
	}
	f := New(Options{})
	for _, address := range []string{"", "nonsense", "127.0.0.1:443", "[::ffff:8.8.8.8]:443", "[fe80::1%lo]:443"} {
		if err := f.control("tcp", address, nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// A name that is public when it is checked and private when it is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	f := New(Options{})
	var mu sync.Mutex
	lookups := 0
	f.lookup = func(context.Context, string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		lookups++
		if lookups == 1 {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	f.dial = func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
		if !public(addr.Addr()) {
			t.Errorf("%s was dialled", addr)
		}
		return nil, errors.New("nobody there")
	}
	const u = "https://rebind.example/jwks"
	if err := f.Check(u); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(t.Context(), u); !errors.Is(err, ErrUnavailable) {
		t.Errorf("first: %v", err)
	}
	if _, err := f.Get(t.Context(), u+"?2"); !errors.Is(err, ErrBlocked) {
		t.Errorf("second: %v", err)
	}
	if lookups != 2 {
		t.Errorf("%d lookups for two fetches", lookups)
	}
}

func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"https://rp.example/jwks", "https://93.184.216.34:8443/?q", "https://[2606:2800:220:1::1]/", "https://127.1/", "https://user@rp.example/",
		"https://[::ffff:127.0.0.1]/", "https://rp.example\\@x/", "http://x", "https://0x7f.1/", "https://rp.example:/", "https://[fe80::1%25a]/",
	} {
		f.Add(seed)
	}
	fetcher := New(Options{})
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := fetcher.parse(raw)
		if err != nil {
			if !errors.Is(err, ErrURL) && !errors.Is(err, ErrBlocked) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q passed as %+v", raw, u)
		}
		// A crude reader sees the same host as net/url.
		rest, ok := strings.CutPrefix(strings.ToLower(raw), "https://")
		if !ok {
			t.Fatalf("%q passed", raw)
		}
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			rest = rest[:i]
		}
		if rest != strings.ToLower(u.Host) {
			t.Fatalf("%q: host %q or %q", raw, u.Host, rest)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host {
			t.Fatalf("%q: %q, then %v, %v", raw, u.Host, again, err)
		}
		host := u.Hostname()
		if addr, err := netip.ParseAddr(host); err == nil {
			if !public(addr) {
				t.Fatalf("%q passed", raw)
			}
			return
		}
		last := host[strings.LastIndexByte(host, '.')+1:]
		if net.ParseIP(host) != nil || !strings.Contains(host, ".") || last[0] >= '0' && last[0] <= '9' {
			t.Fatalf("%q passed", raw)
		}
	})
}
