package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// ErrNoModel is what a command for a model fails with that the files do not have.
var ErrNoModel = errors.New("no such model")

// mistakenError is what a person's command is answered with where it cannot be
// done as it is.
type mistakenError struct{ error }

func (e *mistakenError) Unwrap() error { return e.error }

// Do does what a person asks for, and returns the state that holds then: it is
// durable, on its way to the history, and published, or status says why it is not.
// Any replica takes commands. An error that wraps release.ErrRefused says what
// another state would accept.
func (c *Control) Do(ctx context.Context, model string, command release.Command) (release.State, error) {
	m := c.model(model)
	if m == nil {
		return release.State{}, fmt.Errorf("%w: %s", ErrNoModel, model)
	}
	if m.Rollout.External {
		return release.State{}, &mistakenError{fmt.Errorf("%w: the weights of %s are somebody else's to move (rollout.weights: External)", release.ErrRefused, model)}
	}
	for range attempts {
		now := time.Now()
		from := c.book.get(model)
		state, refused := release.Register(from.state, versionsOf(m), now)
		if len(refused) > 0 {
			return from.state, errors.Join(refused...)
		}
		next, err := release.Apply(state, command, c.input(m, state), now)
		if err != nil {
			return from.state, &mistakenError{err}
		}
		err = c.commit(ctx, from, next)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		c.stir()
		return c.book.get(model).state, err
	}
	return release.State{}, errors.New("the model's releases change all the time: try again")
}

// model returns what the files say of a model; nil: nothing.
func (c *Control) model(name string) *compile.Model {
	s := c.snapshot()
	if s == nil {
		return nil
	}
	for i := range s.Models {
		if s.Models[i].Name == name {
			return &s.Models[i]
		}
	}
	return nil
}

// input is all that a decision about a model may depend on.
func (c *Control) input(m *compile.Model, s release.State) release.Input {
	versions, answered, now := versionsOf(m), c.tests.answered(m.Name), time.Now()
	var clusters []string
	for i := range m.Versions {
		clusters = append(clusters, m.Versions[i].Clusters...)
	}
	for i := range m.Versions {
		v := &m.Versions[i]
		info := versions[v.Name]
		if ready := c.ready.Ready(v.Clusters, clusters, answered[v.Name], now); ready != nil && info.Ready == nil {
			info.Ready = ready
			versions[v.Name] = info
		}
	}
	in := release.Input{
		Plan:     planOf(m),
		Versions: versions,
		Evidence: c.tests.evidence(m.Name),
		Checks:   c.meter.latest(m, s.Candidate),
	}
	in.Proof, in.Refused = c.proofs.of(&s)
	in.Killed = killedOf(c.kills.set(), m)
	in.Alarms, in.Aftermath = c.killWatch.of(m.Name)
	return in
}
