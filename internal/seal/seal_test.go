package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b, b + 1}, 16) }

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := New("https://a.example", [][]byte{secret(1)})
	for _, plain := range [][]byte{nil, {0}, bytes.Repeat([]byte("x"), 5000)} {
		sealed, err := k.Seal("purpose", rand.Reader, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open("purpose", sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%q, %v", got, err)
		}
		if len(plain) > 8 && bytes.Contains(sealed, plain) {
			t.Error("the plaintext shows")
		}
		again, _ := k.Seal("purpose", rand.Reader, plain)
		if bytes.Equal(again, sealed) {
			t.Error("sealing twice gives the same")
		}
	}
}

// TestOpenRefuses: another purpose, issuer, secret, salt, and any changed bit.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k := New("https://a.example", [][]byte{secret(1)})
	sealed, err := k.Seal("purpose", rand.Reader, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, got []byte, err error) {
		t.Helper()
		if !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	got, err := k.Open("other", sealed)
	refused("purpose", got, err)
	got, err = New("https://b.example", [][]byte{secret(1)}).Open("purpose", sealed)
	refused("issuer", got, err)
	got, err = New("https://a.example", [][]byte{secret(3)}).Open("purpose", sealed)
	refused("secret", got, err)
	got, err = k.OpenTo([]byte("salt"), "purpose", sealed)
	refused("salt", got, err)
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		got, err := k.Open("purpose", bad)
		refused("bit", got, err)
	}
	for n := range len(sealed) {
		got, err := k.Open("purpose", sealed[:n])
		refused("cut", got, err)
	}
	got, err = k.Open("purpose", append(bytes.Clone(sealed), 0))
	refused("longer", got, err)
}

func TestSealTo(t *testing.T) {
	t.Parallel()
	k := New("https://a.example", [][]byte{secret(1)})
	sealed, err := k.SealTo([]byte("token"), "purpose", rand.Reader, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenTo([]byte("token"), "purpose", sealed); err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
	for name, salt := range map[string]string{"another": "tokem", "none": ""} {
		if got, err := k.OpenTo([]byte(salt), "purpose", sealed); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := k.Open("purpose", sealed); !errors.Is(err, ErrOpen) || got != nil {
		t.Errorf("without the salt: %q, %v", got, err)
	}
}

// TestRotation: the first seals, all open, a removed one opens nothing.
func TestRotation(t *testing.T) {
	t.Parallel()
	old := New("https://a.example", [][]byte{secret(1)})
	both := New("https://a.example", [][]byte{secret(5), secret(1)})
	fresh := New("https://a.example", [][]byte{secret(5)})
	a, _ := old.Seal("p", rand.Reader, []byte("a"))
	b, _ := both.Seal("p", rand.Reader, []byte("b"))
	if got, err := both.Open("p", a); err != nil || string(got) != "a" {
		t.Errorf("old value: %q, %v", got, err)
	}
	if got, err := fresh.Open("p", b); err != nil || string(got) != "b" {
		t.Errorf("sealed under the first: %q, %v", got, err)
	}
	if _, err := fresh.Open("p", a); !errors.Is(err, ErrOpen) {
		t.Errorf("removed secret: %v", err)
	}
	if both.Current(a) || !both.Current(b) || both.Current(nil) {
		t.Error("Current")
	}
	mac := old.MAC("p", []byte("m"))
	if !both.VerifyMAC("p", []byte("m"), mac) || fresh.VerifyMAC("p", []byte("m"), mac) {
		t.Error("MAC across secrets")
	}
}

func TestMAC(t *testing.T) {
	t.Parallel()
	k := New("https://a.example", [][]byte{secret(1)})
	mac := k.MAC("p", []byte("message"))
	if len(mac) != 4+MACSize || !k.VerifyMAC("p", []byte("message"), mac) {
		t.Fatalf("%x", mac)
	}
	if k.VerifyMAC("q", []byte("message"), mac) || k.VerifyMAC("p", []byte("messagf"), mac) || k.VerifyMAC("p", []byte("message"), nil) ||
		New("https://b.example", [][]byte{secret(1)}).VerifyMAC("p", []byte("message"), mac) {
		t.Error("verifies what it must not")
	}
	// After a rotation the tags under both secrets are known, the new one first.
	both := New("https://a.example", [][]byte{secret(3), secret(1)})
	if macs := both.MACs("p", []byte("message")); len(macs) != 2 || !bytes.Equal(macs[0], both.MAC("p", []byte("message"))) || !bytes.Equal(macs[1], mac) {
		t.Errorf("%x", macs)
	}
	for i := range len(mac) * 8 {
		bad := bytes.Clone(mac)
		bad[i/8] ^= 1 << (i % 8)
		if k.VerifyMAC("p", []byte("message"), bad) {
			t.Errorf("bit %d", i)
		}
	}
	// A MAC and a sealed value of one purpose use different keys.
	if sealed, _ := k.Seal("p", rand.Reader, []byte("message")); bytes.Contains(sealed, mac[4:]) {
		t.Error("keys are shared")
	}
}

func TestRandomnessFails(t *testing.T) {
	t.Parallel()
	k := New("https://a.example", [][]byte{secret(1)})
	if got, err := k.Seal("p", bytes.NewReader(nil), []byte("x")); err == nil || got != nil {
		t.Errorf("%x, %v", got, err)
	}
}

// FuzzOpen: nothing opens but what was sealed.
func FuzzOpen(f *testing.F) {
	k := New("https://a.example", [][]byte{secret(1)})
	good, err := k.Seal("p", bytes.NewReader(make([]byte, 64)), []byte("value")) // the same in all of the fuzzer's processes
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if got, err := k.Open("p", sealed); err == nil && !bytes.Equal(sealed, good) {
			t.Fatalf("%x opens to %q", sealed, got)
		}
	})
}
