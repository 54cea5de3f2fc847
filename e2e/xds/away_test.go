package xds

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
)

// TestAway kills the control plane under load: nothing changes. One that comes
// back and has not read its store yet changes nothing either, and once it has
// the same configuration as before Envoy is given nothing to change.
func TestAway(t *testing.T) {
	o := options(t)
	shares := []share{{"v1", model(t, "v1"), 90}, {"v2", model(t, "v2"), 10}}
	r := world(t, o, shares...)
	c := startControl(t, o.XDS, xds.Options{})
	c.set(t, r)
	p := startEnvoy(t, o)
	p.ready(t)
	dataplane.Eventually(t, soon, "Envoy takes everything", func() bool { return c.Proof(r.Version()).Complete() && c.Proof(r.Version()).Acked == 1 })
	before := changes(t, p)
	l := startLoad(t, o.Listen)
	began := time.Now()

	c.kill()
	dataplane.Eventually(t, soon, "Envoy notices", func() bool { return connected(t, p) == "0" })
	enough := int(away.Seconds() * perSecond)
	dataplane.Eventually(t, *away+soon, "the control plane is gone for long enough", func() bool { return l.count() >= enough && time.Since(began) > *away })
	same(t, before, changes(t, p), "while the control plane is gone")

	unread := startControl(t, o.XDS, xds.Options{})
	dataplane.Eventually(t, soon, "Envoy is back at a control plane that knows nothing yet", func() bool {
		return connected(t, p) == "1" && len(unread.Proxies()) == 1
	})
	if err := unread.Set(&envoy.Resources{}, xds.AtOnce); err == nil {
		t.Error("an empty configuration is published")
	}
	more := l.count() + perSecond/2
	dataplane.Eventually(t, soon, "requests go on", func() bool { return l.count() >= more })
	same(t, before, changes(t, p), "while the control plane knows nothing")

	unread.set(t, r)
	dataplane.Eventually(t, soon, "Envoy is known to have it all", func() bool {
		proof := unread.Proof(r.Version())
		return proof.Complete() && proof.Acked == 1
	})
	same(t, before, changes(t, p), "once the same configuration is there again")

	shares[0].weight, shares[1].weight = 0, 100
	unread.set(t, world(t, o, shares...))
	dataplane.Eventually(t, soon, "a change is followed", func() bool { return l.last(50, "v2") })
	l.stop()
	l.unharmed(t, enough)
	p.noMissingCluster(t)
}

// changes are Envoy's counters of what it was given and of what that changed.
func changes(t *testing.T, p *proxy) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(p.admin(t, "/stats")) {
		name, _, _ := strings.Cut(line, ":")
		for _, counted := range []string{
			"cluster_manager.cluster_added", "cluster_manager.cluster_modified", "cluster_manager.cluster_removed", "cluster_manager.warming_clusters",
			"listener_manager.listener_added", "listener_manager.listener_modified", "listener_manager.listener_removed", "listener_manager.listener_in_place_updated",
			"cds.update_success", "lds.update_success", "rds.safestate.update_success", "rds.safestate.config_reload",
			"rds.safestate.update_rejected", "lds.update_rejected", "cds.update_rejected",
		} {
			if strings.HasSuffix(name, counted) {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	if len(out) < 13 {
		t.Fatalf("Envoy counts only %q", out)
	}
	return out
}

func same(t *testing.T, before, now []string, when string) {
	t.Helper()
	if !slices.Equal(before, now) {
		t.Errorf("%s: Envoy's counters went from %q to %q", when, before, now)
	}
}

// connected is whether Envoy has a stream to its control plane: 1 or 0.
func connected(t *testing.T, p *proxy) string {
	t.Helper()
	_, value, _ := strings.Cut(p.admin(t, "/stats?filter="+"^control_plane.connected_state$"), ": ")
	return strings.TrimSpace(value)
}

// TestSilent has two Envoys with one node id, and another proxy: one of a pair
// that refuses is missed although the other accepts, and one that went is
// expected still, and named with how long it is silent.
func TestSilent(t *testing.T) {
	first, second := options(t), options(t)
	second.XDS = first.XDS
	first.Listen, second.Listen = "127.0.0.1:0", "127.0.0.1:0" // one listener for both: the kernel chooses
	v1, v2 := model(t, "v1"), model(t, "v2")
	c := startControl(t, first.XDS, xds.Options{})
	r := world(t, first, share{"v1", v1, 50}, share{"v2", v2, 50})
	c.set(t, r)
	a, b := startEnvoy(t, first), startEnvoy(t, second)
	f := follow(t, first.XDS, "follower", func() time.Duration { return 0 })
	streams := func(node string) (open int) {
		for _, p := range c.Proxies() {
			for _, s := range p.Streams {
				if p.Node == node && s.Connected {
					open++
				}
			}
		}
		return open
	}
	dataplane.Eventually(t, soon, "all three are there", func() bool { return streams("envoy") == 2 && streams("follower") == 1 })
	dataplane.Eventually(t, soon, "all three have it", func() bool { return c.Proof(r.Version()).Complete() })
	if n := c.Proof(r.Version()).Expected; n != 2 {
		t.Errorf("%d proxies are expected by name, want 2", n)
	}

	f.stop()
	b.process.Kill()
	dataplane.Eventually(t, soon, "two are gone", func() bool { return streams("envoy") == 1 && streams("follower") == 0 })
	r = world(t, first, share{"v1", v1, 10}, share{"v2", v2, 90})
	c.set(t, r)
	// The routes are one of several things that it acknowledges.
	dataplane.Eventually(t, soon, "the one that is left takes all of it", func() bool {
		return a.reloads(t) >= 2 && !slices.ContainsFunc(c.Proof(r.Version()).Missing, func(m xds.Missing) bool { return m.Reason != xds.Silent })
	})
	proof := c.Proof(r.Version())
	if proof.Complete() || proof.Expected != 2 || len(proof.Missing) != 2 {
		t.Fatalf("two proxies are silent, and the proof is %+v", proof)
	}
	for i, node := range []string{"envoy", "follower"} {
		m := proof.Missing[i]
		if m.Node != node || m.Reason != xds.Silent || m.Since.IsZero() || !strings.Contains(m.At(time.Now()), node+": silent for ") {
			t.Errorf("missing is %+v, want %s, silent", m, node)
		}
	}

	b = startEnvoy(t, second)
	// Once it has its routes it was sent all of it, and what it was sent it owes.
	dataplane.Eventually(t, soon, "the second Envoy is back", func() bool {
		if b.reloads(t) == 0 {
			return false
		}
		m := c.Proof(r.Version()).Missing
		return len(m) == 1 && m[0].Node == "follower"
	})
	if err := c.Deregister("follower"); err != nil {
		t.Error(err)
	}
	if proof := c.Proof(r.Version()); !proof.Complete() || proof.Expected != 1 {
		t.Errorf("the proof is %+v", proof)
	}
	if err := c.Deregister("envoy"); err == nil {
		t.Error("a proxy that is connected is forgotten")
	}
}
