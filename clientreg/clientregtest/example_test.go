package clientregtest_test

import (
	"fmt"
	"testing"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/clientreg/clientregtest"
)

// A registry's whole test.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestRegistry(t *testing.T)
		clientregtest.Run(t, func(t testing.TB, clients ...clientreg.Client) clientreg.Registry {
			r, err := clientreg.Static(clients...) // yours
			if err != nil {
				t.Fatal(err)
			}
			return r
		})
	}
	// Output:
}

// Valid clients with something in every member.
func ExampleClients() {
	for _, c := range clientregtest.Clients() {
		if err := c.Validate(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
}
