package seal

import (
	"crypto/rand"
	"testing"
)

func newBench() (*Keyring, []byte) {
	return New("https://id.example", [][]byte{make([]byte, 32)}), make([]byte, 200)
}

func BenchmarkSeal(b *testing.B) {
	k, plain := newBench()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal("access token", rand.Reader, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, plain := newBench()
	sealed, err := k.Seal("access token", rand.Reader, plain)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open("access token", sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealTo(b *testing.B) {
	k, plain := newBench()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.SealTo([]byte("a refresh token"), "refresh successor", rand.Reader, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	k, msg := newBench()
	b.ReportAllocs()
	for b.Loop() {
		if !k.VerifyMAC("refresh token", msg, k.MAC("refresh token", msg)) {
			b.Fatal("does not verify")
		}
	}
}
