package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// tally counts the cells of the generated tables that ran. It is safe for
// concurrent use.
type tally struct {
	mu                     sync.Mutex
	cells, pass, na, again int
}

func (c *tally) print() {
	fmt.Printf("cells=%d pass=%d na=%d\n", c.cells, c.pass, c.na)
	if c.again > 0 {
		fmt.Printf("figure cells_asked_again=%d: the machine was too busy for the first answer\n", c.again)
	}
}

// run is one cell; a cell that -run leaves out does not count.
func (c *tally) run(t *testing.T, name string, cell func(*testing.T)) {
	ran := false
	ok := t.Run(name, func(t *testing.T) {
		ran = true
		cell(t)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if ran {
		c.cells++
		if ok {
			c.pass++
		}
	}
}

// done prints the counts and fails the table where a cell did.
func (c *tally) done(t *testing.T) {
	t.Helper()
	c.print()
	if c.pass != c.cells {
		t.Errorf("%d of %d cells failed", c.cells-c.pass, c.cells)
	}
}

// lane is a model of its own, with a route of its own for every group of
// detectors: cells in two lanes run side by side, and each can count what its
// model served.
type lane struct {
	name  string
	model *fm.Server
}

// lanes are as many as keep two processors busy while cells wait out silences.
const lanes = 4

func openLanes(t *testing.T) []*lane {
	t.Helper()
	var out []*lane
	for i := range lanes {
		model, err := fm.Start(fm.Options{Version: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(model.Close)
		out = append(out, &lane{name: fmt.Sprint(i), model: model})
	}
	return out
}

// laneCell is a cell that runs in any lane.
type laneCell struct {
	name string
	run  func(*testing.T, *lane)
}

// spread runs the cells, in every lane one at a time.
func (c *tally) spread(t *testing.T, in []*lane, cells []laneCell) {
	t.Helper()
	queue := make(chan laneCell, len(cells))
	for _, cell := range cells {
		queue <- cell
	}
	close(queue)
	var all sync.WaitGroup
	for _, l := range in {
		all.Go(func() {
			for cell := range queue {
				c.run(t, cell.name, func(t *testing.T) { cell.run(t, l) })
			}
		})
	}
	all.Wait()
}

// TestFaults is every fault on every protocol that its column names: the
// answer's source, reason and shape, its time, that the fault was there, and
// that a clean answer follows.
func TestFaults(t *testing.T) {
	plane, primary, fallback := wholePlane(t, inTime)
	var count tally
	for _, f := range fm.Faults() {
		for _, p := range column[f.Entry()] {
			if !f.On(p) {
				continue // a form that this protocol has not: TestTableIsComplete counts them
			}
			count.run(t, f.String()+"/"+p.String(), func(t *testing.T) {
				c := cell{plane: plane, primary: primary, fallback: fallback, fault: f, protocol: p, want: expected[f]}
				c.run(t)
				count.again += c.again
			})
		}
	}
	count.done(t)
}

// cell is one fault on one protocol.
type cell struct {
	plane             *dataplane.Plane
	primary, fallback *fm.Server
	fault             fm.Fault
	protocol          fm.Protocol
	want              expectation
	again             int
}

// busy: the answer was late, or Envoy gave up waiting for the processor, which
// is right and says that the machine had no time, not that a fault was missed.
func busy(a dataplane.Answer) bool {
	return outOfTime(a) || a.Reason() == "processor_away"
}

func outOfTime(a dataplane.Answer) bool { return a.Took > deadline+deadlineGrace }

// busy: nor had it time for the model, or for the fallback.
func (c *cell) busy(a dataplane.Answer) bool {
	late := strings.HasPrefix(a.Reason(), "late") && !slices.Contains(c.want.reason, "late")
	return busy(a) || late || a.Source() == "safe_default" && !slices.Contains(c.want.source, "safe_default")
}

// patiently asks for a test that is not about time: again where Envoy gave up
// waiting for the processor.
func patiently(c *dataplane.Client, q dataplane.Request) dataplane.Answer {
	return again(5, func() dataplane.Answer { return c.Do(q) }, func(a dataplane.Answer) bool { return a.Reason() == "processor_away" })
}

// again asks until an answer is not wrong as a busy machine's may be, so often at the
// most, and returns the last one.
func again[A any](most int, ask func() A, wrong func(A) bool) (a A) {
	for range most {
		if a = ask(); !wrong(a) {
			break
		}
	}
	return a
}

func (c *cell) route() string { return routeName(c.protocol, c.want.group) }

func (c *cell) ask() dataplane.Answer {
	return c.plane.Client.Do(inference(c.protocol, c.route(), c.fault.Rows(), nil))
}

func (c *cell) run(t *testing.T) {
	c.primary.Set(fm.None, 0)
	c.clean(t, "before")
	before, asked := c.primary.Count(c.fault), c.primary.Requests()
	c.primary.Set(c.fault, 0)
	defer c.primary.Set(fm.None, 0)

	a := c.ask()
	if c.fault == fm.C16Constant {
		for range 15 { // the window fills with one answer to many inputs
			a = c.ask()
		}
	}
	for ; c.busy(a) && c.again < 2; c.again++ {
		c.primary.Set(c.fault, 0)
		a = c.ask()
	}
	c.failed(t, a)
	if c.fault == fm.S15Down { // the third failure opens its breaker
		c.open(t)
	}

	dataplane.Eventually(t, 10*time.Second, "the model counts the fault as served", func() bool { return c.primary.Count(c.fault) > before })
	if n := c.primary.Requests() - asked; c.fault != fm.C16Constant && c.fault != fm.S15Down && c.again == 0 && n > 2 {
		t.Errorf("the model was asked %d times for one request", n)
	}
	if c.fault == fm.S03ErrorOnce {
		c.clean(t, "the fault is over by itself")
	}
	c.primary.Set(fm.None, 0)
	if c.fault == fm.S15Down {
		dataplane.Eventually(t, 30*time.Second, "the primary answers again", func() bool { return c.ask().Source() == "primary" })
	}
	c.clean(t, "after")
}

// failed checks an answer to a request that the model failed.
func (c *cell) failed(t *testing.T, a dataplane.Answer) {
	t.Helper()
	if a.Err != nil || a.Status != http.StatusOK {
		t.Fatalf("status %d, error %v, source %q, reason %q, body %.200q", a.Status, a.Err, a.Source(), a.Reason(), a.Body)
	}
	sources := c.want.source
	if sources == nil {
		sources = []string{"fallback"}
	}
	if !slices.Contains(sources, a.Source()) {
		t.Errorf("source %q, want one of %q (reason %q)", a.Source(), sources, a.Reason())
	}
	if !slices.ContainsFunc(c.want.reason, func(prefix string) bool { return strings.HasPrefix(a.Reason(), prefix) }) {
		t.Errorf("reason %q, want one that starts with one of %q", a.Reason(), c.want.reason)
	}
	if a.Source() == "fallback" {
		if model := a.Header.Get("X-Safestate-Model"); !strings.HasSuffix(model, c.route()+"-small") {
			t.Errorf("x-safestate-model is %q, want the fallback's", model)
		}
		if version := a.Header.Get("X-Safestate-Version"); version != "small" {
			t.Errorf("x-safestate-version is %q, want small", version)
		}
	}
	if a.Took > deadline+deadlineGrace {
		t.Errorf("the answer took %s, the deadline is %s", a.Took, deadline)
	}
	checkShape(t, c.protocol, a)
	checkNoLeak(t, a)
}

// clean checks that the primary answers.
func (c *cell) clean(t *testing.T, when string) {
	t.Helper()
	a := again(3, c.ask, func(a dataplane.Answer) bool { return a.Source() != "primary" })
	if a.Err != nil || a.Status != http.StatusOK || a.Source() != "primary" {
		t.Fatalf("%s: status %d, error %v, source %q, reason %q, body %.200q", when, a.Status, a.Err, a.Source(), a.Reason(), a.Body)
	}
	checkShape(t, c.protocol, a)
}

// open asks a model that is down until its breaker opens.
func (c *cell) open(t *testing.T) {
	t.Helper()
	dataplane.Eventually(t, 30*time.Second, "the breaker opens", func() bool {
		a := c.ask()
		if a.Source() != "fallback" && !c.busy(a) {
			t.Errorf("while the model is down: source %q, reason %q", a.Source(), a.Reason())
		}
		return strings.HasPrefix(a.Reason(), "breaker_open")
	})
}
