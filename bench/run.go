package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// load says how much is done.
type load struct {
	count   int // units of work that are measured
	warm    int // units before that
	workers int // clients at the same time
}

// figure is what one measurement gives.
type figure struct {
	cpu  time.Duration // of the server, for each unit of work
	rate float64       // units a second
	p50  time.Duration
	p99  time.Duration
	rss  int64 // bytes, at the end
}

// meter reads what a server has used. A test replaces it.
type meter interface {
	cpu() (time.Duration, error)
	rss() (int64, error)
}

type process int

func (p process) cpu() (time.Duration, error) { return cpuTime(int(p)) }
func (p process) rss() (int64, error)         { return rss(int(p)) }

// measure lets the workers do the work. One wrong answer, at whatever point, and
// there is no figure.
func measure(ctx context.Context, s *site, m meter, work workload, l load) (figure, error) {
	workers := make([]*worker, l.workers)
	for i := range workers {
		workers[i] = newWorker(s)
		defer workers[i].conn.close()
	}
	each, warm := max(l.count/l.workers, 1), max(l.warm/l.workers, 1)
	_, err := together(ctx, workers, func(w *worker) ([]time.Duration, error) {
		if err := work.Prepare(w, each+warm); err != nil {
			return nil, fmt.Errorf("preparing: %w", err)
		}
		for range warm {
			if err := work.Do(w); err != nil {
				return nil, fmt.Errorf("warming up: %w", err)
			}
		}
		return nil, nil
	})
	if err != nil {
		return figure{}, err
	}
	before, err := m.cpu()
	if err != nil {
		return figure{}, err
	}
	began := time.Now()
	latencies, err := together(ctx, workers, func(w *worker) ([]time.Duration, error) {
		took := make([]time.Duration, each)
		for i := range took {
			t := time.Now()
			if err := work.Do(w); err != nil {
				return nil, err
			}
			took[i] = time.Since(t)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		return took, nil
	})
	elapsed := time.Since(began)
	if err != nil {
		return figure{}, err
	}
	after, err := m.cpu()
	if err != nil {
		return figure{}, err
	}
	f := figure{
		cpu:  (after - before) / time.Duration(len(latencies)),
		rate: float64(len(latencies)) / elapsed.Seconds(),
		p50:  percentile(latencies, 50),
		p99:  percentile(latencies, 99),
	}
	if f.rss, err = m.rss(); err != nil {
		return figure{}, err
	}
	for _, w := range workers {
		if err := w.verify(); err != nil {
			return figure{}, fmt.Errorf("after the run: %w", err)
		}
	}
	return f, nil
}

// together runs f for all workers at once. It returns all latencies, or the
// error of the first worker that has one.
func together(ctx context.Context, workers []*worker, f func(*worker) ([]time.Duration, error)) ([]time.Duration, error) {
	took := make([][]time.Duration, len(workers))
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { took[i], errs[i] = f(w) })
	}
	wg.Wait()
	var all []time.Duration
	for i := range workers {
		if errs[i] != nil {
			return nil, errs[i]
		}
		all = append(all, took[i]...)
	}
	return all, ctx.Err()
}

// cell is what is known of one workload at one target.
type cell struct {
	figures []figure // one for each round
	err     error    // the first; then there are no figures to show
}

func (c *cell) add(f figure, err error) {
	if err != nil && c.err == nil {
		c.err = err
	}
	c.figures = append(c.figures, f)
}

// of returns one value of all rounds; none if there was an error.
func (c *cell) of(value func(figure) float64) []float64 {
	if c == nil || c.err != nil {
		return nil
	}
	var all []float64
	for _, f := range c.figures {
		all = append(all, value(f))
	}
	return all
}

func cpuMicros(f figure) float64 { return float64(f.cpu) / float64(time.Microsecond) }
