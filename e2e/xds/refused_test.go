package xds

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
)

// refusal is a configuration that our own validation accepts and Envoy does
// not.
type refusal struct {
	name    string
	typeURL string // of what is refused
	change  func(t *testing.T, r *envoy.Resources)
	says    string // a part of Envoy's message
}

// copied is r with messages of its own.
func copied(r *envoy.Resources) *envoy.Resources {
	out := &envoy.Resources{}
	for _, m := range r.Listeners {
		out.Listeners = append(out.Listeners, proto.Clone(m).(*listenerv3.Listener))
	}
	for _, m := range r.Routes {
		out.Routes = append(out.Routes, proto.Clone(m).(*routev3.RouteConfiguration))
	}
	for _, m := range r.Clusters {
		out.Clusters = append(out.Clusters, proto.Clone(m).(*clusterv3.Cluster))
	}
	out.Secrets = r.Secrets
	return out
}

func inRoutes(name, says string, change func(*routev3.RouteConfiguration)) refusal {
	return refusal{name, resourcev3.RouteType, func(_ *testing.T, r *envoy.Resources) { change(r.Routes[0]) }, says}
}

func inHost(name, says string, change func(*routev3.VirtualHost)) refusal {
	return inRoutes(name, says, func(rc *routev3.RouteConfiguration) { change(rc.VirtualHosts[0]) })
}

// inRoute changes the route to the model: it is behind those that stop it.
func inRoute(name, says string, change func(*routev3.Route)) refusal {
	return inHost(name, says, func(vh *routev3.VirtualHost) { change(vh.Routes[len(vh.Routes)-1]) })
}

func inAction(name, says string, change func(*routev3.RouteAction)) refusal {
	return inRoute(name, says, func(r *routev3.Route) { change(r.GetRoute()) })
}

// inCluster changes the second version's cluster.
func inCluster(name, says string, change func(*clusterv3.Cluster)) refusal {
	return refusal{name, resourcev3.ClusterType, func(_ *testing.T, r *envoy.Resources) { change(r.Clusters[1]) }, says}
}

func inListener(name, says string, change func(*listenerv3.Listener)) refusal {
	return refusal{name, resourcev3.ListenerType, func(_ *testing.T, r *envoy.Resources) { change(r.Listeners[0]) }, says}
}

func inManager(name, says string, change func(*hcmv3.HttpConnectionManager)) refusal {
	return refusal{name, resourcev3.ListenerType, func(t *testing.T, r *envoy.Resources) {
		config := r.Listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig()
		m := &hcmv3.HttpConnectionManager{}
		if err := config.UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
		change(m)
		if err := config.MarshalFrom(m); err != nil {
			t.Fatal(err)
		}
	}, says}
}

// What Envoy says of an extension that it does not have.
const (
	unregisteredName = "Didn't find a registered implementation for 'nobody'"
	unregistered     = unregisteredName + " with type URL: 'envoy.extensions.filters.http.router.v3.Router'"
)

// nothing is a message that every Envoy knows, for extension points where it
// means nothing.
func nothing() proto.Message { return &routerv3.Router{} }

// nobodys is an extension that no Envoy has.
func nobodys() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: "nobody", TypedConfig: packed(nothing())}
}

func socketOfNobody() *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "nobody", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(nothing())}}
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(m)}}
}

// packed is a message for an extension point.
func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // only invalid UTF-8 fails
	}
	return a
}

// resend is how long the test's server keeps a refused version from being sent
// again: the product's 30 s would make this a test of hours.
const resend = 500 * time.Millisecond

// TestRefused publishes configurations that Envoy refuses, one after the other,
// under load: none counts as applied, each is sent once and again after a while
// only, the ledger has Envoy's own words, no request is harmed, and what is good
// is taken at once.
func TestRefused(t *testing.T) {
	o := options(t)
	j := newJournal(o.NodeID)
	c := startControl(t, o.XDS, xds.Options{Linger: 50 * time.Millisecond, Resend: resend, Observer: j})
	v1, v2 := model(t, "v1"), model(t, "v2")
	good := world(t, o, share{"v1", v1, 50}, share{"v2", v2, 50})
	c.set(t, good)
	p := startEnvoy(t, o)
	p.ready(t)
	l := startLoad(t, o.Listen)
	began := time.Now()

	all := append(append(refusedRoutes(), refusedClusters()...), refusedListeners()...)
	if len(all) < 100 {
		t.Fatalf("%d configurations, want 100", len(all))
	}
	failed := 0
	for i, bad := range all {
		passed := t.Run(bad.name, func(t *testing.T) {
			published := time.Now()
			j.forget()
			r := copied(good)
			bad.change(t, r)
			if err := c.Set(r, xds.AtOnce); err != nil {
				t.Fatalf("our own validation refuses it: %v", err)
			}
			refusedBy(t, c, j, o.NodeID, bad, r.Version())
			// One in fifteen waits for the second sending.
			if i%15 == 0 {
				dataplane.Eventually(t, soon, "it is sent again after a while", func() bool { return len(j.refusals(bad.typeURL)) >= 2 })
				if after := time.Since(published); after < resend {
					t.Errorf("it is sent again after %s, want at least %s", after, resend)
				}
			}
			// Another weight each time, so that it has to be taken.
			good = world(t, o, share{"v1", v1, 40 + i%20}, share{"v2", v2, 60 - i%20})
			c.set(t, good)
			most := 1 + int(time.Since(published)/resend) // and none after the good one is published
			dataplane.Eventually(t, soon, "a good configuration is taken", func() bool { return c.Proof(good.Version()).Complete() })
			if refused := j.refusals(bad.typeURL); len(refused) > most {
				t.Errorf("refused %d times, want at most %d: %q", len(refused), most, refused)
			}
		})
		if !passed {
			if failed++; failed == 3 { // each may take its time to fail
				t.Fatal("three have failed, the others are left out")
			}
		}
	}
	l.stop()
	l.unharmed(t, int(time.Since(began).Seconds()*perSecond/2))
	p.noMissingCluster(t)
}

// refusedBy waits for the refusal and looks at what is known of it.
func refusedBy(t *testing.T, c *control, j *journal, node string, bad refusal, version string) {
	t.Helper()
	dataplane.Eventually(t, soon, "Envoy refuses it", func() bool { return len(j.refusals(bad.typeURL)) > 0 })
	if said := j.refusals(bad.typeURL)[0]; !strings.Contains(said, bad.says) {
		t.Errorf("Envoy says %q, want %q", said, bad.says)
	}
	kept := kindOf(t, c, node, bad.typeURL)
	if kept.Refused == "" || kept.Refused == kept.Accepted || !strings.Contains(kept.Message, bad.says) {
		t.Errorf("the ledger has %+v", kept)
	}
	// While it is sent again it is under way, and refused after that.
	dataplane.Eventually(t, soon, "the proof says that it is refused", func() bool {
		proof := c.Proof(version)
		if proof.Complete() || len(proof.Missing) != 1 {
			t.Fatalf("a refused configuration has the proof %+v", proof)
		}
		m := proof.Missing[0]
		return m.Reason == xds.Refused && strings.Contains(m.Message, bad.says)
	})
}

// kindOf is what a proxy made of one type.
func kindOf(t *testing.T, c *control, node, typeURL string) xds.Type {
	t.Helper()
	for _, p := range c.Proxies() {
		for _, s := range p.Streams {
			for _, k := range s.Types {
				if p.Node == node && s.Connected && k.TypeURL == typeURL {
					return k
				}
			}
		}
	}
	t.Fatalf("the ledger has no %s of %s", typeURL, node)
	return xds.Type{}
}
