package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"time"
)

// startTime is what a provider has to become ready in; stopTime what it has to
// end in, more than it gives the requests under way.
const startTime, stopTime = 2 * time.Minute, 30 * time.Second

// Fleet is some replicas of a provider and the proxy before them. One goroutine
// at a time may start and end replicas; requests may come all the while.
type Fleet struct {
	*Proxy
	command   func(address string) *exec.Cmd
	addresses []string
	running   []*process // nil: this one is not
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended
}

// Start starts n replicas, side by side, and returns when all are ready. command
// makes the command of one that listens at an address. The caller closes the
// fleet.
func Start(n int, command func(address string) *exec.Cmd) (*Fleet, error) {
	f := &Fleet{command: command, running: make([]*process, n)}
	for range n {
		a, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		f.addresses = append(f.addresses, a)
	}
	f.Proxy = NewProxy(f.addresses...)
	errs := make(chan error)
	for i := range n {
		go func() { errs <- f.Start(i) }()
	}
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		f.Close()
	}
	return f, err
}

// Start starts replica i and hands it requests once it is ready.
func (f *Fleet) Start(i int) error {
	p := &process{cmd: f.command(f.addresses[i]), ended: make(chan struct{})}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	f.running[i] = p
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	if err := f.Await(i, startTime); err != nil {
		return err
	}
	f.In(i)
	return nil
}

// Await returns when replica i says that it is ready.
func (f *Fleet) Await(i int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.addresses[i]+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := c.Do(r); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-f.running[i].ended:
			return fmt.Errorf("replica %d ended before it was ready: %v", i, f.running[i].err)
		case <-ctx.Done():
			return fmt.Errorf("replica %d is not ready after %v", i, limit)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends replica i as a crash does. The proxy is not told.
func (f *Fleet) Kill(i int) {
	if p := f.running[i]; p != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		f.running[i] = nil
	}
}

// Stop takes replica i out of the proxy, lets it finish and ends it.
func (f *Fleet) Stop(i int) error {
	p := f.running[i]
	if p == nil {
		return nil
	}
	f.Out(i)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		f.running[i] = nil
		return p.err
	case <-time.After(stopTime):
		return fmt.Errorf("replica %d does not end", i)
	}
}

// Roll replaces all replicas, one after the other.
func (f *Fleet) Roll() error {
	for i := range f.running {
		if err := errors.Join(f.Stop(i), f.Start(i)); err != nil {
			return fmt.Errorf("replica %d: %w", i, err)
		}
	}
	return nil
}

// Size returns how many replicas there are.
func (f *Fleet) Size() int { return len(f.running) }

// Close kills what still runs.
func (f *Fleet) Close() {
	for i := range f.running {
		f.Kill(i)
	}
	f.transport.CloseIdleConnections()
}

// FreeAddress returns a loopback address that nobody listens at. Its port is none
// of those that systems give to outgoing connections, so that it can be had
// again after a restart.
func FreeAddress() (address string, err error) {
	for range 100 {
		address = fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		var l net.Listener
		if l, err = net.Listen("tcp4", address); err == nil {
			return address, l.Close()
		}
	}
	return "", err
}
