package releases

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// picky is a simulated proxy that refuses routes which give a version half of
// the traffic.
type picky struct{ refused atomic.Int64 }

func half(r *discoveryv3.DeltaDiscoveryResponse) bool {
	for _, item := range r.GetResources() {
		rc := &routev3.RouteConfiguration{}
		if item.GetResource().UnmarshalTo(rc) != nil {
			continue // it is no route
		}
		for _, vh := range rc.GetVirtualHosts() {
			for _, rt := range vh.GetRoutes() {
				for _, c := range rt.GetRoute().GetWeightedClusters().GetClusters() {
					if c.GetWeight().GetValue() == 50 {
						return true
					}
				}
			}
		}
	}
	return false
}

const pickyMessage = "route: no room for another weight"

// startPicky connects one beside the real ones. It ends with the test.
func startPicky(t testing.TB, to string) *picky {
	t.Helper()
	conn, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &picky{}
	var running sync.WaitGroup
	running.Go(func() { _ = p.run(stream) }) // it ends with the test
	t.Cleanup(func() { cancel(); running.Wait(); _ = conn.Close() })
	return p
}

func (p *picky) run(s grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	for _, q := range []*discoveryv3.DeltaDiscoveryRequest{
		{Node: &corev3.Node{Id: "picky"}, TypeUrl: resourcev3.ClusterType},
		{TypeUrl: resourcev3.RouteType, ResourceNamesSubscribe: []string{envoy.RouteConfigName}},
	} {
		if err := s.Send(q); err != nil {
			return err
		}
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
		if half(r) {
			p.refused.Add(1)
			ack.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: pickyMessage}
		}
		if err := s.Send(ack); err != nil {
			return err
		}
	}
}

// TestRefused has a proxy that refuses a step's configuration: the weights go
// back to those that all had, the rollout stands still, and everywhere the
// proxy's own words are told.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	p := startPicky(t, s.grpc)
	both := func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 2 }
	s.until("both proxies have the configuration", both)
	l := startLoad(t, s.proxy, nil)
	s.rollout("10,1s,5,gate", "50,1s,5,gate", "100,1s")
	s.phase(release.PhaseGate)
	s.until("both proxies have the first step", both)
	s.does("rollout", "promote", "score")
	m := s.phase(release.PhasePaused)
	if p.refused.Load() == 0 {
		t.Fatal("nothing was refused")
	}
	weigh(t, m, map[string]int{"v1": 90, "v2": 10})
	if !slices.ContainsFunc(s.history(), func(r release.Record) bool {
		return r.Kind == release.KindRefusedConfig && strings.Contains(r.Reason, "picky: "+pickyMessage) && r.Before["v2"] == 50 && r.After["v2"] == 10
	}) {
		t.Errorf("the last record of a refusal is %+v", s.find(release.KindRefusedConfig))
	}
	if text := strings.Join(m.Explanation, "\n"); !strings.Contains(text, pickyMessage) {
		t.Errorf("the model's explanation is\n%s", text)
	}
	if out := s.does("status"); !strings.Contains(strings.Join(strings.Fields(out), " "), pickyMessage) {
		t.Errorf("the status does not tell what the proxy said:\n%s", out)
	}
	s.until("both proxies have the old weights", both)
	l.unharmed(t)
}

// TestSilentProxy stops an Envoy and rolls back: it is named, and nothing is
// proven before it has spoken.
func TestSilentProxy(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	other := startProxy(t, "edge-2", s.replica, s.replica)
	l := startLoad(t, s.proxy, nil)
	s.promote()
	s.until("both Envoys have it", func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 2 })
	if err := other.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	out, exit := s.cli("rollback", "score", "--reason", "a hunch", "--wait", "2s")
	if exit != 3 || !strings.Contains(out, "edge-2") {
		t.Errorf("exit code %d\n%s", exit, out)
	}
	m := s.until("the other Envoy has it", func(m admin.Model) bool { return m.Withdrawal != nil && m.Proof.Acked == 1 })
	weigh(t, m, map[string]int{"v1": 100})
	if m.Proof.Applied || !m.Withdrawal.Done.IsZero() {
		t.Errorf("with a stopped Envoy the proof is %+v, done at %s", m.Proof, m.Withdrawal.Done)
	}
	if err := other.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.proven()
	dataplane.Eventually(t, soon, "v1 answers through the Envoy that was stopped", func() bool {
		version := other.client.Do(question()).Header.Get("X-Safestate-Version")
		if version == "v2" {
			t.Error("v2 answers through the Envoy that was stopped")
		}
		return version == "v1"
	})
	l.unharmed(t)
}
