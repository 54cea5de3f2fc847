package control

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store/storetest"
)

// use has the control plane publish other files, unchecked.
func (b *bench) use(s *compile.Snapshot) {
	b.control.mu.Lock()
	defer b.control.mu.Unlock()
	b.control.files = s
}

// What cannot be published keeps nobody from killing: the proxies have the kill with
// what they had before, and hosts that run apart are told whatever the proxies get.
// It is tried again by a replica that does not lead as well.
func TestAKillGoesPastWhatCannotBePublished(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	leader, _ := replica(t, m, t.TempDir(), "one", &trail{})
	good := newModels(t).world(t, one, 1, 100, unedited)
	leader.configure(good)
	if !eventually(leader.control.leads) {
		t.Fatal("nobody leads")
	}
	b, _ := replica(t, m, t.TempDir(), "two", &trail{})
	b.configure(good)
	broken := *good
	broken.Routes = nil // its listeners name them
	b.use(&broken)
	a := b.apart("one")
	enforces := func(target kill.Target) bool {
		set, _ := a.enforced.Live().Load()
		return set.Get(target).Killed
	}

	state, where, err := b.control.Kill(t.Context(), theModel, stopping("1"))
	if err == nil || !strings.Contains(err.Error(), "cannot be published") || where != InStore || !state.Killed {
		t.Errorf("%+v in %s, %v", state, where, err)
	}
	if b.weight("v1") != 0 || !b.control.isUnpublished() {
		t.Errorf("v1 has %d, and unpublished is %v", b.weight("v1"), b.control.isUnpublished())
	}
	if !eventually(func() bool { return enforces(theModel) }) {
		t.Error("a host that runs apart is not told")
	}

	b.control.publishing.Lock()
	had := b.control.rendered.files
	b.control.rendered.files = &broken // what the proxies have cannot be made again
	b.control.publishing.Unlock()
	version2 := kill.ForVersion(fraud, "v2")
	if _, _, err := b.control.Kill(t.Context(), version2, stopping("2")); err == nil || !strings.Contains(err.Error(), "cannot be published either") {
		t.Errorf("%v", err)
	}
	if !eventually(func() bool { return enforces(version2) }) {
		t.Error("a host that runs apart is not told what the proxies cannot have")
	}
	if proof := b.control.KillProof(version2); proof.Complete {
		t.Error("it is proven")
	}

	b.control.publishing.Lock()
	b.control.rendered.files = had
	b.control.publishing.Unlock()
	b.use(good)
	if !eventually(func() bool { return !b.control.isUnpublished() && b.control.refused().err == nil }) {
		t.Error("it is not tried again")
	}
}
