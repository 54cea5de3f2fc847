package envoy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
)

// killed is s while a target is killed.
func killed(s *compile.Snapshot, t kill.Target, mode kill.Mode) *compile.Snapshot {
	return s.WithKills(kill.NewSet(kill.Kill(kill.New(t), kill.Order{ID: "1", At: time.Unix(1, 0), By: "a", Reason: "b", Mode: mode})), time.Unix(2, 0))
}

// TestAKillLeadsNowhere: whatever the mode, no route of a killed model leads to any
// of its versions, their clusters are there and empty, the routes tell of the kill,
// and no listener is drained.
func TestAKillLeadsNowhere(t *testing.T) {
	for name, s := range map[string]*compile.Snapshot{
		"plain":         snapshot(t, nil, version("v1", "127.0.0.1:9101"), version("v2", "models.example:9102")),
		"HTTP":          snapshot(t, enforced(nil), version("v1", "127.0.0.1:9101"), version("v2", "models.example:9102")),
		"chat":          snapshot(t, chatPolicy(nil), version("v1", "127.0.0.1:9101")),
		"gRPC":          grpcSnapshot(t, grpcPolicy(nil), version("v1", "127.0.0.1:9101")),
		"gRPC, message": grpcSnapshot(t, grpcPolicy(byMessage), version("v1", "127.0.0.1:9101")),
	} {
		for _, mode := range kill.Modes() {
			t.Run(name+", "+string(mode), func(t *testing.T) {
				before, after := rendered(t, s, Options{}), rendered(t, killed(s, kill.ForModel("default/fraud"), mode), Options{})
				if hashOf(messages(before.Listeners)) != hashOf(messages(after.Listeners)) || hashOf(messages(before.Secrets)) != hashOf(messages(after.Secrets)) {
					t.Error("a listener or a secret changes")
				}
				for _, rc := range after.Routes {
					for _, vh := range rc.VirtualHosts {
						for _, rt := range vh.Routes {
							for _, c := range clustersOf(rt) {
								if strings.HasPrefix(c, "default/") {
									t.Errorf("route %s leads to %s", rt.Name, c)
								}
							}
							generation := rt.GetMetadata().GetFilterMetadata()[policy.MetadataNamespace].GetFields()[policy.MetadataKillGeneration].GetStringValue()
							if !strings.HasPrefix(generation, "1-") && rt.GetMetadata() != nil {
								t.Errorf("route %s has kill generation %q", rt.Name, generation)
							}
						}
					}
				}
				for _, c := range after.Clusters {
					if strings.HasPrefix(c.Name, "default/") && (c.GetType() != clusterv3.Cluster_STATIC || len(c.LoadAssignment.Endpoints) > 0) {
						t.Errorf("cluster %s has %v", c.Name, c.LoadAssignment)
					}
				}
				if len(before.Clusters) != len(after.Clusters) {
					t.Error("a cluster comes or goes")
				}
			})
		}
	}
}

// TestKilledAlone: with nobody but Envoy there callers get what the mode says: of
// a policy that enforces nothing, or none, a refusal.
func TestKilledAlone(t *testing.T) {
	long := `{"note":"` + strings.Repeat("a", 9000) + `"}`
	own := func(p *policy.Policy) {
		p.Ladder[0].SafeDefault = &policy.SafeDefault{Status: 203, ContentType: "application/problem+json", Body: long}
	}
	type want struct {
		status      int
		source      string
		contentType string
		body        string
	}
	refusal := want{status: 503}
	for name, c := range map[string]struct {
		policy *policy.Policy
		mode   kill.Mode
		path   string
		want   want
	}{
		"default":                      {enforced(nil), kill.Default, inferPath, want{200, "safe_default", "application/json", safeDefault}},
		"default of its own":           {enforced(own), kill.Default, inferPath, want{203, "safe_default", "application/problem+json", long}},
		"of a share":                   {enforced(func(p *policy.Policy) { p.EnforcePercent = 5 }), kill.Default, inferPath, want{200, "safe_default", "application/json", safeDefault}},
		"of one that observes":         {enforced(func(p *policy.Policy) { p.Mode = policy.Observe }), kill.Default, inferPath, refusal},
		"of none":                      {nil, kill.Default, inferPath, refusal},
		"to no prediction":             {enforced(nil), kill.Default, "/v2/health/ready", refusal},
		"to chat":                      {chatPolicy(nil), kill.Default, "/v1/chat/completions", want{503, "safe_default", "application/json", errorObject("killed")}},
		"blackhole":                    {enforced(nil), kill.Blackhole, inferPath, refusal},
		"degrade of none":              {nil, kill.Degrade, inferPath, refusal},
		"degrade and health":           {enforced(nil), kill.Degrade, "/v2/health/ready", refusal},
		"degrade of one that observes": {enforced(func(p *policy.Policy) { p.Mode = policy.Observe }), kill.Degrade, inferPath, refusal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newModel(t, nil)
			p := startStatic(t, killed(snapshot(t, c.policy, version("v1", m.addr)), kill.Everything, c.mode), testOptions(t))
			r := p.do("POST", c.path, strings.NewReader("{}"))
			got := want{r.status, r.source(), r.header.Get("content-type"), r.body}
			if got != c.want && (c.want != refusal || r.status != 503 || r.source() != "" || r.body != "") {
				t.Errorf("got %.200v, want %.200v", got, c.want)
			}
			if r.reason() != reasonKilled || m.calls.Load() != 0 {
				t.Errorf("reason %q, %d calls of the model", r.reason(), m.calls.Load())
			}
		})
	}
}

