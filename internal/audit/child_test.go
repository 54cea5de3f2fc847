package audit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A test that kills or starves a process starts the test's own binary again, as
// one of these. They run until their standard input ends, so that none outlives
// the test.
var children = map[string]func(arguments []string) error{
	"writer":  writerChild,
	"starved": starvedChild,
	"reader":  readerChild,
}

const childVariable = "SAFESTATE_AUDIT_CHILD"

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childVariable)]; child != nil {
		go func() { // the parent is gone
			_, _ = os.Stdin.Read(make([]byte, 1))
			os.Exit(3)
		}()
		if err := child(os.Args[1:]); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is a running one.
type child struct {
	process *os.Process
	lines   chan string // what it says; closed at its end
	ended   chan struct{}
}

func startChild(t *testing.T, name string, as *syscall.SysProcAttr, arguments ...string) *child {
	t.Helper()
	program := os.Args[0]
	if as != nil { // another user, who may not enter the folder that it is in
		program = "/proc/self/exe"
	}
	cmd := exec.Command(program, arguments...)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, as
	in, err := cmd.StdinPipe()
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
	c := &child{process: cmd.Process, lines: make(chan string, 1<<16), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			c.lines <- scan.Text()
		}
		close(c.lines)
		_ = cmd.Wait() // it is killed in most tests
	}()
	t.Cleanup(func() { c.kill(); closeIn(in) })
	return c
}

func closeIn(in io.Closer) { _ = in.Close() }

// kill ends it as SIGKILL does, and waits.
func (c *child) kill() {
	_ = c.process.Kill() // it may have ended
	<-c.ended
}

// say waits for a line that starts with word and returns the rest of it.
func (c *child) say(t *testing.T, word string) string {
	t.Helper()
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("the child ended before it said %q", word)
			}
			if rest, found := strings.CutPrefix(line, word); found {
				return strings.TrimSpace(rest)
			}
			if strings.HasPrefix(line, "error") {
				t.Fatal(line)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the child does not say %q", word)
		}
	}
}

// killsVariable says how often TestKillsLoseNothing kills; 20 without it.
const killsVariable = "SAFESTATE_AUDIT_KILLS"

// writers is how many goroutines of the child append.
const writers = 4

// writerChild appends from several goroutines, entries of all lengths, and says
// each ID once Append has returned. Each writer begins with the last IDs of the
// process before, as one does that makes up for a crash.
func writerChild(arguments []string) error {
	l, err := Open(Options{Dir: arguments[0], Name: "control-1", SegmentBytes: 50_000, HeadEvery: 7, HeadInterval: 20e6})
	if err != nil {
		return err
	}
	from, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	fmt.Println("opened", l.Status().Sequence)
	var out sync.Mutex
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(from), uint64(w)))
			for i := max(from-10, 0); ; i++ {
				e := sample(fmt.Sprintf("w%d-%d", w, i))
				e.Reason = strings.Repeat("x", random.IntN(3000))
				if _, err := l.Append(context.Background(), e); err != nil {
					fmt.Println("error", err)
					return
				}
				out.Lock()
				fmt.Println("wrote", e.ID)
				out.Unlock()
			}
		})
	}
	group.Wait()
	return nil
}

// TestKillsLoseNothing kills a writer again and again. What it said is there,
// once, and the chain is sound.
func TestKillsLoseNothing(t *testing.T) {
	kills := 20
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", killsVariable, err)
		}
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	said := map[string]bool{}
	next := 0 // numbers of IDs that were not used yet
	for kill := range kills {
		c := startChild(t, "writer", nil, dir, strconv.Itoa(next))
		if kill%4 != 0 { // else it may be killed while it starts
			c.say(t, "opened")
		}
		timer := time.NewTimer(time.Duration(random.IntN(100)) * time.Millisecond)
		<-timer.C
		c.kill()
		for line := range c.lines {
			word, rest, _ := strings.Cut(line, " ")
			switch word {
			case "wrote":
				said[rest] = true
				_, number, _ := strings.Cut(rest, "-")
				if n, err := strconv.Atoi(number); err != nil || n >= next {
					next = n + 1
				}
			case "error":
				t.Fatalf("kill %d: %s", kill, line)
			}
		}
	}
	l := open(t, Options{Dir: dir})
	times := map[string]int{}
	cuts := 0
	for _, e := range entriesIn(t, linesOf(t, l)) {
		times[e.ID]++
		if e.Kind == KindCut {
			cuts++
		}
	}
	for id := range said {
		if times[id] == 0 {
			t.Errorf("%s was acknowledged, and is not there", id)
		}
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if s := l.Status(); s.Damage != "" || strings.Contains(s.Writer, ".") {
		t.Errorf("the chain was left: %+v", s)
	}
	sound(t, dir)
	t.Logf("%d kills, %d entries acknowledged, %d there, %d unfinished lines", kills, len(said), len(times), cuts)
	if len(said) < kills {
		t.Errorf("only %d entries: the kills met nothing", len(said))
	}
}
