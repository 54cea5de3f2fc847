package killstore

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
)

// backwards finds observers that saw less of a target than before, or two states
// under one generation. Sightings that overlap may have been in either order.
func backwards(all []sighting) (problems []string) {
	type eye struct{ observer, target string }
	by := map[eye][]sighting{}
	for _, s := range all {
		by[eye{s.Observer, s.Target}] = append(by[eye{s.Observer, s.Target}], s)
	}
	for e, seen := range by {
		ended := slices.SortedFunc(slices.Values(seen), func(a, b sighting) int { return cmp.Compare(a.Return, b.Return) })
		slices.SortFunc(seen, func(a, b sighting) int { return cmp.Compare(a.Call, b.Call) })
		killed, newest, i := map[uint64]bool{}, sighting{}, 0
		for _, s := range seen {
			for ; i < len(ended) && ended[i].Return < s.Call; i++ {
				if ended[i].Generation > newest.Generation {
					newest = ended[i]
				}
			}
			if s.Generation < newest.Generation {
				problems = append(problems, fmt.Sprintf("%s: %s is at generation %d, and was at %d before", e.observer, e.target, s.Generation, newest.Generation))
			}
			if was, known := killed[s.Generation]; known && was != s.Killed {
				problems = append(problems, fmt.Sprintf("%s: %s at generation %d is both killed and alive", e.observer, e.target, s.Generation))
			}
			killed[s.Generation] = s.Killed
		}
	}
	return problems
}

// change is a state that the store had of a target, and from which revision on.
type change struct {
	Revision int64
	State    kill.State
}

// unordered finds what is wrong in all that the store ever had of a target, oldest
// first: a generation that did not grow with a change, an order that is forgotten,
// or one that came and did not hold though nobody revived the target knowing of it.
func unordered(changes []change) (problems []string) {
	before := change{State: kill.New(kill.Target{})}
	for _, now := range changes {
		was, is := &before.State, &now.State
		wrong := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("the store's revision %d of %s: ", now.Revision, is.Target)+fmt.Sprintf(format, args...))
		}
		switch {
		case is.Generation < was.Generation:
			wrong("generation %d after %d", is.Generation, was.Generation)
		case is.Generation == was.Generation && (is.Killed != was.Killed || is.Mode != was.Mode || !is.Since.Equal(was.Since)):
			wrong("generation %d is another state than before", is.Generation)
		}
		for _, id := range was.Seen {
			if !slices.Contains(is.Seen, id) {
				wrong("the order %q is forgotten", id)
			}
		}
		for _, id := range is.Seen {
			if !slices.Contains(was.Seen, id) && !is.Killed && !revivedSince(is, was) {
				wrong("it takes in the order %q, and is alive without a revive", id)
			}
		}
		if was.Killed && !is.Killed && !revivedSince(is, was) {
			wrong("it is alive without a revive")
		}
		before = now
	}
	return problems
}

// revivedSince reports whether the newest thing done to a target is a revive that
// the state before did not have.
func revivedSince(is, was *kill.State) bool {
	if len(is.Outbox) == 0 {
		return false
	}
	last := is.Outbox[len(is.Outbox)-1]
	return last.Kind == kill.KindRevive && last.Generation == is.Generation && is.Generation > was.Generation
}

// lost names the kills that were acknowledged and that the store does not know of.
func lost(ops []operation, states map[string]kill.State) (problems []string) {
	for _, op := range ops {
		acknowledged := op.Do == doKill && (op.Outcome == inStore || op.Outcome == inCopy)
		if acknowledged && !slices.Contains(states[op.Target].Seen, op.ID) {
			problems = append(problems, fmt.Sprintf("the kill %q of %s by replica %d, acknowledged after %s, is lost", op.ID, op.Target, op.Replica, op.Return))
		}
	}
	return problems
}

// TestInvariants shows each check what it is there for.
func TestInvariants(t *testing.T) {
	const s = time.Second
	see := func(from, to time.Duration, generation uint64, killed bool) sighting {
		return sighting{"a", "all", from, to, generation, killed}
	}
	for name, test := range map[string]struct {
		problems []string
		want     int
	}{
		"growing":      {backwards([]sighting{see(0, s, 1, true), see(2*s, 3*s, 1, true), see(4*s, 5*s, 2, false)}), 0},
		"at one time":  {backwards([]sighting{see(0, 3*s, 2, false), see(s, 2*s, 1, true)}), 0},
		"shrinking":    {backwards([]sighting{see(2*s, 3*s, 1, true), see(0, s, 2, false)}), 1},
		"two in one":   {backwards([]sighting{see(0, s, 2, true), see(2*s, 3*s, 2, false)}), 1},
		"a lost kill":  {lost([]operation{{Do: doKill, Outcome: inCopy, ID: "x", Target: "all"}}, nil), 1},
		"nothing lost": {lost([]operation{{Do: doKill, Outcome: unknown, ID: "x", Target: "all"}}, nil), 0},
	} {
		if len(test.problems) != test.want {
			t.Errorf("%s: %q, want %d", name, test.problems, test.want)
		}
	}
	order := func(id string) kill.Order { return kill.Order{ID: id, By: "on-call", Replica: "a", Reason: "drill"} }
	one := kill.Kill(kill.New(kill.Everything), order("1"))
	back, err := kill.Revive(one, kill.Request{By: "lead", Replica: "a", Reason: "mended", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	undone := back // a merge that took an order in, and not its effect
	undone.Seen = append(slices.Clone(back.Seen), "2")
	reused := kill.Kill(back, order("3"))
	reused.Generation--
	for name, test := range map[string]struct {
		changes []change
		want    int
	}{
		"in order":  {[]change{{1, one}, {2, back}, {3, kill.Kill(back, order("2"))}}, 0},
		"forgotten": {[]change{{1, one}, {2, kill.Kill(kill.New(kill.Everything), order("2"))}}, 1},
		"undone":    {[]change{{1, one}, {2, back}, {3, undone}}, 1},
		"reused":    {[]change{{1, one}, {2, back}, {3, reused}}, 1},
	} {
		if got := unordered(test.changes); len(got) != test.want {
			t.Errorf("%s: %q, want %d", name, got, test.want)
		}
	}
}
