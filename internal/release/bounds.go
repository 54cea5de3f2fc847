package release

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// What a state holds is bounded, whatever a model goes through in its years: a
// state that is too large for its store could not be written, and nothing be
// decided any more.
const (
	// MaxSize is the most that a state's JSON has, in bytes: well below the 1 MiB
	// that a store takes as one value.
	MaxSize = 768 << 10
	// mostGone is how many versions that left the files, and have no part, are
	// remembered: their artifacts, and that they are condemned. The history tells
	// of the others.
	mostGone = 500
	// mostArtifacts is the most that a model's versions in the files take to be
	// registered, in bytes: about a thousand versions.
	mostArtifacts = 192 << 10
)

// forget drops what no decision asks for any more: holds that are over, marks and
// old entries of versions that are gone, and counts of checks that are.
func (t *turn) forget() {
	s := &t.s
	for v, h := range s.Holds {
		if !t.now.Before(h.Until) {
			drop(&s.Holds, v)
		}
	}
	for name := range s.Checks {
		if !slices.Contains(t.plan.Checks, name) {
			drop(&s.Checks, name)
		}
	}
	parts := s.parts()
	for v := range s.Marks {
		if _, in := t.in.Versions[v]; !in && !parts[v] {
			drop(&s.Marks, v)
		}
	}
	t.forgetGone(mostGone)
}

// forgetGone forgets the versions that are not in the files and have no part, but
// for the newest.
func (t *turn) forgetGone(most int) {
	s, parts := &t.s, t.s.parts()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(s.Versions)), func(v string) bool {
		_, in := t.in.Versions[v]
		return in || parts[v]
	})
	if len(gone) <= most {
		return
	}
	slices.SortFunc(gone, func(a, b string) int {
		return cmp.Or(s.Versions[b].At.Compare(s.Versions[a].At), cmp.Compare(a, b))
	})
	for _, v := range gone[most:] {
		drop(&s.Versions, v)
		drop(&s.Condemned, v)
		drop(&s.Marks, v)
		drop(&s.Holds, v)
	}
}

// parts are the versions that have a part in what holds or may come.
func (s State) parts() map[string]bool {
	out := map[string]bool{s.Stable: true, s.Candidate: true}
	for v, weight := range s.Weights {
		out[v] = out[v] || weight > 0
	}
	for _, g := range s.Good {
		out[g.Version] = true
	}
	for v := range s.Taken {
		out[v] = true
	}
	if w := s.Withdrawal; w != nil {
		out[w.To] = true
		for _, v := range w.From {
			out[v] = true
		}
	}
	return out
}

// fit keeps the state below MaxSize, by giving up what matters least first. A
// record that is not in the history yet loses what it was decided on, and at last
// the oldest are lost: that a version can be rolled back is worth more.
func (t *turn) fit() {
	s := &t.s
	for most := mostGone / 2; most > 0 && s.size() > MaxSize; most /= 2 {
		t.forgetGone(most)
	}
	if s.size() <= MaxSize {
		return
	}
	s.Outbox = slices.Clone(s.Outbox)
	for i := range s.Outbox {
		s.Outbox[i].Evidence, s.Outbox[i].Checks = nil, nil
	}
	for v, c := range s.Condemned {
		c.Reason = cut(c.Reason, 100)
		s.Condemned[v] = c
	}
	for len(s.Outbox) > 1 && s.size() > MaxSize {
		s.Outbox = s.Outbox[len(s.Outbox)/2:]
	}
}

// size is the length of the state's JSON.
func (s State) size() int {
	text, err := json.Marshal(s)
	if err != nil {
		return 0 // whoever writes it is told
	}
	return len(text)
}
