package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// world is what the server is told at its start; see internal/world of the
// benchmark, whose module this one must not require.
type world struct {
	Listen      string `json:"listen"`
	Issuer      string `json:"issuer"`
	RedirectURI string `json:"redirect_uri"`
	Resource    string `json:"resource"`
	User        struct {
		Subject  string `json:"sub"`
		Name     string `json:"name"`
		Email    string `json:"email"`
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"user"`
	App     confidential `json:"app"`
	Web     confidential `json:"web"`
	Service confidential `json:"service"`
	Signed  confidential `json:"signed"`
}

type confidential struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

const serviceScope = "read"

func readWorld() (world, error) {
	var w world
	if err := json.Unmarshal([]byte(os.Getenv("BENCH_WORLD")), &w); err != nil {
		return w, fmt.Errorf("BENCH_WORLD: %w", err)
	}
	return w, nil
}
