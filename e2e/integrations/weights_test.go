package integrations

import (
	"maps"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// moved is what safestate sees of a model whose weights somebody else moves.
func moved(weight int, e release.Evidence) release.Input {
	never, ready := 0, true
	return release.Input{
		Plan: release.Plan{RollbacksPerHour: &never}, // weights: External
		Versions: map[string]release.VersionInfo{
			"primary": {FileWeight: 100 - weight, Ready: &ready},
			candidate: {FileWeight: weight, Ready: &ready},
		},
		Evidence: map[string]release.Evidence{"primary": {Verdict: release.Success, Requests: 5000}, candidate: e},
	}
}

// TestWeightsAreLeftToWhoMovesThem: with automatic rollbacks disabled safestate's
// weights are those of the route in every step of somebody else's, whatever it sees,
// and it is no release. What it sees it says: the version is bad.
func TestWeightsAreLeftToWhoMovesThem(t *testing.T) {
	s, now := release.New(model), begun
	step := func(in release.Input) {
		t.Helper()
		now = now.Add(time.Minute)
		next, _, _, err := release.Advance(s, in, now)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	for _, weight := range []int{0, 5, 25, 50, 100, 0, 5} {
		e := release.Evidence{Verdict: release.Success, Requests: 500, Why: "no worse than normal"}
		if weight == 25 || weight == 100 {
			e = release.Evidence{Verdict: release.Failure, Requests: 500, Bad: 100, FirstBad: now, Why: "100 of 500 bad"}
		}
		in := moved(weight, e)
		step(in)
		if want := map[string]int{"primary": 100 - weight, candidate: weight}; !maps.Equal(s.Weights, want) || s.Released || s.Rollout != nil {
			t.Errorf("the route says %v, and safestate %v; released %v", want, s.Weights, s.Released)
		}
		for _, v := range admin.ModelOf(s, in, nil, now).Versions {
			if v.Name == candidate && (v.Evidence == nil || v.Evidence.Verdict != e.Verdict || v.Condemned != nil) {
				t.Errorf("at %d %% safestate tells of %+v", weight, v)
			}
		}
	}
}

// TestWhatIsARelease: the documentation says what makes the weights safestate's, and
// what leaves them to whoever moves them.
func TestWhatIsARelease(t *testing.T) {
	k := release.Kill{Target: "version/" + model + "/" + candidate, Since: begun, By: "ann", Reason: "wrong", Mode: "degrade", Generation: 1}
	for name, c := range map[string]struct {
		happens  func(*release.Input)
		released bool
	}{
		"nothing":               {func(*release.Input) {}, false},
		"a kill of the model":   {func(in *release.Input) { in.Killed.Whole = &k }, false},
		"a kill of the version": {func(in *release.Input) { in.Killed.Versions = map[string]release.Kill{candidate: k} }, true},
		"a new name while it has traffic": {func(in *release.Input) {
			in.Versions["canary-0"] = in.Versions[candidate]
			delete(in.Versions, candidate)
		}, false},
	} {
		s := release.New(model)
		for i, in := range []release.Input{moved(5, release.Evidence{}), moved(5, release.Evidence{}), moved(25, release.Evidence{})} {
			if i == 1 {
				c.happens(&in)
			}
			next, _, _, err := release.Advance(s, in, begun.Add(time.Duration(i+1)*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			s = next
		}
		if s.Released != c.released || (s.Weights[candidate] == 25) == c.released {
			t.Errorf("after %s: released %v, weights %v", name, s.Released, s.Weights)
		}
	}
}
