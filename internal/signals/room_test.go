package signals

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// TestARowWithoutRoomIsLeftOut, and nothing else of its report; once there is room
// it counts with all that it has by then.
func TestARowWithoutRoomIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(*Hub)
		free func(*Hub)
	}{
		{"rows of all", func(h *Hub) { h.rows = mostRowsOfAll - 1 }, func(h *Hub) { h.rows-- }},
		{"versions", func(h *Hub) { h.strays = mostVersions - 1 }, func(h *Hub) { h.strays-- }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t)
			c.fill(h)
			x := newHost("h")
			x.count(1, 0)
			deliver(t, h, x.report())
			x.count(1, 0)
			x.count(1, 1, "v2")
			deliver(t, h, x.report())
			if s := h.Stats(); totals(h) != "v1 2 2 0" || s.LeftOut != 1 || !strings.Contains(s.LastLeftOut, `version "v2" of "default/m"`) {
				t.Errorf("counted %s, and %+v", totals(h), s)
			}
			c.free(h)
			x.count(0, 1, "v2")
			deliver(t, h, x.report())
			if got := totals(h); got != "v1 2 2 0, v2 3 1 2" {
				t.Errorf("then counted %s", got)
			}
		})
	}
}

// TestVersionsOfTheConfigurationHaveRoom, whatever names somebody makes up.
func TestVersionsOfTheConfigurationHaveRoom(t *testing.T) {
	h := newHub(t)
	h.Models(map[string][]string{"default/m": {"v1", "v2"}, "default/n": nil})
	bad := newHost("bad")
	for i := range mostVersions + 10 {
		bad.count(1, 0, fmt.Sprint("made up ", i))
		if i%200 == 0 {
			deliver(t, h, bad.report())
			clear(bad.rows)
		}
	}
	bad.rows[rowName{model: "default/none"}] = &signalsv1.Counts{Model: "default/none", Version: "v1", Asked: 5}
	deliver(t, h, bad.report())
	good := newHost("good")
	good.count(0, 1, "v2")
	deliver(t, h, good.report())
	var v2 Total
	for _, v := range h.Totals() {
		if v.Model != "default/m" {
			t.Errorf("%s counts, which is not configured", v.Model)
		}
		if v.Name == "v2" {
			v2 = v
		}
	}
	if v2.Bad != 1 {
		t.Errorf("v2 is %+v", v2.Counts)
	}
	h.Models(map[string][]string{"default/n": nil})
	good.count(0, 1, "v2")
	deliver(t, h, good.report())
	for _, v := range h.Totals() {
		if v.Name == "v2" && v.Bad != 1 {
			t.Error("a model that is configured no more counts")
		}
	}
	if h.strays != len(h.versions) {
		t.Errorf("%d strays of %d versions", h.strays, len(h.versions))
	}
}

// named is a peer with a name that is proven.
type named string

