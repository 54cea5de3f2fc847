package releases

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/release"
)

// startEtcd is an etcd of one member in this process. It ends with the test.
func startEtcd(t *testing.T) (endpoint string) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs = t.TempDir(), "fatal", []string{"/dev/null"}
	at := func(to *[]url.URL) string {
		u := url.URL{Scheme: "http", Host: porttest.Address(t)}
		*to = []url.URL{u}
		return u.Host
	}
	endpoint = at(&c.ListenClientUrls)
	c.AdvertiseClientUrls = c.ListenClientUrls
	at(&c.ListenPeerUrls)
	c.AdvertisePeerUrls = c.ListenPeerUrls
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(soon):
		t.Fatal("etcd is not ready")
	}
	return endpoint
}

// TestReplicas has two replicas over one etcd, an Envoy at each. A command at
// either one holds at both; what the follower's Envoy sees reaches the leader;
// and when that is killed the other goes on.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1", "v2")
	v2 := w.version("v2")
	etcd := startEtcd(t)
	pair := map[string]*stand{}
	for _, name := range []string{"a", "b"} {
		r := newReplica(t)
		r.flags = []string{"--config", w.dir, "--traffic", anyPort, "--etcd-endpoints", etcd, "--advertise", r.grpc, "--replica", name}
		r.start()
		pair[name] = &stand{replica: r, world: w, proxy: startProxy(t, "edge-"+name, r, r)}
	}
	leader, follower := pair["a"], pair["b"]
	var st admin.Status
	dataplane.Eventually(t, soon, "somebody leads", func() (ok bool) {
		st, ok = follower.status()
		return ok && st.Leader.Replica != ""
	})
	if st.Leader.Self {
		leader, follower = follower, leader
	}
	leader.until("both Envoys have the configuration", func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 2 })

	// All load is at the follower's Envoy: the leader knows of it by the
	// follower's reports alone.
	l := startLoad(t, follower.proxy, nil)
	follower.rollout(quick...)
	leader.phase(release.PhasePromoted)
	follower.phase(release.PhasePromoted)
	for _, s := range pair {
		m := s.until("both Envoys have the new weights", func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 2 })
		weigh(t, m, map[string]int{"v1": 1, "v2": 99})
		s.cachedOf("v2")
	}

	leader.process.Kill()
	dataplane.Eventually(t, soon, "the other one leads", func() bool {
		st, ok := follower.status()
		return ok && st.Leader.Self
	})
	l.more(t, 2*perSecond)
	if m, _ := follower.model(); m.Phase != release.PhasePromoted {
		t.Errorf("after the leader's death the phase is %s: %q", m.Phase, m.Explanation)
	}
	v2.Set(fm.C01NaNBare, 0)
	m := follower.until("v2 is rolled back", func(m admin.Model) bool { return m.Withdrawal != nil })
	weigh(t, m, map[string]int{"v1": 100})
	// The dead one's Envoy is cut off: it may still serve v2, and is named.
	m = follower.until("the Envoy that is cut off is missing", func(m admin.Model) bool { return len(m.Proof.Missing) > 0 && m.Proof.Acked == 1 })
	if text := strings.Join(m.Proof.Missing, "; "); !strings.Contains(text, "edge-"+leader.name()) || !m.Withdrawal.Done.IsZero() {
		t.Errorf("missing is %q, done at %s", text, m.Withdrawal.Done)
	}
	leader.start()
	m = follower.proven()
	if m.Proof.Expected != 2 {
		t.Errorf("the proof is %+v", m.Proof)
	}
	l.unharmed(t)
}

// name is the replica's.
func (r *replica) name() string { return r.flags[len(r.flags)-1] }
