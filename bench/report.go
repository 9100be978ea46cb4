package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// results holds a cell for each workload and target, by name.
type results struct {
	workloads []string
	targets   []string
	lacks     map[[2]string]string
	cells     map[[2]string]*cell
}

func (r *results) cell(workload, target string) *cell {
	k := [2]string{workload, target}
	if r.cells[k] == nil {
		r.cells[k] = &cell{}
	}
	return r.cells[k]
}

// ratio of a target's CPU time to that of the floor, by the median and by the
// least of the rounds. NaN where one of the two has no figure.
func (r *results) ratio(workload, target string) (med, low float64) {
	own, floor := r.cells[[2]string{workload, target}].of(cpuMicros), r.cells[[2]string{workload, floorName}].of(cpuMicros)
	return median(own) / median(floor), least(own) / least(floor)
}

// write prints two tables in Markdown: the ratios, and all figures.
func (r *results) write(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	p("Server CPU per unit of work, ratio to `floor` (median of the rounds; in brackets the ratio of the least):\n\n")
	p("| workload | %s µs | %s |\n|---|%s\n", floorName, strings.Join(r.targets, " | "), strings.Repeat("---:|", len(r.targets)+1))
	for _, wl := range r.workloads {
		p("| %s | %s |", wl, number(median(r.cells[[2]string{wl, floorName}].of(cpuMicros)), 1))
		for _, t := range r.targets {
			p(" %s |", r.show(wl, t))
		}
		p("\n")
	}
	p("\nAll figures, medians of the rounds:\n\n")
	p("| workload | target | CPU µs | least | units/s | p50 ms | p99 ms | RSS MiB |\n|---|---|---:|---:|---:|---:|---:|---:|\n")
	for _, wl := range r.workloads {
		for _, t := range r.targets {
			c := r.cells[[2]string{wl, t}]
			cpu := c.of(cpuMicros)
			if len(cpu) == 0 {
				continue
			}
			millis := func(get func(figure) time.Duration) float64 {
				return median(c.of(func(f figure) float64 { return float64(get(f)) / float64(time.Millisecond) }))
			}
			p("| %s | %s | %s | %s | %s | %s | %s | %s |\n", wl, t, number(median(cpu), 1), number(least(cpu), 1),
				number(median(c.of(func(f figure) float64 { return f.rate })), 0),
				number(millis(func(f figure) time.Duration { return f.p50 }), 2), number(millis(func(f figure) time.Duration { return f.p99 }), 2),
				number(median(c.of(func(f figure) float64 { return float64(f.rss) / (1 << 20) })), 0))
		}
	}
	first := true
	for _, wl := range r.workloads {
		for _, t := range r.targets {
			if c := r.cells[[2]string{wl, t}]; c != nil && c.err != nil {
				if first {
					p("\nErrors, which void a figure:\n\n")
					first = false
				}
				p("* %s, %s: %s\n", t, wl, strings.ReplaceAll(c.err.Error(), "\n", " "))
			}
		}
	}
}

func (r *results) show(workload, target string) string {
	if why, ok := r.lacks[[2]string{workload, target}]; ok {
		return "– (" + why + ")"
	}
	if c := r.cells[[2]string{workload, target}]; c != nil && c.err != nil {
		return "error"
	}
	med, low := r.ratio(workload, target)
	if math.IsNaN(med) {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f)", med, low)
}

func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}
