package handle

import (
	"crypto/rand"
	"testing"
)

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(PAR, 7, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	s, err := New(PAR, 7, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Parse(PAR, s); !ok {
			b.Fatal(s)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	s, err := New(Code, 7, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Key(s)
	}
}

func BenchmarkDerivedKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ShardOf(DerivedKey("client grant", "service"))
	}
}
