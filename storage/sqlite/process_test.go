package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/idpkit/idpkit/storage"
	"github.com/idpkit/idpkit/storage/sqlite"
)

// The test binary is its own child process when the environment names a job.
const (
	jobVariable  = "IDPKIT_SQLITE_JOB"
	fileVariable = "IDPKIT_SQLITE_FILE"
	fromVariable = "IDPKIT_SQLITE_FROM"
)

func TestMain(m *testing.M) {
	job := map[string]func(*sqlite.Storage) error{"write": writeJob, "spend": spendJob}[os.Getenv(jobVariable)]
	if job == nil {
		os.Exit(m.Run())
	}
	s, err := sqlite.Open(os.Getenv(fileVariable))
	if err == nil {
		if err = job(s); err == nil {
			err = s.Close()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child starts a job. What it writes to standard error ends up in the test.
func child(t *testing.T, job, path string, from int) (cmd *exec.Cmd, stdin io.WriteCloser, stdout *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), jobVariable+"="+job, fileVariable+"="+path, fmt.Sprintf("%s=%d", fromVariable, from))
	cmd.Stderr = os.Stderr
	stdin, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, stdin, bufio.NewReader(out)
}

// item is three records that go through three commits together.
func item(i int) (a, b, c storage.Record) {
	a, b, c = grant("%d a", i), grant("%d b", i), grant("%d c", i)
	b.Kind, c.Kind = storage.KindCode, storage.KindPAR
	b.Data = make([]byte, i*97%5000) // some rows take more pages than one
	return a, b, c
}

const phases = 3

func phase(i, n int) []storage.Op {
	a, b, c := item(i)
	switch n {
	case 1:
		return []storage.Op{storage.Insert(a), storage.Insert(b)}
	case 2:
		b.Version, b.Client = 1, "changed"
		return []storage.Op{storage.Consume(a.Ref), storage.Update(b)}
	default:
		return []storage.Op{storage.Delete(b.Ref), storage.Check(storage.Ref{Kind: storage.KindKey, Shard: a.Shard, Key: "base"}), storage.Insert(c)}
	}
}

// reached returns the last phase of which all is there, or an error if the
// rows are of no phase.
func reached(s storage.Storage, i int) (int, error) {
	a, b, c := item(i)
	var is [3]string
	for n, r := range []storage.Record{a, b, c} {
		got, err := s.Get(context.Background(), r.Ref)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			is[n] = "-"
		case err != nil:
			return 0, err
		default:
			is[n] = fmt.Sprintf("%d/%d%s", got.Version, got.State, got.Client)
			if len(got.Data) != len(r.Data) {
				return 0, fmt.Errorf("item %d: record %d has %d bytes, want %d", i, n, len(got.Data), len(r.Data))
			}
		}
	}
	for n, want := range [][3]string{{"-", "-", "-"}, {"1/0", "1/0", "-"}, {"2/1", "2/0changed", "-"}, {"2/1", "-", "1/0"}} {
		if is == want {
			return n, nil
		}
	}
	return 0, fmt.Errorf("item %d is half done: %v", i, is)
}

// writeJob commits until it is killed, and writes a line when a commit has
// been acknowledged.
func writeJob(s *sqlite.Storage) error {
	var from int64
	if _, err := fmt.Sscan(os.Getenv(fromVariable), &from); err != nil {
		return err
	}
	var next atomic.Int64
	next.Store(from)
	errs := make(chan error)
	for range 4 {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				for n := 1; n <= phases; n++ {
					if err := s.Commit(context.Background(), phase(i, n)...); err != nil {
						errs <- fmt.Errorf("item %d phase %d: %w", i, n, err)
						return
					}
					if _, err := fmt.Printf("%d %d\n", i, n); err != nil { // one write(2)
						errs <- err
						return
					}
				}
			}
		}()
	}
	return <-errs
}

