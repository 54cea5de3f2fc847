package control

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// publishedTo publishes a configuration called name.
func publishedTo(t *testing.T, p *proofs, name string, states map[string]release.State) {
	t.Helper()
	r := &envoy.Resources{Clusters: []*clusterv3.Cluster{{Name: name}}}
	if err := p.xds.Set(r, xds.AtOnce); err != nil {
		t.Fatal(err)
	}
	p.published(r.Version(), states, time.Now())
}

func proofsOn(t *testing.T) *proofs {
	t.Helper()
	s := xds.New(xds.Options{})
	t.Cleanup(s.Close)
	p := newProofs("one", s)
	p.hear(nil)
	return p
}

func weighted(generation uint64, v1 int) release.State {
	s := release.New(fraud)
	s.Generation, s.Weights = generation, map[string]int{"v1": v1, "v2": 100 - v1}
	return s
}

// After a restart no proxy is there yet, and none is known to be missing: that is
// no proof.
func TestNothingIsProvenBeforeTheProxiesAreKnown(t *testing.T) {
	p, known := proofsOn(t), false
	p.expects = func() bool { return known }
	s := weighted(1, 100)
	publishedTo(t, p, "a", map[string]release.State{fraud: s})
	if proof, _ := p.of(&s); proof.Applied {
		t.Errorf("%+v", proof)
	}
	var said statement
	if err := json.Unmarshal(p.statement(), &said); err != nil || len(said.Models) > 0 {
		t.Errorf("%+v, %v", said, err)
	}
	known = true
	p.renew()
	if proof, _ := p.of(&s); !proof.Applied {
		t.Errorf("%+v", proof)
	}
	p.heard = false // what the other replicas' proxies have is not known
	if proof, _ := p.of(&s); proof.Applied {
		t.Errorf("%+v", proof)
	}
}

// Two replicas that did not see each other gave one number to two decisions: the
// proof of the one is none of the other.
func TestAProofIsOfWeightsAndNotOfANumber(t *testing.T) {
	p := proofsOn(t)
	here, there := weighted(7, 100), weighted(7, 50)
	publishedTo(t, p, "a", map[string]release.State{fraud: here})
	p.xds.Expect("edge", time.Now())
	p.renew()
	if proof, _ := p.of(&there); proof.Applied || proof.Generation != 0 {
		t.Errorf("%+v", proof)
	}
	publishedTo(t, p, "b", map[string]release.State{fraud: there})
	if proof, _ := p.of(&there); proof.Applied || proof.Generation != 7 || proof.Expected != 1 {
		t.Errorf("%+v", proof)
	}
}

// A configuration of so long ago that nobody remembers it is not thereby on every
// proxy.
func TestWhatIsForgottenIsNotProven(t *testing.T) {
	p := proofsOn(t)
	p.xds.Expect("edge", time.Now())
	s := weighted(1, 100)
	publishedTo(t, p, "first", map[string]release.State{fraud: s})
	for i := range 1100 {
		publishedTo(t, p, fmt.Sprint("later ", i), map[string]release.State{fraud: s})
	}
	if proof, _ := p.of(&s); proof.Applied || len(proof.Missing) != 1 {
		t.Errorf("%+v", proof)
	}
}

// What a replica says fits into the store, however many models and silent proxies
// there are, and a proxy that all replicas miss is one.
func TestAStatementFitsIntoTheStore(t *testing.T) {
	a, b, states := proofsOn(t), proofsOn(t), map[string]release.State{}
	for i := range 1000 {
		s := weighted(1, 100)
		s.Model = fmt.Sprint("default/m", i)
		states[s.Model] = s
	}
	for _, p := range []*proofs{a, b} {
		for i := range 3000 {
			p.xds.Expect(fmt.Sprint("the-edge-of-a-long-name-", i), time.Now())
		}
		publishedTo(t, p, "a", states)
	}
	b.replica = "two"
	text := b.statement()
	if len(text) > store.MaxValue/4 {
		t.Errorf("%d bytes", len(text))
	}
	a.hear([]store.Event{{Entry: store.Entry{Key: replicaKey("two"), Value: text, Revision: 1}}})
	s := states["default/m1"]
	if proof, _ := a.of(&s); proof.Applied || proof.Expected != 6000-mostNamed || len(proof.Missing) != 3001 {
		t.Errorf("%d expected, %d missing", proof.Expected, len(proof.Missing))
	}
}

// The time in which there was no control plane does not make a proxy forgotten.
func TestALongOutageForgetsNoProxy(t *testing.T) {
	x := xds.New(xds.Options{})
	t.Cleanup(x.Close)
	r := newRegister(nil, x)
	hour := time.Now().Add(-time.Hour)
	text, err := json.Marshal(registered{Seen: map[string]time.Time{"edge": hour, "gone": hour.Add(-9 * time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	r.take(store.Entry{Key: proxiesKey, Value: text, Revision: 3}, false)
	if n := len(x.Proxies()); n != 2 {
		t.Errorf("%d proxies are expected", n)
	}
}
