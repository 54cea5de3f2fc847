package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/istio"
)

var errNamespace = errors.New(`namespaces "a" not found`)

// carriers are the names of the EnvoyFilters that routes are in, by the routes'
// namespace.
func carriers(t *testing.T, s *compile.Snapshot) map[string]string {
	t.Helper()
	objects, err := istio.Render(s, istio.Options{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for key, routes := range objects.Routes {
		namespace, _, _ := strings.Cut(routes[0], "/")
		out[namespace] = "EnvoyFilter " + key
	}
	return out
}

func killedIn(s *compile.Snapshot, model string) *compile.Snapshot {
	return s.WithKills(kill.NewSet(kill.State{Target: kill.ForModel(model), Killed: true, Mode: kill.Blackhole, Generation: 1}), time.Now())
}

// TestOneUnwritable: what cannot be written in one namespace counts against what is in
// it, and nothing else waits for it.
func TestOneUnwritable(t *testing.T) {
	c, a := controlled(t)
	a.refuses(func(_ context.Context, o *unstructured.Unstructured) error {
		if o.GetNamespace() == "a" {
			return errNamespace
		}
		return nil
	})
	runs(t, c)
	s := teams(t, "", "a", "b", "c")
	names := carriers(t, s)
	c.Lead(true)
	c.Publish(Wanted{Snapshot: s, Version: "1"})
	var ours string
	for missing := range c.Written(t.Context(), "1") {
		if missing["b/fraud"] == nil && missing["c/fraud"] == nil && missing["a/fraud"] != nil && !errors.Is(missing["a/fraud"], errPending) {
			ours = missing["a/fraud"].Error()
			break
		}
	}
	if !strings.Contains(ours, "EnvoyFilter a/") || !strings.Contains(ours, errNamespace.Error()) {
		t.Errorf("it says %q", ours)
	}
	failed := names["a"]
	eventually(t, "it is tried again and again", func() bool { return a.asked(failed) >= 3 })
	routes, _ := c.writer.queue.unwritten()
	for name, err := range routes {
		if !strings.HasPrefix(name, "a/") {
			t.Errorf("route %s is not written: %v", name, err)
		}
	}
	if len(routes) != 1 {
		t.Errorf("%d routes are not written, want that of a", len(routes))
	}
	for _, n := range []string{"b", "c"} {
		if name := names[n]; a.asked(name) != 1 || a.object(name) == nil {
			t.Errorf("%s was written %d times, want once", name, a.asked(name))
		}
	}
	if troubles := c.Troubles(); len(troubles) != 2 || !strings.Contains(troubles[0].What, "EnvoyFilter a/") || !strings.Contains(troubles[1].What, "EnvoyFilter a/") {
		t.Errorf("troubles %v, want those of both EnvoyFilters there", troubles)
	}
	a.refuses(nil)
	for missing := range c.Written(t.Context(), "1") {
		if missing["b/fraud"] != nil {
			t.Errorf("%v", missing)
		}
	}
	if a.object(failed) == nil {
		t.Error("it is not there, and is said to be")
	}
	eventually(t, "nothing is wrong any more", func() bool { return len(c.Troubles()) == 0 })
}

// TestBackOff: what is refused is asked for less and less often, and at once where
// something else is wanted.
func TestBackOff(t *testing.T) {
	q := newQueue(func(error) {}, func() {}, func() {})
	one := &task{key: "a", mark: "1"}
	for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, mostWait, mostWait} {
		_ = q.failed(one, errNamespace)
		if got := q.late["a"].wait; got != want {
			t.Errorf("waits %s, want %s", got, want)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end() // nothing begins
	q.put(ended, []*task{{key: "a", mark: "1"}})
	if len(q.fresh) != 0 || q.late["a"] == nil || q.late["a"].wait != mostWait {
		t.Error("it does not wait where the same is wanted")
	}
	q.put(ended, []*task{{key: "a", mark: "1"}, {key: "b", mark: "1"}})
	_ = q.failed(&task{key: "b", mark: "1"}, errNamespace)
	q.succeeded(&task{key: "b"})
	if f := q.late["a"]; f == nil || !f.next.IsZero() {
		t.Error("what another one was refused for is over, and it is not tried")
	}
	if tell := q.failed(one, errNamespace); tell != nil {
		t.Errorf("the same is told twice: %v", tell)
	}
	if tell := q.failed(one, errors.New("another one")); tell == nil {
		t.Error("something else is not told")
	}
}

// TestStopsFirst: a kill's EnvoyFilter waits neither for those of an older
// configuration, nor for calls of theirs that take long; and what is not begun of that
// is not begun any more.
func TestStopsFirst(t *testing.T) {
	c, a := controlled(t)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	a.refuses(func(_ context.Context, o *unstructured.Unstructured) error {
		if strings.Contains(fmt.Sprint(o.Object["spec"]), "safestate.stop") && o.GetLabels()[istio.LabelPart] == istio.PartRoute {
			return nil
		}
		<-gate // however long that takes
		return nil
	})
	runs(t, c)
	t.Cleanup(open)
	var namespaces []string
	for i := range writesAtOnce + 4 {
		namespaces = append(namespaces, fmt.Sprintf("n%02d", i))
	}
	s := teams(t, "edge", namespaces...)
	names, last := carriers(t, s), namespaces[len(namespaces)-1]
	killed := killedIn(s, last+"/fraud")
	c.Lead(true)
	c.Publish(Wanted{Snapshot: s, Version: "1"})
	begun := func() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.writes) }
	eventually(t, "all calls that may be at once are under way", func() bool { return begun() == writesAtOnce })

	c.Publish(Wanted{Snapshot: killed, Version: "2"})
	eventually(t, "the kill is written", func() bool { return a.object(names[last]) != nil })
	if n := begun(); n != writesAtOnce+1 {
		t.Errorf("%d writes were begun, want the kill's alone beside the %d", n, writesAtOnce)
	}
	open()
	for range c.Written(t.Context(), "2") { // to its end
	}
	for _, n := range namespaces {
		if name := names[n]; a.asked(name) != 1 {
			t.Errorf("%s was written %d times, want once", name, a.asked(name))
		}
	}
}

// TestOrder: stops, what they need, weights, the rest.
func TestOrder(t *testing.T) {
	q := newQueue(func(error) {}, func() {}, func() {})
	ended, end := context.WithCancel(t.Context())
	end()
	q.put(ended, nil)
	q.ctx = t.Context()
	q.busy["held"] = &task{key: "held"}
	for i := range writesAtOnce { // no more may begin
		q.busy[fmt.Sprint(i)] = &task{}
	}
	began := make(chan string, 1)
	do := func(name string) func(context.Context) error {
		return func(context.Context) error { began <- name; return nil }
	}
	q.put(t.Context(), []*task{
		{key: "d", rank: rankRest, do: do("rest")}, {key: "c", rank: rankWeights, do: do("weights")},
		{key: "b", rank: rankBase, do: do("base")}, {key: "a2", rank: rankStop, do: do("stop")}, {key: "held", rank: rankStop, do: do("held")},
	})
	if got := <-began; got != "stop" {
		t.Errorf("%s is first, want stop", got)
	}
	q.mu.Lock()
	delete(q.busy, "0") // with these two gone one may be under way, and the next when it has ended
	delete(q.busy, "1")
	q.begin()
	q.mu.Unlock()
	for _, want := range []string{"base", "weights", "rest"} {
		if got := <-began; got != want {
			t.Errorf("%s is next, want %s", got, want)
		}
	}
	q.work.Wait()
}

// TestResign: who does not lead any more writes nothing, what was under way included.
func TestResign(t *testing.T) {
	c, a := controlled(t)
	ended := make(chan error, writesAtOnce)
	a.refuses(func(ctx context.Context, _ *unstructured.Unstructured) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	})
	runs(t, c)
	s := teams(t, "edge", "a", "b")
	c.Lead(true)
	c.Publish(Wanted{Snapshot: s, Version: "1"})
	eventually(t, "all is being written", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.writes) == 3 })
	c.Lead(false)
	for range 3 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a call ended by %v", err)
		}
	}
	eventually(t, "nothing is under way", c.writer.queue.idle)
	if troubles := c.Troubles(); len(troubles) > 0 {
		t.Errorf("who does not lead tells of %v", troubles)
	}
	for missing := range c.Written(t.Context(), "1") {
		if missing != nil {
			t.Errorf("who does not lead waits for %v", missing)
		}
	}
	a.refuses(nil)
	c.Lead(true)
	for range c.Written(t.Context(), "1") { // to its end
	}
	if n := len(a.objects); n != 3 {
		t.Errorf("%d objects were written by who leads again, want 3", n)
	}
}

// TestSuperseded: a version that another one has taken the place of is written when
// that one is.
func TestSuperseded(t *testing.T) {
	c, _ := controlled(t)
	now, cancel := context.WithCancel(t.Context())
	cancel() // nothing is waited for
	written := func(version string) (yes bool) {
		for missing := range c.Written(now, version) {
			yes = len(missing) == 0
		}
		return yes
	}
	s := teams(t, "edge", "a", "b")
	c.Lead(true)
	c.Publish(Wanted{Snapshot: s, Version: "1"})
	c.Publish(Wanted{Snapshot: killedIn(s, "a/fraud"), Version: "2"})
	if written("1") || written("2") {
		t.Error("nothing was written, and all is said to be")
	}
	if err := c.writer.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are written", func() bool { return written("1") && written("2") })
	c.Publish(Wanted{Snapshot: killedIn(s, "b/fraud"), Version: "3"})
	if written("2") || written("3") {
		t.Error("the last one was not written, and what it has taken the place of is said to be")
	}
}
