package release

import (
	"cmp"
	"maps"
	"slices"
)

// sameWeights compares percentages by version; one that is missing is 0.
func sameWeights(a, b map[string]int) bool {
	for v, w := range a {
		if b[v] != w {
			return false
		}
	}
	for v, w := range b {
		if a[v] != w {
			return false
		}
	}
	return true
}

// given are the weights that are not 0; nil where all are.
func given(weights map[string]int) map[string]int {
	var out map[string]int
	for v, weight := range weights {
		if weight != 0 {
			put(&out, v, weight)
		}
	}
	return out
}

// sum of the weights.
func sum(weights map[string]int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	return total
}

// serving lists the versions that have a weight, by name.
func (s State) serving() []string {
	var out []string
	for _, v := range slices.Sorted(maps.Keys(s.Weights)) {
		if s.Weights[v] > 0 {
			out = append(out, v)
		}
	}
	return out
}

// heaviest is the version with the most weight but for one, the first by name
// of equals; empty where none has any.
func heaviest(weights map[string]int, except string) string {
	best := ""
	for _, v := range slices.Sorted(maps.Keys(weights)) {
		if v != except && weights[v] > weights[best] {
			best = v
		}
	}
	return best
}

// percent divides 100 by the files' weights, by largest remainder; nil where
// they are all 0.
func percent(versions map[string]VersionInfo, skip func(string) bool) map[string]int {
	const most = 1 << 30 // keeps the products in range
	total, shares := int64(0), map[string]int64{}
	for v, info := range versions {
		if info.FileWeight > 0 && !skip(v) {
			shares[v] = int64(min(info.FileWeight, most))
			total += shares[v]
		}
	}
	if total == 0 {
		return nil
	}
	out, left := map[string]int{}, 100
	for v, share := range shares {
		out[v] = int(share * 100 / total)
		left -= out[v]
	}
	names := slices.SortedFunc(maps.Keys(shares), func(a, b string) int {
		return cmp.Or(cmp.Compare(shares[b]*100%total, shares[a]*100%total), cmp.Compare(a, b))
	})
	for _, v := range names[:left] {
		out[v]++
	}
	return out
}

// setWeights makes the weights hold: the one place where a generation begins.
// It says whether they are others than before.
func (t *turn) setWeights(weights map[string]int, forward bool) bool {
	if sameWeights(weights, t.s.Weights) && t.s.Weights != nil {
		return false
	}
	next := make(map[string]int, len(t.in.Versions))
	for v := range t.in.Versions {
		next[v] = 0
	}
	maps.Copy(next, weights)
	t.s.Weights = next
	t.s.Degraded = sum(next) == 0
	t.s.Generation++
	t.s.Changed = t.now
	t.s.Forward = forward
	if !t.s.Degraded { // somebody has taken over
		t.convict()
	}
	if lapsed := t.s.Lapsed; next[lapsed] > 0 {
		t.mark(lapsed)
		t.s.Lapsed = ""
	}
	if w := t.s.Withdrawal; w != nil && slices.ContainsFunc(w.From, func(v string) bool { return next[v] > 0 }) {
		t.s.Withdrawal = nil // it is asked again: nothing is left to prove
	}
	return true
}
