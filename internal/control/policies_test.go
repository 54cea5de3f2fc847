package control

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policies"
	"github.com/safestate/safestate/internal/release"
)

// most is the largest score that the policy of a snapshot lets pass.
func most(t *testing.T, s *compile.Snapshot) float64 {
	t.Helper()
	outputs := s.Routes[0].Policy.Detect.Contract.Outputs
	return *outputs[0].Max
}

func TestAPolicyIsRolledBack(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	api := NewAPI(b.control, APIOptions{})
	number := func(want uint64) admin.Policy {
		t.Helper()
		var last admin.Policy
		if !eventually(func() bool {
			for _, p := range b.control.policyList() {
				last = p
			}
			return last.Number == want
		}) {
			t.Fatalf("%+v, want number %d", last, want)
		}
		return last
	}
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	number(1)
	b.configure(models.world(t, one, 2, 100, b.control.Edit))
	number(2)

	p, err := api.Policy(t.Context(), "default/fraud", admin.PolicyCommand{Do: admin.PolicyRollback, By: "ann", Reason: "too wide"})
	if err != nil || !p.Pinned || p.Number != 3 || p.File != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	if b.reloads.Load() == 0 {
		t.Error("the files are not read again")
	}
	if got := most(t, models.world(t, one, 2, 100, b.control.Edit)); got != 1 {
		t.Errorf("a score of up to %v passes, want what was pinned", got)
	}
	b.stop()

	b = start(t, b.dir)
	api = NewAPI(b.control, APIOptions{})
	number(3)
	if got := most(t, models.world(t, one, 2, 100, b.control.Edit)); got != 1 {
		t.Errorf("a score of up to %v passes after a restart", got)
	}
	if _, err := api.Policy(t.Context(), "default/fraud", admin.PolicyCommand{Do: admin.PolicyUnpin, By: "ann", Reason: "mended"}); err != nil {
		t.Fatal(err)
	}
	if got := most(t, models.world(t, one, 2, 100, b.control.Edit)); got != 2 {
		t.Errorf("a score of up to %v passes, want the file's again", got)
	}
	if _, err := api.Policy(t.Context(), "default/none", admin.PolicyCommand{Do: admin.PolicyRollback, By: "ann", Reason: "x"}); err == nil {
		t.Error("a policy that is none was rolled back")
	}
}

// A world that was read and refused changed no policy.
func TestARefusedWorldIsNoChange(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	b.until("v1 is registered", func(s release.State) bool { return s.Versions["v1"].Digest == one })
	if !eventually(func() bool { return len(b.control.policyList()) == 1 }) {
		t.Fatal("the policy is not recorded")
	}
	if _, err := b.control.Configure(t.Context(), models.world(t, other, 2, 100, b.control.Edit)); err == nil {
		t.Fatal("another digest was taken")
	}
	b.control.recordPolicies(t.Context())
	if state := b.control.policies.get("default/fraud").state; len(state.Changes) > 1 {
		t.Errorf("%+v", state.Changes)
	}
}

// A pin holds from the first configuration after a restart on, with and without
// the store.
func TestAPinHoldsFromTheStart(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	api := NewAPI(b.control, APIOptions{})
	if !eventually(func() bool { return len(b.control.policyList()) == 1 }) {
		t.Fatal("the policy is not recorded")
	}
	b.configure(models.world(t, one, 2, 100, b.control.Edit))
	if !eventually(func() bool {
		_, err := api.Policy(t.Context(), "default/fraud", admin.PolicyCommand{Do: admin.PolicyRollback, By: "ann", Reason: "too wide"})
		return err == nil
	}) {
		t.Fatal("the policy is not rolled back")
	}
	b.stop()

	b = start(t, b.dir)
	if got := most(t, models.world(t, one, 2, 100, b.control.Edit)); got != 1 {
		t.Errorf("a score of up to %v passes in the first configuration", got)
	}
	b.stop()

	c, err := openCopy(b.dir, pinsFile)
	if err != nil {
		t.Fatal(err)
	}
	without, err := openPolicyBook(c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if without.get("default/fraud").state.Pinned == 0 {
		t.Error("without the store the pin is not known")
	}
}

// Counts of a policy that is asked little are written all the same, in time.
func TestFewCountsAreWrittenInTime(t *testing.T) {
	b := &policyBook{counts: map[string]policies.Counts{}, at: map[string]time.Time{}}
	now := time.Now()
	if b.due("p", now) || b.due("p", now.Add(2*countsFor)) {
		t.Error("nothing came and it is to be written")
	}
	b.counts["p"] = policies.Counts{Clean: 3}
	if !b.due("p", now.Add(2*countsFor)) {
		t.Error("three answers are never written")
	}
}
