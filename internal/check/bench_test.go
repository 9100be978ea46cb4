package check

import "testing"

func BenchmarkRedirectURI(b *testing.B) {
	for name, uri := range map[string]string{"web": "https://app.example/cb", "native": "com.example.app:/oauth/callback", "query": "https://app.example/a.b/cb?tenant=7"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p := RedirectURI(uri); p != "" {
					b.Fatal(p)
				}
			}
		})
	}
}