// TestKill kills a writing process (SIGKILL) again and again: all that it had
// acknowledged is there, and nothing is half done.
func TestKill(t *testing.T) {
	t.Parallel()
	const kills = 50
	path := file(t)
	base := grant("base")
	base.Kind = storage.KindKey
	if err := open(t, path).Commit(t.Context(), storage.Insert(base)); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]int{} // item → phase
	from, acks := 0, 0
	for kill := range kills {
		// Now and then nobody else has the file open, and the next to open it
		// has to recover the log.
		var watcher *sqlite.Storage
		if kill%2 == 0 {
			watcher = open(t, path)
		}
		cmd, _, out := child(t, "write", path, from)
		for n := 0; ; n++ {
			if n == kill*kill%83 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			line, err := out.ReadString('\n')
			if err != nil {
				break // a line without its end was not acknowledged
			}
			var i, ph int
			if _, err := fmt.Sscan(line, &i, &ph); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			acknowledged[i] = ph
			from = max(from, i+1)
			acks++
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the child was to be killed: %v", err)
		}

		s := watcher
		if s == nil {
			s = open(t, path)
		}
		first := max(0, from-100) // the last round looks at all of them
		if kill == kills-1 {
			first = 0
		}
		for i := first; i < from+16; i++ {
			got, err := reached(s, i)
			if err != nil {
				t.Fatalf("after kill %d: %v", kill, err)
			}
			if got < acknowledged[i] || got > acknowledged[i]+1 {
				t.Fatalf("after kill %d: item %d is in phase %d, acknowledged was %d", kill, i, got, acknowledged[i])
			}
			if got > 0 {
				acknowledged[i] = got // seen once, it must stay
				from = max(from, i+1)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var verdict string
		if err := foreign(t, path).QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Fatalf("after kill %d: integrity_check: %s, %v", kill, verdict, err)
		}
	}
	if acks < kills {
		t.Errorf("only %d commits were acknowledged in all", acks)
	}
	t.Logf("%d kills, %d commits acknowledged", kills, acks)
}

const coins = 200

func coin(i int) storage.Record {
	r := grant("coin %d", i)
	r.Kind = storage.KindCode
	return r
}

// spendJob waits for a line and then spends all coins it can get.
func spendJob(s *sqlite.Storage) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	errs := make([]error, 4)
	var group sync.WaitGroup
	for g := range errs {
		group.Go(func() {
			for i := range coins {
				if err := s.Commit(context.Background(), storage.Consume(coin(i).Ref)); err == nil {
					fmt.Println(i)
				} else if !errors.Is(err, storage.ErrConsumed) {
					errs[g] = err
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// TestProcesses lets three processes spend the same records.
func TestProcesses(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	for i := range coins {
		if err := s.Commit(t.Context(), storage.Insert(coin(i))); err != nil {
			t.Fatal(err)
		}
	}
	const processes = 3
	var cmds [processes]*exec.Cmd
	var starts [processes]io.WriteCloser
	var outs [processes]*bufio.Reader
	for p := range processes {
		cmds[p], starts[p], outs[p] = child(t, "spend", path, 0)
		if line, err := outs[p].ReadString('\n'); line != "ready\n" {
			t.Fatalf("process %d: %q, %v", p, line, err)
		}
	}
	for _, start := range starts {
		fmt.Fprintln(start, "go")
	}
	spent := map[int]int{}
	for p := range processes {
		text, err := io.ReadAll(outs[p])
		if err != nil {
			t.Fatal(err)
		}
		if err := cmds[p].Wait(); err != nil {
			t.Fatalf("process %d: %v", p, err)
		}
		for _, line := range strings.Fields(string(text)) {
			var i int
			if _, err := fmt.Sscan(line, &i); err != nil {
				t.Fatal(err)
			}
			spent[i]++
		}
	}
	for i := range coins {
		if spent[i] != 1 {
			t.Errorf("coin %d was spent %d times", i, spent[i])
		}
	}
}

// TestFullDisk: commits fail as long as the disk is full, and only so long.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := open(t, file(t))
	first := grant("first")
	if err := s.Commit(t.Context(), storage.Insert(first)); err != nil {
		t.Fatal(err)
	}
	big := grant("big")
	big.Data = make([]byte, storage.MaxData)
	for range 3 {
		if err := s.LimitPages(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), storage.Consume(first.Ref), storage.Insert(big)); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("on a full disk: %v, want ErrUnavailable", err)
		}
		if got, err := s.Get(t.Context(), first.Ref); err != nil || got.State != storage.Active {
			t.Fatalf("read on a full disk: %+v, %v", got, err)
		}
	}
	if err := s.LimitPages(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Consume(first.Ref), storage.Insert(big)); err != nil {
		t.Fatalf("after the disk has room again: %v", err)
	}
}
