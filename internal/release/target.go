package release

import (
	"fmt"
	"slices"
)

// target chooses what takes over from versions that fail: the version that
// carries the traffic anyway where it is not one of them, else the stable one of
// before the promotion, else the newest good one. Those that do not fit are
// returned with the reason; the target is empty where none does.
func (t *turn) target(bad []string) (target string, rejected []string) {
	main := t.s.main()
	if main != "" && !slices.Contains(bad, main) {
		// It may fail and be protected by a rail: its traffic stays all the same.
		why := t.absent(main)
		if why == "" && t.s.Weights[main] == 0 {
			why = t.unfit(main) // it has no traffic that could stay
		}
		if why == "" {
			why = t.incompatible(main, bad)
		}
		if why == "" {
			return main, nil
		}
		rejected = append(rejected, main+" "+why)
	}
	others := []string{t.s.Stable}
	for _, g := range slices.Backward(t.s.Good) {
		others = append(others, g.Version)
	}
	for i, v := range others {
		if v == "" || v == main || slices.Contains(bad, v) || slices.Contains(others[:i], v) {
			continue
		}
		why := t.unfit(v)
		if why == "" {
			why = t.incompatible(v, bad)
		}
		if why == "" {
			return v, rejected
		}
		rejected = append(rejected, v+" "+why)
	}
	return "", rejected
}

// incompatible says that a failing version does not let this one take over. It
// has no say where it only has the holdback.
func (t *turn) incompatible(version string, bad []string) string {
	for _, b := range bad {
		with := t.in.Versions[b].CompatibleWith
		if len(with) == 0 || slices.Contains(with, version) || t.s.promoted() && b == t.s.Stable {
			continue
		}
		return "is not in compatibleWith of " + b
	}
	return ""
}

// ready says whether a version is in the files and may have a ready endpoint.
func (t *turn) ready(version string) bool {
	info, in := t.in.Versions[version]
	return in && (info.Ready == nil || *info.Ready)
}

// absent says why a version can be given no traffic by automation, its answers
// apart; empty where nothing is known against it.
func (t *turn) absent(version string) string {
	if _, in := t.in.Versions[version]; !in {
		return "is not in the files"
	}
	if k, is := t.killed(version); is {
		return "is " + k.says()
	}
	if c, yes := t.s.Condemned[version]; yes {
		return fmt.Sprintf("was rolled back at %s: %s", c.At.Format("2006-01-02 15:04:05Z"), c.Reason)
	}
	if !t.ready(version) {
		return "has no ready endpoint"
	}
	return ""
}

// unfit says why a version can be given no traffic by automation, its own
// health included.
func (t *turn) unfit(version string) string {
	if why := t.absent(version); why != "" {
		return why
	}
	if e := t.in.Evidence[version]; e.Verdict == Failure && version != t.s.Lapsed {
		return "fails itself: " + orElse(e.Why, "its answers are bad")
	}
	return ""
}
