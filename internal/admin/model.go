package admin

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/safestate/safestate/internal/release"
)

// Model is how one model stands.
type Model struct {
	Model      string    `json:"model"` // "namespace/name"
	Now        time.Time `json:"now"`   // by the replica's clock
	Generation uint64    `json:"generation"`
	// Phase is all of it in one word: files, steady, rollout, gate, paused,
	// promoted or degraded.
	Phase    release.Phase `json:"phase"`
	Changed  time.Time     `json:"changed,omitzero"` // when the weights did
	Degraded bool          `json:"degraded"`
	// Needs are why it waits for a person; empty: it does not.
	Needs []Need `json:"needs"`
	// Gone: the files do not have it any more. Nothing is decided about it, and what
	// is known of it is kept for when they have it again.
	Gone bool `json:"gone,omitempty"`
	// Unpublished is why the proxies do not get what was decided; absent: they do.
	Unpublished string    `json:"unpublished,omitempty"`
	Stable      string    `json:"stable,omitempty"`
	Candidate   string    `json:"candidate,omitempty"`
	Versions    []Version `json:"versions"` // by name
	// Explanation says line by line, for a person, what goes on and what it waits
	// for, the proxies that are missing by name.
	Explanation []string `json:"explanation"`
	// Drift are the differences to the files' weights.
	Drift      []release.Drift                `json:"drift"`
	Rollout    *release.Rollout               `json:"rollout,omitempty"`
	Withdrawal *release.Withdrawal            `json:"withdrawal,omitempty"`
	Incident   *release.Incident              `json:"incident,omitempty"`
	Bound      *release.Bound                 `json:"bound,omitempty"`
	Refused    *release.Refused               `json:"refused,omitempty"`
	Checks     map[string]release.CheckResult `json:"checks,omitempty"`
	Proof      release.Proof                  `json:"proof"`
	Last       *release.Record                `json:"last,omitempty"` // record of its history
}

// Version is how one version of a model stands.
type Version struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"` // percent
	// Role is stable or candidate; absent: neither.
	Role string `json:"role,omitempty"`
	// Ready says whether it has a ready endpoint; absent: not known.
	Ready *bool `json:"ready,omitempty"`
	// Gone: the files do not have it any more.
	Gone     bool              `json:"gone,omitempty"`
	URI      string            `json:"uri,omitempty"`
	Digest   string            `json:"digest,omitempty"`
	Evidence *release.Evidence `json:"evidence,omitempty"`
	// Good is when it was last known to carry the traffic well.
	Good time.Time `json:"good,omitzero"`
	// Condemned says why it was rolled back.
	Condemned *release.Condemned `json:"condemned,omitempty"`
	// Hold is a person's forced decision for it.
	Hold *release.Hold `json:"hold,omitempty"`
}

// ModelOf writes a state, and what was seen of it, as the API tells it. last is
// the newest record of its history, nil where there is none. It is pure.
func ModelOf(s release.State, in release.Input, last *release.Record, now time.Time) Model {
	m := Model{
		Model: s.Model, Now: now.UTC(), Generation: s.Generation, Phase: s.Phase(),
		Changed: s.Changed, Degraded: s.Degraded, Needs: NeedsOf(s, in.Refused, now), Stable: s.Stable, Candidate: s.Candidate,
		Versions: versionsOf(s, in), Explanation: release.Explain(s, in, now), Drift: release.Drifts(s, in.Versions),
		Rollout: s.Rollout, Withdrawal: s.Withdrawal, Incident: s.Incident, Bound: s.Bound, Refused: in.Refused,
		Checks: in.Checks, Proof: in.Proof, Last: last,
	}
	if m.Last == nil && len(s.Outbox) > 0 {
		newest := s.Outbox[len(s.Outbox)-1]
		m.Last = &newest
	}
	return m
}

func versionsOf(s release.State, in release.Input) []Version {
	names := map[string]bool{}
	for _, known := range []map[string]bool{keys(s.Versions), keys(in.Versions), keys(s.Weights)} {
		maps.Copy(names, known)
	}
	out := make([]Version, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, versionOf(name, s, in))
	}
	return out
}

func versionOf(name string, s release.State, in release.Input) Version {
	info, inFiles := in.Versions[name]
	v := Version{
		Name: name, Weight: s.Weights[name], Ready: info.Ready,
		Gone: !inFiles && len(in.Versions) > 0, URI: info.URI, Digest: info.Digest,
	}
	if !inFiles {
		v.URI, v.Digest = s.Versions[name].URI, s.Versions[name].Digest
	}
	switch name {
	case s.Candidate:
		v.Role = "candidate"
	case s.Stable:
		v.Role = "stable"
	}
	if e, ok := in.Evidence[name]; ok {
		e.Verdict = cmp.Or(e.Verdict, release.Inconclusive)
		v.Evidence = &e
	}
	for _, g := range s.Good {
		if g.Version == name {
			v.Good = g.At
		}
	}
	if c, ok := s.Condemned[name]; ok {
		v.Condemned = &c
	}
	if h, ok := s.Holds[name]; ok {
		v.Hold = &h
	}
	return v
}

func keys[V any](m map[string]V) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// Proven reports whether the rollback or abort that made a generation is done:
// all expected proxies ACKed it, and nothing asks the withdrawn version.
func (m Model) Proven(generation uint64) bool {
	w := m.Withdrawal
	return w != nil && w.Generation == generation && !w.Done.IsZero()
}
