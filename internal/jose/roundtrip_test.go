package jose

import (
	"testing"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s, err := Generate(alg)
			if err != nil {
				t.Fatal(err)
			}
			token, err := Sign(t.Context(), Header{Alg: alg, KeyID: "k", Type: "JWT"}, s, map[string]any{"iss": "i", "exp": 12.5})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Verify(token, []Key{{ID: "k", Alg: alg, Use: "sig", Public: s.Public()}}, []string{alg})
			if err != nil {
				t.Fatal(err)
			}
			if got.Issuer() != "i" || got.Header != (Header{Alg: alg, KeyID: "k", Type: "JWT"}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
