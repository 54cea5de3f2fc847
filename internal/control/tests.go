package control

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/sequential"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/telemetry"
)

// tests hold what the answers of every version say of it. It is safe for
// concurrent use; only the leader feeds it.
type tests struct {
	mu        sync.Mutex
	models    map[string]*modelTests
	revisions map[string]int64 // of what the store has of a model's tests
	kept      time.Time        // when they were last written
}

// modelTests are those of one model, as the store keeps them.
type modelTests struct {
	Versions map[string]*versionTest `json:"versions"`
	changed  bool
}

// versionTest is what is known of one version since its evidence was started.
type versionTest struct {
	Since time.Time `json:"since,omitzero"`
	// Answers tests the share of bad ones, Slow that of those over the model's
	// limit of latency.
	Answers sequential.Monitor `json:"answers"`
	Slow    sequential.Monitor `json:"slow"`

	Requests        uint64            `json:"requests"`
	Bad             uint64            `json:"bad"`
	ControlRequests uint64            `json:"controlRequests"`
	ControlBad      uint64            `json:"controlBad"`
	Detectors       map[string]uint64 `json:"detectors,omitempty"`
	FirstBad        time.Time         `json:"firstBad,omitzero"`
	FirstSlow       time.Time         `json:"firstSlow,omitzero"`
	// Answered is when a clean answer came last; zero where bad ones came since.
	Answered time.Time `json:"answered,omitzero"`
	// Weight is the version's share of the traffic when it was last looked at.
	Weight int `json:"weight"`

	// Decided and DecidedSlow are the latest decisions: whoever reads the tests
	// does not feed them.
	Decided     sequential.Decision `json:"decided"`
	DecidedSlow sequential.Decision `json:"decidedSlow"`
}

func newTests() *tests {
	return &tests{models: map[string]*modelTests{}, revisions: map[string]int64{}}
}

// suspicion is the evidence, as the logarithm of an e-value, over which a
// version's bad answers are taken for one story that began with the first.
const suspicion = 1

// feed takes in what came since the last time. A version's control is all other
// versions of its model at the same time.
func (t *tests) feed(came []signals.Increment, models []compile.Model, b *book, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := map[string]map[string]*signals.Increment{}
	for i := range came {
		model := by[came[i].Model]
		if model == nil {
			model = map[string]*signals.Increment{}
			by[came[i].Model] = model
		}
		model[came[i].Name] = &came[i]
	}
	known := make(map[string]bool, len(models))
	for i := range models {
		known[models[i].Name] = true
	}
	maps.DeleteFunc(t.models, func(name string, _ *modelTests) bool { return !known[name] })
	for i := range models {
		m := &models[i]
		s, came := b.get(m.Name).state, by[m.Name]
		if s.Suspended != nil { // it is killed: what comes is no evidence
			came = nil
		}
		t.model(m.Name).feed(m, came, s, now)
	}
}

func (t *tests) model(name string) *modelTests {
	m := t.models[name]
	if m == nil {
		m = &modelTests{Versions: map[string]*versionTest{}}
		t.models[name] = m
	}
	return m
}

func (t *modelTests) feed(m *compile.Model, came map[string]*signals.Increment, s release.State, now time.Time) {
	limits := sequential.Params{MaxBad: m.Rollout.MaxBadPercent / 100}
	t.prune(m, &s)
	for i := range m.Versions {
		name := m.Versions[i].Name
		v := t.Versions[name]
		if since := s.EvidenceSince(name); v == nil || since.After(v.Since) {
			before := v
			v = &versionTest{Since: since, Detectors: map[string]uint64{}}
			if before != nil {
				v.Answered = before.Answered
			}
			if stable := t.Versions[s.Stable]; stable != nil && s.Stable != name {
				v.Answers.Learn(sequential.Count{Requests: stable.Requests, Bad: stable.Bad})
			}
			t.Versions[name], t.changed = v, true
		}
		own := came[name]
		if own == nil {
			own = &signals.Increment{}
		}
		control := others(came, name)
		t.changed = t.changed || own.Clean+own.Bad > 0
		if weight := s.Weights[name]; weight != v.Weight {
			v.Answers.Shift(now)
			v.Slow.Shift(now)
			v.Weight = weight
		}
		v.take(own, control)
		v.answers(own, now)
		before, streak := places(&own.Counts).split(own.Streak)
		v.Answers.Observe(now, before, places(control), limits)
		v.Decided = v.Answers.Observe(now, streak, nil, limits)
		if m.Rollout.MaxP99 > 0 {
			slow := sequential.Params{Floor: slowShare}
			took := late(&own.Counts, m.Rollout.MaxP99)
			v.DecidedSlow = v.Slow.Observe(now, took, late(control, m.Rollout.MaxP99), slow)
			if took[0].Bad > 0 && (v.FirstSlow.IsZero() || v.DecidedSlow.LogE < suspicion) {
				v.FirstSlow = now
			}
		}
		if own.Bad > 0 && (v.FirstBad.IsZero() || v.Decided.LogE < suspicion || own.FirstBad.Before(v.FirstBad)) {
			v.FirstBad = own.FirstBad
		}
	}
}

