//go:build pprof

package main

import (
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
)

// profile serves profiles at the address in BENCH_PPROF. It is built in by
// GOFLAGS=-tags=pprof.
func profile() {
	if addr := os.Getenv("BENCH_PPROF"); addr != "" {
		go func() { log.Print(http.ListenAndServe(addr, nil)) }()
	}
}
