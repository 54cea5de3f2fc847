package control

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/etcd"
)

// fakeMesh says of configurations what the test has it say.
type fakeMesh struct {
	published func(version string)
	leads     func(bool)
	answers   chan map[string]error
}

func (m *fakeMesh) Publish(_ *compile.Snapshot, _ func(_, _, _ string) string, version string) {
	if m.published != nil {
		m.published(version)
	}
}

func (m *fakeMesh) Lead(leads bool) {
	if m.leads != nil {
		m.leads(leads)
	}
}

func (m *fakeMesh) Written(ctx context.Context, _ string) iter.Seq[map[string]error] {
	return func(yield func(map[string]error) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case missing := <-m.answers:
				if !yield(missing) || len(missing) == 0 {
					return
				}
			}
		}
	}
}

// TestWrittenByModel: a model whose objects cannot be written keeps no other's weights
// from being proven, and is named with why; the newer a version the less an answer about
// an older one says of it.
func TestWrittenByModel(t *testing.T) {
	m := &fakeMesh{answers: make(chan map[string]error)}
	p := proofsOn(t)
	p.mesh = m
	fraudState, other := weighted(1, 100), weighted(1, 100)
	other.Model = "default/rank"
	states := map[string]release.State{fraud: fraudState, other.Model: other}
	publishedTo(t, p, "a", states)
	applied := func(s release.State) bool { proof, _ := p.of(&s); return proof.Applied && !proof.AppliedAt.IsZero() }
	if applied(fraudState) || applied(other) {
		t.Fatal("written before anybody said so")
	}
	m.answers <- map[string]error{other.Model: errors.New("EnvoyFilter a/b cannot be written: no")}
	if !eventually(func() bool { return applied(fraudState) }) {
		t.Fatal("what is written is not said to be")
	}
	proof, _ := p.of(&other)
	if proof.Applied || len(proof.Missing) != 1 || !strings.Contains(proof.Missing[0], "EnvoyFilter a/b") {
		t.Errorf("of the other: %+v", proof)
	}
	m.answers <- nil
	if !eventually(func() bool { return applied(other) }) {
		t.Fatal("the other is not written in the end")
	}

	third := weighted(1, 100)
	third.Model = "default/third" // no route has it: the version is the same
	states[third.Model] = third
	publishedTo(t, p, "a", states)
	if !applied(third) {
		t.Error("a model that came to a version that is written is not")
	}

	next := weighted(2, 0)
	states[fraud] = next
	publishedTo(t, p, "b", states)
	if applied(next) {
		t.Error("a newer one is not written yet")
	}
	if !applied(other) {
		t.Error("what was written stays so")
	}
	m.answers <- map[string]error{other.Model: errors.New("no")}
	if !eventually(func() bool { return applied(next) }) || !applied(other) {
		t.Error("a model that has not changed counts by what it has")
	}
}

// TestWrittenTooLate: what is said of a version after another was published is not
// taken for that one.
func TestWrittenTooLate(t *testing.T) {
	p := proofsOn(t)
	p.mesh = &lateMesh{}
	s := weighted(1, 100)
	publishedTo(t, p, "a", map[string]release.State{fraud: s})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as published does for the version before
	p.awaitMesh(ctx, "before", func() { t.Error("it is told") })
	if proof, _ := p.of(&s); proof.Applied {
		t.Errorf("%+v", proof)
	}
}

// lateMesh answers when nobody waits any more.
type lateMesh struct{ fakeMesh }

func (*lateMesh) Written(ctx context.Context, _ string) iter.Seq[map[string]error] {
	return func(yield func(map[string]error) bool) {
		<-ctx.Done()
		yield(nil)
	}
}

// TestResignsAtOnce: when the lead is lost the mesh hears of it while the round in hand
// goes on.
func TestResignsAtOnce(t *testing.T) {
	dir := t.TempDir()
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	served := xds.New(xds.Options{ProcessorsOnly: true})
	t.Cleanup(served.Close)
	leads, holds := make(chan bool, 10), make(chan struct{})
	inHand := make(chan struct{}, 10)
	var held atomic.Bool
	m := &fakeMesh{leads: func(yes bool) { leads <- yes }, published: func(string) {
		if held.Load() {
			inHand <- struct{}{}
			<-holds
		}
	}}
	b := startWith(t, dir, "one", s, func(o *Options) { o.Mesh, o.XDS = m, served })
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	if yes := <-leads; !yes {
		t.Fatal("it does not lead")
	}
	held.Store(true)
	b.control.publishing.Lock()
	b.control.rendered = rendered{} // it is to be published anew
	b.control.publishing.Unlock()
	b.control.publishLater()
	b.control.stir()
	<-inHand
	stopped := make(chan struct{})
	go func() { defer close(stopped); b.stop() }()
	select {
	case yes := <-leads:
		if yes {
			t.Error("it leads anew")
		}
	case <-time.After(30 * time.Second):
		t.Error("the mesh has not heard that the lead is lost")
	}
	close(holds)
	<-stopped
}