// TestDegradedReason: an answer of the processor's keeps its own reason, and one of
// the last rung its.
func TestDegradedReason(t *testing.T) {
	m := newModel(t, nil)
	s := killed(snapshot(t, enforced(nil), version("v1", m.addr)), kill.Everything, kill.Degrade)
	o := testOptions(t)
	p := startStatic(t, s, o)
	if r := p.post(); r.status != 200 || r.reason() != ReasonProcessorAway {
		t.Errorf("the last rung's: status %d, reason %q", r.status, r.reason())
	}
	startProcessor(t, o.Processor, func(string, *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		out := answer(200, "own", "rules")
		set := out.GetImmediateResponse().GetHeaders()
		set.SetHeaders = append(set.SetHeaders, raw(headerReason, "of the ladder"))
		return out
	})
	eventually(t, "the processor answers", func() bool {
		r := p.post()
		return r.body == "own" && slices.Equal(r.header.Values("x-safestate-reason"), []string{"of the ladder"})
	})
}

// TestProbe: whatever the routes are, a request for the probe's host is answered by
// the routes alone, and no other host's.
func TestProbe(t *testing.T) {
	m := newModel(t, nil)
	s := snapshot(t, enforced(nil), version("v1", m.addr))
	s.Hosts[0].Entries[0].Match = compile.Match{PathType: compile.PathRegex, Path: ".*"}
	set := kill.NewSet(kill.Kill(kill.New(kill.ForModel("a/b")), kill.Order{ID: "1", At: time.Unix(1, 0), By: "a", Reason: "b"}))
	for _, k := range []*kill.Set{nil, set} {
		p := startStatic(t, s.WithKills(k, time.Unix(2, 0)), testOptions(t))
		for _, host := range []string{ProbeDomain, ProbeDomain + ":10000", strings.ToUpper(ProbeDomain)} {
			r := p.do("GET", "/any", nil, "host", host)
			var got struct {
				KillGeneration uint64
				Set            string
			}
			err := json.Unmarshal([]byte(r.body), &got)
			if mark := compile.KillsOf(k); r.status != 200 || err != nil || got.KillGeneration != mark.Generation || got.Set != mark.Enforced {
				t.Errorf("%s: status %d, %s, want %+v", host, r.status, r.body, mark)
			}
		}
		if m.calls.Load() != 0 {
			t.Error("a probe reached the model")
		}
	}
	s.Hosts[0].Domain = ProbeDomain
	if _, err := Render(s, Options{}); err == nil || !strings.Contains(err.Error(), ProbeDomain) {
		t.Errorf("a host of that name: %v", err)
	}
}

// TestProbeInner: the routes behind a hop are asked by a path of their own.
func TestProbeInner(t *testing.T) {
	s := grpcSnapshot(t, grpcPolicy(byMessage), version("v1", "127.0.0.1:9101"))
	set := killed(s, kill.Everything, kill.Degrade)
	mixed, err := Static(set, testOptions(t)) // the routes in front are newer than those behind
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(t)
	old, err := Static(s, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range old.StaticResources.Listeners {
		if l.Name == ListenerName {
			mixed.StaticResources.Listeners[i].Address = l.Address
			old.StaticResources.Listeners[i] = mixed.StaticResources.Listeners[i]
		}
	}
	p := start(t, old, o)
	for path, mark := range map[string]compile.Kills{"/": set.Kills, ProbeInner: compile.KillsOf(nil)} {
		if r := p.do("GET", path, nil, "host", ProbeDomain); r.status != 200 || !strings.Contains(r.body, mark.Enforced) {
			t.Errorf("%s: status %d, %s, want %+v", path, r.status, r.body, mark)
		}
	}
}

// TestProxylessKill: gRPC's own clients get clusters without endpoints, also where
// they are resolved by name.
func TestProxylessKill(t *testing.T) {
	s := grpcSnapshot(t, nil, version("v1", "127.0.0.1:9101"), version("v2", "models.example:9102"))
	s.Hosts[0].Domain = "models.example"
	p := rendered(t, killed(s, kill.ForModel("default/fraud"), kill.Degrade), Options{}).Proxyless
	if len(p.Clusters) != 2 || len(p.Endpoints) != 2 {
		t.Fatalf("%d clusters and %d of endpoints", len(p.Clusters), len(p.Endpoints))
	}
	for i, c := range p.Clusters {
		if c.GetType() != clusterv3.Cluster_EDS || len(p.Endpoints[i].Endpoints) != 0 || c.LoadAssignment != nil {
			t.Errorf("cluster %v with %v", c, p.Endpoints[i])
		}
	}
}
