package release

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestTheWeightsFollowTheFilesUntilTheFirstRelease(t *testing.T) {
	w := newWorld(t)
	if w.s.Phase() != PhaseFiles || w.s.Generation != 1 || w.s.Stable != "v1" {
		t.Errorf("%s", text(w.s))
	}
	w.version("v2", func(v *VersionInfo) { v.FileWeight = 3 })
	w.advance()
	w.weights(map[string]int{"v1": 25, "v2": 75})
	if w.s.Stable != "v2" {
		t.Errorf("stable is %s", w.s.Stable)
	}
	w.version("v2", func(v *VersionInfo) { v.FileWeight = 0 })
	w.version("v1", func(v *VersionInfo) { v.FileWeight = 0 })
	w.advance()
	if w.s.Weights != nil {
		t.Errorf("weights without a route: %v", w.s.Weights)
	}
	refused(t, w.try(Command{Do: Start, Version: "v2"}), "no route gives")
	w.version("v1", func(v *VersionInfo) { v.FileWeight = 7 })
	w.advance()
	w.weights(map[string]int{"v1": 100})
	if len(Drifts(w.s, w.in.Versions)) != 0 {
		t.Error("drift without a release")
	}

	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50, Gate: true}}})
	w.version("v1", func(v *VersionInfo) { v.FileWeight = 1 })
	w.version("v2", func(v *VersionInfo) { v.FileWeight = 3 })
	w.advance()
	w.weights(map[string]int{"v1": 50, "v2": 50})
	d := Drifts(w.s, w.in.Versions)
	if len(d) != 2 || d[0] != (Drift{"v1", 25, 50}) || d[1] != (Drift{"v2", 75, 50}) {
		t.Errorf("drift %v", d)
	}
}

func TestAVersionOfTheFilesThatFailsIsRolledBack(t *testing.T) {
	w := newWorld(t)
	w.version("v2", func(v *VersionInfo) { v.FileWeight = 1 })
	w.pass(time.Second)
	w.weights(map[string]int{"v1": 50, "v2": 50})
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{"v1": 100})
	if len(Drifts(w.s, w.in.Versions)) != 2 {
		t.Error("no drift")
	}
}

func TestVersionsThatLeaveTheFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		reach func(*world)
		leave []string
		want  map[string]int
		kind  Kind
	}{
		{"the candidate", func(w *world) { w.apply(Command{Do: Start, Version: "v2"}) }, []string{"v2"}, map[string]int{"v1": 100}, KindAborted},
		{"the candidate at a weight of 0", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Gate: true}}})
		}, []string{"v2"}, map[string]int{"v1": 100}, KindAborted},
		{"the holdback", func(w *world) { w.promoteFully("v2") }, []string{"v1"}, map[string]int{"v2": 100}, KindHoldback},
		{"the stable one, and the files name another", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2"})
			w.version("v3", func(v *VersionInfo) { v.FileWeight = 1 })
		}, []string{"v1"}, map[string]int{"v3": 100}, KindFiles},
		{"the promoted one, and the files name one that was good", func(w *world) { w.promoteFully("v2") },
			[]string{"v2"}, map[string]int{"v1": 100}, KindAborted},
		{"the promoted one, and the files name one that nobody released", func(w *world) {
			w.promoteFully("v2")
			w.version("v1", func(v *VersionInfo) { v.FileWeight = 0 })
			w.version("v3", func(v *VersionInfo) { v.FileWeight = 100 })
		}, []string{"v2"}, map[string]int{"v1": 100}, KindAborted},
		{"the promoted one, and the stable one is not fit", func(w *world) {
			w.promoteFully("v2")
			w.version("v1", func(v *VersionInfo) { v.FileWeight, v.Ready = 0, no() })
			w.version("v3", func(v *VersionInfo) { v.FileWeight = 100 })
		}, []string{"v2"}, map[string]int{"v3": 100}, KindFiles},
		{"the promoted one, and the files give weight to none", func(w *world) {
			w.promoteFully("v2")
			w.version("v1", func(v *VersionInfo) { v.FileWeight = 0 })
		}, []string{"v2"}, map[string]int{"v1": 100}, KindAborted},
		{"all that were good", func(w *world) {
			w.promoteFully("v2")
			w.version("v3", nil)
		}, []string{"v1", "v2"}, map[string]int{}, KindDegraded},
		{"one without weight", func(*world) {}, []string{"v2"}, map[string]int{"v1": 100}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.reach(w)
			w.pass(time.Second)
			n := len(w.history)
			for _, v := range c.leave {
				delete(w.in.Versions, v)
			}
			w.advance()
			w.weights(c.want)
			if c.kind != "" {
				w.last(c.kind)
			} else if len(w.history) != n {
				t.Errorf("history: %s", w.kinds())
			}
			if d := w.s.Withdrawal; d != nil && (len(w.s.Condemned) > 0 || c.kind == KindAborted && d.Kind != KindAborted) {
				t.Errorf("%+v, condemned %v", d, w.s.Condemned)
			}
			if len(w.s.Versions) < 2 {
				t.Error("what was registered was forgotten")
			}
		})
	}
}

