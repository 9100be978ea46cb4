// Command bench does the same work on the kit, on its peers and on floor, the
// least that the standard library needs for the same answers, and prints what
// each of them costs. README.md says how to read it.
//
//	go run ./bench
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/idpkit/idpkit/bench/internal/world"
	"github.com/idpkit/idpkit/clientreg"
)

// options are the flags.
type options struct {
	rounds    int
	load      load
	targets   string
	workloads string
	timeout   time.Duration
	pin       bool
}

func main() {
	log.SetFlags(0)
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured; each round starts every server anew")
	flag.IntVar(&o.load.count, "n", 800, "units of work in one measurement; four times as many of those that are short")
	flag.IntVar(&o.load.warm, "warm", 160, "units of work before it")
	flag.IntVar(&o.load.workers, "workers", 8, "clients at the same time")
	flag.StringVar(&o.targets, "targets", "", "only these, separated by commas: "+strings.Join(names(targets(), targetName), ","))
	flag.StringVar(&o.workloads, "workloads", "", "only these, separated by commas: "+strings.Join(names(workloads(), workload.Name), ","))
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "give up after that")
	flag.BoolVar(&o.pin, "pin", true, "bind servers and load to one CPU each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := run(ctx, o, os.Stdout, log.Default()); err != nil {
		log.Fatal(err)
	}
}

func targetName(t target) string { return t.name }

func names[T any](all []T, name func(T) string) []string {
	var list []string
	for _, v := range all {
		list = append(list, name(v))
	}
	return list
}

// run does the rounds and writes the report.
func run(ctx context.Context, o options, out io.Writer, progress *log.Logger) error {
	chosen, err := choose(o.targets, targets(), targetName)
	if err != nil {
		return err
	}
	work, err := choose(o.workloads, workloads(), workload.Name)
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.load.count < 1 || o.load.workers < 1 {
		return fmt.Errorf("-rounds, -n and -workers are at least 1")
	}
	about, serverCPU := machine(), -1
	if o.pin {
		cpus, err := allowedCPUs()
		if err != nil {
			return err
		}
		if len(cpus) < 2 {
			return fmt.Errorf("one CPU for the server and one for the load are needed: use -pin=false")
		}
		serverCPU = cpus[0]
		if err := pinSelf(cpus[1]); err != nil {
			return err
		}
	}
	dir, err := folder()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	argv := map[string][]string{}
	for _, t := range chosen {
		progress.Printf("building %s", t.name)
		if argv[t.name], err = t.build(ctx, dir, tmp); err != nil {
			return err
		}
	}
	r := &results{
		workloads: names(work, workload.Name), targets: names(chosen, targetName),
		lacks: map[[2]string]string{}, cells: map[[2]string]*cell{},
	}
	w := newWorld()
	for round := range o.rounds {
		if err := doRound(ctx, r, chosen, argv, work, w, o.load, round, serverCPU, progress); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(out, "%s. %s, %d rounds of %d units by %d clients.\n\n", time.Now().UTC().Format("2 January 2006"), about, o.rounds, o.load.count, o.load.workers)
	r.write(out)
	return nil
}

// doRound starts every target and lets all do each workload in turn, so that what
// else the machine does hits all of them. Every round another one begins.
func doRound(ctx context.Context, r *results, chosen []target, argv map[string][]string, work []workload, w world.World, l load, round, cpu int, progress *log.Logger) error {
	var all []*running
	defer func() {
		for _, t := range all {
			if err := t.stop(); err != nil {
				progress.Printf("%s: %v", t.name, err)
			}
		}
	}()
	for i := range chosen {
		t, err := start(ctx, &chosen[i], argv[chosen[i].name], w, cpu)
		if absent := (*absentError)(nil); errors.As(err, &absent) {
			progress.Printf("%s is left out: %v", chosen[i].name, err)
			for _, wl := range work {
				r.lacks[[2]string{wl.Name(), chosen[i].name}] = "not here"
			}
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	for _, wl := range work {
		for i := range all {
			t := all[(i+round)%len(all)]
			if why, ok := t.lacks[wl.Name()]; ok {
				r.lacks[[2]string{wl.Name(), t.name}] = why
				continue
			}
			own := l
			own.count *= times(wl)
			own.warm *= max(t.warm, 1)
			f, err := measure(ctx, t.site, process(t.pid), wl, own)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.cell(wl.Name(), t.name).add(f, err)
			if err != nil {
				progress.Printf("round %d: %s: %s: %v", round+1, wl.Name(), t.name, err)
			}
		}
		progress.Printf("round %d: %s", round+1, wl.Name())
	}
	return nil
}

// newWorld draws the clients' secrets.
func newWorld() world.World {
	confidential := func(id string) world.Client {
		secret, hash := clientreg.NewSecret()
		return world.Client{ID: id, Secret: secret, Hash: hash}
	}
	return world.World{
		RedirectURI: "https://app.example/cb",
		Resource:    "https://api.example/",
		User:        world.User{Subject: "248289761001", Name: "Alice Liddell", Email: "alice@example.com", Username: "alice", Password: "wonderland"},
		App:         world.Client{ID: "app"},
		Web:         confidential("web"),
		Service:     confidential("service"),
		Signed:      confidential("signed"),
	}
}

// folder is where the source of the benchmark is, whatever the working directory.
func folder() (string, error) {
	b, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/idpkit/idpkit/bench").Output()
	if err != nil {
		return "", fmt.Errorf("finding the source, from within the repository: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
