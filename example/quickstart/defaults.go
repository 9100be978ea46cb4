package main

import (
	_ "embed"
	"fmt"
)

// defaultConfig runs when no file is given; it is the documented sample, so
// that the sample is known to work.
//
//go:embed quickstart.yaml
var defaultConfig []byte

// banner says what runs without a configuration, and that it is no place for
// real users.
func banner(cfg *config) string {
	return fmt.Sprintf(`
  ****************************************************************
  *  FOR DEVELOPMENT ONLY: the users and passwords are public.   *
  ****************************************************************

  Open        %[1]s
  Discovery   %[1]s/.well-known/openid-configuration
  Client      client-par-required (public, pushed requests), at https://localhost:4207
  Users       alice and bob, password: wonderland
  Storage     %[2]s

  For a provider of your own, start with -config FILE; example/quickstart/quickstart.yaml
  is a commented sample.

`, cfg.Issuer, cfg.place.name)
}
