package control

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// TestTheProofNamesHostsThatAreSilent: who asked a version that was withdrawn is known
// up to when its hosts were heard.
func TestTheProofNamesHostsThatAreSilent(t *testing.T) {
	p := proofsOn(t)
	s := weighted(3, 100)
	s.Withdrawal = &release.Withdrawal{Generation: 3, From: []string{"v2", "v3"}, To: "v1"}
	publishedTo(t, p, "a", map[string]release.State{fraud: s})
	began := time.Now().Add(-time.Hour)
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	byVersion := map[string][]signals.Host{}
	p.hosts = func(v signals.Version) ([]signals.Host, time.Time) {
		if v.Model != fraud {
			t.Errorf("asked of %v", v)
		}
		return byVersion[v.Name], began
	}
	if proof, _ := p.of(&s); !proof.Heard.IsZero() || proof.Silent != nil {
		t.Errorf("nobody counts them: %+v", proof)
	}
	byVersion["v2"] = []signals.Host{{Name: "busy", Heard: ago(0)}, {Name: "lost", Heard: ago(2 * lostHost)}}
	byVersion["v3"] = []signals.Host{{Name: "cut off", Heard: ago(5 * time.Second)}, {Name: "idle", Heard: ago(time.Second)}}
	proof, _ := p.of(&s)
	if !proof.Heard.Equal(byVersion["v3"][0].Heard) {
		t.Errorf("heard %s ago, want the host that is waited for and silent for longest", time.Since(proof.Heard))
	}
	if len(proof.Silent) != 2 || proof.Silent[0] != "cut off (silent for 5s)" || proof.Silent[1] != "lost (silent for 40s)" {
		t.Errorf("silent: %q", proof.Silent)
	}
	began = ago(time.Second) // another replica led until now
	if proof, _ := p.of(&s); !proof.Heard.Equal(proof.Pushed) || len(proof.Silent) != 1 || !strings.Contains(proof.Silent[0], "listens for 1s") {
		t.Errorf("%+v: as if every host had been heard", proof)
	}
	s.Withdrawal.Done = time.Now()
	if proof, _ := p.of(&s); proof.Silent != nil {
		t.Errorf("it is done, and they are waited for: %+v", proof)
	}
}

// cutOff is a link whose reports are lost while it is.
type cutOff struct {
	signals.Stream
	off *atomic.Bool
}

func (c *cutOff) Send(m *signalsv1.Report) error {
	if c.off.Load() {
		return nil
	}
	return c.Stream.Send(m)
}

// TestARollbackWaitsForItsHosts: one that counts the bad version and is cut off is
// named, and nothing is done before it is heard.
func TestARollbackWaitsForItsHosts(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	var off atomic.Bool
	link := func(ctx context.Context) (signals.Stream, error) {
		s, err := b.hub.Link()(ctx)
		return &cutOff{s, &off}, err
	}
	host := signals.NewReporter(signals.ReporterOptions{Name: "host", Links: []signals.Link{link}})
	defer host.Close()
	host.Row("proxy", "default/fraud/score", fraud, "v2").Asked(time.Now())
	if !eventually(func() bool {
		hosts, _ := b.hub.Hosts(signals.Version{Model: fraud, Name: "v2"})
		return len(hosts) == 1
	}) {
		t.Fatal("not heard")
	}
	b.do(release.Command{Do: release.Start, Version: "v2", Steps: []release.Step{{Weight: 5, MinRequests: 1 << 40}, {Weight: 100}}})
	off.Store(true)
	b.do(release.Command{Do: release.Abort})
	if !eventually(func() bool {
		s := b.state()
		proof, _ := b.control.proofs.of(&s)
		return slices.ContainsFunc(proof.Silent, func(who string) bool { return strings.HasPrefix(who, "host/") })
	}) {
		t.Error("the host that is cut off is not named")
	}
	cut := b.state()
	if !cut.Withdrawal.Done.IsZero() {
		t.Error("done, and nobody knows what the host has seen")
	}
	off.Store(false)
	b.until("the rollback is done", func(s release.State) bool { return !s.Withdrawal.Done.IsZero() })
}

// TestTheHubIsToldOfTheModels: rows of models that are made up take nobody's place.
func TestTheHubIsToldOfTheModels(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	b.reporter.Row("proxy", "default/fraud/score", "default/made-up", "v1").Asked(time.Now())
	b.answer("v1", 1, false)
	if !eventually(func() bool { return b.hub.Stats().LeftOut > 0 && len(b.hub.Totals()) > 0 }) {
		t.Fatalf("%+v", b.hub.Stats())
	}
	if slices.ContainsFunc(b.hub.Totals(), func(v signals.Total) bool { return v.Model != fraud }) {
		t.Errorf("counted %+v", b.hub.Totals())
	}
}
