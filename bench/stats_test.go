package main

import (
	"math"
	"testing"
	"time"
)

func TestMedianAndLeast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values      []float64
		median, low float64
	}{
		{[]float64{3}, 3, 3},
		{[]float64{5, 1, 3}, 3, 1},
		{[]float64{4, 1, 3, 2}, 2.5, 1},
		{[]float64{1, 1000, 1}, 1, 1},
	} {
		if m, l := median(tt.values), least(tt.values); m != tt.median || l != tt.low {
			t.Errorf("%v: median %v, least %v; want %v, %v", tt.values, m, l, tt.median, tt.low)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(least(nil)) {
		t.Error("no values have a median or a least one")
	}
	values := []float64{3, 1, 2}
	if median(values); values[0] != 3 {
		t.Error("median changes what it is given")
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	for _, tt := range []struct {
		all  []time.Duration
		p    float64
		want time.Duration
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1}, {hundred, 99.5, 100},
		{[]time.Duration{7}, 50, 7}, {[]time.Duration{7}, 99, 7}, {[]time.Duration{9, 1}, 50, 1}, {[]time.Duration{9, 1}, 51, 9}, {nil, 50, 0},
	} {
		if got := percentile(tt.all, tt.p); got != tt.want {
			t.Errorf("percentile %v of %d latencies: %d, want %d", tt.p, len(tt.all), got, tt.want)
		}
	}
}
