package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Decode reads a state's JSON and validates it.
func Decode(data []byte) (State, error) {
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("a release state: %w", err)
	}
	if err := s.Validate(); err != nil {
		return State{}, err
	}
	return s, nil
}

// Validate says what is wrong with a state, nil where nothing is. Everything
// else in this package may rely on it.
func (s State) Validate() error {
	if s.Format != Format {
		return fmt.Errorf("the release state of %q has format %d; this safestate reads %d", s.Model, s.Format, Format)
	}
	for _, check := range []func(State) error{
		State.checkWeights, State.checkRoles, State.checkRollout, State.checkKills, State.checkTimes, State.checkRecords,
	} {
		if err := check(s); err != nil {
			return fmt.Errorf("the release state of %s: %w", s.Model, err)
		}
	}
	return nil
}

// maxCount keeps counters far from where they would wrap.
const maxCount = 1 << 62

func (s State) checkWeights() error {
	if s.Generation > maxCount || max(s.Acked.Generation, s.Origin.Generation) > s.Generation {
		return fmt.Errorf("generation %d came before %d and %d", s.Generation, s.Acked.Generation, s.Origin.Generation)
	}
	if s.Generation == 0 && s.Weights != nil {
		return errors.New("weights without a generation")
	}
	if s.Released && s.Weights == nil {
		return errors.New("a release without weights")
	}
	if !s.Released && (s.Degraded || s.Candidate != "" || s.Rollout != nil || s.Withdrawal != nil || len(s.Condemned) > 0) {
		return errors.New("the parts of a release without one")
	}
	if err := checkPercent(s.Weights, s.Degraded); err != nil {
		return err
	}
	for _, earlier := range []Standing{s.Acked, s.Origin} {
		if err := checkPercent(earlier.Weights, sum(earlier.Weights) == 0); err != nil {
			return fmt.Errorf("generation %d: %w", earlier.Generation, err)
		}
	}
	for v, w := range s.Weights {
		if w > 0 && s.Versions[v].At.IsZero() {
			return fmt.Errorf("version %q has a weight and is not registered", v)
		}
		if _, bad := s.Condemned[v]; bad && w > 0 {
			return fmt.Errorf("version %s has a weight and is condemned", v)
		}
	}
	return nil
}

func checkPercent(weights map[string]int, zero bool) error {
	if weights == nil {
		return nil
	}
	for v, w := range weights {
		if w < 0 || w > 100 {
			return fmt.Errorf("version %s has a weight of %d %%", v, w)
		}
	}
	if total := sum(weights); zero && total != 0 || !zero && total != 100 {
		return fmt.Errorf("the weights sum to %d %%", total)
	}
	return nil
}

// checkRoles says whether the versions that have a part are registered.
func (s State) checkRoles() error {
	names := []string{s.Stable, s.Candidate}
	for _, g := range s.Good {
		names = append(names, g.Version)
	}
	for v := range s.Condemned {
		names = append(names, v)
	}
	for v := range s.Taken {
		names = append(names, v)
	}
	if w := s.Withdrawal; w != nil {
		if w.Generation > s.Generation {
			return fmt.Errorf("a withdrawal of generation %d at generation %d", w.Generation, s.Generation)
		}
		names = append(append(names, w.To), w.From...)
	}
	for _, v := range names {
		if v != "" && s.Versions[v].At.IsZero() {
			return fmt.Errorf("version %q has a part and is not registered", v)
		}
	}
	if s.Stable != "" && s.Stable == s.Candidate {
		return fmt.Errorf("version %s is stable and candidate", s.Stable)
	}
	return nil
}

func (s State) checkRollout() error {
	r := s.Rollout
	if r == nil {
		return nil
	}
	if err := ValidateSteps(r.Steps); err != nil {
		return err
	}
	if r.Step < 0 || r.Step >= len(r.Steps) {
		return fmt.Errorf("step %d of %d", r.Step+1, len(r.Steps))
	}
	if r.Version == "" || r.Version != s.Candidate || s.Stable == "" || s.Degraded {
		return fmt.Errorf("a rollout of %q with the candidate %q against %q", r.Version, s.Candidate, s.Stable)
	}
	if r.Started.IsZero() || r.Since.IsZero() || r.Paused != nil && r.Paused.At.IsZero() {
		return fmt.Errorf("a rollout of %s that began at no time", r.Version)
	}
	return nil
}

// checkKills says whether what kills have left of a state can be.
func (s State) checkKills() error {
	if s.Taken != nil && !s.Degraded {
		return errors.New("kills took what others have now")
	}
	for v, weight := range s.Taken {
		if weight < 1 || weight > 100 {
			return fmt.Errorf("a kill took %d %% from version %s", weight, v)
		}
	}
	if k := s.Suspended; k != nil && k.Since.IsZero() {
		return errors.New("it stands still since no time")
	}
	if k := s.Stop; k != nil && (k.At.IsZero() || k.ID == "") {
		return errors.New("an automatic kill without a time, or without an ID")
	}
	return nil
}

func (s State) checkTimes() error {
	times := slices.Concat([]time.Time{s.Changed, s.Returns, s.Acked.At, s.Origin.At}, s.Automatic, s.Kills)
	if k := s.Suspended; k != nil {
		times = append(times, k.Since, k.Kill.Since)
	}
	if k := s.Stop; k != nil {
		times = append(times, k.At, k.Seen)
	}
	if k := s.KillBound; k != nil {
		times = append(times, k.Since, k.Until)
	}
	if r := s.Rollout; r != nil {
		times = append(times, r.Started, r.Since, r.GateReached)
		if r.Paused != nil {
			times = append(times, r.Paused.At)
		}
	}
	if w := s.Withdrawal; w != nil {
		times = append(times, w.FirstBad, w.Decided, w.Pushed, w.Acked, w.Done)
	}
	for _, v := range s.Versions {
		times = append(times, v.At)
	}
	for _, v := range s.Good {
		times = append(times, v.At)
	}
	for _, v := range s.Condemned {
		times = append(times, v.At)
	}
	for _, v := range s.Marks {
		times = append(times, v.At)
	}
	for _, v := range s.Holds {
		times = append(times, v.Until)
	}
	for _, v := range s.Checks {
		times = append(times, v.At)
	}
	if s.Incident != nil {
		times = append(times, s.Incident.Since, s.Incident.Ended)
	}
	if s.Bound != nil {
		times = append(times, s.Bound.Since, s.Bound.Until)
	}
	for _, at := range times {
		if !sane(at) {
			return fmt.Errorf("the time %s is out of range", at)
		}
	}
	return nil
}

// checkRecords says whether the outbox ends at the last record, without gaps.
func (s State) checkRecords() error {
	if s.Sequence > maxCount || uint64(len(s.Outbox)) > s.Sequence {
		return fmt.Errorf("%d records in the outbox at sequence %d", len(s.Outbox), s.Sequence)
	}
	for i, r := range s.Outbox {
		if want := s.Sequence - uint64(len(s.Outbox)-1-i); r.Sequence != want {
			return fmt.Errorf("record %d is where %d should be", r.Sequence, want)
		}
		if !sane(r.At) {
			return fmt.Errorf("record %d: the time %s is out of range", r.Sequence, r.At)
		}
	}
	return nil
}
