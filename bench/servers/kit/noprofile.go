//go:build !pprof

package main

// profile does nothing: what the profiler costs, even unused, must not be in the
// figures.
func profile() {}