// prune forgets versions that have left the files and have no part any more: what
// is kept of a model is bounded.
func (t *modelTests) prune(m *compile.Model, s *release.State) {
	in := make(map[string]bool, len(m.Versions))
	for i := range m.Versions {
		in[m.Versions[i].Name] = true
	}
	for name := range t.Versions {
		if !in[name] && s.Weights[name] == 0 && name != s.Stable && name != s.Candidate {
			delete(t.Versions, name)
			t.changed = true
		}
	}
}

// slowShare of a version's answers may be over the limit of the 99th percentile.
const slowShare = 0.01

func (v *versionTest) take(own *signals.Increment, control *signals.Counts) {
	v.Requests += own.Clean + own.Bad
	v.Bad += own.Bad
	v.ControlRequests += control.Clean + control.Bad
	v.ControlBad += control.Bad
	for detector, n := range own.Detectors {
		v.Detectors[detector] += n
	}
}

// answers notes when the version answered well.
func (v *versionTest) answers(own *signals.Increment, now time.Time) {
	switch {
	case own.Streak > 0, own.Clean == 0 && own.Bad > 0:
		v.Answered = time.Time{}
	case own.Clean > 0:
		v.Answered = now
	}
}

// answered are the times of the last clean answers of a model's versions, where no
// bad one came after it.
func (t *tests) answered(model string) map[string]time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]time.Time{}
	if m := t.models[model]; m != nil {
		for name, v := range m.Versions {
			out[name] = v.Answered
		}
	}
	return out
}

// others adds up what came of all versions but one.
func others(came map[string]*signals.Increment, but string) *signals.Counts {
	out := &signals.Counts{}
	for name, i := range came {
		if name == but {
			continue
		}
		out.Clean += i.Clean
		out.Bad += i.Bad
		for p := range out.Callers {
			out.Callers[p].Clean += i.Callers[p].Clean
			out.Callers[p].Bad += i.Callers[p].Bad
		}
		for b := range out.Latency {
			out.Latency[b] += i.Latency[b]
		}
	}
	return out
}

// byPlace are answers by who asked.
type byPlace []sequential.Count

// split takes off the bad answers that came last. Which of the bad ones these
// were is not known: any are as good.
func (b byPlace) split(last uint64) (before, streak byPlace) {
	before, streak = slices.Clone(b), make(byPlace, len(b))
	for i := range before {
		n := min(last, before[i].Bad)
		last -= n
		before[i].Bad -= n
		before[i].Requests -= n
		streak[i] = sequential.Count{Requests: n, Bad: n}
	}
	return before, streak
}

// places are the answers of c by who asked.
func places(c *signals.Counts) byPlace {
	out := make(byPlace, len(c.Callers))
	for i, k := range c.Callers {
		out[i] = sequential.Count{Requests: k.Clean + k.Bad, Bad: k.Bad}
	}
	return out
}

// late are the answers that took longer than most. The histogram's buckets end
// at powers of two of a millisecond, so the limit is the next one.
func late(c *signals.Counts, most time.Duration) []sequential.Count {
	var out sequential.Count
	for i, n := range c.Latency {
		out.Requests += n
		if i > 0 && time.Millisecond<<(i-1) >= most {
			out.Bad += n
		}
	}
	return []sequential.Count{out}
}

// evidence is what is known of a model's versions.
func (t *tests) evidence(model string) map[string]release.Evidence {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]release.Evidence{}
	if m := t.models[model]; m != nil {
		for name, v := range m.Versions {
			out[name] = v.evidence()
		}
	}
	return out
}