func TestAVersionNeverChanges(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		info VersionInfo
		says []string
	}{
		{"as it was", VersionInfo{URI: "s3://m/1", Digest: "sha256:1"}, nil},
		{"with another weight, readiness and compatibility", VersionInfo{URI: "s3://m/1", Digest: "sha256:1", FileWeight: 9, Ready: no(), CompatibleWith: []string{"x"}}, nil},
		{"another digest", VersionInfo{URI: "s3://m/1", Digest: "sha256:9"}, []string{"shop/fraud", "v1", "sha256:1", "sha256:9", "a name of its own"}},
		{"another artifact", VersionInfo{URI: "s3://m/9", Digest: "sha256:1"}, []string{"s3://m/1", "s3://m/9"}},
		{"no digest any more", VersionInfo{URI: "s3://m/1"}, []string{"sha256:1", "none"}},
	} {
		s, errs := Register(w.s, map[string]VersionInfo{"v1": c.info}, w.now)
		if (len(errs) == 0) != (c.says == nil) {
			t.Errorf("%s: %v", c.name, errs)
		}
		for _, e := range errs {
			refused(t, e, c.says...)
		}
		if text(s) != text(w.s) {
			t.Errorf("%s: changed the state", c.name)
		}
	}

	versions := maps.Clone(w.in.Versions)
	versions["v3"] = VersionInfo{}
	s, errs := Register(w.s, versions, w.now)
	if len(errs) != 0 || len(s.Outbox) != 1 || s.Outbox[0].Version != "v3" || !strings.Contains(s.Outbox[0].Reason, "no artifact") {
		t.Fatalf("%v %s", errs, text(s))
	}
	versions["v3"] = VersionInfo{Digest: "sha256:3"} // said later, once
	s, errs = Register(s, versions, w.now)
	if len(errs) != 0 || s.Versions["v3"].Digest != "sha256:3" || !s.Versions["v3"].At.Equal(w.now) {
		t.Fatalf("%v %s", errs, text(s))
	}
	versions["v3"] = VersionInfo{Digest: "sha256:4"}
	if _, errs = Register(s, versions, w.now); len(errs) != 1 {
		t.Errorf("%v", errs)
	}
	delete(versions, "v1") // it leaves, and comes back as another
	s, _ = Register(w.s, versions, w.now)
	versions["v1"] = VersionInfo{Digest: "sha256:0"}
	if _, errs = Register(s, versions, w.now); len(errs) != 1 || !strings.Contains(errs[0].Error(), "sha256:1 and now has sha256:0") {
		t.Errorf("%v", errs)
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		files map[string]int
		want  map[string]int
	}{
		{map[string]int{"a": 0}, nil},
		{map[string]int{"a": -5}, nil},
		{map[string]int{"a": 1}, map[string]int{"a": 100}},
		{map[string]int{"a": 90, "b": 10}, map[string]int{"a": 90, "b": 10}},
		{map[string]int{"a": 1, "b": 1, "c": 1}, map[string]int{"a": 34, "b": 33, "c": 33}},
		{map[string]int{"a": 1, "b": 2}, map[string]int{"a": 33, "b": 67}},
		{map[string]int{"a": 1 << 40, "b": 1 << 40}, map[string]int{"a": 50, "b": 50}},
		{map[string]int{"a": 999, "b": 1}, map[string]int{"a": 100}},
	} {
		versions := map[string]VersionInfo{}
		for v, weight := range c.files {
			versions[v] = VersionInfo{FileWeight: weight}
		}
		if got := percent(versions, func(string) bool { return false }); !sameWeights(got, c.want) {
			t.Errorf("%v: %v, not %v", c.files, got, c.want)
		}
	}
}

func TestAck(t *testing.T) {
	s := State{Outbox: []Record{{Sequence: 3}, {Sequence: 4}, {Sequence: 5}}}
	for _, c := range []struct {
		sequence uint64
		left     int
		changed  bool
	}{{0, 3, false}, {2, 3, false}, {3, 2, true}, {4, 1, true}, {5, 0, true}, {9, 0, true}} {
		if got, changed := Ack(s, c.sequence); len(got.Outbox) != c.left || changed != c.changed {
			t.Errorf("%d: %d are left, changed %v", c.sequence, len(got.Outbox), changed)
		}
	}
	if s, changed := Ack(State{}, 5); s.Outbox != nil || changed {
		t.Error("an empty outbox changed")
	}
}
