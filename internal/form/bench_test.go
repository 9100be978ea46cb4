package form

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The body of a pushed authorization request, and a token request.
var bodies = map[string]string{
	"par": "client_id=web&response_type=code&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&scope=openid+profile+email+offline_access&state=af0ifjsldkj" +
		"&nonce=n-0S6_WzA2Mj&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
	"token": "grant_type=client_credentials&scope=read",
}

func BenchmarkParseBody(b *testing.B) {
	for name, body := range bodies {
		b.Run(name, func(b *testing.B) {
			reader := strings.NewReader(body)
			r := &http.Request{Header: http.Header{"Content-Type": {formType}}, Body: io.NopCloser(reader), ContentLength: int64(len(body))}
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(body)
				f, err := ParseBody(r)
				if err != nil || f.Repeated("resource") != "" {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseQuery(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseQuery(bodies["par"]); err != nil {
			b.Fatal(err)
		}
	}
}