// TestOnePeerTakesHalf of what there is room for, and leaves the others theirs.
func TestOnePeerTakesHalf(t *testing.T) {
	h := NewHub(HubOptions{Identity: func(ctx context.Context) ([]string, bool) {
		name, ok := ctx.Value(named("")).(string)
		return []string{name}, ok
	}})
	defer h.Close()
	peer := func(name string) string { return h.peerOf(context.WithValue(t.Context(), named(""), name)) }
	one := func(name string) *signalsv1.Report {
		return &signalsv1.Report{Reporter: name, Epoch: 1, Sequence: 1, Counts: []*signalsv1.Counts{{Model: "m", Version: "v" + name}}}
	}
	for i := range MostReporters {
		err := h.deliver(peer("mad"), one(fmt.Sprint(i)))
		if refused := i >= MostReporters/2; (err != nil) != refused {
			t.Fatalf("reporter %d: %v", i, err)
		}
	}
	if h.strays != mostVersions/2 {
		t.Errorf("it has made up %d versions", h.strays)
	}
	if err := h.deliver(peer("sane"), one("another")); err != nil || h.strays != mostVersions/2+1 {
		t.Errorf("another peer is not heard: %v, %d versions", err, h.strays)
	}
	if err := h.Deliver(one("whoever")); err != nil {
		t.Errorf("nobody in particular is not heard: %v", err)
	}
	many := one("0")
	many.Sequence, many.Counts = 2, nil
	h.peers["mad"].rows = mostRowsOfAll/2 - 1
	many.Counts = []*signalsv1.Counts{{Model: "m", Version: "v0", Node: "a"}, {Model: "m", Version: "v0", Node: "b"}}
	before := h.rows
	if err := h.deliver("mad", many); err != nil || h.rows != before+1 {
		t.Errorf("it has %d rows more, and %v", h.rows-before, err)
	}
	for range MostReporters / 2 {
		if _, err := h.open("mad"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.open("mad"); err == nil {
		t.Error("as many streams as one likes")
	}
	box, err := h.open("sane")
	if err != nil {
		t.Fatal(err)
	}
	h.leave(box)
	h.leave(box)
	if s := h.shareOf("sane"); s != (share{reporters: 1, rows: 1, strays: 1}) {
		t.Errorf("a stream that ended is charged: %+v", s)
	}
	h.mu.Lock()
	h.sweep(time.Now().Add(2 * forgetVersion))
	h.mu.Unlock()
	if s := h.shareOf("sane"); s != (share{}) || h.rows != 0 || h.strays != 0 || h.nodes != 0 {
		t.Errorf("what is forgotten is charged: %+v, %d rows, %d versions, %d proxies", s, h.rows, h.strays, h.nodes)
	}
}

// aStream is a stream of a peer's with one report on it.
type aStream struct {
	grpc.ServerStream
	ctx    context.Context //nolint:containedctx // the stream's
	report *signalsv1.Report
}

func (s *aStream) Context() context.Context { return s.ctx }

func (s *aStream) Send(*signalsv1.Directive) error { return nil }

func (s *aStream) SetHeader(metadata.MD) error { return nil }

func (s *aStream) Recv() (*signalsv1.Report, error) {
	if m := s.report; m != nil {
		s.report = nil
		return m, nil
	}
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

// TestAStreamsPeer: a report counts for whom the transport has proven.
func TestAStreamsPeer(t *testing.T) {
	for _, c := range []struct {
		names  []string
		proven bool
		want   string
	}{{[]string{"spiffe://x/a", "a"}, true, "spiffe://x/a a"}, {nil, true, nameless}, {[]string{"a"}, false, ""}} {
		h := NewHub(HubOptions{Identity: func(context.Context) ([]string, bool) { return c.names, c.proven }})
		ctx, cancel := context.WithCancel(t.Context())
		x := newHost("h")
		x.count(1, 0)
		ended := make(chan error)
		go func() { ended <- h.Exchange(&aStream{ctx: ctx, report: x.report()}) }()
		eventually(t, "the report", func() bool { return h.Stats().Rows == 1 })
		h.mu.Lock()
		if got := h.reporters["h"].peer; got != c.want {
			t.Errorf("%v, proven %v: the peer is %q", c.names, c.proven, got)
		}
		h.mu.Unlock()
		cancel()
		if err := <-ended; err == nil {
			t.Error("the stream ended well")
		}
		h.Close()
	}
}

// TestProxiesOfAllVersionsAreBounded: a reporter that begins anew leaves its proxies
// behind.
func TestProxiesOfAllVersionsAreBounded(t *testing.T) {
	h := newHub(t)
	h.nodes = mostNodesOfAll - 2
	for epoch := range 5 {
		m := &signalsv1.Report{Reporter: "h", Epoch: uint64(epoch) + 1, Sequence: 1}
		for _, version := range []string{"v1", "v2"} {
			m.Counts = append(m.Counts, &signalsv1.Counts{Node: fmt.Sprint("n", epoch), Model: "m", Version: version, LastAsked: 1})
		}
		deliver(t, h, m)
	}
	for _, v := range h.Totals() {
		if len(v.Nodes) != 2 || v.Nodes[0].Name != "n0" || v.Nodes[1].Name != other {
			t.Errorf("%s has the proxies %v", v.Name, v.Nodes)
		}
	}
}

// TestWhatWaitsForTheRelayIsBounded though a reporter begins anew again and again
// while the leader is away: all is handed on once there is too much.
func TestWhatWaitsForTheRelayIsBounded(t *testing.T) {
	follower := newHub(t)
	relay := NewRelay(follower, nil)
	relay.attach(true)
	defer relay.attach(false)
	x := newHost("x")
	x.count(1, 0)
	deliver(t, follower, x.report())
	row := relay.waiting[0]
	for len(relay.waiting) < mostRowsOfAll {
		relay.waiting = append(relay.waiting, row)
	}
	x.count(1, 0, "v2")
	deliver(t, follower, x.report())
	if len(relay.waiting) > mostRowsOfAll {
		t.Fatalf("%d rows wait", len(relay.waiting))
	}
	x.count(1, 0, "v3")
	deliver(t, follower, x.report("v3"))
	var got []string
	for _, m := range relay.reports(time.Now(), false) {
		for _, c := range m.Counts {
			got = append(got, c.Version)
		}
	}
	slices.Sort(got)
	if strings.Join(got, " ") != "v1 v2 v3" {
		t.Errorf("handed on %v, want all", got)
	}
	if relay.all || len(relay.waiting) > 0 {
		t.Error("it is not over")
	}
}
