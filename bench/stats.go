package main

import (
	"math"
	"slices"
	"time"
)

// median of values, the mean of the middle two if their number is even. No
// values: NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// least of values. No values: NaN.
func least(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Min(values)
}

// percentile returns the smallest latency that p percent of all do not exceed
// (nearest rank). It sorts all. No latencies: 0.
func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	rank := int(math.Ceil(p / 100 * float64(len(all))))
	return all[min(max(rank, 1), len(all))-1]
}