func (v *versionTest) evidence() release.Evidence {
	d, since, rate := v.Decided, v.FirstBad, v.Answers.FailureRate()
	if v.DecidedSlow.Verdict == sequential.Failure && d.Verdict != sequential.Failure && d.Verdict != sequential.CommonCause {
		d, since, rate = v.DecidedSlow, v.FirstSlow, v.Slow.FailureRate()
		d.Why = "latency: " + d.Why
	}
	if since.Before(v.Since) && !since.IsZero() {
		since = v.Since // it came with what was seen since a person's decision
	}
	return release.Evidence{
		Verdict: verdictOf(d.Verdict), Why: d.Why, LogE: d.LogE, Rate: rate,
		Requests: v.Requests, Bad: v.Bad, ControlRequests: v.ControlRequests, ControlBad: v.ControlBad,
		Detectors: maps.Clone(v.Detectors), FirstBad: since,
	}
}

func verdictOf(v sequential.Verdict) release.Verdict {
	switch v {
	case sequential.Success:
		return release.Success
	case sequential.Failure:
		return release.Failure
	case sequential.CommonCause:
		return release.CommonCause
	case sequential.Error:
		return release.Error
	}
	return release.Inconclusive
}

// keepEvery is how often the tests are written: what a restart may lose of them.
const keepEvery = 5 * time.Second

// keep writes the tests that changed. One goroutine calls it.
func (t *tests) keep(ctx context.Context, s store.Store, log *telemetry.Log, now time.Time) {
	failed := false
	for name, text := range t.due(log, now) {
		if failed { // what can wait does not wear down the store
			t.again(name)
			continue
		}
		t.mu.Lock()
		revision := t.revisions[name]
		t.mu.Unlock()
		entry, err := s.Put(ctx, evidenceKey(name), text, revision)
		written := err == nil
		if errors.Is(err, store.ErrConflict) { // by one who led before: the next time
			entry, err = s.Get(ctx, evidenceKey(name))
		}
		if errors.Is(err, store.ErrNotFound) { // somebody took it away
			entry, err = store.Entry{}, nil
		}
		if !written {
			t.again(name)
		}
		if failed = err != nil; failed {
			if ctx.Err() == nil {
				log.Warn().Err(err).Str("model", name).Msg("evidence cannot be written, a restart would begin it anew")
			}
			continue
		}
		t.mu.Lock()
		t.revisions[name] = entry.Revision
		t.mu.Unlock()
	}
}

// again has a model's tests written the next time.
func (t *tests) again(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.models[name]; m != nil {
		m.changed = true
	}
}

// follow takes over what the one who leads writes, while this replica does not:
// what it is asked, and told to do, depends on it.
func (t *tests) follow(ctx context.Context, s store.Store, leads func() bool) {
	for events := range s.Watch(ctx, evidencePrefix) {
		for i := range events {
			name := events[i].Key[len(evidencePrefix):]
			m, err := decodeTests(events[i].Value)
			t.mu.Lock()
			switch {
			case leads(): // it has them
			case events[i].Deleted:
				delete(t.models, name)
			case err == nil:
				t.models[name] = m
			}
			t.mu.Unlock()
		}
	}
}

func decodeTests(text []byte) (*modelTests, error) {
	m := &modelTests{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	if m.Versions == nil {
		return nil, errors.New("it has no versions")
	}
	for version, v := range m.Versions {
		if v == nil {
			delete(m.Versions, version)
		} else if v.Detectors == nil {
			v.Detectors = map[string]uint64{}
		}
	}
	return m, nil
}

// due returns what is to be written, by model.
func (t *tests) due(log *telemetry.Log, now time.Time) map[string][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.kept) < keepEvery {
		return nil
	}
	t.kept = now
	out := map[string][]byte{}
	for name, m := range t.models {
		if !m.changed {
			continue
		}
		text, err := json.Marshal(m)
		if err != nil {
			log.Error().Err(err).Str("model", name).Msg("evidence cannot be written")
			continue
		}
		out[name], m.changed = text, false
	}
	return out
}

// load takes over what the one who led before has written.
func (t *tests) load(ctx context.Context, s store.Store, log *telemetry.Log) {
	entries, err := s.List(ctx, evidencePrefix)
	if err != nil {
		log.Warn().Err(err).Msg("evidence of before cannot be read and begins anew")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.models)
	for i := range entries {
		name := entries[i].Key[len(evidencePrefix):]
		t.revisions[name] = entries[i].Revision
		m, err := decodeTests(entries[i].Value)
		if err != nil {
			log.Warn().Err(err).Str("model", name).Msg("evidence of before cannot be read and begins anew")
			continue
		}
		t.models[name] = m
	}
}
