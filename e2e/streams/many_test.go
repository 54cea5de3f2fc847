package streams

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

const (
	manyStreams = 5_000
	manyLeave   = 1_000 // are cancelled by their callers
	manyTokens  = 36
	manyPace    = 2 * time.Second
	// manyApart is the time between two that are opened.
	manyApart = 5 * time.Millisecond
	// manyAgain is how many may be asked for again, because the machine had no
	// time for one of Envoy's questions within its 200 ms.
	manyAgain = 50
	manyLater = 5_000 // plain answers after them
	// Bounds of what one open stream may take, in bytes.
	safestatePerStream = 64 << 10
	envoyPerStream     = 128 << 10
)

// patientRoute is a route whose times bound nothing here.
func patientRoute(name string, model, fallback *fm.Server) Route {
	return Route{
		Name: name, PrimaryPort: model.Port(), FallbackPort: fallback.Port(),
		Deadline: time.Minute, FirstToken: 50 * time.Second, BetweenTokens: 40 * time.Second, MaxDuration: 10 * time.Minute,
	}
}

// memory is what safestate and Envoy hold, in bytes.
type memory struct{ safestate, envoy int64 }

func memoryOf(t *testing.T, p *dataplane.Plane) memory {
	t.Helper()
	var m memory
	var err error
	if m.safestate, err = p.Safestate.RSS(); err != nil {
		t.Fatal(err)
	}
	if m.envoy, err = p.Envoy.RSS(); err != nil {
		t.Fatal(err)
	}
	return m
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// TestManyStreams holds 5,000 streams open at once. None is turned away; a
// fifth are left by their callers, which the model notices, the others end
// complete; and what one costs is stated.
func TestManyStreams(t *testing.T) {
	model := Model(t, fm.Options{Version: "v1", Tokens: manyTokens, Pace: manyPace})
	fallback := Model(t, fm.Options{Version: "small", Tokens: FallbackTokens})
	plane := dataplane.Start(t, dataplane.Options{
		Config: Folder(t, patientRoute("chat", model, fallback)), Serve: []string{"--log-level", "warn"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := &many{t: t, ctx: ctx, plane: plane, model: model, caller: NewCaller(plane.Traffic, manyTokens, true)}
	defer m.caller.Close()

	m.plain(50) // so that what is made once is there
	before := memoryOf(t, plane)
	m.open()
	during := memoryOf(t, plane)
	m.end()
	m.plain(manyLater) // by which what the streams left behind is collected
	after := memoryOf(t, plane)

	for _, overflow := range []string{"envoy_cluster_upstream_rq_pending_overflow", "envoy_cluster_upstream_cx_overflow"} {
		if n := plane.EnvoyStat(overflow); n != 0 {
			t.Errorf("Envoy turned %.0f away: %s", n, overflow)
		}
	}
	perSafestate := (during.safestate - before.safestate) / manyStreams
	perEnvoy := (during.envoy - before.envoy) / manyStreams
	fmt.Printf("figure streams rss_mb safestate before=%.1f open=%.1f after=%.1f per_stream_kb=%.1f envoy before=%.1f open=%.1f after=%.1f per_stream_kb=%.1f\n",
		mb(before.safestate), mb(during.safestate), mb(after.safestate), float64(perSafestate)/1024,
		mb(before.envoy), mb(during.envoy), mb(after.envoy), float64(perEnvoy)/1024)
	if perSafestate > safestatePerStream || perEnvoy > envoyPerStream {
		t.Errorf("a stream takes %d bytes of safestate and %d of Envoy, want at most %d and %d", perSafestate, perEnvoy, safestatePerStream, envoyPerStream)
	}
	if after.safestate-before.safestate > (during.safestate-before.safestate)/2 {
		t.Errorf("safestate keeps %.1f MB of the %.1f MB that the streams took", mb(after.safestate-before.safestate), mb(during.safestate-before.safestate))
	}
}

// many is a run of TestManyStreams.
type many struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // of the test
	plane  *dataplane.Plane
	model  *fm.Server
	caller *Caller
	calls  []*Call
	again  int // asked once more: see manyAgain
}

// plain asks for whole answers one after the other.
func (m *many) plain(n int) {
	m.t.Helper()
	for range n {
		if o := m.caller.Ask(m.ctx, Question{Route: "chat"}); o.Manner != Complete {
			m.t.Fatal(o.Detail())
		}
	}
}

// open opens the streams and waits until every one goes on, by everybody's count.
func (m *many) open() {
	t := m.t
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(manyApart)
	defer tick.Stop()
	for range manyStreams {
		<-tick.C
		m.calls = append(m.calls, m.caller.Open(m.ctx, Question{Route: "chat", Stream: true}))
	}
	dataplane.Eventually(t, 35*time.Second, "every stream goes on", m.allGoOn)
	if n := m.model.Open(); n != manyStreams {
		t.Errorf("the model sends %d streams at once, want %d", n, manyStreams)
	}
	if n := m.plane.Metric("safestate_extproc_streams"); n < manyStreams {
		t.Errorf("safestate has %.0f streams open, want %d", n, manyStreams)
	}
	fmt.Printf("figure streams open=%d after=%s asked_again=%d caller_connections=%d envoy_connections callers=%.0f model=%.0f safestate=%.0f\n",
		manyStreams, time.Since(begun).Round(time.Second), m.again, m.caller.Connections(),
		m.plane.EnvoyStat("envoy_http_downstream_cx_active", `envoy_http_conn_manager_prefix="safestate"`),
		m.plane.EnvoyStat("envoy_cluster_upstream_cx_active", "default/chat/v1"),
		m.plane.EnvoyStat("envoy_cluster_upstream_cx_active", "safestate_extproc"))
}

func (m *many) allGoOn() bool {
	for i, c := range m.calls {
		switch {
		case c.Ended() && c.out.Reason == away && m.again < manyAgain:
			m.again++
			m.calls[i] = m.caller.Open(m.ctx, Question{Route: "chat", Stream: true})
			return false
		case c.Ended():
			m.t.Fatalf("stream %d: %s", i, c.out.Detail())
		case c.Said() < 3:
			return false
		}
	}
	return true
}

// end has a fifth of the callers leave and waits for the others' streams.
func (m *many) end() {
	t := m.t
	t.Helper()
	const every = manyStreams / manyLeave
	for i := 0; i < manyStreams; i += every {
		m.calls[i].Cancel()
	}
	dataplane.Eventually(t, 10*time.Second, "the model notices those that left", func() bool { return m.model.Cancelled() >= manyLeave })
	ended := map[string]int{}
	until := time.Now().Add(manyTokens*manyPace + 30*time.Second)
	for i, c := range m.calls {
		o, ok := c.Outcome(until)
		if !ok {
			t.Fatalf("stream %d hangs after %d pieces", i, c.Said())
		}
		ended[o.String()]++
		want := complete
		if i%every == 0 {
			want = string(Cancelled)
		}
		if o.String() != want {
			t.Errorf("stream %d: want %s, %s", i, want, o.Detail())
		}
	}
	dataplane.Eventually(t, 10*time.Second, "nothing is left open", func() bool {
		return m.model.Open() == 0 && m.plane.Metric("safestate_extproc_streams") == 0 && m.plane.Metric("safestate_bodies_bytes") == 0
	})
	fmt.Printf("figure streams ended=%s turned_away=%d\n", told(ended), manyStreams-ended[complete]-ended[string(Cancelled)])
}
