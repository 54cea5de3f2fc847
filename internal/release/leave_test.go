package release

import (
	"testing"
	"time"
)

func TestAModelThatLeavesTheFilesHasNoRollout(t *testing.T) {
	now := time.Date(2026, 10, 2, 3, 4, 5, 0, time.UTC)
	s := New("default/fraud")
	if _, changed := Leave(s, now); changed {
		t.Error("a model without a rollout has changed")
	}
	in := Input{Versions: map[string]VersionInfo{"v1": {FileWeight: 1}, "v2": {}}}
	s, err := Apply(s, Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 5}, {Weight: 100}}, By: "ann", Reason: "x"}, in, now)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Generation
	next, changed := Leave(s, now)
	if err := next.Validate(); err != nil {
		t.Fatal(err)
	}
	if !changed || next.Rollout != nil || next.Candidate != "" || next.Weights["v1"] != 100 || next.Weights["v2"] != 0 || next.Generation != before+1 {
		t.Errorf("%v: %+v", changed, next)
	}
	last := next.Outbox[len(next.Outbox)-1]
	if last.Kind != KindAborted || last.By != By || last.Version != "v2" || last.Target != "v1" {
		t.Errorf("%+v", last)
	}
	if s.Rollout == nil {
		t.Error("the state that was given has changed")
	}
	if _, again := Leave(next, now); again {
		t.Error("it leaves twice")
	}
}
